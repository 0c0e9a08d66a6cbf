//! A tenant as a write meets it: what it has over all generations, what it has in one, and who may act for it.
//!
//! Takes proofs of credentials; gives [`Session`]s, from which alone something can be judged, charged or sent in a
//! tenant's name. Never looks a tenant up by anything but a proof where a write is concerned.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Proof;
use crate::config::Credential;
use crate::model::TenantId;

mod account;
mod counters;
mod examples;
mod failures;
mod flow;
mod generation;
mod published;
mod newcomers;
mod order;
mod session;
mod snapshot;
mod stored_before;
mod uses;

pub use account::{Account, Accounts};
pub use counters::{Counted, Counters};
pub use examples::{Examples, WhyGone};
pub use failures::{Failures, LastFailure, Untold};
pub use flow::{LastSeen, Minute, Moved, TenantFlow};
pub use generation::{Generation, WentBack};
pub use newcomers::{CountedName, Newcomers, NewcomersWindow};
pub use order::{InOrder, Order, OutOfTurn};
pub use session::{Attribution, NotReady, Proved, Ready, Session};
pub use snapshot::Snapshot;
pub use stored_before::{Before, StoredBefore};
pub use uses::CredentialUsed;
use uses::LastUse;

/// The tenants of one generation of everything.
#[derive(Clone, Default)]
pub struct Tenants(HashMap<TenantId, Entry>);

#[derive(Clone)]
struct Entry {
    account: Arc<Account>,
    /// None: the tenant is sound and none of its generations could be built. Its writes wait.
    serving: Option<Arc<Generation>>,
    /// In the order of the credentials by which it can be proved.
    uses: Box<[Arc<LastUse>]>,
}

impl Tenants {
    /// Takes `generation` for its tenant's, in place of any other.
    pub fn serve(&mut self, generation: Arc<Generation>) {
        let entry = Entry {
            account: Arc::clone(&generation.account),
            serving: Some(generation),
            uses: Box::default(),
        };
        self.0.insert(entry.account.tenant().clone(), entry);
    }

    /// Lets `generation` serve its tenant from now on; what proves the tenant stays.
    pub fn replace(&mut self, generation: Arc<Generation>) {
        if let Some(entry) = self.0.get_mut(generation.account.tenant()) {
            entry.serving = Some(generation);
        }
    }

    /// Knows the tenant of `account` by the `credentials` that prove it; its writes wait unless something serves it.
    pub fn know(&mut self, account: Arc<Account>, credentials: &[Credential]) {
        let uses = account.uses.of(credentials, Instant::now());
        let entry = self.0.entry(account.tenant().clone()).or_insert(Entry {
            account,
            serving: None,
            uses: Box::default(),
        });
        entry.uses = uses;
    }

    /// Whose credential was proved; notes that it was used `now`. `None` if this generation does not have the tenant.
    pub fn of(&self, proof: Proof, now: Instant) -> Option<Proved<'_>> {
        let entry = self.0.get(proof.id())?;
        if let Some(last_use) = entry.uses.get(proof.credential()) {
            last_use.note(now, proof.expires());
        }
        Some(Proved::new(proof, &entry.account, entry.serving.as_deref()))
    }

    /// The kind and the public name of a credential by which `tenant` was proved, by its place. For operators.
    pub fn credential(&self, tenant: &TenantId, place: usize) -> Option<String> {
        let entry = self.0.get(tenant)?;
        entry.account.uses.credential(entry.uses.get(place)?)
    }

    /// What serves `tenant`. For operators: nothing can be done in its name with it.
    pub fn get(&self, tenant: &TenantId) -> Option<&Arc<Generation>> {
        self.0.get(tenant)?.serving.as_ref()
    }

    /// All that serve, in no order.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<Generation>> {
        self.0.values().filter_map(|entry| entry.serving.as_ref())
    }

    /// What proved each tenant within the `lately`, and how long ago.
    pub fn used_lately(&self, lately: Duration, now: Instant) -> Vec<(TenantId, Credential, Duration)> {
        let used = self.accounts().flat_map(|account| {
            let used = account.uses.lately(lately, now).into_iter();
            used.map(|(credential, ago)| (account.tenant().clone(), credential, ago))
        });
        used.collect()
    }

    /// What all tenants have, served or not.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.0.values().map(|entry| &entry.account)
    }
}
