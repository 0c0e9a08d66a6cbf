//! What is answered at which path.
//!
//! Takes requests of operators, gives views in Prometheus' envelope. Never puts JSON together by hand: see `views`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::configured;
use super::console;
use super::events;
use super::explaining;
use super::flowing;
use super::gateway::Gateway;
use super::guard::{self, Denial};
use super::lately::Lately;
use super::policies;
use super::refused;
use super::reloads;
use super::series;
use super::tapping;
use super::tenant;
use super::views::{ReportView, StatusView, TenantView, UpstreamView, WentBackView, failed, success};
use crate::forward::UpstreamStatus;
use crate::model::TenantId;
use crate::reload::{Generations, NoWayBack};
use crate::telemetry::Throttle;
use crate::tenant::Snapshot;

/// Refused requests that are told per window.
const REFUSALS: u64 = 5;
const REFUSALS_WINDOW: Duration = Duration::from_secs(60);

/// Answers operators: the guard first, then the routes.
pub struct Operators {
    generations: Arc<Generations>,
    routes: TowerToHyperService<Router>,
    refusals: Throttle,
}

impl Operators {
    pub fn new(gateway: Gateway) -> Self {
        Self {
            generations: Arc::clone(&gateway.generations),
            routes: TowerToHyperService::new(router(gateway)),
            refusals: Throttle::new(REFUSALS, REFUSALS_WINDOW),
        }
    }

    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response {
        if let Err(denial) = self.check(&request) {
            if let Some(untold) = self.refusals.due(Instant::now()) {
                tracing::warn!(%peer, error = %denial, untold, "a request to the admin listener was refused");
            }
            return denial.response(&self.generations.current().config.admin);
        }
        match self.routes.call(request.map(Body::new)).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// By itself, so that a request for a reload does not keep the generation alive that it replaces.
    fn check(&self, request: &Request<Incoming>) -> Result<(), Denial> {
        let current = self.generations.current();
        guard::check(&current.config.admin, request.uri(), request.headers())
    }
}

/// The routes of docs/api.md.
fn router(gateway: Gateway) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload))
        .route("/api/v1/tenants", get(tenants))
        .route("/api/v1/tenants/{tenant}", get(tenant::tenant))
        .route("/api/v1/tenants/{tenant}/rollback", post(roll_back))
        .route("/api/v1/tenants/{tenant}/drops", get(series::dropped))
        .route("/api/v1/tenants/{tenant}/cardinality", get(series::newcomers))
        .route("/api/v1/flow", get(flowing::flow))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/refusals", get(refused::refusals))
        .route("/api/v1/policies", get(policies::policies))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/status", get(status))
        .route("/api/v1/reloads", get(reloads::reloads))
        .route("/api/v1/config", get(configured::configured))
        .route("/api/v1/explain", post(explaining::explained))
        .route("/api/v1/tap", post(tapping::tapped))
        .merge(console::routes())
        .with_state(gateway)
}

async fn metrics(State(gateway): State<Gateway>) -> impl IntoResponse {
    let current = gateway.generations.current();
    current.tenants.publish(&gateway.metrics, Instant::now());
    gateway.memory.publish();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], gateway.metrics.text())
}

async fn ready(State(gateway): State<Gateway>) -> impl IntoResponse {
    match gateway.ready.load(Ordering::Acquire) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn reload(State(gateway): State<Gateway>) -> impl IntoResponse {
    let report = gateway.generations.reload("POST /-/reload").await;
    let code = if report.is_success() {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (code, success(ReportView::of(&report)))
}

async fn status(State(gateway): State<Gateway>) -> Response {
    let current = gateway.generations.current();
    let went_back = current.tenants.serving().filter_map(|generation| {
        let (id, number) = (generation.config().id.as_str(), generation.number());
        Some(WentBackView::of(id, number, generation.went_back()?))
    });
    let mut went_back: Vec<_> = went_back.collect();
    went_back.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    success(StatusView {
        report: ReportView::of(&gateway.generations.report()),
        went_back,
        version: env!("CARGO_PKG_VERSION"),
        ready: gateway.ready.load(Ordering::Acquire),
        tenants: current.tenants.serving().count(),
    })
}

async fn tenants(State(gateway): State<Gateway>) -> Response {
    gateway.look(Instant::now());
    let current = gateway.generations.current();
    let lately = Lately::of(&current);
    let mut serving: Vec<_> = current.tenants.serving().collect();
    serving.sort_by_key(|generation| &generation.config().id);
    let all = serving
        .iter()
        .map(|generation| (Snapshot::of(generation), lately.view(generation)));
    let all: Vec<_> = all.collect();
    let rows = all.iter().map(|(snapshot, lately)| TenantView::of(snapshot, lately));
    success(rows.collect::<Vec<_>>())
}

async fn roll_back(State(gateway): State<Gateway>, Path(tenant): Path<String>) -> Response {
    let done = match TenantId::new(&tenant) {
        Ok(tenant) => gateway.generations.roll_back(tenant).await,
        Err(_) => Err(NoWayBack::NoTenant),
    };
    match done {
        Ok((number, back)) => success(WentBackView::of(&tenant, number, &back)),
        Err(error @ NoWayBack::NoTenant) => failed(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => failed(StatusCode::CONFLICT, &error.to_string()),
    }
}

async fn upstreams(State(gateway): State<Gateway>) -> Response {
    let status = gateway.upstreams.status();
    gateway.flow.know_upstreams(&status);
    gateway.look(Instant::now());
    let flows = gateway.flow.upstreams();
    let view = |status: UpstreamStatus| {
        let flow = flows.get(status.name.as_str()).copied().unwrap_or_default();
        UpstreamView::of(status, flow)
    };
    success(status.into_iter().map(view).collect::<Vec<_>>())
}
