//! What a link that is down costs a sender: memory and disk for each sample that waits.
//!
//! Takes the senders, each twice: one whose link is up and one whose link is down, at a known rate. Gives a table of what
//! was measured and, computed from it, what an hour would take. Never waits for that hour.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use gauntlet_tests::exporter::Exporter;
use gauntlet_tests::process::{Ports, free_address};
use gauntlet_tests::sink::Sink;

use crate::options::Options;
use crate::senders::{Field, Output, Plan, Sender};

/// Scraped every second, besides some hundred that every sender scrapes.
const SERIES: u32 = 2000;
/// Once everybody has its shards, connections and first chunks.
const FIRST: Duration = Duration::from_secs(40);
const MEASURED: Duration = Duration::from_secs(120);
/// Samples a second for which an hour is computed.
const RATE: f64 = 1000.0;
const MIB: f64 = (1 << 20) as f64;

/// Bytes at one moment.
#[derive(Clone, Copy)]
struct Held {
    memory: f64,
    disk: f64,
}

/// # Errors
/// If a sender does not start, or ends.
pub fn table(options: &Options) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("gauntlet-senders-").tempdir()?;
    let (exporter, mut ports) = (Exporter::start().address.to_string(), Ports::new());
    let plans: Vec<Plan> = options.plans().into_iter().filter(|plan| !plan.v2).collect();
    let mut start = |name: &str, url: String| {
        let (dir, logs) = (dir.path().join(name), dir.path().join(name).join("logs"));
        fs::create_dir_all(&logs)?;
        let field = Field {
            dir: &dir,
            logs: &logs,
            exporter: exporter.clone(),
            recorder: None,
            many: Some(SERIES),
        };
        let start = |plan: &Plan, ports: &mut Ports| {
            let (url, address) = (url.clone(), ports.address()?);
            plan.start(
                &field,
                &address,
                vec![Output {
                    name: "link",
                    url,
                    token: None,
                    ca: None,
                    v2: false,
                }],
            )
        };
        plans
            .iter()
            .map(|plan| start(plan, &mut ports))
            .collect::<Result<Vec<Sender>>>()
    };
    let mut up = start("up", format!("http://{}/", Sink::start().address))?;
    let mut down = start("down", format!("http://{}/", free_address()))?;
    sleep(FIRST);
    let before = [held(&up)?, held(&down)?];
    sleep(MEASURED);
    up.iter_mut()
        .chain(&mut down)
        .try_for_each(|sender| sender.process.expect_alive())?;
    let after = [held(&up)?, held(&down)?];
    Ok(text(&plans, &before, &after))
}

fn held(senders: &[Sender]) -> Result<Vec<Held>> {
    let one = |sender: &Sender| {
        Ok(Held {
            memory: sender.process.rss() as f64,
            disk: size(sender.data())? as f64,
        })
    };
    senders.iter().map(one).collect()
}

/// What a folder takes on disk.
fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        // A file may go between the listing and the look.
        let Ok(about) = fs::metadata(&path) else { continue };
        sum += if about.is_dir() {
            size(&path)?
        } else {
            about.blocks() * 512
        };
    }
    Ok(sum)
}

fn text(plans: &[Plan], before: &[Vec<Held>; 2], after: &[Vec<Held>; 2]) -> String {
    let samples = f64::from(SERIES) * MEASURED.as_secs_f64();
    let mut text = format!(
        "### What waits while a link is down\n\n{} series scraped every second, {} s. The last column is computed, for \
         an hour at {RATE} samples a second.\n\n| sender | memory, link up | memory, link down | more per sample that \
         waits: memory, disk | an hour more |\n|---|---|---|---|---|\n",
        SERIES,
        MEASURED.as_secs(),
    );
    for (at, plan) in plans.iter().enumerate() {
        let more = |of: fn(&Held) -> f64| {
            let grown = |link: usize| of(&after[link][at]) - of(&before[link][at]);
            (grown(1) - grown(0)).max(0.0) / samples
        };
        let (memory, disk) = (more(|held| held.memory), more(|held| held.disk));
        let hour = RATE * 3600.0 / MIB;
        writeln!(
            text,
            "| {} | {:.0} MiB | {:.0} MiB | {memory:.1} B, {disk:.1} B | {:.0} MiB of memory, {:.0} MiB of disk |",
            plan.title,
            after[0][at].memory / MIB,
            after[1][at].memory / MIB,
            memory * hour,
            disk * hour,
        )
        .expect("a string");
    }
    text
}
