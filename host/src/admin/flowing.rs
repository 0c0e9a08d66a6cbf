//! `GET /api/v1/flow`: the last hour of the gateway and of every tenant, and the same as events.
//!
//! Takes what was seen to flow, gives arrays, oldest first, and rates per second. Never counts anything itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;

use super::gateway::Gateway;
use super::lately::{Lately, rounded};
use super::question::{NoAnswer, asked, tenant_id};
use super::views::{failed, success};
use crate::flow::{Flow, INTERVAL, INTERVALS, Interval};
use crate::model::{TenantId, seconds_since_1970};
use crate::pipeline::Pipeline;
use crate::tenant::{Account, Generation, Minute, Moved};

const MINUTE_SECONDS: u64 = 60;

#[derive(Serialize)]
struct FlowView<'a> {
    now: i64,
    interval_seconds: u64,
    seconds: u64,
    gateway: Option<GatewayView>,
    tenant_interval_seconds: u64,
    tenants: BTreeMap<&'a str, TenantFlowView>,
}

/// All as long as each other.
#[derive(Serialize)]
struct GatewayView {
    received: Vec<i64>,
    kept: Vec<i64>,
    edited: Vec<i64>,
    dropped: Vec<i64>,
    rejected: Vec<i64>,
    waiting: Vec<i64>,
    upstreams: BTreeMap<String, Vec<u64>>,
}

#[derive(Serialize)]
struct TenantFlowView {
    received: Vec<u32>,
    dropped: Vec<u32>,
    rejected: Vec<u32>,
    waiting: Vec<u32>,
}

pub(super) async fn flow(State(gateway): State<Gateway>, uri: Uri) -> Response {
    gateway.look(Instant::now());
    let current = gateway.generations.current();
    let tenant = asked(&uri, "tenant").map(tenant_id).transpose();
    match tenant.and_then(|tenant| tenants_of(&current, tenant.as_ref())) {
        Ok((tenants, is_one)) => success(FlowView {
            now: seconds_since_1970(),
            interval_seconds: INTERVAL.as_secs(),
            seconds: INTERVAL.as_secs() * INTERVALS as u64,
            gateway: (!is_one).then(|| GatewayView::of(&gateway.flow)),
            tenant_interval_seconds: MINUTE_SECONDS,
            tenants,
        }),
        Err((status, error)) => failed(status, &error),
    }
}

fn tenants_of<'a>(
    current: &'a Pipeline,
    asked: Option<&TenantId>,
) -> Result<(BTreeMap<&'a str, TenantFlowView>, bool), NoAnswer> {
    let wanted = |account: &&Arc<Account>| asked.is_none_or(|asked| asked == account.tenant());
    let tenants = current.tenants.accounts().filter(wanted);
    let tenants: BTreeMap<&str, TenantFlowView> = tenants
        .map(|account| (account.tenant().as_str(), TenantFlowView::of(&account.flow().minutes())))
        .collect();
    match asked {
        Some(asked) if tenants.is_empty() => Err((StatusCode::NOT_FOUND, format!("there is no tenant {asked}"))),
        _ => Ok((tenants, asked.is_some())),
    }
}

impl GatewayView {
    fn of(flow: &Flow) -> Self {
        let intervals = flow.intervals();
        let all = |number: fn(&Moved) -> i64| intervals.iter().map(|interval| number(&interval.moved)).collect();
        let mut upstreams: BTreeMap<String, Vec<u64>> = flow
            .upstreams()
            .keys()
            .map(|name| (name.to_string(), vec![0; intervals.len()]))
            .collect();
        for (at, interval) in intervals.iter().enumerate() {
            for (name, samples) in &interval.upstreams {
                let of_upstream = upstreams.entry(name.to_string());
                of_upstream.or_insert_with(|| vec![0; intervals.len()])[at] = *samples;
            }
        }
        Self {
            received: all(|moved| moved.received),
            kept: all(|moved| moved.kept),
            edited: all(|moved| moved.edited),
            dropped: all(|moved| moved.dropped),
            rejected: all(|moved| moved.rejected),
            waiting: all(|moved| moved.waiting),
            upstreams,
        }
    }
}

impl TenantFlowView {
    fn of(minutes: &[Minute]) -> Self {
        let all = |number: fn(&Minute) -> u32| minutes.iter().map(number).collect();
        Self {
            received: all(|minute| minute.received),
            dropped: all(|minute| minute.dropped),
            rejected: all(|minute| minute.rejected),
            waiting: all(|minute| minute.waiting),
        }
    }
}

/// Per second.
#[derive(Serialize)]
pub(super) struct FlowEvent {
    now: i64,
    received: f64,
    kept: f64,
    edited: f64,
    dropped: f64,
    rejected: f64,
    waiting: f64,
    upstreams: BTreeMap<String, f64>,
}

impl FlowEvent {
    /// Of every upstream that is known.
    pub(super) fn of(flow: &Flow, interval: &Interval, seconds: f64) -> Self {
        let Moved {
            received,
            kept,
            edited,
            dropped,
            rejected,
            waiting,
        } = interval.moved;
        let rate = |samples: i64| per_second(samples as f64, seconds);
        let mut upstreams: BTreeMap<String, f64> =
            flow.upstreams().keys().map(|name| (name.to_string(), 0.0)).collect();
        for (name, samples) in &interval.upstreams {
            upstreams.insert(name.to_string(), per_second(*samples as f64, seconds));
        }
        Self {
            now: seconds_since_1970(),
            received: rate(received),
            kept: rate(kept),
            edited: rate(edited),
            dropped: rate(dropped),
            rejected: rate(rejected),
            waiting: rate(waiting),
            upstreams,
        }
    }

    /// Nothing, as long as there was no whole interval.
    pub(super) fn of_last_interval(flow: &Flow) -> Self {
        let last = flow.intervals().pop().unwrap_or_default();
        Self::of(flow, &last, INTERVAL.as_secs_f64())
    }
}

/// A row for each tenant that is served, by name.
#[derive(Serialize)]
pub(super) struct TenantsEvent<'a> {
    /// That its rates are of.
    seconds: f64,
    columns: [&'static str; 14],
    rows: Vec<Row<'a>>,
}

const COLUMNS: [&str; 14] = [
    "tenant",
    "received",
    "dropped",
    "rejected",
    "waiting",
    "forwarded",
    "active_series",
    "max_active_series",
    "p99_seconds",
    "last_status",
    "last_reason",
    "last_seconds_ago",
    "last_received_seconds_ago",
    "last_taken_seconds_ago",
];

/// In the order of the columns.
#[derive(Serialize)]
struct Row<'a>(
    &'a str,
    f64,
    f64,
    f64,
    f64,
    f64,
    u64,
    u64,
    Option<f64>,
    Option<u16>,
    Option<&'static str>,
    Option<f64>,
    Option<f64>,
    Option<f64>,
);

impl<'a> TenantsEvent<'a> {
    /// Rates are of what was seen since the last table, `seconds` ago.
    pub(super) fn of(current: &'a Pipeline, lately: &Lately, seconds: f64) -> Self {
        Self::with(current, lately, seconds, |account| {
            let moved = account.flow().take_lately();
            let stored = moved.kept + moved.edited;
            let all = [moved.received, moved.dropped, moved.rejected, moved.waiting, stored];
            all.map(|samples| per_second(samples as f64, seconds))
        })
    }

    pub(super) fn of_last_minute(current: &'a Pipeline, lately: &Lately) -> Self {
        Self::with(current, lately, MINUTE_SECONDS as f64, |account| {
            let minute = account.flow().last_minute();
            let elsewhere = minute
                .dropped
                .saturating_add(minute.rejected)
                .saturating_add(minute.waiting);
            let stored = minute.received.saturating_sub(elsewhere);
            let all = [minute.received, minute.dropped, minute.rejected, minute.waiting, stored];
            all.map(|samples| per_second(f64::from(samples), MINUTE_SECONDS as f64))
        })
    }

    fn with(current: &'a Pipeline, lately: &Lately, seconds: f64, rates: impl Fn(&Account) -> [f64; 5]) -> Self {
        let row = |generation: &'a Arc<Generation>| Row::of(generation, lately, rates(generation.account()));
        let mut rows: Vec<Row<'a>> = current.tenants.serving().map(row).collect();
        rows.sort_by_key(|row| row.0);
        Self {
            seconds: rounded(seconds),
            columns: COLUMNS,
            rows,
        }
    }
}

impl<'a> Row<'a> {
    fn of(generation: &'a Generation, lately: &Lately, rates: [f64; 5]) -> Self {
        let (config, account) = (generation.config(), generation.account());
        let [received, dropped, rejected, waiting, stored] = rates;
        let last = lately.last_refusal(generation);
        let last = last.as_ref();
        let [received_ago, taken_ago] = lately.last_seen(account);
        Self(
            config.id.as_str(),
            received,
            dropped,
            rejected,
            waiting,
            stored,
            generation.all_active_series(),
            config.limits.max_active_series,
            account.flow().p99(account.counters()).map(rounded),
            last.and_then(|(_, refusal)| refusal.status),
            last.map(|(_, refusal)| refusal.reason),
            last.map(|(ago, _)| rounded(ago.as_secs_f64())),
            received_ago,
            taken_ago,
        )
    }
}

fn per_second(samples: f64, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => rounded(samples / seconds),
        false => 0.0,
    }
}
