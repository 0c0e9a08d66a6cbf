//! What the public compliance suites of remote write say: the one for receivers of the gateway, the one for senders of a
//! Prometheus behind it.
//!
//! Takes the suites that `scripts/provision senders` builds, gives a table: rows are ways, each through the gateway and past it. A
//! suite's answer is the end of each of its tests that has none inside. Fails if the gateway does not pass one, or a sender behind
//! it one that it passes past it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::process::{Ports, provisioned};
use gauntlet_tests::setup::{Setup, Tenant};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::options::Options;
use crate::receivers::{Make, Receiver};
use crate::senders::PROMETHEUS;

/// The days of the suites' commits.
const SUITE_FOR_RECEIVERS: &str = "20260806";
const SUITE_FOR_SENDERS: &str = "20260223";
/// Tests that are named in a row, inner ones by their outer one.
const MOST_NAMED: usize = 3;

/// A receiver that is judged: behind the gateway, sent writes of this version, or past it.
struct Way {
    name: &'static str,
    title: &'static str,
    make: Make,
    behind: Option<&'static str>,
}

const WAYS: [Way; 5] = [
    Way {
        name: "thanos",
        title: "Thanos 0.42.4, past the gateway",
        make: Make::Thanos,
        behind: None,
    },
    Way {
        name: "gateway-thanos",
        title: "Gauntlet, to Thanos 0.42.4",
        make: Make::Thanos,
        behind: Some("1.0"),
    },
    Way {
        name: "prometheus",
        title: "Prometheus 3.15, past the gateway",
        make: Make::Prometheus,
        behind: None,
    },
    Way {
        name: "gateway-prometheus",
        title: "Gauntlet, to Prometheus 3.15",
        make: Make::Prometheus,
        behind: Some("1.0"),
    },
    Way {
        name: "gateway-prometheus-2.0",
        title: "Gauntlet, to Prometheus 3.15 by 2.0",
        make: Make::Prometheus,
        behind: Some("2.0"),
    },
];

/// What the gateway does not pass, and why that is meant.
const MEANT: [(&str, &str); 1] = [
    // The receiver refuses a series with exemplars alone. Nobody loses a sample by that, so the answer is 204, and says truly that
    // no exemplar was written; the suite takes a 400 or one exemplar.
    (
        "gateway-prometheus-2.0",
        "TestEdgeCaseCombinations/exemplars_without_data",
    ),
];

/// By the name of a test, whether it passed.
type Verdicts = BTreeMap<String, bool>;

/// # Errors
/// If a suite cannot be run, and where the gateway fails a test.
pub fn table(options: &Options) -> Result<String> {
    let mut dir = tempfile::Builder::new().prefix("gauntlet-senders-").tempdir()?;
    let logs = dir.path().join("logs");
    std::fs::create_dir_all(&logs)?;
    let mut text =
        "### The public compliance suites\n\n| what is judged | tests passed | not passed |\n|---|---|---|\n"
            .to_owned();
    let mut failed = Vec::new();
    let receivers = receivers(options, dir.path(), &logs)?;
    for way in &WAYS {
        let verdicts = of_way(&receivers, way.name);
        ensure!(!verdicts.is_empty(), "the suite ran no test of {}", way.title);
        row(&mut text, way.title, &verdicts);
        if way.behind.is_some() {
            let is_meant = |test: &str| MEANT.contains(&(way.name, test));
            let failures = failures(&verdicts).filter(|test| !is_meant(test));
            failed.extend(failures.map(|test| format!("{}: {test}", way.title)));
        }
    }
    let (past, through) = (senders(None, &logs)?, senders(Some(&options.gateway), &logs)?);
    row(&mut text, "Prometheus 3.15 as a sender, past the gateway", &past);
    row(&mut text, "Prometheus 3.15 as a sender, through it", &through);
    let newly = failures(&through).filter(|test| past.get(*test) != Some(&false));
    failed.extend(newly.map(|test| format!("through the gateway: {test}")));
    eprint!("{text}");
    if failed.is_empty() {
        return Ok(text);
    }
    dir.disable_cleanup(true);
    bail!(
        "what the suites said is in {}; not passed:\n{}",
        logs.display(),
        failed.join("\n")
    )
}

fn row(text: &mut String, title: &str, verdicts: &Verdicts) {
    let failed: Vec<_> = failures(verdicts).collect();
    let passed = verdicts.len() - failed.len();
    let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
    for test in failed {
        let group = test.split('/').next().unwrap_or(test);
        *groups.entry(group).or_default() += 1;
    }
    let others = groups.len().saturating_sub(MOST_NAMED);
    let mut named: Vec<String> = groups
        .into_iter()
        .take(MOST_NAMED)
        .map(|(group, count)| format!("`{group}` {count}"))
        .collect();
    named.extend((others > 0).then(|| format!("and tests of {others} other names")));
    let all = verdicts.len();
    writeln!(text, "| {title} | {passed} of {all} | {} |", named.join(", ")).expect("a string");
}

fn failures(verdicts: &Verdicts) -> impl Iterator<Item = &String> {
    verdicts.iter().filter(|(_, passed)| !**passed).map(|(test, _)| test)
}

/// Those of the tests that end with this name.
fn of_way(verdicts: &Verdicts, way: &str) -> Verdicts {
    let of_it = |(test, passed): (&String, &bool)| {
        let (test, last) = test.rsplit_once('/')?;
        (last == way).then(|| (test.to_owned(), *passed))
    };
    verdicts.iter().filter_map(of_it).collect()
}

fn receivers(options: &Options, dir: &Path, logs: &Path) -> Result<Verdicts> {
    std::fs::create_dir_all(dir.join("data"))?;
    let mut ports = Ports::new();
    let mut started = Vec::new();
    for way in &WAYS {
        started.push(Receiver::start(way.make, way.name, dir, logs, &mut ports)?);
    }
    let gateway = Gateway::serve(&options.gateway, in_front_of(&started), logs, &mut ports)?;
    let target = |(way, receiver): (&Way, &Receiver)| match way.behind {
        None => json!({"name": way.name, "url": format!("http://{}{}", receiver.write, way.make.path())}),
        Some(_) => json!({
            "name": way.name,
            "url": format!("https://{}/api/v1/receive", gateway.write),
            "authorization": {"credentials": way.name},
            "tls_config": {"ca_file": gateway.authority()},
        }),
    };
    let targets: Vec<Value> = WAYS.iter().zip(&started).map(target).collect();
    let config = dir.join("suite.yaml");
    std::fs::write(&config, json!({"remote_write": targets}).to_string())?;
    let mut suite = Command::new(provisioned("compliance-receivers", SUITE_FOR_RECEIVERS)?);
    suite.env("PROMETHEUS_RW2_COMPLIANCE_CONFIG_FILE", config);
    run(suite, &logs.join("suite-for-receivers.log"))
}

/// Of one in front of all receivers that are not judged past it, each with a tenant of its own.
fn in_front_of(receivers: &[Receiver]) -> Setup {
    let mut setup = Setup::new();
    for (way, receiver) in WAYS.iter().zip(receivers) {
        let Some(version) = way.behind else { continue };
        let upstream = json!({
            "endpoints": [format!("http://{}", receiver.write)],
            "path": way.make.path(),
            "remote_write_version": version,
        });
        setup.put(&format!("/upstreams/{}", way.name), upstream);
        setup.put_tenant(Tenant::new(way.name).bearer(way.name).upstreams(&[way.name]));
    }
    setup
}

/// A Prometheus, through the gateway of this program or past it.
fn senders(gateway: Option<&Path>, logs: &Path) -> Result<Verdicts> {
    let mut suite = Command::new(provisioned("compliance-senders", SUITE_FOR_SENDERS)?);
    suite.env("PROMETHEUS", provisioned("prometheus", PROMETHEUS)?);
    let Some(gateway) = gateway else {
        return run(suite, &logs.join("suite-for-senders-past.log"));
    };
    suite.env("GAUNTLET", gateway);
    run(suite, &logs.join("suite-for-senders.log"))
}

/// What a suite says of its tests. That some of them failed is no error here.
fn run(mut suite: Command, log: &Path) -> Result<Verdicts> {
    suite.args(["-test.v", "-test.timeout=10m"]);
    let output = suite.output().context("a suite does not start")?;
    std::fs::write(log, [&output.stdout[..], &output.stderr].concat())?;
    let verdicts = verdicts(&String::from_utf8_lossy(&output.stdout));
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!verdicts.is_empty(), "a suite ran no test: {said}");
    Ok(verdicts)
}

/// Of the tests that have none inside.
fn verdicts(said: &str) -> Verdicts {
    let mut all = Verdicts::new();
    for line in said.lines().map(str::trim_start) {
        for (word, passed) in [("--- PASS: ", true), ("--- FAIL: ", false)] {
            if let Some(test) = line.strip_prefix(word).and_then(|rest| rest.split(' ').next()) {
                all.insert(test.to_owned(), passed);
            }
        }
    }
    let is_inside = |test: &String, outer: &str| test.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    let outer: Vec<String> = all.keys().cloned().collect();
    all.retain(|test, _| !outer.iter().any(|other| is_inside(other, test)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_that_of_a_test_with_none_inside() {
        let said = "=== RUN   TestA\n--- FAIL: TestA (0.01s)\n    --- PASS: TestA/one (0.00s)\n        \
                    --- PASS: TestA/one/x (0.00s)\n        --- FAIL: TestA/one/y (0.00s)\n--- PASS: TestAB (0.00s)\n--- SKIP: TestC (0.00s)\n";
        let verdicts = verdicts(said);
        let expected = [("TestA/one/x", true), ("TestA/one/y", false), ("TestAB", true)];
        assert!(
            verdicts
                .iter()
                .map(|(test, passed)| (test.as_str(), *passed))
                .eq(expected)
        );
        assert!(of_way(&verdicts, "x").into_iter().eq([("TestA/one".to_owned(), true)]));
        let mut text = String::new();
        row(&mut text, "it", &verdicts);
        assert_eq!(text, "| it | 2 of 3 | `TestA` 1 |\n");
    }
}
