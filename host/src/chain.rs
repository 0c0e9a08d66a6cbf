//! A tenant's chain of policies, ready to judge.
//!
//! Takes the tenant's policies of one generation; gives outcomes for series and decisions about writes, each whole
//! chain in one visit to a plugin thread. Built only of plugins that loaded, took their settings and judged a
//! golden batch. Never waits for another tenant's plugin longer than its deadline, and never gives half an answer:
//! where a policy fails, `on_failure` says whether the write fails or goes on without it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config;
use crate::sandbox::{Effort, Engine, Fault, Job, Rank, Undone, Work};
use crate::telemetry::Metrics;

mod admission;
mod again;
mod aside;
mod batch;
mod context;
mod decisions;
mod labels;
mod member;
mod members;
mod outcome;
mod pace;
mod purity;
mod quarantine;
mod relabel;
mod samples;
mod search;
mod shadow;
mod trial;
mod twice;
mod witness;
mod words;
mod write;

#[cfg(test)]
pub(crate) mod tests;

use admission::AdmitJob;
pub(crate) use admission::{Opinion, checked as checked_decision, streams as streams_told, told};
pub use batch::Batch;
pub use context::Context;
pub use labels::{LabelSet, Unfit};
use member::Member;
pub use member::{FailedSeries, PolicyFailure, PolicyInfo, PolicyStatus};
pub use members::CallError;
pub use members::Condemned;
use members::Members;
pub use outcome::Outcome;
pub(crate) use pace::{FIRST as FIRST_SERIES, MOST_SERIES};
pub use purity::Impurity;
pub(crate) use relabel::BATCH_BYTES;
use relabel::RelabelJob;
pub use relabel::{Relabelled, Settle, most_edited};
pub use samples::{PolicyWatch, Samples};
pub use shadow::{Difference, Example, ShadowStatus};
pub use trial::BuildFault;
pub use witness::{After, Testimony, Witness};
pub use words::MAX_STREAMS;
pub(crate) use words::{reason_kept, stream_fault};
pub use write::{Charge, Decision, Route, Terms, Write};

/// Series whose outcome is settled at once where no policy judges any: about 200 us.
const SETTLED_PER_STEP: usize = 256;

/// Why a chain could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy}: plugin {plugin} {fault}")]
pub struct BuildError {
    pub policy: String,
    pub plugin: String,
    pub fault: BuildFault,
}

impl BuildError {
    /// The same plugin may well do a moment later: there was no room to try it, or no processor.
    pub fn may_pass(&self) -> bool {
        self.fault.may_pass()
    }

    /// What the plugin itself said of its settings.
    pub fn of_settings(&self) -> Option<&str> {
        match &self.fault {
            BuildFault::Configure(Fault::Error(said)) => Some(said),
            _ => None,
        }
    }
}

#[derive(Clone)]
pub struct Chain {
    members: Arc<Members>,
    generation: u64,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("tenant", &self.members.tenant)
            .field("generation", &self.generation)
            .field("policies", &self.members.all.len())
            .finish_non_exhaustive()
    }
}

impl Chain {
    /// Loads, links, configures and tries every policy, on plain series and on `samples` of what the tenant sent lately.
    ///
    /// # Errors
    /// Names the first policy that cannot be used, and why.
    pub async fn build_with(
        engine: &Arc<Engine>,
        context: &Context,
        policies: &[config::Policy],
        generation: u64,
        samples: &Arc<Samples>,
    ) -> Result<Self, BuildError> {
        Self::build_counted(engine, engine.metrics(), context, policies, generation, samples).await
    }

    /// As [`Chain::build_with`], of policies that are only asked what they would say: what they take is in no metric, they are
    /// not tried on what the tenant sent, and what they are asked about is not kept.
    ///
    /// # Errors
    /// As [`Chain::build_with`].
    pub async fn build_aside(
        engine: &Arc<Engine>,
        context: &Context,
        policies: &[config::Policy],
        generation: u64,
        watch: &Arc<PolicyWatch>,
    ) -> Result<Self, BuildError> {
        let (metrics, samples) = (Arc::new(Metrics::new()), Arc::new(Samples::new(watch)));
        Self::build_counted(engine, &metrics, context, policies, generation, &samples).await
    }

    async fn build_counted(
        engine: &Arc<Engine>,
        metrics: &Arc<Metrics>,
        context: &Context,
        policies: &[config::Policy],
        generation: u64,
        samples: &Arc<Samples>,
    ) -> Result<Self, BuildError> {
        let error = |policy: &config::Policy, fault| BuildError {
            policy: policy.name.clone(),
            plugin: policy.plugin.name.clone(),
            fault,
        };
        let context = Arc::new(context.clone());
        let mut all = Vec::with_capacity(policies.len());
        for policy in policies {
            let plugin = engine.load(&policy.plugin).await;
            let plugin = plugin.map_err(|fault| error(policy, fault.into()))?;
            all.push(Member::new(engine, metrics, &context, policy, plugin, samples));
        }
        let members = Arc::new(Members::new(
            engine.clone(),
            context.tenant.clone(),
            all,
            Arc::clone(samples),
        ));
        for (place, policy) in policies.iter().enumerate() {
            let tried = trial::try_out(&members, place).await;
            tried.map_err(|fault| error(policy, fault))?;
        }
        Ok(Self { members, generation })
    }

    /// Whether any policy judges series.
    pub fn judges_series(&self) -> bool {
        self.members.judging_series().next().is_some()
    }

    /// Whether any policy judges writes.
    pub fn judges_writes(&self) -> bool {
        self.members.judging_writes().next().is_some()
    }

    /// In the order they run.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &PolicyInfo> {
        self.members.all.iter().map(|member| &member.info)
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same policies with their instances, as those of another generation.
    #[must_use]
    pub fn of_generation(&self, generation: u64) -> Self {
        Self {
            members: Arc::clone(&self.members),
            generation,
        }
    }

    /// Why it is not to serve on, if that was found.
    pub fn condemned(&self) -> Option<Condemned> {
        self.members.condemned()
    }

    pub fn status(&self) -> Vec<PolicyStatus> {
        self.members.all.iter().map(Member::status).collect()
    }

    /// Judges series, each by the whole chain.
    ///
    /// # Errors
    /// As [`Chain::relabel_and`].
    pub async fn relabel(&self, batch: Batch) -> Result<Relabelled<Outcome>, CallError> {
        self.relabel_and(batch, Arc::new(|_: &[u8], outcome| outcome)).await
    }

    /// Judges series, each by the whole chain, and settles at once what its outcome comes to, on the plugin thread where
    /// policies judge series. Dropping the future gives up what has not been judged yet.
    ///
    /// # Errors
    /// If a policy failed that may not be left out, or nothing could be run.
    pub async fn relabel_and<V: Send + 'static>(
        &self,
        batch: Batch,
        settle: Settle<V>,
    ) -> Result<Relabelled<V>, CallError> {
        if batch.labels.is_empty() || !self.judges_series() {
            return Ok(self.work(Kept::new(batch, settle)).await?);
        }
        let (reply, answer) = oneshot::channel();
        let job = RelabelJob::new(self.members.clone(), batch, settle, reply);
        self.submit(Rank::Begins, Box::new(job))?;
        answer.await.unwrap_or(Err(CallError::Lost))
    }

    /// As [`Chain::relabel_and`], of one series; `witness` sees what each policy makes of it.
    ///
    /// # Errors
    /// As [`Chain::relabel_and`].
    pub async fn relabel_watched<V: Send + 'static>(
        &self,
        batch: Batch,
        settle: Settle<V>,
        witness: Witness,
    ) -> Result<Relabelled<V>, CallError> {
        if !self.judges_series() {
            return self.relabel_and(batch, settle).await;
        }
        let (reply, answer) = oneshot::channel();
        let job = RelabelJob::new(self.members.clone(), batch, settle, reply);
        self.submit(Rank::Begins, Box::new(job.watched(witness)))?;
        answer.await.unwrap_or(Err(CallError::Lost))
    }

    /// Judges a write. Where the same was decided before, as far as policies can tell, none is asked.
    ///
    /// # Errors
    /// As [`Chain::relabel_and`].
    pub async fn admit(&self, mut write: Write) -> Result<Decision, CallError> {
        if !self.judges_writes() {
            return Ok(Decision::Admit(Arc::default()));
        }
        // What is left is all that the decision can depend on, and so what it is remembered by.
        write.mask(self.members.admission_inputs());
        if self.members.remembers_decisions()
            && let Some(decision) = self.members.decisions.find(&write)
        {
            return Ok(decision);
        }
        let (reply, answer) = oneshot::channel();
        let job = AdmitJob::new(self.members.clone(), write, reply);
        self.submit(Rank::GoesOn, Box::new(job))?;
        answer.await.unwrap_or(Err(CallError::Lost))
    }

    /// As [`Chain::admit`], where every policy is asked, nothing is remembered, and `witness` sees what each says.
    ///
    /// # Errors
    /// As [`Chain::relabel_and`].
    pub async fn admit_watched(&self, mut write: Write, witness: Witness) -> Result<Decision, CallError> {
        if !self.judges_writes() {
            return Ok(Decision::Admit(Arc::default()));
        }
        write.mask(self.members.admission_inputs());
        let (reply, answer) = oneshot::channel();
        let job = AdmitJob::new(self.members.clone(), write, reply);
        self.submit(Rank::GoesOn, Box::new(job.watched(witness)))?;
        answer.await.unwrap_or(Err(CallError::Lost))
    }

    /// Does the gateway's own work for this tenant, in an order that is fair to others.
    ///
    /// # Errors
    /// See [`Undone`].
    pub async fn work<W: Work>(&self, work: W) -> Result<W::Done, Undone> {
        let Members { engine, tenant, .. } = &*self.members;
        engine.threads().work(tenant, work).await
    }

    fn submit(&self, rank: Rank, job: Box<dyn Job>) -> Result<(), CallError> {
        let Members { engine, tenant, .. } = &*self.members;
        let submitted = engine.threads().submit(tenant, rank, job);
        submitted.map_err(|_| CallError::Overloaded)
    }
}

/// Series about which no policy has a word to say: every one is kept.
struct Kept<V> {
    batch: Batch,
    settle: Settle<V>,
    outcomes: Vec<V>,
}

impl<V> Kept<V> {
    fn new(batch: Batch, settle: Settle<V>) -> Self {
        Self {
            outcomes: Vec::with_capacity(batch.labels.len()),
            batch,
            settle,
        }
    }
}

impl<V: Send + 'static> Work for Kept<V> {
    type Done = Relabelled<V>;

    fn go_on(&mut self, effort: Effort) -> Option<Relabelled<V>> {
        let (done, all) = (self.outcomes.len(), self.batch.labels.len());
        if effort == Effort::Light && all > SETTLED_PER_STEP {
            return None;
        }
        let next = done..all.min(done + SETTLED_PER_STEP);
        let settled = next.map(|index| (self.settle)(self.batch.series(index), Outcome::UNTOUCHED));
        self.outcomes.extend(settled);
        (self.outcomes.len() == all).then(|| Relabelled {
            outcomes: std::mem::take(&mut self.outcomes),
            cacheable: true,
        })
    }
}
