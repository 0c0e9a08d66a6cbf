//! What a plugin says where it is asked nothing else, ever: what all other ways to ask are held against.
//!
//! Takes series, asks a fresh instance about each; shows series, writes and decisions. Never judges what differs.

use std::time::{Duration, Instant};

use crate::chain::{BATCH_BYTES, Opinion, Write};
use crate::cli::plugin::corpus;
use crate::cli::plugin::said::Said;
use crate::cli::plugin::shown::show_series;
use crate::cli::plugin::subject::{Form, LabelList, Subject, calls, size};
use crate::sandbox::types::Inputs;
use crate::sandbox::{Fault, Instance};

/// Series of the cases that are asked about, and series beside them.
const MOST_SERIES: usize = 128;
pub const MADE_UP: u64 = 64;
/// The fresh instances of one check may take this long together; a few are started whatever they take. A small plugin starts
/// thousands in it, Python's a few dozen: whoever tests fifty times an hour waits for them.
pub const FRESH: Duration = Duration::from_millis(150);
pub const LEAST_FRESH: usize = 16;
/// Longest series shown, in characters.
const SHOWN: usize = 200;

pub fn shown(series: &LabelList) -> String {
    let text = show_series(series);
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What a plugin says of each series where it is asked nothing else, ever.
pub struct Reference {
    pub series: Vec<LabelList>,
    pub said: Vec<Said>,
    pub findings: Vec<String>,
}

impl Reference {
    pub fn of(subject: &Subject, series: &[LabelList]) -> Self {
        let mut reference = Self {
            series: Vec::new(),
            said: Vec::new(),
            findings: Vec::new(),
        };
        let sent = series
            .iter()
            .filter(|labels| size(labels) <= BATCH_BYTES)
            .take(MOST_SERIES)
            .cloned();
        let began = Instant::now();
        for (asked, labels) in sent.chain((0..MADE_UP).map(corpus::usual)).enumerate() {
            if asked >= LEAST_FRESH && began.elapsed() > FRESH {
                break;
            }
            match subject.ask_alone(&labels) {
                Ok(said) => {
                    reference.series.push(labels);
                    reference.said.push(said);
                }
                Err(fault) => reference.findings.push(format!(
                    "asked about {} alone, the plugin {}",
                    shown(&labels),
                    fault.on_lines()
                )),
            }
        }
        reference
    }

    /// The first series of which something else was said `when`.
    pub fn differs(&self, order: &[usize], said: &[Said], when: &str) -> Option<String> {
        let mut pairs = order.iter().zip(said).enumerate();
        let (place, (at, said)) = pairs.find(|(_, (at, said))| self.said[**at] != **said)?;
        Some(format!(
            "of {} the plugin says `{}` alone, and `{}` {when}, at place {} of {}",
            shown(&self.series[*at]),
            self.said[*at].line(),
            said.line(),
            place + 1,
            order.len()
        ))
    }

    /// Asks `instance` about the series in this order, so many in a call.
    pub fn ask(
        &self,
        subject: &Subject,
        instance: &mut Instance,
        order: &[usize],
        most: usize,
        form: Form,
    ) -> Result<Vec<Said>, Fault> {
        let series: Vec<&LabelList> = order.iter().map(|at| &self.series[*at]).collect();
        let mut said = Vec::with_capacity(series.len());
        for call in calls(&series, most) {
            said.extend(subject.ask(instance, call, form)?);
        }
        Ok(said)
    }
}

/// Each as the policy would be told of it.
pub fn masked(writes: &[Write], inputs: Inputs) -> Vec<Write> {
    let mask = |mut write: Write| {
        write.mask(inputs);
        write
    };
    writes.iter().cloned().map(mask).collect()
}

pub fn described(write: &Write) -> String {
    let streams = write
        .streams
        .iter()
        .map(|(name, totals)| format!("{:?}: {}", name.as_ref(), totals.series));
    format!(
        "a write of {} new and {} active series, {} bytes, streams {{{}}}",
        write.new_series,
        write.active_series,
        write.decoded_bytes,
        streams.take(4).collect::<Vec<_>>().join(", ")
    )
}

pub fn opinion(opinion: &Opinion) -> String {
    match opinion {
        Opinion::Reject(reason) => format!("`reject: {reason}`"),
        Opinion::Admit(terms) => {
            let charges = terms
                .charges
                .iter()
                .map(|charge| format!("{} of {}", charge.tokens, charge.bucket));
            let routes = terms
                .routes
                .iter()
                .map(|(stream, upstream)| format!("{stream:?} to {upstream}"));
            let terms = charges.chain(routes).collect::<Vec<_>>().join(", ");
            format!("`admit{}{terms}`", if terms.is_empty() { "" } else { ": " })
        }
    }
}
