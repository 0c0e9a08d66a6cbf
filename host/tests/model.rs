//! The pipeline against a model that is slow and obvious: decode everything, run every policy on every series, encode.
//!
//! Takes random chains of policies and random writes, in several rounds, so that the memo knows some series and not
//! others; holds what would go on to each upstream against what the model makes of the same bytes. The model is
//! Prometheus' description of `relabel_configs` on maps, with prost and the regex crate; it shares no code with the
//! gateway or its plugins.

#![allow(clippy::expect_used, clippy::unwrap_used)] // A test says what went wrong by panicking.

use std::collections::BTreeMap;
use std::process::ExitCode;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use prost::Message;
use regex::Regex;

#[path = "../src/wire/tests/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "../src/wire/tests/model_v2.rs"]
#[allow(dead_code)]
mod model_v2;
#[path = "../src/wire/tests/odd.rs"]
#[allow(dead_code)]
mod odd;
#[path = "../src/wire/tests/random.rs"]
#[allow(dead_code)]
mod random;
#[path = "../benches/setup/mod.rs"]
mod setup;

use model::{Label, Sample, TimeSeries, WriteRequest};
use setup::{Gateway, compiler};

/// Chains tried; each judges [`ROUNDS`] writes.
const CHAINS: u32 = 48;
const ROUNDS: usize = 8;
/// The tenant's upstreams: `sink` takes what is not routed, `other` what is.
const UPSTREAMS: usize = 2;

type Labels = BTreeMap<String, String>;

/// A series in the hands of one policy, as Prometheus' `labels.Builder` holds it.
struct Working<'a> {
    labels: &'a mut Labels,
    /// Names that rules have set, in the order of the first time: `labelmap` comes to these last, which decides where
    /// it gives two labels one name.
    set: Vec<String>,
}

impl Working<'_> {
    fn set(&mut self, name: &str, value: String) {
        if value.is_empty() {
            return self.retain(|other| other != name);
        }
        self.labels.insert(name.to_owned(), value);
        if !self.set.iter().any(|set| set == name) {
            self.set.push(name.to_owned());
        }
    }

    fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.labels.retain(|name, _| wanted(name));
        self.set.retain(|name| wanted(name));
    }

    fn in_order(&self) -> Vec<(String, String)> {
        let untouched = self.labels.keys().filter(|name| !self.set.contains(name));
        let names = untouched.chain(&self.set);
        names.map(|name| (name.clone(), self.labels[name].clone())).collect()
    }
}

fn main() -> ExitCode {
    if let Some(exit) = compiler() {
        return exit;
    }
    let config = Config {
        cases: CHAINS,
        // The file would lie beside this one; a failure is printed with the chain and the writes it takes.
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let cases = (chain(), prop::collection::vec(write(), ROUNDS));
    match TestRunner::new(config).run(&cases, |(chain, writes)| holds(&chain, &writes)) {
        Ok(()) => {
            println!("{CHAINS} chains, {ROUNDS} writes each, as the model has them\n1 passed, 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

fn holds(chain: &Chain, writes: &[Sent]) -> Result<(), TestCaseError> {
    let gateway = Gateway::new(&chain.to_config());
    for sent in writes {
        let body = match sent.odd {
            Some(seed) => odd::Odd(seed).write(&sent.write),
            None => sent.write.encode_to_vec(),
        };
        let compressed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let parts = gateway.runtime.block_on(gateway.process(&compressed.into()));
        let mut got = [const { Vec::new() }; UPSTREAMS];
        for part in parts {
            let raw = snap::raw::Decoder::new().decompress_vec(&part.body).unwrap();
            let write = WriteRequest::decode(raw.as_slice()).expect("protobuf");
            let samples: usize = write.timeseries.iter().map(all_samples).sum();
            prop_assert_eq!(part.totals.all_samples(), samples as u64);
            got[part.upstream] = write.timeseries;
        }
        let mut expected = [const { Vec::new() }; UPSTREAMS];
        for series in &sent.write.timeseries {
            if let Some((labels, upstream)) = chain.judge(labels_of(series)) {
                let labels = random::labels_of(&labels);
                expected[upstream].push(TimeSeries {
                    labels,
                    ..series.clone()
                });
            }
        }
        prop_assert_eq!(&got, &expected);
    }
    Ok(())
}

fn all_samples(series: &TimeSeries) -> usize {
    series.samples.len() + series.histograms.len()
}

fn labels_of(series: &TimeSeries) -> Labels {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pair = |label: &Label| (text(&label.name), text(&label.value));
    series.labels.iter().map(pair).collect()
}

/// Relabel policies one after the other, then perhaps a route.
#[derive(Debug, Clone)]
struct Chain {
    policies: Vec<Vec<Rule>>,
    /// What goes to `other`: the anchored pattern of a metric name.
    route: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Rule {
    action: &'static str,
    source: Vec<&'static str>,
    regex: &'static str,
    target: &'static str,
    replacement: &'static str,
}

impl Chain {
    /// What becomes of one series: its labels and where it goes. None: it goes nowhere.
    fn judge(&self, mut labels: Labels) -> Option<(Labels, usize)> {
        for rules in &self.policies {
            let mut series = Working {
                labels: &mut labels,
                set: Vec::new(),
            };
            if !rules.iter().all(|rule| rule.apply(&mut series)) {
                return None;
            }
        }
        let name = labels.get("__name__")?.clone();
        let routed = self.route.is_some_and(|pattern| anchored(pattern).is_match(&name));
        Some((labels, usize::from(routed)))
    }

    fn to_config(&self) -> String {
        let mut text = String::new();
        for rules in &self.policies {
            text += "\n- plugin: relabel\n  settings:\n    relabel_configs:";
            for rule in rules {
                text += &format!("\n      - {}", rule.to_config());
            }
        }
        if let Some(pattern) = self.route {
            text += &format!(
                "\n- plugin: route\n  settings: {{routes: [{{match: {{__name__: {pattern:?}}}, stream: s, upstream: other}}]}}"
            );
        }
        if text.is_empty() { " []".to_owned() } else { text }
    }
}

fn anchored(pattern: &str) -> Regex {
    Regex::new(&format!("^(?s:{pattern})$")).unwrap()
}

impl Rule {
    /// False where the series is dropped.
    fn apply(&self, series: &mut Working<'_>) -> bool {
        let value = |name: &str| series.labels.get(name).cloned().unwrap_or_default();
        let joined = self.source.iter().map(|name| value(name)).collect::<Vec<_>>().join(";");
        let regex = anchored(self.regex);
        match self.action {
            "keep" => return regex.is_match(&joined),
            "drop" => return !regex.is_match(&joined),
            "keepequal" => return value(self.target) == joined,
            "dropequal" => return value(self.target) != joined,
            "labeldrop" => series.retain(|name| !regex.is_match(name)),
            "labelkeep" => series.retain(|name| regex.is_match(name)),
            "lowercase" => series.set(self.target, joined.to_lowercase()),
            "uppercase" => series.set(self.target, joined.to_uppercase()),
            "labelmap" => {
                for (name, value) in series.in_order() {
                    if let Some(found) = regex.captures(&name) {
                        series.set(&expand(&found, self.replacement), value);
                    }
                }
            }
            _ => {
                if let Some(found) = regex.captures(&joined) {
                    series.set(self.target, expand(&found, self.replacement));
                }
            }
        }
        // A series may be without labels for a while: a later rule can give it some, and only the end counts.
        true
    }

    fn to_config(&self) -> String {
        let (action, regex) = (self.action, self.regex);
        let source = self.source.join(", ");
        let (target, replacement) = (self.target, self.replacement);
        match action {
            "keep" | "drop" => format!("{{action: {action}, source_labels: [{source}], regex: {regex:?}}}"),
            "keepequal" | "dropequal" | "lowercase" | "uppercase" => {
                format!("{{action: {action}, source_labels: [{source}], target_label: {target}}}")
            }
            "labeldrop" | "labelkeep" => format!("{{action: {action}, regex: {regex:?}}}"),
            "labelmap" => format!("{{action: labelmap, regex: {regex:?}, replacement: {replacement:?}}}"),
            _ => format!(
                "{{source_labels: [{source}], regex: {regex:?}, target_label: {target}, replacement: {replacement:?}}}"
            ),
        }
    }
}

/// `$1` alone: the patterns here have one group.
fn expand(found: &regex::Captures<'_>, replacement: &str) -> String {
    replacement.replace("$1", found.get(1).map_or("", |group| group.as_str()))
}

fn chain() -> impl Strategy<Value = Chain> {
    let policies = prop::collection::vec(prop::collection::vec(rule(), 1..4), 0..3);
    let route = prop::option::of(prop::sample::select(vec!["go_.*", ".*", "up|node_cpu", "absent"]));
    (policies, route).prop_map(|(policies, route)| Chain { policies, route })
}

const NAMES: [&str; 6] = ["__name__", "a", "instance", "job", "le", "zz"];

fn rule() -> impl Strategy<Value = Rule> {
    // Changes are likelier than drops, or nothing would be left to compare.
    let action = prop::sample::select(vec![
        "replace",
        "replace",
        "replace",
        "replace",
        "labeldrop",
        "labelmap",
        "lowercase",
        "uppercase",
        "drop",
        "keep",
        "dropequal",
        "keepequal",
        "labelkeep",
    ]);
    let source = prop::sample::subsequence(NAMES.to_vec(), 1..3);
    let regex = prop::sample::select(vec![
        "(.*)",
        "(.+)",
        "",
        "go_(.*)",
        "(up|node_cpu)",
        "(.*)[0-9]+",
        "[a-z]+(;?.*)",
        "(a|zz)",
        "é(.*)",
    ]);
    let target = prop::sample::select(NAMES.to_vec());
    let replacement = prop::sample::select(vec!["$1", "", "x", "$1-$1", "cluster-é", "go_$1"]);
    // The second gives many labels one name.
    let mapped = prop::sample::select(vec!["m_$1", "m"]);
    let parts = (action, source, regex, target, replacement, mapped);
    parts.prop_map(|(action, source, regex, target, replacement, mapped)| Rule {
        action,
        source,
        // What is kept by name must leave a name, or every chain with it would be empty.
        regex: if action == "labelkeep" { "__name__|a|job" } else { regex },
        target,
        replacement: if action == "labelmap" { mapped } else { replacement },
    })
}

/// One write and how it is encoded.
#[derive(Debug, Clone)]
struct Sent {
    write: WriteRequest,
    /// Legal, and not what Prometheus would write.
    odd: Option<u64>,
}

fn write() -> impl Strategy<Value = Sent> {
    let wild = random::write().prop_map(|write| write.timeseries);
    let usual = prop::collection::vec(usual_series(), 0..40);
    (usual, prop::option::of(wild), prop::option::weighted(0.2, any::<u64>())).prop_map(|(usual, wild, odd)| Sent {
        write: WriteRequest {
            timeseries: usual.into_iter().chain(wild.into_iter().flatten()).collect(),
            ..WriteRequest::default()
        },
        odd,
    })
}

/// Of few label sets, so that the memo meets them again.
fn usual_series() -> impl Strategy<Value = TimeSeries> {
    let value = prop::sample::select(vec!["", "a", "Z9", "node-1:9100", "é1", "0.5", "+Inf"]);
    let metric = prop::sample::select(vec!["up", "go_goroutines", "node_cpu", "go_"]);
    let samples = prop::collection::vec(
        (
            prop_oneof![Just(0), any::<u64>()],
            1_600_000_000_000..1_700_000_000_000i64,
        ),
        0..3,
    );
    (metric, [value.clone(), value.clone(), value.clone(), value], samples).prop_map(|(metric, values, samples)| {
        let mut labels = Labels::from([("__name__".to_owned(), metric.to_owned())]);
        let others = NAMES.iter().skip(1).zip(values);
        labels.extend(
            others
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.to_string(), value.to_owned())),
        );
        TimeSeries {
            labels: random::labels_of(&labels),
            samples: samples
                .into_iter()
                .map(|(value, timestamp)| Sample { value, timestamp })
                .collect(),
            ..TimeSeries::default()
        }
    })
}
