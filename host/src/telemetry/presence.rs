//! Which tenants are there, so that what was counted of those that left can be forgotten.
//!
//! Takes a tenant's name for as long as something counts for it, gives those that nothing counts for any more. Never
//! forgets anything itself. Never reads a clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call of a plugin that was under way when its tenant left may count once more, and would leave its series behind: so
/// they are looked for a while longer.
const LOOKED_FOR: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Presence(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How often each was begun and not ended.
    there: HashMap<String, usize>,
    /// Those that left, with when that was first seen.
    gone: HashMap<String, Option<Instant>>,
}

/// That something counts for a tenant; it does until this is dropped.
#[derive(Debug)]
pub struct Present {
    presence: Arc<Presence>,
    tenant: String,
}

impl Presence {
    /// What was counted of a tenant that left and was not forgotten goes on.
    pub(super) fn begin(self: &Arc<Self>, tenant: &str) -> Present {
        let mut known = self.locked();
        known.gone.remove(tenant);
        *known.there.entry(tenant.to_owned()).or_default() += 1;
        Present {
            presence: Arc::clone(self),
            tenant: tenant.to_owned(),
        }
    }

    /// Has `forget` forget those that left. None of them comes back meanwhile.
    pub(super) fn forget(&self, now: Instant, forget: impl FnOnce(&dyn Fn(&str) -> bool)) {
        let mut known = self.locked();
        if known.gone.is_empty() {
            return;
        }
        forget(&|tenant| known.gone.contains_key(tenant));
        known.gone.retain(|_, seen| {
            let seen = *seen.get_or_insert(now);
            now.saturating_duration_since(seen) < LOOKED_FOR
        });
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut known = self.presence.locked();
        if let Some(times) = known.there.get_mut(&self.tenant) {
            *times -= 1;
            if *times == 0 {
                known.there.remove(&self.tenant);
                known.gone.insert(std::mem::take(&mut self.tenant), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(presence: &Presence, now: Instant, tenant: &str) -> bool {
        let mut is_gone = false;
        presence.forget(now, |gone| is_gone = gone(tenant));
        is_gone
    }

    #[test]
    fn a_tenant_is_gone_once_nothing_counts_for_it_and_until_it_comes_back() {
        let (presence, now) = (Arc::new(Presence::default()), Instant::now());
        let (one, other) = (presence.begin("a"), presence.begin("a"));
        let _stays = presence.begin("b");
        drop(one);
        assert!(!gone(&presence, now, "a"));
        drop(other);
        assert!(gone(&presence, now, "a") && !gone(&presence, now, "b"));
        // What counts late is found too, and nobody is looked for without an end.
        assert!(gone(&presence, now + LOOKED_FOR, "a"));
        assert!(!gone(&presence, now + LOOKED_FOR, "a"));
        drop(presence.begin("a"));
        let _back = presence.begin("a");
        assert!(!gone(&presence, now, "a"));
    }
}
