//! The rules, their cases and the dashboard of `deploy/`, against a real Prometheus that scrapes a real gateway with traffic.
//!
//! Takes the files as they are shipped, gives what was asked and answered, or the first query that a Prometheus refuses or
//! that shows nothing where there is something. Never looks at what a panel looks like.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::{Gateway, Receiver, Reply, Sender, Setup, Tenant, http, relabel, series, write};
use serde_json::{Value, json};

use crate::gateway::program;
use crate::process::{Ports, Process, start};
use crate::query::Api;
use crate::wait;

/// Scrapes that a rate needs, at one a second.
const RATE: &str = "8s";
/// For the last of the queries to have an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Panels of what a sound gateway has nothing of.
const MAY_BE_EMPTY: &[&str] = &[
    // A policy that traps is none that is built in.
    "Failures",
    "Left out",
    // Nothing was taken out of the configuration.
    "Removed and in use",
    "Refused connections",
    // No built-in policy logs.
    "Log lines",
];

/// Checks the rules and their cases; then asks a Prometheus for all of the dashboard.
pub fn observe(dir: &Path, logs: &Path) -> Result<String> {
    let rules = deploy("prometheus");
    promtool(&rules, &["check", "rules", "gauntlet.rules.yaml"])?;
    promtool(&rules, &["test", "rules", "gauntlet.tests.yaml"])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dashboard(dir, logs))
}

fn deploy(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(folder)
}

fn promtool(folder: &Path, arguments: &[&str]) -> Result<()> {
    let command = Command::new("promtool").args(arguments).current_dir(folder).output();
    let done = command.context("promtool is in Debian's package prometheus")?;
    let said = [done.stdout, done.stderr].concat();
    ensure!(
        done.status.success(),
        "promtool {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

async fn dashboard(dir: &Path, logs: &Path) -> Result<String> {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start_program(setup(&receiver), Command::new(program()?)).await;
    let mut ports = Ports::new();
    let mut prometheus = prometheus(dir, logs, &mut ports, &gateway.admin.to_string())?;
    let traffic = tokio::spawn(traffic(gateway.sender(), receiver));
    let api = Api {
        address: prometheus.0.clone(),
        parameters: "",
    };
    let asked = tokio::task::spawn_blocking(move || ask_all(&api, &mut prometheus.1)).await?;
    traffic.abort();
    asked
}

/// Something of each that the dashboard shows.
fn setup(receiver: &Receiver) -> Setup {
    let rules = relabel(json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"action": "replace", "target_label": "cluster", "replacement": "one"},
    ]));
    let limits = json!({
        "samples": {"per_second": 20, "burst": 20},
        "series_budgets": [{"name": "up", "match": {"__name__": "up"}, "max_active_series": 100}],
    });
    let shadow = relabel(json!([{"action": "drop", "source_labels": ["job"], "regex": ".*"}]));
    let tenant = Tenant::new("kazusa")
        .bearer("kazusa-token")
        .basic("kazusa", "secret")
        .upstreams(&["soft"])
        .set("shown_budgets", json!(["up"]))
        .policy("relabel", rules)
        .policy("limits", limits)
        .policy_entry(json!({"plugin": "relabel", "name": "tried", "mode": "shadow", "settings": shadow}));
    Setup::with_receiver(receiver).tenant(tenant)
}

/// Until it is stopped: writes that are stored, that are over their rate, that a receiver refuses, and that prove nobody.
async fn traffic(sender: Sender, receiver: Receiver) {
    for round in 0_u32.. {
        let names = ["up", "go_threads"].map(|name| series(name).label("job", &round.to_string()).sample(1.0, 0));
        let body = write(names);
        let with_token = sender.clone().bearer("kazusa-token");
        with_token.write(&body).await;
        if round.is_multiple_of(4) {
            receiver.answer_next([Reply::status(500)]);
            with_token.write(&body).await;
            sender.clone().basic("kazusa", "secret").write(&body).await;
            sender.clone().bearer("wrong").write(&body).await;
        }
        let many = (0..30).map(|n| series("many").label("n", &n.to_string()).sample(1.0, 0));
        with_token.write(&write(many)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn prometheus(dir: &Path, logs: &Path, ports: &mut Ports, admin: &str) -> Result<(String, Process)> {
    let (config, address) = (dir.join("watching.yaml"), ports.address()?);
    let rules = deploy("prometheus").join("gauntlet.rules.yaml").canonicalize()?;
    let text = json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "900ms", "evaluation_interval": "1s"},
        "rule_files": [rules],
        "scrape_configs": [{"job_name": "gauntlet", "static_configs": [{"targets": [admin]}]}],
    });
    std::fs::write(&config, text.to_string())?;
    let argv = vec![
        "prometheus".to_owned(),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.join("data/watching").display()),
        format!("--web.listen-address={address}"),
    ];
    let process = start("watching", logs, argv)?;
    Ok((address, process))
}

/// Asks until every query has an answer, and every rule was evaluated without an error.
fn ask_all(api: &Api, prometheus: &mut Process) -> Result<String> {
    wait::until("the watching Prometheus is ready", PATIENCE, || {
        prometheus.expect_alive()?;
        Ok(http::ok(&api.address, "/-/ready")?.then_some(()))
    })?;
    let text = std::fs::read_to_string(deploy("grafana").join("gauntlet.json"))?;
    let dashboard: Value = serde_json::from_str(&text).context("deploy/grafana/gauntlet.json")?;
    let queries = queries(&dashboard);
    ensure!(queries.len() > 40, "{} queries are in the dashboard", queries.len());
    let is_there = |name: &&str| queries.iter().any(|(panel, _)| panel == name);
    ensure!(
        MAY_BE_EMPTY.iter().all(is_there),
        "a panel that may be empty is not there"
    );
    for (panel, query) in &queries {
        wait::until(&format!("an answer to {panel:?}: {query}"), PATIENCE, || {
            let is_there = !api.query(query, wait::now())?.is_empty();
            Ok((is_there || MAY_BE_EMPTY.contains(&panel.as_str())).then_some(()))
        })?;
    }
    let variables = variables(api, &dashboard)?;
    let rules = wait::until("every rule to be evaluated", PATIENCE, || rules(api))?;
    Ok(format!(
        "{} queries and {variables} variables of the dashboard answered, {rules} rules without an error",
        queries.len()
    ))
}

/// Each query with the panel that it is of, as Grafana would ask it with everything chosen.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            let written = target["expr"].as_str().unwrap_or_default();
            found.push((
                panel["title"].as_str().unwrap_or_default().to_owned(),
                filled_in(written),
            ));
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        let written = annotation["expr"].as_str().unwrap_or_default();
        // That something changed; that it is asked without an error is all.
        found.push((
            "annotation".to_owned(),
            format!("({}) or vector(0)", filled_in(written)),
        ));
    }
    found
}

fn filled_in(written: &str) -> String {
    let all = [("$__rate_interval", RATE), ("$instance", ".*"), ("$tenant", ".*")];
    all.iter()
        .fold(written.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// How many choices the dashboard offers: of each what `label_values(metric, label)` asks for must be there.
fn variables(api: &Api, dashboard: &Value) -> Result<usize> {
    let all = dashboard["templating"]["list"].as_array().cloned().unwrap_or_default();
    let asked = all.iter().filter_map(|variable| variable["definition"].as_str());
    let mut count = 0;
    for definition in asked {
        let inside = definition
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = inside
            .and_then(|inside| inside.split_once(", "))
            .with_context(|| format!("{definition} is no label_values(metric, label)"))?;
        let found = api.query(&format!("count by ({label}) ({metric})"), wait::now())?;
        let has_label = |one: &Value| one["metric"][label].is_string();
        ensure!(found.iter().any(has_label), "{definition} gives nothing");
        count += 1;
    }
    Ok(count)
}

fn rules(api: &Api) -> Result<Option<usize>> {
    let answer: Value = serde_json::from_str(&http::get(&api.address, "/api/v1/rules")?.text())?;
    let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
    let all: Vec<Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
        .collect();
    if let Some(bad) = all.iter().find(|rule| rule["health"] == "err") {
        bail!("{}: {}", bad["name"], bad["lastError"]);
    }
    let are_known = !all.is_empty() && all.iter().all(|rule| rule["health"] == "ok");
    Ok(are_known.then_some(all.len()))
}
