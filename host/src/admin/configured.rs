//! `GET /api/v1/config`: the configuration in use, with every default filled in.
//!
//! Takes resolved values, gives JSON under the names of docs/configuration.md; durations in seconds, sizes in bytes. Made field
//! by field of what is typed, never of the text: a secret has no field here but a word that there is one. Of a plugin that is
//! not built in nobody knows which of its settings are secrets, so none is shown.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::gateway::Gateway;
use super::question::{NoAnswer, asked, serving, tenant_id};
use super::views::{KindView, failed, success};
use crate::config::{
    Admin, ClientAuthType, Config, Credential, EndpointSpec, Limits, OnFailure, OverRate, Policy, RemoteWrite, Sandbox,
    Tenant, TlsClient, TlsServer, TlsVersion, TraceSettings, Upstream,
};

const SECRET: &str = "<secret>";
const HIDDEN: &str = "<hidden>";

#[derive(Serialize)]
struct Configured<T> {
    file: String,
    config: T,
}

#[derive(Serialize)]
struct ConfigView<'a> {
    remote_write: RemoteWriteView<'a>,
    admin: AdminView<'a>,
    upstreams: BTreeMap<&'a str, UpstreamView<'a>>,
    sandbox: SandboxView,
    memory_limit: Option<u64>,
    state_dir: Option<String>,
    traces: Option<TracesView<'a>>,
    credential_grace: f64,
    tenants: Vec<&'a str>,
}

#[derive(Serialize)]
struct RemoteWriteView<'a> {
    listen_address: &'a str,
    paths: &'a [String],
    health_checks: bool,
    tls_server_config: Option<TlsServerView>,
    max_connections: usize,
    max_strangers_per_address: usize,
    max_connections_per_tenant: usize,
    proxy_protocol: Vec<String>,
    handshake_timeout: f64,
    header_timeout: f64,
    body_timeout: f64,
    min_body_rate: u64,
    idle_timeout: f64,
    /// `None`: what `memory_limit` leaves room for.
    max_in_flight_size: Option<u64>,
    max_concurrent_requests: usize,
}

#[derive(Serialize)]
struct TlsServerView {
    cert_file: String,
    key_file: String,
    client_ca_file: Option<String>,
    client_auth_type: &'static str,
    min_version: &'static str,
}

#[derive(Serialize)]
struct AdminView<'a> {
    listen_address: &'a str,
    allowed_hosts: &'a [String],
    bearer_token: Option<&'static str>,
    basic_auth: Option<BasicView<'a>>,
    tls_server_config: Option<TlsServerView>,
    tap: bool,
}

#[derive(Serialize)]
struct BasicView<'a> {
    username: &'a str,
    password: &'static str,
}

#[derive(Serialize)]
struct UpstreamView<'a> {
    endpoints: Vec<String>,
    path: &'a str,
    timeout: f64,
    connect_timeout: f64,
    remote_write_version: &'static str,
    metadata: &'static str,
    dns_refresh_interval: f64,
    tls_config: Option<TlsClientView<'a>>,
    max_in_flight: usize,
}

#[derive(Serialize)]
struct TlsClientView<'a> {
    /// Whether there is one of its own.
    ca: bool,
    client_certificate: bool,
    server_name: Option<&'a str>,
}

#[derive(Serialize)]
struct TracesView<'a> {
    endpoint: String,
    sample: f64,
    headers: BTreeMap<&'a str, &'static str>,
    tls_config: Option<TlsClientView<'a>>,
}

#[derive(Serialize)]
struct SandboxView {
    threads: usize,
    call_timeout: f64,
    memory_limit: usize,
    wasi: bool,
    cache_dir: Option<String>,
    max_cache_size: u64,
    compile_timeout: f64,
    compile_memory_limit: u64,
}

#[derive(Serialize)]
struct TenantView<'a> {
    tenant: &'a str,
    disabled: bool,
    credentials: Vec<CredentialView<'a>>,
    policies: Vec<PolicyView<'a>>,
    limits: LimitsView,
    upstreams: &'a [String],
    over_rate: &'static str,
    reserved_labels: &'a [String],
    legacy_names: bool,
    shown_budgets: &'a [String],
    drop_examples: &'static str,
}

#[derive(Serialize)]
struct CredentialView<'a> {
    #[serde(flatten)]
    kind: KindView<'a>,
    /// `None` of a certificate, which is no secret.
    secret: Option<&'static str>,
}

#[derive(Serialize)]
struct PolicyView<'a> {
    name: &'a str,
    plugin: &'a str,
    owner: &'static str,
    mode: String,
    on_failure: &'static str,
    settings: Value,
}

#[derive(Serialize)]
pub(super) struct LimitsView {
    max_body_size: u64,
    max_decoded_size: u64,
    max_in_flight_size: u64,
    max_concurrent_requests: usize,
    max_active_series: u64,
    max_series_per_request: u64,
    max_labels_per_series: usize,
    max_label_name_length: usize,
    max_label_value_length: usize,
}

pub(super) async fn configured(State(gateway): State<Gateway>, uri: Uri) -> Response {
    let current = gateway.generations.current();
    let Some(tenant) = asked(&uri, "tenant") else {
        let file = gateway.generations.path().display().to_string();
        let config = ConfigView::of(&current.config);
        return success(Configured { file, config });
    };
    let config = || -> Result<_, NoAnswer> { Ok(serving(&current.tenants, &tenant_id(tenant)?)?.config()) };
    match config() {
        Ok(config) => success(Configured {
            file: config.file.display().to_string(),
            config: TenantView::of(config),
        }),
        Err((status, error)) => failed(status, &error),
    }
}

impl<'a> ConfigView<'a> {
    fn of(config: &'a Config) -> Self {
        let upstreams = config.upstreams.iter();
        Self {
            remote_write: RemoteWriteView::of(&config.remote_write),
            admin: AdminView::of(&config.admin),
            upstreams: upstreams
                .map(|(name, upstream)| (name.as_str(), UpstreamView::of(upstream)))
                .collect(),
            sandbox: SandboxView::of(&config.sandbox),
            memory_limit: config.memory_limit,
            state_dir: config.state_dir.as_ref().map(|folder| folder.display().to_string()),
            traces: config.traces.as_ref().map(TracesView::of),
            credential_grace: config.credential_grace.as_secs_f64(),
            tenants: config.tenants.keys().map(|id| id.as_str()).collect(),
        }
    }
}

impl<'a> RemoteWriteView<'a> {
    fn of(listener: &'a RemoteWrite) -> Self {
        Self {
            listen_address: &listener.listen_address,
            paths: &listener.paths,
            health_checks: listener.health_checks,
            tls_server_config: listener.tls.as_ref().map(TlsServerView::of),
            max_connections: listener.max_connections,
            max_strangers_per_address: listener.max_strangers_per_address,
            max_connections_per_tenant: listener.max_connections_per_tenant,
            proxy_protocol: listener.proxy_protocol.iter().map(ToString::to_string).collect(),
            handshake_timeout: listener.handshake_timeout.as_secs_f64(),
            header_timeout: listener.header_timeout.as_secs_f64(),
            body_timeout: listener.body_timeout.as_secs_f64(),
            min_body_rate: listener.min_body_rate,
            idle_timeout: listener.idle_timeout.as_secs_f64(),
            max_in_flight_size: Some(listener.max_in_flight_size).filter(|size| *size != u64::MAX),
            max_concurrent_requests: listener.max_concurrent_requests,
        }
    }
}

impl TlsServerView {
    fn of(tls: &TlsServer) -> Self {
        Self {
            cert_file: tls.cert_file.display().to_string(),
            key_file: tls.key_file.display().to_string(),
            client_ca_file: tls.client_ca_file.as_ref().map(|file| file.display().to_string()),
            client_auth_type: match tls.client_auth_type {
                ClientAuthType::NoClientCert => "NoClientCert",
                ClientAuthType::VerifyClientCertIfGiven => "VerifyClientCertIfGiven",
                ClientAuthType::RequireAndVerifyClientCert => "RequireAndVerifyClientCert",
            },
            min_version: match tls.min_version {
                TlsVersion::Tls12 => "TLS12",
                TlsVersion::Tls13 => "TLS13",
            },
        }
    }
}

impl<'a> AdminView<'a> {
    fn of(admin: &'a Admin) -> Self {
        Self {
            listen_address: &admin.listen_address,
            allowed_hosts: &admin.allowed_hosts,
            bearer_token: admin.token.as_ref().map(|_| SECRET),
            basic_auth: admin.basic_auth.as_ref().map(|basic| BasicView {
                username: basic.username(),
                password: SECRET,
            }),
            tls_server_config: admin.tls.as_ref().map(TlsServerView::of),
            tap: admin.tap,
        }
    }
}

impl<'a> UpstreamView<'a> {
    fn of(upstream: &'a Upstream) -> Self {
        Self {
            endpoints: upstream.endpoints.iter().map(endpoint).collect(),
            path: &upstream.path,
            timeout: upstream.timeout.as_secs_f64(),
            connect_timeout: upstream.connect_timeout.as_secs_f64(),
            remote_write_version: upstream.remote_write_version.word(),
            metadata: if upstream.metadata { "forward" } else { "discard" },
            dns_refresh_interval: upstream.dns_refresh_interval.as_secs_f64(),
            tls_config: upstream.tls.as_ref().map(TlsClientView::of),
            max_in_flight: upstream.max_in_flight,
        }
    }
}

/// As it is written.
fn endpoint(endpoint: &EndpointSpec) -> String {
    let scheme = |https: bool| if https { "https://" } else { "http://" };
    match endpoint {
        EndpointSpec::Static { https, host, port } => format!("{}{host}:{port}", scheme(*https)),
        EndpointSpec::Dns { https, host, port } => format!("dns+{}{host}:{port}", scheme(*https)),
        EndpointSpec::DnsSrv { https, name } => format!("dnssrv+{}{name}", scheme(*https)),
    }
}

impl<'a> TlsClientView<'a> {
    fn of(tls: &'a TlsClient) -> Self {
        Self {
            ca: tls.ca.is_some(),
            client_certificate: tls.client.is_some(),
            server_name: tls.server_name.as_deref(),
        }
    }
}

impl<'a> TracesView<'a> {
    fn of(traces: &'a TraceSettings) -> Self {
        Self {
            endpoint: traces.url(),
            sample: traces.sample,
            headers: traces.headers.iter().map(|(name, _)| (name.as_str(), SECRET)).collect(),
            tls_config: traces.tls.as_ref().map(TlsClientView::of),
        }
    }
}

impl SandboxView {
    fn of(sandbox: &Sandbox) -> Self {
        Self {
            threads: sandbox.threads,
            call_timeout: sandbox.call_timeout.as_secs_f64(),
            memory_limit: sandbox.memory_limit,
            wasi: sandbox.wasi,
            cache_dir: sandbox.cache_dir.as_ref().map(|folder| folder.display().to_string()),
            max_cache_size: sandbox.max_cache_size,
            compile_timeout: sandbox.compile_timeout.as_secs_f64(),
            compile_memory_limit: sandbox.compile_memory_limit,
        }
    }
}

impl<'a> TenantView<'a> {
    fn of(tenant: &'a Tenant) -> Self {
        Self {
            tenant: tenant.id.as_str(),
            disabled: !tenant.enabled,
            credentials: tenant.credentials.iter().map(CredentialView::of).collect(),
            policies: tenant.policies.iter().map(PolicyView::of).collect(),
            limits: LimitsView::of(&tenant.limits),
            upstreams: &tenant.upstreams,
            over_rate: match tenant.over_rate {
                OverRate::Retry => "retry",
                OverRate::TooManyRequests => "too_many_requests",
            },
            reserved_labels: &tenant.reserved_labels,
            legacy_names: tenant.legacy_names,
            shown_budgets: &tenant.shown_budgets,
            drop_examples: tenant.drop_examples.word(),
        }
    }
}

impl<'a> CredentialView<'a> {
    fn of(credential: &'a Credential) -> Self {
        Self {
            kind: KindView::of(credential),
            secret: match credential {
                Credential::ClientCertificate(_) => None,
                Credential::BearerToken(_) | Credential::BasicAuth { .. } => Some(SECRET),
            },
        }
    }
}

impl<'a> PolicyView<'a> {
    fn of(policy: &'a Policy) -> Self {
        let is_builtin = policy.plugin.file.is_none();
        let settings = is_builtin.then(|| serde_json::from_str(&policy.settings).ok());
        Self {
            name: &policy.name,
            plugin: &policy.plugin.name,
            owner: policy.owner.word(),
            mode: policy.mode.to_string(),
            on_failure: match policy.on_failure {
                OnFailure::RefuseSeries => "refuse_series",
                OnFailure::Retry => "retry",
                OnFailure::Bypass => "bypass",
            },
            settings: settings.flatten().unwrap_or_else(|| HIDDEN.into()),
        }
    }
}

impl LimitsView {
    pub(super) fn of(limits: &Limits) -> Self {
        // Named one by one, so that a new one cannot be forgotten here.
        let Limits {
            max_body_size,
            max_decoded_size,
            max_in_flight_size,
            max_concurrent_requests,
            max_active_series,
            max_series_per_request,
            max_labels_per_series,
            max_label_name_length,
            max_label_value_length,
        } = *limits;
        Self {
            max_body_size,
            max_decoded_size,
            max_in_flight_size,
            max_concurrent_requests,
            max_active_series,
            max_series_per_request,
            max_labels_per_series,
            max_label_name_length,
            max_label_value_length,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{CertificateName, Mode, Owner, Password, PluginSource, WrittenAt};

    fn policy(file: Option<&str>, settings: &str) -> Policy {
        Policy {
            name: "p".into(),
            plugin: Arc::new(PluginSource {
                name: "plugin".into(),
                bytes: Arc::from(&b"bytes"[..]),
                sha256: [0; 32],
                file: file.map(Into::into),
            }),
            settings: settings.into(),
            on_failure: OnFailure::Retry,
            mode: Mode::Shadow,
            owner: Owner::Operator,
            written_at: WrittenAt::default(),
        }
    }

    #[test]
    fn a_secret_of_a_tenant_is_a_word_and_so_are_the_settings_of_a_strangers_plugin() {
        let basic = |password| Credential::BasicAuth {
            username: "user".into(),
            password,
        };
        let mut tenant = crate::config::tests::bare("a");
        tenant.credentials = vec![
            Credential::ClientCertificate(CertificateName::DnsSan("a.example.com".into())),
            Credential::BearerToken([171; 32]),
            basic(Password::Bcrypt("$2y$04$planted".into())),
            basic(Password::Sha256([171; 32])),
        ];
        tenant.policies = vec![
            policy(None, r#"{"a": [1]}"#),
            policy(Some("/p.wasm"), r#"{"salt": "planted"}"#),
        ];
        let shown = serde_json::to_value(TenantView::of(&tenant)).unwrap();
        let text = shown.to_string();
        assert!(!text.contains("planted") && !text.contains("171"), "{text}");
        let credentials = serde_json::json!([
            {"kind": "client_certificate", "dns_san": "a.example.com", "secret": null},
            {"kind": "bearer_token", "secret": SECRET},
            {"kind": "basic_auth", "username": "user", "secret": SECRET},
            {"kind": "basic_auth", "username": "user", "secret": SECRET},
        ]);
        assert_eq!(shown["credentials"], credentials);
        assert_eq!(shown["policies"][0]["settings"], serde_json::json!({"a": [1]}));
        assert_eq!(shown["policies"][1]["settings"], HIDDEN);
    }

    #[test]
    fn an_endpoint_is_shown_as_it_is_written() {
        let (host, name) = ("r".to_owned(), "_w._tcp.r".to_owned());
        let of = |spec| endpoint(&spec);
        let (https, port) = (true, 443);
        let h = host.clone();
        assert_eq!(of(EndpointSpec::Static { https, host: h, port }), "https://r:443");
        assert_eq!(of(EndpointSpec::Dns { https, host, port }), "dns+https://r:443");
        assert_eq!(
            of(EndpointSpec::DnsSrv { https: false, name }),
            "dnssrv+http://_w._tcp.r"
        );
    }
}
