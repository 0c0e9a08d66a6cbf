//! The subject itself: configurations, start, and what its admin listener says.
//!
//! Takes upstreams and tenants, gives a running gateway. The binary is the one beside this program.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gauntlet_tests::gateway::beside;
use gauntlet_tests::http;
use gauntlet_tests::metrics::Metrics;
use gauntlet_tests::setup::{replace, sha256};

use crate::load::{Target, Version};
use crate::process::{Process, slug, start, wait_for};
use crate::setting::Setting;

/// Three rules that match nothing; vmagent gets the same.
pub const RULES: &str = r#"[{action: drop, source_labels: [__name__], regex: "absent_.*"}, {action: labeldrop, regex: "absent"}, {source_labels: [absent], regex: "(.+)", target_label: other}]"#;
const LIMITS: &str = "- {plugin: limits, settings: {samples: {per_second: 100000000, burst: 100000000}}}";

/// Policies of a tenant, as YAML.
#[derive(Clone)]
pub struct Policies(String);

impl Policies {
    /// Relabel rules alone.
    pub fn rules(rules: &str) -> Self {
        Self(format!(
            "- {{plugin: relabel, settings: {{relabel_configs: {rules}}}}}\n"
        ))
    }

    /// The three rules, `limits`, `route`: what a tenant is likely to have, and every series is kept.
    pub fn kept() -> Self {
        Self::rules(RULES).limited().routed("absent_.*", "absent", "sink")
    }

    pub fn dropped() -> Self {
        Self::rules(
            r#"[{action: hashmod, source_labels: [__name__, cpu, mode, device, collector, name, state, instance, job], target_label: __tmp, modulus: 10}, {action: drop, source_labels: [__tmp], regex: "0"}, {action: labeldrop, regex: "__tmp"}]"#,
        )
    }

    pub fn edited() -> Self {
        Self::rules("[{target_label: cluster, replacement: bench}]")
    }

    pub fn limited(self) -> Self {
        Self(format!("{}{LIMITS}\n", self.0))
    }

    pub fn routed(self, names: &str, stream: &str, upstream: &str) -> Self {
        Self(format!(
            "{}- {{plugin: route, settings: {{routes: [{{match: {{__name__: \"{names}\"}}, stream: {stream}, upstream: {upstream}}}]}}}}\n",
            self.0
        ))
    }

    /// A whole tenant. `credential` is one entry in flow style.
    pub fn tenant(&self, name: &str, credential: &str, upstreams: &str, limits: &str) -> String {
        let policies = self.0.trim_end().replace('\n', "\n  ");
        format!(
            "tenant: {name}\ncredentials: [{credential}]\nupstreams: [{upstreams}]\nlimits: {{{limits}}}\npolicies:\n  {policies}\n"
        )
    }
}

/// The credential of the senders' certificate.
pub const CERTIFICATE: &str = "client_certificate: {common_name: bench}";

/// The token of tenant `number`, and its credential.
pub fn token(number: usize) -> (Arc<str>, String) {
    let token = format!("token-of-tenant-{number}");
    let credential = format!("bearer_token_sha256: {}", sha256(token.as_bytes()));
    (token.into(), credential)
}

/// A main file.
pub struct Config {
    name: String,
    client_auth: &'static str,
    upstreams: String,
    rest: String,
}

impl Config {
    /// `upstreams` by name.
    pub fn new(name: &str, upstreams: &[(&str, SocketAddr)]) -> Self {
        let upstreams = upstreams
            .iter()
            .map(|(name, address)| format!("  {name}: {{endpoints: [\"http://{address}\"]}}\n"))
            .collect();
        Self {
            name: name.to_owned(),
            client_auth: "RequireAndVerifyClientCert",
            upstreams,
            rest: String::new(),
        }
    }

    /// One more upstream.
    pub fn upstream(mut self, name: &str, endpoints: &[SocketAddr]) -> Self {
        let endpoints: Vec<_> = endpoints
            .iter()
            .map(|address| format!("\"http://{address}\""))
            .collect();
        self.upstreams += &format!("  {name}: {{endpoints: [{}]}}\n", endpoints.join(", "));
        self
    }

    /// One more upstream, which is sent remote write 2.0.
    pub fn upstream_of_2(mut self, name: &str, endpoint: SocketAddr) -> Self {
        self.upstreams += &format!("  {name}: {{endpoints: [\"http://{endpoint}\"], remote_write_version: \"2.0\"}}\n");
        self
    }

    /// Senders come with tokens and may have no certificate.
    pub fn with_tokens(mut self) -> Self {
        self.client_auth = "VerifyClientCertIfGiven";
        self
    }

    /// Tenants in the main file.
    pub fn tenants(mut self, tenants: impl IntoIterator<Item = String>) -> Self {
        self.rest += "tenants:\n";
        for tenant in tenants {
            self.rest += &format!("- {}\n", tenant.trim_end().replace('\n', "\n  "));
        }
        self
    }

    /// Tenants in files of their own, for more than one file may hold.
    pub fn tenant_files(mut self, folder: &Path, tenants: impl IntoIterator<Item = String>) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        for (number, tenant) in tenants.into_iter().enumerate() {
            write_tenant(folder, number, &tenant);
        }
        self.rest += &format!("tenant_files: [\"{}/*.yaml\"]\n", folder.display());
        self
    }

    /// Any other part of the main file.
    pub fn section(mut self, text: &str) -> Self {
        self.rest += text;
        self
    }

    pub fn start(&self, setting: &Setting) -> Gauntlet {
        self.start_program(&binary(), setting)
    }

    /// As [`Config::start`], with another program than the one beside this one.
    pub fn start_program(&self, program: &Path, setting: &Setting) -> Gauntlet {
        let folder = setting.folder();
        let file = folder.join(format!("{}.yaml", slug(&self.name)));
        let text = format!(
            "remote_write:\n  listen_address: 127.0.0.1:0\n  tls_server_config: {{cert_file: server.pem, key_file: server.key, \
             client_ca_file: ca.pem, client_auth_type: {}}}\nadmin: {{listen_address: 127.0.0.1:0}}\nupstreams:\n{}{}",
            self.client_auth, self.upstreams, self.rest
        );
        fs::write(&file, text).expect("a configuration");
        Gauntlet::start(&self.name, program, &file, setting)
    }
}

/// Writes, or rewrites, the file of one tenant.
pub fn write_tenant(folder: &Path, number: usize, text: &str) {
    replace(&folder.join(format!("{number:05}.yaml")), text.as_bytes());
}

pub struct Gauntlet {
    pub process: Process,
    pub address: SocketAddr,
    admin: String,
    /// From start to listening.
    pub start_took: Duration,
}

impl Gauntlet {
    fn start(name: &str, program: &Path, config: &Path, setting: &Setting) -> Self {
        let mut command = Command::new(program);
        command.args(["serve", "--log.format=json"]);
        command.arg(format!("--config.file={}", config.display()));
        let began = Instant::now();
        let hint = "cargo build --release -p gauntlet makes it";
        let mut process = start(name, setting.folder(), command, hint);
        let (address, admin) = wait_for(&mut process, "listening", |process| {
            Some((
                process.listening("remote_write")?,
                process.listening("admin")?.to_string(),
            ))
        });
        let start_took = began.elapsed();
        setting.started(name, process.pid());
        let gauntlet = Self {
            process,
            address,
            admin,
            start_took,
        };
        let report = gauntlet.status();
        let broken = &report["data"]["broken_tenants"];
        assert!(
            broken.as_array().is_some_and(Vec::is_empty),
            "{name}: tenants cannot be served: {broken}"
        );
        gauntlet
    }

    pub fn target(&self, tls: Arc<rustls::ClientConfig>) -> Target {
        Target {
            name: self.process.name().to_owned(),
            address: self.address,
            tls,
            path: "/api/v1/receive",
            version: Version::One,
        }
    }

    pub fn metrics(&self) -> Metrics {
        http::metrics(&self.admin).expect("metrics")
    }

    fn status(&self) -> serde_json::Value {
        let page = http::get(&self.admin, "/api/v1/status").expect("the status");
        serde_json::from_slice(&page.body).expect("the status as JSON")
    }

    /// Gives when the reload was answered.
    ///
    /// # Panics
    /// If it failed.
    pub fn reload(&self) -> Instant {
        let answer = http::post(&self.admin, "/-/reload", &[], b"").expect("an answer");
        assert!(
            answer.status == 200,
            "{}: reload: {}",
            self.process.name(),
            answer.text()
        );
        Instant::now()
    }
}

pub fn binary() -> PathBuf {
    beside().expect("the program")
}
