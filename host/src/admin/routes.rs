//! What is answered at which path.
//!
//! Takes requests of operators, gives views in Prometheus' envelope. Never puts JSON together by hand: see `views`.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;

use super::Admin;
use super::views::{PolicyView, ReportView, StatusView, Success, TenantView, UpstreamView};
use crate::tenant::Snapshot;

/// The routes of docs/api.md.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload).put(reload))
        .route("/api/v1/tenants", get(tenants))
        .route("/api/v1/policies", get(policies))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/status", get(status))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    for generation in admin.generations.current().tenants.serving() {
        generation.publish();
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.text())
}

async fn ready(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.ready.load(Ordering::Acquire) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn reload(State(admin): State<Admin>) -> impl IntoResponse {
    let report = admin.generations.reload("POST /-/reload").await;
    let code = if report.is_success() {
        StatusCode::OK
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    };
    (code, success(ReportView::of(&report)))
}

async fn status(State(admin): State<Admin>) -> Response {
    success(StatusView {
        report: ReportView::of(&admin.generations.report()),
        version: env!("CARGO_PKG_VERSION"),
        ready: admin.ready.load(Ordering::Acquire),
        tenants: admin.generations.current().tenants.serving().count(),
    })
}

async fn tenants(State(admin): State<Admin>) -> Response {
    success(snapshots(&admin).iter().map(TenantView::of).collect::<Vec<_>>())
}

async fn policies(State(admin): State<Admin>) -> Response {
    success(snapshots(&admin).iter().flat_map(PolicyView::all).collect::<Vec<_>>())
}

async fn upstreams(State(admin): State<Admin>) -> Response {
    let status = admin.upstreams.status();
    success(status.into_iter().map(UpstreamView::of).collect::<Vec<_>>())
}

/// By name.
fn snapshots(admin: &Admin) -> Vec<Snapshot> {
    let current = admin.generations.current();
    let mut all: Vec<Snapshot> = current.tenants.serving().map(|g| g.snapshot()).collect();
    all.sort_by(|a, b| a.config.id.cmp(&b.config.id));
    all
}

fn success<T: Serialize>(data: T) -> Response {
    Json(Success {
        status: "success",
        data,
    })
    .into_response()
}
