//! A receiver that can be taken away, and a gateway before it whose tenants can be held to a rate: what `healing` and
//! `order` put their senders in front of.
//!
//! Takes a folder and free ports; gives running processes, and faults that begin and end when they are told to.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use gauntlet_tests::{Setup, Tenant, http};
use serde_json::json;

use crate::process::{Ports, Process, start};
use crate::{gateway, thanos, wait};

const READY: Duration = Duration::from_secs(90);

/// What happens to the writes of all senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The receiver is killed, and started again after so many seconds.
    Away(u64),
    /// Tenants may send a third of what they have, for so many seconds.
    OverRate(u64),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(seconds) => write!(f, "receiver away for {seconds} s"),
            Self::OverRate(seconds) => write!(f, "over its rate for {seconds} s"),
        }
    }
}

pub struct Site {
    pub gateway: Process,
    pub receiver: Process,
    /// Where the gateway takes writes, and where the receiver does.
    pub through: String,
    pub past: String,
    /// The receiver's metrics.
    pub http: String,
    admin: String,
    setup: Setup,
    tenants: Vec<&'static str>,
    node_exporter: Process,
    pub node: String,
}

/// A tenant's bearer token.
pub fn token(tenant: &str) -> String {
    format!("token-of-{tenant}")
}

impl Site {
    /// Starts the receiver, with further `flags`, and the gateway, and waits until both are ready.
    ///
    /// # Errors
    /// If they do not become ready.
    pub fn start(dir: &Path, logs: &Path, ports: &mut Ports, tenants: &[&'static str], flags: &[&str]) -> Result<Self> {
        let (past, http) = (ports.address()?, ports.address()?);
        let receiver = start("receiver", logs, receiver(dir, &past, &http, ports, flags)?)?;
        let (through, admin) = (ports.address()?, ports.address()?);
        let mut setup = Setup::new()
            .insecure()
            .set("/remote_write/listen_address", through.as_str())
            .set("/admin/listen_address", admin.as_str())
            .set("/upstreams/receiver", json!({"endpoints": [format!("http://{past}")]}));
        let node = ports.address()?;
        let argv = vec![
            gateway::program()?,
            "serve".to_owned(),
            format!("--config.file={}", setup.main_file().display()),
            "--config.poll-interval=0s".to_owned(),
        ];
        hold_to(&mut setup, tenants, None);
        let mut site = Self {
            gateway: start("gauntlet", logs, argv)?,
            receiver,
            through,
            past,
            http,
            admin,
            setup,
            tenants: tenants.to_vec(),
            node_exporter: start("node_exporter", logs, crate::sender::node_exporter(&node))?,
            node,
        };
        site.wait_for_the_receiver()?;
        wait::until("the gateway is ready", READY, || {
            site.gateway.expect_alive()?;
            site.node_exporter.expect_alive()?;
            Ok(http::ok(&site.admin, "/-/ready")?.then_some(()))
        })?;
        Ok(site)
    }

    /// Lets `fault` happen; returns in the moment in which it is over.
    ///
    /// # Errors
    /// If what was taken away does not come back.
    pub fn suffer(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Away(seconds) => {
                self.receiver.kill()?;
                std::thread::sleep(Duration::from_secs(seconds));
                self.receiver.start_again()?;
                self.wait_for_the_receiver()
            }
            Fault::OverRate(seconds) => {
                self.hold_to(Some(RATE))?;
                std::thread::sleep(Duration::from_secs(seconds));
                self.hold_to(None)
            }
        }
    }

    fn wait_for_the_receiver(&mut self) -> Result<()> {
        wait::until("the receiver is ready", READY, || {
            self.receiver.expect_alive()?;
            Ok(http::ok(&self.http, "/-/ready")?.then_some(()))
        })
    }

    fn hold_to(&mut self, rate: Option<u64>) -> Result<()> {
        hold_to(&mut self.setup, &self.tenants, rate);
        let answer = http::post(&self.admin, "/-/reload", &[], b"")?;
        ensure!(answer.status == 200, "a reload: {} {}", answer.status, answer.text());
        Ok(())
    }
}

/// Samples a second; the senders have about three times as many.
const RATE: u64 = 400;

fn hold_to(setup: &mut Setup, tenants: &[&'static str], rate: Option<u64>) {
    for name in tenants {
        let tenant = Tenant::new(name).bearer(&token(name)).upstreams(&["receiver"]);
        setup.put_tenant(match rate {
            None => tenant,
            // A whole write of the largest kind fits into it.
            Some(rate) => tenant.policy("limits", json!({"samples": {"per_second": rate, "burst": 2000}})),
        });
    }
    setup.write();
}

fn receiver(dir: &Path, past: &str, http: &str, ports: &mut Ports, flags: &[&str]) -> Result<Vec<String>> {
    let mut argv = vec![
        thanos::program()?,
        "receive".to_owned(),
        format!("--tsdb.path={}", dir.join("data/receiver").display()),
        "--tsdb.retention=0d".to_owned(),
        "--label=receiver_replica=\"0\"".to_owned(),
        format!("--remote-write.address={past}"),
        format!("--http-address={http}"),
        format!("--grpc-address={}", ports.address()?),
        format!("--receive.capnproto-address={}", ports.address()?),
    ];
    argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
    Ok(argv)
}
