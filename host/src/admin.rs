//! The operators' listener: metrics, health, reload, and what is configured and why.
//!
//! Takes HTTP on the admin address, gives text and JSON in Prometheus' envelope. Never on the public address, never a
//! secret, and never a change but `/-/reload`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::config::{CertificateName, Credential};
use crate::forward::Upstreams;
use crate::reload::{Generations, Report};
use crate::telemetry::Metrics;

/// What the handlers read.
#[derive(Clone)]
pub struct Admin {
    pub generations: Arc<Generations>,
    pub upstreams: Arc<Upstreams>,
    pub metrics: Arc<Metrics>,
    /// True from the first accepted connection to the beginning of the drain.
    pub ready: Arc<AtomicBool>,
}

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
    for tenant in admin.generations.current().tenants.values() {
        tenant.judge.publish();
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
    (code, success(report_json(&report)))
}

async fn status(State(admin): State<Admin>) -> Json<Value> {
    let mut data = report_json(&admin.generations.report());
    data["version"] = json!(env!("CARGO_PKG_VERSION"));
    data["ready"] = json!(admin.ready.load(Ordering::Acquire));
    data["tenants"] = json!(admin.generations.current().tenants.len());
    success(data)
}

fn report_json(report: &Report) -> Value {
    let broken: Vec<Value> = report
        .broken
        .iter()
        .map(|broken| {
            json!({
                "tenant": broken.tenant.as_ref().map(ToString::to_string),
                "file": broken.file.display().to_string(),
                "error": broken.error,
                "serving_generation": broken.serving,
            })
        })
        .collect();
    json!({
        "last_reload": {
            "successful": report.is_success(),
            "timestamp_seconds": report.at,
            "cause": report.cause,
            "errors": report.errors,
            "plugin_errors": report.plugins,
            "warnings": report.warnings,
        },
        "broken_tenants": broken,
    })
}

async fn tenants(State(admin): State<Admin>) -> Json<Value> {
    let current = admin.generations.current();
    let mut tenants: Vec<_> = current.tenants.values().collect();
    tenants.sort_by(|a, b| a.config.id.cmp(&b.config.id));
    let tenants: Vec<Value> = tenants
        .into_iter()
        .map(|tenant| {
            json!({
                "tenant": tenant.config.id.as_str(),
                "enabled": tenant.config.enabled,
                "file": tenant.config.file.display().to_string(),
                "generation": tenant.generation,
                "credentials": tenant.config.credentials.iter().map(credential).collect::<Vec<_>>(),
                "policies": tenant.config.policies.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
                "upstreams": tenant.config.upstreams,
                "active_series": tenant.judge.active_series(),
                "max_active_series": tenant.config.limits.max_active_series,
            })
        })
        .collect();
    success(json!(tenants))
}

/// What kind it is and whom it names. Never a token or a password, nor a digest of one.
fn credential(credential: &Credential) -> Value {
    match credential {
        Credential::ClientCertificate(CertificateName::UriSan(name)) => {
            json!({ "kind": "client_certificate", "uri_san": name })
        }
        Credential::ClientCertificate(CertificateName::DnsSan(name)) => {
            json!({ "kind": "client_certificate", "dns_san": name })
        }
        Credential::ClientCertificate(CertificateName::CommonName(name)) => {
            json!({ "kind": "client_certificate", "common_name": name })
        }
        Credential::BearerToken(_) => json!({ "kind": "bearer_token" }),
        Credential::BasicAuth { username, .. } => json!({ "kind": "basic_auth", "username": username }),
    }
}

async fn policies(State(admin): State<Admin>) -> Json<Value> {
    let current = admin.generations.current();
    let mut tenants: Vec<_> = current.tenants.values().collect();
    tenants.sort_by(|a, b| a.config.id.cmp(&b.config.id));
    let mut rows = Vec::new();
    for tenant in tenants {
        for (policy, status) in tenant.judge.chain().policies().zip(tenant.judge.chain().status()) {
            rows.push(json!({
                "tenant": tenant.config.id.as_str(),
                "policy": &*policy.name,
                "plugin": policy.plugin,
                "sha256": HEXLOWER.encode(&policy.sha256),
                "judges_series": policy.judges_series,
                "judges_writes": policy.judges_writes,
                "calls": status.calls,
                "failures": status.failures,
                "last_failure": status.last_failure.map(|failure| failure.fault.to_string()),
                "quarantined_seconds": status.quarantined.map(|left| left.as_secs_f64()),
            }));
        }
    }
    success(json!(rows))
}

async fn upstreams(State(admin): State<Admin>) -> Json<Value> {
    let rows: Vec<Value> = admin
        .upstreams
        .status()
        .into_iter()
        .map(|upstream| {
            let endpoints: Vec<Value> = upstream
                .endpoints
                .iter()
                .map(|endpoint| {
                    json!({
                        "address": endpoint.address,
                        "healthy": endpoint.healthy,
                        "in_flight": endpoint.in_flight,
                        "failures_in_a_row": endpoint.failures_in_a_row,
                        "last_failure": endpoint.last_failure,
                        "retry_in_seconds": endpoint.retry_in.map(|left| left.as_secs_f64()),
                    })
                })
                .collect();
            json!({
                "upstream": upstream.name,
                "in_flight": upstream.in_flight,
                "lookup_error": upstream.lookup_error,
                "endpoints": endpoints,
            })
        })
        .collect();
    success(json!(rows))
}

/// Prometheus' API envelope.
fn success(data: Value) -> Json<Value> {
    Json(json!({ "status": "success", "data": data }))
}
