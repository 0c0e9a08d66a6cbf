//! Gauntlet itself: the binary that was built beside this program, with the reference configuration.
//!
//! Takes the run's folder, the certificates and the two pools of routing receivers; gives the running process and
//! its configuration files, to be replaced by worse and by better ones while it serves.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use gauntlet_tests::gateway::beside;
use gauntlet_tests::http;
use gauntlet_tests::setup::{replace, sha256};

use crate::certs::Certs;
use crate::process::{Ports, Process, start};
use crate::sender::LOCAL_TOKEN;
use crate::thanos::Thanos;
use crate::wait;

const READY: Duration = Duration::from_secs(90);

/// In the folder of the configuration: the operator's plugin, and the tenant whose file is replaced.
const PLUGIN: &str = "plugins/house-relabel.wasm";
const SETSUNA: &str = "tenants/setsuna.yaml";

pub struct Gateway {
    pub process: Process,
    /// The front door, TLS.
    pub write: String,
    /// Metrics, health, reload.
    pub admin: String,
    config: PathBuf,
}

impl Gateway {
    pub fn start(dir: &Path, logs: &Path, ports: &mut Ports, certs: &Certs, thanos: &Thanos) -> Result<Self> {
        let program = program()?;
        let config = dir.join("gauntlet");
        fs::create_dir_all(config.join("tenants"))?;
        fs::create_dir_all(config.join("plugins"))?;
        let (write, admin) = (ports.address()?, ports.address()?);
        fs::write(config.join("gauntlet.yaml"), main_file(&write, &admin, certs, thanos))?;
        fs::write(config.join("tenants/local.yaml"), local_file())?;
        fs::write(config.join("tenants/kazusa.yaml"), KAZUSA)?;
        let argv = vec![
            program,
            "serve".to_owned(),
            format!("--config.file={}", config.join("gauntlet.yaml").display()),
            "--shutdown.timeout=10s".to_owned(),
        ];
        replace(&config.join(PLUGIN), &standard_relabel()?);
        replace(&config.join(SETSUNA), setsuna_file("go_.*", "1").as_bytes());
        let mut gateway = Self {
            process: start("gauntlet", logs, argv)?,
            write,
            admin,
            config,
        };
        gateway.wait_ready()?;
        Ok(gateway)
    }

    /// Starts the process (again) and waits until it serves.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.wait_ready()
    }

    fn wait_ready(&mut self) -> Result<()> {
        wait::until("gauntlet is ready", READY, || {
            self.process.expect_alive()?;
            Ok(http::ok(&self.admin, "/-/ready")?.then_some(()))
        })
    }

    /// Replaces setsuna's tenant file, as a whole.
    pub fn write_setsuna(&self, text: &str) {
        replace(&self.config.join(SETSUNA), text.as_bytes());
    }

    /// Replaces the operator's plugin file, as a whole.
    pub fn write_plugin(&self, bytes: &[u8]) {
        replace(&self.config.join(PLUGIN), bytes);
    }

    /// Asks for a reload and waits until `gauntlet_config_last_reload_successful` says how it went.
    pub fn reload(&self, succeeds: bool) -> Result<()> {
        http::post(&self.admin, "/-/reload", &[], b"")?;
        let expected = f64::from(u8::from(succeeds));
        wait::until(
            &format!("gauntlet_config_last_reload_successful is {expected}"),
            Duration::from_secs(30),
            || Ok((self.metric("gauntlet_config_last_reload_successful", &[])? == expected).then_some(())),
        )
    }

    pub fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(http::metrics(&self.admin)?.sum(name, labels))
    }
}

/// `GAUNTLET_BIN`, else the binary beside this one.
pub fn program() -> Result<String> {
    if let Ok(path) = std::env::var("GAUNTLET_BIN") {
        return Ok(path);
    }
    Ok(beside()?.display().to_string())
}

/// The committed standard relabel component: here it plays an operator's plugin file.
pub fn standard_relabel() -> Result<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/plugins/relabel.wasm");
    fs::read(path).with_context(|| format!("reading {path}"))
}

fn main_file(write: &str, admin: &str, certs: &Certs, thanos: &Thanos) -> String {
    let endpoints = |replicated: bool| {
        let pool = thanos
            .soft
            .iter()
            .filter(|soft| (soft.process.name() == "soft-replicated") == replicated);
        pool.map(|soft| format!("\"http://{}\"", soft.write))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "remote_write:
  listen_address: {write}
  tls_server_config:
    cert_file: {cert}
    key_file: {key}
    client_ca_file: {ca}
    client_auth_type: VerifyClientCertIfGiven
admin: {{listen_address: \"{admin}\"}}
upstreams:
  soft-tenants: {{endpoints: [{single}], timeout: 8s}}
  soft-replicated: {{endpoints: [{replicated}], timeout: 8s}}
plugins:
  house-relabel: {{file: plugins/house-relabel.wasm}}
tenant_files: [\"tenants/*.yaml\"]
",
        cert = certs.gateway.cert.display(),
        key = certs.gateway.key.display(),
        ca = certs.authority.display(),
        single = endpoints(false),
        replicated = endpoints(true),
    )
}

fn local_file() -> String {
    let hex = sha256(LOCAL_TOKEN.as_bytes());
    format!(
        "tenant: local
credentials:
  - bearer_token_sha256: \"{hex}\"
policies:
  - plugin: limits
    settings: {{samples: {{per_second: 1000000, burst: 2000000}}}}
upstreams: [soft-tenants]
"
    )
}

const KAZUSA: &str = "\
tenant: kazusa
credentials:
  - client_certificate: {uri_san: \"spiffe://kazusa/prometheus\"}
upstreams: [soft-replicated]
";

/// setsuna drops by one relabel policy (built in) and adds labels by another (the operator's plugin file).
/// `edition` becomes a label, so that the querier shows which file is in force.
pub fn setsuna_file(dropped: &str, edition: &str) -> String {
    format!(
        "tenant: setsuna
credentials:
  - client_certificate: {{dns_san: prometheus.setsuna.example}}
policies:
  - plugin: relabel
    settings: {{relabel_configs: [{{action: drop, source_labels: [__name__], regex: \"{dropped}\"}}]}}
  - plugin: house-relabel
    settings:
      relabel_configs:
        - {{target_label: cluster, replacement: setsuna}}
        - {{target_label: edition, replacement: \"{edition}\"}}
upstreams: [soft-tenants]
"
    )
}
