//! `gauntlet plugin run`: what a plugin makes of series, and of a write with them.
//!
//! Takes series as Prometheus writes them, from the command line or an exposition; gives a verdict for each with what
//! changed and what the plugin printed about it, and what becomes of a write of them all: charges, routes, or a refusal.
//! Values are not read: a policy never sees one.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use clap::Args;
use serde_json::{Map, Value, json};

use super::arguments::{Format, OnePlugin};
use super::outcome::{Sound, Wrong};
use super::said::{Passed, Said};
use super::shown::{difference, quoted, show_series, shown_fault, shown_lines};
use super::subject::{Form, LabelList, Subject, calls};
use super::workshop::Workshop;
use crate::chain::{Opinion, Write};
use crate::model::{Label, Protocol, Totals, parse_exposition, parse_series};
use crate::sandbox::types::Scope;
use crate::sandbox::{Fault, Instance, Line};

pub const EXAMPLES: &str = "Examples:
  gauntlet plugin run redact.wasm --settings @redact.yaml 'http_requests_total{user=\"ada\"}'
  gauntlet plugin run route --settings '{routes: [{match: {team: a}, upstream: a}]}' --upstream main --upstream a 'up{team=\"a\"}'
  curl -s localhost:9100/metrics | gauntlet plugin run redact.wasm --settings @redact.yaml -

The exit code is 0 if every call was answered, else 1.";

/// Longest exposition read, in bytes.
const MAX_INPUT: u64 = 64 << 20;

#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    of: OnePlugin,
    /// Series such as `up{job="node"}`; `-` reads an exposition from standard input.
    #[arg(value_name = "SERIES", required = true)]
    series: Vec<String>,
    /// Asks about all series together, as many in a call as the gateway does at first, in place of one by one; what is
    /// printed is then that of the whole call.
    #[arg(long)]
    batch: bool,
    /// What the credential of the write's sender proved, as the plugin is told.
    #[arg(long, value_name = "NAME", default_value = "")]
    subject: String,
}

/// The answer to one call about series.
struct Answer {
    series: Vec<LabelList>,
    said: Result<Vec<Said>, Fault>,
    printed: Vec<Line>,
}

/// The answer about the write.
struct Decided {
    /// Of the write, whatever of it the plugin is told.
    series: u64,
    said: Result<Opinion, Fault>,
    printed: Vec<Line>,
}

/// # Errors
/// If the plugin cannot be read, or what is asked about is no series.
pub fn run(options: &Options) -> Result<Sound, Wrong> {
    let series = read(&options.series)?;
    let (source, limits, context) = options.of.read()?;
    let workshop = Workshop::open(&limits)?;
    let plugin = match workshop.load(&source) {
        Ok(plugin) => plugin,
        Err(error) => return Ok(unusable(options.of.format, &format!("the plugin {error}"))),
    };
    let subject = workshop.subject(plugin, context);
    let configured = subject.start();
    let printed = subject.printed();
    let mut configured = match configured {
        Ok(instance) => instance,
        Err(fault) => {
            print_lines(&printed);
            let fault = format!("the plugin does not take its settings: {}", shown_fault(&fault));
            return Ok(unusable(options.of.format, &fault));
        }
    };
    let scope = match subject.scope(&mut configured) {
        Ok(scope) => scope,
        Err(fault) => {
            let fault = format!("the plugin does not say what it judges: {}", shown_fault(&fault));
            return Ok(unusable(options.of.format, &fault));
        }
    };
    let answers = ask(&subject, scope, series, options.batch);
    let decided = decide(&subject, scope, &answers, &options.subject);
    match options.of.format {
        Format::Text => text(&subject, &answers, decided.as_ref()),
        Format::Json => println!("{:#}", json(&answers, decided.as_ref())),
    }
    let failed = answers.iter().any(|answer| answer.said.is_err());
    Ok(!failed && decided.is_none_or(|decided| decided.said.is_ok()))
}

fn unusable(format: Format, fault: &str) -> Sound {
    match format {
        Format::Text => eprintln!("{fault}"),
        Format::Json => println!("{:#}", json!({ "fault": fault })),
    }
    false
}

fn read(written: &[String]) -> Result<Vec<LabelList>, Wrong> {
    let mut series = Vec::new();
    for text in written {
        if text != "-" {
            series.push(parse_series(text).map_err(|error| format!("`{text}` is no series: {error}"))?);
            continue;
        }
        let mut input = String::new();
        let read = std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut input);
        read.map_err(|error| format!("cannot read standard input: {error}"))?;
        for one in parse_exposition(&input) {
            series.push(one.map_err(|error| format!("standard input: {error}"))?.1);
        }
    }
    Ok(series)
}

/// Each question of one instance, which is replaced where it fails. A plugin that judges no series keeps all.
fn ask(subject: &Subject, scope: Scope, series: Vec<LabelList>, batch: bool) -> Vec<Answer> {
    if !scope.contains(Scope::SERIES) {
        let kept = series.iter().map(|_| Said::Pass(Passed::default())).collect();
        return vec![Answer {
            series,
            said: Ok(kept),
            printed: Vec::new(),
        }];
    }
    let mut instance = None;
    let pieces = calls(&series, if batch { usize::MAX } else { 1 });
    let answers = pieces.map(|series| {
        let said = on(subject, &mut instance, |instance| {
            subject.ask(instance, series, Form::Usual)
        });
        Answer {
            series: series.to_vec(),
            said,
            printed: subject.printed(),
        }
    });
    answers.collect()
}

/// Runs `ask` on the instance that is there, or on a fresh one.
fn on<R>(
    subject: &Subject,
    slot: &mut Option<Instance>,
    ask: impl FnOnce(&mut Instance) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let mut instance = match slot.take() {
        Some(instance) => instance,
        None => subject.start()?,
    };
    let answer = ask(&mut instance);
    if matches!(answer, Ok(_) | Err(Fault::Error(_))) {
        *slot = Some(instance);
    }
    answer
}

/// About a write of all that passed, one sample each. `None` if the plugin decides nothing.
fn decide(subject: &Subject, scope: Scope, answers: &[Answer], sender: &str) -> Option<Decided> {
    if !scope.contains(Scope::WRITES) {
        return None;
    }
    let mut write = write_of(answers, sender);
    let series = write.new_series;
    let mut instance = None;
    let said = on(subject, &mut instance, |instance| {
        write.mask(subject.inputs(instance)?);
        subject.decide(instance, &write)
    });
    Some(Decided {
        series,
        said,
        printed: subject.printed(),
    })
}

/// As the gateway would count it.
fn write_of(answers: &[Answer], sender: &str) -> Write {
    let mut streams: BTreeMap<String, Totals> = BTreeMap::from([(String::new(), Totals::default())]);
    let mut decoded = 0;
    for answer in answers {
        let said = answer.said.as_deref().unwrap_or_default();
        for (series, said) in answer.series.iter().zip(said) {
            decoded += super::subject::size(series) as u64;
            if let Said::Pass(passed) = said {
                let totals = streams.entry(passed.stream.clone().unwrap_or_default()).or_default();
                totals.series += 1;
                totals.samples += 1;
            }
        }
    }
    let all: u64 = streams.values().map(|totals| totals.series).sum();
    Write {
        subject: sender.to_owned(),
        protocol: Protocol::V1,
        compressed_bytes: decoded / 4,
        decoded_bytes: decoded,
        active_series: all,
        new_series: all,
        streams: streams
            .into_iter()
            .map(|(name, totals)| (Arc::from(name), totals))
            .collect(),
    }
}

fn text(subject: &Subject, answers: &[Answer], decided: Option<&Decided>) {
    for answer in answers {
        match &answer.said {
            Err(fault) => {
                answer
                    .series
                    .iter()
                    .for_each(|series| println!("{}", show_series(series)));
                println!("  the plugin {}", shown_fault(fault));
            }
            Ok(said) => answer
                .series
                .iter()
                .zip(said)
                .for_each(|(series, said)| one(series, said)),
        }
        print_lines(&answer.printed);
    }
    if let Some(decided) = decided {
        println!("a write of {} series", decided.series);
        match &decided.said {
            Ok(opinion) => opinion_lines(opinion, subject)
                .iter()
                .for_each(|line| println!("  {line}")),
            Err(fault) => println!("  the plugin {}", shown_fault(fault)),
        }
        print_lines(&decided.printed);
    }
}

fn one(series: &[Label], said: &Said) {
    println!("{}\n  {}", show_series(series), said.line());
    if let Said::Pass(passed) = said
        && let Some(labels) = &passed.labels
    {
        difference(series, labels)
            .iter()
            .for_each(|line| println!("    {line}"));
    }
}

fn print_lines(lines: &[Line]) {
    shown_lines(lines).iter().for_each(|line| println!("    {line}"));
}

/// A decision, line by line.
pub fn opinion_lines(opinion: &Opinion, subject: &Subject) -> Vec<String> {
    let terms = match opinion {
        Opinion::Reject(reason) => return vec![format!("reject: {reason}")],
        Opinion::Admit(terms) => terms,
    };
    let mut lines = vec!["admit".to_owned()];
    lines.extend(terms.charges.iter().map(|charge| {
        format!(
            "  charge {}: {} of a burst of {}, {} per second",
            quoted(&charge.bucket),
            charge.tokens,
            charge.burst,
            charge.per_second
        )
    }));
    lines.extend(terms.routes.iter().map(|(stream, upstream)| {
        let known = subject.context.upstreams.iter().any(|known| **known == **upstream);
        let note = if known {
            ""
        } else {
            ", which is no upstream of the tenant: every such write is answered 503"
        };
        let stream = if stream.is_empty() {
            "the default stream".to_owned()
        } else {
            format!("stream {}", quoted(stream))
        };
        format!("  route {stream} to {}{note}", quoted(upstream))
    }));
    lines
}

fn json(answers: &[Answer], decided: Option<&Decided>) -> Value {
    let calls = answers.iter().map(|answer| {
        let printed = printed_json(&answer.printed);
        let series = answer.series.iter().map(|series| show_series(series));
        match &answer.said {
            Err(fault) => json!({"series": series.collect::<Vec<_>>(), "fault": fault.to_string(), "printed": printed}),
            Ok(said) => {
                let verdicts = answer
                    .series
                    .iter()
                    .zip(said)
                    .map(|(series, said)| said_json(series, said));
                json!({"verdicts": verdicts.collect::<Vec<_>>(), "printed": printed})
            }
        }
    });
    json!({
        "calls": calls.collect::<Vec<_>>(),
        "write": decided.map(|decided| {
            let said = match &decided.said {
                Ok(opinion) => opinion_json(opinion),
                Err(fault) => json!({"fault": fault.to_string()}),
            };
            json!({"decision": said, "printed": printed_json(&decided.printed)})
        }),
    })
}

fn printed_json(lines: &[Line]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| json!({"level": line.level, "text": line.text}))
        .collect()
}

fn said_json(series: &[Label], said: &Said) -> Value {
    let mut map = Map::new();
    map.insert("series".to_owned(), show_series(series).into());
    map.insert("verdict".to_owned(), said.word().into());
    match said {
        Said::Pass(passed) => {
            if let Some(labels) = &passed.labels {
                map.insert("labels".to_owned(), show_series(labels).into());
                map.insert("difference".to_owned(), difference(series, labels).into());
            }
            if let Some(stream) = &passed.stream {
                map.insert("stream".to_owned(), stream.as_str().into());
            }
            if let Some((name, most)) = &passed.budget {
                map.insert("budget".to_owned(), json!({"name": name, "max_active_series": most}));
            }
        }
        Said::Drop { reason, .. } => drop(map.insert("reason".to_owned(), reason.as_str().into())),
        Said::Refuse { reason, text } => {
            map.insert("reason".to_owned(), (*reason).into());
            map.insert("text".to_owned(), text.as_str().into());
        }
    }
    Value::Object(map)
}

fn opinion_json(opinion: &Opinion) -> Value {
    match opinion {
        Opinion::Reject(reason) => json!({"reject": reason.as_ref()}),
        Opinion::Admit(terms) => {
            let charges = terms.charges.iter().map(|charge| {
                json!({"bucket": charge.bucket, "tokens": charge.tokens, "per_second": charge.per_second, "burst": charge.burst})
            });
            let routes = terms
                .routes
                .iter()
                .map(|(stream, upstream)| json!({"stream": stream.as_ref(), "upstream": upstream.as_ref()}));
            json!({"admit": {"charges": charges.collect::<Vec<_>>(), "routes": routes.collect::<Vec<_>>()}})
        }
    }
}
