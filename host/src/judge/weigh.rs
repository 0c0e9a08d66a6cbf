//! What becomes of series, in words, for whoever asks and sends nothing.
//!
//! Takes label bytes that a scan has proved; gives what the chain and the law make of each, as they make it of a write's.
//! Nothing is looked up in the memo but whether a series is active, and nothing is remembered: a question costs no series
//! its place, and its answer is the policies' own.

use std::sync::Arc;

use super::verdict::{Bug, Verdict};
use super::words::{Blame, DropWords};
use super::{Judge, JudgeError};
use crate::chain::{Batch, Decision, Relabelled, Testimony, Witness, Write};
use crate::model::{Label, Refusal, SeriesBudget};
use crate::wire::labels::labels;

/// What becomes of one series, as the law leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    Keep {
        stream: Arc<str>,
        budget: Option<Arc<SeriesBudget>>,
    },
    Edit {
        labels: Vec<Label>,
        stream: Arc<str>,
        budget: Option<Arc<SeriesBudget>>,
    },
    Drop(DropWords),
    Refuse {
        refusal: Refusal,
        blame: Blame,
    },
}

impl Judge {
    /// Each series by itself, in order.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub async fn weigh(&self, series: Batch) -> Result<Vec<Ruling>, JudgeError> {
        let said = self.chain.relabel_and(series, self.settle.clone()).await?;
        self.rulings(said)
    }

    /// One series, and what was left of it after each policy; that is to be had of a chain that fails, too.
    pub async fn weigh_watched(&self, series: Batch) -> (Result<Ruling, JudgeError>, Vec<Testimony>) {
        let witness = Witness::default();
        let said = self
            .chain
            .relabel_watched(series, self.settle.clone(), witness.clone())
            .await;
        let rulings = said.map_err(JudgeError::from).and_then(|said| self.rulings(said));
        let ruling = rulings.and_then(|mut all| all.pop().ok_or_else(|| Bug::NoVerdict.into()));
        (ruling, witness.seen())
    }

    /// What policies decide about a write, and each of them by itself.
    pub async fn admit_watched(&self, write: Write) -> (Result<Decision, JudgeError>, Vec<Testimony>) {
        let witness = Witness::default();
        let decision = self.chain.admit_watched(write, witness.clone()).await;
        (decision.map_err(JudgeError::from), witness.seen())
    }

    /// Whether the series with these labels is active. It is so no longer or shorter for being asked about.
    pub fn is_active(&self, label_bytes: &[u8]) -> bool {
        let hash = self.knowledge.key.hash(label_bytes);
        self.knowledge.memo.is_active(hash, self.knowledge.clock.tick())
    }

    /// Whether one more series may count against it now.
    pub fn has_room(&self, budget: &SeriesBudget) -> bool {
        let active = self
            .knowledge
            .budget(&budget.name)
            .map_or(0, |stats| stats.active_series);
        active < budget.max_active_series
    }

    fn rulings(&self, said: Relabelled<Result<Verdict, Bug>>) -> Result<Vec<Ruling>, JudgeError> {
        let rulings = said.outcomes.into_iter().map(|verdict| self.ruling(verdict?));
        Ok(rulings.collect::<Result<_, Bug>>()?)
    }

    fn ruling(&self, verdict: Verdict) -> Result<Ruling, Bug> {
        let words = self.law.words();
        let stream = |number: u16| words.streams(usize::from(number) + 1)?.pop().ok_or(Bug::NoStream);
        Ok(match verdict {
            Verdict::Keep { stream: number, budget } => Ruling::Keep {
                stream: stream(number)?,
                budget,
            },
            Verdict::Edit {
                labels: bytes,
                stream: number,
                budget,
            } => Ruling::Edit {
                labels: owned(&bytes),
                stream: stream(number)?,
                budget,
            },
            Verdict::Drop { reason } => Ruling::Drop(words.of_drop(reason)?),
            Verdict::Reject { refusal, blame } => Ruling::Refuse {
                refusal,
                blame: words.of_blame(blame)?,
            },
        })
    }
}

fn owned(label_bytes: &[u8]) -> Vec<Label> {
    let label = |(name, value): (&str, &str)| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    labels(label_bytes).map(label).collect()
}
