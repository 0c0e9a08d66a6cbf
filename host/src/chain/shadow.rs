//! What a policy would do that is asked and not applied: `mode: shadow`, and what `{enforce: n%}` leaves out.
//!
//! Takes what it would have otherwise; gives counts of that, by kind, and the last examples. Says on which series its word
//! counts. Never changes one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::config::Mode;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::DifferenceLabels;

/// Examples that operators are shown: the last ones.
const EXAMPLES: usize = 16;

/// How a policy would have it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// A series would be dropped.
    Drop,
    /// Its labels would be others.
    Edit,
    /// It would go with another stream.
    Stream,
    /// It would count against another budget.
    Budget,
    /// The answer makes no series of it, which would be refused.
    Refuse,
    /// The policy failed, on the series of a call or on a write.
    Fail,
    /// A write would be refused.
    Reject,
}

impl Difference {
    pub const ALL: [Self; 7] = [
        Self::Drop,
        Self::Edit,
        Self::Stream,
        Self::Budget,
        Self::Refuse,
        Self::Fail,
        Self::Reject,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Edit => "edit",
            Self::Stream => "stream",
            Self::Budget => "budget",
            Self::Refuse => "refuse",
            Self::Fail => "fail",
            Self::Reject => "reject",
        }
    }
}

/// One that would have been otherwise.
#[derive(Debug, Clone)]
pub struct Example {
    pub difference: Difference,
    /// Metric and labels as they were sent, cut; empty for a write.
    pub series: String,
    /// What the policy said, cut.
    pub answer: String,
    pub at: SystemTime,
}

/// One policy's.
pub struct Shadow {
    mode: Mode,
    /// So that a tenth is another one for each policy, and the same for every process.
    seed: u64,
    asked: AtomicU64,
    counts: [AtomicU64; Difference::ALL.len()],
    counters: Vec<Counter>,
    examples: Mutex<VecDeque<Example>>,
}

impl Shadow {
    pub fn new(mode: Mode, tenant: &str, policy: &str, metrics: &Metrics) -> Self {
        let counter = |difference: Difference| {
            let labels = DifferenceLabels {
                tenant: tenant.to_owned(),
                policy: policy.to_owned(),
                kind: difference.word(),
            };
            metrics.policy_shadow_differences.get_or_create(&labels)
        };
        let counters = match mode {
            Mode::Enforce => Vec::new(),
            _ => Difference::ALL.map(counter).to_vec(),
        };
        Self {
            mode,
            seed: xxh3_64_with_seed(policy.as_bytes(), xxh3_64_with_seed(tenant.as_bytes(), 0)),
            asked: AtomicU64::new(0),
            counts: Default::default(),
            counters,
            examples: Mutex::default(),
        }
    }

    /// Whether what the policy says of a series counts.
    pub fn is_enforced_on(&self, sent: &[u8]) -> bool {
        match self.mode {
            Mode::Enforce => true,
            Mode::Shadow => false,
            Mode::EnforcePart(percent) => xxh3_64_with_seed(sent, self.seed) % 100 < u64::from(percent),
        }
    }

    pub fn is_enforced_on_all(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// So many series or writes were asked about.
    pub fn asked(&self, count: usize) {
        self.asked.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Counts a difference on so many, of which one is an example; `show` gives series and answer.
    pub fn note(&self, difference: Difference, count: u64, show: impl FnOnce() -> (String, String)) {
        self.counts[difference as usize].fetch_add(count, Ordering::Relaxed);
        if let Some(counter) = self.counters.get(difference as usize) {
            counter.inc_by(count);
        }
        let (series, answer) = show();
        let example = Example {
            difference,
            series,
            answer,
            at: SystemTime::now(),
        };
        let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        examples.truncate(EXAMPLES - 1);
        examples.push_front(example);
    }

    /// For operators; none of a policy whose word counts always.
    pub fn status(&self) -> Option<ShadowStatus> {
        if self.mode == Mode::Enforce {
            return None;
        }
        let count = |difference: Difference| {
            let count = self.counts[difference as usize].load(Ordering::Relaxed);
            (difference, count)
        };
        let examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ShadowStatus {
            asked: self.asked.load(Ordering::Relaxed),
            differences: Difference::ALL.map(count),
            examples: examples.iter().cloned().collect(),
        })
    }
}

/// What a policy would have done, since its configuration is in use.
#[derive(Debug, Clone)]
pub struct ShadowStatus {
    /// Series, and writes.
    pub asked: u64,
    pub differences: [(Difference, u64); Difference::ALL.len()],
    /// The last ones first.
    pub examples: Vec<Example>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadow(mode: Mode, policy: &str) -> Shadow {
        Shadow::new(mode, "t", policy, &Metrics::new())
    }

    #[test]
    fn a_part_is_the_same_series_each_time_and_other_ones_for_another_policy() {
        let enforced = |shadow: &Shadow| -> Vec<usize> {
            (0..10_000)
                .filter(|n: &usize| shadow.is_enforced_on(n.to_string().as_bytes()))
                .collect()
        };
        let (tenth, same) = (shadow(Mode::EnforcePart(10), "a"), shadow(Mode::EnforcePart(10), "a"));
        let of_tenth = enforced(&tenth);
        assert!((900..1100).contains(&of_tenth.len()), "{}", of_tenth.len());
        assert_eq!(of_tenth, enforced(&same));
        let other = enforced(&shadow(Mode::EnforcePart(10), "b"));
        let both = of_tenth.iter().filter(|n| other.contains(n)).count();
        assert!(both < 300, "{both}");
        let half = enforced(&shadow(Mode::EnforcePart(50), "a"));
        assert!(
            of_tenth.iter().all(|n| half.contains(n)),
            "a larger part has the smaller one in it"
        );
        assert!(enforced(&shadow(Mode::Shadow, "a")).is_empty());
        assert_eq!(enforced(&shadow(Mode::Enforce, "a")).len(), 10_000);
    }

    #[test]
    fn examples_are_the_last_ones_and_only_so_many() {
        let shadow = shadow(Mode::Shadow, "a");
        for n in 0..100 {
            shadow.note(Difference::Drop, 2, || (n.to_string(), String::new()));
        }
        let status = shadow.status().unwrap();
        assert_eq!(status.differences[Difference::Drop as usize], (Difference::Drop, 200));
        assert_eq!(status.examples.len(), EXAMPLES);
        assert_eq!(status.examples[0].series, "99");
    }
}
