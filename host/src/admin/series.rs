//! `GET /api/v1/tenants/<tenant>/drops` and `../cardinality`: what became of a tenant's series, and what new ones are called.
//!
//! Takes a tenant's name, gives what its account kept. Never shows a label's value but the metric's name, unless the tenant's
//! `drop_examples` is `values`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;

use super::gateway::Gateway;
use super::question::{NoAnswer, serving, tenant_id};
use super::views::{failed, success};
use crate::tenant::{Account, CountedName, NewcomersWindow, WhyGone};

/// The sets of one cause, with how long ago each was seen.
type Sets = Vec<(String, Duration)>;

#[derive(Serialize)]
struct DropsView {
    tenant: String,
    examples_kept: &'static str,
    drops: Vec<DropView>,
    rejections: Vec<RejectionView>,
}

#[derive(Serialize)]
struct DropView {
    policy: String,
    reason: String,
    samples: u64,
    examples: Vec<ExampleView>,
}

#[derive(Serialize)]
struct RejectionView {
    reason: &'static str,
    samples: u64,
    waiting: u64,
    kept_by_sender: bool,
    examples: Vec<ExampleView>,
}

#[derive(Serialize)]
struct ExampleView {
    series: String,
    seconds_ago: f64,
}

#[derive(Serialize)]
struct CardinalityView {
    tenant: String,
    windows: Vec<WindowView>,
}

#[derive(Serialize)]
struct WindowView {
    seconds: u64,
    covered_seconds: u64,
    new_series: u64,
    error: u64,
    metrics: Vec<MetricView>,
    labels: Vec<LabelView>,
}

#[derive(Serialize)]
struct MetricView {
    name: String,
    new_series: u64,
}

#[derive(Serialize)]
struct LabelView {
    name: String,
    new_series: u64,
    values: u64,
}

pub(super) async fn dropped(State(gateway): State<Gateway>, Path(tenant): Path<String>) -> Response {
    answer(&gateway, &tenant, DropsView::of)
}

pub(super) async fn newcomers(State(gateway): State<Gateway>, Path(tenant): Path<String>) -> Response {
    answer(&gateway, &tenant, CardinalityView::of)
}

fn answer<T: Serialize>(gateway: &Gateway, tenant: &str, view: impl FnOnce(&Account) -> T) -> Response {
    let account = || -> Result<Arc<Account>, NoAnswer> {
        let current = gateway.generations.current();
        Ok(Arc::clone(serving(&current.tenants, &tenant_id(tenant)?)?.account()))
    };
    match account() {
        Ok(account) => success(view(&account)),
        Err((status, error)) => failed(status, &error),
    }
}

impl DropsView {
    fn of(account: &Account) -> Self {
        let now = Instant::now();
        let (what, mut examples) = account.examples().kept(now);
        let counted = account.counters().counted();
        let rejections = counted.rejected.iter().map(|&(reason, samples)| RejectionView {
            reason,
            samples,
            waiting: counted.waiting_for(reason),
            kept_by_sender: counted.waiting_for(reason) == samples,
            examples: views(examples.remove(&WhyGone::Refused(reason))),
        });
        let rejections = rejections.collect();
        let drops = counted.dropped.into_iter().map(|(words, samples)| DropView {
            examples: views(examples.remove(&WhyGone::Dropped(words.clone()))),
            policy: words.policy.to_string(),
            reason: words.reason.to_string(),
            samples,
        });
        Self {
            tenant: account.tenant().to_string(),
            examples_kept: what.word(),
            drops: drops.collect(),
            rejections,
        }
    }
}

fn views(sets: Option<Sets>) -> Vec<ExampleView> {
    let view = |(series, ago): (String, Duration)| ExampleView {
        series,
        seconds_ago: ago.as_secs_f64(),
    };
    sets.unwrap_or_default().into_iter().map(view).collect()
}

impl CardinalityView {
    fn of(account: &Account) -> Self {
        let windows = account.newcomers().windows(Instant::now());
        Self {
            tenant: account.tenant().to_string(),
            windows: windows.into_iter().map(WindowView::of).collect(),
        }
    }
}

impl WindowView {
    fn of(window: NewcomersWindow) -> Self {
        let metric = |CountedName { name, new_series, .. }| MetricView { name, new_series };
        let label = |CountedName {
                         name,
                         new_series,
                         values,
                     }| LabelView {
            name,
            new_series,
            values: values.unwrap_or_default(),
        };
        Self {
            seconds: window.length.as_secs(),
            covered_seconds: window.covered.as_secs(),
            new_series: window.new_series,
            error: window.error,
            metrics: window.metrics.into_iter().map(metric).collect(),
            labels: window.labels.into_iter().map(label).collect(),
        }
    }
}
