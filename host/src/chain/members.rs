//! The policies of one chain, and what they share.
//!
//! Takes the members in the order they run; gives the decisions they made, and what a policy that gave nothing costs the
//! job: its `on_failure` says whether the job fails or goes on without it. Never runs a policy.

use std::sync::Arc;
use std::time::Duration;

use super::decisions::Decisions;
use super::member::{Member, Missed};
use super::samples::{PolicyWatch, Samples};
use crate::config::{Mode, OnFailure};
use crate::model::TenantId;
use crate::sandbox::types::Inputs;
use crate::sandbox::{Engine, Fault, Undone};

/// Why a chain gave no answer. All but `Overloaded` and `Lost` are the policy's doing; the sender keeps the data in
/// every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("policy {policy} {fault}")]
    Failed { policy: Arc<str>, fault: Fault },
    #[error("policy {policy} keeps failing and rests for another {:.1} s", .retry_after.as_secs_f64())]
    Quarantined { policy: Arc<str>, retry_after: Duration },
    #[error("policy {policy} gave two answers about one series and is not asked any more")]
    Impure { policy: Arc<str> },
    #[error("too many plugin calls are waiting")]
    Overloaded,
    /// The gateway is shutting down, or has a bug.
    #[error("the plugin call was lost")]
    Lost,
}

impl From<Undone> for CallError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Full => Self::Overloaded,
            Undone::Lost => Self::Lost,
        }
    }
}

impl CallError {
    /// Of a policy that may not be left out.
    pub(super) fn of(member: &Member, missed: Missed) -> Self {
        let policy = member.info.name.clone();
        match missed {
            Missed::Failed(fault) | Missed::InDoubt(fault) => Self::Failed { policy, fault },
            Missed::Quarantined { retry_after } => Self::Quarantined { policy, retry_after },
            Missed::Impure => Self::Impure { policy },
        }
    }
}

pub struct Members {
    pub engine: Arc<Engine>,
    pub tenant: TenantId,
    /// In the order they run.
    pub all: Vec<Member>,
    pub decisions: Decisions,
    pub samples: Arc<Samples>,
}

/// Why a chain is not to serve on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned {
    pub policy: Arc<str>,
    pub is_impure: bool,
}

impl Members {
    pub fn new(engine: Arc<Engine>, tenant: TenantId, all: Vec<Member>, samples: Arc<Samples>) -> Self {
        Self {
            engine,
            tenant,
            all,
            decisions: Decisions::default(),
            samples,
        }
    }

    pub fn watch(&self) -> &PolicyWatch {
        self.samples.watch()
    }

    /// The first policy that is impure, or keeps failing and may not be left out. One in shadow harms nobody.
    pub fn condemned(&self) -> Option<Condemned> {
        let counts = |member: &&Member| member.info.mode != Mode::Shadow;
        self.all.iter().filter(counts).find_map(|member| {
            let is_impure = member.purity.found.get().is_some();
            let is_failing = member.keeps_failing() && member.info.on_failure != OnFailure::Bypass;
            (is_impure || is_failing).then(|| Condemned {
                policy: member.info.name.clone(),
                is_impure,
            })
        })
    }

    pub fn judging_series(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().filter(|member| member.info.judges_series())
    }

    pub fn judging_writes(&self) -> impl Iterator<Item = &Member> {
        self.all.iter().filter(|member| member.info.judges_writes())
    }

    /// What of a write any policy is told.
    pub fn admission_inputs(&self) -> Inputs {
        self.judging_writes()
            .fold(Inputs::empty(), |all, member| all | member.inputs())
    }

    /// Hardly two writes are the same to the compressed byte: then remembering would be for nothing. A policy that does
    /// not say what it depends on depends on that too, and is asked about every write.
    pub fn remembers_decisions(&self) -> bool {
        !self.admission_inputs().contains(Inputs::COMPRESSED_BYTES)
    }

    /// What becomes of the job where a policy gave nothing.
    ///
    /// # Errors
    /// If the policy may not be left out.
    pub fn left_out(&self, member: &Member, missed: Missed) -> Result<(), CallError> {
        if member.info.on_failure == OnFailure::Bypass {
            member.bypassed.inc();
            return Ok(());
        }
        Err(CallError::of(member, missed))
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for member in &self.all {
            member.forget(&self.engine);
        }
    }
}
