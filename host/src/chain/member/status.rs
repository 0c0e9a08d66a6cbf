//! What operators are told of a policy.
//!
//! Takes what its member knows, gives plain values. Never asks anything.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crate::chain::purity::Impurity;
use crate::chain::shadow::ShadowStatus;
use crate::config::{Mode, OnFailure, Owner};
use crate::sandbox::types::Scope;
use crate::sandbox::{Fault, Line, Usage};

/// What is known of a policy before it ever ran.
#[derive(Debug, Clone)]
pub struct PolicyInfo {
    /// Unique within the chain.
    pub name: Arc<str>,
    pub plugin: String,
    pub sha256: [u8; 32],
    /// Of the plugin's file, in bytes.
    pub size: usize,
    /// Of the contract, that the plugin is of.
    pub world: &'static str,
    pub owner: Owner,
    pub on_failure: OnFailure,
    pub mode: Mode,
    /// What its plugin can be asked about at all.
    pub(super) exported: Scope,
    /// What it said that it judges, of that; not there until it was asked.
    pub(super) scope: OnceLock<Scope>,
}

impl PolicyInfo {
    pub fn judges_series(&self) -> bool {
        self.judges(Scope::SERIES)
    }

    pub fn judges_writes(&self) -> bool {
        self.judges(Scope::WRITES)
    }

    fn judges(&self, what: Scope) -> bool {
        self.scope.get().unwrap_or(&self.exported).contains(what)
    }
}

/// How a policy has done.
#[derive(Debug, Clone)]
pub struct PolicyStatus {
    pub info: PolicyInfo,
    pub calls: u64,
    pub failures: u64,
    pub last_failure: Option<PolicyFailure>,
    /// Series that are refused because it fails on them, the last ones first.
    pub failed_series: Vec<FailedSeries>,
    /// How much longer it is kept from running.
    pub quarantined: Option<Duration>,
    /// Why it is not asked any more.
    pub impurity: Option<Impurity>,
    /// What it would have done where its word does not count.
    pub shadow: Option<ShadowStatus>,
    pub usage: Usage,
    /// What it logged last, the newest first, with how long ago.
    pub log: Vec<(Line, Duration)>,
    /// How many series one call is asked about at most.
    pub series_per_call: usize,
}

#[derive(Debug, Clone)]
pub struct PolicyFailure {
    pub fault: Fault,
    pub at: SystemTime,
}

/// A series that a policy fails on, alone and with fresh instances.
#[derive(Debug, Clone)]
pub struct FailedSeries {
    /// Metric and labels as they were sent, cut.
    pub series: String,
    pub fault: Fault,
    pub at: SystemTime,
}
