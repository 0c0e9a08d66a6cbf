//! Who acts for a tenant: a proof, the generation that serves, and a permit, together.
//!
//! Takes a proof of a credential, gives a [`Session`]. Whatever is done in a tenant's name (judging, charging, holding
//! memory, the header that names the tenant to receivers) is asked of a session, so it can be done for nobody but the
//! one whose credential was proved (I2).

use std::sync::Arc;
use std::time::Instant;

use super::account::Account;
use super::counters::Counters;
use super::examples::Examples;
use super::generation::Generation;
use super::newcomers::Newcomers;
use super::order::{InOrder, Order, OutOfTurn};
use super::stored_before::StoredBefore;
use crate::auth::Proof;
use crate::config;
use crate::judge::Judge;
use crate::limits::{BoundMet, ChargeError, InFlight, Need, Permit, Turns, Withdrawal};
use crate::model::TenantId;
use crate::sandbox::{Undone, Work};
use crate::wire::Scanned;

/// A proof and what there is of the tenant that it proves. Made by [`Tenants::of`](super::Tenants::of) alone.
pub struct Proved<'g> {
    proof: Proof,
    account: &'g Account,
    serving: Option<&'g Generation>,
}

/// A proof of a tenant that something serves.
pub struct Ready<'g> {
    proof: Proof,
    generation: &'g Generation,
}

/// The tenant is configured and none of its generations could be built. It passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant's policies are not ready")]
pub struct NotReady;

impl<'g> Proved<'g> {
    pub(super) fn new(proof: Proof, account: &'g Account, serving: Option<&'g Generation>) -> Self {
        Self {
            proof,
            account,
            serving,
        }
    }

    pub fn id(&self) -> &TenantId {
        self.proof.id()
    }

    pub fn account(&self) -> &'g Account {
        self.account
    }

    /// # Errors
    /// If nothing serves the tenant.
    pub fn ready(self) -> Result<Ready<'g>, NotReady> {
        let generation = self.serving.ok_or(NotReady)?;
        Ok(Ready {
            proof: self.proof,
            generation,
        })
    }
}

impl<'g> Ready<'g> {
    /// Begins a write, of a sender with `several_queues` for the same series or not. Its permit holds nothing yet.
    ///
    /// # Errors
    /// If the tenant or the process has too much in flight, which may pass before the body is in.
    pub fn enter(self, in_flight: &Arc<InFlight>, several_queues: bool) -> Result<Session<'g>, BoundMet> {
        let (count, limits) = (&self.generation.account.in_flight, &self.generation.config().limits);
        Ok(Session {
            permit: in_flight.enter(count, limits)?,
            proof: self.proof,
            generation: self.generation,
            several_queues,
            in_order: None,
        })
    }
}

/// One write of one tenant, from its head to its answer.
pub struct Session<'g> {
    proof: Proof,
    generation: &'g Generation,
    permit: Permit,
    several_queues: bool,
    in_order: Option<InOrder<'g>>,
}

/// Whose a request to a receiver is: what `THANOS-TENANT` says. Given by a [`Session`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution(TenantId);

impl Attribution {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// For tests of what comes behind a session.
    #[cfg(test)]
    pub(crate) fn of(tenant: &str) -> Self {
        Self(TenantId::new(tenant).unwrap())
    }
}

impl<'g> Session<'g> {
    /// Of the proof, not of the configuration: the two are looked up together, and the proof is what counts.
    pub fn attribution(&self) -> Attribution {
        Attribution(self.proof.id().clone())
    }

    /// What the credential proved: a certificate's name, a user's name, or empty for a bearer token.
    pub fn subject(&self) -> &str {
        self.proof.subject()
    }

    pub fn config(&self) -> &'g Arc<config::Tenant> {
        self.generation.config()
    }

    pub fn judge(&self) -> &'g Judge {
        &self.generation.judge
    }

    pub fn counters(&self) -> &'g Counters {
        self.generation.account.counters()
    }

    pub fn examples(&self) -> &'g Examples {
        self.generation.account.examples()
    }

    pub fn newcomers(&self) -> &'g Arc<Newcomers> {
        self.generation.account.newcomers()
    }

    pub fn stored_before(&self) -> &'g StoredBefore {
        &self.generation.account.stored_before
    }

    fn order(&self) -> &'g Order {
        self.generation.account.order()
    }

    /// Whether writes of the tenant were told to wait lately, or may have waited for this gateway, so that others may have to wait
    /// for them.
    pub fn has_an_order(&self) -> bool {
        self.order().matters(self.several_queues)
    }

    /// Waits for older writes with the same series, some seconds at most.
    ///
    /// # Errors
    /// If one of them comes later.
    pub async fn wait_in_order(&mut self, scanned: &Scanned) -> Result<(), OutOfTurn> {
        let (order, counters) = (self.order(), self.counters());
        self.in_order = order.register(scanned, Instant::now());
        match &self.in_order {
            Some(write) => order.wait(write, self.several_queues, counters).await,
            None => Ok(()),
        }
    }

    /// Lets the write be known before it is told to wait, if it is not.
    pub fn be_known(&mut self, scanned: &Scanned) {
        if self.in_order.is_none() {
            self.in_order = self.order().register(scanned, Instant::now());
        }
    }

    /// Its place, to be given back when it is known how it is answered.
    pub fn leave_order(&mut self) -> Option<InOrder<'g>> {
        self.in_order.take()
    }

    /// Takes its place among the requests in flight, until the write is answered.
    ///
    /// # Errors
    /// The bound that is met.
    pub fn take_place(&mut self) -> Result<(), BoundMet> {
        self.permit.take_place(self.config().limits.max_concurrent_requests)
    }

    /// Holds `bytes` in all of the body, until less is kept or the write is answered.
    ///
    /// # Errors
    /// The bound that is met; what was held before is held on.
    pub fn hold(&mut self, bytes: u64) -> Result<(), BoundMet> {
        self.permit.hold(bytes)
    }

    /// Holds `bytes` in all for what is made of the body, as long.
    ///
    /// # Errors
    /// The bound that is met; what was held before is held on.
    pub fn hold_work(&mut self, bytes: u64) -> Result<(), BoundMet> {
        self.permit.hold_work(bytes)
    }

    /// Waits for its turn to hold all that is needed.
    ///
    /// # Errors
    /// The bound that is met for too long; what was held before is held on.
    pub async fn wait_for(&mut self, turns: &Turns, need: Need) -> Result<(), BoundMet> {
        turns.wait(&mut self.permit, need).await
    }

    /// Gives back all but `bytes`.
    pub fn keep(&mut self, bytes: u64) {
        self.permit.keep(bytes);
    }

    /// Does the gateway's own work in this write's name: here if it is light and the tenant's turn, else where it waits
    /// in an order that is fair by tenant.
    ///
    /// # Errors
    /// See [`Undone`].
    pub async fn work<W: Work>(&self, work: W) -> Result<W::Done, Undone> {
        self.judge().chain().work(work).await
    }

    /// Makes all of `withdrawals` from the tenant's buckets, or none.
    ///
    /// # Errors
    /// See [`ChargeError`].
    pub fn charge(&self, withdrawals: &[Withdrawal<'_>], now: Instant) -> Result<(), ChargeError> {
        self.generation.account.buckets.charge(withdrawals, now)
    }
}
