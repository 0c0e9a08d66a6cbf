//! What `/metrics` costs whoever keeps it, and what it no longer says of tenants that left.

use gauntlet_tests::{Gateway, Receiver, Setup, Tenant, eventually, relabel, write};
use serde_json::json;

use crate::{many, small_write, tenant};

/// One that drops and edits by rules, under rate limits: what most operators write.
fn usual(id: &str) -> Tenant {
    let rules = relabel(json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"action": "replace", "target_label": "cluster", "replacement": "one"},
    ]));
    let limits = json!({"samples": {"per_second": 1_000_000, "burst": 1_000_000}});
    tenant(id)
        .policy("relabel", rules)
        .policy("limits", limits)
        .basic(&format!("{id}-user"), "secret")
}

fn series_in(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test]
async fn five_hundred_tenants_with_policies_and_traffic_are_under_forty_thousand_series() {
    let receiver = Receiver::start().await;
    let ids: Vec<String> = (0..500).map(|n| format!("tenant-{n}")).collect();
    let setup = Setup::with_receiver(&receiver).insecure();
    let setup = ids.iter().fold(setup, |setup, id| setup.tenant(usual(id)));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender();
    let series = [many("up", 3), many("go_threads", 2)].concat();
    for id in &ids {
        let answer = sender
            .clone()
            .bearer(&format!("{id}-token"))
            .write(&write(series.clone()))
            .await;
        assert_eq!(answer.status, 204, "{id}: {answer:?}");
    }
    let text = gateway.admin("GET", "/metrics").await.text;
    let all = series_in(&text);
    let of_one: Vec<&str> = text.lines().filter(|line| line.contains("\"tenant-7\"")).collect();
    println!("{all} series, {} bytes, {} of one tenant", text.len(), of_one.len());
    println!("{}", of_one.join("\n"));
    // With room for what goes wrong: other answers, reasons, credentials.
    assert!(all < 37_000, "{all} series");
    assert!(of_one.len() * 500 > all / 2, "{} of one tenant", of_one.len());
}

#[tokio::test]
async fn a_tenant_that_left_takes_its_series_along_and_one_that_stays_keeps_them() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/credential_grace", 0)
        .tenant(usual("stays"))
        .tenant(usual("leaves"));
    let mut gateway = Gateway::start(setup).await;
    for id in ["stays", "leaves"] {
        let sender = gateway.sender().bearer(&format!("{id}-token"));
        assert_eq!(sender.write(&small_write()).await.status, 204);
        // One that fails has series of its own.
        assert_eq!(sender.request("nonsense").send().await.status, 400);
    }
    let of = async |gateway: &Gateway, id: &str| {
        let text = gateway.admin("GET", "/metrics").await.text;
        text.lines().filter(|line| line.contains(&format!("\"{id}\""))).count()
    };
    let before = of(&gateway, "stays").await;
    assert_eq!(of(&gateway, "leaves").await, before);
    let reloaded = gateway.reload(|setup| setup.remove_tenant("leaves")).await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    eventually("no series of who left", async || {
        (of(&gateway, "leaves").await == 0).then_some(())
    })
    .await;
    assert_eq!(of(&gateway, "stays").await, before);

    // Who comes back begins at zero.
    let back = gateway.reload(|setup| setup.put_tenant(usual("leaves"))).await;
    assert_eq!(back.status, 200, "{back:?}");
    let sender = gateway.sender().bearer("leaves-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let labels = [("tenant", "leaves")];
    gateway
        .expect_metric("gauntlet_received_samples_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn limits_stand_beside_what_is_used_of_them() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").limit("max_active_series", 10));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&write(many("up", 4))).await.status, 204);
    let metrics = gateway.metrics().await;
    let of = |limit| [("tenant", "a"), ("limit", limit)];
    for (limit, most, used) in [
        ("max_active_series", 10.0, 4.0),
        ("max_concurrent_requests", 256.0, 0.0),
        ("max_in_flight_size", f64::from(128 << 20), 0.0),
    ] {
        assert_eq!(metrics.sum("gauntlet_limits", &of(limit)), most, "{limit}");
        assert_eq!(metrics.sum("gauntlet_limit_use", &of(limit)), used, "{limit}");
    }
}

#[tokio::test]
async fn a_credential_says_when_the_certificate_ends_that_it_was_used_with() {
    let receiver = Receiver::start().await;
    let a = usual("a").certificate("uri_san", "spiffe://a");
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(a)).await;
    let certificate = gateway.setup.certs.client_uri("spiffe://a");
    let sender = gateway.sender_with(&certificate);
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    let metrics = gateway.metrics().await;
    let end = metrics.sum(
        "gauntlet_credential_expires_timestamp_seconds",
        &[("tenant", "a"), ("credential", "client_certificate uri_san=spiffe://a")],
    );
    // As the toolkit's certificates have it: that of rcgen.
    assert!(end > 4e10, "{end} {metrics:?}");
    let token = [("tenant", "a"), ("credential", "bearer_token")];
    assert!(!metrics.has("gauntlet_credential_expires_timestamp_seconds", &token));
    let credentials = gateway.api("/api/v1/tenants/a").await["credentials"].take();
    let told: Vec<_> = credentials
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["expires_timestamp_seconds"])
        .filter(|end| !end.is_null())
        .collect();
    assert_eq!(told, [&json!(end as i64)], "{credentials}");
}

#[tokio::test]
async fn a_credential_says_when_it_was_used_last_and_a_wrong_one_of_which_kind_it_is() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(usual("a"))).await;
    let used = [("tenant", "a"), ("credential", "basic_auth username=a-user")];
    let name = "gauntlet_credential_last_used_timestamp_seconds";
    assert!(!gateway.metrics().await.has(name, &used));
    let write = small_write();
    assert_eq!(
        gateway.sender().basic("a-user", "secret").write(&write).await.status,
        204
    );
    let metrics = gateway.metrics().await;
    let start = metrics.sum("process_start_time_seconds", &[]);
    assert!(start > 1e9 && metrics.sum(name, &used) >= start - 1.0, "{metrics:?}");
    assert!(!metrics.has(name, &[("tenant", "a"), ("credential", "bearer_token")]));

    gateway.sender().basic("a-user", "wrong").write(&write).await;
    gateway.sender().bearer("wrong").write(&write).await;
    gateway.sender().write(&write).await;
    let stranger = gateway.setup.certs.client_uri("spiffe://nobody/here");
    gateway.sender_with(&stranger).write(&write).await;
    gateway
        .sender()
        .bearer("a-token")
        .to_path("/nowhere")
        .write(&write)
        .await;
    let metrics = gateway.metrics().await;
    for (kind, reason) in [
        ("basic_auth", "wrong_credential"),
        ("bearer_token", "wrong_credential"),
        ("none", "no_credential"),
        ("client_certificate", "wrong_credential"),
        ("unread", "unknown_path"),
    ] {
        let labels = [("kind", kind), ("reason", reason)];
        let failures = metrics.sum("gauntlet_authentication_failures_total", &labels);
        assert_eq!(failures, 1.0, "{kind} {reason}: {metrics:?}");
    }
}

#[tokio::test]
async fn the_process_and_its_runtimes_tell_what_they_take() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let metrics = gateway.metrics().await;
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_threads",
    ] {
        assert!(metrics.sum(name, &[]) > 0.0, "{name}: {metrics:?}");
    }
    let control = [("runtime", "control")];
    assert_eq!(metrics.sum("gauntlet_runtime_workers", &control), 2.0);
    assert!(metrics.sum("gauntlet_runtime_tasks", &control) >= 2.0, "{metrics:?}");
    for runtime in ["control", "io"] {
        let busy = metrics.sum("gauntlet_runtime_busy_seconds_total", &[("runtime", runtime)]);
        assert!(busy > 0.0, "{runtime}: {metrics:?}");
        assert!(metrics.has("gauntlet_runtime_queue_depth", &[("runtime", runtime)]));
    }
}
