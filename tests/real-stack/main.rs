//! `real-stack`: the reference deployment on one machine, with nothing in it faked.
//!
//! `real-stack check` brings it all up in a temporary folder, tries what must hold and says one line for each;
//! `real-stack up` brings it up and stays until ^C, for looking at; `healing` and `order` measure what senders feel of a
//! fault, for docs/senders.md; `observe` tries the rules and the dashboard, `traces` an
//! OpenTelemetry collector. Real Prometheus senders, TLS, Gauntlet, real
//! Thanos. Takes the programs that `scripts/provision stack` installs and the `gauntlet` binary beside this one;
//! gives exit 0 only when every check held. Never touches a process it did not start or a port that is in use.

mod away;
mod body;
mod certs;
mod checks;
mod compare;
mod curl;
mod faults;
mod gateway;
mod healing;
mod manifests;
mod observe;
mod order;
mod process;
mod query;
mod refusals;
mod sender;
mod thanos;
mod traced;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::certs::Certs;
use crate::gateway::Gateway;
use crate::process::Ports;
use crate::sender::Senders;
use crate::thanos::Thanos;

/// Everything that runs. Fields drop in this order: senders first, so that the logs end quietly.
pub struct Stack {
    pub senders: Senders,
    pub gateway: Gateway,
    pub thanos: Thanos,
    pub certs: Certs,
    pub dir: PathBuf,
    /// When the senders were ready, Unix seconds: everything scraped after it must arrive.
    pub since: f64,
}

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let result = match command.as_str() {
        "check" => check(),
        "up" => up(),
        "healing" => measured(healing::measure),
        "order" => measured(order::measure),
        "observe" => measured(observe::observe),
        "traces" => measured(traced::traced),
        _ => {
            eprintln!("usage: real-stack check|up|healing|order|observe|traces");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("gauntlet-stack-").tempdir()?;
    let outcome = run_checks(folder.path());
    if outcome.is_err() {
        let kept = folder.keep();
        eprintln!("the logs are kept in {}", kept.join("logs").display());
    }
    outcome
}

fn run_checks(dir: &Path) -> Result<()> {
    let started = Instant::now();
    let say = |what: &str, measured: &str| println!("[{:>4} s] {what}: {measured}", started.elapsed().as_secs());
    let (logs, mut ports) = (folder(dir, "logs")?, Ports::new());
    let certs = Certs::make(&dir.join("certs"))?;
    let mut thanos = Thanos::start(dir, &logs, &mut ports)?;
    say("0 thanos alone", &checks::thanos_alone(&mut thanos)?);
    let mut stack = Stack::complete(dir, &logs, &mut ports, certs, thanos)?;
    say("0 manifests", &manifests::accepted(&stack)?);
    say("1 tenants apart", &checks::tenants_apart(&mut stack)?);
    say("2 relabel policy", &checks::relabel_policy(&mut stack)?);
    say("3 forgeries", &checks::forgeries(&mut stack)?);
    say("3 refusals", &refusals::refused(&mut stack)?);
    say("5 alert", &checks::alert(&mut stack)?);
    faults::faults(&mut stack, &say)?;
    say("4, 6 nothing lost", &compare::nothing_lost(&mut stack)?);
    say("accounting", &checks::accounting(&mut stack)?);
    say("store gateway", &checks::store_gateway(&mut stack)?);
    println!("every check held, {} s", started.elapsed().as_secs());
    Ok(())
}

/// Prints what came of it: a table of docs/senders.md, which needs what `scripts/provision senders` installs and up to twenty
/// minutes, or a line.
fn measured(measure: fn(&Path, &Path) -> Result<String>) -> Result<()> {
    let run = tempfile::Builder::new().prefix("gauntlet-stack-").tempdir()?;
    let logs = folder(run.path(), "logs")?;
    match measure(run.path(), &logs) {
        Ok(table) => println!("{table}"),
        Err(error) => {
            eprintln!("the logs are kept in {}", run.keep().join("logs").display());
            return Err(error);
        }
    }
    Ok(())
}

fn up() -> Result<()> {
    let folder_ = tempfile::Builder::new().prefix("gauntlet-stack-").tempdir()?;
    let dir = folder_.path();
    let (logs, mut ports) = (folder(dir, "logs")?, Ports::new());
    let certs = Certs::make(&dir.join("certs"))?;
    let thanos = Thanos::start(dir, &logs, &mut ports)?;
    let stack = Stack::complete(dir, &logs, &mut ports, certs, thanos)?;
    println!("remote write (TLS)  https://{}/api/v1/receive", stack.gateway.write);
    println!(
        "Gauntlet admin      http://{}/metrics  /api/v1/status",
        stack.gateway.admin
    );
    println!("Thanos querier      http://{}", stack.thanos.querier);
    println!("Alertmanager        http://{}", stack.thanos.alertmanager);
    for sender in &stack.senders.all {
        println!("Prometheus {:<8} http://{}", sender.tenant, sender.address);
    }
    println!("configuration       {}", dir.join("gauntlet").display());
    println!(
        "certificates, logs  {} and logs/ beside it",
        dir.join("certs").display()
    );
    println!("^C ends it and removes the folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("waiting for ^C")
}

fn folder(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::create_dir_all(&path)?;
    std::fs::create_dir_all(dir.join("data"))?;
    Ok(path)
}

impl Stack {
    fn complete(dir: &Path, logs: &Path, ports: &mut Ports, certs: Certs, thanos: Thanos) -> Result<Self> {
        let gateway = Gateway::start(dir, logs, ports, &certs, &thanos)?;
        let senders = Senders::start(dir, logs, ports, &gateway.write, &certs)?;
        Ok(Self {
            senders,
            gateway,
            thanos,
            certs,
            dir: dir.to_owned(),
            since: wait::now(),
        })
    }

    /// Fails where any process has ended by itself.
    pub fn expect_alive(&mut self) -> Result<()> {
        self.senders.expect_alive()?;
        self.gateway.process.expect_alive()?;
        self.thanos.expect_alive()
    }

    pub fn sender(&self, tenant: &str) -> Result<&sender::Sender> {
        match self.senders.all.iter().find(|sender| sender.tenant == tenant) {
            Some(sender) => Ok(sender),
            None => bail!("no sender {tenant}"),
        }
    }
}
