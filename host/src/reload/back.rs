//! Going back: a tenant is judged by the policies of the generation before, until its configuration changes.
//!
//! Takes who gave way to whom, and one predecessor of each tenant is kept, if memory allows; gives the generation that
//! serves in place of one whose policies are not to serve on. Credentials, limits and upstreams stay those of the files:
//! what was revoked stays revoked. Never goes back to a policy that was found to be at fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::chain::{Chain, Condemned};
use crate::config::{self, Policy};
use crate::memory::{Kind, Memory};
use crate::model::TenantId;
use crate::pipeline::{Pipeline, Shared};
use crate::tenant::{Generation, WentBack};

/// Why a tenant's policies stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWayBack {
    #[error("no tenant of this name is served")]
    NoTenant,
    #[error(
        "the tenant's policies went back already; they stay until its configuration changes, and there is nothing before them"
    )]
    AlreadyBack,
    #[error(
        "there is nothing to go back to: since the start the tenant had no other policies, or there was no memory to keep them"
    )]
    Nothing,
    #[error("the policies before were for upstreams that the tenant does not have any more")]
    OtherUpstreams,
}

/// Who asked.
pub(super) enum Grounds {
    Operator,
    Fault(Condemned),
}

impl Grounds {
    fn why(&self) -> String {
        match self {
            Self::Operator => "an operator asked for it".to_owned(),
            Self::Fault(Condemned {
                policy,
                is_impure: true,
            }) => {
                format!("policy {policy} gave two answers about one series")
            }
            Self::Fault(Condemned { policy, .. }) => format!("policy {policy} keeps failing"),
        }
    }
}

/// What served before, and did well.
struct Predecessor {
    number: u64,
    chain: Chain,
    policies: Vec<Policy>,
    upstreams: Vec<String>,
}

/// One of each tenant, at most.
#[derive(Default)]
pub(super) struct Predecessors(BTreeMap<TenantId, Predecessor>);

impl Predecessors {
    /// `old` gives way to one of `new` policies. Where they are the same, or it is nothing to go back to, what was before it
    /// stays.
    pub(super) fn keep(&mut self, old: &Generation, new: &[Policy], memory: &Memory) {
        let (config, chain) = (old.config(), old.chain());
        let is_sick = chain.condemned().is_some() || chain.status().iter().any(|policy| policy.quarantined.is_some());
        if config.policies == new || is_sick {
            return;
        }
        // Machine code that nobody may ever need again must not keep others from theirs.
        if memory.room(Kind::Plugins) < memory.guaranteed(Kind::Plugins) / 4 {
            self.0.remove(&config.id);
            return;
        }
        let of_policies = old.went_back().and_then(|back| back.to);
        let predecessor = Predecessor {
            number: of_policies.unwrap_or(old.number()),
            chain: chain.clone(),
            policies: config.policies.clone(),
            upstreams: config.upstreams.clone(),
        };
        self.0.insert(config.id.clone(), predecessor);
    }

    /// Memory is needed for what is to serve.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn retain(&mut self, is_known: impl Fn(&TenantId) -> bool) {
        self.0.retain(|id, _| is_known(id));
    }

    /// What `serving` can go back to on these grounds.
    fn of(&self, serving: &Generation, grounds: &Grounds) -> Result<&Predecessor, NoWayBack> {
        let config = serving.config();
        let found = self.0.get(&config.id).ok_or(match serving.went_back() {
            Some(_) => NoWayBack::AlreadyBack,
            None => NoWayBack::Nothing,
        })?;
        // It was about to give way to what could not be taken into use in the end.
        if found.policies == config.policies {
            return Err(NoWayBack::Nothing);
        }
        if !found.upstreams.iter().all(|name| config.upstreams.contains(name)) {
            return Err(NoWayBack::OtherUpstreams);
        }
        if let Grounds::Fault(Condemned { policy, .. }) = grounds {
            let at_fault = config.policies.iter().find(|other| *other.name == **policy);
            let is_there = |at_fault| found.policies.contains(at_fault);
            if found.chain.condemned().is_some() || at_fault.is_none_or(is_there) {
                return Err(NoWayBack::Nothing);
            }
        }
        Ok(found)
    }
}

/// The generation that serves `id` from now on; `newest` is the number of the newest one of any tenant.
///
/// # Errors
/// If it has to stay as it is. A policy that gave two answers is not asked any more in any case, and what was remembered
/// of its verdicts is forgotten.
pub(super) fn go_back(
    predecessors: &mut Predecessors,
    newest: &mut u64,
    shared: &Shared,
    current: &Pipeline,
    id: &TenantId,
    grounds: &Grounds,
) -> Result<Arc<Generation>, NoWayBack> {
    let serving = current.tenants.get(id).ok_or(NoWayBack::NoTenant)?;
    let found = predecessors.of(serving, grounds);
    let forgets = matches!(grounds, Grounds::Fault(fault) if fault.is_impure);
    let (chain, config, to) = match found {
        Ok(found) => {
            let config = config::Tenant {
                policies: found.policies.clone(),
                ..(**serving.config()).clone()
            };
            (found.chain.clone(), Arc::new(config), Some(found.number))
        }
        Err(_) if forgets => (serving.chain().clone(), Arc::clone(serving.config()), None),
        Err(error) => return Err(error),
    };
    predecessors.0.remove(id);
    *newest += 1;
    let went_back = WentBack {
        from: serving.number(),
        to,
        why: grounds.why(),
        written: Arc::clone(serving.written()),
    };
    let (number, account) = (*newest, Arc::clone(serving.account()));
    tell(id, &went_back, number);
    let generation = Generation::new(
        number,
        config,
        chain.of_generation(number),
        account,
        &shared.hash_key,
        shared.clock,
    );
    Ok(Arc::new(generation.that_went_back(went_back)))
}

fn tell(tenant: &TenantId, back: &WentBack, number: u64) {
    let WentBack { from, why, .. } = back;
    match back.to {
        Some(to) => tracing::warn!(
            %tenant,
            from,
            to,
            number,
            why,
            "the tenant's policies went back to those of an earlier generation, until its configuration changes"
        ),
        None => tracing::error!(
            %tenant,
            from,
            number,
            why,
            "there are no earlier policies of the tenant to go back to: the one at fault rests until its configuration changes"
        ),
    }
}

/// `current`, with `generations` in place of what served their tenants.
pub(super) fn replace(current: &Pipeline, generations: Vec<Arc<Generation>>) -> Pipeline {
    let mut tenants = current.tenants.clone();
    generations
        .into_iter()
        .for_each(|generation| tenants.replace(generation));
    Pipeline {
        config: Arc::clone(&current.config),
        authenticator: Arc::clone(&current.authenticator),
        tenants,
        upstreams: Arc::clone(&current.upstreams),
        traces: current.traces.clone(),
        shared: Arc::clone(&current.shared),
    }
}
