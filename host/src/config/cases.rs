//! The cases that a policy is tested with, from a file of their own.
//!
//! Takes the file `gauntlet plugin test` is given, gives what is to be tested and what is expected of it, each case with its
//! place in the text; notes all mistakes it can find, as the configuration's reader does. Never loads a plugin.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::file::{Key, Node, Number, Place, Value};
use super::inputs::Files;
use super::load::{folder_of, read_tree};
use super::nearest::nearest;
use super::section::{Field, Section, Source};
use crate::model::{Label, TenantId, Totals, parse_series};

/// One file of cases.
#[derive(Debug, Clone)]
pub struct Suite {
    pub subject: Tested,
    pub cases: Vec<Case>,
}

/// What is tested.
#[derive(Debug, Clone, PartialEq)]
pub enum Tested {
    Plugin {
        /// A built-in plugin's name, or a file's absolute path.
        plugin: PathBuf,
        /// JSON text.
        settings: String,
        tenant: TenantId,
        /// That the tenant may route to.
        upstreams: Vec<String>,
    },
    /// All policies of a tenant, and what the gateway checks itself.
    Chain {
        /// The main file's absolute path.
        config: PathBuf,
        tenant: TenantId,
    },
}

#[derive(Debug, Clone)]
pub struct Case {
    pub name: Option<String>,
    /// Line and column of its first key, and of its key `expect` if it has one. From one.
    pub place: (usize, usize),
    pub expect_place: Option<(usize, usize)>,
    /// JSON text; in place of the file's.
    pub settings: Option<String>,
    pub question: Matter,
    /// `None`: not written yet.
    pub expect: Option<Expected>,
}

/// What a case asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Matter {
    /// What becomes of a series with these labels.
    Series(Vec<Label>),
    Write(WrittenWrite),
    /// Whether the settings are taken.
    Settings,
}

/// A write as a case has it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WrittenWrite {
    pub subject: String,
    pub compressed_bytes: u64,
    pub decoded_bytes: u64,
    pub active_series: u64,
    pub new_series: u64,
    /// By name; the default stream has none.
    pub streams: Vec<(String, Totals)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    Keep,
    /// `None`: for whatever reason.
    Drop(Option<String>),
    Edit {
        /// `None`: unchanged.
        labels: Option<Vec<Label>>,
        stream: Option<String>,
        /// Its name and the most active series.
        budget: Option<(String, u64)>,
    },
    /// The gateway lets no such series pass; its reason or its words contain this.
    Refuse(String),
    /// What is not written is not compared.
    Admit {
        charges: Option<Vec<WrittenCharge>>,
        /// Stream and upstream.
        routes: Option<Vec<(String, String)>>,
    },
    /// The reason contains this.
    Reject(String),
    /// The settings are taken.
    Taken,
    /// The error contains this.
    Error(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct WrittenCharge {
    pub bucket: String,
    pub tokens: u64,
    /// `None`: not compared, as below.
    pub per_second: Option<f64>,
    pub burst: Option<u64>,
}

/// Reads one file of cases.
///
/// # Errors
/// Every mistake found, in the order of the text; never empty.
pub fn read_cases(path: &Path) -> Result<Suite, Vec<ConfigError>> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let files = Files::default();
    let source = Source::new(path, folder_of(&absolute), &files);
    let tree = read_tree(&source, &absolute).ok();
    let suite = tree
        .as_ref()
        .and_then(|tree| Section::root(&source, tree))
        .and_then(|root| suite(root, &source));
    let (errors, _) = source.finish();
    match suite {
        Some(suite) if errors.is_empty() => Ok(suite),
        _ => Err(errors),
    }
}

/// Settings written as YAML or JSON, as the JSON text that a plugin gets.
///
/// # Errors
/// Says what is wrong, and where.
pub fn settings_of(text: &str) -> Result<String, String> {
    let at = |place: Place, message: &str| format!("line {}, column {}: {message}", place.line, place.column);
    let node = super::file::parse(text).map_err(|fault| at(fault.place, &fault.message))?;
    json(&node).map_err(|place| at(place, NOT_JSON))
}

const NOT_JSON: &str = "a number is not finite or has more than 64 bits; quote it if it is meant as text";

fn json(node: &Node) -> Result<String, Place> {
    let json = node.to_json()?;
    Ok(if json == "null" { "{}".to_owned() } else { json })
}

fn suite(mut root: Section<'_>, source: &Source<'_>) -> Option<Suite> {
    let subject = root.require("policy").and_then(|field| tested(&field, source));
    let is_chain = matches!(subject, Some(Tested::Chain { .. }));
    let cases = root.field("cases").map(|list| list.items()).unwrap_or_default();
    let cases: Vec<Option<Case>> = cases.iter().map(|item| case(item, is_chain)).collect();
    root.close();
    let cases = cases.into_iter().collect::<Option<Vec<Case>>>()?;
    Some(Suite {
        subject: subject?,
        cases,
    })
}

fn tested(field: &Field<'_>, source: &Source<'_>) -> Option<Tested> {
    let mut section = field.section()?;
    let tenant = |field: Field<'_>| {
        let tenant = TenantId::new(field.text()?);
        tenant.map_err(|error| field.fail(error.to_string())).ok()
    };
    if let Some(config) = section.field("config") {
        let config = config.text().map(|text| source.path(text));
        let tenant = section.require("tenant").and_then(tenant);
        section.close();
        let (config, tenant) = (config?, tenant?);
        return Some(Tested::Chain { config, tenant });
    }
    let plugin = section
        .require("plugin")
        .and_then(|field| field.text().map(str::to_owned));
    let written = section.field("settings");
    let settings = written.map_or(Some("{}".to_owned()), |field| settings(&field));
    let tenant = section
        .field("tenant")
        .map_or_else(|| TenantId::new("test").ok(), tenant);
    let upstreams = section.field("upstreams").map(|list| texts(&list));
    section.close();
    let plugin = plugin?;
    Some(Tested::Plugin {
        plugin: match super::builtin(&plugin) {
            Some(_) => PathBuf::from(plugin),
            None => source.path(&plugin),
        },
        settings: settings?,
        tenant: tenant?,
        upstreams: upstreams.unwrap_or_else(|| vec!["main".to_owned()]),
    })
}

fn texts(list: &Field<'_>) -> Vec<String> {
    let items = list.items();
    items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
}

fn settings(field: &Field<'_>) -> Option<String> {
    json(field.node)
        .map_err(|place| field.source.fail(place, &field.path, NOT_JSON))
        .ok()
}

fn case(item: &Field<'_>, is_chain: bool) -> Option<Case> {
    let mut section = item.section()?;
    let name = section.field("name").and_then(|field| field.text().map(str::to_owned));
    let written_settings = section.field("settings");
    if let Some(field) = written_settings.as_ref().filter(|_| is_chain) {
        field.fail("a tenant's policies have their settings in the configuration");
    }
    let own_settings = written_settings.as_ref().map(settings);
    let series = section.field("series");
    let write = section.field("write");
    let question = match (&series, &write) {
        (Some(series), None) => labels(series).map(Matter::Series),
        (None, Some(write)) => write.section().and_then(written_write).map(Matter::Write),
        (None, None) if own_settings.is_some() => Some(Matter::Settings),
        (None, None) => {
            section.fail("a case has a `series`, a `write`, or `settings` alone");
            None
        }
        (Some(_), Some(_)) => {
            section.fail("a case has a `series` or a `write`, not both");
            None
        }
    };
    let expect = section.field("expect");
    let expected = expect.as_ref().map(|field| expected(field, question.as_ref()));
    let place = first_key(item.node).unwrap_or_else(|| item.place());
    section.close();
    Some(Case {
        name,
        place: numbers(place),
        expect_place: key_of(item.node, "expect").map(|key| numbers(key.place)),
        settings: own_settings.map_or(Some(None), |settings| settings.map(Some))?,
        question: question?,
        expect: expected.map_or(Some(None), |expected| expected.map(Some))?,
    })
}

fn numbers(place: Place) -> (usize, usize) {
    (place.line as usize, place.column as usize)
}

fn first_key(node: &Node) -> Option<Place> {
    match &node.value {
        Value::Map(entries) => entries.first().map(|(key, _)| key.place),
        _ => None,
    }
}

fn key_of<'n>(node: &'n Node, name: &str) -> Option<&'n Key> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(key, _)| key).find(|key| key.text == name),
        _ => None,
    }
}

fn labels(field: &Field<'_>) -> Option<Vec<Label>> {
    parse_series(field.text()?)
        .map_err(|error| field.fail(error.to_string()))
        .ok()
}

fn written_write(mut section: Section<'_>) -> Option<WrittenWrite> {
    let subject = section
        .field("subject")
        .and_then(|field| field.text().map(str::to_owned));
    let write = WrittenWrite {
        subject: subject.unwrap_or_default(),
        compressed_bytes: number(&mut section, "compressed_bytes"),
        decoded_bytes: number(&mut section, "decoded_bytes"),
        active_series: number(&mut section, "active_series"),
        new_series: number(&mut section, "new_series"),
        streams: section
            .field("streams")
            .map(|field| streams(&field))
            .unwrap_or_default(),
    };
    section.close();
    Some(write)
}

fn streams(field: &Field<'_>) -> Vec<(String, Totals)> {
    let named = field.named().into_iter();
    let streams = named.filter_map(|(key, field)| {
        let mut section = field.section()?;
        let totals = Totals {
            series: number(&mut section, "series"),
            samples: number(&mut section, "samples"),
            histograms: number(&mut section, "histograms"),
            exemplars: number(&mut section, "exemplars"),
        };
        section.close();
        Some((key.text.clone(), totals))
    });
    streams.collect()
}

/// A whole number; zero if it is not written.
fn number(section: &mut Section<'_>, key: &'static str) -> u64 {
    section.field(key).and_then(|field| whole(&field)).unwrap_or(0)
}

fn whole(field: &Field<'_>) -> Option<u64> {
    match field.node.value {
        Value::Number(Number::Unsigned(value), _) => Some(value),
        _ => {
            field.fail(format!("expected a whole number, found {}", field.node.kind()));
            None
        }
    }
}

fn rate(field: &Field<'_>) -> Option<f64> {
    match field.node.value {
        Value::Number(Number::Unsigned(value), _) => Some(value as f64),
        Value::Number(Number::Float(value), _) => Some(value),
        _ => {
            field.fail(format!("expected a number, found {}", field.node.kind()));
            None
        }
    }
}

const OF_SERIES: [&str; 6] = ["keep", "drop", "edit", "stream", "budget", "refuse"];
const OF_WRITES: [&str; 2] = ["admit", "reject"];
const OF_SETTINGS: [&str; 2] = ["ok", "error"];

fn words_of(question: Option<&Matter>) -> Vec<&'static str> {
    match question {
        Some(Matter::Series(_)) => OF_SERIES.to_vec(),
        Some(Matter::Write(_)) => OF_WRITES.to_vec(),
        Some(Matter::Settings) => OF_SETTINGS.to_vec(),
        None => [&OF_SERIES[..], &OF_WRITES, &OF_SETTINGS].concat(),
    }
}

/// `keep`, or `{drop: reason}`: a word, or a word and what belongs to it.
fn expected(field: &Field<'_>, question: Option<&Matter>) -> Option<Expected> {
    let known = words_of(question);
    if let Value::Text(word) = &field.node.value {
        let expected = match word.as_str() {
            "keep" => Expected::Keep,
            "drop" => Expected::Drop(None),
            "refuse" => Expected::Refuse(String::new()),
            "admit" => Expected::Admit {
                charges: None,
                routes: None,
            },
            "reject" => Expected::Reject(String::new()),
            "ok" => Expected::Taken,
            "error" => Expected::Error(String::new()),
            other => {
                let message = format!("expected one of {}", known.join(", "));
                field.fail_near(message, nearest(other, known.iter().copied()));
                return None;
            }
        };
        if !known.contains(&word.as_str()) {
            field.fail(format!("here one of {} is expected", known.join(", ")));
            return None;
        }
        return Some(expected);
    }
    let mut section = field.section()?;
    let expected = match question {
        Some(Matter::Write(_)) => of_write(&mut section),
        Some(Matter::Settings) => text(&mut section, "error").map(Expected::Error),
        _ => of_series(&mut section),
    };
    if expected.is_none() {
        section.fail(format!("expected one of {}", known.join(", ")));
    }
    section.close();
    expected
}

fn text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.field(key)?.text().map(str::to_owned)
}

fn of_series(section: &mut Section<'_>) -> Option<Expected> {
    if let Some(reason) = text(section, "drop") {
        return Some(Expected::Drop(Some(reason)));
    }
    if let Some(reason) = text(section, "refuse") {
        return Some(Expected::Refuse(reason));
    }
    let edit = section.field("edit");
    let (stream, budget) = (text(section, "stream"), section.field("budget"));
    if edit.is_none() && stream.is_none() && budget.is_none() {
        return None;
    }
    let budget = budget.and_then(|field| {
        let mut section = field.section()?;
        let name = section
            .require("name")
            .and_then(|field| field.text().map(str::to_owned));
        let most = number(&mut section, "max_active_series");
        section.close();
        Some((name?, most))
    });
    Some(Expected::Edit {
        labels: edit.and_then(|field| labels(&field)),
        stream,
        budget,
    })
}

fn of_write(section: &mut Section<'_>) -> Option<Expected> {
    if let Some(reason) = text(section, "reject") {
        return Some(Expected::Reject(reason));
    }
    let mut terms = section.field("admit")?.section()?;
    let charges = terms.field("charges");
    let charges = charges.map(|list| list.items().iter().filter_map(charge).collect());
    let routes = terms.field("routes").map(|map| {
        let named = map.named().into_iter();
        let routes = named.filter_map(|(key, field)| Some((key.text.clone(), field.text()?.to_owned())));
        routes.collect()
    });
    terms.close();
    Some(Expected::Admit { charges, routes })
}

fn charge(item: &Field<'_>) -> Option<WrittenCharge> {
    let mut section = item.section()?;
    let bucket = section
        .require("bucket")
        .and_then(|field| field.text().map(str::to_owned));
    let charge = WrittenCharge {
        bucket: bucket.unwrap_or_default(),
        tokens: number(&mut section, "tokens"),
        per_second: section.field("per_second").and_then(|field| rate(&field)),
        burst: section.field("burst").and_then(|field| whole(&field)),
    };
    section.close();
    Some(charge)
}

#[cfg(test)]
mod tests;
