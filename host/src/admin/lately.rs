//! What is known of the last refusals and the last minutes of tenants.
//!
//! Takes what serves, gives numbers and the last refusal of each tenant: its own, or that of somebody who came with one of its
//! names and proved nothing. Never tells one tenant's refusals as another's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::{CertificateName, Credential, Tenant};
use crate::model::TenantId;
use crate::pipeline::Pipeline;
use crate::refusals::KeptRefusal;
use crate::tenant::{Account, Generation, LastSeen, Minute};

/// Of the last whole minute.
const SECONDS: f64 = 60.0;

/// What was refused to those who proved no tenant, at one moment.
pub(super) struct Lately {
    strangers: Vec<Arc<KeptRefusal>>,
    now: Instant,
}

/// A tenant's last answer that was no 2xx.
#[derive(Serialize)]
pub(super) struct LastRefusalView {
    seconds_ago: f64,
    status: Option<u16>,
    reason: &'static str,
    text: String,
}

/// What is added to a row of a tenant.
#[derive(Serialize)]
pub(super) struct LatelyView {
    p99_seconds: Option<f64>,
    received_per_second: f64,
    dropped_per_second: f64,
    rejected_per_second: f64,
    waiting_per_second: f64,
    last_received_seconds_ago: Option<f64>,
    last_taken_seconds_ago: Option<f64>,
    last_refusal: Option<LastRefusalView>,
}

impl Lately {
    pub(super) fn of(current: &Pipeline) -> Self {
        Self {
            strangers: current.shared.refused.strangers(),
            now: Instant::now(),
        }
    }

    pub(super) fn view(&self, generation: &Generation) -> LatelyView {
        let account = generation.account();
        let Minute {
            received,
            dropped,
            rejected,
            waiting,
        } = account.flow().last_minute();
        let rate = |samples: u32| rounded(f64::from(samples) / SECONDS);
        let last = self.last_refusal(generation);
        let [last_received_seconds_ago, last_taken_seconds_ago] = self.last_seen(account);
        LatelyView {
            p99_seconds: account.flow().p99(account.counters()),
            received_per_second: rate(received),
            dropped_per_second: rate(dropped),
            rejected_per_second: rate(rejected),
            waiting_per_second: rate(waiting),
            last_received_seconds_ago,
            last_taken_seconds_ago,
            last_refusal: last.map(|(ago, refusal)| LastRefusalView {
                seconds_ago: ago.as_secs_f64(),
                status: refusal.status,
                reason: refusal.reason,
                text: refusal.text.clone(),
            }),
        }
    }

    /// How many seconds ago samples came last, and were taken last.
    pub(super) fn last_seen(&self, account: &Account) -> [Option<f64>; 2] {
        let LastSeen { received, taken } = account.flow().last_seen();
        let ago = |at: Instant| rounded(self.now.saturating_duration_since(at).as_secs_f64());
        [received.map(ago), taken.map(ago)]
    }

    /// How long ago the last one was, and what it was as it was last told: of a flood that is not the last one.
    pub(super) fn last_refusal(&self, generation: &Generation) -> Option<(Duration, Arc<KeptRefusal>)> {
        let own = self.last_of_its_own(generation.account());
        let claimed = self.strangers_of(generation.config()).next();
        let claimed = claimed.map(|refusal| (self.ago(refusal), Arc::clone(refusal)));
        own.into_iter().chain(claimed).min_by_key(|(ago, _)| *ago)
    }

    fn last_of_its_own(&self, account: &Account) -> Option<(Duration, Arc<KeptRefusal>)> {
        let failures = account.failures().last(self.now);
        failures
            .iter()
            .find_map(|failure| Some((failure.ago, account.refusals().newest_of(failure.reason)?)))
    }

    /// Its own, and those of strangers that came with its names; newest first.
    pub(super) fn refusals(&self, generation: &Generation) -> Vec<Arc<KeptRefusal>> {
        let mut all = generation.account().refusals().newest();
        all.extend(self.strangers_of(generation.config()).cloned());
        all.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        all
    }

    pub(super) fn ago(&self, refusal: &KeptRefusal) -> Duration {
        self.now.saturating_duration_since(refusal.at)
    }

    fn strangers_of<'a>(&'a self, tenant: &'a Tenant) -> impl Iterator<Item = &'a Arc<KeptRefusal>> {
        self.strangers.iter().filter(|refusal| {
            let names = tenant.credentials.iter().filter_map(name);
            refusal.tenant.as_ref() == Some(&tenant.id) || claims_any(refusal, names)
        })
    }
}

/// The tenants by the names that their credentials have.
pub(super) struct Claimable<'a>(HashMap<&'a str, &'a TenantId>);

impl<'a> Claimable<'a> {
    pub(super) fn of(tenants: impl Iterator<Item = &'a Tenant>) -> Self {
        let of = |tenant: &'a Tenant| {
            tenant
                .credentials
                .iter()
                .filter_map(name)
                .map(|name| (name, &tenant.id))
        };
        Self(tenants.flat_map(of).collect())
    }

    /// As whom a stranger came who proved nobody: the first whose name it claimed.
    pub(super) fn claimed(&self, refusal: &KeptRefusal) -> Option<&'a str> {
        let is_strangers = refusal.tenant.is_none();
        let mut claims = refusal.claims.iter().filter(|_| is_strangers);
        claims.find_map(|claim| Some(self.0.get(claim.as_str())?.as_str()))
    }
}

fn claims_any<'a>(refusal: &KeptRefusal, mut names: impl Iterator<Item = &'a str>) -> bool {
    !refusal.claims.is_empty() && names.any(|name| refusal.claims.iter().any(|claim| claim == name))
}

/// By which a stranger may claim to be somebody.
fn name(credential: &Credential) -> Option<&str> {
    match credential {
        Credential::ClientCertificate(
            CertificateName::UriSan(name) | CertificateName::DnsSan(name) | CertificateName::CommonName(name),
        ) => Some(name),
        Credential::BasicAuth { username, .. } => Some(username),
        Credential::BearerToken(_) => None,
    }
}

/// To what anybody reads of it.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}
