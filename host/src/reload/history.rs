//! What became of the last reloads.
//!
//! Takes a report as it is made, gives the last ones back, the newest first. Bounded in number and in bytes: of a report with
//! hundreds of mistakes the first ones are kept, and how many there were.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::report::{Broken, Report};
use crate::model::{TenantId, plain};
use crate::pipeline::Pipeline;

const KEPT: usize = 50;
/// Of mistakes of one kind in one reload.
const MAX_TEXTS: usize = 20;
/// Longest text of one, in bytes.
const MAX_TEXT: usize = 1 << 10;
/// Of tenants that a reload changed.
const MAX_CHANGED: usize = 100;

/// What became of one reload.
#[derive(Debug, Clone)]
pub struct Reloaded {
    /// Cut to what is kept of it.
    pub report: Report,
    pub took: Duration,
    /// As many as were broken, however many of them are in the report.
    pub broken: usize,
    /// Tenants that have another configuration than before, are new, or are gone; the first ones.
    pub changed: Vec<TenantId>,
    pub all_changed: usize,
    /// The number of the newest generation of any tenant that serves.
    pub generation: u64,
}

/// One per process.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<Arc<Reloaded>>>);

impl History {
    pub(super) fn note(&self, report: &Report, took: Duration, before: Option<&Pipeline>, after: &Pipeline) {
        let (was, is) = (before.map(numbers).unwrap_or_default(), numbers(after));
        let gone = was.keys().filter(|id| !is.contains_key(*id));
        let changed = is
            .iter()
            .filter(|(id, number)| was.get(*id) != Some(number))
            .map(|(id, _)| id);
        let mut changed: Vec<TenantId> = changed.chain(gone).map(|id| (*id).clone()).collect();
        changed.sort();
        let all_changed = changed.len();
        changed.truncate(MAX_CHANGED);
        self.push(Reloaded {
            broken: report.broken.len(),
            report: cut(report),
            took,
            changed,
            all_changed,
            generation: is.into_values().max().unwrap_or(0),
        });
    }

    fn push(&self, reloaded: Reloaded) {
        let mut all = self.lock();
        all.truncate(KEPT - 1);
        all.push_front(Arc::new(reloaded));
    }

    pub(super) fn all(&self) -> Vec<Arc<Reloaded>> {
        self.lock().iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Reloaded>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn numbers(pipeline: &Pipeline) -> BTreeMap<&TenantId, u64> {
    let serving = pipeline.tenants.serving();
    serving
        .map(|generation| (&generation.config().id, generation.number()))
        .collect()
}

fn cut(report: &Report) -> Report {
    let texts = |all: &[String]| all.iter().take(MAX_TEXTS).map(|text| cut_text(text)).collect();
    let broken = |broken: &Broken| Broken {
        error: cut_text(&broken.error),
        ..broken.clone()
    };
    Report {
        at: report.at,
        cause: report.cause,
        errors: texts(&report.errors),
        plugins: texts(&report.plugins),
        broken: report.broken.iter().take(MAX_TEXTS).map(broken).collect(),
        warnings: texts(&report.warnings),
    }
}

/// Line by line, so that these stay.
fn cut_text(text: &str) -> String {
    let (mut out, mut left) = (String::new(), MAX_TEXT);
    for line in text.lines() {
        if left == 0 {
            out.push_str("\n…");
            break;
        }
        let line = plain(line, left);
        left = left.saturating_sub(line.len().max(1));
        out.push_str(if out.is_empty() { "" } else { "\n" });
        out.push_str(&line);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reloads_are_kept_and_of_each_the_first_mistakes() {
        let history = History::default();
        let many: Vec<String> = (0..1000).map(|n| format!("error {n}{}", "x".repeat(5000))).collect();
        let broken = |n: usize| Broken {
            tenant: None,
            file: format!("{n}.yaml").into(),
            error: many.join("\n"),
            serving: None,
            is_restored: false,
            credentials_unknown: false,
        };
        let report = Report {
            errors: many.clone(),
            broken: (0..500).map(broken).collect(),
            ..Report::new("start")
        };
        for n in 0..60 {
            history.push(Reloaded {
                broken: report.broken.len(),
                report: cut(&report),
                took: Duration::from_secs(n),
                changed: Vec::new(),
                all_changed: 0,
                generation: 0,
            });
        }
        let all = history.all();
        assert_eq!(
            (all.len(), all[0].took, all[49].took),
            (50, Duration::from_secs(59), Duration::from_secs(10))
        );
        let kept = &all[0].report;
        assert_eq!((kept.errors.len(), kept.broken.len(), all[0].broken), (20, 20, 500));
        let texts = kept.errors.iter().chain(kept.broken.iter().map(|broken| &broken.error));
        assert!(
            texts.clone().all(|text| text.len() <= MAX_TEXT + 8),
            "{:?}",
            kept.errors[0].len()
        );
        assert_eq!(cut_text("a\nb"), "a\nb");
    }
}
