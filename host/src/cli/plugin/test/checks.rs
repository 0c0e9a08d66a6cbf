//! What the gateway relies on without asking, and every plugin is checked for.
//!
//! Takes a plugin with settings, and the series and writes of its cases, beside which others are made up; gives what it
//! found. Verdicts are remembered, so they must depend on nothing but the series: the same ones are asked about in other
//! orders, numbers and company. Of each finding the first example is enough. `alone` is what they are held against, `declared` what
//! a plugin says of itself.

use std::time::{Duration, Instant};

use super::super::corpus;
use super::super::subject::{Form, LabelList, Subject, calls};
use crate::chain::{Opinion, Write};
use crate::sandbox::types::Scope;
use crate::sandbox::{Fault, Instance};

mod alone;
mod declared;

use alone::{FRESH, LEAST_FRESH, MADE_UP, Reference, described, masked, opinion, shown};

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
            "judges as declared" => "What a policy says it does not judge it is not asked about.",
            "usual series" => "A series that a plugin fails on is refused, and its sender may drop it.",
            "pure" => "A verdict must depend on the series and the settings alone: the gateway remembers it.",
            "packed as plain" => "The gateway calls `relabel-packed` where it is there, and both must say the same.",
            "hostile series" => "A series that a plugin fails on is refused, and anybody may send one.",
            "pure decisions" => {
                "A decision must depend on the write and the settings alone: the gateway may remember it."
            }
            "inputs as declared" => "What a policy does not name it is told as 0.",
            "usual writes" | "hostile writes" => {
                "A write that a plugin fails on is answered 503, for as long as its sender tries."
            }
            _ => "A policy whose settings are not taken is not taken into use.",
        }
    }
}

/// Other series that are asked about before.
const OTHERS: u64 = 10_000;
/// One by one, as long as that takes no longer; the rest by the call.
const OTHERS_ALONE: Duration = Duration::from_millis(300);
const MOST_WRITES: usize = 64;
const OTHER_WRITES: u64 = 500;
const MOST_FINDINGS: usize = 3;

/// All checks that this plugin can be put to.
pub fn all(subject: &Subject, series: &[LabelList], writes: &[Write]) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut check = |name, findings: Vec<String>| {
        let findings = findings.into_iter().take(MOST_FINDINGS).collect();
        checks.push(Check { name, findings });
    };
    let mut instance = match subject.start() {
        Ok(instance) => instance,
        Err(fault) => {
            let fault = format!("the plugin does not take its settings: {}", fault.on_lines());
            check("starts", vec![fault]);
            return checks;
        }
    };
    let made_up = (0..MADE_UP).map(corpus::write);
    let writes: Vec<Write> = writes.iter().take(MOST_WRITES).cloned().chain(made_up).collect();
    let mut scope = subject.plugin.scope();
    if subject.plugin.declares_scope() {
        let findings = match subject.scope(&mut instance) {
            Ok(said) => {
                scope = said;
                declared::undeclared(subject, said, series, &writes)
            }
            Err(fault) => vec![format!("asked what it judges, the plugin {}", fault.on_lines())],
        };
        check("judges as declared", findings);
    }
    drop(instance);
    if scope.contains(Scope::SERIES) {
        let mut reference = Reference::of(subject, series);
        let mut failures = std::mem::take(&mut reference.findings);
        let differences = pure(subject, &reference, &mut failures);
        check("usual series", failures);
        check("pure", differences);
        if subject.plugin.takes_packed() {
            check("packed as plain", packed(subject, &reference));
        }
        check("hostile series", hostile(subject));
    }
    if scope.contains(Scope::WRITES) {
        let (difference, failure) = match pure_decisions(subject, &writes) {
            Ok(difference) => (difference, None),
            Err(fault) => (
                None,
                Some(format!("asked about a plain write, the plugin {}", fault.on_lines())),
            ),
        };
        check("usual writes", failure.into_iter().collect());
        check("pure decisions", difference.into_iter().collect());
        if subject.plugin.declares_inputs() {
            check("inputs as declared", declared::inputs(subject, &writes));
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

/// What depends on how it is asked. Where the plugin fails is another matter.
fn pure(subject: &Subject, reference: &Reference, failures: &mut Vec<String>) -> Vec<String> {
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
            Err(fault) => failures.push(format!("{}, the plugin {}", way.name, fault.on_lines())),
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
        (Err(fault), _) => vec![format!("asked by `relabel-packed`, the plugin {}", fault.on_lines())],
        (_, Err(fault)) => vec![format!("asked by `relabel`, the plugin {}", fault.on_lines())],
    }
}

/// As the gateway would ask: in one piece where the plugin takes it so.
fn hostile(subject: &Subject) -> Vec<String> {
    let series = corpus::hostile().into_iter();
    let findings = series.filter_map(|(what, labels)| {
        let said = subject.ask_alone(&labels);
        said.err()
            .map(|fault| format!("asked about {what}, the plugin {}", fault.on_lines()))
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
            .map(|fault| format!("asked about {what}, the plugin {}", fault.on_lines()))
    });
    findings.collect()
}

fn pure_decisions(subject: &Subject, writes: &[Write]) -> Result<Option<String>, Fault> {
    let inputs = subject.inputs(&mut subject.start()?)?;
    let (mut writes, mut alone, began) = (masked(writes, inputs), Vec::new(), Instant::now());
    for (asked, write) in writes.iter().enumerate() {
        if asked >= LEAST_FRESH && began.elapsed() > FRESH {
            break;
        }
        alone.push(subject.decide(&mut subject.start()?, write)?);
    }
    writes.truncate(alone.len());
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
}

fn differs(write: &Write, alone: &Opinion, now: &Opinion, when: &str) -> String {
    format!(
        "about {} the plugin decides {} alone, and {} {when}",
        described(write),
        opinion(alone),
        opinion(now)
    )
}
