//! The Thanos side: soft and hard receivers, querier, ruler with Alertmanager, store gateway, compactor.
//!
//! Takes the run's folder and free ports; gives running processes and the addresses to talk to them. The shape is
//! the reference deployment's (docs/deploy.md): replication is the routing receiver's, so there are two pools of
//! them, and the hard rings stand in `hashrings.json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use gauntlet_tests::http;
use gauntlet_tests::process::provisioned;
use gauntlet_tests::setup::replace;

use crate::process::{Ports, Process, start};
use crate::query::Api;
use crate::wait;

/// The version that is tested against; the binary's name in the cache carries it.
pub const VERSION: &str = "0.42.4";

/// From start to `/-/ready`, on a busy machine with two cores.
const READY: Duration = Duration::from_secs(60);

/// Hard receivers and the ring each belongs to.
const HARD: [(&str, &str); 5] = [
    ("setsuna-0", "setsuna"),
    ("kazusa-0", "kazusa"),
    ("kazusa-1", "kazusa"),
    ("kazusa-2", "kazusa"),
    ("default-0", "default"),
];

/// Routing receivers and the replication factor of each.
const SOFT: [(&str, u8); 3] = [("soft-a", 1), ("soft-b", 1), ("soft-replicated", 2)];

/// A receiver: where writes go in, where it is looked at, where others reach it.
pub struct Receiver {
    pub process: Process,
    pub write: String,
    pub http: String,
    pub grpc: String,
    ring: &'static str,
}

/// Everything of Thanos that runs.
pub struct Thanos {
    pub soft: Vec<Receiver>,
    pub hard: Vec<Receiver>,
    pub querier: String,
    pub alertmanager: String,
    pub store: String,
    pub compactor: String,
    rings: PathBuf,
    others: Vec<Process>,
}

/// No pruning: in the first minute of every fourth hour (UTC) a Thanos 0.42.4 receiver that is just starting prunes a
/// tenant whose TSDB is not open yet, and dies of it. Seen at 04:00; without a retention it never prunes.
const FOREVER: &str = "--tsdb.retention=0d";

/// Samples that were overtaken in their sender are taken all the same; the compactor then has to merge blocks that overlap.
const LATE: &str = "--tsdb.out-of-order.time-window=10m";
const MERGED: &str = "--compact.enable-vertical-compaction";

impl Thanos {
    /// Starts everything and waits until all of it is ready.
    pub fn start(dir: &Path, logs: &Path, ports: &mut Ports) -> Result<Self> {
        let program = program()?;
        let maker = Maker { program, dir, logs };
        let bucket = maker.bucket()?;
        let hard = HARD
            .iter()
            .map(|(name, ring)| maker.hard(name, ring, &bucket, ports))
            .collect::<Result<Vec<_>>>()?;
        let rings = dir.join("rings");
        fs::create_dir_all(&rings)?;
        write_rings(&rings, &hard, None);
        let soft = SOFT
            .iter()
            .map(|(name, factor)| maker.soft(name, *factor, &rings, ports))
            .collect::<Result<_>>()?;
        let mut thanos = Self {
            soft,
            hard,
            querier: ports.address()?,
            alertmanager: ports.address()?,
            store: ports.address()?,
            compactor: ports.address()?,
            rings,
            others: Vec::new(),
        };
        thanos.start_readers(&maker, &bucket, ports)?;
        thanos.wait_ready()?;
        Ok(thanos)
    }

    fn start_readers(&mut self, maker: &Maker<'_>, bucket: &str, ports: &mut Ports) -> Result<()> {
        let (store_grpc, ruler_grpc) = (ports.address()?, ports.address()?);
        let mut endpoints: Vec<String> = self.hard.iter().map(|receiver| receiver.grpc.clone()).collect();
        endpoints.extend([store_grpc.clone(), ruler_grpc.clone()]);
        let ruler = ports.address()?;
        self.others = vec![
            maker.alertmanager(&self.alertmanager)?,
            maker.store(&self.store, &store_grpc, bucket)?,
            maker.querier(&self.querier, &ports.address()?, &endpoints)?,
            maker.ruler(&ruler, &ruler_grpc, &self.querier, &self.alertmanager)?,
            maker.compactor(&self.compactor, bucket)?,
        ];
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        let mut pages: Vec<(String, String)> = vec![
            ("querier".into(), self.querier.clone()),
            ("alertmanager".into(), self.alertmanager.clone()),
            ("store gateway".into(), self.store.clone()),
            ("compactor".into(), self.compactor.clone()),
        ];
        for receiver in self.hard.iter().chain(&self.soft) {
            pages.push((receiver.process.name().to_owned(), receiver.http.clone()));
        }
        for (name, address) in pages {
            wait::until(&format!("{name} is ready"), READY, || {
                self.expect_alive()?;
                Ok(http::ok(&address, "/-/ready")?.then_some(()))
            })?;
        }
        Ok(())
    }

    /// Fails where any process has ended by itself.
    pub fn expect_alive(&mut self) -> Result<()> {
        let receivers = self
            .hard
            .iter_mut()
            .chain(&mut self.soft)
            .map(|receiver| &mut receiver.process);
        receivers.chain(&mut self.others).try_for_each(Process::expect_alive)
    }

    /// The hard receiver of that name.
    pub fn hard(&mut self, name: &str) -> Result<&mut Receiver> {
        find(&mut self.hard, name)
    }

    /// The routing receiver of that name.
    pub fn soft(&mut self, name: &str) -> Result<&mut Receiver> {
        find(&mut self.soft, name)
    }

    /// Rewrites the hashrings, leaving one hard receiver out, and waits until every routing receiver routes by them.
    pub fn rewrite_rings(&self, without: Option<&str>) -> Result<()> {
        write_rings(&self.rings, &self.hard, without);
        let expected = HARD
            .iter()
            .filter(|(name, ring)| *ring == "kazusa" && Some(*name) != without)
            .count();
        for receiver in &self.soft {
            let name = receiver.process.name();
            wait::until(
                &format!("{name} sees {expected} kazusa receivers"),
                Duration::from_secs(30),
                || {
                    let metrics = http::metrics(&receiver.http)?;
                    let nodes = metrics.sum("thanos_receive_hashring_nodes", &[("name", "kazusa")]);
                    Ok((nodes == expected as f64).then_some(()))
                },
            )?;
        }
        Ok(())
    }

    /// The querier, replicas merged.
    pub fn merged(&self) -> Api {
        Api {
            address: self.querier.clone(),
            parameters: "&dedup=true&partial_response=false",
        }
    }

    /// The querier, every replica by itself.
    pub fn replicas(&self) -> Api {
        Api {
            address: self.querier.clone(),
            parameters: "&dedup=false&partial_response=false",
        }
    }
}

impl Receiver {
    /// Starts the process again and waits until it is ready.
    pub fn start_again(&mut self) -> Result<()> {
        self.process.start_again()?;
        wait::until(&format!("{} is ready again", self.process.name()), READY, || {
            self.process.expect_alive()?;
            Ok(http::ok(&self.http, "/-/ready")?.then_some(()))
        })
    }
}

fn find<'a>(receivers: &'a mut [Receiver], name: &str) -> Result<&'a mut Receiver> {
    receivers
        .iter_mut()
        .find(|receiver| receiver.process.name() == name)
        .with_context(|| format!("no receiver {name}"))
}

/// `THANOS_BIN`, else where scripts/provision puts it.
pub fn program() -> Result<String> {
    if let Ok(path) = std::env::var("THANOS_BIN") {
        return Ok(path);
    }
    Ok(provisioned("thanos", VERSION)?.display().to_string())
}

// Two files: a ring of one node cannot be replicated, so the factor-2 pool knows kazusa's ring alone and refuses
// any other tenant in place of storing it wrongly.
fn write_rings(folder: &Path, hard: &[Receiver], without: Option<&str>) {
    let ring = |name: &str| {
        let members = hard.iter().filter(|receiver| receiver.ring == name);
        let endpoints: Vec<String> = members
            .filter(|receiver| Some(receiver.process.name()) != without)
            .map(|receiver| format!("{:?}", receiver.grpc))
            .collect();
        // The ring without tenants takes everyone whom no other ring names.
        let tenants = if name == "default" {
            String::new()
        } else {
            format!("\"tenants\": [\"{name}\"], ")
        };
        format!(
            "{{\"hashring\": \"{name}\", {tenants}\"endpoints\": [{}]}}",
            endpoints.join(", ")
        )
    };
    let all = format!("[{},\n {},\n {}]\n", ring("setsuna"), ring("kazusa"), ring("default"));
    let replicated = format!("[{}]\n", ring("kazusa"));
    for (file, text) in [("hashrings.json", all), ("hashrings-replicated.json", replicated)] {
        replace(&folder.join(file), text.as_bytes());
    }
}

/// Builds command lines.
struct Maker<'a> {
    program: String,
    dir: &'a Path,
    logs: &'a Path,
}

impl Maker<'_> {
    fn start(&self, name: &str, arguments: Vec<String>) -> Result<Process> {
        let mut argv = vec![self.program.clone()];
        argv.extend(arguments);
        start(name, self.logs, argv)
    }

    fn data(&self, name: &str) -> String {
        self.dir.join("data").join(name).display().to_string()
    }

    /// A filesystem bucket in place of an object store.
    fn bucket(&self) -> Result<String> {
        let folder = self.dir.join("bucket");
        fs::create_dir_all(&folder)?;
        let file = self.dir.join("bucket.yaml");
        fs::write(
            &file,
            format!("type: FILESYSTEM\nconfig:\n  directory: {}\n", folder.display()),
        )?;
        Ok(file.display().to_string())
    }

    fn hard(&self, name: &'static str, ring: &'static str, bucket: &str, ports: &mut Ports) -> Result<Receiver> {
        let (write, http, grpc) = (ports.address()?, ports.address()?, ports.address()?);
        let process = self.start(
            name,
            vec![
                "receive".into(),
                format!("--tsdb.path={}", self.data(name)),
                FOREVER.into(),
                LATE.into(),
                format!("--label=receiver_replica=\"{name}\""),
                // Without, none is stored and none refused.
                "--tsdb.max-exemplars=1000".into(),
                format!("--remote-write.address={write}"),
                format!("--http-address={http}"),
                format!("--grpc-address={grpc}"),
                // Every receiver's default is one and the same port.
                format!("--receive.capnproto-address={}", ports.address()?),
                format!("--objstore.config-file={bucket}"),
                "--http-grace-period=1s".into(),
                "--grpc-grace-period=1s".into(),
            ],
        )?;
        Ok(Receiver {
            process,
            write,
            http,
            grpc,
            ring,
        })
    }

    fn soft(&self, name: &'static str, factor: u8, rings: &Path, ports: &mut Ports) -> Result<Receiver> {
        let (write, http, grpc) = (ports.address()?, ports.address()?, ports.address()?);
        let file = rings.join(if factor == 1 {
            "hashrings.json"
        } else {
            "hashrings-replicated.json"
        });
        let process = self.start(
            name,
            vec![
                "receive".into(),
                format!("--receive.replication-factor={factor}"),
                format!("--receive.hashrings-file={}", file.display()),
                "--receive.hashrings-file-refresh-interval=1s".into(),
                // Consistent: a receiver that leaves moves its own series only.
                "--receive.hashrings-algorithm=ketama".into(),
                format!("--label=receiver_replica=\"{name}\""),
                format!("--tsdb.path={}", self.data(name)),
                FOREVER.into(),
                format!("--remote-write.address={write}"),
                format!("--http-address={http}"),
                format!("--grpc-address={grpc}"),
                format!("--receive.capnproto-address={}", ports.address()?),
                "--http-grace-period=1s".into(),
                "--grpc-grace-period=1s".into(),
            ],
        )?;
        Ok(Receiver {
            process,
            write,
            http,
            grpc,
            ring: "",
        })
    }

    fn store(&self, http: &str, grpc: &str, bucket: &str) -> Result<Process> {
        self.start(
            "store",
            vec![
                "store".into(),
                format!("--data-dir={}", self.data("store")),
                format!("--objstore.config-file={bucket}"),
                format!("--http-address={http}"),
                format!("--grpc-address={grpc}"),
                "--sync-block-duration=2s".into(),
            ],
        )
    }

    fn querier(&self, http: &str, grpc: &str, endpoints: &[String]) -> Result<Process> {
        let mut arguments = vec![
            "query".into(),
            format!("--http-address={http}"),
            format!("--grpc-address={grpc}"),
            "--query.replica-label=receiver_replica".into(),
            // Replicas of a receiver are the same samples: merge them one to one. The default (penalty) is made for
            // two Prometheis that scrape at different times and leaves samples out where one replica has a gap.
            "--deduplication.func=chain".into(),
        ];
        arguments.extend(endpoints.iter().map(|endpoint| format!("--endpoint={endpoint}")));
        self.start("querier", arguments)
    }

    fn ruler(&self, http: &str, grpc: &str, querier: &str, alertmanager: &str) -> Result<Process> {
        let rules = self.dir.join("rules.yaml");
        fs::write(&rules, RULES)?;
        self.start(
            "ruler",
            vec![
                "rule".into(),
                format!("--data-dir={}", self.data("ruler")),
                format!("--rule-file={}", rules.display()),
                format!("--query=http://{querier}"),
                format!("--alertmanagers.url=http://{alertmanager}"),
                "--eval-interval=1s".into(),
                "--resend-delay=1s".into(),
                "--label=ruler=\"ruler-0\"".into(),
                "--alert.label-drop=ruler".into(),
                format!("--http-address={http}"),
                format!("--grpc-address={grpc}"),
            ],
        )
    }

    fn compactor(&self, http: &str, bucket: &str) -> Result<Process> {
        self.start(
            "compactor",
            vec![
                "compact".into(),
                format!("--data-dir={}", self.data("compactor")),
                format!("--objstore.config-file={bucket}"),
                format!("--http-address={http}"),
                "--wait".into(),
                MERGED.into(),
                "--wait-interval=5s".into(),
                "--consistency-delay=0s".into(),
            ],
        )
    }

    fn alertmanager(&self, http: &str) -> Result<Process> {
        let config = self.dir.join("alertmanager.yaml");
        fs::write(&config, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")?;
        let argv = vec![
            "prometheus-alertmanager".into(),
            format!("--config.file={}", config.display()),
            format!("--storage.path={}", self.data("alertmanager")),
            format!("--web.listen-address={http}"),
            "--cluster.listen-address=".into(),
        ];
        start("alertmanager", self.logs, argv)
    }
}

/// No tenant is named: the rule must fire for the one whose target is down and say which that is.
const RULES: &str = "\
groups:
  - name: stack
    rules:
      - alert: TargetDown
        expr: up == 0
        labels: {severity: page}
        annotations: {summary: \"{{ $labels.job }} of {{ $labels.tenant_id }} is down\"}
";
