//! When something that keeps failing is left alone: a circuit breaker.
//!
//! Takes the time and the word to open or to close; gives whether a call may run, and lets one through as a trial when a
//! rest is over. A pure structure. Never decides what is enough to open or to close it: the health of an endpoint counts
//! failures in a row, the quarantine of a policy weighs them.

use std::time::{Duration, Instant};

/// How long it rests: twice as long each time, within bounds.
#[derive(Debug, Clone, Copy)]
pub struct Rests {
    pub first: Duration,
    pub longest: Duration,
}

#[derive(Debug, Default)]
pub struct Breaker {
    state: State,
    /// Rests since the last [`Breaker::forget`].
    rests: u32,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Closed,
    Resting {
        until: Instant,
    },
    /// One call is let through to see; `due` is when it might have begun.
    Trial {
        due: Instant,
        /// `None` for a trial whose end is always told.
        given_up: Option<Instant>,
    },
}

impl Breaker {
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    pub fn is_on_trial(&self) -> bool {
        matches!(self.state, State::Trial { .. })
    }

    /// Whether the next call may be the trial.
    pub fn is_due(&self, now: Instant) -> bool {
        match self.state {
            State::Resting { until } => now >= until,
            State::Trial { given_up, .. } => given_up.is_some_and(|end| now >= end),
            State::Closed => false,
        }
    }

    /// When a trial may begin, or might have; `None` if it is closed.
    pub fn until(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Resting { until } => Some(until),
            State::Trial { due, given_up } => Some(given_up.unwrap_or(due)),
        }
    }

    /// A call begins. `true` where it is the trial; another one is let through after `patience`, should nobody tell how
    /// this one ended.
    pub fn begin_trial(&mut self, now: Instant, patience: Option<Duration>) -> bool {
        let is_due = self.is_due(now);
        if let (true, Some(due)) = (is_due, self.until()) {
            let given_up = patience.map(|patience| now + patience);
            self.state = State::Trial { due, given_up };
        }
        is_due
    }

    /// The trial ended without saying anything: the next one is due.
    pub fn abandon_trial(&mut self) {
        if let State::Trial { due, .. } = self.state {
            self.state = State::Resting { until: due };
        }
    }

    /// Begins a rest. `random` spreads the trials of those who saw the same failure: the rest is between three and five
    /// quarters of what it would be.
    pub fn open(&mut self, now: Instant, rests: Rests, random: Option<u64>) {
        let rest = rests.rest(self.rests, random);
        self.rests = self.rests.saturating_add(1);
        self.state = State::Resting { until: now + rest };
    }

    /// Ends the rest. The next one is longer still, until [`Breaker::forget`].
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// It has been well for long enough: the next rest is the first again.
    pub fn forget(&mut self) {
        self.rests = 0;
    }

    /// As if the rest had passed.
    #[cfg(test)]
    pub fn end_rest(&mut self, now: Instant) {
        if !self.is_closed() {
            self.state = State::Resting { until: now };
        }
    }
}

impl Rests {
    fn rest(self, before: u32, random: Option<u64>) -> Duration {
        let doubled = self.first.saturating_mul(1 << before.min(16)).min(self.longest);
        match random {
            None => doubled,
            Some(random) => doubled * u32::try_from(750 + random % 501).unwrap_or(1000) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTS: Rests = Rests {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(30),
    };

    #[test]
    fn jitter_stays_within_a_quarter() {
        for random in 0..2000 {
            let got = RESTS.rest(0, Some(random));
            assert!(got >= RESTS.first * 3 / 4 && got <= RESTS.first * 5 / 4, "{got:?}");
        }
        assert!(RESTS.rest(u32::MAX, Some(500)) <= RESTS.longest * 5 / 4);
    }

    #[test]
    fn rests_double_over_a_close_and_begin_anew_once_forgotten() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        let mut rest = |forget: bool| {
            if forget {
                breaker.forget();
            }
            breaker.open(now, RESTS, None);
            let until = breaker.until().unwrap();
            breaker.close();
            (until - now).as_secs()
        };
        assert_eq!([(); 7].map(|()| rest(false)), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(rest(true), 1);
    }

    #[test]
    fn one_trial_at_a_time_until_it_is_told_abandoned_or_given_up() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        assert!(!breaker.begin_trial(now, None));
        breaker.open(now, RESTS, None);
        let due = now + RESTS.first;
        assert!(!breaker.begin_trial(due - Duration::from_nanos(1), None));

        assert!(breaker.begin_trial(due, None));
        assert!(!breaker.begin_trial(due + RESTS.longest, None));
        assert!(breaker.is_on_trial() && !breaker.is_due(due + RESTS.longest));
        breaker.abandon_trial();
        assert!(breaker.is_due(due));

        assert!(breaker.begin_trial(due, Some(RESTS.first)));
        assert!(!breaker.begin_trial(due, Some(RESTS.first)));
        assert!(breaker.begin_trial(due + RESTS.first, Some(RESTS.first)));
        breaker.close();
        assert!(breaker.is_closed() && !breaker.is_due(due) && breaker.until().is_none());
    }
}
