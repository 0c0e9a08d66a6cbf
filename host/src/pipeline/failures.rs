//! Which failed writes are told in the log.
//!
//! Takes a tenant, a reason and the time; gives whether there is a line for it. The first ones of each kind are told
//! and the others counted: a tenant that fails ten thousand times a second must not fill the disk, nor make the
//! others wait for standard error. Metrics count every write all the same. Never reads a clock.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::TenantId;
use crate::telemetry::Throttle;

/// Lines about one tenant and reason in one [`WINDOW`].
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);

/// What was told lately. One per process; as many entries as there are tenants times reasons, at most.
#[derive(Debug, Default)]
pub struct FailureLog {
    told: Mutex<HashMap<(TenantId, &'static str), Throttle>>,
}

impl FailureLog {
    /// Whether to tell this one: with how many of its kind were not told before it.
    pub(super) fn due(&self, tenant: &TenantId, reason: &'static str, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let throttle = told
            .entry((tenant.clone(), reason))
            .or_insert_with(|| Throttle::new(LINES, WINDOW));
        throttle.due(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_by_its_first_lines_and_then_by_number() {
        let log = FailureLog::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let start = Instant::now();
        let told = |tenant, reason, at| {
            (0..1000)
                .filter_map(|_| log.due(tenant, reason, at))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&a, "over_rate", start), vec![0; 10]);
        assert!(told(&a, "over_rate", start + WINDOW - Duration::from_nanos(1)).is_empty());
        // Another tenant and another reason have lines of their own.
        assert_eq!(told(&b, "over_rate", start).len(), 10);
        assert_eq!(told(&a, "snappy", start).len(), 10);
        let next = told(&a, "over_rate", start + WINDOW);
        assert_eq!((next.len(), next[0], next[1]), (10, 1990, 0));
        // Where all were told, none is missing.
        assert_eq!(log.due(&b, "slow", start), Some(0));
        assert_eq!(log.due(&b, "slow", start + WINDOW), Some(0));
    }
}
