//! A tenant as operators see it.
//!
//! Takes a generation, gives plain values: whoever shows a tenant (the admin API, the demo) reads them here and parses
//! nothing. Never called for a write.

use std::sync::Arc;
use std::time::Instant;

use super::counters::Counted;
use super::failures::LastFailure;
use super::generation::{Generation, WentBack};
use super::uses::CredentialUsed;
use crate::chain::PolicyStatus;
use crate::config;
use crate::judge::memo::{BudgetStats, MemoStats};

/// A look at a tenant is no list of what it has.
const SHOWN_BUDGETS: usize = 5;

/// One tenant at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub config: Arc<config::Tenant>,
    pub generation: u64,
    pub went_back: Option<WentBack>,
    /// In the order they run.
    pub policies: Vec<PolicyStatus>,
    /// Since the process began, whatever generation served.
    pub counted: Counted,
    pub memo: MemoStats,
    /// How many series budgets it has.
    pub budgets: usize,
    /// Those of them that have the least room left.
    pub fullest_budgets: Vec<BudgetStats>,
    /// Upper bounds in seconds, the last one infinite, each with how many answers took at most that and more than the
    /// bound before.
    pub request_duration: Vec<(f64, u64)>,
    /// Newest first.
    pub failures: Vec<LastFailure>,
    /// How each credential of `config` proved the tenant last; `None` if it did not since it became known.
    pub last_used: Vec<Option<CredentialUsed>>,
}

impl Snapshot {
    pub fn of(generation: &Generation) -> Self {
        let (account, now) = (&generation.account, Instant::now());
        let tick = generation.clock.tick();
        let (budgets, fullest_budgets) = account.memo().fullest_budgets(SHOWN_BUDGETS, tick);
        Self {
            config: Arc::clone(generation.config()),
            generation: generation.number(),
            went_back: generation.went_back().cloned(),
            policies: generation.judge.chain().status(),
            counted: account.counters().counted(),
            memo: account.memo().stats(tick),
            budgets,
            fullest_budgets,
            request_duration: account.counters().durations().buckets(),
            failures: account.failures().last(now),
            last_used: account.uses.last(&generation.config().credentials, now),
        }
    }
}
