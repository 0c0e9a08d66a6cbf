//! Whether a plugin does what it declares: what its decisions depend on, and what it judges.
//!
//! Takes a plugin with settings, gives the first examples of where it does otherwise. The gateway believes what is declared.

use std::time::Instant;

use super::alone::{FRESH, Reference, described, masked, opinion, shown};
use crate::chain::{Opinion, Terms, Write};
use crate::cli::plugin::subject::{LabelList, Subject};
use crate::sandbox::Fault;
use crate::sandbox::types::{Inputs, Scope};

/// Writes that are decided by fresh instances, a dozen times each.
const FRESH_WRITES: usize = 16;

/// Whether the plugin has a word about what it says it does not judge.
pub fn undeclared(subject: &Subject, scope: Scope, series: &[LabelList], writes: &[Write]) -> Vec<String> {
    let is_silent = |about| subject.plugin.scope().contains(about) && !scope.contains(about);
    let mut findings = Vec::new();
    if is_silent(Scope::SERIES) {
        let reference = Reference::of(subject, series);
        let mut said = reference.said.iter().zip(&reference.series);
        let other = said.find(|(said, _)| said.word() != "keep");
        findings.extend(other.map(|(said, series)| {
            let (series, said) = (shown(series), said.line());
            format!("of {series} the plugin says `{said}`, and nobody asks it: `judges` does not name series")
        }));
    }
    if is_silent(Scope::WRITES) {
        let mut decided = writes.iter().take(FRESH_WRITES).filter_map(|write| {
            let decided = subject
                .start()
                .and_then(|mut instance| subject.decide(&mut instance, write));
            Some((write, decided.ok()?))
        });
        let other = decided.find(|(_, opinion)| *opinion != Opinion::Admit(Terms::default()));
        findings.extend(other.map(|(write, other)| {
            let (write, other) = (described(write), opinion(&other));
            format!("about {write} the plugin decides {other}, and nobody asks it: `judges` does not name writes")
        }));
    }
    findings
}

type Change = fn(&mut Write, u64);

/// The numbers of a write, and how each is made another one.
const NUMBERS: [(Inputs, &str, Change); 5] = [
    (Inputs::COMPRESSED_BYTES, "compressed-bytes", |write, n| {
        write.compressed_bytes = n
    }),
    (Inputs::DECODED_BYTES, "decoded-bytes", |write, n| {
        write.decoded_bytes = n
    }),
    (Inputs::ACTIVE_SERIES, "active-series", |write, n| {
        write.active_series = n
    }),
    (Inputs::NEW_SERIES, "new-series", |write, n| write.new_series = n),
    (Inputs::TOTALS, "totals", |write, n| {
        for (_, totals) in &mut write.streams {
            (totals.series, totals.samples, totals.histograms, totals.exemplars) = (n, n, n, n);
        }
    }),
];

/// Whether a decision depends on a number that the plugin says it does not depend on. Each is made by a fresh instance.
pub fn inputs(subject: &Subject, writes: &[Write]) -> Vec<String> {
    let decide = |write: &Write| subject.decide(&mut subject.start()?, write);
    let found = || {
        let inputs = subject.inputs(&mut subject.start()?)?;
        let writes = masked(writes.get(..FRESH_WRITES).unwrap_or(writes), inputs);
        let (mut findings, began) = (Vec::new(), Instant::now());
        for (_, name, set) in NUMBERS.iter().filter(|(input, ..)| !inputs.contains(*input)) {
            findings.extend(depends(&writes, *set, &decide, began)?.map(|(other, told, decided)| {
                format!(
                    "the decision depends on `{name}`, which `admission-inputs` does not name, so that it always reads as 0: \
                     with 0 it is {told}, with {other} it would be {decided}"
                )
            }));
        }
        Ok(findings)
    };
    found().unwrap_or_else(|fault: Fault| vec![format!("asked about a plain write, the plugin {}", fault.on_lines())])
}

/// With which number the decision is another one than with 0, and both.
fn depends(
    writes: &[Write],
    set: Change,
    decide: &dyn Fn(&Write) -> Result<Opinion, Fault>,
    began: Instant,
) -> Result<Option<(u64, String, String)>, Fault> {
    for (asked, write) in writes.iter().enumerate() {
        if asked > 0 && began.elapsed() > FRESH {
            break;
        }
        let told = decide(write)?;
        for other in [1, 1000, u64::MAX / 4] {
            let mut changed = write.clone();
            set(&mut changed, other);
            let decided = decide(&changed)?;
            if decided != told {
                return Ok(Some((other, opinion(&told), opinion(&decided))));
            }
        }
    }
    Ok(None)
}
