//! The main file: listeners, upstreams, plugins, the sandbox and what holds for every tenant.
//!
//! Takes the parsed tree, gives resolved values with every default filled in and every named file read.
//! Notes all mistakes it can find, not the first alone.
//!
//! Long because it has a function for each section of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access_log;
use super::chain;
use super::defaults::{self, CREDENTIAL_GRACE, LIMITS, OVER_RATE, RESERVED_LABELS, SANDBOX};
use super::door;
use super::endpoint;
use super::file::Place;
use super::pem;
use super::secret;
use super::section::{Field, Section, Source, quote};
use super::tenant::{self, Ceiling, House};
use super::traces;
use super::units::show_size;
use super::{
    AccessLogSettings, Admin, ClientAuthType, Config, EndpointSpec, Owner, RemoteWrite, Sandbox, Tenant, TlsClient,
    TlsServer, TlsVersion, TraceSettings, Upstream,
};
use crate::memory;
use crate::model::{Protocol, TenantId};

/// The main file, resolved. Worth using only if its source has no failures.
pub(super) struct Main<'a> {
    pub(super) parts: Parts,
    pub(super) house: House,
    pub(super) tenant_files: Vec<(Field<'a>, PathBuf)>,
    pub(super) tenants: Vec<Field<'a>>,
}

/// What the main file says of the gateway itself. A part is missing only where a mistake was noted.
pub(super) struct Parts {
    remote_write: Option<RemoteWrite>,
    admin: Option<Admin>,
    upstreams: BTreeMap<String, Arc<Upstream>>,
    sandbox: Option<Sandbox>,
    memory_limit: Option<u64>,
    state_dir: Option<PathBuf>,
    access_log: Option<AccessLogSettings>,
    traces: Option<TraceSettings>,
    credential_grace: Duration,
}

impl Parts {
    pub(super) fn with_tenants(self, tenants: BTreeMap<TenantId, Arc<Tenant>>) -> Option<Config> {
        Some(Config {
            remote_write: self.remote_write?,
            admin: self.admin?,
            upstreams: self.upstreams,
            sandbox: self.sandbox?,
            memory_limit: self.memory_limit,
            state_dir: self.state_dir,
            access_log: self.access_log,
            traces: self.traces,
            credential_grace: self.credential_grace,
            tenants,
        })
    }
}

/// Reads the whole main file.
pub(super) fn main<'a>(mut root: Section<'a>, source: &Source<'a>) -> Main<'a> {
    let remote_write = root.section("remote_write").and_then(remote_write);
    let admin_section = root.section("admin");
    let admin_place = admin_section.as_ref().map_or(WHOLE_FILE, |section| section.place);
    let admin = admin_section.and_then(admin);
    if let (Some(write), Some(admin)) = (&remote_write, &admin)
        && endpoint::collide(&write.listen_address, &admin.listen_address)
    {
        let (write, admin) = (&write.listen_address, &admin.listen_address);
        let message = match write == admin {
            true => format!("remote_write and admin both listen on {admin}"),
            false => format!("remote_write listens on {write}, which takes {admin} too: give them different ports"),
        };
        source.fail(admin_place, "admin", message);
    }
    let upstreams_field = root.require("upstreams");
    let written_upstreams = upstreams_field.as_ref().map(Field::named).unwrap_or_default();
    if let Some(field) = upstreams_field.filter(Field::is_empty) {
        field.fail("at least one upstream is needed");
    }
    let names = written_upstreams.iter().map(|(key, _)| key.text.clone()).collect();
    let mut upstreams = BTreeMap::new();
    for (key, field) in written_upstreams {
        if let Err(fault) = chain::check_name(&key.text) {
            source.fail(key.place, &field.path, fault);
        }
        if let Some(upstream) = field.section().and_then(|section| upstream(&key.text, section, source)) {
            upstreams.insert(key.text.clone(), Arc::new(upstream));
        }
    }
    let plugins = chain::plugins(root.field("plugins").as_ref());
    let (before, after) = root
        .section("policies")
        .map(|section| around(section, &plugins))
        .unwrap_or_default();
    let memory_limit = root.field("memory_limit").and_then(|field| field.size());
    let ceiling = Ceiling {
        in_flight: remote_write.as_ref().map_or(u64::MAX, |write| write.max_in_flight_size),
        memory: memory_limit,
    };
    let limits = root.section("default_limits");
    let limits = limits.map_or(LIMITS, |fields| tenant::limits(fields, &LIMITS, ceiling));
    let over_rate = root
        .field("over_rate")
        .and_then(|field| tenant::over_rate(&field))
        .unwrap_or(OVER_RATE);
    let drop_examples = root
        .field("drop_examples")
        .and_then(|field| tenant::drop_examples(&field))
        .unwrap_or(defaults::DROP_EXAMPLES);
    let reserved_labels = reserved_labels(root.field("reserved_labels").as_ref());
    let sandbox = root.section("sandbox");
    let sandbox = sandbox.and_then(|section| sandbox_within(section, source, memory_limit));
    let state_dir = root.field("state_dir");
    let state_dir = state_dir.and_then(|field| field.text().map(|text| source.path(text)));
    let access_log = root.field("access_log").and_then(|field| field.section());
    let access_log = access_log.and_then(|section| access_log::access_log(section, source));
    let traces = root.field("traces").and_then(|field| field.section());
    let traces = traces.and_then(|section| traces::traces(section, tls_client));
    let credential_grace = root
        .field("credential_grace")
        .and_then(|field| field.duration_or_none())
        .unwrap_or(CREDENTIAL_GRACE);
    let tenant_files = root
        .field("tenant_files")
        .map(|list| tenant_files(&list))
        .unwrap_or_default();
    let tenants = root.field("tenants").map(|list| list.items()).unwrap_or_default();
    root.close();
    let house = House {
        upstreams: names,
        plugins,
        before,
        after,
        limits,
        over_rate,
        drop_examples,
        reserved_labels,
        ceiling,
    };
    let parts = Parts {
        remote_write,
        admin,
        upstreams,
        sandbox,
        memory_limit,
        state_dir,
        access_log,
        traces,
        credential_grace,
    };
    Main {
        parts,
        house,
        tenant_files,
        tenants,
    }
}

fn remote_write(mut section: Section<'_>) -> Option<RemoteWrite> {
    use defaults::remote_write as default;
    let listen_address = listen_address(&mut section, default::LISTEN_ADDRESS);
    let written_tls = section.field("tls_server_config");
    let insecure = section.field("insecure_http");
    let plain = insecure.as_ref().map_or(Some(false), Field::boolean);
    let tls = match (&written_tls, plain) {
        (Some(_), Some(true)) => {
            section.fail("`tls_server_config` and `insecure_http: true` exclude each other; remove one");
            None
        }
        (None, Some(false)) => {
            section.fail("`tls_server_config` is missing; without TLS, set `insecure_http: true` to accept credentials over plain HTTP");
            None
        }
        (Some(field), _) => field.section().and_then(tls_server),
        (None, _) => None,
    };
    if let (Some(field), Some(address)) = (insecure.filter(|_| plain == Some(true)), &listen_address)
        && !endpoint::is_loopback(address)
    {
        field.source.warn(
            field.place(),
            &field.path,
            "credentials and samples cross the network without encryption",
        );
    }
    let remote_write = RemoteWrite {
        listen_address: listen_address.unwrap_or_default(),
        paths: section
            .field("paths")
            .map(|list| door::paths(&list))
            .unwrap_or_default(),
        health_checks: section.boolean("health_checks", false),
        tls,
        max_connections: section.length("max_connections", default::MAX_CONNECTIONS),
        max_strangers_per_address: section.length("max_strangers_per_address", default::MAX_STRANGERS_PER_ADDRESS),
        max_connections_per_tenant: section.length("max_connections_per_tenant", default::MAX_CONNECTIONS_PER_TENANT),
        proxy_protocol: section
            .field("proxy_protocol")
            .and_then(|field| field.section())
            .map(door::proxy_protocol)
            .unwrap_or_default(),
        handshake_timeout: section.duration("handshake_timeout", default::HANDSHAKE_TIMEOUT),
        header_timeout: section.duration("header_timeout", default::HEADER_TIMEOUT),
        body_timeout: section.duration("body_timeout", default::BODY_TIMEOUT),
        min_body_rate: section.size("min_body_rate", default::MIN_BODY_RATE),
        idle_timeout: section.duration("idle_timeout", default::IDLE_TIMEOUT),
        max_in_flight_size: section.size("max_in_flight_size", default::MAX_IN_FLIGHT_SIZE),
        max_concurrent_requests: section.length("max_concurrent_requests", default::MAX_CONCURRENT_REQUESTS),
    };
    section.close();
    Some(remote_write)
}

fn listen_address(section: &mut Section<'_>, default: &str) -> Option<String> {
    let Some(field) = section.field("listen_address") else {
        return Some(default.to_owned());
    };
    match endpoint::listen_address(field.text()?) {
        Ok(address) => Some(address),
        Err(fault) => {
            field.fail(fault);
            None
        }
    }
}

fn tls_server(mut section: Section<'_>) -> Option<TlsServer> {
    let cert = section.require("cert_file");
    let pair = pem::pair(cert, section.require("key_file"));
    let ca_field = section.field("client_ca_file");
    let has_ca = ca_field.is_some();
    let ca = ca_field.and_then(|field| pem::certificates(&field));
    let auth_field = section.field("client_auth_type");
    let auth = match &auth_field {
        Some(field) => client_auth_type(field, has_ca),
        None if has_ca => Some(ClientAuthType::VerifyClientCertIfGiven),
        None => Some(ClientAuthType::NoClientCert),
    };
    let versions = [("TLS12", TlsVersion::Tls12), ("TLS13", TlsVersion::Tls13)];
    let min_version = section.field("min_version").and_then(|field| field.choice(&versions));
    section.close();
    let ((cert_file, cert), (key_file, key)) = pair?;
    let (client_ca_file, client_ca) = ca.unzip();
    let min_version = min_version.unwrap_or(TlsVersion::Tls12);
    Some(TlsServer {
        cert,
        key,
        cert_file,
        key_file,
        client_ca,
        client_ca_file,
        client_auth_type: auth?,
        min_version,
    })
}

/// Go's names. The two that accept a certificate without verifying it are refused: anyone can make one.
fn client_auth_type(field: &Field<'_>, has_ca: bool) -> Option<ClientAuthType> {
    if matches!(field.text()?, "RequestClientCert" | "RequireAnyClientCert") {
        field.fail("this would accept certificates that nobody verified; use `RequireAndVerifyClientCert`");
        return None;
    }
    let auth = field.choice(&[
        ("NoClientCert", ClientAuthType::NoClientCert),
        ("VerifyClientCertIfGiven", ClientAuthType::VerifyClientCertIfGiven),
        ("RequireAndVerifyClientCert", ClientAuthType::RequireAndVerifyClientCert),
    ])?;
    match (auth, has_ca) {
        (ClientAuthType::NoClientCert, true) => field.fail("this never uses `client_ca_file`; remove one of the two"),
        (ClientAuthType::NoClientCert, false) | (_, true) => {}
        (_, false) => field.fail("this needs a `client_ca_file` to verify certificates with"),
    }
    Some(auth)
}

fn admin(section: Section<'_>) -> Option<Admin> {
    let mut section = section.keep_secret();
    let listen_address = listen_address(&mut section, defaults::admin::LISTEN_ADDRESS);
    let hosts = section.field("allowed_hosts");
    let allowed_hosts = hosts.map(|list| allowed_hosts(&list)).unwrap_or_default();
    let token = secret::admin_token(&mut section);
    let basic_auth = section.field("basic_auth");
    let basic_auth = basic_auth.and_then(|field| secret::admin_basic_auth(&field));
    let tls = section.field("tls_server_config");
    let tls = tls.and_then(|field| field.section()).and_then(tls_server);
    let tap = section.boolean("tap", false);
    section.close();
    Some(Admin {
        listen_address: listen_address?,
        allowed_hosts,
        token,
        basic_auth,
        tls,
        tap,
    })
}

fn allowed_hosts(list: &Field<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for item in list.items() {
        let Some(text) = item.text() else { continue };
        match endpoint::is_name(text) {
            true => out.push(text.trim_end_matches('.').to_ascii_lowercase()),
            false => item.fail("expected the name of a host such as `gauntlet.example.com`, without scheme or port"),
        }
    }
    out
}

fn upstream(name: &str, mut section: Section<'_>, source: &Source<'_>) -> Option<Upstream> {
    use defaults::upstream as default;
    let place = section.place;
    let endpoints = section
        .require("endpoints")
        .map(|list| endpoints(&list))
        .unwrap_or_default();
    let path = section.field("path").and_then(|field| write_path(&field));
    let tls = section.field("tls_config").and_then(|field| {
        let https = |endpoint: &EndpointSpec| match endpoint {
            EndpointSpec::Static { https, .. }
            | EndpointSpec::Dns { https, .. }
            | EndpointSpec::DnsSrv { https, .. } => *https,
        };
        if !endpoints.is_empty() && !endpoints.iter().any(https) {
            source.warn(
                field.place(),
                &field.path,
                "this is not used, because no endpoint of this upstream is https",
            );
        }
        field.section().and_then(tls_client)
    });
    let timeout = section.duration("timeout", default::TIMEOUT);
    let connect_timeout = section.duration("connect_timeout", default::CONNECT_TIMEOUT.min(timeout));
    if connect_timeout > timeout {
        source.fail(
            place,
            &format!("upstreams.{}", quote(name)),
            "`connect_timeout` is longer than `timeout`",
        );
    }
    let remote_write_version = section
        .field("remote_write_version")
        .and_then(|field| field.choice(&[("1.0", Protocol::V1), ("2.0", Protocol::V2)]))
        .unwrap_or(default::REMOTE_WRITE_VERSION);
    let metadata_field = section.field("metadata");
    let metadata = metadata_field
        .as_ref()
        .and_then(|field| field.choice(&[("discard", false), ("forward", true)]))
        .unwrap_or(default::METADATA);
    if let Some(field) = metadata_field.filter(|_| metadata && remote_write_version == Protocol::V2) {
        source.warn(
            field.place(),
            &field.path,
            "this changes nothing: remote write 2.0 carries the metadata of its series anyway, and has no place for that of 1.0",
        );
    }
    let upstream = Upstream {
        name: name.to_owned(),
        endpoints,
        path: path.unwrap_or_else(|| default::PATH.to_owned()),
        timeout,
        connect_timeout,
        remote_write_version,
        metadata,
        dns_refresh_interval: section.duration("dns_refresh_interval", default::DNS_REFRESH_INTERVAL),
        tls,
        max_in_flight: section.length("max_in_flight", default::MAX_IN_FLIGHT),
    };
    section.close();
    Some(upstream)
}

fn endpoints(list: &Field<'_>) -> Vec<EndpointSpec> {
    if list.is_empty() {
        list.fail("at least one endpoint is needed");
    }
    let mut out = Vec::new();
    for item in list.items() {
        let Some(text) = item.text() else { continue };
        match endpoint::parse(text) {
            Ok(endpoint) if out.contains(&endpoint) => item.fail("this endpoint is listed twice"),
            Ok(endpoint) => out.push(endpoint),
            Err((fault, near)) => item.fail_near(fault, near),
        }
    }
    out
}

fn write_path(field: &Field<'_>) -> Option<String> {
    let path = field.text()?;
    if !door::is_path(path) {
        field.fail("expected a path such as `/api/v1/receive`, without a query");
        return None;
    }
    Some(path.to_owned())
}

fn tls_client(mut section: Section<'_>) -> Option<TlsClient> {
    let ca = section.field("ca_file").and_then(|field| pem::certificates(&field));
    let cert_field = section.field("cert_file");
    let key_field = section.field("key_file");
    if cert_field.is_some() != key_field.is_some() {
        section.fail("`cert_file` and `key_file` must be given together");
    }
    let pair = pem::pair(cert_field, key_field);
    let server_name = section
        .field("server_name")
        .and_then(|field| field.text().map(str::to_owned));
    section.close();
    let client = pair
        .map(|((_, cert), (_, key))| (cert, key))
        .filter(|(_, key)| !key.is_empty());
    Some(TlsClient {
        ca: ca.map(|(_, bytes)| bytes),
        client,
        server_name,
    })
}

/// The operator's policies around every tenant's own.
fn around(
    mut section: Section<'_>,
    plugins: &chain::Plugins,
) -> (Vec<chain::WrittenPolicy>, Vec<chain::WrittenPolicy>) {
    let mut read = |key, taken: &[&chain::WrittenPolicy]| {
        section
            .field(key)
            .map(|list| chain::policies(&list, Owner::Operator, plugins, taken))
            .unwrap_or_default()
    };
    let before = read("before", &[]);
    let after = read("after", &before.iter().collect::<Vec<_>>());
    section.close();
    (before, after)
}

fn reserved_labels(field: Option<&Field<'_>>) -> Vec<String> {
    let Some(list) = field else {
        return RESERVED_LABELS.map(str::to_owned).to_vec();
    };
    let mut out: Vec<String> = Vec::new();
    for item in list.items() {
        match item.text() {
            Some("__name__") => item.fail("`__name__` is the metric name and cannot be reserved"),
            Some(name) if out.iter().any(|other| other == name) => {
                item.fail(format!("`{}` is listed twice", quote(name)))
            }
            Some(name) => out.push(name.to_owned()),
            None => {}
        }
    }
    if out.is_empty() {
        list.source.warn(
            list.place(),
            &list.path,
            "no label is reserved, so senders may set the labels that receivers announce",
        );
    }
    out
}

/// One instance that could not have its memory at any time would fail at every time.
fn sandbox_within(section: Section<'_>, source: &Source<'_>, memory_limit: Option<u64>) -> Option<Sandbox> {
    let place = section.place;
    let sandbox = sandbox(section, source)?;
    let all = memory_limit.map(|limit| (limit, memory::most(limit, memory::Kind::Plugins)));
    if let Some((limit, all)) = all.filter(|(_, all)| *all < sandbox.memory_limit as u64) {
        let (one, limit) = (show_size(sandbox.memory_limit as u64), show_size(limit));
        let all = all >> 20;
        let message =
            format!("one instance may have {one}, and all plugins together {all}MiB of the `memory_limit` ({limit})");
        source.fail(place, "sandbox.memory_limit", message);
    }
    Some(sandbox)
}

fn sandbox(mut section: Section<'_>, source: &Source<'_>) -> Option<Sandbox> {
    let memory = section.field("memory_limit");
    let written = memory.as_ref().and_then(Field::size);
    let memory_limit = written.map_or(SANDBOX.memory_limit, |size| usize::try_from(size).unwrap_or(usize::MAX));
    // One wasm page; and the most a 32-bit linear memory can be.
    if let Some(field) = memory.filter(|_| !(64 << 10..=4 << 30).contains(&memory_limit)) {
        field.fail("the memory of a plugin must be between 64KiB and 4GiB");
    }
    let cache_dir = section
        .field("cache_dir")
        .and_then(|field| field.text().map(|text| source.path(text)));
    let sandbox = Sandbox {
        threads: section.length("threads", SANDBOX.threads),
        call_timeout: section.duration("call_timeout", SANDBOX.call_timeout),
        memory_limit,
        wasi: section
            .field("wasi")
            .and_then(|field| field.choice(&[("allow", true), ("deny", false)]))
            .unwrap_or(SANDBOX.wasi),
        cache_dir,
        max_cache_size: section.size("max_cache_size", SANDBOX.max_cache_size),
        compile_timeout: section.duration("compile_timeout", SANDBOX.compile_timeout),
        compile_memory_limit: section.size("compile_memory_limit", SANDBOX.compile_memory_limit),
    };
    section.close();
    Some(sandbox)
}

fn tenant_files<'a>(list: &Field<'a>) -> Vec<(Field<'a>, PathBuf)> {
    let pattern = |item: Field<'a>| {
        item.text()
            .map(|text| item.source.path(text))
            .map(|path| (item.clone(), path))
    };
    list.items().into_iter().filter_map(pattern).collect()
}

/// The place of a whole file.
pub(super) const WHOLE_FILE: Place = Place { line: 0, column: 0 };
