//! One generation of one tenant: a configuration that came into use, with the chain it was built to.
//!
//! Takes a chain and the tenant's account, gives what judges its writes until the next one does. What it gives to others
//! than [`Session`](super::Session)s is for operators.

use std::sync::Arc;

use super::account::Account;
use crate::chain::Chain;
use crate::config;
use crate::judge::{Judge, MemoClock};
use crate::wire::HashKey;

/// One generation of one tenant.
pub struct Generation {
    number: u64,
    config: Arc<config::Tenant>,
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
            judge,
            clock,
            account,
        }
    }

    /// Counts the tenant's configurations that came into use.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn config(&self) -> &Arc<config::Tenant> {
        &self.config
    }

    /// Publishes what the memo holds, and moves its window on. Called when metrics are read, not per request.
    pub fn publish(&self) {
        self.judge.publish();
    }
}
