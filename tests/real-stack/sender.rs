//! The senders: Debian's Prometheus, one per cluster, and one node_exporter that all of them scrape.
//!
//! Takes the gateway's address and each cluster's credential; gives running Prometheus servers whose own storage is
//! the truth that the far end is compared with. kazusa has one target more, which is always down: the alert's cause.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use gauntlet_tests::http;

use crate::certs::{Certs, Pair};
use crate::process::{Ports, Process, start};
use crate::query::Api;
use crate::wait;

const READY: Duration = Duration::from_secs(60);

/// A cluster's Prometheus.
pub struct Sender {
    pub tenant: &'static str,
    pub address: String,
    pub process: Process,
}

impl Sender {
    /// Its own storage.
    pub fn api(&self) -> Api {
        Api {
            address: self.address.clone(),
            parameters: "",
        }
    }

    /// `prometheus_remote_storage_<name>` as the sender itself counts it.
    pub fn remote_storage(&self, name: &str) -> Result<f64> {
        Ok(http::metrics(&self.address)?.sum(&format!("prometheus_remote_storage_{name}"), &[]))
    }
}

/// The three clusters and their node_exporter.
pub struct Senders {
    pub all: Vec<Sender>,
    node_exporter: Process,
}

/// The bearer token of cluster `local`; the gateway's configuration has its hash alone.
pub const LOCAL_TOKEN: &str = "a-token-of-the-local-cluster";

impl Senders {
    pub fn start(dir: &Path, logs: &Path, ports: &mut Ports, gateway: &str, certs: &Certs) -> Result<Self> {
        let node = ports.address()?;
        // Never listened on: a target that is down.
        let nowhere = ports.address()?;
        let node_exporter = start("node_exporter", logs, node_exporter(&node))?;
        let token = dir.join("local.token");
        fs::write(&token, LOCAL_TOKEN)?;
        let client = |pair: &Pair| format!("cert_file: {}, key_file: {}", pair.cert.display(), pair.key.display());
        let clusters = [
            (
                "local",
                String::new(),
                format!("    authorization: {{credentials_file: {}}}\n", token.display()),
            ),
            ("kazusa", format!(", {}", client(&certs.kazusa)), String::new()),
            ("setsuna", format!(", {}", client(&certs.setsuna)), String::new()),
        ];
        let mut all = Vec::new();
        for (tenant, tls, authorization) in clusters {
            let address = ports.address()?;
            let down = if tenant == "kazusa" {
                Some(nowhere.as_str())
            } else {
                None
            };
            let mut text = scrapes(&address, &node, down);
            text.push_str(&format!(
                "remote_write:\n  - url: https://{gateway}/api/v1/receive\n{authorization}    tls_config: {{ca_file: {}{tls}}}\n{QUEUE}",
                certs.authority.display()
            ));
            all.push(prometheus(dir, logs, tenant, address, &text)?);
        }
        let mut senders = Self { all, node_exporter };
        senders.wait_ready(&node)?;
        Ok(senders)
    }

    fn wait_ready(&mut self, node: &str) -> Result<()> {
        wait::until("node_exporter answers", READY, || {
            self.node_exporter.expect_alive()?;
            Ok(http::ok(node, "/metrics")?.then_some(()))
        })?;
        for sender in &mut self.all {
            wait::until(&format!("Prometheus of {} is ready", sender.tenant), READY, || {
                sender.process.expect_alive()?;
                Ok(http::ok(&sender.address, "/-/ready")?.then_some(()))
            })?;
        }
        Ok(())
    }

    /// Fails where any process has ended by itself.
    pub fn expect_alive(&mut self) -> Result<()> {
        self.node_exporter.expect_alive()?;
        self.all.iter_mut().try_for_each(|sender| sender.process.expect_alive())
    }
}

pub fn node_exporter(address: &str) -> Vec<String> {
    let mut argv = vec![
        "prometheus-node-exporter".to_owned(),
        format!("--web.listen-address={address}"),
        "--collector.disable-defaults".to_owned(),
    ];
    let collectors = [
        "cpu", "loadavg", "meminfo", "netdev", "stat", "time", "uname", "vmstat", "filefd",
    ];
    argv.extend(collectors.map(|name| format!("--collector.{name}")));
    argv
}

fn prometheus(dir: &Path, logs: &Path, tenant: &'static str, address: String, text: &str) -> Result<Sender> {
    let config = dir.join(format!("prometheus-{tenant}.yaml"));
    fs::write(&config, text)?;
    let data = dir.join("data").join(format!("prometheus-{tenant}"));
    let argv = vec![
        "prometheus".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", data.display()),
        format!("--web.listen-address={address}"),
        "--web.console.libraries=/usr/share/prometheus/console_libraries".to_owned(),
    ];
    let process = start(&format!("prometheus-{tenant}"), logs, argv)?;
    Ok(Sender {
        tenant,
        address,
        process,
    })
}

fn scrapes(own: &str, node: &str, down: Option<&str>) -> String {
    let mut text = "global: {scrape_interval: 1s, scrape_timeout: 900ms}\nscrape_configs:\n".to_owned();
    let jobs = [("prometheus", Some(own)), ("node", Some(node)), ("batch", down)];
    for (job, target) in jobs {
        if let Some(target) = target {
            text.push_str(&format!(
                "  - {{job_name: {job}, static_configs: [{{targets: [\"{target}\"]}}]}}\n"
            ));
        }
    }
    text
}

// The back-off is short so that the checks are. A batch is smaller than what one shard holds of one scrape, so it
// never has two samples of a series: when an answer is lost with the process that owed it, the batch is sent again,
// and a TSDB takes its newest sample twice but calls an older one out of order.
const QUEUE: &str = "    remote_timeout: 10s
    send_exemplars: false
    metadata_config: {send: true, send_interval: 5s}
    queue_config:
      capacity: 4000
      max_shards: 2
      min_shards: 1
      max_samples_per_send: 200
      batch_send_deadline: 500ms
      min_backoff: 30ms
      max_backoff: 1s
";
