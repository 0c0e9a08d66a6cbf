//! What of vmagent's samples a receiver refuses because newer ones overtook them: through the gateway and past it, with
//! several queues and with one, and with a receiver that takes what is late.
//!
//! Takes nothing; gives a table for docs/senders.md. What is counted are the receiver's own refusals: vmagent drops a block
//! that was answered 409 or 400.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use gauntlet_tests::http;
use gauntlet_tests::process::provisioned;

use crate::away::{Fault, Site, token};
use crate::process::{Ports, Process, start};

const VMAGENT: &str = "1.151.0";
const FAULTS: [Fault; 2] = [Fault::Away(60), Fault::OverRate(60)];
/// What waited is sent, and what was refused is counted, within this time.
const AFTERWARDS: Duration = Duration::from_secs(45);
const BEFORE: Duration = Duration::from_secs(15);

/// How many queues a vmagent has, if it is not left to it.
const SENDERS: [(&str, &str, Option<u32>); 2] = [
    ("vmagent", "default queues", None),
    ("vmagent-1", "`-remoteWrite.queues=1`", Some(1)),
];
const WINDOWS: [(&str, &[&str]); 2] = [("none", &[]), ("10m", &["--tsdb.out-of-order.time-window=10m"])];
/// Of samples that a receiver did not take because of their time.
const REFUSED: [&str; 3] = [
    "prometheus_tsdb_out_of_order_samples_total",
    "prometheus_tsdb_out_of_bound_samples_total",
    "prometheus_tsdb_too_old_samples_total",
];

pub fn measure(dir: &Path, logs: &Path) -> Result<String> {
    let mut text = "| vmagent | receiver's window | fault | refused through the gateway | refused in the control |\n|---|---|---|---|---|\n".to_owned();
    for (window, flags) in WINDOWS {
        for fault in FAULTS {
            for (title, through, past) in one(dir, logs, flags, fault)? {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "| {title} | {window} | {fault} | {through} | {past} |");
            }
            eprintln!("{text}");
        }
    }
    Ok(text)
}

/// What each sender lost by one fault.
fn one(dir: &Path, logs: &Path, flags: &[&str], fault: Fault) -> Result<Vec<(&'static str, f64, f64)>> {
    let folder = tempfile::Builder::new().tempdir_in(dir)?;
    let mut ports = Ports::new();
    let tenants = SENDERS.map(|(tenant, ..)| tenant);
    let mut site = Site::start(folder.path(), logs, &mut ports, &tenants, flags)?;
    let mut running = Vec::new();
    for (tenant, _, queues) in SENDERS {
        running.push(vmagent(folder.path(), logs, &mut ports, &site, tenant, queues)?);
    }
    std::thread::sleep(BEFORE);
    site.suffer(fault)?;
    std::thread::sleep(AFTERWARDS);
    running.iter_mut().try_for_each(Process::expect_alive)?;
    site.gateway.expect_alive()?;
    let metrics = http::metrics(&site.http)?;
    let refused = |tenant: &str| {
        REFUSED
            .iter()
            .map(|name| metrics.sum(name, &[("tenant", tenant)]))
            .sum()
    };
    Ok(SENDERS
        .map(|(tenant, title, _)| (title, refused(tenant), refused(&past(tenant))))
        .into())
}

/// The tenant that a sender is past the gateway.
fn past(tenant: &str) -> String {
    format!("{tenant}-past")
}

fn vmagent(
    dir: &Path,
    logs: &Path,
    ports: &mut Ports,
    site: &Site,
    tenant: &str,
    queues: Option<u32>,
) -> Result<Process> {
    let address = ports.address()?;
    let config = dir.join(format!("{tenant}.yaml"));
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 900ms, external_labels: {{sender: {tenant}}}}}
scrape_configs:
  - {{job_name: vmagent, static_configs: [{{targets: [\"{address}\"]}}]}}
  - {{job_name: node, static_configs: [{{targets: [\"{}\"]}}]}}
",
        site.node
    );
    std::fs::write(&config, text)?;
    let mut argv = vec![
        provisioned("vmagent", VMAGENT)?.display().to_string(),
        format!("-promscrape.config={}", config.display()),
        format!("-remoteWrite.tmpDataPath={}", dir.join("data").join(tenant).display()),
        format!("-httpListenAddr={address}"),
        // One after the other for each URL.
        format!("-remoteWrite.url=http://{}/api/v1/receive", site.past),
        format!("-remoteWrite.headers=THANOS-TENANT:{}", past(tenant)),
        "-remoteWrite.forcePromProto=true".to_owned(),
        format!("-remoteWrite.url=http://{}/api/v1/receive", site.through),
        format!("-remoteWrite.headers=Authorization:Bearer {}", token(tenant)),
        "-remoteWrite.forcePromProto=true".to_owned(),
    ];
    argv.extend(queues.map(|queues| format!("-remoteWrite.queues={queues}")));
    start(tenant, logs, argv)
}
