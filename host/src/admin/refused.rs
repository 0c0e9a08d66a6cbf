//! `GET /api/v1/refusals`: what senders were refused lately, whoever they are.
//!
//! Takes what is kept of refusals, gives the newest ones as rows, and each as an event. Without values of labels, as they are
//! kept.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use super::gateway::Gateway;
use super::lately::Lately;
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
    all.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
    all.truncate(MOST);
    success(RefusalView::all(&all, &lately))
}

impl<'a> RefusalView<'a> {
    pub(super) fn all(refusals: &'a [Arc<KeptRefusal>], lately: &Lately) -> Vec<Self> {
        let view = |refusal: &'a Arc<KeptRefusal>| Self {
            tenant: refusal.tenant.as_ref().map(TenantId::as_str),
            seconds_ago: lately.ago(refusal).as_secs_f64(),
            status: refusal.status,
            reason: refusal.reason,
            text: &refusal.text,
            address: refusal.address.to_string(),
            identity: refusal.identity.as_deref(),
            series: refusal.series.as_deref(),
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
