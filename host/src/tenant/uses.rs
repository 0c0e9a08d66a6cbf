//! When each of a tenant's credentials last proved it, so that an operator sees which one nobody needs any more.
//!
//! Takes a tenant's credentials and the time, gives one [`LastUse`] for each: the same one whatever generation asks, as
//! long as the credential stays. Locks for reloads and operators alone, never for a write. Never reads a clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Credential;

/// The last use of one credential, to the second.
#[derive(Debug)]
pub(super) struct LastUse {
    /// When the credential became known.
    since: Instant,
    /// The second of the last use, counted from `since` and from one; zero: none yet.
    second: AtomicU64,
}

impl LastUse {
    pub(super) fn note(&self, now: Instant) {
        let second = now.saturating_duration_since(self.since).as_secs() + 1;
        // A tenant's writes come on all threads: they share what is written once a second as if it were only read.
        if self.second.load(Ordering::Relaxed) != second {
            self.second.store(second, Ordering::Relaxed);
        }
    }

    fn ago(&self, now: Instant) -> Option<Duration> {
        let second = self.second.load(Ordering::Relaxed).checked_sub(1)?;
        let passed = now.saturating_duration_since(self.since);
        Some(passed.saturating_sub(Duration::from_secs(second)))
    }
}

/// Of all credentials of one tenant.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<Vec<(Credential, Arc<LastUse>)>>);

impl Uses {
    /// One for each of `credentials`, in their order. Forgets every other credential.
    pub(super) fn of(&self, credentials: &[Credential], now: Instant) -> Box<[Arc<LastUse>]> {
        let mut known = self.locked();
        let last = |credential: &Credential| {
            let old = known.iter().find(|(known, _)| known == credential);
            old.map(|(_, last)| Arc::clone(last)).unwrap_or_else(|| {
                Arc::new(LastUse {
                    since: now,
                    second: AtomicU64::new(0),
                })
            })
        };
        let all: Box<[_]> = credentials.iter().map(last).collect();
        *known = credentials.iter().cloned().zip(all.iter().cloned()).collect();
        all
    }

    /// The credential whose last use it is, by its kind and its public name.
    pub(super) fn credential(&self, last_use: &Arc<LastUse>) -> Option<String> {
        let known = self.locked();
        let found = known.iter().find(|(_, known)| Arc::ptr_eq(known, last_use));
        found.map(|(credential, _)| credential.to_string())
    }

    /// How long ago each of `credentials` was used; `None` if it was not since it became known.
    pub(super) fn ago(&self, credentials: &[Credential], now: Instant) -> Vec<Option<Duration>> {
        let known = self.locked();
        let last = |credential| known.iter().find(|(known, _)| known == credential);
        let ago = |credential| last(credential).and_then(|(_, last)| last.ago(now));
        credentials.iter().map(ago).collect()
    }

    /// Those that were used within the `lately`, with how long ago.
    pub(super) fn lately(&self, lately: Duration, now: Instant) -> Vec<(Credential, Duration)> {
        let known = self.locked();
        let used = |(credential, last): &(Credential, Arc<LastUse>)| Some((credential.clone(), last.ago(now)?));
        known.iter().filter_map(used).filter(|(_, ago)| *ago < lately).collect()
    }

    /// How long ago each name was used last, of the first `most` of them in their order: a credential without a name of its own
    /// has its kind's.
    pub(super) fn latest(&self, most: usize, now: Instant) -> BTreeMap<String, Duration> {
        let mut latest = BTreeMap::new();
        for (credential, last) in &*self.locked() {
            let Some(ago) = last.ago(now) else { continue };
            let name = credential.to_string();
            if latest.len() < most || latest.contains_key(&name) {
                let before = latest.entry(name).or_insert(ago);
                *before = ago.min(*before);
            }
        }
        latest
    }

    fn locked(&self) -> MutexGuard<'_, Vec<(Credential, Arc<LastUse>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_remembered_for_as_long_as_its_credential_stays() {
        let uses = Uses::default();
        let [a, b, c] = [1, 2, 3].map(|byte| Credential::BearerToken([byte; 32]));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let first = uses.of(&[a.clone(), b.clone()], start);
        assert_eq!(uses.credential(&first[1]).as_deref(), Some("bearer_token"));
        assert_eq!(Uses::default().credential(&first[1]), None);
        let ago = |millis| uses.ago(&[a.clone(), b.clone(), c.clone()], at(millis));
        assert_eq!(ago(0), [None, None, None]);
        first[1].note(start);
        assert_eq!(ago(0), [None, Some(Duration::ZERO), None]);
        first[1].note(at(2_900));
        assert_eq!(ago(5_000), [None, Some(Duration::from_secs(3)), None]);
        // Another order, and one more: what is noted under the old generation counts as well.
        let second = uses.of(&[c.clone(), b.clone(), a.clone()], at(5_000));
        first[0].note(at(6_000));
        second[0].note(at(6_000));
        let second_ago = Some(Duration::from_secs(1));
        assert_eq!(ago(7_000), [second_ago, Some(Duration::from_secs(5)), second_ago]);
        let lately = |millis| uses.lately(Duration::from_millis(millis), at(7_000));
        assert_eq!(lately(1_000), []);
        let used = [(c.clone(), Duration::from_secs(1)), (a.clone(), Duration::from_secs(1))];
        assert_eq!(lately(2_000), used);
        // Tokens have no names.
        let latest = |most| uses.latest(most, at(7_000)).into_iter().collect::<Vec<_>>();
        assert_eq!(latest(1), [("bearer_token".to_owned(), Duration::from_secs(1))]);
        assert_eq!(latest(0), []);
        uses.of(std::slice::from_ref(&a), at(7_000));
        assert_eq!(ago(7_000), [second_ago, None, None]);
    }
}
