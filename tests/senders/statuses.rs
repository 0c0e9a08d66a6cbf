//! What each sender does when it is answered 400, 401, 429 or 503: whether its samples come again.
//!
//! Takes the senders, gives a table. They write to a recorder that answers as it is told for a while and then takes
//! everything; what they sent to it meanwhile and never again is lost.

use std::fmt::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use gauntlet_tests::exporter::Exporter;
use gauntlet_tests::process::Ports;

use crate::compare::{Count, compare, unchanged};
use crate::options::Options;
use crate::recorder::Recorder;
use crate::senders::{Field, Output, Plan, Sender, own};
use crate::site::now;
use crate::storage::Window;

const STATUSES: [u16; 4] = [400, 401, 429, 503];
const REFUSED: Duration = Duration::from_secs(12);
const CALM: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_secs(2);

/// # Errors
/// If a sender does not start.
pub fn table(options: &Options) -> Result<String> {
    let dir = tempfile::Builder::new().prefix("gauntlet-senders-").tempdir()?;
    let logs = dir.path().join("logs");
    std::fs::create_dir_all(&logs)?;
    let (recorder, mut ports) = (Recorder::start(), Ports::new());
    let field = Field {
        dir: dir.path(),
        logs: &logs,
        exporter: Exporter::start().address.to_string(),
        recorder: Some(&recorder),
        many: None,
    };
    let mut senders = Vec::new();
    // What a sender does with an answer does not depend on the protocol's version, and the recorder reads one.
    for plan in options.plans().into_iter().filter(|plan| !plan.v2) {
        let output = Output {
            name: "answers",
            url: format!("http://{}{}", recorder.address, path(&plan)),
            token: None,
            ca: None,
            v2: false,
        };
        senders.push(plan.start(&field, &ports.address()?, vec![output])?);
    }
    sleep(CALM * 2);
    let mut counts = Vec::new();
    for status in STATUSES {
        counts.push(refuse(&recorder, &mut senders, status)?);
    }
    Ok(text(&senders, &counts))
}

fn path(plan: &Plan) -> String {
    format!("/answers/{}", plan.id)
}

/// Lost samples of each sender, and how many writes were refused.
fn refuse(recorder: &Recorder, senders: &mut [Sender], status: u16) -> Result<Vec<(Count, u64)>> {
    let before: Vec<u64> = senders
        .iter()
        .map(|sender| recorder.refused(&path(&sender.plan)))
        .collect();
    let since = now();
    for sender in &*senders {
        recorder.answer(&path(&sender.plan), Some(status));
    }
    sleep(REFUSED);
    for sender in &*senders {
        recorder.answer(&path(&sender.plan), None);
    }
    sleep(CALM);
    let window = Window {
        since,
        until: now() - 2000,
    };
    let begin = Instant::now();
    loop {
        let mut counts = Vec::new();
        for sender in &mut *senders {
            sender.process.expect_alive()?;
            let stored = own(recorder.storage(&path(&sender.plan), window), sender.plan.id);
            counts.push(compare(&floats(sender.truth(recorder, window)?), &stored, unchanged));
        }
        if counts.iter().all(|count| count.wrong() == 0) || begin.elapsed() > PATIENCE {
            let refused = senders
                .iter()
                .zip(before)
                .map(|(sender, before)| recorder.refused(&path(&sender.plan)) - before);
            return Ok(counts.into_iter().zip(refused).collect());
        }
        sleep(PAUSE);
    }
}

/// The recorder keeps no histograms.
fn floats(mut storage: crate::storage::Storage) -> crate::storage::Storage {
    for series in storage.values_mut() {
        series.points.retain(|_, value| value.len() == 16);
    }
    storage
}

fn text(senders: &[Sender], counts: &[Vec<(Count, u64)>]) -> String {
    let mut text = "### What a refused write becomes\n\n| sender |".to_owned();
    for status in STATUSES {
        write!(text, " {status} |").expect("a string");
    }
    text += "\n|---|---|---|---|---|\n";
    for (at, sender) in senders.iter().enumerate() {
        write!(text, "| {} |", sender.plan.title).expect("a string");
        for column in counts {
            let (count, refused) = &column[at];
            let word = match (refused, count.wrong()) {
                (0, _) => "was not refused".to_owned(),
                (_, 0) => "sent again, nothing lost".to_owned(),
                (_, lost) => format!("lost: {lost} of {}", count.sent),
            };
            write!(text, " {word} |").expect("a string");
        }
        text += "\n";
    }
    text
}
