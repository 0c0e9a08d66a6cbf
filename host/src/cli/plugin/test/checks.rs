//! What the gateway relies on without asking, and every plugin is checked for.
//!
//! Takes a plugin with settings, and the series and writes of its cases, beside which others are made up; gives what it
//! found. Verdicts are remembered, so they must depend on nothing but the series: the same ones are asked about in other
//! orders, numbers and company. Of each finding the first example is enough.

use std::time::{Duration, Instant};

use super::super::corpus;
use super::super::said::Said;
use super::super::shown::show_series;
use super::super::subject::{Form, LabelList, Subject, calls, size};
use crate::chain::{BATCH_BYTES, Opinion, Write};
use crate::sandbox::types::Inputs;
use crate::sandbox::{Fault, Instance};

/// What was looked for, and what was found.
pub struct Check {
    pub name: &'static str,
    /// A few at most.
    pub findings: Vec<String>,
}

impl Check {
    /// Why it is looked for.
    pub fn why(&self) -> &'static str {
        match self.name {
            "pure" => "A verdict must depend on the series and the settings alone: the gateway remembers it.",
            "packed as plain" => "The gateway calls `relabel-packed` where it is there, and both must say the same.",
            "hostile series" => "A series that a plugin fails on is refused, and anybody may send one.",
            "pure decisions" => {
                "A decision must depend on the write and the settings alone: the gateway may remember it."
            }
            "inputs as declared" => "What a policy does not name it is told as 0.",
            "hostile writes" => "A write that a plugin fails on is answered 503, for as long as its sender tries.",
            _ => "A policy whose settings are not taken is not taken into use.",
        }
    }
}

/// Series of the cases that are asked about, and series beside them.
const MOST_SERIES: usize = 128;
const MADE_UP: u64 = 64;
/// Fresh instances may take this long together; a few are started whatever they take.
const FRESH: Duration = Duration::from_secs(3);
const LEAST_FRESH: usize = 16;
/// Other series that are asked about before.
const OTHERS: u64 = 10_000;
/// One by one, as long as that takes no longer; the rest by the call.
const OTHERS_ALONE: Duration = Duration::from_secs(3);
const MOST_WRITES: usize = 64;
/// Writes that are decided by fresh instances, a dozen times each.
const FRESH_WRITES: usize = 16;
const OTHER_WRITES: u64 = 500;
const MOST_FINDINGS: usize = 3;
/// Longest series shown, in characters.
const SHOWN: usize = 200;

/// All checks that this plugin can be put to.
pub fn all(subject: &Subject, series: &[LabelList], writes: &[Write]) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |name, findings: Vec<String>| {
        let findings = findings.into_iter().take(MOST_FINDINGS).collect();
        checks.push(Check { name, findings });
    };
    if let Err(fault) = subject.start() {
        check(
            "starts",
            vec![format!("the plugin does not take its settings: {fault}")],
        );
        return checks;
    }
    if subject.plugin.judges_series() {
        let mut reference = Reference::of(subject, series);
        let mut findings = std::mem::take(&mut reference.findings);
        findings.extend(pure(subject, &reference));
        check("pure", findings);
        if subject.plugin.takes_packed() {
            check("packed as plain", packed(subject, &reference));
        }
        check("hostile series", hostile(subject));
    }
    if subject.plugin.judges_writes() {
        let made_up = (0..MADE_UP).map(corpus::write);
        let writes: Vec<Write> = writes.iter().take(MOST_WRITES).cloned().chain(made_up).collect();
        check("pure decisions", pure_decisions(subject, &writes));
        if subject.plugin.declares_inputs() {
            check("inputs as declared", inputs(subject, &writes));
        }
        check("hostile writes", hostile_writes(subject));
    }
    checks
}

/// The same checks under other settings.
pub fn merge(all: &mut Vec<Check>, more: Vec<Check>) {
    for check in more {
        match all.iter_mut().find(|known| known.name == check.name) {
            Some(known) => known.findings.extend(check.findings),
            None => all.push(check),
        }
    }
}

fn shown(series: &LabelList) -> String {
    let text = show_series(series);
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What a plugin says of each series where it is asked nothing else, ever.
struct Reference {
    series: Vec<LabelList>,
    said: Vec<Said>,
    findings: Vec<String>,
}

impl Reference {
    fn of(subject: &Subject, series: &[LabelList]) -> Self {
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
                Err(fault) => reference
                    .findings
                    .push(format!("asked about {} alone, the plugin {fault}", shown(&labels))),
            }
        }
        reference
    }

    /// The first series of which something else was said `when`.
    fn differs(&self, order: &[usize], said: &[Said], when: &str) -> Option<String> {
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
    fn ask(
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

/// One way to ask about all series.
struct Way {
    name: &'static str,
    backwards: bool,
    /// Series in a call.
    most: usize,
    after_others: bool,
}

const WAYS: [Way; 7] = [
    Way {
        name: "when one fresh instance is asked about 16 in a call",
        backwards: false,
        most: usize::MAX,
        after_others: false,
    },
    Way {
        name: "when 16 in a call are asked about in the opposite order",
        backwards: true,
        most: usize::MAX,
        after_others: false,
    },
    Way {
        name: "when one instance is asked one by one",
        backwards: false,
        most: 1,
        after_others: false,
    },
    Way {
        name: "when one instance is asked one by one in the opposite order",
        backwards: true,
        most: 1,
        after_others: false,
    },
    Way {
        name: "in calls of 3 series",
        backwards: false,
        most: 3,
        after_others: false,
    },
    Way {
        name: "in calls of 7 series in the opposite order",
        backwards: true,
        most: 7,
        after_others: false,
    },
    Way {
        name: "after 10,000 other series",
        backwards: false,
        most: 5,
        after_others: true,
    },
];

fn pure(subject: &Subject, reference: &Reference) -> Vec<String> {
    let forwards: Vec<usize> = (0..reference.series.len()).collect();
    let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
    let mut findings = Vec::new();
    for way in &WAYS {
        let order = if way.backwards { &backwards } else { &forwards };
        let said = subject.start().and_then(|mut instance| {
            if way.after_others {
                ask_about_others(subject, &mut instance)?;
            }
            reference.ask(subject, &mut instance, order, way.most, Form::Usual)
        });
        match said {
            Ok(said) => findings.extend(reference.differs(order, &said, way.name)),
            Err(fault) => findings.push(format!("{}, the plugin {fault}", way.name)),
        }
    }
    findings
}

fn ask_about_others(subject: &Subject, instance: &mut Instance) -> Result<(), Fault> {
    let others: Vec<LabelList> = (0..OTHERS).map(|number| corpus::usual(number + MADE_UP)).collect();
    let began = Instant::now();
    let alone = |asked: &usize| !asked.is_multiple_of(100) || began.elapsed() < OTHERS_ALONE;
    let mut asked = 0;
    while asked < others.len() && alone(&asked) {
        subject.ask(instance, &others[asked..=asked], Form::Usual)?;
        asked += 1;
    }
    for call in calls(&others[asked..], usize::MAX) {
        subject.ask(instance, call, Form::Usual)?;
    }
    Ok(())
}

/// Both exports, the same questions.
fn packed(subject: &Subject, reference: &Reference) -> Vec<String> {
    let order: Vec<usize> = (0..reference.series.len()).collect();
    let ask = |form| {
        let mut instance = subject.start()?;
        reference.ask(subject, &mut instance, &order, usize::MAX, form)
    };
    match (ask(Form::Usual), ask(Form::Plain)) {
        (Ok(packed), Ok(plain)) => {
            let mut pairs = packed.iter().zip(&plain).enumerate();
            let other = pairs.find(|(_, (packed, plain))| packed != plain);
            let finding = other.map(|(at, (packed, plain))| {
                format!(
                    "of {} `relabel-packed` says `{}` and `relabel` says `{}`",
                    shown(&reference.series[at]),
                    packed.line(),
                    plain.line()
                )
            });
            finding.into_iter().collect()
        }
        (Err(fault), _) => vec![format!("asked by `relabel-packed`, the plugin {fault}")],
        (_, Err(fault)) => vec![format!("asked by `relabel`, the plugin {fault}")],
    }
}

/// As the gateway would ask: in one piece where the plugin takes it so.
fn hostile(subject: &Subject) -> Vec<String> {
    let series = corpus::hostile().into_iter();
    let findings = series.filter_map(|(what, labels)| {
        let said = subject.ask_alone(&labels);
        said.err()
            .map(|fault| format!("asked about {what}, the plugin {fault}"))
    });
    findings.collect()
}

fn hostile_writes(subject: &Subject) -> Vec<String> {
    let writes = corpus::hostile_writes().into_iter();
    let findings = writes.filter_map(|(what, mut write)| {
        let decided = subject.start().and_then(|mut instance| {
            write.mask(subject.inputs(&mut instance)?);
            subject.decide(&mut instance, &write)
        });
        decided
            .err()
            .map(|fault| format!("asked about {what}, the plugin {fault}"))
    });
    findings.collect()
}

/// Each as the policy would be told of it.
fn masked(writes: &[Write], inputs: Inputs) -> Vec<Write> {
    let mask = |mut write: Write| {
        write.mask(inputs);
        write
    };
    writes.iter().cloned().map(mask).collect()
}

fn pure_decisions(subject: &Subject, writes: &[Write]) -> Vec<String> {
    let found = || {
        let inputs = subject.inputs(&mut subject.start()?)?;
        let writes = masked(writes, inputs);
        let alone = writes.iter().map(|write| subject.decide(&mut subject.start()?, write));
        let alone: Vec<Opinion> = alone.collect::<Result<_, Fault>>()?;
        let mut instance = subject.start()?;
        for (at, write) in writes.iter().enumerate().rev() {
            let opinion = subject.decide(&mut instance, write)?;
            if opinion != alone[at] {
                return Ok(Some(differs(
                    write,
                    &alone[at],
                    &opinion,
                    "when others were decided before",
                )));
            }
        }
        for number in 0..OTHER_WRITES {
            let mut other = corpus::write(number + MADE_UP);
            other.mask(inputs);
            subject.decide(&mut instance, &other)?;
        }
        for (at, write) in writes.iter().enumerate() {
            let opinion = subject.decide(&mut instance, write)?;
            if opinion != alone[at] {
                return Ok(Some(differs(write, &alone[at], &opinion, "after 500 other writes")));
            }
        }
        Ok(None)
    };
    match found() {
        Ok(finding) => finding.into_iter().collect(),
        Err::<_, Fault>(fault) => vec![format!("asked about a plain write, the plugin {fault}")],
    }
}

fn differs(write: &Write, alone: &Opinion, now: &Opinion, when: &str) -> String {
    format!(
        "about {} the plugin decides {} alone, and {} {when}",
        described(write),
        opinion(alone),
        opinion(now)
    )
}

fn described(write: &Write) -> String {
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

fn opinion(opinion: &Opinion) -> String {
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
fn inputs(subject: &Subject, writes: &[Write]) -> Vec<String> {
    let decide = |write: &Write| subject.decide(&mut subject.start()?, write);
    let found = || {
        let inputs = subject.inputs(&mut subject.start()?)?;
        let writes = masked(writes.get(..FRESH_WRITES).unwrap_or(writes), inputs);
        let mut findings = Vec::new();
        for (_, name, set) in NUMBERS.iter().filter(|(input, ..)| !inputs.contains(*input)) {
            findings.extend(depends(&writes, *set, &decide)?.map(|(other, told, decided)| {
                format!(
                    "the decision depends on `{name}`, which `admission-inputs` does not name, so that it always reads as 0: \
                     with 0 it is {told}, with {other} it would be {decided}"
                )
            }));
        }
        Ok(findings)
    };
    found().unwrap_or_else(|fault: Fault| vec![format!("asked about a plain write, the plugin {fault}")])
}

/// With which number the decision is another one than with 0, and both.
fn depends(
    writes: &[Write],
    set: Change,
    decide: &dyn Fn(&Write) -> Result<Opinion, Fault>,
) -> Result<Option<(u64, String, String)>, Fault> {
    for write in writes {
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
