//! Judging a write: memo first, the chain for what the memo does not know, host checks on everything.
//!
//! Takes a body, has those of its series proved that were never met before (`recall`), gives [`Judged`]: the body with
//! the fate of each series. A `Judged` can be made only here, so nothing reaches encoding that was not judged. Then asks
//! the policies that judge whole writes, and gives one answer: [`Admission`]. Never forwards, never charges.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use crate::chain::{Batch, CallError, Chain, Charge, Decision, Route, Settle, Terms, Write};
use crate::config;
use crate::model::{Protocol, TenantId};
use crate::sandbox::Undone;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{BudgetLabels, TenantLabels, signed};
use crate::wire::{HashKey, Measured, Recognised, Scanned};

mod knowledge;
mod law;
mod measure;
pub mod memo;
mod pointed;
mod recall;
mod store;
mod tally;
pub mod verdict;
mod weigh;
mod words;

#[cfg(test)]
mod tests;

use knowledge::Knowledge;
pub use knowledge::MemoClock;
use law::Law;
use measure::Measure;
use memo::{Memo, NewSeries};
pub use recall::{Body, RecallError, Recalled};
use recall::{Recall, Recollection};
use store::Store;
use tally::tally;
pub use tally::{Dropped, Refused, Tally};
pub use verdict::Bug;
use verdict::{Edits, Fate, Verdict};
pub use weigh::Ruling;
pub use words::{Blame, DropWords};

/// Memo bytes per series that may be active: an entry (29 to 57) and the labels of an edited one (about 300).
const MEMO_BYTES_PER_SERIES: u64 = 384;
/// A tenant with a tiny series limit still remembers what it drops.
const MIN_MEMO_BYTES: u64 = 4 << 20;
/// No tenant's memo grows past this, whatever its series limit: 64-bit counts, but one machine's memory.
const MAX_MEMO_BYTES: u64 = 1 << 30;
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Undone(#[from] Undone),
    #[error(transparent)]
    Bug(#[from] Bug),
}

impl JudgeError {
    /// The metric's `reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Call(CallError::Failed { .. }) => "policy_failed",
            Self::Call(CallError::Quarantined { .. }) => "policy_quarantined",
            Self::Call(CallError::Impure { .. }) => "policy_impure",
            Self::Call(CallError::Overloaded) => "policy_overloaded",
            Self::Undone(Undone::Full) => "overloaded_processor",
            Self::Bug(_) | Self::Call(CallError::Lost) | Self::Undone(Undone::Lost) => "bug",
        }
    }

    /// It is this program's own fault, and nobody's who wrote or configured anything.
    pub fn is_bug(&self) -> bool {
        matches!(
            self,
            Self::Bug(_) | Self::Call(CallError::Lost) | Self::Undone(Undone::Lost)
        )
    }

    /// How long the same write would meet the same failure, as far as that is known.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Call(CallError::Quarantined { retry_after, .. }) => *retry_after,
            _ => Duration::from_secs(1),
        }
    }
}

/// One generation of one tenant's policies, with the memo that outlives it.
pub struct Judge {
    tenant: TenantId,
    chain: Chain,
    law: Arc<Law>,
    /// The law, as the chain applies it.
    settle: Settle<Result<Verdict, Bug>>,
    knowledge: Arc<Knowledge>,
    metrics: Arc<Metrics>,
    hits: Counter,
    misses: Counter,
    shown_budgets: Vec<BudgetLabels>,
}

/// A write with the fate of each of its series.
pub struct Judged {
    scanned: Scanned,
    fates: Vec<Fate>,
    edits: Edits,
    new: NewSeries,
    /// Places of the series that are `new`.
    fresh: Vec<u32>,
    pub tally: Tally,
}

/// Who sent a write, and how: what policies are told of it besides its series.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// What the credential proved; empty for a bearer token.
    pub subject: &'a str,
    pub protocol: Protocol,
    pub compressed_bytes: u64,
}

/// What the policies that judge writes say of one.
#[derive(Debug)]
pub enum Admission {
    Admit(Admitted),
    /// For good. The reason is fit to be shown to the sender.
    Reject {
        reason: Arc<str>,
    },
}

/// What a write is admitted under, and which streams it has.
#[derive(Debug)]
pub struct Admitted {
    streams: Vec<Arc<str>>,
    /// `None` if no policy asks for anything.
    terms: Option<Arc<Terms>>,
}

impl Admitted {
    /// The streams' names, by the numbers that [`Tally::streams`] has them under.
    pub fn streams(&self) -> &[Arc<str>] {
        &self.streams
    }

    pub fn charges(&self) -> &[Charge] {
        self.terms.as_ref().map_or(&[], |terms| &terms.charges)
    }

    pub fn routes(&self) -> &[Route] {
        self.terms.as_ref().map_or(&[], |terms| &terms.routes)
    }
}

impl Judged {
    pub fn scanned(&self) -> &Scanned {
        &self.scanned
    }

    /// In the order of the scanned series.
    pub fn fates(&self) -> &[Fate] {
        &self.fates
    }

    /// The labels of the edited series.
    pub fn edits(&self) -> &Edits {
        &self.edits
    }

    /// Bytes of memory held for its edits and its new series.
    pub fn size(&self) -> usize {
        self.edits.size() + self.new.size() + self.fresh.capacity() * size_of::<u32>()
    }

    /// Every series is forwarded under the labels it came with.
    pub fn all_kept(&self) -> bool {
        self.tally.edited.series == 0 && self.tally.dropped.is_empty() && self.tally.refused.is_empty()
    }
}

fn shown_budgets(tenant: &config::Tenant) -> Vec<BudgetLabels> {
    let labels = |budget: &String| BudgetLabels {
        tenant: tenant.id.to_string(),
        budget: budget.clone(),
    };
    tenant.shown_budgets.iter().map(labels).collect()
}

/// What it shows, the next generation may not; if that does, it shows it again when it is asked.
impl Drop for Judge {
    fn drop(&mut self) {
        for labels in &self.shown_budgets {
            self.metrics.budget_active_series.remove(labels);
            self.metrics.budget_limit.remove(labels);
        }
    }
}

impl Judge {
    pub fn new(
        tenant: &config::Tenant,
        chain: Chain,
        memo: Arc<Memo>,
        generation: u16,
        key: Arc<HashKey>,
        clock: MemoClock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let budget = tenant.limits.max_active_series.saturating_mul(MEMO_BYTES_PER_SERIES);
        let labels = TenantLabels {
            tenant: tenant.id.to_string(),
        };
        let law = Arc::new(Law::new(tenant));
        let applied = law.clone();
        Self {
            tenant: tenant.id.clone(),
            chain,
            law,
            settle: Arc::new(move |sent, outcome| applied.verdict(sent, outcome)),
            knowledge: Arc::new(Knowledge {
                memo,
                key,
                clock,
                generation,
                max_memo_bytes: budget.clamp(MIN_MEMO_BYTES, MAX_MEMO_BYTES) as usize,
                max_active_series: tenant.limits.max_active_series,
                foresight: Arc::default(),
            }),
            shown_budgets: shown_budgets(tenant),
            hits: metrics.memo_hits.get_or_create(&labels),
            misses: metrics.memo_misses.get_or_create(&labels),
            metrics,
        }
    }

    /// Of other policies of the same tenant, whose series are those that are active. `tenant` is to show no budgets.
    #[must_use]
    pub fn aside(&self, tenant: &config::Tenant, chain: Chain) -> Self {
        let Knowledge {
            memo,
            key,
            clock,
            generation,
            ..
        } = &*self.knowledge;
        let metrics = Arc::clone(&self.metrics);
        Self::new(
            tenant,
            chain,
            Arc::clone(memo),
            *generation,
            Arc::clone(key),
            *clock,
            metrics,
        )
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Series of this tenant let through lately.
    pub fn active_series(&self) -> u64 {
        self.knowledge.stats().active_series
    }

    /// Decodes a body, looks every series up, and has those proved that are not known.
    ///
    /// # Errors
    /// See [`RecallError`].
    pub async fn recall(&self, body: Body) -> Result<Recalled, RecallError> {
        self.chain.work(Recall::new(Arc::clone(&self.knowledge), body)).await?
    }

    /// Decodes a body of 2.0 and finds out how much memory it will take, or what its series are called.
    ///
    /// # Errors
    /// See [`RecallError`].
    pub async fn measure(&self, body: Body) -> Result<Measured, RecallError> {
        let measure = Measure::new(Arc::clone(&self.knowledge), body);
        self.chain.work(measure).await?
    }

    /// As [`Judge::recall`], of a body of 2.0 for which there is room.
    ///
    /// # Errors
    /// See [`RecallError`].
    pub async fn recall_measured(&self, measured: Measured) -> Result<Recalled, RecallError> {
        let recall = Recall::measured(Arc::clone(&self.knowledge), measured);
        self.chain.work(recall).await?
    }

    /// Gives every series its fate.
    ///
    /// # Errors
    /// If a policy failed and its `on_failure` is `retry`. Nothing was decided then.
    pub async fn judge(&self, recalled: Recalled) -> Result<Judged, JudgeError> {
        let (all, misses) = (recalled.recollection.fates.len(), recalled.series.unknown().len());
        self.hits.inc_by((all - misses) as u64);
        let (series, recollection) = match misses {
            0 => (recalled.series, recalled.recollection),
            _ => {
                self.misses.inc_by(misses as u64);
                self.judge_new(recalled).await?
            }
        };
        let Recollection { fates, edits, new } = recollection;
        let fresh = new.places(&series);
        let scanned = series.into_scanned();
        if fates.len() != scanned.series().len() {
            return Err(Bug::NoVerdict.into());
        }
        let tally = tally(&scanned, &fates, self.law.words(), &new)?;
        Ok(Judged {
            scanned,
            fates,
            edits,
            new,
            fresh,
            tally,
        })
    }

    /// The names of the streams that are left, by the numbers that [`Tally::streams`] has them under.
    ///
    /// # Errors
    /// None but a [`Bug`].
    pub fn streams(&self, judged: &Judged) -> Result<Vec<Arc<str>>, Bug> {
        self.law.words().streams(judged.tally.streams.len())
    }

    /// Asks the policies that judge whole writes. What they ask for is the caller's to route and to charge, and then
    /// [`Judge::admitted`] is to be called.
    ///
    /// # Errors
    /// If a policy failed and its `on_failure` is `retry`.
    pub async fn admit(&self, judged: &Judged, origin: &Origin<'_>) -> Result<Admission, JudgeError> {
        let streams = self.streams(judged)?;
        if !self.chain.judges_writes() {
            return Ok(Admission::Admit(Admitted { streams, terms: None }));
        }
        let new_series = judged.new.len();
        let write = Write {
            subject: origin.subject.to_owned(),
            protocol: origin.protocol,
            compressed_bytes: origin.compressed_bytes,
            decoded_bytes: judged.scanned.length() as u64,
            active_series: self.active_series() + new_series,
            new_series,
            streams: streams
                .iter()
                .cloned()
                .zip(judged.tally.streams.iter().copied())
                .collect(),
        };
        Ok(match self.chain.admit(write).await? {
            Decision::Reject { reason, .. } => Admission::Reject { reason },
            Decision::Admit(terms) => Admission::Admit(Admitted {
                streams,
                terms: Some(terms),
            }),
        })
    }

    /// Takes an admitted write's new series into the active set. Those for which other writes have left no room since
    /// are refused after all.
    ///
    /// # Errors
    /// None but a [`Bug`].
    pub fn admitted(&self, judged: &mut Judged) -> Result<(), JudgeError> {
        let over = self.knowledge.activate(&judged.new);
        if over.is_empty() {
            return Ok(());
        }
        let scanned = &judged.scanned;
        for (series, fate) in scanned.series().iter().zip(&mut judged.fates) {
            if let Some(over) = over.get(&self.knowledge.key.hash(scanned.label_bytes(series))) {
                *fate = *over;
            }
        }
        let fates = &judged.fates;
        let is_over = |fate: &Fate| matches!(fate, Fate::OverActiveSeries | Fate::OverBudget { .. });
        judged.fresh.retain(|at| !is_over(&fates[*at as usize]));
        judged.tally = tally(scanned, &judged.fates, self.law.words(), &judged.new)?;
        Ok(())
    }

    /// Publishes what the memo holds. Called when metrics are read, not per request.
    pub fn publish(&self) {
        let stats = self.knowledge.stats();
        let labels = TenantLabels {
            tenant: self.tenant.to_string(),
        };
        self.metrics
            .active_series
            .get_or_create(&labels)
            .set(stats.active_series as i64);
        self.metrics
            .memo_entries
            .get_or_create(&labels)
            .set(stats.entries as i64);
        self.metrics.memo_bytes.get_or_create(&labels).set(stats.bytes as i64);
        self.shown_budgets.iter().for_each(|labels| self.publish_budget(labels));
    }

    /// One that has no series has no bound: no verdict names it.
    fn publish_budget(&self, labels: &BudgetLabels) {
        let metrics = &self.metrics;
        let stats = self.knowledge.budget(&labels.budget);
        let active_series = stats.as_ref().map_or(0, |stats| stats.active_series);
        metrics
            .budget_active_series
            .get_or_create(labels)
            .set(signed(active_series));
        match stats {
            Some(stats) => {
                let limit = metrics.budget_limit.get_or_create(labels);
                limit.set(signed(stats.max_active_series));
            }
            None => metrics.budget_limit.remove(labels),
        }
    }

    async fn judge_new(&self, recalled: Recalled) -> Result<(Recognised, Recollection), JudgeError> {
        let scanned = recalled.scanned();
        let range = |&at: &usize| {
            let range = scanned.series()[at].labels_range();
            range.start as u32..range.end as u32
        };
        let batch = Batch {
            body: scanned.body().clone(),
            labels: recalled.distinct.series.iter().map(range).collect(),
        };
        let said = self.chain.relabel_and(batch, self.settle.clone()).await?;
        Ok(self
            .chain
            .work(Store::new(Arc::clone(&self.knowledge), recalled, said))
            .await??)
    }
}
