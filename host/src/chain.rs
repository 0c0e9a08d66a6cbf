//! A tenant's chain of policies, ready to judge.
//!
//! Takes the tenant's policies of one generation; gives outcomes for series and decisions about writes, each whole
//! chain in one visit to a plugin thread. Built only of plugins that loaded, took their settings and judged a
//! golden batch. Never waits for another tenant's plugin longer than its deadline, and never gives half an answer:
//! where a policy fails, `on_failure` says whether the write fails or goes on without it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::config::{self, OnFailure};
use crate::model::{TenantId, Totals};
use crate::sandbox::types::Inputs;
use crate::sandbox::{Engine, Fault, Job, LoadError, Step};
use crate::wire::labels::encode_labels;

mod admission;
mod decisions;
mod member;
mod quarantine;
mod relabel;
mod words;

#[cfg(test)]
mod tests;

use admission::AdmitJob;
pub use admission::{Charge, Decision, Route, Write};
use decisions::Decisions;
pub use member::{Failure, PolicyInfo, PolicyStatus};
use member::{Function, Member, Missed};
use relabel::RelabelJob;
pub use relabel::{Batch, Outcome, Relabelled};

/// Why a chain could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {policy}: plugin {plugin} {fault}")]
pub struct BuildError {
    pub policy: String,
    pub plugin: String,
    pub fault: BuildFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildFault {
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Including the plugin's own word on its settings.
    #[error("does not take its settings: {0}")]
    Configure(Fault),
    #[error("does not say what its decisions depend on: {0}")]
    Inputs(Fault),
    #[error("does not judge a plain batch: {0}")]
    Golden(Fault),
    #[error("could not be tried: too many plugin calls are waiting")]
    Overloaded,
}

impl BuildError {
    /// The same plugin may well do a moment later: there was no room to try it.
    pub fn may_pass(&self) -> bool {
        matches!(
            self.fault,
            BuildFault::Overloaded
                | BuildFault::Configure(Fault::NoRoom)
                | BuildFault::Inputs(Fault::NoRoom)
                | BuildFault::Golden(Fault::NoRoom)
        )
    }
}

/// Why a chain gave no answer. All but `Overloaded` and `Lost` are the policy's doing; the sender keeps the data in
/// every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("policy {name} {fault}")]
    Failed {
        policy: usize,
        name: Arc<str>,
        fault: Fault,
    },
    #[error("policy {name} keeps failing and rests for {retry_after:?}")]
    Quarantined {
        policy: usize,
        name: Arc<str>,
        retry_after: Duration,
    },
    #[error("too many plugin calls are waiting")]
    Overloaded,
    /// The gateway is shutting down, or has a bug.
    #[error("the plugin call was lost")]
    Lost,
}

#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub engine: Arc<Engine>,
    pub tenant: TenantId,
    pub members: Vec<Member>,
    pub decisions: Decisions,
    generation: u64,
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain")
            .field("tenant", &self.inner.tenant)
            .field("generation", &self.inner.generation)
            .field("policies", &self.inner.members.len())
            .finish_non_exhaustive()
    }
}

impl Chain {
    /// Loads, links, configures and tries every policy.
    ///
    /// # Errors
    /// Names the first policy that cannot be used, and why.
    pub async fn build(
        engine: &Arc<Engine>,
        tenant: &TenantId,
        policies: &[config::Policy],
        generation: u64,
    ) -> Result<Self, BuildError> {
        let mut members = Vec::with_capacity(policies.len());
        for policy in policies {
            let error = |fault| BuildError {
                policy: policy.name.clone(),
                plugin: policy.plugin.name.clone(),
                fault,
            };
            let plugin = engine.load(&policy.plugin).await.map_err(|e| error(e.into()))?;
            members.push(Member::new(engine, tenant, policy, plugin));
        }
        let inner = Arc::new(Inner {
            engine: engine.clone(),
            tenant: tenant.clone(),
            members,
            decisions: Decisions::default(),
            generation,
        });
        for (place, policy) in policies.iter().enumerate() {
            let error = |fault| BuildError {
                policy: policy.name.clone(),
                plugin: policy.plugin.name.clone(),
                fault,
            };
            inner.clone().try_out(place).await.map_err(error)?;
        }
        Ok(Self { inner })
    }

    /// Whether any policy judges series.
    pub fn judges_series(&self) -> bool {
        self.inner.members.iter().any(|member| member.info.judges_series)
    }

    /// Whether any policy judges writes.
    pub fn judges_writes(&self) -> bool {
        self.inner.members.iter().any(|member| member.info.judges_writes)
    }

    /// In the order they run.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &PolicyInfo> {
        self.inner.members.iter().map(|member| &member.info)
    }

    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    pub fn status(&self) -> Vec<PolicyStatus> {
        self.inner.members.iter().map(Member::status).collect()
    }

    /// Judges series, each by the whole chain. Dropping the future gives up what has not been judged yet.
    ///
    /// # Errors
    /// Where a policy failed that may not be left out, or nothing could be run.
    pub async fn relabel(&self, batch: Batch) -> Result<Relabelled, CallError> {
        if batch.labels.is_empty() || !self.judges_series() {
            let outcomes = vec![Outcome::Keep { stream: None }; batch.labels.len()];
            return Ok(Relabelled {
                outcomes,
                cacheable: true,
            });
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(RelabelJob::new(self.inner.clone(), batch, reply)))?;
        answer.await.unwrap_or(Err(CallError::Lost))
    }

    /// Judges a write. Where the same was decided before, as far as policies can tell, none is asked.
    ///
    /// # Errors
    /// As [`Chain::relabel`].
    pub async fn admit(&self, mut write: Write) -> Result<Arc<Decision>, CallError> {
        if !self.judges_writes() {
            return Ok(Arc::new(Decision::Admit {
                charges: Vec::new(),
                routes: Vec::new(),
            }));
        }
        // What is left is all that the decision can depend on, and so what it is remembered by.
        write.mask(self.inner.admission_inputs());
        if self.inner.remembers_decisions()
            && let Some(decision) = self.inner.decisions.find(&write)
        {
            return Ok(decision);
        }
        let (reply, answer) = oneshot::channel();
        self.submit(Box::new(AdmitJob::new(self.inner.clone(), write, reply)))?;
        answer.await.unwrap_or(Err(CallError::Lost))
    }

    fn submit(&self, job: Box<dyn Job>) -> Result<(), CallError> {
        let submitted = self.inner.engine.threads().submit(&self.inner.tenant, job);
        submitted.map_err(|_| CallError::Overloaded)
    }
}

impl Inner {
    /// What of a write any policy is told.
    fn admission_inputs(&self) -> Inputs {
        let judges = self.members.iter().filter(|member| member.info.judges_writes);
        judges.fold(Inputs::empty(), |all, member| all | member.inputs())
    }

    /// Hardly two writes are the same to the compressed byte: then remembering would be for nothing. A policy that does
    /// not say what it depends on depends on that too, and is asked about every write.
    pub fn remembers_decisions(&self) -> bool {
        !self.admission_inputs().contains(Inputs::COMPRESSED_BYTES)
    }

    /// What becomes of the job where a policy gave nothing.
    pub fn left_out(&self, place: usize, missed: Missed) -> Result<(), CallError> {
        let Some(member) = self.members.get(place) else {
            return Err(CallError::Lost);
        };
        if member.info.on_failure == OnFailure::Bypass {
            member.bypassed.inc();
            return Ok(());
        }
        let (policy, name) = (place, member.info.name.clone());
        Err(match missed {
            Missed::Failed(fault) => CallError::Failed { policy, name, fault },
            Missed::Quarantined { retry_after } => CallError::Quarantined {
                policy,
                name,
                retry_after,
            },
        })
    }

    async fn try_out(self: Arc<Self>, place: usize) -> Result<(), BuildFault> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Trial {
            chain: self.clone(),
            place,
            reply: Some(reply),
        });
        let submitted = self.engine.threads().submit(&self.tenant, job);
        submitted.map_err(|_| BuildFault::Overloaded)?;
        answer.await.unwrap_or(Err(BuildFault::Overloaded))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for member in &self.members {
            member.forget(&self.engine);
        }
    }
}

/// Starts one policy and has it judge the golden batch.
struct Trial {
    chain: Arc<Inner>,
    place: usize,
    reply: Option<oneshot::Sender<Result<(), BuildFault>>>,
}

impl Job for Trial {
    fn step(&mut self) -> Step {
        if let Some(reply) = self.reply.take().filter(|reply| !reply.is_closed()) {
            let _ = reply.send(self.run());
        }
        Step::Done
    }
}

impl Trial {
    fn run(&self) -> Result<(), BuildFault> {
        let (chain, engine) = (&*self.chain, &*self.chain.engine);
        let Some(member) = chain.members.get(self.place) else {
            return Err(BuildFault::Overloaded);
        };
        let golden = |missed| match missed {
            Missed::Failed(fault) => BuildFault::Golden(fault),
            Missed::Quarantined { .. } => BuildFault::Overloaded,
        };
        member.warm_up(engine).map_err(BuildFault::Configure)?;
        if member.info.judges_writes {
            member.learn_inputs(engine).map_err(BuildFault::Inputs)?;
        }
        let allowance = engine.call_allowance();
        if member.info.judges_series {
            let batch = golden_batch();
            member
                .call(engine, Function::Relabel, |instance| {
                    relabel::try_out(&batch, instance, allowance, member)
                })
                .map_err(golden)?;
        }
        if member.info.judges_writes {
            let mut write = golden_write();
            write.mask(member.inputs());
            let streams = admission::streams(&write);
            let write = admission::told(chain, &write, &streams);
            member
                .call(engine, Function::Admit, |instance| {
                    admission::ask(instance, &write, allowance, self.place)
                })
                .map_err(golden)?;
        }
        Ok(())
    }
}

/// Plain series of every shape a policy must be able to look at: few labels, many, UTF-8 names and values.
fn golden_batch() -> Batch {
    let long = "x".repeat(1024);
    let series: [&[(&str, &str)]; 5] = [
        &[
            ("__name__", "up"),
            ("instance", "localhost:9090"),
            ("job", "prometheus"),
        ],
        &[
            ("__name__", "http_request_duration_seconds_bucket"),
            ("code", "200"),
            ("handler", "/api/v1/write"),
            ("instance", "10.0.0.1:8080"),
            ("job", "api"),
            ("le", "+Inf"),
            ("method", "POST"),
        ],
        &[
            ("__name__", "kube_pod_info"),
            ("namespace", "default"),
            ("pod", "web-0"),
        ],
        &[
            ("__name__", "größe.in.bytes"),
            ("ort", "München 火"),
            ("tag with space", "1"),
        ],
        &[("__name__", "long_value"), ("value", &long)],
    ];
    let mut body = Vec::new();
    let mut ranges = Vec::new();
    for labels in series {
        let start = body.len();
        encode_labels(labels.iter().copied(), &mut body);
        ranges.push(start as u32..body.len() as u32);
    }
    Batch {
        body: Bytes::from(body),
        labels: ranges,
    }
}

fn golden_write() -> Write {
    let totals = Totals {
        series: 500,
        samples: 500,
        histograms: 0,
        exemplars: 0,
    };
    Write {
        subject: String::new(),
        protocol: crate::model::Protocol::V1,
        compressed_bytes: 20_000,
        decoded_bytes: 100_000,
        active_series: 1000,
        new_series: 0,
        streams: vec![(Arc::from(""), totals)],
    }
}
