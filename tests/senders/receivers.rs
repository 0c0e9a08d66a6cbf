//! Two receivers of one kind: one behind the gateway, and one that the same senders write to directly, as a control.
//!
//! Takes a kind; gives addresses to write to and what is stored. Both are killed together and come back together, so that
//! what one of them lost is compared with what the other lost by the same fault.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use gauntlet_tests::deadline::until;
use gauntlet_tests::http;
use gauntlet_tests::metrics::Metrics;
use gauntlet_tests::process::{Ports, Process, provisioned, start_mortal};

use crate::senders::{PROMETHEUS, own};
use crate::storage::{self, Storage, Window};

const THANOS: &str = "0.42.4";
/// From start to `/-/ready`, on a busy machine.
const READY: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Thanos,
    /// One that takes samples out of order; only tried where it is named.
    ThanosOutOfOrder,
    Prometheus,
}

impl Make {
    pub fn title(self) -> &'static str {
        match self {
            Self::Thanos => "Thanos 0.42.4",
            Self::ThanosOutOfOrder => "Thanos 0.42.4, out-of-order window of 10 minutes",
            Self::Prometheus => "Prometheus 3.15",
        }
    }

    /// On the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Thanos => "thanos",
            Self::ThanosOutOfOrder => "thanos-out-of-order",
            Self::Prometheus => "prometheus",
        }
    }

    /// Where it takes writes.
    pub fn path(self) -> &'static str {
        match self {
            Self::Thanos | Self::ThanosOutOfOrder => "/api/v1/receive",
            Self::Prometheus => "/api/v1/write",
        }
    }
}

pub struct Receiver {
    pub make: Make,
    process: Process,
    /// Where it takes writes.
    pub write: String,
    http: String,
    data: PathBuf,
}

impl Receiver {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it cannot be started or does not become ready.
    pub fn start(make: Make, name: &str, dir: &Path, logs: &Path, ports: &mut Ports) -> Result<Self> {
        let (write, data) = (ports.address()?, dir.join("data").join(name));
        let (argv, http) = match make {
            Make::Thanos => thanos(name, &write, &data, "0s", ports)?,
            Make::ThanosOutOfOrder => thanos(name, &write, &data, "10m", ports)?,
            Make::Prometheus => prometheus(&write, dir, &data)?,
        };
        let process = start_mortal(name, logs, argv)?;
        let mut receiver = Self {
            make,
            process,
            write,
            http,
            data,
        };
        receiver.wait_ready()?;
        Ok(receiver)
    }

    fn wait_ready(&mut self) -> Result<()> {
        until(&format!("{} is ready", self.process.name()), READY, PAUSE, || {
            self.process.expect_alive()?;
            Ok(http::ok(&self.http, "/-/ready")?.then_some(()))
        })
    }

    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// # Errors
    /// If it does not leave.
    pub fn terminate(&mut self) -> Result<()> {
        self.process.terminate().map(drop)
    }

    /// # Errors
    /// If it does not become ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.wait_ready()
    }

    /// Its own numbers.
    ///
    /// # Errors
    /// If it does not tell them.
    pub fn metrics(&self) -> Result<Metrics> {
        http::metrics(&self.http)
    }

    /// What it has of a sender; `tenant` is under which it was written, where the receiver knows any.
    ///
    /// # Errors
    /// If its storage cannot be read.
    pub fn storage(&self, id: &str, tenant: &str, window: Window) -> Result<Storage> {
        let wal = match self.make {
            Make::Thanos | Make::ThanosOutOfOrder => self.data.join(tenant).join("wal"),
            Make::Prometheus => self.data.join("wal"),
        };
        Ok(own(storage::read(&[wal], window)?, id))
    }
}

fn thanos(name: &str, write: &str, data: &Path, window: &str, ports: &mut Ports) -> Result<(Vec<String>, String)> {
    let http = ports.address()?;
    let argv = vec![
        provisioned("thanos", THANOS)?.display().to_string(),
        "receive".to_owned(),
        format!("--tsdb.path={}", data.display()),
        // In the first minute of every fourth hour (UTC) a receiver that is just starting would prune and die of it.
        "--tsdb.retention=0d".to_owned(),
        "--tsdb.max-exemplars=100000".to_owned(),
        format!("--tsdb.out-of-order.time-window={window}"),
        format!("--label=receiver_replica=\"{name}\""),
        format!("--remote-write.address={write}"),
        format!("--http-address={http}"),
        format!("--grpc-address={}", ports.address()?),
        format!("--receive.capnproto-address={}", ports.address()?),
        "--http-grace-period=1s".to_owned(),
        "--grpc-grace-period=1s".to_owned(),
    ];
    Ok((argv, http))
}

fn prometheus(write: &str, dir: &Path, data: &Path) -> Result<(Vec<String>, String)> {
    let config = dir.join("receiver.yaml");
    std::fs::write(&config, "global: {}\n")?;
    let argv = vec![
        provisioned("prometheus", PROMETHEUS)?.display().to_string(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", data.display()),
        format!("--web.listen-address={write}"),
        "--web.enable-remote-write-receiver".to_owned(),
        "--enable-feature=exemplar-storage".to_owned(),
    ];
    Ok((argv, write.to_owned()))
}
