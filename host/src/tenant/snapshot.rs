//! A tenant as operators see it.
//!
//! Takes a generation, gives plain values: whoever shows a tenant (the admin API, the demo) reads them here and parses
//! nothing. Never called for a write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::counters::Counted;
use super::failures::LastFailure;
use super::generation::Generation;
use crate::chain::PolicyStatus;
use crate::config;
use crate::judge::memo::MemoStats;

/// One tenant at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub config: Arc<config::Tenant>,
    pub generation: u64,
    /// In the order they run.
    pub policies: Vec<PolicyStatus>,
    /// Since the process began, whatever generation served.
    pub counted: Counted,
    pub memo: MemoStats,
    /// Upper bounds in seconds, the last one infinite, each with how many answers took at most that and more than the
    /// bound before.
    pub request_duration: Vec<(f64, u64)>,
    /// Newest first.
    pub failures: Vec<LastFailure>,
    /// How long ago each credential of `config` proved the tenant; `None` if it did not since it became known.
    pub last_used: Vec<Option<Duration>>,
}

impl Snapshot {
    pub fn of(generation: &Generation) -> Self {
        let (account, now) = (&generation.account, Instant::now());
        Self {
            config: Arc::clone(generation.config()),
            generation: generation.number(),
            policies: generation.judge.chain().status(),
            counted: account.counters().counted(),
            memo: account.memo().stats(generation.clock.tick()),
            request_duration: account.counters().durations().buckets(),
            failures: account.failures().last(now),
            last_used: account.uses.ago(&generation.config().credentials, now),
        }
    }
}
