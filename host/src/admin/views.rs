//! What the API says, as docs/api.md lists it: one type for each kind of row.
//!
//! Takes what serves, gives JSON by serde. Never holds a secret: of a credential only its kind and its public name.
//!
//! Long because every row of the API is here.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use data_encoding::HEXLOWER;
use http::StatusCode;
use serde::Serialize;

use super::lately::LatelyView;
use crate::chain::{Example, FailedSeries, Impurity, PolicyStatus, ShadowStatus};
use crate::config::{CertificateName, Credential};
use crate::flow::UpstreamFlow;
use crate::forward::{EndpointStatus, UpstreamStatus};
use crate::judge::memo::BudgetStats;
use crate::reload::{Broken, Report};
use crate::sandbox::{Line, Usage};
use crate::tenant::{CredentialUsed, LastFailure, Snapshot, WentBack};

/// Prometheus' API envelope.
#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

/// The same for a question that has no answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    status: &'static str,
    error_type: &'static str,
    error: &'a str,
}

pub(super) fn success<T: Serialize>(data: T) -> Response {
    let status = "success";
    Json(Success { status, data }).into_response()
}

pub(super) fn failed(status: StatusCode, error: &str) -> Response {
    let error_type = match status {
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT => "unavailable",
        StatusCode::REQUEST_TIMEOUT => "timeout",
        _ => "bad_data",
    };
    let failed = Failed {
        status: "error",
        error_type,
        error,
    };
    (status, Json(failed)).into_response()
}

#[derive(Serialize)]
pub(super) struct StatusView {
    #[serde(flatten)]
    pub(super) report: ReportView,
    pub(super) went_back: Vec<WentBackView>,
    pub(super) version: &'static str,
    pub(super) ready: bool,
    pub(super) tenants: usize,
}

/// Whose policies are not those of the configuration, and why.
#[derive(Serialize)]
pub(super) struct WentBackView {
    pub(super) tenant: String,
    generation: u64,
    from_generation: u64,
    to_generation: Option<u64>,
    why: String,
}

impl WentBackView {
    pub(super) fn of(tenant: &str, generation: u64, back: &WentBack) -> Self {
        Self {
            tenant: tenant.to_owned(),
            generation,
            from_generation: back.from,
            to_generation: back.to,
            why: back.why.clone(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ReportView {
    last_reload: ReloadView,
    broken_tenants: Vec<BrokenView>,
}

#[derive(Serialize)]
struct ReloadView {
    successful: bool,
    timestamp_seconds: u64,
    cause: &'static str,
    errors: Vec<String>,
    plugin_errors: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct BrokenView {
    tenant: Option<String>,
    file: String,
    error: String,
    serving_generation: Option<u64>,
    restored: bool,
    credentials_unknown: bool,
}

impl ReportView {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            last_reload: ReloadView {
                successful: report.is_success(),
                timestamp_seconds: report.at,
                cause: report.cause,
                errors: report.errors.clone(),
                plugin_errors: report.plugins.clone(),
                warnings: report.warnings.clone(),
            },
            broken_tenants: broken_views(report),
        }
    }
}

pub(super) fn broken_views(report: &Report) -> Vec<BrokenView> {
    report.broken.iter().map(BrokenView::of).collect()
}

impl BrokenView {
    fn of(broken: &Broken) -> Self {
        Self {
            tenant: broken.tenant.as_ref().map(ToString::to_string),
            file: broken.file.display().to_string(),
            error: broken.error.clone(),
            serving_generation: broken.serving,
            restored: broken.is_restored,
            credentials_unknown: broken.credentials_unknown,
        }
    }
}

#[derive(Serialize)]
pub(super) struct TenantView<'a> {
    tenant: &'a str,
    enabled: bool,
    file: String,
    generation: u64,
    went_back: Option<WentBackView>,
    credentials: Vec<CredentialView<'a>>,
    policies: Vec<&'a str>,
    upstreams: &'a [String],
    active_series: u64,
    max_active_series: u64,
    budgets: usize,
    fullest_budgets: Vec<BudgetView<'a>>,
    last_failures: Vec<FailureView<'a>>,
    policy_usage: TotalUsageView,
    #[serde(flatten)]
    lately: &'a LatelyView,
}

/// Of all policies of a tenant.
#[derive(Serialize)]
struct TotalUsageView {
    calls: u64,
    failures: u64,
    #[serde(flatten)]
    usage: UsageView,
}

#[derive(Serialize)]
struct UsageView {
    cpu_seconds: f64,
    memory_peak_bytes: u64,
    log_lines: u64,
    log_bytes: u64,
}

#[derive(Serialize)]
struct BudgetView<'a> {
    budget: &'a str,
    active_series: u64,
    max_active_series: u64,
}

#[derive(Serialize)]
struct CredentialView<'a> {
    #[serde(flatten)]
    kind: KindView<'a>,
    last_used_seconds_ago: Option<u64>,
    expires_timestamp_seconds: Option<i64>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum KindView<'a> {
    ClientCertificate(NameView<'a>),
    BearerToken,
    BasicAuth { username: &'a str },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NameView<'a> {
    UriSan(&'a str),
    DnsSan(&'a str),
    CommonName(&'a str),
}

#[derive(Serialize)]
struct FailureView<'a> {
    reason: &'static str,
    text: &'a str,
    seconds_ago: f64,
}

impl<'a> TenantView<'a> {
    pub(super) fn of(tenant: &'a Snapshot, lately: &'a LatelyView) -> Self {
        let config = &tenant.config;
        let credentials = config.credentials.iter().zip(&tenant.last_used);
        Self {
            tenant: config.id.as_str(),
            enabled: config.enabled,
            file: config.file.display().to_string(),
            generation: tenant.generation,
            went_back: tenant
                .went_back
                .as_ref()
                .map(|back| WentBackView::of(config.id.as_str(), tenant.generation, back)),
            credentials: credentials.map(CredentialView::of).collect(),
            policies: config.policies.iter().map(|policy| policy.name.as_str()).collect(),
            upstreams: &config.upstreams,
            active_series: tenant.memo.active_series,
            max_active_series: config.limits.max_active_series,
            budgets: tenant.budgets,
            fullest_budgets: tenant.fullest_budgets.iter().map(BudgetView::of).collect(),
            last_failures: tenant.failures.iter().map(FailureView::of).collect(),
            policy_usage: TotalUsageView::of(&tenant.policies),
            lately,
        }
    }
}

impl TotalUsageView {
    fn of(policies: &[PolicyStatus]) -> Self {
        let mut usage = Usage::default();
        policies.iter().for_each(|policy| usage += policy.usage);
        Self {
            calls: policies.iter().map(|policy| policy.calls).sum(),
            failures: policies.iter().map(|policy| policy.failures).sum(),
            usage: UsageView::of(usage),
        }
    }
}

impl UsageView {
    fn of(usage: Usage) -> Self {
        Self {
            cpu_seconds: usage.cpu.as_secs_f64(),
            memory_peak_bytes: usage.memory_peak,
            log_lines: usage.log_lines,
            log_bytes: usage.log_bytes,
        }
    }
}

impl<'a> CredentialView<'a> {
    fn of((credential, last_used): (&'a Credential, &Option<CredentialUsed>)) -> Self {
        Self {
            kind: KindView::of(credential),
            last_used_seconds_ago: last_used.map(|used| used.ago.as_secs()),
            expires_timestamp_seconds: last_used.and_then(|used| used.expires),
        }
    }
}

impl<'a> KindView<'a> {
    pub(super) fn of(credential: &'a Credential) -> Self {
        match credential {
            Credential::ClientCertificate(name) => Self::ClientCertificate(match name {
                CertificateName::UriSan(name) => NameView::UriSan(name),
                CertificateName::DnsSan(name) => NameView::DnsSan(name),
                CertificateName::CommonName(name) => NameView::CommonName(name),
            }),
            Credential::BearerToken(_) => Self::BearerToken,
            Credential::BasicAuth { username, .. } => Self::BasicAuth { username },
        }
    }
}

impl<'a> BudgetView<'a> {
    fn of(budget: &'a BudgetStats) -> Self {
        Self {
            budget: &budget.name,
            active_series: budget.active_series,
            max_active_series: budget.max_active_series,
        }
    }
}

impl<'a> FailureView<'a> {
    fn of(failure: &'a LastFailure) -> Self {
        Self {
            reason: failure.reason,
            text: &failure.text,
            seconds_ago: failure.ago.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct PolicyView<'a> {
    tenant: &'a str,
    policy: &'a str,
    plugin: &'a str,
    sha256: String,
    mode: String,
    judges_series: bool,
    judges_writes: bool,
    calls: u64,
    failures: u64,
    last_failure: Option<String>,
    quarantined_seconds: Option<f64>,
    refused_series: Vec<RefusedSeriesView<'a>>,
    series_per_call: usize,
    world: &'static str,
    size_bytes: usize,
    generation: u64,
    owner: &'static str,
    nanoseconds_per_call: Option<u64>,
    log: Vec<LineView<'a>>,
    #[serde(flatten)]
    usage: UsageView,
    impure: Option<ImpureView<'a>>,
    shadow: Option<ShadowView<'a>>,
}

#[derive(Serialize)]
struct LineView<'a> {
    level: &'static str,
    text: &'a str,
    seconds_ago: f64,
}

impl<'a> LineView<'a> {
    fn of((line, ago): &'a (Line, Duration)) -> Self {
        Self {
            level: line.level,
            text: &line.text,
            seconds_ago: ago.as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
struct ImpureView<'a> {
    series: &'a str,
    answers: [&'a str; 2],
    seconds_ago: f64,
}

impl<'a> ImpureView<'a> {
    fn of(impurity: &'a Impurity) -> Self {
        Self {
            series: &impurity.series,
            answers: [&impurity.answers[0], &impurity.answers[1]],
            seconds_ago: impurity.at.elapsed().unwrap_or_default().as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
struct ShadowView<'a> {
    asked: u64,
    differences: BTreeMap<&'static str, u64>,
    examples: Vec<ExampleView<'a>>,
}

#[derive(Serialize)]
struct ExampleView<'a> {
    kind: &'static str,
    series: &'a str,
    answer: &'a str,
    seconds_ago: f64,
}

impl<'a> ShadowView<'a> {
    fn of(shadow: &'a ShadowStatus) -> Self {
        let differences = shadow.differences.iter();
        Self {
            asked: shadow.asked,
            differences: differences
                .map(|(difference, count)| (difference.word(), *count))
                .collect(),
            examples: shadow.examples.iter().map(ExampleView::of).collect(),
        }
    }
}

impl<'a> ExampleView<'a> {
    fn of(example: &'a Example) -> Self {
        Self {
            kind: example.difference.word(),
            series: &example.series,
            answer: &example.answer,
            seconds_ago: example.at.elapsed().unwrap_or_default().as_secs_f64(),
        }
    }
}

#[derive(Serialize)]
struct RefusedSeriesView<'a> {
    series: &'a str,
    fault: String,
    seconds_ago: f64,
}

impl<'a> RefusedSeriesView<'a> {
    fn of(failed: &'a FailedSeries) -> Self {
        Self {
            series: &failed.series,
            fault: failed.fault.to_string(),
            // None for one that the clock was set back behind.
            seconds_ago: failed.at.elapsed().unwrap_or_default().as_secs_f64(),
        }
    }
}

impl<'a> PolicyView<'a> {
    /// In the order they run.
    pub(super) fn all(tenant: &'a Snapshot) -> impl Iterator<Item = Self> {
        tenant.policies.iter().map(|status| Self {
            tenant: tenant.config.id.as_str(),
            policy: &status.info.name,
            plugin: &status.info.plugin,
            sha256: HEXLOWER.encode(&status.info.sha256),
            mode: status.info.mode.to_string(),
            judges_series: status.info.judges_series(),
            judges_writes: status.info.judges_writes(),
            calls: status.calls,
            failures: status.failures,
            last_failure: status.last_failure.as_ref().map(|failure| failure.fault.to_string()),
            quarantined_seconds: status.quarantined.map(|left| left.as_secs_f64()),
            refused_series: status.failed_series.iter().map(RefusedSeriesView::of).collect(),
            impure: status.impurity.as_ref().map(ImpureView::of),
            shadow: status.shadow.as_ref().map(ShadowView::of),
            series_per_call: status.series_per_call,
            world: status.info.world,
            size_bytes: status.info.size,
            generation: tenant.generation,
            owner: status.info.owner.word(),
            nanoseconds_per_call: (status.usage.cpu.as_nanos() as u64).checked_div(status.calls),
            log: status.log.iter().map(LineView::of).collect(),
            usage: UsageView::of(status.usage),
        })
    }
}

#[derive(Serialize)]
pub(super) struct UpstreamView {
    upstream: String,
    in_flight: usize,
    lookup_error: Option<String>,
    answers: BTreeMap<&'static str, u64>,
    samples: u64,
    p50_seconds: Option<f64>,
    p99_seconds: Option<f64>,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
struct EndpointView {
    address: String,
    healthy: bool,
    in_flight: usize,
    latency_seconds: Option<f64>,
    failures_in_a_row: u32,
    last_failure: Option<&'static str>,
    last_cause: Option<CauseView>,
    retry_in_seconds: Option<f64>,
}

#[derive(Serialize)]
struct CauseView {
    seconds_ago: f64,
    text: String,
    url: String,
    look_at: Option<String>,
}

impl UpstreamView {
    pub(super) fn of(upstream: UpstreamStatus, flow: UpstreamFlow) -> Self {
        let endpoint = |endpoint| EndpointView::of(endpoint, &upstream.name, &upstream.path);
        Self {
            endpoints: upstream.endpoints.into_iter().map(endpoint).collect(),
            in_flight: upstream.in_flight,
            lookup_error: upstream.lookup_error,
            answers: upstream.answers.into_iter().collect(),
            samples: flow.samples,
            p50_seconds: flow.p50,
            p99_seconds: flow.p99,
            upstream: upstream.name,
        }
    }
}

impl EndpointView {
    fn of(endpoint: EndpointStatus, upstream: &str, path: &str) -> Self {
        let last_cause = endpoint.last_cause.map(|(cause, ago)| CauseView {
            seconds_ago: ago.as_secs_f64(),
            look_at: cause.look_at(upstream),
            text: cause.text,
            url: format!("{}{path}", endpoint.address),
        });
        Self {
            last_cause,
            address: endpoint.address,
            healthy: endpoint.healthy,
            in_flight: endpoint.in_flight,
            latency_seconds: endpoint.latency.map(|latency| latency.as_secs_f64()),
            failures_in_a_row: endpoint.failures_in_a_row,
            last_failure: endpoint.last_failure,
            retry_in_seconds: endpoint.retry_in.map(|left| left.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Password;

    #[test]
    fn a_credential_is_told_by_its_kind_and_its_public_name_alone() {
        let shown = |credential: Credential| serde_json::to_string(&KindView::of(&credential)).unwrap();
        let name = CertificateName::UriSan("spiffe://kazusa/prometheus".into());
        assert_eq!(
            shown(Credential::ClientCertificate(name)),
            r#"{"kind":"client_certificate","uri_san":"spiffe://kazusa/prometheus"}"#
        );
        assert_eq!(shown(Credential::BearerToken([7; 32])), r#"{"kind":"bearer_token"}"#);
        let basic = Credential::BasicAuth {
            username: "kazusa".into(),
            password: Password::Sha256([7; 32]),
        };
        assert_eq!(shown(basic), r#"{"kind":"basic_auth","username":"kazusa"}"#);
    }
}
