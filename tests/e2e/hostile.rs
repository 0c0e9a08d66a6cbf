//! Guests that loop, recurse, grow, trap and lie: what they cost their tenant, and that nobody else pays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gauntlet_tests::{Gateway, Receiver, Response, Setup, Tenant, eventually, relabel, series, write};
use serde_json::json;

use crate::{many, small_write, tenant};

/// A guest made for tests, chosen by its settings.
fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-plugins/fixtures/built");
    folder.join(format!("{name}.wasm"))
}

fn setup(receiver: &Receiver) -> Setup {
    // The default: a call that loops is to be cut off soon.
    Setup::with_receiver(receiver)
        .set("/sandbox/call_timeout", "50ms")
        .set("/plugins/hostile", json!({"file": fixture("hostile")}))
}

/// A tenant whose plugin misbehaves in `mode` where a series has the label `evil`.
fn hostile(id: &str, mode: &str) -> Tenant {
    tenant(id).policy("hostile", json!({"mode": mode, "when": "evil"}))
}

/// The same where the operator would rather have a write fail whole than a series refused.
fn retrying(id: &str, mode: &str) -> Tenant {
    let settings = json!({"mode": mode, "when": "evil"});
    tenant(id).policy_entry(json!({"plugin": "hostile", "settings": settings, "on_failure": "retry"}))
}

/// A tenant whose plugin misbehaves in `mode` when the user `<id>-user` asks it to admit a write.
///
/// Only then: a policy that fails on the plain batch it is tried with never gets as far as serving.
fn hostile_admission(id: &str, mode: &str) -> Tenant {
    let user = format!("{id}-user");
    let settings = json!({"mode": mode, "at": "admit", "when": user});
    tenant(id).basic(&user, "password").policy("hostile", settings)
}

async fn write_as_user(gateway: &Gateway, id: &str) -> Response {
    let sender = gateway.sender().basic(&format!("{id}-user"), "password");
    sender.write(&small_write()).await
}

/// The tenant whose peace is watched: each of its writes has series that its policy never saw.
fn bystander() -> Tenant {
    tenant("b").policy("relabel", relabel(json!([{"target_label": "c", "replacement": "d"}])))
}

async fn write_evil(gateway: &Gateway, id: &str) -> Response {
    let evil = many("up", 3).into_iter().map(|one| one.label("evil", "1"));
    gateway
        .sender()
        .bearer(&format!("{id}-token"))
        .write(&write(evil))
        .await
}

async fn bystander_is_served(gateway: &Gateway, what: &str) {
    let sent = write([series("bystander").label("never_seen", what).sample(1.0, 0)]);
    let answer = gateway.sender().bearer("b-token").write(&sent).await;
    assert_eq!(answer.status, 204, "beside {what}: {answer:?}");
}

#[tokio::test]
async fn a_call_that_fails_costs_its_tenant_a_503_and_nobody_else_anything() {
    let receiver = Receiver::start().await;
    let modes = [
        "loop",
        "recurse",
        "grow",
        "trap",
        "error",
        "huge-error",
        "wrong-length",
        "extra-verdict",
        "huge-result",
        "fill",
    ];
    let setup = modes.iter().fold(setup(&receiver).tenant(bystander()), |s, mode| {
        s.tenant(retrying(mode, mode))
    });
    let gateway = Gateway::start(setup).await;
    for mode in modes {
        let answer = write_evil(&gateway, mode).await;
        assert_eq!(answer.status, 503, "{mode}: {answer:?}");
        assert!(answer.retry_after() >= 1, "{mode}");
        assert!(
            answer.text.len() <= 1024 && !answer.text.contains('\u{1b}'),
            "{mode}: {answer:?}"
        );
        bystander_is_served(&gateway, mode).await;
        // What it is polite about still passes: a new instance serves the next call.
        eventually("a polite write to pass", async || {
            let polite = gateway.sender().bearer(&format!("{mode}-token"));
            (polite.write(&small_write()).await.status == 204).then_some(())
        })
        .await;
    }
    let metrics = gateway.metrics().await;
    for mode in modes {
        assert!(
            metrics.sum("gauntlet_policy_traps_total", &[("tenant", mode)]) >= 1.0,
            "{mode}"
        );
    }
    assert_eq!(metrics.sum("gauntlet_policy_traps_total", &[("tenant", "b")]), 0.0);
    let arrived = receiver.received();
    assert!(
        arrived
            .iter()
            .all(|r| r.write.timeseries.iter().all(|s| s.value("evil").is_none()))
    );
    assert!(gateway.memory() < 1 << 30, "{} bytes", gateway.memory());
}

#[tokio::test]
async fn a_series_that_a_policy_fails_on_is_refused_and_named_and_the_rest_of_the_write_goes_on() {
    for mode in ["trap", "grow", "loop"] {
        let receiver = Receiver::start().await;
        let mut gateway = Gateway::start(setup(&receiver).tenant(hostile("a", mode)).tenant(bystander())).await;
        let sent = || {
            let mut all = many("up", 200);
            all[77] = series("poison").label("evil", "1").sample(1.0, 0);
            write(all)
        };
        let traps = async |gateway: &Gateway| gateway.metrics().await.sum("gauntlet_policy_traps_total", &[]);
        let mut first = None;
        // Often enough to rest a policy that failed; from the second time on it is not asked.
        for _ in 0..6 {
            receiver.clear();
            let answer = gateway.sender().bearer("a-token").write(&sent()).await;
            assert_eq!(answer.status, 400, "{mode}: {answer:?}");
            let told = "1: labels that a policy fails on (policy hostile), as in poison";
            assert!(answer.text.contains(told), "{mode}: {answer:?}");
            assert_eq!(receiver.only().write.timeseries.len(), 199, "{mode}");
            let traps = traps(&gateway).await;
            assert_eq!(*first.get_or_insert(traps), traps, "{mode}");
        }
        bystander_is_served(&gateway, mode).await;
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.sum("gauntlet_policy_quarantined", &[]), 0.0, "{mode}");
        let refused = [("tenant", "a"), ("reason", "fails_policy")];
        assert_eq!(metrics.sum("gauntlet_rejected_samples_total", &refused), 6.0, "{mode}");
        let policies = gateway.api("/api/v1/policies").await.to_string();
        assert!(policies.contains(r#""series":"poison{evil=\"1\"}""#), "{policies}");
        let log = gateway.log();
        assert_eq!(log.matches("a policy fails on a series").count(), 1, "{mode}: {log}");
        // A new generation has refused nothing yet.
        let good = tenant("a").policy("relabel", relabel(json!([])));
        gateway.reload_tenant(good).await;
        assert_eq!(
            gateway.sender().bearer("a-token").write(&sent()).await.status,
            204,
            "{mode}"
        );
    }
}

#[tokio::test]
async fn an_admission_that_fails_costs_its_tenant_a_503_and_nobody_else_anything() {
    let receiver = Receiver::start().await;
    let other = Receiver::start().await;
    let modes = [
        "loop",
        "recurse",
        "grow",
        "trap",
        "error",
        "huge-result",
        "nan-charge",
        "negative-charge",
        "huge-charge",
        "many-buckets",
        "forbidden-upstream",
    ];
    let all = setup(&receiver).upstream("forbidden", &[&other]).tenant(bystander());
    let setup = modes
        .iter()
        .fold(all, |s, mode| s.tenant(hostile_admission(mode, mode)));
    let gateway = Gateway::start(setup).await;
    for mode in modes {
        let answer = write_as_user(&gateway, mode).await;
        assert_eq!(answer.status, 503, "{mode}: {answer:?}");
        assert!(answer.retry_after() >= 1, "{mode}");
        bystander_is_served(&gateway, mode).await;
    }
    assert!(receiver.received().iter().all(|r| r.tenant() == "b"));
    assert!(other.received().is_empty());
    // Whom it does not fail for is still served.
    for mode in modes {
        eventually("a polite write to pass", async || {
            let polite = gateway.sender().bearer(&format!("{mode}-token"));
            (polite.write(&small_write()).await.status == 204).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_lie_in_an_answer_never_reaches_a_receiver() {
    let receiver = Receiver::start().await;
    let modes = [
        "reserved-label",
        "duplicate-label",
        "empty-name",
        "no-labels",
        "no-metric-name",
        "label-bomb",
        "value-bomb",
        "huge-stream",
        "huge-budget",
        "many-streams",
    ];
    let setup = modes.iter().fold(setup(&receiver).tenant(bystander()), |s, mode| {
        s.tenant(hostile(mode, mode))
    });
    let gateway = Gateway::start(setup).await;
    for mode in modes {
        receiver.clear();
        let answer = write_evil(&gateway, mode).await;
        assert!([204, 400, 503].contains(&answer.status), "{mode}: {answer:?}");
        for received in receiver.received() {
            assert_eq!(received.tenant(), mode);
            for one in received.write.timeseries {
                let mut names: Vec<_> = one.labels.iter().map(|l| l.name.as_str()).collect();
                assert!(
                    names.contains(&"__name__") && !names.contains(&""),
                    "{mode}: {}",
                    one.text()
                );
                assert!(
                    !names.contains(&"tenant_id") && !names.contains(&"receiver_replica"),
                    "{mode}"
                );
                let sorted = names.is_sorted();
                names.dedup();
                assert!(sorted && names.len() == one.labels.len() && names.len() <= 64, "{mode}");
                assert!(one.labels.iter().all(|l| l.value.len() <= 4096), "{mode}");
            }
        }
        bystander_is_served(&gateway, mode).await;
    }
}

#[tokio::test]
async fn a_policy_names_64_streams_and_a_series_in_one_more_is_refused_alone() {
    let receiver = Receiver::start().await;
    let setup = ["at", "above"]
        .into_iter()
        .fold(setup(&receiver), |setup, id| setup.tenant(hostile(id, "many-streams")));
    let gateway = Gateway::start(setup).await;
    // The guest names a stream for each series of a call that has any such: once it is known to be fast, a write is one call.
    for token in ["at-token", "above-token"] {
        let plain = gateway.sender().bearer(token).write(&write(many("plain", 600))).await;
        assert_eq!(plain.status, 204, "{plain:?}");
    }
    let evil = |series| write(many("up", series).into_iter().map(|one| one.label("evil", "1")));
    // The second time they are known.
    for _ in 0..6 {
        let at = gateway.sender().bearer("at-token").write(&evil(64)).await;
        assert_eq!(at.status, 204, "{at:?}");
        receiver.clear();
        let above = gateway.sender().bearer("above-token").write(&evil(65)).await;
        assert_eq!(above.status, 400, "{above:?}");
        assert!(above.text.contains("1: one stream more"), "{above:?}");
        let arrived: usize = receiver.received().iter().map(|r| r.write.timeseries.len()).sum();
        assert_eq!(arrived, 64);
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("gauntlet_policy_traps_total", &[]), 0.0);
}

#[tokio::test]
async fn a_plugins_words_are_data_in_the_log_the_metrics_and_the_answer() {
    let receiver = Receiver::start().await;
    let setup = setup(&receiver)
        .tenant(hostile("reason", "hostile-reason"))
        .tenant(hostile("codes", "escape-codes"))
        .tenant(hostile("flood", "log-flood"))
        .tenant(hostile("huge", "log-huge"))
        .tenant(hostile_admission("reject", "huge-reject"))
        .tenant(bystander());
    let gateway = Gateway::start(setup).await;
    assert_eq!(write_evil(&gateway, "reason").await.status, 204);
    assert_eq!(write_evil(&gateway, "codes").await.status, 204);
    for id in ["flood", "huge"] {
        let answer = write_evil(&gateway, id).await;
        assert!([204, 400, 503].contains(&answer.status), "{id}: {answer:?}");
        bystander_is_served(&gateway, id).await;
    }
    let rejected = write_as_user(&gateway, "reject").await;
    assert_eq!(rejected.status, 400, "{rejected:?}");
    assert!(rejected.text.len() <= 1024, "{} bytes", rejected.text.len());
    assert!(
        rejected.text.chars().all(|c| c == '\n' || !c.is_control()),
        "{rejected:?}"
    );
    // Parses, and has no line that a plugin made.
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.sum("gauntlet_dropped_samples_total", &[("tenant", "reason")]),
        3.0
    );
    let text = gateway.admin("GET", "/metrics").await.text;
    assert!(!text.lines().any(|line| line.starts_with("# HELP forged")));
    assert!(text.len() < 1 << 20, "{} bytes of metrics", text.len());
    let log = gateway.log();
    assert!(!log.contains(['\u{1b}', '\0']), "escape codes reached the log");
    assert!(
        !log.lines().any(|line| line.starts_with("level=error")),
        "a line was forged"
    );
    assert!(log.len() < 4 << 20, "{} bytes of log", log.len());
}

#[tokio::test]
async fn a_guest_that_cannot_be_configured_is_that_tenants_matter() {
    let receiver = Receiver::start().await;
    let modes = ["loop", "recurse", "grow", "trap", "error", "huge-error", "log-flood"];
    let failing = |mode: &str| tenant(mode).policy("hostile", json!({"mode": mode, "at": "configure"}));
    let setup = modes[..6]
        .iter()
        .fold(setup(&receiver).tenant(bystander()), |s, mode| s.tenant(failing(mode)));
    let gateway = Gateway::start(setup).await;
    for mode in &modes[..6] {
        let answer = gateway
            .sender()
            .bearer(&format!("{mode}-token"))
            .write(&small_write())
            .await;
        assert_eq!(answer.status, 503, "{mode}: {answer:?}");
        bystander_is_served(&gateway, mode).await;
    }
    let metrics = gateway.metrics().await;
    for mode in &modes[..6] {
        assert_eq!(
            metrics.sum("gauntlet_tenant_broken", &[("tenant", mode)]),
            1.0,
            "{mode}"
        );
    }
    assert!(
        gateway
            .api("/api/v1/status")
            .await
            .to_string()
            .contains("this policy refuses to answer")
    );
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_and_the_others_are_served() {
    let receiver = Receiver::start().await;
    let whole = std::fs::read(fixture("pass")).unwrap();
    let files: [(&str, Vec<u8>); 5] = [
        ("empty", Vec::new()),
        ("text", b"#!/bin/sh\nexit 0\n".to_vec()),
        ("core-module", b"\0asm\x01\0\0\0".to_vec()),
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("no-exports", b"\0asm\x0d\0\x01\0".to_vec()),
    ];
    let mut setup = setup(&receiver).tenant(bystander());
    for (name, bytes) in &files {
        std::fs::write(setup.folder().join(format!("{name}.wasm")), bytes).unwrap();
        setup = setup.set(&format!("/plugins/{name}"), json!({"file": format!("{name}.wasm")}));
        setup = setup.tenant(tenant(name).policy(name, json!({})));
    }
    let gateway = Gateway::start(setup).await;
    for (name, _) in &files {
        let answer = gateway
            .sender()
            .bearer(&format!("{name}-token"))
            .write(&small_write())
            .await;
        assert_eq!(answer.status, 503, "{name}: {answer:?}");
        bystander_is_served(&gateway, name).await;
    }
    assert!(receiver.received().iter().all(|r| r.tenant() == "b"));
}

#[tokio::test]
async fn the_next_good_generation_recovers_without_a_restart() {
    let receiver = Receiver::start().await;
    let good = || tenant("a").policy("relabel", relabel(json!([])));
    for mode in ["loop", "trap"] {
        receiver.clear();
        let mut gateway = Gateway::start(setup(&receiver).tenant(retrying("a", mode))).await;
        // Often enough to be quarantined.
        for _ in 0..10 {
            assert_eq!(write_evil(&gateway, "a").await.status, 503, "{mode}");
        }
        let metrics = gateway.metrics().await;
        assert_eq!(
            metrics.sum("gauntlet_policy_quarantined", &[("tenant", "a")]),
            1.0,
            "{mode}"
        );
        assert!(receiver.received().is_empty());
        gateway.reload_tenant(good()).await;
        assert_eq!(write_evil(&gateway, "a").await.status, 204, "{mode}");
        let metrics = gateway.metrics().await;
        assert_eq!(
            metrics.sum("gauntlet_policy_quarantined", &[("tenant", "a")]),
            0.0,
            "{mode}"
        );
        // And back to the bad one, and good again.
        gateway.reload_tenant(retrying("a", mode)).await;
        assert_eq!(write_evil(&gateway, "a").await.status, 503, "{mode}");
        gateway.reload_tenant(good()).await;
        assert_eq!(write_evil(&gateway, "a").await.status, 204, "{mode}");
    }
}

#[tokio::test]
async fn a_policy_that_fails_from_the_start_never_replaces_one_that_works() {
    let receiver = Receiver::start().await;
    let works = tenant("a").policy("relabel", relabel(json!([{"target_label": "v", "replacement": "1"}])));
    let mut gateway = Gateway::start(setup(&receiver).tenant(works)).await;
    for mode in ["loop", "trap", "wrong-length", "huge-result"] {
        let always = tenant("a").policy("hostile", json!({"mode": mode}));
        let answer = gateway.reload(|setup| setup.put_tenant(always)).await;
        assert_eq!(answer.status, 500, "{mode}: {answer:?}");
        receiver.clear();
        let sender = gateway.sender().bearer("a-token");
        assert_eq!(sender.write(&small_write()).await.status, 204, "{mode}");
        assert_eq!(receiver.only().write.timeseries[0].value("v"), Some("1"), "{mode}");
    }
}

#[tokio::test]
async fn a_policy_the_operator_lets_be_bypassed_is_left_out_when_it_fails() {
    let receiver = Receiver::start().await;
    let settings = json!({"mode": "trap", "when": "never_seen"});
    let entry = json!({"plugin": "hostile", "settings": settings, "on_failure": "bypass"});
    let setup = setup(&receiver)
        .set("/policies/before", json!([entry]))
        .tenant(bystander());
    let gateway = Gateway::start(setup).await;
    bystander_is_served(&gateway, "a bypassed policy").await;
    let arrived = receiver.only().write.timeseries.remove(0);
    assert_eq!(arrived.value("c"), Some("d"), "the tenant's own policy ran");
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("gauntlet_policy_bypassed_total", &[("tenant", "b")]) >= 1.0);
}

#[tokio::test]
async fn a_tenant_whose_plugin_loops_all_the_time_delays_nobody_for_long() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(setup(&receiver).tenant(retrying("a", "loop")).tenant(bystander())).await;
    let failures = Arc::new(AtomicU32::new(0));
    let attackers: Vec<_> = (0..20)
        .map(|attacker| {
            let (sender, failures) = (gateway.sender().bearer("a-token"), Arc::clone(&failures));
            tokio::spawn(async move {
                // Nine polite calls to one that loops, so that no quarantine ends the attack for long.
                for n in attacker.. {
                    let one = series("up").label("n", &format!("{attacker}-{n}"));
                    let one = if n % 10 == 0 { one.label("evil", "1") } else { one };
                    let answer = sender.write(&write([one.sample(1.0, 0)])).await;
                    assert!([204, 503].contains(&answer.status), "{answer:?}");
                    failures.fetch_add(u32::from(answer.status == 503), Ordering::Relaxed);
                }
            })
        })
        .collect();
    let sender = gateway.sender().bearer("b-token");
    let mut took = Vec::new();
    // Some of the failures are calls that looped, some are refusals of the quarantine between them.
    while took.len() < 40 || failures.load(Ordering::Relaxed) < 200 {
        let start = Instant::now();
        let sent = write([series("bystander").label("n", &took.len().to_string()).sample(1.0, 0)]);
        assert_eq!(sender.write(&sent).await.status, 204);
        took.push(start.elapsed());
    }
    for attacker in attackers {
        attacker.abort();
    }
    let traps = gateway
        .metrics()
        .await
        .sum("gauntlet_policy_traps_total", &[("tenant", "a")]);
    assert!(traps >= 3.0, "the attack was none: {traps} traps");
    took.sort();
    // First come, first served would make each wait for up to 20 calls of 50 ms on two threads.
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(250), "{took:?}");
}
