//! All that runs for one situation: exporter, senders, gateway and two receivers, in a folder of their own.
//!
//! Takes which senders, which receivers and what tenants are held to; gives a site where everybody's samples are seen at
//! both receivers. Never outlives its situation: dropping it ends every process, and the folder is removed.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use gauntlet_tests::exporter::Exporter;
use gauntlet_tests::process::Ports;

use crate::compare::{Count, compare, misread, unchanged};
use crate::gateway::{Gateway, Rule, token};
use crate::options::Options;
use crate::receivers::{Make, Receiver};
use crate::recorder::Recorder;
use crate::senders::{Field, Output, Plan, Sender};
use crate::storage::{Storage, Window};

/// How long a sender may take to be seen at both receivers. One that never is, is not waited for any longer: that is what
/// its cells then say.
const SEEN: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_secs(2);
/// A sender that was told to wait does so for up to a minute.
const STILL_GATEWAY: Duration = Duration::from_secs(65);
/// Nobody tells it to wait past the gateway, but its own back-off.
const STILL_CONTROL: Duration = Duration::from_secs(15);

pub struct Site {
    // Senders end first, so that the logs end quietly.
    pub senders: Vec<Sender>,
    pub gateway: Gateway,
    pub behind: Receiver,
    pub control: Receiver,
    pub recorder: Recorder,
    pub rule: Rule,
    dir: tempfile::TempDir,
}

/// One sender's samples in a window: behind the gateway, and beside it.
pub struct Outcome {
    pub plan: Plan,
    /// By the part of the sender's series; most senders have one part.
    pub parts: Vec<Part>,
    /// Values that the sender itself has not read as they were.
    pub misread: u64,
    /// What the gateway answered, in words.
    pub answers: String,
}

pub struct Part {
    pub title: String,
    pub gateway: Count,
    pub control: Count,
}

/// How much is not there yet, and since when that has not changed.
struct Lacking {
    count: u64,
    since: Instant,
    still: Duration,
}

impl Lacking {
    fn begin(still: Duration) -> Self {
        Self {
            count: u64::MAX,
            since: Instant::now(),
            still,
        }
    }

    /// Whether nothing is lacking, or nothing more is to be expected.
    fn is_settled(&mut self, count: u64) -> bool {
        if count != self.count {
            (self.count, self.since) = (count, Instant::now());
        }
        count == 0 || self.since.elapsed() > self.still
    }
}

impl Site {
    /// # Errors
    /// If something does not start.
    pub fn start(options: &Options, make: Make, rule: Rule) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("gauntlet-senders-").tempdir()?;
        let logs = dir.path().join("logs");
        std::fs::create_dir_all(&logs)?;
        std::fs::create_dir_all(dir.path().join("data"))?;
        let mut ports = Ports::new();
        let behind = Receiver::start(make, "behind", dir.path(), &logs, &mut ports)?;
        let control = Receiver::start(make, "control", dir.path(), &logs, &mut ports)?;
        let plans = options.plans();
        let gateway = Gateway::start(&options.gateway, &behind, &plans, rule, &logs, &mut ports)?;
        let recorder = Recorder::start();
        let field = Field {
            dir: dir.path(),
            logs: &logs,
            exporter: Exporter::start().address.to_string(),
            recorder: Some(&recorder),
            many: None,
        };
        let authority = gateway.authority();
        let start = |plan: &Plan, ports: &mut Ports| {
            let outputs = vec![
                Output {
                    name: "gateway",
                    url: format!("https://{}/api/v1/receive", gateway.write),
                    token: Some(token(plan)),
                    ca: Some(&authority),
                    v2: plan.v2,
                },
                Output {
                    name: "control",
                    url: format!("http://{}{}", control.write, make.path()),
                    token: None,
                    ca: None,
                    v2: plan.v2,
                },
            ];
            plan.start(&field, &ports.address()?, outputs)
        };
        let senders = plans
            .iter()
            .map(|plan| start(plan, &mut ports))
            .collect::<Result<_>>()?;
        let mut site = Self {
            senders,
            gateway,
            behind,
            control,
            recorder,
            rule,
            dir,
        };
        site.wait_until_seen()?;
        Ok(site)
    }

    fn wait_until_seen(&mut self) -> Result<()> {
        let begin = Instant::now();
        let all = Window {
            since: 0,
            until: i64::MAX,
        };
        while begin.elapsed() < SEEN {
            sleep(PAUSE);
            self.expect_alive()?;
            let outcomes = self.look(all)?;
            let seen = |count: &Count| count.missing < count.sent;
            // A Thanos that was written to directly answers 200 to remote write 2.0 and stores nothing.
            let both = |one: &Outcome, part: &Part| seen(&part.gateway) && (one.plan.v2 || seen(&part.control));
            if outcomes.iter().all(|one| one.parts.iter().all(|part| both(one, part))) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// # Errors
    /// If the gateway or a sender has ended by itself.
    pub fn expect_alive(&mut self) -> Result<()> {
        self.gateway.process.expect_alive()?;
        self.senders
            .iter_mut()
            .try_for_each(|sender| sender.process.expect_alive())
    }

    /// What became of every sender's samples of a window, as it is now.
    ///
    /// # Errors
    /// If a storage cannot be read.
    pub fn look(&self, window: Window) -> Result<Vec<Outcome>> {
        self.senders.iter().map(|sender| self.look_at(sender, window)).collect()
    }

    fn look_at(&self, sender: &Sender, window: Window) -> Result<Outcome> {
        let plan = sender.plan;
        let truth = sender.truth(&self.recorder, window)?;
        let behind = self.behind.storage(plan.id, plan.id, window)?;
        // Nothing can tell a control who writes: Debian's Prometheus sends no header of its own.
        let control = self.control.storage(plan.id, "default-tenant", window)?;
        let parts = plan.parts().into_iter().map(|(title, job)| {
            let [truth, behind, control] = [&truth, &behind, &control].map(|storage| of_job(storage, job));
            Part {
                title,
                gateway: compare(&truth, &behind, self.rule.policy()),
                control: compare(&truth, &control, unchanged),
            }
        });
        Ok(Outcome {
            plan,
            parts: parts.collect(),
            misread: misread(&truth),
            answers: self.gateway.answers(&plan).unwrap_or_default(),
        })
    }

    /// Looks until nothing is missing, or nothing has changed for too long, or for `patience`.
    ///
    /// # Errors
    /// If a storage cannot be read.
    pub fn settle(&mut self, window: Window, patience: Duration) -> Result<Vec<Outcome>> {
        let begin = Instant::now();
        let (mut gateway, mut control) = (Lacking::begin(STILL_GATEWAY), Lacking::begin(STILL_CONTROL));
        loop {
            let outcomes = self.look(window)?;
            let parts = || outcomes.iter().flat_map(|outcome| &outcome.parts);
            let settled = [
                gateway.is_settled(parts().map(|part| part.gateway.lacking()).sum()),
                control.is_settled(parts().map(|part| part.control.lacking()).sum()),
            ];
            if settled == [true, true] || begin.elapsed() > patience {
                return Ok(outcomes);
            }
            sleep(PAUSE);
        }
    }

    /// Leaves the folder there, with its logs, for people to look at.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }
}

fn of_job(storage: &Storage, job: Option<&str>) -> Storage {
    let is_wanted = |found: Option<&String>| job.is_none_or(|job| found.is_some_and(|found| found == job));
    let mut storage = storage.clone();
    storage.retain(|labels, _| is_wanted(labels.get("job")));
    storage
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("a clock before 1970");
    since.map_or(0, |since| since.as_millis() as i64)
}
