//! Configuration, resolved: what every other stage is built from.
//!
//! Takes what `file` parsed and `resolve` checked; gives immutable values with every default filled in,
//! every path absolute and every named file read. Never holds a secret of others in clear text: tokens and
//! passwords are digests by the time they are here. What the gateway itself presents (keys, the collector's headers) is.
//!
//! Two configs, as in ripgrep: `file` has the text as written (the only serde types), this file has
//! what it means.
//!
//! Long because it is all that a configuration can mean.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::model::{Protocol, TenantId};
use crate::telemetry::LogFormat;

mod access_log;
mod builtin;
mod cases;
mod chain;
mod contested;
pub mod defaults;
mod door;
mod endpoint;
mod file;
mod glob;
mod incumbents;
mod inputs;
mod kept;
mod load;
mod nearest;
mod pem;
mod prometheus;
mod resolve;
mod room;
mod secret;
mod section;
mod tenant;
#[cfg(test)]
pub(crate) mod tests;
mod traces;
mod units;
mod written_at;

pub use builtin::builtin;
pub use cases::{Case, Expected, Matter, Suite, Tested, WrittenCharge, WrittenWrite, read_cases, settings_of};
pub use chain::{Proposed, plugin_source, with_own_policies};
pub use door::{TENANT_PREFIX, WRITE_PATHS};
pub use incumbents::Incumbents;
pub use inputs::Inputs;
pub use kept::{from_kept, to_kept};
pub use load::{Known, attempt, load, load_without_secrets};
pub use prometheus::{RemoteWriteRules, remote_write_rules};

/// Reads a duration as flags and files write it: `5m`, `1h30m`, `250ms`.
///
/// # Errors
/// Says what was expected.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    units::duration(text).ok_or_else(|| format!("`{text}` is not a duration such as `30s` or `5m`"))
}

/// What one load gave.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Tenants that are not in `config.tenants` because something about them is wrong, in the order read.
    pub broken: Vec<BrokenTenant>,
    /// Plugins that no policy of a sound tenant uses, and whose file could be read.
    pub unused: Vec<Arc<PluginSource>>,
    /// Plugins whose file is at fault. Tenants that name one are in `broken`; the others do not miss it.
    pub plugins: Vec<ConfigError>,
    pub found: TenantFiles,
    /// What to watch for changes.
    pub inputs: Inputs,
    /// Sound, but hardly meant: one line each, in the form of [`ConfigError`].
    pub warnings: Vec<String>,
}

/// Where a load found tenants by `tenant_files`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantFiles {
    /// The patterns that match a file.
    pub patterns: BTreeSet<PathBuf>,
    /// The files there are. Absolute.
    pub files: BTreeSet<PathBuf>,
    /// Files of the incumbents that are no more. Who was served by one goes on until its absence is believed.
    pub missing: BTreeSet<PathBuf>,
}

/// A tenant file that cannot be served.
#[derive(Debug, Clone)]
pub struct BrokenTenant {
    /// Absolute.
    pub file: PathBuf,
    /// As far as it can be told. Where `config.tenants` has the same id, another file has the tenant and
    /// this one is a leftover copy.
    pub tenant: Option<TenantId>,
    /// Those that could be read. Whoever proves one of them is a known sender whose tenant is broken, to be
    /// told to wait (503), not a stranger (401) whose data would be dropped. A credential here may be in two
    /// broken tenants, and never in a sound one of another id.
    pub credentials: Vec<Credential>,
    /// Whether `credentials` are all that it has. Where they are not, any credential that nobody has may be one.
    pub credentials_known: bool,
    /// Never empty.
    pub errors: Vec<ConfigError>,
}

/// One mistake and its place. Its text never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// As named on the command line, or relative to the same folder.
    pub file: PathBuf,
    /// From one.
    pub line: Option<u32>,
    /// From one, in characters.
    pub column: Option<u32>,
    /// The keys that lead there, `upstreams.soft-tenants.endpoints[0]`; empty for the file as a whole.
    pub key: String,
    pub message: String,
    /// What was perhaps meant.
    pub suggestion: Option<String>,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, " (did you mean `{suggestion}`?)")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// The whole configuration of one generation.
#[derive(Debug, Clone)]
pub struct Config {
    pub remote_write: RemoteWrite,
    pub admin: Admin,
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    pub sandbox: Sandbox,
    /// Of the process, in bytes; `None` is what the system allows, less a share.
    pub memory_limit: Option<u64>,
    /// Where what served last is kept; `None` keeps nothing.
    pub state_dir: Option<PathBuf>,
    /// The log of answers; `None` keeps none.
    pub access_log: Option<AccessLogSettings>,
    /// Spans of writes; `None` records none.
    pub traces: Option<TraceSettings>,
    /// How long a credential that was in use and is not configured any more is told to wait; zero: it is refused at once.
    pub credential_grace: Duration,
    /// Only the tenants whose file is sound; the others are in [`Loaded::broken`].
    pub tenants: BTreeMap<TenantId, Arc<Tenant>>,
}

/// The log of answers.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLogSettings {
    /// `None`: standard output.
    pub file: Option<PathBuf>,
    pub format: LogFormat,
    /// The share of stored writes that have a line, 0 to 1.
    pub sample: f64,
}

/// Spans of writes, and the OpenTelemetry collector that they are sent to.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// Absolute, without a query.
    pub path: String,
    /// The share of requests that have a span, whatever they ask for, 0 to 1.
    pub sample: f64,
    /// Sent with each request to the collector. Each is marked as a secret.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For https.
    pub tls: Option<TlsClient>,
}

impl TraceSettings {
    /// Of the collector, whole.
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        let Self { host, port, path, .. } = self;
        match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}{path}"),
            false => format!("{scheme}://{host}:{port}{path}"),
        }
    }
}

/// The public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWrite {
    /// `host:port`; port 0 asks the system for one.
    pub listen_address: String,
    /// Where writes are taken besides the customary paths.
    pub paths: Vec<String>,
    /// Whether load balancers may ask here how the process is.
    pub health_checks: bool,
    /// `None` only where the operator wrote `insecure_http: true`.
    pub tls: Option<TlsServer>,
    pub max_connections: usize,
    /// Of one address, or one /64 of IPv6, that proved no tenant yet.
    pub max_strangers_per_address: usize,
    /// That proved the same tenant.
    pub max_connections_per_tenant: usize,
    /// The load balancers whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// TLS handshake, from accept to finished.
    pub handshake_timeout: Duration,
    /// Request head, from its first byte or from the end of the last response.
    pub header_timeout: Duration,
    /// Whole body, whatever its rate.
    pub body_timeout: Duration,
    /// Slowest body accepted, averaged over any five seconds. Bytes per second.
    pub min_body_rate: u64,
    /// An idle keep-alive connection is closed after this.
    pub idle_timeout: Duration,
    /// Bodies held in memory at once, compressed and decoded together, for all tenants. Bytes; the largest number is as
    /// many as `memory_limit` leaves room for.
    pub max_in_flight_size: u64,
    pub max_concurrent_requests: usize,
}

/// The content of a PEM file.
pub type Pem = Arc<[u8]>;

/// `tls_server_config`, with Prometheus' names for the fields. Contents, not paths: the files were read.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsServer {
    /// PEM, leaf first.
    pub cert: Arc<[u8]>,
    /// PEM.
    pub key: Arc<[u8]>,
    /// Where they came from, for messages and logs.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// PEM bundle that client certificates must chain to.
    pub client_ca: Option<Arc<[u8]>>,
    pub client_ca_file: Option<PathBuf>,
    pub client_auth_type: ClientAuthType,
    pub min_version: TlsVersion,
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsServer")
            .field("cert_file", &self.cert_file)
            .field("client_ca_file", &self.client_ca_file)
            .field("client_auth_type", &self.client_auth_type)
            .finish_non_exhaustive()
    }
}

/// Go's `tls.ClientAuthType` names, as Prometheus' web configuration spells them, less the two that ask for
/// a certificate and do not verify it: an unverified certificate proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthType {
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// The listener for operators: metrics, health, reload, API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub listen_address: String,
    /// Names that browsers may know the listener by, besides `localhost`, addresses and that of `listen_address`.
    /// Lower case, without a final dot.
    pub allowed_hosts: Vec<String>,
    pub token: Option<AdminToken>,
    /// What proves an operator beside the token; browsers can ask for it.
    pub basic_auth: Option<AdminBasicAuth>,
    /// `None`: plain HTTP.
    pub tls: Option<TlsServer>,
    /// Whether operators may see which series a tenant sends.
    pub tap: bool,
}

/// What an operator's request proves itself by.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// Compares digests: the time that takes says nothing about the token.
    pub fn is(&self, token: &[u8]) -> bool {
        inputs::sha256(token) == self.0
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

/// An operator's username and password.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminBasicAuth {
    username: String,
    /// SHA-256.
    password: [u8; 32],
}

impl AdminBasicAuth {
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Compares digests, all of both: the time that takes says nothing about either.
    pub fn is(&self, username: &str, password: &[u8]) -> bool {
        let is_user = inputs::sha256(username.as_bytes()) == inputs::sha256(self.username.as_bytes());
        let is_password = inputs::sha256(password) == self.password;
        is_user & is_password
    }
}

impl std::fmt::Debug for AdminBasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminBasicAuth({:?}, ..)", self.username)
    }
}

/// A named set of receivers that can take each other's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    pub name: String,
    pub endpoints: Vec<EndpointSpec>,
    /// Path of the write API.
    pub path: String,
    /// One request from first byte out to last byte in, failover included.
    pub timeout: Duration,
    pub connect_timeout: Duration,
    /// Which protocol it is sent.
    pub remote_write_version: Protocol,
    /// Whether it is sent the metadata of remote write 1.0.
    pub metadata: bool,
    /// How often `dns+` and `dnssrv+` names are looked up again.
    pub dns_refresh_interval: Duration,
    /// For https endpoints.
    pub tls: Option<TlsClient>,
    /// Requests in flight to the whole upstream; over it is answered 503 at once.
    pub max_in_flight: usize,
}

/// Where an upstream's receivers are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointSpec {
    /// `http://host:port` or `https://host:port`; the host may be a name, looked up on connect.
    Static { https: bool, host: String, port: u16 },
    /// `dns+host:port` or `dns+https://host:port`: every A and AAAA record is an endpoint.
    Dns { https: bool, host: String, port: u16 },
    /// `dnssrv+_service._proto.name`, optionally `dnssrv+https://...`: every SRV record is an endpoint.
    DnsSrv { https: bool, name: String },
}

/// `tls_config` towards an upstream, with Prometheus' names for the fields. Contents, not paths.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsClient {
    /// PEM bundle; `None` is the system's store.
    pub ca: Option<Arc<[u8]>>,
    /// PEM certificate chain and key to present.
    pub client: Option<(Pem, Pem)>,
    /// Name to verify in place of the endpoint's host.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Bounds on every plugin call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// OS threads that may be in long calls of plugins at a time.
    pub threads: usize,
    /// One call, from entry to return.
    pub call_timeout: Duration,
    /// Linear memory of one instance. Bytes.
    pub memory_limit: usize,
    /// Whether stock toolchains' `wasi:*` imports get an empty context (`true`) or are refused.
    pub wasi: bool,
    /// Compiled artefacts; `None` compiles anew on every start.
    pub cache_dir: Option<PathBuf>,
    /// Of all artefacts there. Bytes.
    pub max_cache_size: u64,
    /// Wall clock for compiling one plugin in its child process.
    pub compile_timeout: Duration,
    /// Address space of the compiling child. Bytes.
    pub compile_memory_limit: u64,
}

/// A plugin's bytes and where they came from.
#[derive(Clone, PartialEq, Eq)]
pub struct PluginSource {
    pub name: String,
    pub bytes: Arc<[u8]>,
    pub sha256: [u8; 32],
    /// `None`: built in.
    pub file: Option<PathBuf>,
}

impl std::fmt::Debug for PluginSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginSource")
            .field("name", &self.name)
            .field("file", &self.file)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A plugin plus settings, at one place of a tenant's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Unique within the chain: the plugin's name, or `name:` where one is given, or numbered.
    pub name: String,
    pub plugin: Arc<PluginSource>,
    /// JSON text, handed to `configure`.
    pub settings: String,
    pub on_failure: OnFailure,
    pub mode: Mode,
    pub owner: Owner,
    pub written_at: WrittenAt,
}

/// The place of a policy, which outlives its file. All are equal: a policy that moved within its file is the same.
#[derive(Debug, Clone, Default)]
pub struct WrittenAt {
    /// As messages name it.
    file: PathBuf,
    absolute: PathBuf,
    key: String,
    line: u32,
    column: u32,
}

/// What a failing policy costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// A series that the policy fails on alone is refused; else as `Retry`.
    RefuseSeries,
    /// 503: the sender keeps the data.
    Retry,
    /// The policy is left out. The operator's choice only: a relabel policy may be a redaction.
    Bypass,
}

/// Whether what a policy says counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    /// On so many percent of all series, 1 to 99, and on no write as a whole; for the others it is in shadow.
    EnforcePart(u8),
    /// It is asked, and what it would have done is counted.
    Shadow,
}

/// As it is configured.
impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Enforce => f.write_str("enforce"),
            Self::EnforcePart(percent) => write!(f, "enforce {percent}%"),
            Self::Shadow => f.write_str("shadow"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Operator,
    Tenant,
}

impl Owner {
    /// As people are told.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Tenant => "tenant",
        }
    }
}

/// Everything about one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    /// `disabled: true` answers 403.
    pub enabled: bool,
    /// The tenant file, or the main file where the tenant is written inline.
    pub file: PathBuf,
    pub credentials: Vec<Credential>,
    /// The operator's `before`, the tenant's own, the operator's `after`: in the order they run.
    pub policies: Vec<Policy>,
    pub limits: Limits,
    /// Never empty; the first is the default.
    pub upstreams: Vec<String>,
    pub over_rate: OverRate,
    /// Names that a sender may not use; renamed to `exported_<name>`.
    pub reserved_labels: Vec<String>,
    /// Enforce `[a-zA-Z_][a-zA-Z0-9_]*` on label names (and `:` in metric names) in place of any UTF-8.
    pub legacy_names: bool,
    /// Names of the series budgets that have a metric of their own.
    pub shown_budgets: Vec<String>,
    /// What operators are shown of series that were dropped or refused.
    pub drop_examples: DropExamples,
}

/// What is kept of a series that was dropped or refused, as an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropExamples {
    Off,
    /// The metric's name and the names of its labels.
    Names,
    /// All of it.
    Values,
}

impl DropExamples {
    /// As it is written and shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Names => "names",
            Self::Values => "values",
        }
    }
}

/// What proves a tenant. Exact matches only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    ClientCertificate(CertificateName),
    /// SHA-256 of the token.
    BearerToken([u8; 32]),
    BasicAuth {
        username: String,
        password: Password,
    },
}

impl Credential {
    /// The word for logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ClientCertificate(_) => "client_certificate",
            Self::BearerToken(_) => "bearer_token",
            Self::BasicAuth { .. } => "basic_auth",
        }
    }

    /// Equal for two credentials that one request could prove, which must never belong to two tenants. For
    /// basic auth the username decides, because it selects the hash.
    pub fn identity(&self) -> Vec<u8> {
        let (kind, value): (u8, &[u8]) = match self {
            Self::ClientCertificate(CertificateName::UriSan(name)) => (0, name.as_bytes()),
            Self::ClientCertificate(CertificateName::DnsSan(name)) => (1, name.as_bytes()),
            Self::ClientCertificate(CertificateName::CommonName(name)) => (2, name.as_bytes()),
            Self::BearerToken(digest) => (3, digest),
            Self::BasicAuth { username, .. } => (4, username.as_bytes()),
        };
        [&[kind], value].concat()
    }
}

/// Its kind and its public name.
impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClientCertificate(CertificateName::UriSan(name)) => write!(f, "client_certificate uri_san={name}"),
            Self::ClientCertificate(CertificateName::DnsSan(name)) => write!(f, "client_certificate dns_san={name}"),
            Self::ClientCertificate(CertificateName::CommonName(name)) => {
                write!(f, "client_certificate common_name={name}")
            }
            Self::BearerToken(_) => f.write_str("bearer_token"),
            Self::BasicAuth { username, .. } => write!(f, "basic_auth username={username}"),
        }
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClientCertificate(name) => f.debug_tuple("ClientCertificate").field(name).finish(),
            Self::BearerToken(_) => f.write_str("BearerToken(..)"),
            Self::BasicAuth { username, .. } => write!(f, "BasicAuth({username:?}, ..)"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    UriSan(String),
    DnsSan(String),
    CommonName(String),
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Password {
    /// A bcrypt hash as `htpasswd -B` writes it.
    Bcrypt(String),
    /// SHA-256 of a password that came from a file.
    Sha256([u8; 32]),
}

/// The answer to a tenant over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverRate {
    /// 503 + Retry-After: every sender keeps the data.
    Retry,
    /// 429 + Retry-After: Prometheus drops the data unless `retry_on_http_429` is set.
    TooManyRequests,
}

/// What protects the process itself. Sizes in bytes, lengths in bytes, counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Compressed body.
    pub max_body_size: u64,
    /// Decoded body.
    pub max_decoded_size: u64,
    /// This tenant's bodies held in memory at once.
    pub max_in_flight_size: u64,
    pub max_concurrent_requests: usize,
    pub max_active_series: u64,
    pub max_series_per_request: u64,
    pub max_labels_per_series: usize,
    pub max_label_name_length: usize,
    pub max_label_value_length: usize,
}

impl Limits {
    /// Bytes of the largest body that may come, compressed and decoded together.
    pub fn largest_write(&self) -> u64 {
        self.max_body_size.saturating_add(self.max_decoded_size)
    }
}
