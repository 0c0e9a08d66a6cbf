//! Series about which a policy's word does not count.
//!
//! Takes all that it is about to judge, puts those aside and back again, and notes what it would make of them. Never asks a
//! policy.

use super::outcome::Outcome;
use super::shadow::{Difference, Shadow};
use crate::wire::labels::label_bytes;
use crate::wire::shown_whole;

/// Longest text that a series or an answer is shown as, in bytes.
const MAX_SHOWN: usize = 512;

/// Series that a policy has no say about, put aside while it judges the others.
#[derive(Default)]
pub struct Aside(Vec<(usize, Outcome)>);

impl Aside {
    /// Takes those of the live ones that are not the policy's to judge. What stands in their places is not live.
    pub fn take<'a>(shadow: &Shadow, series: &mut [Outcome], sent: impl Fn(usize) -> &'a [u8]) -> Self {
        if shadow.is_enforced_on_all() {
            return Self::default();
        }
        let live = series.iter_mut().enumerate().filter(|(_, outcome)| outcome.is_live());
        let others = live.filter(|(at, _)| !shadow.is_enforced_on(sent(*at)));
        Self(
            others
                .map(|(at, outcome)| (at, std::mem::replace(outcome, Outcome::TooLarge)))
                .collect(),
        )
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they are, with their places.
    pub fn series(&self) -> &[(usize, Outcome)] {
        &self.0
    }

    pub fn put_back(self, series: &mut [Outcome]) {
        for (at, outcome) in self.0 {
            series[at] = outcome;
        }
    }
}

/// Notes where the policy would have had it otherwise.
pub fn compare(shadow: &Shadow, sent: &[u8], before: &Outcome, after: &Outcome) {
    if let Some(difference) = between(before, after) {
        shadow.note(difference, 1, || {
            (shown_whole(label_bytes(sent), MAX_SHOWN), after.shown(MAX_SHOWN))
        });
    }
}

fn between(before: &Outcome, after: &Outcome) -> Option<Difference> {
    let labels = |outcome: &Outcome| match outcome {
        Outcome::Edit { labels, .. } => Some(labels.clone()),
        _ => None,
    };
    match after {
        _ if before == after => None,
        Outcome::Drop { .. } => Some(Difference::Drop),
        Outcome::Reject { .. } | Outcome::TooLarge => Some(Difference::Refuse),
        _ if labels(before) != labels(after) => Some(Difference::Edit),
        _ if before.stream() != after.stream() => Some(Difference::Stream),
        _ => Some(Difference::Budget),
    }
}
