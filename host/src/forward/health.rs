//! Health of one endpoint: failures in a row eject it; when its back-off is over it is asked whether it is there, then a
//! write is tried, and one success brings it back.
//!
//! Takes outcomes and the time, gives a standing; a pure structure, so that tests need no clock. Never asks the
//! endpoint anything itself, and believes no answer but that to a write: the receivers have no cheap request that says as
//! much.

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

/// Of an endpoint that makes writes wait: the next one that finds out is a tenant's again, whatever a probe said.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// So many times what a write has waited there, no other one shall: a tenth of one sender's time at most.
const RESTS_PER_WAIT: u32 = 10;

/// A failure that is the endpoint's. A 4xx by which a receiver judges a write is not one: the endpoint lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Illness {
    Connect,
    Reset,
    Timeout,
    /// The write was stored, and took so much longer than elsewhere that it had better gone there.
    Slow,
    ServerError,
    Nonsense,
    /// It answers as no receiver does.
    Misconfigured,
}

impl Illness {
    /// Whether the endpoint answered, so that its connections are well.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Slow | Self::ServerError | Self::Misconfigured)
    }

    /// Whether a long time until it was met is the endpoint's own. A receiver that answers 5xx late has waited for another
    /// one behind it, on behalf of one tenant.
    pub fn is_a_wait(self) -> bool {
        !matches!(self, Self::ServerError)
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Slow => "slow",
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
    /// It has answered since it was ejected last: a write may be tried.
    answers: bool,
    failures_in_a_row: u32,
    last_illness: Option<Illness>,
}

impl Health {
    pub fn standing(&self, now: Instant) -> Standing {
        match (self.breaker.is_closed(), self.breaker.is_due(now)) {
            (true, _) => Standing::Healthy,
            (false, true) if self.answers => Standing::DueForTrial,
            (false, true) => Standing::DueForProbe,
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

    /// A write is sent. `true` where it is the trial; its end has to be told to one of the three below.
    pub fn started(&mut self, now: Instant) -> bool {
        self.answers && self.breaker.begin_trial(now, None)
    }

    /// The endpoint is asked whether it is there. `true` where nobody does yet; the end has to be told to
    /// [`Health::answered`], `failed` or `abandoned`.
    pub fn probed(&mut self, now: Instant) -> bool {
        !self.answers && self.breaker.begin_trial(now, None)
    }

    /// It is there.
    pub fn answered(&mut self) {
        self.answers = true;
        self.breaker.abandon_trial();
    }

    /// The endpoint answered, whatever it thinks of the write.
    pub fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
        self.answers = false;
        self.breaker.close();
        self.breaker.forget();
    }

    /// `waited` is what it has cost a write. `random` spreads the trials of many gateways: they saw the endpoint die at
    /// the same time.
    pub fn failed(&mut self, illness: Illness, waited: Duration, trial: bool, now: Instant, random: u64) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.last_illness = Some(illness);
        // A straggler from before the ejection, or sent because no endpoint is healthy, says nothing new.
        let counts = match self.breaker.is_closed() {
            true => self.failures_in_a_row >= FAILURES_TO_EJECT,
            false => trial,
        };
        if counts {
            self.answers = false;
            self.breaker.open(now, rests(illness, waited), Some(random));
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

fn rests(illness: Illness, waited: Duration) -> Rests {
    match illness {
        Illness::Timeout | Illness::Slow => Rests {
            first: (waited * RESTS_PER_WAIT).clamp(BACKOFF.first, LONGEST_WAIT),
            longest: LONGEST_WAIT,
        },
        Illness::Connect | Illness::Reset | Illness::ServerError | Illness::Nonsense | Illness::Misconfigured => {
            BACKOFF
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: u64 = 250; // exactly the back-off, no jitter

    fn ejected(now: Instant) -> Health {
        let mut health = Health::default();
        for _ in 0..FAILURES_TO_EJECT {
            health.failed(Illness::Connect, Duration::ZERO, false, now, MIDDLE);
        }
        health
    }

    /// The endpoint answers its probe, and a write is tried.
    fn begin_trial(health: &mut Health, now: Instant) -> bool {
        assert!(health.probed(now));
        health.answered();
        health.started(now)
    }

    #[test]
    fn one_failure_below_the_bound_leaves_an_endpoint_healthy_and_the_next_ejects_it() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 1..FAILURES_TO_EJECT {
            health.failed(Illness::Reset, Duration::ZERO, false, now, MIDDLE);
            assert_eq!(health.standing(now), Standing::Healthy);
        }
        health.failed(Illness::Timeout, Duration::ZERO, false, now, MIDDLE);
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
                health.failed(Illness::Reset, Duration::ZERO, false, now, MIDDLE);
            }
            health.succeeded();
        }
        assert!(health.is_healthy());
        assert_eq!(health.failures_in_a_row(), 0);
    }

    #[test]
    fn a_probe_and_then_a_trial_are_due_at_the_end_of_the_backoff_and_run_once() {
        let now = Instant::now();
        let mut health = ejected(now);
        let just_before = now + BACKOFF.first - Duration::from_nanos(1);
        assert_eq!(health.standing(just_before), Standing::Ejected);
        assert!(!health.started(just_before));
        let due = now + BACKOFF.first;
        assert_eq!(health.standing(due), Standing::DueForProbe);
        assert!(!health.started(due));
        assert!(health.probed(due));
        assert_eq!(health.standing(due), Standing::Ejected);
        assert!(!health.probed(due));
        health.answered();
        assert_eq!(health.standing(due), Standing::DueForTrial);
        assert!(!health.probed(due));
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
            assert!(begin_trial(&mut health, now));
            health.failed(Illness::Connect, Duration::ZERO, true, now, MIDDLE);
            assert_eq!(health.retry_in(now), Some(Duration::from_secs(expected)));
        }
        now += BACKOFF.longest;
        assert!(begin_trial(&mut health, now));
        health.succeeded();
        assert_eq!(health.standing(now), Standing::Healthy);
        assert_eq!(health.retry_in(now), None);
    }

    #[test]
    fn stragglers_do_not_put_the_trial_off() {
        let now = Instant::now();
        let mut health = ejected(now);
        health.failed(
            Illness::Timeout,
            Duration::ZERO,
            false,
            now + Duration::from_millis(900),
            MIDDLE,
        );
        assert_eq!(health.standing(now + BACKOFF.first), Standing::DueForProbe);
    }

    #[test]
    fn an_abandoned_trial_leaves_the_next_one_due() {
        let now = Instant::now();
        let mut health = ejected(now);
        let due = now + BACKOFF.first;
        assert!(health.probed(due));
        health.abandoned(true);
        assert_eq!(health.standing(due), Standing::DueForProbe);
        assert!(begin_trial(&mut health, due));
        health.abandoned(true);
        assert_eq!(health.standing(due), Standing::DueForTrial);
    }

    #[test]
    fn a_probe_that_fails_puts_the_next_one_off() {
        let now = Instant::now();
        let mut health = ejected(now);
        let due = now + BACKOFF.first;
        assert!(health.probed(due));
        health.failed(Illness::Connect, Duration::ZERO, true, due, MIDDLE);
        assert_eq!(health.retry_in(due), Some(BACKOFF.first * 2));
        // A success in between, of a write that was sent because no endpoint was healthy, ends it all.
        assert!(health.probed(due + BACKOFF.first * 2));
        health.succeeded();
        health.answered();
        assert_eq!(health.standing(due), Standing::Healthy);
        for _ in 0..FAILURES_TO_EJECT {
            health.failed(Illness::Connect, Duration::ZERO, false, due, MIDDLE);
        }
        assert_eq!(health.standing(due + BACKOFF.first), Standing::DueForProbe);
    }

    #[test]
    fn what_makes_a_write_wait_is_left_alone_ten_times_as_long_and_a_minute_at_most() {
        let now = Instant::now();
        for (waited, rests) in [(0, [1, 2]), (3, [30, 60]), (7, [60, 60])] {
            let mut health = Health::default();
            let waited = Duration::from_secs(waited);
            for _ in 0..FAILURES_TO_EJECT {
                health.failed(Illness::Slow, waited, false, now, MIDDLE);
            }
            assert_eq!(health.retry_in(now).unwrap().as_secs(), rests[0]);
            let due = now + LONGEST_WAIT;
            assert!(begin_trial(&mut health, due));
            health.failed(Illness::Slow, waited, true, due, MIDDLE);
            assert_eq!(health.retry_in(due).unwrap().as_secs(), rests[1]);
        }
    }
}
