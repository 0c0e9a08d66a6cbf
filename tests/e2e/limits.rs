//! Limits at, below and above: rates by policy, sizes and counts by the host.

use gauntlet_tests::{Gate, Gateway, Receiver, Reply, Setup, Tenant, TimeSeries, relabel, series, write};
use serde_json::{Value, json};

use crate::{many, small_write, tenant};

/// One token in eleven days: what is spent stays spent.
const NEVER: f64 = 1e-6;

fn limited(settings: Value) -> Tenant {
    tenant("a").policy("limits", settings)
}

#[tokio::test]
async fn over_its_rate_a_tenant_is_503_with_retry_after_and_others_are_not() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .tenant(limited(json!({"requests": {"per_second": NEVER, "burst": 2}})))
        .tenant(tenant("b").policy("limits", json!({"requests": {"per_second": NEVER, "burst": 2}})));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let statuses = [
        sender.write(&small_write()).await.status,
        sender.write(&small_write()).await.status,
    ];
    assert_eq!(statuses, [204, 204]);
    let over = sender.write(&small_write()).await;
    assert_eq!(over.status, 503, "{over:?}");
    assert!(over.retry_after() >= 1);
    assert_eq!(
        gateway.sender().bearer("b-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(receiver.received().len(), 3);
    gateway
        .expect_metric("gauntlet_limited_requests_total", &[("tenant", "a")], 1.0)
        .await;
    gateway
        .expect_metric("gauntlet_rejected_samples_total", &[("tenant", "a")], 1.0)
        .await;
}

#[tokio::test]
async fn over_its_rate_a_tenant_is_429_where_the_operator_says_so() {
    let receiver = Receiver::start().await;
    let tenant = limited(json!({"requests": {"per_second": NEVER, "burst": 1}})).set("over_rate", "too_many_requests");
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let over = sender.write(&small_write()).await;
    assert_eq!(over.status, 429, "{over:?}");
    assert!(over.retry_after() >= 1);
}

#[tokio::test]
async fn samples_are_charged_after_relabelling_and_to_the_sample() {
    let receiver = Receiver::start().await;
    let drop_go = relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]));
    let tenant = tenant("a")
        .policy("relabel", drop_go)
        .policy("limits", json!({"samples": {"per_second": NEVER, "burst": 10}}));
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let sender = gateway.sender().bearer("a-token");
    // Nine kept, five dropped; then one of the ten is left.
    let first = write([many("up", 9), many("go_threads", 5)].concat());
    assert_eq!(sender.write(&first).await.status, 204);
    assert_eq!(sender.write(&write(many("up", 2))).await.status, 503);
    assert_eq!(
        sender.write(&write(many("up", 1))).await.status,
        204,
        "a refused write costs no tokens"
    );
    assert_eq!(sender.write(&write(many("up", 1))).await.status, 503);
}

#[tokio::test]
async fn buckets_live_across_a_reload() {
    let receiver = Receiver::start().await;
    let rate = json!({"requests": {"per_second": NEVER, "burst": 2}});
    let mut gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(limited(rate.clone()))).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let other = relabel(json!([{"target_label": "x", "replacement": "y"}]));
    gateway.reload_tenant(limited(rate).policy("relabel", other)).await;
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(
        receiver.received()[1].write.timeseries[0].value("x"),
        Some("y"),
        "the reload took place"
    );
    assert_eq!(sender.write(&small_write()).await.status, 503);
}

/// Writes `at` and `above` under the limit `name` = `value` and gives both statuses and what arrived of the second.
async fn at_and_above(
    name: &str,
    value: Value,
    at: Vec<TimeSeries>,
    above: Vec<TimeSeries>,
) -> (u16, u16, Vec<String>) {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a").limit(name, value))).await;
    let sender = gateway.sender().bearer("a-token");
    let first = sender.write(&write(at.clone())).await;
    assert_eq!(receiver.only().write.timeseries.len(), at.len());
    receiver.clear();
    let second = sender.write(&write(above)).await;
    assert!(second.text.len() <= 1024);
    let arrived = receiver.received().into_iter().flat_map(|r| r.write.texts()).collect();
    (first.status, second.status, arrived)
}

#[tokio::test]
async fn series_per_request_at_and_above_the_limit() {
    let (at, above, arrived) = at_and_above("max_series_per_request", json!(5), many("up", 5), many("up", 6)).await;
    assert_eq!((at, above), (204, 400));
    assert!(arrived.len() <= 5, "{arrived:?}");
}

#[tokio::test]
async fn labels_per_series_at_and_above_the_limit() {
    let three = series("up").label("a", "1").label("b", "2").sample(1.0, 0);
    let four = three.clone().label("c", "3");
    let mixed = vec![three.clone(), four];
    let (at, above, arrived) = at_and_above("max_labels_per_series", json!(3), vec![three.clone()], mixed).await;
    assert_eq!((at, above, arrived), (204, 400, vec![three.text()]));
}

#[tokio::test]
async fn the_length_of_a_label_name_at_and_above_the_limit() {
    let ten = series("up").label("abcdefghij", "1").sample(1.0, 0);
    let eleven = series("up").label("abcdefghijk", "1").sample(1.0, 0);
    let mixed = vec![eleven, ten.clone()];
    let (at, above, arrived) = at_and_above("max_label_name_length", json!(10), vec![ten.clone()], mixed).await;
    assert_eq!((at, above, arrived), (204, 400, vec![ten.text()]));
}

#[tokio::test]
async fn the_length_of_a_label_value_at_and_above_the_limit() {
    // Bytes, not characters.
    let ten = series("up").label("a", "ééééé").sample(1.0, 0);
    let eleven = series("up").label("a", "éééééx").sample(1.0, 0);
    let mixed = vec![ten.clone(), eleven];
    let (at, above, arrived) = at_and_above("max_label_value_length", json!(10), vec![ten.clone()], mixed).await;
    assert_eq!((at, above, arrived), (204, 400, vec![ten.text()]));
}

#[tokio::test]
async fn the_size_of_a_body_at_and_above_the_limit() {
    let receiver = Receiver::start().await;
    let body = write(many("up", 20)).body();
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("at").limit("max_body_size", body.len()))
        .tenant(tenant("below").limit("max_body_size", body.len() - 1));
    let gateway = Gateway::start(setup).await;
    for (who, status) in [("at", 204), ("below", 400)] {
        let sender = gateway.sender().bearer(&format!("{who}-token"));
        assert_eq!(sender.request(body.clone()).send().await.status, status, "{who}");
        // Without a Content-Length the limit holds as it is read.
        let chunked = sender.clone();
        assert_eq!(
            chunked.request(body.clone()).chunked().send().await.status,
            status,
            "{who}, chunked"
        );
    }
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn the_decoded_size_of_a_body_at_and_above_the_limit() {
    let receiver = Receiver::start().await;
    let sent = write(many("up", 20));
    let size = prost::Message::encoded_len(&sent);
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("at").limit("max_decoded_size", size))
        .tenant(tenant("below").limit("max_decoded_size", size - 1));
    let gateway = Gateway::start(setup).await;
    for (who, status) in [("at", 204), ("below", 400)] {
        let answer = gateway.sender().bearer(&format!("{who}-token")).write(&sent).await;
        assert_eq!(answer.status, status, "{who}: {answer:?}");
    }
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn over_the_active_series_known_series_pass_and_only_new_ones_are_refused() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("a").limit("max_active_series", 5))
        .tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&write(many("up", 5))).await.status, 204);
    // Known ones at the limit.
    assert_eq!(sender.write(&write(many("up", 5))).await.status, 204);
    receiver.clear();
    // Two new ones among the known.
    let mixed = write([many("up", 3), many("down", 2)].concat());
    let answer = sender.write(&mixed).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(receiver.only().write.samples(), write(many("up", 3)).samples());
    // Being refused made them no less new.
    receiver.clear();
    assert_eq!(sender.write(&write(many("down", 2))).await.status, 400);
    assert!(receiver.received().is_empty());
    assert_eq!(sender.write(&write(many("up", 5))).await.status, 204);
    assert_eq!(
        gateway
            .sender()
            .bearer("b-token")
            .write(&write(many("x", 50)))
            .await
            .status,
        204
    );
    gateway
        .expect_metric("gauntlet_active_series", &[("tenant", "a")], 5.0)
        .await;
    gateway
        .expect_metric("gauntlet_rejected_samples_total", &[("tenant", "a")], 4.0)
        .await;
}

#[tokio::test]
async fn series_that_a_policy_drops_are_not_active() {
    let receiver = Receiver::start().await;
    let drop_go = relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]));
    let tenant = tenant("a").policy("relabel", drop_go).limit("max_active_series", 5);
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let sender = gateway.sender().bearer("a-token");
    let sent = write([many("go_info", 20), many("up", 5)].concat());
    assert_eq!(sender.write(&sent).await.status, 204);
    assert_eq!(receiver.only().write.timeseries.len(), 5);
}

#[tokio::test]
async fn concurrent_requests_at_and_above_the_limit() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script({
        let gate = gate.clone();
        move |received| match received.tenant() {
            "a" => Reply::status(200).held_by(&gate),
            _ => Reply::status(200),
        }
    });
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("a").limit("max_concurrent_requests", 2))
        .tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let held: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.write(&small_write()).await.status })
        })
        .collect();
    receiver.expect_requests(2).await;
    let over = sender.write(&small_write()).await;
    assert_eq!(over.status, 503, "{over:?}");
    assert!(over.retry_after() >= 1);
    assert_eq!(
        gateway.sender().bearer("b-token").write(&small_write()).await.status,
        204
    );
    gate.open();
    for one in held {
        assert_eq!(one.await.unwrap(), 204);
    }
    assert_eq!(
        sender.write(&small_write()).await.status,
        204,
        "the places are free again"
    );
}

#[tokio::test]
async fn bodies_held_in_memory_at_and_above_the_limit() {
    let receiver = Receiver::start().await;
    let sent = write(many("up", 50));
    let (compressed, decoded) = (sent.body().len(), prost::Message::encoded_len(&sent));
    let gate = Gate::new();
    receiver.answer(Reply::status(200).held_by(&gate));
    let tenant = tenant("a")
        .limit("max_body_size", compressed)
        .limit("max_decoded_size", decoded)
        .limit("max_in_flight_size", compressed + decoded);
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let sender = gateway.sender().bearer("a-token");
    let held = tokio::spawn({
        let (sender, sent) = (sender.clone(), sent.clone());
        async move { sender.write(&sent).await.status }
    });
    receiver.expect_requests(1).await;
    // What goes on is held until the receiver has it.
    gateway
        .expect_metric("gauntlet_in_flight_bytes", &[], compressed as f64)
        .await;
    let over = sender.write(&sent).await;
    assert_eq!(over.status, 503, "{over:?}");
    assert!(over.retry_after() >= 1);
    gate.open();
    assert_eq!(held.await.unwrap(), 204);
    assert_eq!(sender.write(&sent).await.status, 204, "the memory is free again");
}

#[tokio::test]
async fn default_limits_hold_for_tenants_that_name_none() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/default_limits/max_series_per_request", 3)
        .tenant(tenant("a"))
        .tenant(tenant("b").limit("max_series_per_request", 10));
    let gateway = Gateway::start(setup).await;
    for (who, status) in [("a", 400), ("b", 204)] {
        let answer = gateway
            .sender()
            .bearer(&format!("{who}-token"))
            .write(&write(many("up", 4)))
            .await;
        assert_eq!(answer.status, status, "{who}: {answer:?}");
    }
}
