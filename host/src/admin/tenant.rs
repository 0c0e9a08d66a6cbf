//! `GET /api/v1/tenants/<tenant>`: all that is known of one tenant.
//!
//! Takes what serves it, gives its row, its limits with what is in use of them, what was counted, its chain, its last refusals
//! and what its senders' configuration has to say. Never a secret, never a label's value.

use std::collections::BTreeMap;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::configured::LimitsView;
use super::gateway::Gateway;
use super::lately::{Claimable, Lately, rounded};
use super::paste::remote_write;
use super::question::{NoAnswer, serving, tenant_id};
use super::refused::RefusalView;
use super::views::{KindView, PolicyView, TenantView, failed, success};
use crate::auth::Removed;
use crate::limits::BucketLevel;
use crate::model::TenantId;
use crate::pipeline::Pipeline;
use crate::tenant::{Counted, Generation, Snapshot};

#[derive(Serialize)]
struct DetailView<'a> {
    #[serde(flatten)]
    row: TenantView<'a>,
    r#use: Vec<UseView>,
    limits: LimitsView,
    answers: BTreeMap<u16, u64>,
    counted: CountedView<'a>,
    chain: Vec<PolicyView<'a>>,
    refusals: Vec<RefusalView<'a>>,
    removed_credentials: Vec<RemovedView<'a>>,
    remote_write: String,
}

/// A credential that is not configured any more, and whose writes are told to wait.
#[derive(Serialize)]
struct RemovedView<'a> {
    #[serde(flatten)]
    kind: KindView<'a>,
    removed_seconds_ago: f64,
    /// Until its writes are refused.
    ends_in_seconds: f64,
}

/// How much of a limit is in use.
#[derive(Serialize)]
struct UseView {
    limit: String,
    r#use: f64,
    max: f64,
    unit: &'static str,
    /// How fast what is used comes back; only of buckets.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
}

/// Samples since the process began.
#[derive(Serialize)]
struct CountedView<'a> {
    received: u64,
    kept: u64,
    edited: u64,
    forwarded: BTreeMap<&'a str, u64>,
    dropped: Vec<DroppedView<'a>>,
    rejected: Vec<RejectedView>,
    discarded: Vec<DiscardedView>,
}

#[derive(Serialize)]
struct DroppedView<'a> {
    policy: &'a str,
    reason: &'a str,
    samples: u64,
}

#[derive(Serialize)]
struct RejectedView {
    reason: &'static str,
    samples: u64,
    waiting: u64,
    kept_by_sender: bool,
}

#[derive(Serialize)]
struct DiscardedView {
    kind: &'static str,
    reason: &'static str,
    count: u64,
}

pub(super) async fn tenant(State(gateway): State<Gateway>, Path(tenant): Path<String>) -> Response {
    gateway.look(Instant::now());
    match detail(&gateway, &tenant) {
        Ok(response) => response,
        Err((status, error)) => failed(status, &error),
    }
}

fn detail(gateway: &Gateway, tenant: &str) -> Result<Response, NoAnswer> {
    // What is no name is nobody's.
    let id = tenant_id(tenant).map_err(|(_, error)| (StatusCode::NOT_FOUND, error))?;
    let current = gateway.generations.current();
    let generation = serving(&current.tenants, &id)?;
    let lately = Lately::of(&current);
    let (snapshot, of_lately) = (Snapshot::of(generation), lately.view(generation));
    let refusals = lately.refusals(generation);
    Ok(success(DetailView {
        row: TenantView::of(&snapshot, &of_lately),
        r#use: in_use(generation, &snapshot),
        limits: LimitsView::of(&generation.config().limits),
        answers: snapshot.counted.answers.iter().copied().collect(),
        counted: CountedView::of(&snapshot.counted),
        chain: PolicyView::all(&snapshot).collect(),
        refusals: RefusalView::all(
            &refusals,
            &lately,
            &Claimable::of(std::iter::once(&**generation.config())),
        ),
        removed_credentials: RemovedView::all(&current, &id),
        remote_write: remote_write(&current.config, generation.config(), gateway.remote_write.port()),
    }))
}

fn in_use(generation: &Generation, snapshot: &Snapshot) -> Vec<UseView> {
    let (limits, account) = (&generation.config().limits, generation.account());
    let (requests, bytes) = account.in_flight();
    let of_limit = |limit: &str, in_use: u64, max: u64, unit| UseView {
        limit: limit.to_owned(),
        r#use: in_use as f64,
        max: max as f64,
        unit,
        per_second: None,
    };
    let mut all = vec![
        of_limit(
            "max_active_series",
            snapshot.memo.active_series,
            limits.max_active_series,
            "series",
        ),
        of_limit(
            "max_concurrent_requests",
            requests as u64,
            limits.max_concurrent_requests as u64,
            "requests",
        ),
        of_limit("max_in_flight_size", bytes, limits.max_in_flight_size, "bytes"),
    ];
    all.extend(
        account
            .buckets()
            .levels(Instant::now())
            .into_iter()
            .map(UseView::of_bucket),
    );
    all
}

impl<'a> RemovedView<'a> {
    fn all(current: &'a Pipeline, tenant: &TenantId) -> Vec<Self> {
        let (grace, now) = (current.config.credential_grace, Instant::now());
        let left = |removed: &Removed| removed.until.saturating_duration_since(now);
        let removed = current.authenticator.removed_of(tenant);
        removed
            .map(|removed| Self {
                kind: KindView::of(&removed.credential),
                removed_seconds_ago: rounded(grace.saturating_sub(left(removed)).as_secs_f64()),
                ends_in_seconds: rounded(left(removed).as_secs_f64()),
            })
            .collect()
    }
}

impl UseView {
    fn of_bucket(level: BucketLevel) -> Self {
        Self {
            limit: format!("{}: {}", level.policy, level.bucket),
            r#use: rounded(level.burst - level.tokens),
            max: level.burst,
            unit: "tokens",
            per_second: Some(level.per_second),
        }
    }
}

impl<'a> CountedView<'a> {
    fn of(counted: &'a Counted) -> Self {
        let dropped = counted.dropped.iter();
        let rejected = counted.rejected.iter();
        let discarded = counted.discarded.iter();
        Self {
            received: counted.received,
            kept: counted.kept(),
            edited: counted.edited,
            forwarded: counted
                .forwarded
                .iter()
                .map(|(upstream, samples)| (upstream.as_str(), *samples))
                .collect(),
            dropped: dropped
                .map(|(words, samples)| DroppedView {
                    policy: &words.policy,
                    reason: &words.reason,
                    samples: *samples,
                })
                .collect(),
            rejected: rejected
                .map(|(reason, samples)| RejectedView::of(reason, *samples, counted.waiting_for(reason)))
                .collect(),
            discarded: discarded
                .map(|((kind, reason), count)| DiscardedView {
                    kind,
                    reason,
                    count: *count,
                })
                .collect(),
        }
    }
}

impl RejectedView {
    fn of(reason: &'static str, samples: u64, waiting: u64) -> Self {
        Self {
            reason,
            samples,
            waiting,
            kept_by_sender: waiting >= samples,
        }
    }
}
