//! What operators watch by is there: every metric of the rules and of the dashboard, and a runbook for every alert.
//!
//! Takes the files under deploy/ and the pages, gives names that only one side has. Never asks a Prometheus: `make observe`
//! does.

use std::collections::BTreeSet;
use std::fs;

use super::{none, root};

const RULES: &str = "deploy/prometheus/gauntlet.rules.yaml";
const CASES: &str = "deploy/prometheus/gauntlet.tests.yaml";
const DASHBOARD: &str = "deploy/grafana/gauntlet.json";

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The words of `text` that begin so.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let all = text.split(|c| !is_part(c));
    all.filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .collect()
}

/// Names of metrics, those of a histogram's parts as the histogram's.
fn metrics(text: &str) -> BTreeSet<&str> {
    let all = words(text, "gauntlet_").into_iter().chain(words(text, "process_"));
    let whole = |name: &'static [&'static str], word| name.iter().find_map(|end| str::strip_suffix(word, end));
    all.map(|word| whole(&["_bucket", "_sum", "_count"], word).unwrap_or(word))
        .collect()
}

fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let lines = text.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines.filter_map(|line| line.strip_prefix(key)).map(str::trim).collect()
}

#[test]
fn what_rules_and_dashboard_ask_for_is_exported() {
    let page = read("docs/metrics.md");
    let (_, table) = page.split_once("<!-- made from the code: begin -->").unwrap();
    let is_there = |name: &&str| table.contains(&format!("| `{name}` |"));
    let mut broken = Vec::new();
    for file in [RULES, CASES, DASHBOARD] {
        let text = read(file);
        let asked = metrics(&text);
        assert!(asked.len() > 20, "{file}: {asked:?}");
        let lacking = asked.into_iter().filter(|name| !is_there(name));
        broken.extend(lacking.map(|name| format!("{file} asks for {name}")));
    }
    none(
        &broken,
        "docs/metrics.md has every metric that the rules and the dashboard ask for",
    );
}

#[test]
fn every_alert_has_a_runbook_a_case_and_a_severity() {
    let (rules, cases, books) = (read(RULES), read(CASES), read("docs/runbooks.md"));
    let alerts = values(&rules, "alert:");
    assert!(alerts.len() > 20, "{alerts:?}");
    let headings: BTreeSet<&str> = values(&books, "### ").into_iter().collect();
    let (tried, linked) = (values(&cases, "name:"), values(&rules, "runbook_url:"));
    let mut broken = Vec::new();
    for alert in &alerts {
        let link = format!("docs/runbooks.md#{}", alert.to_lowercase());
        for (is_there, what) in [
            (headings.contains(alert), "runbook"),
            (tried.contains(alert), "case"),
            (linked.contains(&link.as_str()), "link to its runbook"),
        ] {
            if !is_there {
                broken.push(format!("{alert} has no {what}"));
            }
        }
    }
    let severities = values(&rules, "labels:");
    assert_eq!(severities.len(), alerts.len(), "{severities:?}");
    let spare = headings.iter().filter(|heading| !alerts.contains(heading));
    broken.extend(spare.map(|heading| format!("{heading} is the runbook of no alert")));
    none(
        &broken,
        "each alert of deploy/prometheus has a runbook, a case and a link",
    );
}
