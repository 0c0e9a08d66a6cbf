//! Passive health of one endpoint: failures in a row eject it, one success brings it back.
//!
//! Takes outcomes and the time, gives a standing; a pure structure, so that tests need no clock. Never asks the
//! endpoint anything itself: the receivers have no cheap request that says more than a write does.

use std::time::{Duration, Instant};

use super::balance::Standing;
use crate::model::breaker::{Breaker, Rests};

/// Failures in a row that eject. One may be a restart or a race with an idle timeout; five, as Envoy has it, would
/// send five writes into a connect timeout where three say the same.
pub const FAILURES_TO_EJECT: u32 = 3;

/// First about as long as a receiver needs to restart, at the longest the delay an operator accepts until a repaired
/// receiver is used again.
const BACKOFF: Rests = Rests {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};

/// A failure that is the endpoint's. A 4xx by which a receiver judges a write is not one: the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Illness {
    Connect,
    Reset,
    Timeout,
    ServerError,
    Nonsense,
    /// It answers as no receiver does.
    Misconfigured,
}

impl Illness {
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ServerError => "server_error",
            Self::Nonsense => "nonsense",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// Ejected is what is not closed. One trial at a time: a dead endpoint gets one request per back-off, not one per sender.
#[derive(Debug, Default)]
pub struct Health {
    breaker: Breaker,
    failures_in_a_row: u32,
    last_illness: Option<Illness>,
}

impl Health {
    pub fn standing(&self, now: Instant) -> Standing {
        match (self.breaker.is_closed(), self.breaker.is_due(now)) {
            (true, _) => Standing::Healthy,
            (false, true) => Standing::DueForTrial,
            (false, false) => Standing::Ejected,
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.breaker.is_closed()
    }

    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    pub fn last_illness(&self) -> Option<Illness> {
        self.last_illness
    }

    /// Until the next trial; `None` for a healthy endpoint.
    pub fn retry_in(&self, now: Instant) -> Option<Duration> {
        self.breaker.until().map(|until| until.saturating_duration_since(now))
    }

    /// A request is sent. `true` where it is the trial; its end has to be told to one of the three below.
    pub fn started(&mut self, now: Instant) -> bool {
        self.breaker.begin_trial(now, None)
    }

    /// The endpoint answered, whatever it thinks of the write.
    pub fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
        self.breaker.close();
        self.breaker.forget();
    }

    /// `random` spreads the trials of many gateways: they saw the endpoint die at the same time.
    pub fn failed(&mut self, illness: Illness, trial: bool, now: Instant, random: u64) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.last_illness = Some(illness);
        // A straggler from before the ejection, or sent because no endpoint is healthy, says nothing new.
        let counts = match self.breaker.is_closed() {
            true => self.failures_in_a_row >= FAILURES_TO_EJECT,
            false => trial,
        };
        if counts {
            self.breaker.open(now, BACKOFF, Some(random));
        }
    }

    /// The request ended without saying anything about the endpoint: its sender went away.
    pub fn abandoned(&mut self, trial: bool) {
        if trial {
            self.breaker.abandon_trial();
        }
    }

    #[cfg(test)]
    pub(super) fn end_backoff(&mut self, now: Instant) {
        self.breaker.end_rest(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u64 = 250; // exactly the back-off, no jitter

    fn ejected(now: Instant) -> Health {
        let mut health = Health::default();
        for _ in 0..FAILURES_TO_EJECT {
            health.failed(Illness::Connect, false, now, MIDDLE);
        }
        health
    }

    #[test]
    fn one_failure_below_the_bound_leaves_an_endpoint_healthy_and_the_next_ejects_it() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 1..FAILURES_TO_EJECT {
            health.failed(Illness::Reset, false, now, MIDDLE);
            assert_eq!(health.standing(now), Standing::Healthy);
        }
        health.failed(Illness::Timeout, false, now, MIDDLE);
        assert_eq!(health.standing(now), Standing::Ejected);
        assert_eq!(health.last_illness(), Some(Illness::Timeout));
        assert_eq!(health.retry_in(now), Some(BACKOFF.first));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..10 {
            for _ in 1..FAILURES_TO_EJECT {
                health.failed(Illness::Reset, false, now, MIDDLE);
            }
            health.succeeded();
        }
        assert!(health.is_healthy());
        assert_eq!(health.failures_in_a_row(), 0);
    }

    #[test]
    fn a_trial_is_due_at_the_end_of_the_backoff_and_runs_once() {
        let now = Instant::now();
        let mut health = ejected(now);
        let just_before = now + BACKOFF.first - Duration::from_nanos(1);
        assert_eq!(health.standing(just_before), Standing::Ejected);
        assert!(!health.started(just_before));
        let due = now + BACKOFF.first;
        assert_eq!(health.standing(due), Standing::DueForTrial);
        assert!(health.started(due));
        assert_eq!(health.standing(due), Standing::Ejected);
        assert!(!health.started(due));
    }

    #[test]
    fn a_trial_that_succeeds_restores_and_one_that_fails_doubles_the_backoff() {
        let mut now = Instant::now();
        let mut health = ejected(now);
        for expected in [2, 4, 8, 16, 30, 30] {
            now += health.retry_in(now).unwrap();
            assert!(health.started(now));
            health.failed(Illness::Connect, true, now, MIDDLE);
            assert_eq!(health.retry_in(now), Some(Duration::from_secs(expected)));
        }
        now += BACKOFF.longest;
        assert!(health.started(now));
        health.succeeded();
        assert_eq!(health.standing(now), Standing::Healthy);
        assert_eq!(health.retry_in(now), None);
    }

    #[test]
    fn stragglers_do_not_put_the_trial_off() {
        let now = Instant::now();
        let mut health = ejected(now);
        health.failed(Illness::Timeout, false, now + Duration::from_millis(900), MIDDLE);
        assert_eq!(health.standing(now + BACKOFF.first), Standing::DueForTrial);
    }

    #[test]
    fn an_abandoned_trial_leaves_the_next_one_due() {
        let now = Instant::now();
        let mut health = ejected(now);
        let due = now + BACKOFF.first;
        assert!(health.started(due));
        health.abandoned(true);
        assert_eq!(health.standing(due), Standing::DueForTrial);
    }
}
