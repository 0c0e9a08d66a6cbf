//! What a tenant has whatever its configuration says now: what is remembered of its series, its buckets, what it has in
//! flight, what was counted and told of it, the last hour of that and the last refusals, what may be stored of writes that
//! failed, when its credentials were used, samples of what it sent, examples of what came to nothing, what new series are called, and
//! which writes wait for others.
//!
//! Takes a tenant's id, gives its one account, handed on from generation to generation and gone with the last of them
//! and the last write under it: nobody has to sweep for tenants that left. Two accounts of one tenant never live at the
//! same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::counters::Counters;
use super::examples::Examples;
use super::failures::Failures;
use super::flow::TenantFlow;
use super::newcomers::Newcomers;
use super::order::Order;
use super::stored_before::StoredBefore;
use super::uses::Uses;
use crate::chain::{PolicyWatch, Samples};
use crate::judge::memo::{Memo, Memos};
use crate::limits::{Buckets, Count};
use crate::model::TenantId;
use crate::refusals::Refusals;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Present;

pub struct Account {
    tenant: TenantId,
    memo: Arc<Memo>,
    samples: Arc<Samples>,
    /// By which the newest generation knows its verdicts. One that still answers stores and finds its own.
    memo_generation: Mutex<u16>,
    pub(super) buckets: Buckets,
    pub(super) in_flight: Arc<Count>,
    counters: Counters,
    examples: Examples,
    newcomers: Arc<Newcomers>,
    order: Order,
    flow: TenantFlow,
    failures: Failures,
    refusals: Refusals,
    pub(super) stored_before: StoredBefore,
    pub(super) uses: Uses,
    /// What is counted of the tenant is kept as long.
    _present: Present,
}

impl Account {
    fn new(tenant: &TenantId, memos: &Arc<Memos>, watch: &Arc<PolicyWatch>, metrics: &Arc<Metrics>) -> Self {
        let counters = Counters::new(tenant, metrics);
        Self {
            tenant: tenant.clone(),
            memo: Arc::new(Memo::new(tenant, memos)),
            samples: Arc::new(Samples::new(watch)),
            memo_generation: Mutex::default(),
            buckets: Buckets::default(),
            in_flight: Arc::default(),
            examples: Examples::new(watch),
            newcomers: Newcomers::new(watch),
            order: Order::new(watch),
            flow: TenantFlow::new(&counters),
            counters,
            failures: Failures::default(),
            refusals: Refusals::of_a_tenant(),
            stored_before: StoredBefore::default(),
            uses: Uses::default(),
            _present: metrics.keep(tenant.as_str()),
        }
    }

    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    pub(super) fn memo(&self) -> &Memo {
        &self.memo
    }

    /// Label sets that it sent lately, on which its next policies are tried.
    pub fn samples(&self) -> &Arc<Samples> {
        &self.samples
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Series that were dropped and refused lately.
    pub fn examples(&self) -> &Examples {
        &self.examples
    }

    /// What became active lately.
    pub fn newcomers(&self) -> &Arc<Newcomers> {
        &self.newcomers
    }

    /// Writes that were told to wait, and those that wait for them.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// What became of its samples in the last hour, as far as somebody gathers it.
    pub fn flow(&self) -> &TenantFlow {
        &self.flow
    }

    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// Those of the last hour that the log told.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// What it has in flight: requests, and bytes of their bodies.
    pub fn in_flight(&self) -> (usize, u64) {
        (self.in_flight.requests(), self.in_flight.bytes())
    }

    pub fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    /// What nobody used for long: buckets that are full, failures that are old, writes that were not sent again.
    pub fn forget_idle(&self, now: Instant) {
        self.buckets.forget_idle(now);
        self.failures.forget_old(now);
        self.refusals.forget_old(now);
        self.stored_before.forget_old(now);
        self.newcomers.forget_old(now);
        self.order.forget_old(now);
    }

    /// The memo for the next generation, and the number by which it knows that one's verdicts.
    pub(super) fn begin_generation(&self) -> (Arc<Memo>, u16) {
        let mut generation = self.memo_generation.lock().unwrap_or_else(PoisonError::into_inner);
        *generation = generation.wrapping_add(1);
        self.memo.forget_verdicts();
        (Arc::clone(&self.memo), *generation)
    }
}

/// The accounts that are held by anybody. One per process; asked by reloads alone.
#[derive(Default)]
pub struct Accounts(HashMap<TenantId, Weak<Account>>);

impl Accounts {
    /// The tenant's account: the one that is there, be it held only by a write that is not yet answered, or a new one.
    pub fn open(
        &mut self,
        tenant: &TenantId,
        memos: &Arc<Memos>,
        watch: &Arc<PolicyWatch>,
        metrics: &Arc<Metrics>,
    ) -> Arc<Account> {
        if let Some(open) = self.0.get(tenant).and_then(Weak::upgrade) {
            return open;
        }
        let account = Arc::new(Account::new(tenant, memos, watch, metrics));
        self.0.insert(tenant.clone(), Arc::downgrade(&account));
        account
    }

    /// Forgets the names of those that are gone.
    pub fn forget_closed(&mut self) {
        self.0.retain(|_, account| account.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, defaults};
    use crate::limits::{BoundMet, InFlight, Withdrawal};
    use crate::memory::Memory;

    fn watch() -> Arc<PolicyWatch> {
        PolicyWatch::new(&Memory::new(u64::MAX / 100, Arc::new(Metrics::new()))).unwrap()
    }

    fn limits(requests: usize) -> Limits {
        Limits {
            max_in_flight_size: 80,
            max_concurrent_requests: requests,
            ..defaults::LIMITS
        }
    }

    #[test]
    fn counts_outlive_the_forgetting_of_idle_tenants() {
        let (metrics, memos) = (Arc::new(Metrics::new()), Memos::within(u64::MAX));
        let memory = Memory::new(u64::MAX / 100, Arc::clone(&metrics));
        let all = InFlight::new(Arc::clone(&metrics), memory, 100, 10);
        let a = TenantId::new("a").unwrap();
        let mut accounts = Accounts::default();
        // A write in flight has the account; the tenant leaves and comes back.
        let of_write = accounts.open(&a, &memos, &watch(), &metrics);
        let mut held = all.enter(&of_write.in_flight, &limits(1)).unwrap();
        held.take_place(1).unwrap();
        held.hold(80).unwrap();
        accounts.forget_closed();
        let back = accounts.open(&a, &memos, &watch(), &metrics);
        assert_eq!(
            all.enter(&back.in_flight, &limits(1)).err(),
            Some(BoundMet::TenantRequests)
        );
        drop(held);
        let mut next = all.enter(&back.in_flight, &limits(1)).unwrap();
        assert_eq!(next.hold(80), Ok(()));
    }

    #[test]
    fn an_account_goes_with_its_last_holder_and_leaves_nothing() {
        let (metrics, memos) = (Arc::new(Metrics::new()), Memos::within(u64::MAX));
        let mut accounts = Accounts::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let (account, _other) = (
            accounts.open(&a, &memos, &watch(), &metrics),
            accounts.open(&b, &memos, &watch(), &metrics),
        );
        let spend = [Withdrawal {
            policy: "limits",
            bucket: "b",
            tokens: 1,
            per_second: 0.0,
            burst: 1,
        }];
        account.buckets.charge(&spend, Instant::now()).unwrap();
        assert!(Arc::ptr_eq(&account, &accounts.open(&a, &memos, &watch(), &metrics)));
        drop(account);
        accounts.forget_closed();
        assert_eq!(accounts.0.len(), 1);
        let anew = accounts.open(&a, &memos, &watch(), &metrics);
        assert_eq!(anew.buckets.charge(&spend, Instant::now()), Ok(()));
    }

    #[test]
    fn each_generation_of_a_memo_has_a_number_of_its_own() {
        let (a, memos) = (TenantId::new("a").unwrap(), Memos::within(u64::MAX));
        let account = Account::new(&a, &memos, &watch(), &Arc::new(Metrics::new()));
        let (memo, first) = account.begin_generation();
        let (same, second) = account.begin_generation();
        assert!(Arc::ptr_eq(&memo, &same));
        assert_ne!(first, second);
    }
}
