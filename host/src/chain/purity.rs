//! A policy's record of being asked again, whether it is pure.
//!
//! Takes how long judging and asking again took, and how many were asked about; gives which part of the next new series is
//! to be asked about again: one in [`ONE_IN`], and some at once where none was for a while. Never for more than a small part
//! of the time that the policy takes anyway. A policy that says two things of a series is not pure: what is remembered of
//! its verdicts is worth nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;

use crate::sandbox::PolicyId;

/// One new series in so many is asked about again.
const ONE_IN: u64 = 64;
const ALL: u64 = 1 << 32;
/// Of the first ones of a generation this many are, and of a tenant with few new ones some every five seconds.
const FIRST: u64 = 32;
const SOME: u64 = 4;
const SOME_EVERY: Duration = Duration::from_secs(5);
/// Time for asking again: a fiftieth of what judging takes. And a little for starting a slow instance, when there is little to judge.
const PART: u32 = 50;
const IDLE_PART: u32 = 5000;
const AT_FIRST: Duration = Duration::from_secs(1);

/// Two answers about one series, fit to be shown to operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impurity {
    /// Metric and labels, cut.
    pub series: String,
    /// By its metric alone: a log has no label values.
    pub metric: String,
    /// As they may be logged.
    pub said: [String; 2],
    /// In full, cut.
    pub answers: [String; 2],
    pub at: SystemTime,
}

/// A policy's record of being asked again.
pub struct Purity {
    /// Whose instances are asked again: other ones than those that serve.
    pub instances: PolicyId,
    pub found: OnceLock<Impurity>,
    pub counted: Counter,
    again: Counter,
    born: Instant,
    asked: AtomicU64,
    /// When some were picked last, in milliseconds since it was born.
    last: AtomicU64,
    /// Nanoseconds.
    judged: AtomicU64,
    spent: AtomicU64,
}

impl Purity {
    pub fn new(instances: PolicyId, counted: Counter, again: Counter) -> Self {
        Self {
            instances,
            found: OnceLock::new(),
            counted,
            again,
            born: Instant::now(),
            asked: AtomicU64::new(0),
            last: AtomicU64::new(0),
            judged: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Judging took so long.
    pub fn judged(&self, took: Duration) {
        self.judged.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// So many series were asked about again, which took so long.
    pub fn asked_again(&self, series: usize, took: Duration) {
        self.asked.fetch_add(series as u64, Ordering::Relaxed);
        self.again.inc_by(series as u64);
        self.spent.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
        let since_birth = self.born.elapsed().as_millis() as u64;
        self.last.store(since_birth, Ordering::Relaxed);
    }

    /// How many of 2^32 to pick among so many new series; none while asking again took its part of the time.
    pub fn part(&self, series: usize, now: Instant) -> u64 {
        let load = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        let alive = now.saturating_duration_since(self.born);
        let allowed = load(&self.judged) / PART + alive / IDLE_PART + AT_FIRST;
        if load(&self.spent) >= allowed || self.found.get().is_some() {
            return 0;
        }
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        let at_once = match self.asked.load(Ordering::Relaxed) {
            few if few < FIRST => FIRST - few,
            _ if alive.saturating_sub(last) >= SOME_EVERY => SOME,
            _ => 0,
        };
        // At least one of a few.
        (ALL / ONE_IN).max(ALL / series.max(1) as u64 * at_once).min(ALL)
    }
}
