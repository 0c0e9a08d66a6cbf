//! One case: what came, beside what was expected.
//!
//! Takes a question and whoever answers it, gives the answer, and where the two differ the lines that show how. Never decides
//! by itself what is right.

use std::sync::Arc;

use super::super::said::{Passed, Said};
use super::super::shown::{difference, quoted, show_series};
use super::super::subject::{Form, Subject};
use crate::chain::{Charge, Opinion, Terms, Write};
use crate::config::{Case, Expected, Matter, WrittenCharge, WrittenWrite};
use crate::model::{Label, Protocol};
use crate::sandbox::types::Scope;

/// What came of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    Series(Said),
    Write(Opinion),
    /// The error is the plugin's own.
    Settings(Result<(), String>),
    /// No answer, and why not.
    Nothing(String),
}

/// One case, looked at.
pub struct Compared {
    pub title: String,
    pub line: usize,
    pub differs: Option<Differs>,
}

pub struct Differs {
    pub lines: Vec<String>,
    /// What came as a case would expect it; `None` if no case can.
    pub as_written: Option<String>,
}

impl Came {
    /// Of a fresh instance of a plugin.
    pub fn of_plugin(subject: &Subject, question: &Matter) -> Self {
        let started = subject.start();
        let mut instance = match (started, question) {
            (Ok(_), Matter::Settings) => return Self::Settings(Ok(())),
            (Err(crate::sandbox::Fault::Error(error)), Matter::Settings) => return Self::Settings(Err(error)),
            (Err(fault), _) => {
                return Self::Nothing(format!("the plugin does not take its settings: {}", fault.on_lines()));
            }
            (Ok(instance), _) => instance,
        };
        let scope = match subject.scope(&mut instance) {
            Ok(scope) => scope,
            Err(fault) => {
                return Self::Nothing(format!("the plugin does not say what it judges: {}", fault.on_lines()));
            }
        };
        let exported = subject.plugin.scope();
        let came = match question {
            Matter::Series(_) if !exported.contains(Scope::SERIES) => {
                return Self::Nothing("the plugin does not judge series: it has no export `relabel`".to_owned());
            }
            Matter::Write(_) if !exported.contains(Scope::WRITES) => {
                return Self::Nothing("the plugin does not judge writes: it has no export `admit`".to_owned());
            }
            // Nobody asks it.
            Matter::Series(_) if !scope.contains(Scope::SERIES) => return Self::Series(Said::Pass(Passed::default())),
            Matter::Write(_) if !scope.contains(Scope::WRITES) => return Self::Write(Opinion::Admit(Terms::default())),
            Matter::Series(labels) => subject
                .ask(&mut instance, std::slice::from_ref(labels), Form::Usual)
                .map(|mut said| said.pop().map(Self::Series)),
            Matter::Write(write) => subject.inputs(&mut instance).and_then(|inputs| {
                let mut write = write_of(write);
                write.mask(inputs);
                subject
                    .decide(&mut instance, &write)
                    .map(|opinion| Some(Self::Write(opinion)))
            }),
            Matter::Settings => Ok(None),
        };
        match came {
            Ok(came) => came.unwrap_or_else(|| Self::Nothing("the plugin gave no verdict".to_owned())),
            Err(fault) => Self::Nothing(format!("the plugin {}", fault.on_lines())),
        }
    }

    /// In one line, but for a stack.
    fn line(&self, sent: Option<&[Label]>) -> String {
        match self {
            Self::Series(Said::Pass(passed)) => {
                let labels = passed.labels.as_deref().or(sent).unwrap_or_default();
                format!("{}: {}", Said::Pass(passed.clone()).line(), show_series(labels))
            }
            Self::Series(said) => said.line(),
            Self::Write(Opinion::Reject(reason)) => format!("reject: {reason}"),
            Self::Write(Opinion::Admit(terms)) => {
                let charges = terms.charges.iter().map(written_charge).collect();
                let routes = terms
                    .routes
                    .iter()
                    .map(|(stream, upstream)| (stream.to_string(), upstream.to_string()));
                admitted(&Some(charges), &Some(routes.collect()))
            }
            Self::Settings(Ok(())) => "the settings are taken".to_owned(),
            Self::Settings(Err(error)) => format!("error: {error}"),
            Self::Nothing(why) => why.clone(),
        }
    }

    /// As a case would expect it.
    fn as_written(&self) -> Option<String> {
        Some(match self {
            Self::Series(Said::Drop { reason, .. }) => format!("{{drop: {}}}", scalar(reason)),
            Self::Series(Said::Refuse { reason, .. }) => format!("{{refuse: {reason}}}"),
            Self::Series(Said::Pass(passed)) => {
                let labels = passed
                    .labels
                    .as_deref()
                    .map(|labels| format!("edit: {}", scalar(&show_series(labels))));
                let stream = passed
                    .stream
                    .as_ref()
                    .map(|stream| format!("stream: {}", scalar(stream)));
                let budget = passed.budget.as_ref();
                let budget =
                    budget.map(|(name, most)| format!("budget: {{name: {}, max_active_series: {most}}}", scalar(name)));
                match [labels, stream, budget].into_iter().flatten().collect::<Vec<_>>() {
                    parts if parts.is_empty() => "keep".to_owned(),
                    parts => format!("{{{}}}", parts.join(", ")),
                }
            }
            Self::Write(Opinion::Reject(reason)) => format!("{{reject: {}}}", scalar(reason)),
            Self::Write(Opinion::Admit(terms)) => {
                let charges = terms.charges.iter().map(|charge| {
                    let (tokens, rate, burst) = (charge.tokens, charge.per_second, charge.burst);
                    let bucket = scalar(&charge.bucket);
                    format!("{{bucket: {bucket}, tokens: {tokens}, per_second: {rate}, burst: {burst}}}")
                });
                let routes = terms
                    .routes
                    .iter()
                    .map(|(stream, upstream)| format!("{}: {}", scalar(stream), scalar(upstream)));
                let (charges, routes): (Vec<String>, Vec<String>) = (charges.collect(), routes.collect());
                format!(
                    "{{admit: {{charges: [{}], routes: {{{}}}}}}}",
                    charges.join(", "),
                    routes.join(", ")
                )
            }
            Self::Settings(Ok(())) => "ok".to_owned(),
            Self::Settings(Err(error)) => format!("{{error: {}}}", scalar(error)),
            Self::Nothing(_) => return None,
        })
    }
}

/// A YAML scalar that stands in braces and is text whatever it says.
fn scalar(text: &str) -> String {
    if text.chars().any(char::is_control) {
        return serde_json::Value::from(text).to_string();
    }
    format!("'{}'", text.replace('\'', "''"))
}

/// As policies would be told of it.
pub fn write_of(written: &WrittenWrite) -> Write {
    let streams = written
        .streams
        .iter()
        .map(|(name, totals)| (Arc::from(name.as_str()), *totals));
    Write {
        subject: written.subject.clone(),
        protocol: Protocol::V1,
        compressed_bytes: written.compressed_bytes,
        decoded_bytes: written.decoded_bytes,
        active_series: written.active_series,
        new_series: written.new_series,
        streams: streams.collect(),
    }
}

/// `case` beside what came of it.
pub fn compare(case: &Case, came: Came) -> Compared {
    let sent = match &case.question {
        Matter::Series(labels) => Some(labels.as_slice()),
        Matter::Write(_) | Matter::Settings => None,
    };
    let title = case.name.clone().unwrap_or_else(|| match sent {
        Some(labels) => show_series(labels),
        None if case.question == Matter::Settings => "settings".to_owned(),
        None => "a write".to_owned(),
    });
    let holds = case
        .expect
        .as_ref()
        .is_some_and(|expected| meets(expected, &came, sent));
    let differs = (!holds).then(|| {
        let mut lines = Vec::new();
        if let (Some(labels), Some(_)) = (sent, &case.name) {
            lines.push(format!("series    {}", show_series(labels)));
        }
        lines.push(match &case.expect {
            Some(expected) => format!("expected  {}", line(expected, sent)),
            None => "expected  nothing yet; `--update` writes what came".to_owned(),
        });
        let came_line = came.line(sent);
        let mut told = came_line.lines();
        lines.push(format!("came      {}", told.next().unwrap_or_default()));
        lines.extend(told.map(|line| format!("          {line}")));
        lines.extend(
            between(case.expect.as_ref(), &came, sent)
                .iter()
                .map(|line| format!("          {line}")),
        );
        Differs {
            lines,
            as_written: came.as_written(),
        }
    });
    Compared {
        title,
        line: case.place.0,
        differs,
    }
}

/// From the expected labels to those that came.
fn between(expected: Option<&Expected>, came: &Came, sent: Option<&[Label]>) -> Vec<String> {
    let Some(sent) = sent else { return Vec::new() };
    let wanted = match expected {
        Some(Expected::Edit { labels, .. }) => labels.as_deref().unwrap_or(sent),
        Some(Expected::Keep) | None => sent,
        Some(_) => return Vec::new(),
    };
    match came {
        Came::Series(Said::Pass(passed)) => difference(wanted, passed.labels.as_deref().unwrap_or(sent)),
        _ => Vec::new(),
    }
}

fn meets(expected: &Expected, came: &Came, sent: Option<&[Label]>) -> bool {
    match (expected, came) {
        (Expected::Keep, Came::Series(said)) => said.word() == "keep",
        (Expected::Drop(wanted), Came::Series(Said::Drop { reason, .. })) => {
            wanted.as_ref().is_none_or(|wanted| wanted == reason)
        }
        (Expected::Refuse(wanted), Came::Series(Said::Refuse { reason, text })) => {
            reason.contains(wanted.as_str()) || text.contains(wanted.as_str())
        }
        (Expected::Edit { labels, stream, budget }, Came::Series(Said::Pass(passed))) => {
            let labels_meet = match labels {
                Some(labels) => Some(labels.as_slice()) == passed.labels.as_deref().or(sent),
                None => passed.labels.is_none(),
            };
            labels_meet && *stream == passed.stream && *budget == passed.budget
        }
        (Expected::Reject(wanted), Came::Write(Opinion::Reject(reason))) => reason.contains(wanted.as_str()),
        (Expected::Admit { charges, routes }, Came::Write(Opinion::Admit(terms))) => {
            let charges_meet = charges.as_ref().is_none_or(|wanted| {
                wanted.len() == terms.charges.len()
                    && wanted
                        .iter()
                        .all(|wanted| terms.charges.iter().any(|charge| is_charge(wanted, charge)))
            });
            let routes_meet = routes.as_ref().is_none_or(|wanted| {
                let is = |(stream, upstream): &(String, String)| {
                    terms.routes.iter().any(|(s, u)| **s == **stream && **u == **upstream)
                };
                wanted.len() == terms.routes.len() && wanted.iter().all(is)
            });
            charges_meet && routes_meet
        }
        (Expected::Taken, Came::Settings(taken)) => taken.is_ok(),
        (Expected::Error(wanted), Came::Settings(Err(error))) => error.contains(wanted.as_str()),
        _ => false,
    }
}

fn is_charge(wanted: &WrittenCharge, charge: &Charge) -> bool {
    wanted.bucket == charge.bucket
        && wanted.tokens == charge.tokens
        && wanted.per_second.is_none_or(|rate| rate == charge.per_second)
        && wanted.burst.is_none_or(|burst| burst == charge.burst)
}

fn written_charge(charge: &Charge) -> WrittenCharge {
    WrittenCharge {
        bucket: charge.bucket.clone(),
        tokens: charge.tokens,
        per_second: Some(charge.per_second),
        burst: Some(charge.burst),
    }
}

/// What was expected, in one line.
fn line(expected: &Expected, sent: Option<&[Label]>) -> String {
    match expected {
        Expected::Keep => format!("keep: {}", show_series(sent.unwrap_or_default())),
        Expected::Drop(None) => "drop".to_owned(),
        Expected::Drop(Some(reason)) => format!("drop: {reason}"),
        Expected::Refuse(text) => format!("refused by the gateway: {text}"),
        Expected::Edit { labels, stream, budget } => {
            let stream = stream.as_ref().map(|stream| format!(", stream {}", quoted(stream)));
            let budget = budget
                .as_ref()
                .map(|(name, most)| format!(", budget {} of {most}", quoted(name)));
            let labels = show_series(labels.as_deref().or(sent).unwrap_or_default());
            format!(
                "edit{}{}: {labels}",
                stream.unwrap_or_default(),
                budget.unwrap_or_default()
            )
        }
        Expected::Admit { charges, routes } => admitted(charges, routes),
        Expected::Reject(text) => format!("reject: {text}"),
        Expected::Taken => "the settings are taken".to_owned(),
        Expected::Error(text) => format!("error: {text}"),
    }
}

fn admitted(charges: &Option<Vec<WrittenCharge>>, routes: &Option<Vec<(String, String)>>) -> String {
    let mut parts = vec!["admit".to_owned()];
    parts.extend(charges.iter().flatten().map(|charge| {
        let rate = charge.per_second.map(|rate| format!(", {rate} per second"));
        let burst = charge.burst.map(|burst| format!(", burst {burst}"));
        let bucket = quoted(&charge.bucket);
        format!(
            "charge {bucket} {}{}{}",
            charge.tokens,
            rate.unwrap_or_default(),
            burst.unwrap_or_default()
        )
    }));
    parts.extend(
        routes
            .iter()
            .flatten()
            .map(|(stream, upstream)| format!("route {} to {}", quoted(stream), quoted(upstream))),
    );
    if charges.as_ref().is_some_and(Vec::is_empty) {
        parts.push("no charges".to_owned());
    }
    if routes.as_ref().is_some_and(Vec::is_empty) {
        parts.push("no routes".to_owned());
    }
    parts.join("; ")
}
