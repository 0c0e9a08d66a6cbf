//! Passive health of one endpoint: failures in a row eject it, one success brings it back.
//!
//! Takes outcomes and the time, gives a standing; a plain state machine, so that tests need no clock. Never asks the
//! endpoint anything itself: the receivers have no cheap request that says more than a write does.

use std::time::Duration;

use tokio::time::Instant;

use super::balance::Standing;

/// Failures in a row that eject. One may be a restart or a race with an idle timeout; five, as Envoy has it, would
/// send five writes into a connect timeout where three say the same.
pub const FAILURES_TO_EJECT: u32 = 3;

/// First back-off: about as long as a receiver needs to restart.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Longest back-off: the delay an operator accepts until a repaired receiver is used again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// A failure that is the endpoint's. A 4xx is not one: the endpoint lives and has judged the write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Illness {
    Connect,
    Reset,
    Timeout,
    ServerError,
    Nonsense,
}

impl Illness {
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::ServerError => "server_error",
            Self::Nonsense => "nonsense",
        }
    }
}

#[derive(Debug, Default)]
pub struct Health {
    failures_in_a_row: u32,
    ejected: Option<Ejection>,
    last_illness: Option<Illness>,
}

#[derive(Debug, Clone, Copy)]
struct Ejection {
    /// How often in a row a trial has failed.
    failed_trials: u32,
    /// When the next trial may run.
    until: Instant,
    /// One at a time: a dead endpoint gets one request per back-off, not one per sender.
    trial_running: bool,
}

impl Health {
    pub fn standing(&self, now: Instant) -> Standing {
        match self.ejected {
            None => Standing::Healthy,
            Some(e) if now >= e.until && !e.trial_running => Standing::DueForTrial,
            Some(_) => Standing::Ejected,
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.ejected.is_none()
    }

    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    pub fn last_illness(&self) -> Option<Illness> {
        self.last_illness
    }

    /// Until the next trial; `None` for a healthy endpoint.
    pub fn retry_in(&self, now: Instant) -> Option<Duration> {
        self.ejected.map(|e| e.until.saturating_duration_since(now))
    }

    /// A request is sent. `true` where it is the trial; its end has to be told to one of the three below.
    pub fn started(&mut self, now: Instant) -> bool {
        let due = self.standing(now) == Standing::DueForTrial;
        if let (true, Some(ejection)) = (due, &mut self.ejected) {
            ejection.trial_running = true;
        }
        due
    }

    /// The endpoint answered, whatever it thinks of the write.
    pub fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
        self.ejected = None;
    }

    /// `random` spreads the trials of many gateways: they saw the endpoint die at the same time.
    pub fn failed(&mut self, illness: Illness, trial: bool, now: Instant, random: u64) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.last_illness = Some(illness);
        let failed_trials = match self.ejected {
            None if self.failures_in_a_row < FAILURES_TO_EJECT => return,
            None => 0,
            Some(ejection) if trial => ejection.failed_trials.saturating_add(1),
            // A straggler from before the ejection, or sent because no endpoint is healthy: it says nothing new.
            Some(_) => return,
        };
        self.ejected = Some(Ejection {
            failed_trials,
            until: now + backoff(failed_trials, random),
            trial_running: false,
        });
    }

    /// The request ended without saying anything about the endpoint: its sender went away.
    pub fn abandoned(&mut self, trial: bool) {
        if let (true, Some(ejection)) = (trial, &mut self.ejected) {
            ejection.trial_running = false;
        }
    }
}

#[cfg(test)]
impl Health {
    pub(super) fn end_backoff(&mut self, now: Instant) {
        if let Some(ejection) = &mut self.ejected {
            ejection.until = now;
        }
    }
}

/// Doubling from [`FIRST_BACKOFF`] to [`LONGEST_BACKOFF`], of which between three and five quarters.
fn backoff(failed_trials: u32, random: u64) -> Duration {
    let doubled = FIRST_BACKOFF
        .saturating_mul(1 << failed_trials.min(16))
        .min(LONGEST_BACKOFF);
    let thousandths = u32::try_from(750 + random % 501).unwrap_or(1000);
    doubled * thousandths / 1000
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
        assert_eq!(health.retry_in(now), Some(FIRST_BACKOFF));
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
        let just_before = now + FIRST_BACKOFF - Duration::from_nanos(1);
        assert_eq!(health.standing(just_before), Standing::Ejected);
        assert!(!health.started(just_before));
        let due = now + FIRST_BACKOFF;
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
        now += LONGEST_BACKOFF;
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
        assert_eq!(health.standing(now + FIRST_BACKOFF), Standing::DueForTrial);
    }

    #[test]
    fn an_abandoned_trial_leaves_the_next_one_due() {
        let now = Instant::now();
        let mut health = ejected(now);
        let due = now + FIRST_BACKOFF;
        assert!(health.started(due));
        health.abandoned(true);
        assert_eq!(health.standing(due), Standing::DueForTrial);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        for random in 0..2000 {
            let got = backoff(0, random);
            assert!(got >= FIRST_BACKOFF * 3 / 4 && got <= FIRST_BACKOFF * 5 / 4, "{got:?}");
        }
        assert!(backoff(u32::MAX, 500) <= LONGEST_BACKOFF * 5 / 4);
    }
}
