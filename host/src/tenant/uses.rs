//! When each of a tenant's credentials last proved it, and when what it was proved by ends, so that an operator sees which one
//! nobody needs any more, and which has to be renewed.
//!
//! Takes a tenant's credentials and the time, gives one [`LastUse`] for each: the same one whatever generation asks, as
//! long as the credential stays. Locks for reloads and operators alone, never for a write. Never reads a clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Credential;

/// How a credential was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialUsed {
    pub ago: Duration,
    /// The end of the certificate that it was used with, in seconds since 1970.
    pub expires: Option<i64>,
}

/// The last use of one credential, to the second.
#[derive(Debug)]
pub(super) struct LastUse {
    /// When the credential became known.
    since: Instant,
    /// The second of the last use, counted from `since` and from one; zero: none yet.
    second: AtomicU64,
    /// Zero: it does not end, or it is not known when.
    expires: AtomicI64,
}

impl LastUse {
    /// With what ends at `expires`.
    pub(super) fn note(&self, now: Instant, expires: Option<i64>) {
        let second = now.saturating_duration_since(self.since).as_secs() + 1;
        // A tenant's writes come on all threads: they share what is written once a second as if it were only read.
        if self.second.load(Ordering::Relaxed) != second {
            self.expires.store(expires.unwrap_or_default(), Ordering::Relaxed);
            self.second.store(second, Ordering::Relaxed);
        }
    }

    fn used(&self, now: Instant) -> Option<CredentialUsed> {
        let second = self.second.load(Ordering::Relaxed).checked_sub(1)?;
        let passed = now.saturating_duration_since(self.since);
        let expires = self.expires.load(Ordering::Relaxed);
        Some(CredentialUsed {
            ago: passed.saturating_sub(Duration::from_secs(second)),
            expires: (expires != 0).then_some(expires),
        })
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
                    expires: AtomicI64::new(0),
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

    /// How each of `credentials` was used last; `None` if it was not since it became known.
    pub(super) fn last(&self, credentials: &[Credential], now: Instant) -> Vec<Option<CredentialUsed>> {
        let known = self.locked();
        let last = |credential| known.iter().find(|(known, _)| known == credential);
        let used = |credential| last(credential).and_then(|(_, last)| last.used(now));
        credentials.iter().map(used).collect()
    }

    /// Those that were used within the `lately`, with how long ago.
    pub(super) fn lately(&self, lately: Duration, now: Instant) -> Vec<(Credential, Duration)> {
        let known = self.locked();
        let used = |(credential, last): &(Credential, Arc<LastUse>)| Some((credential.clone(), last.used(now)?.ago));
        known.iter().filter_map(used).filter(|(_, ago)| *ago < lately).collect()
    }

    /// How each name was used last, of the first `most` of them in their order: a credential without a name of its own has its
    /// kind's.
    pub(super) fn latest(&self, most: usize, now: Instant) -> BTreeMap<String, CredentialUsed> {
        let mut latest = BTreeMap::new();
        for (credential, last) in &*self.locked() {
            let Some(used) = last.used(now) else { continue };
            let name = credential.to_string();
            if latest.len() < most || latest.contains_key(&name) {
                let before = latest.entry(name).or_insert(used);
                if used.ago < before.ago {
                    *before = used;
                }
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
        let ago = |millis| {
            let last = uses.last(&[a.clone(), b.clone(), c.clone()], at(millis));
            [0, 1, 2].map(|place| last[place].map(|used: CredentialUsed| used.ago))
        };
        assert_eq!(ago(0), [None, None, None]);
        first[1].note(start, None);
        assert_eq!(ago(0), [None, Some(Duration::ZERO), None]);
        first[1].note(at(2_900), None);
        assert_eq!(ago(5_000), [None, Some(Duration::from_secs(3)), None]);
        // Another order, and one more: what is noted under the old generation counts as well.
        let second = uses.of(&[c.clone(), b.clone(), a.clone()], at(5_000));
        first[0].note(at(6_000), None);
        second[0].note(at(6_000), None);
        let second_ago = Some(Duration::from_secs(1));
        assert_eq!(ago(7_000), [second_ago, Some(Duration::from_secs(5)), second_ago]);
        let lately = |millis| uses.lately(Duration::from_millis(millis), at(7_000));
        assert_eq!(lately(1_000), []);
        let used = [(c.clone(), Duration::from_secs(1)), (a.clone(), Duration::from_secs(1))];
        assert_eq!(lately(2_000), used);
        // Tokens have no names.
        let latest = |most| {
            let all = uses.latest(most, at(7_000)).into_iter();
            all.map(|(name, used)| (name, used.ago)).collect::<Vec<_>>()
        };
        assert_eq!(latest(1), [("bearer_token".to_owned(), Duration::from_secs(1))]);
        assert_eq!(latest(0), []);
        uses.of(std::slice::from_ref(&a), at(7_000));
        assert_eq!(ago(7_000), [second_ago, None, None]);
    }

    #[test]
    fn the_end_of_the_certificate_that_was_used_last_is_known() {
        let (uses, start) = (Uses::default(), Instant::now());
        let [a, b] = [1, 2].map(|byte| Credential::BearerToken([byte; 32]));
        let last_uses = uses.of(&[a.clone(), b.clone()], start);
        let at = |second| start + Duration::from_secs(second);
        let used = |second| {
            let last = uses.last(&[a.clone(), b.clone()], at(second));
            [0, 1].map(|place| last[place].map(|used: CredentialUsed| (used.ago.as_secs(), used.expires)))
        };
        last_uses[0].note(at(0), Some(1_900_000_000));
        last_uses[1].note(at(1), None);
        assert_eq!(used(1), [Some((1, Some(1_900_000_000))), Some((0, None))]);
        // A renewed one.
        last_uses[0].note(at(2), Some(2_000_000_000));
        assert_eq!(used(3), [Some((1, Some(2_000_000_000))), Some((2, None))]);
        // Of one name it is the newest that counts.
        let newest = CredentialUsed {
            ago: Duration::from_secs(1),
            expires: Some(2_000_000_000),
        };
        assert_eq!(uses.latest(1, at(3)).into_values().collect::<Vec<_>>(), [newest]);
    }
}
