//! Which failed writes of a tenant are told in the log.
//!
//! Takes a reason and the time; gives whether there is a line for it. The first ones of each kind are told and the
//! others counted, and told by number when they have ended: a tenant that fails ten thousand times a second must not fill
//! the disk, nor make the others wait for standard error. Metrics count every write all the same. Never reads a clock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::telemetry::Throttle;

/// Lines about one reason in one [`WINDOW`].
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// What failed for a reason is shown to operators for this long after the last time.
const SHOWN: Duration = Duration::from_secs(3600);

/// What failed lately, by reason; as many entries as there are reasons, at most.
#[derive(Debug, Default)]
pub struct Failures {
    told: Mutex<BTreeMap<&'static str, Told>>,
}

#[derive(Debug)]
struct Told {
    throttle: Throttle,
    /// What failed is dropped by the sender.
    is_dropped: bool,
    last: Instant,
    text: String,
}

/// When a write last failed for a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    pub reason: &'static str,
    /// Of the last one that the log told.
    pub text: String,
    pub ago: Duration,
}

/// Failures for one reason that had no line of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    pub reason: &'static str,
    pub failures: u64,
    pub is_dropped: bool,
}

impl Failures {
    /// Whether to tell this one: with how many of its kind were not told before it. `text` is asked for if so. `is_dropped`
    /// says whether the sender drops what failed.
    pub fn due(
        &self,
        reason: &'static str,
        is_dropped: bool,
        now: Instant,
        text: impl FnOnce() -> String,
    ) -> Option<u64> {
        let mut all = self.locked();
        let told = all.entry(reason).or_insert_with(|| Told {
            throttle: Throttle::new(LINES, WINDOW),
            is_dropped,
            last: now,
            text: String::new(),
        });
        told.last = told.last.max(now);
        let untold = told.throttle.due(now)?;
        told.text = text();
        Some(untold)
    }

    /// What was not told, of kinds that have not failed for a while.
    pub fn untold(&self, now: Instant) -> Vec<Untold> {
        let all = self.locked();
        let ended = all.iter().filter_map(|(&reason, told)| {
            Some(Untold {
                reason,
                failures: told.throttle.ended(now)?,
                is_dropped: told.is_dropped,
            })
        });
        ended.collect()
    }

    /// Newest first.
    pub fn last(&self, now: Instant) -> Vec<LastFailure> {
        let all = self.locked();
        let mut failures: Vec<LastFailure> = all
            .iter()
            .map(|(reason, told)| LastFailure {
                reason,
                text: told.text.clone(),
                ago: now.saturating_duration_since(told.last),
            })
            .collect();
        failures.sort_by_key(|failure| failure.ago);
        failures
    }

    pub(super) fn forget_old(&self, now: Instant) {
        let is_new = |told: &Told| now.saturating_duration_since(told.last) < SHOWN;
        self.locked().retain(|_, told| is_new(told));
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<&'static str, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(log: &Failures, reason: &'static str, now: Instant) -> Option<u64> {
        log.due(reason, true, now, || format!("why {reason}"))
    }

    #[test]
    fn what_was_not_told_of_a_flood_is_told_once_when_it_has_ended() {
        let log = Failures::default();
        let start = Instant::now();
        for _ in 0..100 {
            due(&log, "snappy", start);
        }
        log.due("over_rate", false, start, String::new);
        assert_eq!(log.untold(start), []);
        let untold = Untold {
            reason: "snappy",
            failures: 90,
            is_dropped: true,
        };
        assert_eq!(log.untold(start + WINDOW), [untold]);
        assert_eq!(log.untold(start + WINDOW), []);
    }

    #[test]
    fn a_flood_is_told_by_its_first_lines_and_then_by_number() {
        let (a, b) = (Failures::default(), Failures::default());
        let start = Instant::now();
        let told = |log, reason, at| (0..1000).filter_map(|_| due(log, reason, at)).collect::<Vec<_>>();
        assert_eq!(told(&a, "over_rate", start), vec![0; 10]);
        assert!(told(&a, "over_rate", start + WINDOW - Duration::from_nanos(1)).is_empty());
        // Another tenant and another reason have lines of their own.
        assert_eq!(told(&b, "over_rate", start).len(), 10);
        assert_eq!(told(&a, "snappy", start).len(), 10);
        let next = told(&a, "over_rate", start + WINDOW);
        assert_eq!((next.len(), next[0], next[1]), (10, 1990, 0));
        // Where all were told, none is missing.
        assert_eq!(due(&b, "slow", start), Some(0));
        assert_eq!(due(&b, "slow", start + WINDOW), Some(0));
    }

    #[test]
    fn the_last_failures_are_shown_for_an_hour_and_then_forgotten() {
        let log = Failures::default();
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        due(&log, "over_rate", start);
        due(&log, "snappy", start + second);
        let shown = log.last(start + 2 * second);
        let shown: Vec<_> = shown.iter().map(|f| (f.reason, f.text.as_str(), f.ago)).collect();
        assert_eq!(
            shown,
            [
                ("snappy", "why snappy", second),
                ("over_rate", "why over_rate", 2 * second)
            ]
        );
        log.forget_old(start + SHOWN);
        assert_eq!(log.last(start + SHOWN).len(), 1);
        log.forget_old(start + SHOWN + second);
        assert!(log.last(start + SHOWN + second).is_empty());
    }
}
