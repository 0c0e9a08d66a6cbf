//! I6: every sample that came is forwarded, dropped or rejected, and the counts say which.

use gauntlet_tests::{Gateway, Metrics, Receiver, Reply, Setup, TimeSeries, WriteRequest, relabel, series, write};
use serde_json::json;

use crate::tenant;

/// A small deterministic generator (Knuth's MMIX constants): a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn counted(metrics: &Metrics, what: &str, tenant: &str) -> u64 {
    metrics.sum(&format!("gauntlet_{what}_samples_total"), &[("tenant", tenant)]) as u64
}

/// Kept, edited, routed elsewhere, dropped or invalid, of one or more samples of either kind.
fn any_series(dice: &mut Dice) -> TimeSeries {
    let names = ["up", "kube_pod", "go_threads", "edit_me"];
    let one = series(names[dice.roll(4) as usize]).label("i", &dice.roll(50).to_string());
    let one = (0..=dice.roll(3)).fold(one, |one, at| match dice.roll(5) {
        0 => one.histogram(at as i64),
        1 => one.stale(at as i64),
        _ => one.sample(dice.roll(100) as f64, at as i64),
    });
    match dice.roll(12) {
        0 => one.label("i", "twice"),
        1 => one.label("", "nameless"),
        2 => one.label("tenant_id", "victim"),
        3 => one.label("tenant_id", "victim").label("exported_tenant_id", "taken"),
        4 => TimeSeries {
            labels: Vec::new(),
            ..one
        },
        _ => one,
    }
}

#[tokio::test]
async fn after_any_mix_received_is_forwarded_and_dropped_and_rejected_to_the_sample() {
    let (soft, kube) = (Receiver::start().await, Receiver::start().await);
    for (receiver, seed) in [(&soft, 7), (&kube, 11)] {
        let mut dice = Dice(seed);
        receiver.script(move |_| Reply::status([200, 200, 200, 200, 409, 503, 429, 400][dice.roll(8) as usize]));
    }
    let policies =
        |id: &str| {
            tenant(id)
            .policy(
                "relabel",
                relabel(json!([
                    {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
                    {"source_labels": ["__name__"], "regex": "edit_.*", "target_label": "edited", "replacement": "yes"},
                ])),
            )
            .policy("route", json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "k", "upstream": "kube"}]}))
            .policy("limits", json!({"samples": {"per_second": 1e-6, "burst": 3000}}))
            .limit("max_active_series", 120)
            .upstreams(&["soft", "kube"])
        };
    let setup = Setup::new()
        .upstream("soft", &[&soft])
        .upstream("kube", &[&kube])
        .tenant(policies("a"))
        .tenant(policies("b"));
    let gateway = Gateway::start(setup).await;
    let tenants = [
        ("a", gateway.sender().bearer("a-token")),
        ("b", gateway.sender().bearer("b-token")),
    ];
    let mut dice = Dice(2026);
    let mut sent = [0u64; 2];
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..400 {
        let who = dice.roll(2) as usize;
        let body: Vec<_> = (0..dice.roll(20)).map(|_| any_series(&mut dice)).collect();
        let one = if dice.roll(2) == 0 {
            write(body)
        } else {
            WriteRequest::as_given(body)
        };
        sent[who] += one.sample_count();
        let answer = tenants[who].1.write(&one).await;
        *statuses.entry(answer.status).or_default() += 1;
    }
    // A body that cannot be read holds no samples that could be counted.
    tenants[0].1.request(&b"nonsense"[..]).send().await;
    let seen: Vec<u16> = statuses.keys().copied().collect();
    assert_eq!(seen, [204, 400, 503], "the mix is not one: {statuses:?}");

    let metrics = gateway.metrics().await;
    for ((tenant, _), sent) in tenants.iter().zip(sent) {
        let count = |what: &str| counted(&metrics, what, tenant);
        assert_eq!(count("received"), sent, "{tenant}");
        let parts = [count("forwarded"), count("dropped"), count("rejected")];
        assert_eq!(parts.iter().sum::<u64>(), sent, "{tenant}: {parts:?}");
        assert!(parts.iter().all(|n| *n > 0), "{tenant}: {parts:?}");
    }
}

#[tokio::test]
async fn forwarded_is_what_receivers_acknowledged() {
    let receiver = Receiver::start().await;
    let mut dice = Dice(3);
    let acknowledged = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let in_part = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (count, count_in_part) = (acknowledged.clone(), in_part.clone());
    receiver.script(move |received| match dice.roll(3) {
        0 => Reply::status(503),
        1 => {
            // It refuses one of the two samples.
            count_in_part.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Reply::conflict()
        }
        _ => {
            count.fetch_add(received.write.sample_count(), std::sync::atomic::Ordering::Relaxed);
            Reply::status(200)
        }
    });
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let sender = gateway.sender().bearer("a-token");
    let mut told = 0;
    for n in 0..60 {
        let one = write([series("up").sample(1.0, 0).sample(2.0, n + 1)]);
        if sender.write(&one).await.status == 204 {
            told += one.sample_count();
        }
    }
    let acknowledged = acknowledged.load(std::sync::atomic::Ordering::Relaxed);
    assert!(acknowledged > 0);
    assert_eq!(
        told, acknowledged,
        "the sender was told otherwise than the receiver said"
    );
    let acknowledged = acknowledged + in_part.load(std::sync::atomic::Ordering::Relaxed);
    gateway
        .expect_metric(
            "gauntlet_forwarded_samples_total",
            &[("tenant", "a")],
            acknowledged as f64,
        )
        .await;
    gateway
        .expect_metric(
            "gauntlet_rejected_samples_total",
            &[("tenant", "a")],
            (120 - acknowledged) as f64,
        )
        .await;
}

#[tokio::test]
async fn a_drop_is_counted_by_its_policy_and_an_edit_as_such() {
    let receiver = Receiver::start().await;
    let rules = |regex: &str| relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": regex}]));
    let setup = Setup::with_receiver(&receiver)
        .set(
            "/policies/after",
            json!([{"plugin": "relabel", "name": "house", "settings": rules("house_.*")}]),
        )
        .tenant(
            tenant("a")
                .policy_entry(json!({"plugin": "relabel", "name": "mine", "settings": rules("mine_.*")}))
                .policy(
                    "relabel",
                    relabel(json!([{"source_labels": ["x"], "regex": "(.+)", "target_label": "y"}])),
                ),
        );
    let gateway = Gateway::start(setup).await;
    let sent = write([
        series("mine_1").sample(1.0, 0),
        series("mine_2").sample(1.0, 0).sample(1.0, 1),
        series("house_1").sample(1.0, 0),
        series("up").label("x", "1").sample(1.0, 0).sample(1.0, 1),
        series("down").sample(1.0, 0),
    ]);
    assert_eq!(gateway.sender().bearer("a-token").write(&sent).await.status, 204);
    let metrics = gateway.metrics().await;
    let dropped = |policy: &str| metrics.sum("gauntlet_dropped_samples_total", &[("tenant", "a"), ("policy", policy)]);
    assert_eq!((dropped("mine"), dropped("house")), (3.0, 1.0));
    assert_eq!(counted(&metrics, "edited", "a"), 2);
    assert_eq!(counted(&metrics, "forwarded", "a"), 3);
    assert_eq!(counted(&metrics, "rejected", "a"), 0);
}

#[tokio::test]
async fn a_decision_that_is_remembered_is_charged_and_routed_each_time() {
    let (soft, kube) = (Receiver::start().await, Receiver::start().await);
    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "upstream": "kube"}]});
    let tenant = tenant("a")
        .policy("route", routes)
        .policy("limits", json!({"samples": {"per_second": 1e-6, "burst": 6}}))
        .upstreams(&["soft", "kube"]);
    let setup = Setup::with_receiver(&soft).upstream("kube", &[&kube]).tenant(tenant);
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let body = write(vec![series("up").sample(1.0, 0), series("kube_pod").sample(2.0, 0)]);
    for expected in [204, 204, 204, 503, 503] {
        assert_eq!(sender.write(&body).await.status, expected);
    }
    assert_eq!((soft.received().len(), kube.received().len()), (3, 3));
    for policy in ["limits", "route"] {
        let labels = [("tenant", "a"), ("policy", policy), ("function", "admit")];
        // One of them when the configuration was loaded.
        gateway.expect_metric("gauntlet_policy_calls_total", &labels, 2.0).await;
    }
}
