//! How long a fault that is over is felt: by Prometheus through the gateway, and by the same Prometheus past it.
//!
//! Takes nothing; gives a table for docs/senders.md. What is measured is the sender's own word for the newest sample that was
//! acknowledged, from the moment in which the fault is over until that sample is as new as it is in quiet times.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use gauntlet_tests::http;
use gauntlet_tests::process::provisioned;

use crate::away::{Fault, Site, token};
use crate::process::{Ports, Process, start};
use crate::wait;

const FAULTS: [Fault; 3] = [Fault::Away(20), Fault::Away(60), Fault::OverRate(60)];
const ROUNDS: usize = 3;
/// The newest sample acknowledged is as old as that at most in quiet times: a scrape a second, and a batch that is not full
/// waits for five.
const FRESH: f64 = 7.0;
/// Whoever feels a fault for longer feels it for ever.
const LONGEST: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(100);
/// A fault over rate happens to who sends through the gateway alone: the control is who had no receiver for as long.
const CONTROL_OF_OVER_RATE: Fault = Fault::Away(60);

const PROMETHEUS_3: &str = "3.15.1";

/// A Prometheus and how long it felt each fault, in seconds, in each round.
struct Sender {
    tenant: &'static str,
    title: &'static str,
    process: Process,
    address: String,
    through: Vec<Vec<f64>>,
    past: Vec<Vec<f64>>,
}

pub fn measure(dir: &Path, logs: &Path) -> Result<String> {
    let mut ports = Ports::new();
    let mut site = Site::start(dir, logs, &mut ports, &["prometheus2", "prometheus3"], &[])?;
    let of_3 = provisioned("prometheus", PROMETHEUS_3)?.display().to_string();
    let mut senders = [
        ("prometheus2", "Prometheus 2.42", "prometheus".to_owned()),
        ("prometheus3", "Prometheus 3.15", of_3),
    ]
    .map(|(tenant, title, program)| sender(dir, logs, &mut ports, &site, (tenant, title, program)))
    .into_iter()
    .collect::<Result<Vec<_>>>()?;
    for round in 0..ROUNDS {
        for (at, fault) in FAULTS.into_iter().enumerate() {
            for sender in &mut senders {
                sender.felt("through", LONGEST)?;
                sender.felt("past", LONGEST)?;
            }
            site.suffer(fault)?;
            let over = Instant::now();
            feel(&mut senders, at, over)?;
            eprintln!("round {}, {fault}: {}", round + 1, last(&senders, at));
        }
    }
    Ok(table(&senders))
}

fn sender(
    dir: &Path,
    logs: &Path,
    ports: &mut Ports,
    site: &Site,
    (tenant, title, program): (&'static str, &'static str, String),
) -> Result<Sender> {
    let address = ports.address()?;
    let config = dir.join(format!("{tenant}.yaml"));
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 900ms, external_labels: {{sender: {tenant}}}}}
scrape_configs:
  - {{job_name: prometheus, static_configs: [{{targets: [\"{address}\"]}}]}}
  - {{job_name: node, static_configs: [{{targets: [\"{node}\"]}}]}}
remote_write:
  - {{name: past, url: \"http://{past}/api/v1/receive\"}}
  - {{name: through, url: \"http://{through}/api/v1/receive\", authorization: {{credentials: {token}}}}}
",
        node = site.node,
        past = site.past,
        through = site.through,
        token = token(tenant),
    );
    std::fs::write(&config, text)?;
    let argv = vec![
        program,
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("data").join(tenant).display()),
        format!("--web.listen-address={address}"),
    ];
    Ok(Sender {
        tenant,
        title,
        process: start(tenant, logs, argv)?,
        address,
        through: vec![Vec::new(); FAULTS.len()],
        past: vec![Vec::new(); FAULTS.len()],
    })
}

impl Sender {
    /// How old the newest sample is that was acknowledged on this way, in seconds.
    fn lag(&self, way: &str) -> Result<f64> {
        let metrics = http::metrics(&self.address)?;
        let newest = metrics.sum(
            "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
            &[("remote_name", way)],
        );
        Ok(wait::now() - newest)
    }

    fn is_fresh(&self, way: &str) -> Result<bool> {
        Ok(self.lag(way)? <= FRESH)
    }

    /// Waits until it is fresh.
    fn felt(&mut self, way: &str, longest: Duration) -> Result<()> {
        wait::until(&format!("{} is fresh {way} the gateway", self.tenant), longest, || {
            self.process.expect_alive()?;
            Ok(self.is_fresh(way)?.then_some(()))
        })
    }
}

/// Notes for each sender how long the fault was felt on each way.
fn feel(senders: &mut [Sender], at: usize, over: Instant) -> Result<()> {
    let mut open: Vec<(usize, &str)> = (0..senders.len()).flat_map(|n| [(n, "through"), (n, "past")]).collect();
    while !open.is_empty() {
        if over.elapsed() > LONGEST {
            bail!("still not fresh after {LONGEST:?}: {open:?}");
        }
        let mut left = Vec::new();
        for (n, way) in open {
            if let Some(sender) = senders.get_mut(n) {
                let felt = over.elapsed().as_secs_f64();
                match (sender.is_fresh(way)?, way) {
                    (false, _) => left.push((n, way)),
                    (true, "past") => sender.past[at].push(felt),
                    (true, _) => sender.through[at].push(felt),
                }
            }
        }
        open = left;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn last(senders: &[Sender], at: usize) -> String {
    let of = |sender: &Sender| {
        let (through, past) = (sender.through[at].last(), sender.past[at].last());
        format!(
            "{} {:.1} s, control {:.1} s",
            sender.tenant,
            through.unwrap_or(&0.0),
            past.unwrap_or(&0.0)
        )
    };
    senders.iter().map(of).collect::<Vec<_>>().join("; ")
}

fn table(senders: &[Sender]) -> String {
    let mut text = "| sender | fault | through the gateway, s | control, s |\n|---|---|---|---|\n".to_owned();
    let numbers = |felt: &[f64]| {
        let all: Vec<String> = felt.iter().map(|felt| format!("{felt:.1}")).collect();
        all.join(", ")
    };
    for sender in senders {
        for (at, fault) in FAULTS.into_iter().enumerate() {
            let control = match fault {
                Fault::OverRate(_) => FAULTS
                    .iter()
                    .position(|other| *other == CONTROL_OF_OVER_RATE)
                    .unwrap_or(at),
                Fault::Away(_) => at,
            };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {fault} | {} | {} |",
                sender.title,
                numbers(&sender.through[at]),
                numbers(&sender.past[control])
            );
        }
    }
    text
}
