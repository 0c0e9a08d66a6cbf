//! One generation of one tenant: a configuration that came into use, with the chain it was built to.
//!
//! Takes a chain and the tenant's account, gives what judges its writes until the next one does. What it gives to others
//! than [`Session`](super::Session)s is for operators, who may ask what would become of a series: nothing is remembered,
//! charged or sent for it.

use std::sync::Arc;
use std::time::Instant;

use super::account::Account;
use crate::chain::{Batch, Chain, Decision, PolicyInfo, Testimony, Write};
use crate::config;
use crate::judge::{Judge, JudgeError, MemoClock, Ruling};
use crate::limits::{ChargeError, Withdrawal};
use crate::model::SeriesBudget;
use crate::wire::HashKey;

/// That policies serve which are not those of the newest configuration, and why.
#[derive(Debug, Clone)]
pub struct WentBack {
    /// The generation whose policies gave way.
    pub from: u64,
    /// Whose serve in their place. None: there is nothing to go back to, and the policy at fault rests.
    pub to: Option<u64>,
    /// A sentence for operators.
    pub why: String,
    /// The configuration that it stands for: as long as it is the same, so are the policies that serve.
    pub written: Arc<config::Tenant>,
}

/// One generation of one tenant.
pub struct Generation {
    number: u64,
    config: Arc<config::Tenant>,
    went_back: Option<WentBack>,
    pub(super) judge: Judge,
    pub(super) clock: MemoClock,
    pub(super) account: Arc<Account>,
}

impl Generation {
    /// The verdicts of the generation before are forgotten; what was active stays so.
    pub fn new(
        number: u64,
        config: Arc<config::Tenant>,
        chain: Chain,
        account: Arc<Account>,
        key: &Arc<HashKey>,
        clock: MemoClock,
    ) -> Self {
        let (memo, of_memo) = account.begin_generation();
        account.counters().expect_upstreams(&config.upstreams);
        let refusals = account.refusals();
        account
            .examples()
            .keep(config.drop_examples, || refusals.forget_series());
        let judge = Judge::new(
            &config,
            chain,
            memo,
            of_memo,
            Arc::clone(key),
            clock,
            Arc::clone(account.counters().metrics()),
        );
        Self {
            number,
            config,
            went_back: None,
            judge,
            clock,
            account,
        }
    }

    /// Of a configuration whose policies are those of another one.
    #[must_use]
    pub fn that_went_back(mut self, went_back: WentBack) -> Self {
        self.went_back = Some(went_back);
        self
    }

    /// The same tenant under another configuration, by which nothing is served: what it is asked it answers, and remembers
    /// nothing.
    #[must_use]
    pub fn aside(&self, config: Arc<config::Tenant>, chain: Chain) -> Self {
        Self {
            number: self.number,
            judge: self.judge.aside(&config, chain),
            config,
            went_back: None,
            clock: self.clock,
            account: Arc::clone(&self.account),
        }
    }

    pub fn went_back(&self) -> Option<&WentBack> {
        self.went_back.as_ref()
    }

    /// The configuration it stands for, which is the one it has unless it went back.
    pub fn written(&self) -> &Arc<config::Tenant> {
        self.went_back.as_ref().map_or(&self.config, |back| &back.written)
    }

    /// What judges in it. For operators: nothing can be done in its tenant's name with it.
    pub fn chain(&self) -> &Chain {
        self.judge.chain()
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Counts the tenant's configurations that came into use.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn config(&self) -> &Arc<config::Tenant> {
        &self.config
    }

    /// The policies of the chain, in the order they run.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &PolicyInfo> {
        self.judge.chain().policies()
    }

    /// What becomes of series, each by itself.
    ///
    /// # Errors
    /// As [`Judge::judge`].
    pub async fn weigh(&self, series: Batch) -> Result<Vec<Ruling>, JudgeError> {
        self.judge.weigh(series).await
    }

    /// See [`Judge::weigh_watched`].
    pub async fn weigh_watched(&self, series: Batch) -> (Result<Ruling, JudgeError>, Vec<Testimony>) {
        self.judge.weigh_watched(series).await
    }

    /// See [`Judge::admit_watched`].
    pub async fn admit_watched(&self, write: Write) -> (Result<Decision, JudgeError>, Vec<Testimony>) {
        self.judge.admit_watched(write).await
    }

    /// Series let through lately, and whether the one with these labels is among them.
    pub fn active_series(&self, label_bytes: &[u8]) -> (u64, bool) {
        (self.judge.active_series(), self.judge.is_active(label_bytes))
    }

    /// Series let through lately.
    pub fn all_active_series(&self) -> u64 {
        self.judge.active_series()
    }

    /// Whether one more series may count against `budget` now.
    pub fn has_room(&self, budget: &SeriesBudget) -> bool {
        self.judge.has_room(budget)
    }

    /// What the tenant's buckets would say to such charges. Nothing is taken.
    ///
    /// # Errors
    /// See [`ChargeError`].
    pub fn would_charge(&self, charges: &[Withdrawal<'_>], now: Instant) -> Result<(), ChargeError> {
        self.account.buckets.would_charge(charges, now)
    }

    /// Publishes what the memo holds, and moves its window on. Called when metrics are read, not per request.
    pub fn publish(&self) {
        self.judge.publish();
    }
}
