//! What must hold while nothing fails: tenants apart, policies seen, forgeries refused, an alert delivered.
//!
//! Takes the running stack; each check gives one line saying what was measured, or an error saying what was found
//! in place of what must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::http;
use serde_json::Value;

use crate::Stack;
use crate::body;
use crate::curl::{Curl, Reply};
use crate::query::Api;
use crate::thanos::Thanos;
use crate::wait::{now, until};

/// From a write to its being seen in the querier, with room for a busy machine.
const SEEN: Duration = Duration::from_secs(45);

pub const TENANTS: [&str; 3] = ["local", "kazusa", "setsuna"];

/// The receivers alone, written to directly: whatever fails after this is not theirs.
pub fn thanos_alone(thanos: &mut Thanos) -> Result<String> {
    for (soft, tenant, copies) in [
        ("soft-a", "setsuna", 1.0),
        ("soft-b", "newcomer", 1.0),
        ("soft-replicated", "kazusa", 2.0),
    ] {
        let (merged, replicas) = (thanos.merged(), thanos.replicas());
        let receiver = thanos.soft(soft)?;
        until(&format!("{soft} takes a write of {tenant}"), SEEN, || {
            let body = body::write("stack_direct", &[], now());
            let headers = [
                ("THANOS-TENANT", tenant),
                ("Content-Type", "application/x-protobuf"),
                ("Content-Encoding", "snappy"),
            ];
            let answer = http::post(&receiver.write, "/api/v1/receive", &headers, &body)?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            Ok(Some(()))
        })?;
        let expression = format!("count(stack_direct{{tenant_id=\"{tenant}\"}})");
        expect(&replicas, &expression, copies)?;
        expect(&merged, &expression, 1.0)?;
    }
    Ok("factor 1 stores once, factor 2 twice, merged once; any tenant header is believed".to_owned())
}

/// Check 1.
pub fn tenants_apart(stack: &mut Stack) -> Result<String> {
    let (merged, replicas) = (stack.thanos.merged(), stack.thanos.replicas());
    for sender in &stack.senders.all {
        // Each Prometheus scrapes itself at its own address: the series that no other sender can have.
        let own = format!("up{{job=\"prometheus\",instance=\"{}\"}}", sender.address);
        let tenants = until(&format!("{own} is seen"), SEEN, || {
            let seen = labels(&merged.query(&own, now())?, "tenant_id");
            Ok((!seen.is_empty()).then_some(seen))
        })?;
        ensure!(
            tenants == [sender.tenant.to_owned()].into(),
            "{own} is seen under {tenants:?}, not {}",
            sender.tenant
        );
    }
    let mut line = Vec::new();
    for (tenant, copies) in [("local", 1.0), ("kazusa", 2.0), ("setsuna", 1.0)] {
        let expression = format!("count(up{{tenant_id=\"{tenant}\",job=\"node\"}})");
        expect(&replicas, &expression, copies)?;
        expect(&merged, &expression, 1.0)?;
        line.push(format!("{tenant} x{copies} stored, x1 merged"));
    }
    Ok(line.join("; "))
}

/// Check 2.
pub fn relabel_policy(stack: &mut Stack) -> Result<String> {
    let merged = stack.thanos.merged();
    expect(
        &merged,
        "count(up{tenant_id=\"setsuna\",cluster=\"setsuna\",job=\"node\"})",
        1.0,
    )?;
    expect(
        &merged,
        "count({tenant_id=\"setsuna\",cluster!=\"setsuna\",__name__!=\"stack_direct\"})",
        0.0,
    )?;
    expect(&merged, "count({tenant_id=\"setsuna\",__name__=~\"go_.*\"})", 0.0)?;
    let others = merged.number("count({tenant_id=\"kazusa\",__name__=~\"go_.*\"})", now())?;
    ensure!(
        others > 0.0,
        "kazusa, who has no relabel policy, has no go_ series either"
    );
    expect(&merged, "count({tenant_id=\"kazusa\",cluster=~\".+\"})", 0.0)?;
    let page = http::get(&stack.gateway.admin, "/metrics")?.text();
    let counted = page
        .lines()
        .find(|line| line.starts_with("gauntlet_dropped_samples_total{") && line.contains("tenant=\"setsuna\""))
        .context("gauntlet_dropped_samples_total has no line for setsuna")?;
    ensure!(!counted.contains("reason=\"\""), "dropped without a reason: {counted}");
    Ok(format!(
        "no go_ series, cluster=\"setsuna\" on every other; {counted}; kazusa keeps {others} go_ series"
    ))
}

/// Check 3.
pub fn forgeries(stack: &mut Stack) -> Result<String> {
    let body = body::write("stack_refused", &[], now());
    let expect = |what: &str, reply: Reply, statuses: &[u16]| {
        ensure!(
            statuses.contains(&reply.status),
            "{what}: {reply:?}, expected one of {statuses:?}"
        );
        Ok::<_, anyhow::Error>(format!("{what} {}", reply.status))
    };
    let door = &stack.gateway.write;
    let certs = &stack.certs;
    let mut line = Vec::new();
    let nothing = Curl::new(stack).post(&body)?;
    ensure!(!nothing.www_authenticate.is_empty(), "401 without WWW-Authenticate");
    line.push(expect("no credential", nothing, &[401])?);
    let header = "Authorization: Bearer a-token-of-nobody";
    line.push(expect(
        "wrong token",
        Curl::new(stack).header(header).post(&body)?,
        &[401],
    )?);
    line.push(expect(
        "no tenant's certificate",
        Curl::new(stack).certificate(&certs.stranger).post(&body)?,
        &[401],
    )?);
    let impostor = Curl::new(stack).certificate(&certs.impostor).post(&body)?;
    ensure!(
        impostor.status == 0 && impostor.exit != 0,
        "a certificate of an unknown authority: {impostor:?}"
    );
    line.push(format!("unknown authority: no handshake (curl {})", impostor.exit));
    let path = format!("https://{door}/api/metrics/v1/kazusa/api/v1/receive");
    let other = Curl::new(stack).url(path).certificate(&certs.setsuna).post(&body)?;
    line.push(expect("another's path", other, &[403])?);
    let plain = Curl::new(stack)
        .url(format!("http://{door}/api/v1/receive"))
        .header("THANOS-TENANT: kazusa");
    let plain = plain.post(&body)?;
    ensure!(plain.status == 0 || plain.status >= 400, "plain HTTP: {plain:?}");
    line.push(format!("plain HTTP {}", plain.status));
    forged_names(stack)?;
    line.push("forged THANOS-TENANT, THANOS-REPLICA, tenant_id end under their own tenant".to_owned());
    let replicas = stack.thanos.replicas();
    ensure!(
        replicas.number("count(stack_refused)", now())? == 0.0,
        "a refused write was stored"
    );
    Ok(line.join(", "))
}

/// Accepted writes whose headers and labels name another tenant: stored, and as the credential's alone.
fn forged_names(stack: &Stack) -> Result<()> {
    let certs = &stack.certs;
    let forged = [("receiver_replica", "x"), ("tenant_id", "kazusa")];
    let reply = Curl::new(stack)
        .certificate(&certs.setsuna)
        .header("THANOS-TENANT: kazusa")
        .header("thanos-tenant: local")
        .header("X-Scope-OrgID: kazusa")
        .post(&body::write("stack_forged", &forged, now()))?;
    ensure!(reply.status == 204, "a sound write with forged names: {reply:?}");
    // A replica number above 0 tells a receiver that the write is a copy already, not to be copied again.
    let reply = Curl::new(stack)
        .certificate(&certs.kazusa)
        .header("THANOS-REPLICA: 1")
        .header("THANOS-TENANT: setsuna")
        .post(&body::write("stack_replica", &[], now()))?;
    ensure!(reply.status == 204, "a sound write with THANOS-REPLICA: {reply:?}");
    let (merged, replicas) = (stack.thanos.merged(), stack.thanos.replicas());
    expect(&replicas, "count(stack_forged)", 1.0)?;
    expect(
        &merged,
        "count(stack_forged{tenant_id=\"setsuna\",exported_tenant_id=\"kazusa\"})",
        1.0,
    )?;
    expect(
        &replicas,
        "count(stack_forged{receiver_replica=\"setsuna-0\",exported_receiver_replica=\"x\"})",
        1.0,
    )?;
    expect(&replicas, "count(stack_replica{tenant_id=\"kazusa\"})", 2.0)?;
    expect(&replicas, "count(stack_replica)", 2.0)
}

/// Check 5.
pub fn alert(stack: &mut Stack) -> Result<String> {
    let alerts = until("the alert reaches Alertmanager", SEEN, || {
        let text = http::get(&stack.thanos.alertmanager, "/api/v2/alerts")?.text();
        let alerts: Vec<Value> = serde_json::from_str(&text)?;
        Ok((!alerts.is_empty()).then_some(alerts))
    })?;
    for alert in &alerts {
        let named = &alert["labels"];
        ensure!(
            named["tenant_id"] == "kazusa" && named["job"] == "batch",
            "an alert for somebody else: {named}"
        );
    }
    Ok(format!(
        "{} for tenant_id=\"kazusa\", job=\"batch\" and no other",
        alerts[0]["labels"]["alertname"]
    ))
}

/// Invariant I6: with the senders gone, every sample that came in is accounted for. Ends the senders.
pub fn accounting(stack: &mut Stack) -> Result<String> {
    for sender in &mut stack.senders.all {
        sender.process.terminate()?;
    }
    let mut line = Vec::new();
    for tenant in TENANTS {
        let count = |name: &str| stack.gateway.metric(name, &[("tenant", tenant)]);
        let counts = until(&format!("{tenant}'s samples are accounted for"), SEEN, || {
            let received = count("gauntlet_received_samples_total")?;
            let forwarded = count("gauntlet_forwarded_samples_total")?;
            let dropped = count("gauntlet_dropped_samples_total")?;
            let rejected = count("gauntlet_rejected_samples_total")?;
            let counts = format!("{tenant} {received} = {forwarded} + {dropped} + {rejected}");
            ensure!(received == forwarded + dropped + rejected, "{counts} does not hold");
            ensure!(received > 0.0, "{tenant}: nothing received");
            Ok(Some(counts))
        })?;
        line.push(counts);
    }
    Ok(format!(
        "received = forwarded + dropped + rejected: {}",
        line.join("; ")
    ))
}

/// A hard receiver that leaves for good uploads what it has, and the store gateway answers for it.
pub fn store_gateway(stack: &mut Stack) -> Result<String> {
    let merged = stack.thanos.merged();
    let (expression, time) = ("sum(count_over_time(up{tenant_id=\"setsuna\"}[30m]))", now());
    let before = merged.number(expression, time)?;
    ensure!(before > 0.0, "setsuna has no samples");
    // Thanos 0.42.4 flushes a head up to its newest millisecond and without it (`flushHead` in its
    // pkg/receive/multitsdb.go): that sample stays in the log on disk. Let it be this one.
    let newest = body::write("stack_newest", &[], now());
    let reply = Curl::new(stack).certificate(&stack.certs.setsuna).post(&newest)?;
    ensure!(reply.status == 204, "a write after the senders left: {reply:?}");
    stack.thanos.hard("setsuna-0")?.process.terminate()?;
    until("the store gateway answers for setsuna", Duration::from_secs(90), || {
        let after = merged.number(expression, time)?;
        ensure!(after == before, "{after} of {before} samples");
        Ok(Some(()))
    })?;
    let loaded = http::metrics(&stack.thanos.store)?.sum("thanos_bucket_store_blocks_loaded", &[]);
    let compactor = http::metrics(&stack.thanos.compactor)?;
    let failures = compactor.sum("thanos_compact_group_compactions_failures_total", &[]);
    let halted = compactor.sum("thanos_compact_halted", &[]);
    if failures + halted > 0.0 {
        bail!("the compactor failed {failures} times, halted: {halted}");
    }
    Ok(format!(
        "setsuna's receiver is gone, all {before} `up` samples come from {loaded} blocks; compactor sound"
    ))
}

/// Waits until `expression` gives `expected`.
pub fn expect(api: &Api, expression: &str, expected: f64) -> Result<()> {
    until(&format!("{expression} is {expected}"), SEEN, || {
        let found = api.number(expression, now())?;
        ensure!(found == expected, "it was {found}");
        Ok(Some(()))
    })
}

fn labels(result: &[Value], name: &str) -> BTreeSet<String> {
    result
        .iter()
        .map(|element| element["metric"][name].as_str().unwrap_or("").to_owned())
        .collect()
}
