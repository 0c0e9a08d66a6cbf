//! When a failing policy is left alone for a while.
//!
//! Takes the outcome of every call and the time, gives whether the next call may run. A pure structure. Never
//! judges by a single failure: three close together are needed, rare ones among many successes never add up.

use std::time::{Duration, Instant};

use crate::model::breaker::{Breaker, Rests};

/// What one failure weighs; a success takes one off. One failure in more than eight calls is never enough.
const FAILURE: u32 = 8;
const LIMIT: u32 = 3 * FAILURE;
const RESTS: Rests = Rests {
    // Shorter than the shortest usual scrape interval, so that a hiccup costs one retry.
    first: Duration::from_secs(1),
    // An operator who replaced the cause outside (there is none but the plugin) waits no longer.
    longest: Duration::from_secs(300),
};
/// A trial call that nobody finished is given up after this.
const TRIAL: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Quarantine {
    breaker: Breaker,
    weight: u32,
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    Open,
    Shut { retry_after: Duration },
}

impl Quarantine {
    /// Asks for one call. Where the rest is over, one caller gets it as a trial.
    pub fn ask(&mut self, now: Instant) -> Gate {
        match self.breaker.until() {
            Some(until) if !self.breaker.begin_trial(now, Some(TRIAL)) => Gate::Shut {
                retry_after: until.saturating_duration_since(now),
            },
            _ => Gate::Open,
        }
    }

    pub fn succeeded(&mut self) {
        if self.breaker.is_closed() {
            self.weight = self.weight.saturating_sub(1);
            if self.weight == 0 {
                self.breaker.forget();
            }
        } else if self.breaker.is_on_trial() {
            // On probation: the next failure ends it.
            self.breaker.close();
            self.weight = LIMIT - FAILURE;
        }
        // Otherwise a call that began before the rest did.
    }

    /// True where this failure began a rest.
    pub fn failed(&mut self, now: Instant) -> bool {
        if self.breaker.is_closed() {
            self.weight += FAILURE;
        }
        let begins = self.breaker.is_on_trial() || (self.breaker.is_closed() && self.weight >= LIMIT);
        if begins {
            self.breaker.open(now, RESTS, None);
        }
        begins
    }

    /// It rested, and the next outcome says whether it rests again.
    pub fn is_on_trial(&self) -> bool {
        self.breaker.is_on_trial()
    }

    /// End of the rest if there is one.
    pub fn until(&self) -> Option<Instant> {
        self.breaker.until()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_close_together_shut_and_two_do_not() {
        let now = Instant::now();
        let mut q = Quarantine::default();
        assert!(!q.failed(now));
        assert!(!q.failed(now));
        assert_eq!(q.ask(now), Gate::Open);
        assert!(q.failed(now));
        assert_eq!(q.ask(now), Gate::Shut { retry_after: SECOND });
    }

    #[test]
    fn a_policy_that_fails_every_second_call_is_shut_and_one_in_ten_is_not() {
        let now = Instant::now();
        let mut q = Quarantine::default();
        let shut = (0..10).any(|_| {
            q.succeeded();
            q.failed(now)
        });
        assert!(shut);
        let mut q = Quarantine::default();
        for _ in 0..1000 {
            for _ in 0..9 {
                q.succeeded();
            }
            assert!(!q.failed(now));
        }
    }

    #[test]
    fn a_trial_is_one_call_and_rests_double_up_to_the_longest() {
        let mut now = Instant::now();
        let mut q = Quarantine::default();
        for _ in 0..3 {
            q.failed(now);
        }
        let mut rests = vec![];
        for _ in 0..12 {
            let until = q.until().unwrap();
            rests.push((until - now).as_secs());
            assert!(matches!(q.ask(until - Duration::from_nanos(1)), Gate::Shut { .. }));
            now = until;
            assert_eq!(q.ask(now), Gate::Open);
            assert!(matches!(q.ask(now), Gate::Shut { .. }), "only one trial at a time");
            assert!(q.failed(now));
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn a_good_trial_opens_and_a_failure_soon_after_shuts_for_longer() {
        let now = Instant::now();
        let mut q = Quarantine::default();
        for _ in 0..3 {
            q.failed(now);
        }
        assert_eq!(q.ask(now + SECOND), Gate::Open);
        q.succeeded();
        assert_eq!(q.ask(now + SECOND), Gate::Open);
        assert!(q.failed(now + SECOND));
        assert_eq!(q.until(), Some(now + SECOND + 2 * SECOND));
        // After a long good run it starts from the first rest again.
        assert_eq!(q.ask(now + 4 * SECOND), Gate::Open);
        for _ in 0..100 {
            q.succeeded();
        }
        for _ in 0..3 {
            q.failed(now + 4 * SECOND);
        }
        assert_eq!(q.until(), Some(now + 5 * SECOND));
    }

    #[test]
    fn a_trial_that_nobody_finished_is_given_again() {
        let now = Instant::now();
        let mut q = Quarantine::default();
        for _ in 0..3 {
            q.failed(now);
        }
        assert_eq!(q.ask(now + SECOND), Gate::Open);
        assert!(matches!(q.ask(now + 2 * SECOND), Gate::Shut { .. }));
        assert_eq!(q.ask(now + SECOND + TRIAL), Gate::Open);
    }
}
