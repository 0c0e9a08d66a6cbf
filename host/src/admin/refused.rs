//! `GET /api/v1/refusals`: what senders were refused lately, whoever they are.
//!
//! Takes what is kept of refusals, gives the newest ones as rows, and each as an event. Shows as much as is kept. Never lets those
//! that come often hide those that come seldom.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::gateway::Gateway;
use super::lately::{Claimable, Lately};
use super::views::success;
use crate::model::TenantId;
use crate::refusals::KeptRefusal;

/// Rows of one answer.
const MOST: usize = 128;

#[derive(Serialize)]
pub(super) struct RefusalView<'a> {
    tenant: Option<&'a str>,
    seconds_ago: f64,
    status: Option<u16>,
    reason: &'static str,
    text: &'a str,
    address: String,
    identity: Option<&'a str>,
    series: Option<&'a str>,
    /// Whose name somebody came with who proved nobody.
    claimed_tenant: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct RefusalEvent<'a> {
    tenant: Option<&'a str>,
    status: Option<u16>,
    reason: &'static str,
    text: &'a str,
}

pub(super) async fn refusals(State(gateway): State<Gateway>) -> Response {
    let current = gateway.generations.current();
    let lately = Lately::of(&current);
    let mut all: Vec<Arc<KeptRefusal>> = current.shared.refused.strangers();
    all.extend(
        current
            .tenants
            .accounts()
            .flat_map(|account| account.refusals().newest()),
    );
    let names = Claimable::of(current.tenants.serving().map(|generation| &**generation.config()));
    success(RefusalView::all(&newest_of_all(all, MOST), &lately, &names))
}

/// The `most` newest, newest first; of each sender and reason the newest before the second of any.
fn newest_of_all(mut all: Vec<Arc<KeptRefusal>>, most: usize) -> Vec<Arc<KeptRefusal>> {
    all.sort_by_key(|refusal| Reverse(refusal.at));
    let mut seen = HashMap::new();
    let mut ranked: Vec<(u32, Arc<KeptRefusal>)> = Vec::with_capacity(all.len());
    for refusal in all {
        let who = (refusal.tenant.clone(), refusal.reason);
        let stranger = refusal.tenant.is_none().then(|| refusal.address.ip());
        let rank = seen.entry((who, stranger)).or_insert(0);
        ranked.push((*rank, refusal));
        *rank += 1;
    }
    // It is stable: of one rank the newest are the first.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(most);
    ranked.sort_by_key(|(_, refusal)| Reverse(refusal.at));
    ranked.into_iter().map(|(_, refusal)| refusal).collect()
}

impl<'a> RefusalView<'a> {
    pub(super) fn all(refusals: &'a [Arc<KeptRefusal>], lately: &Lately, names: &Claimable<'a>) -> Vec<Self> {
        let view = |refusal: &'a Arc<KeptRefusal>| Self {
            tenant: refusal.tenant.as_ref().map(TenantId::as_str),
            seconds_ago: lately.ago(refusal).as_secs_f64(),
            status: refusal.status,
            reason: refusal.reason,
            text: &refusal.text,
            address: refusal.address.to_string(),
            identity: refusal.identity.as_deref(),
            series: refusal.series.as_deref(),
            claimed_tenant: names.claimed(refusal),
        };
        refusals.iter().map(view).collect()
    }
}

impl<'a> RefusalEvent<'a> {
    pub(super) fn of(refusal: &'a KeptRefusal) -> Self {
        Self {
            tenant: refusal.tenant.as_ref().map(TenantId::as_str),
            status: refusal.status,
            reason: refusal.reason,
            text: &refusal.text,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::refusals::{LastRefusals, ToldRefusal};

    #[test]
    fn who_is_refused_seldom_is_not_hidden_by_who_is_refused_often() {
        let (refused, start) = (LastRefusals::default(), Instant::now());
        let of = |after, address: &str, reason| {
            refused.stranger(ToldRefusal {
                at: start + Duration::from_secs(after),
                ..ToldRefusal::of_connection(reason, after.to_string(), address.parse().unwrap(), None)
            });
        };
        of(0, "192.0.2.1:1", "tls_expired_certificate");
        (1..20).for_each(|after| of(after, "192.0.2.2:2", "tls_not_tls"));
        of(20, "192.0.2.2:2", "tls_version");
        let shown = newest_of_all(refused.strangers(), 4);
        let texts: Vec<&str> = shown.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(texts, ["20", "19", "18", "0"]);
    }
}
