//! Spans of a real gateway in a real OpenTelemetry collector, which writes down what it understood.
//!
//! Takes the collector that `scripts/provision traces` builds (`COLLECTOR_BIN` names another), gives what was compared, or the
//! first difference. The collector is reached by TLS, and is away for a while: no write waits for it, and what was done
//! meanwhile comes when it is back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gauntlet_tests::collector::STAGES;
use gauntlet_tests::process::provisioned;
use gauntlet_tests::{Gateway, Received, Receiver, Reply, Setup, Tenant, relabel, series, write};
use serde_json::{Value, json};

use crate::gateway::program;
use crate::process::{Ports, Process, start};
use crate::wait;

const VERSION: &str = "0.165.0";
/// A collector starts in two seconds; what was not taken is sent again within 16.
const PATIENCE: Duration = Duration::from_secs(60);
/// What senders of the check say that their write is part of.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

pub fn traced(dir: &Path, logs: &Path) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(compared(dir, logs))
}

async fn compared(dir: &Path, logs: &Path) -> Result<String> {
    let receiver = Receiver::start().await;
    let address = Ports::new().address()?;
    let traces = json!({
        "endpoint": format!("https://{address}"),
        "sample": 1,
        "tls_config": {"ca_file": "ca.pem"},
    });
    let drop = relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]));
    let tenant = Tenant::new("kazusa")
        .bearer("kazusa-token")
        .upstreams(&["soft"])
        .policy("relabel", drop);
    let setup = Setup::with_receiver(&receiver).set("/traces", traces).tenant(tenant);
    setup.write();
    let written = dir.join("spans.json");
    let mut collector = collector(dir, logs, &setup, &address, &written)?;
    let gateway = Gateway::start_program(setup, Command::new(program()?)).await;

    let sender = gateway.sender().bearer("kazusa-token");
    let said = format!("00-{TRACE}-{SPAN}-01");
    let stored = sender
        .clone()
        .with_header("traceparent", &said)
        .with_header("tracestate", "x=1");
    let body = write(["up", "go_threads"].map(|name| series(name).sample(1.0, 0)));
    ensure!(stored.write(&body).await.status == 204, "the write is stored");
    receiver.answer_next([Reply::status(500)]);
    ensure!(sender.write(&body).await.status == 503, "the write waits");
    ensure!(
        gateway.sender().bearer("nobody's").write(&body).await.status == 401,
        "nobody is refused"
    );
    let spans = spans(&written, 3)?;
    let received = receiver.received();
    of_stored(&spans[0], received.first().context("a part of the write")?)?;
    of_others(&spans[1], &spans[2])?;

    collector.terminate()?;
    for _ in 0..20 {
        ensure!(
            sender.write(&body).await.status == 204,
            "no write waits for a collector"
        );
    }
    gateway.expect_log(&["nothing listens at its port"]).await;
    collector.start_again()?;
    let spans = self::spans(&written, 23)?;
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span["spanId"].to_string()).collect();
    ensure!(ids.len() == 23, "{} spans are 23 different ones", ids.len());
    collector.expect_alive()?;
    let shown = serde_json::to_string_pretty(&spans[0])?;
    Ok(format!(
        "{} spans in an OpenTelemetry collector {VERSION} by TLS, 20 of them of writes while it was away; the first as it wrote it:\n{shown}",
        spans.len()
    ))
}

fn collector(dir: &Path, logs: &Path, setup: &Setup, address: &str, written: &Path) -> Result<Process> {
    let file = |name: &str| setup.folder().join(name);
    let config = json!({
        "receivers": {"otlp": {"protocols": {"http": {
            "endpoint": address,
            "tls": {"cert_file": file("server.pem"), "key_file": file("server.key")},
        }}}},
        "exporters": {"file": {"path": written, "append": true, "flush_interval": "100ms"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
        },
    });
    let path = dir.join("collector.yaml");
    std::fs::write(&path, config.to_string())?;
    let program = match std::env::var("COLLECTOR_BIN") {
        Ok(program) => program,
        Err(_) => provisioned("collector", VERSION)?.display().to_string(),
    };
    let mut process = start(
        "collector",
        logs,
        vec![program, format!("--config=file:{}", path.display())],
    )?;
    wait::until("the collector takes traces", PATIENCE, || {
        process.expect_alive()?;
        Ok(process.log().contains("Everything is ready").then_some(()))
    })?;
    Ok(process)
}

/// What the collector wrote down, in the order it came, once there are so many.
fn spans(written: &Path, n: usize) -> Result<Vec<Value>> {
    wait::until(&format!("{n} spans"), PATIENCE, || {
        let text = std::fs::read_to_string(written)?;
        let mut found = Vec::new();
        for line in text.lines() {
            let batch: Value = serde_json::from_str(line)?;
            for resource in list(&batch["resourceSpans"]) {
                let service = &attributes(&resource["resource"])["service.name"];
                ensure!(service == "gauntlet", "the spans are of {service}");
                let scopes = list(&resource["scopeSpans"]).iter();
                found.extend(scopes.flat_map(|scope| list(&scope["spans"]).to_vec()));
            }
        }
        Ok((found.len() >= n).then_some(found))
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// By key; numbers are text in this format as well.
fn attributes(of: &Value) -> Value {
    let pair = |pair: &Value| {
        let value = pair["value"]
            .as_object()
            .and_then(|value| value.values().next().cloned());
        (
            pair["key"].as_str().unwrap_or_default().to_owned(),
            value.unwrap_or_default(),
        )
    };
    Value::Object(list(&of["attributes"]).iter().map(pair).collect())
}

fn same(what: &str, found: &Value, expected: impl Into<Value>) -> Result<()> {
    let expected = expected.into();
    ensure!(*found == expected, "{what} is {found} and not {expected}");
    Ok(())
}

fn of_stored(span: &Value, received: &Received) -> Result<()> {
    same("its name", &span["name"], "POST /api/v1/receive")?;
    same("its kind", &span["kind"], 2)?;
    same("its trace", &span["traceId"], TRACE)?;
    same("its parent", &span["parentSpanId"], SPAN)?;
    same("its state", &span["traceState"], "x=1")?;
    let own = span["spanId"].as_str().unwrap_or_default();
    let told = received.header("traceparent");
    ensure!(
        told == format!("00-{TRACE}-{own}-01"),
        "the receiver was told {told} by the span {own}"
    );
    let said = attributes(span);
    for (key, value) in [
        ("gauntlet.tenant", "kazusa"),
        ("http.route", "/api/v1/receive"),
        ("url.scheme", "https"),
        ("http.response.status_code", "204"),
        ("gauntlet.samples.received", "2"),
        ("gauntlet.samples.forwarded", "1"),
        ("gauntlet.samples.dropped", "1"),
    ] {
        same(key, &said[key], value)?;
    }
    same(
        "its upstreams",
        &said["gauntlet.upstreams"]["values"][0]["stringValue"],
        "soft",
    )?;
    let names = list(&span["events"]).iter().map(|event| event["name"].clone());
    same("the stages", &names.collect(), STAGES.to_vec())?;
    let events = list(&span["events"]).iter().map(|event| &event["timeUnixNano"]);
    let times = std::iter::once(&span["startTimeUnixNano"])
        .chain(events)
        .chain([&span["endTimeUnixNano"]]);
    let times: Option<Vec<u64>> = times.map(|time| time.as_str()?.parse().ok()).collect();
    ensure!(
        times.is_some_and(|times| times.is_sorted()),
        "the times are in their order: {span}"
    );
    Ok(())
}

fn of_others(waits: &Value, stranger: &Value) -> Result<()> {
    same("the status of a 503", &waits["status"]["code"], 2)?;
    same(
        "the code of a 503",
        &attributes(waits)["http.response.status_code"],
        "503",
    )?;
    ensure!(
        waits["traceId"] != TRACE,
        "a write without a traceparent begins a trace"
    );
    same("the status of a 401", &stranger["status"], json!({}))?;
    same(
        "the reason of a 401",
        &attributes(stranger)["gauntlet.reason"],
        "wrong_credential",
    )
}
