//! Which version of remote write each upstream is sent, what it says that it stored, and what has no place in either version.

use gauntlet_tests::{Gateway, Receiver, Reply, RequestV2, Setup, WriteRequest, relabel, series, write};
use serde_json::json;

use crate::{many, small_write, tenant};

const DISCARDED: &str = "gauntlet_discarded_total";

/// A receiver that knows remote write 2.0.
async fn receiver_of_2() -> Receiver {
    let receiver = Receiver::start().await;
    receiver.script(Reply::all_written);
    receiver
}

/// With the receiver behind `soft`, and `keys` of it.
fn soft(receiver: &Receiver, keys: &[(&str, &str)]) -> Setup {
    let set = |setup: Setup, (key, value): &(&str, &str)| setup.set(&format!("/upstreams/soft/{key}"), *value);
    keys.iter().fold(Setup::with_receiver(receiver), set)
}

async fn version_2(receiver: &Receiver) -> Gateway {
    Gateway::start(soft(receiver, &[("remote_write_version", "2.0")]).tenant(tenant("a"))).await
}

/// Floats, histograms and exemplars.
fn all_kinds() -> WriteRequest {
    write([
        series("up").label("job", "x").sample(1.0, 0).sample(1.5, 1),
        series("rpc").label("job", "x").histogram(2).exemplar("t-1", 2),
        series("http").label("job", "x").sample(2.5, 3).exemplar("t-2", 3),
    ])
}

#[tokio::test]
async fn an_upstream_of_2_is_sent_2_whatever_came() {
    let receiver = receiver_of_2().await;
    let gateway = version_2(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&all_kinds()).await.status, 204);
    let told = RequestV2::of(&all_kinds())
        .started(7)
        .with_metadata(3, "Help.", "seconds");
    assert_eq!(sender.write_v2(&told).await.status, 204);
    let received = receiver.expect_requests(2).await;
    for one in &received {
        assert_eq!(
            (
                one.header("content-type"),
                one.header("x-prometheus-remote-write-version")
            ),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
        );
        assert_eq!(one.write, all_kinds());
    }
    assert_eq!(received[0].v2.as_ref().unwrap().metadata(), [(0, "", ""); 3]);
    assert_eq!(
        received[1].v2.as_ref().unwrap().metadata(),
        [(3, "Help.", "seconds"); 3]
    );
    assert_eq!(received[1].v2.as_ref().unwrap().starts(), [7; 4]);
    let forwarded = [("tenant", "a"), ("upstream", "soft")];
    gateway
        .expect_metric("gauntlet_forwarded_samples_total", &forwarded, 8.0)
        .await;
    assert!(!gateway.metrics().await.has(DISCARDED, &[]));
}

#[tokio::test]
async fn a_write_of_2_that_is_kept_goes_on_byte_for_byte_to_an_upstream_of_2() {
    let receiver = receiver_of_2().await;
    let gateway = version_2(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let plain = RequestV2::of(&write(many("up", 9))).with_metadata(2, "Help.", "");
    let all = RequestV2::of(&all_kinds()).started(7).with_metadata(3, "", "seconds");
    // Judged by the policies, then by the memo.
    for told in [&plain, &plain, &all, &all] {
        receiver.clear();
        assert_eq!(sender.write_v2(told).await.status, 204);
        assert_eq!(receiver.only().body, told.body());
    }
}

#[tokio::test]
async fn what_a_policy_changes_of_2_keeps_what_is_said_of_it() {
    let receiver = receiver_of_2().await;
    let rules = json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "http"},
        {"target_label": "cluster", "replacement": "c"},
    ]);
    let setup = soft(&receiver, &[("remote_write_version", "2.0")]);
    let gateway = Gateway::start(setup.tenant(tenant("a").policy("relabel", relabel(rules)))).await;
    let told = RequestV2::of(&all_kinds())
        .started(7)
        .with_metadata(3, "Help.", "seconds");
    assert_eq!(gateway.sender().bearer("a-token").write_v2(&told).await.status, 204);
    let arrived = receiver.only();
    let arrived = arrived.v2.as_ref().unwrap();
    let texts = [r#"up{cluster="c",job="x"}"#, r#"rpc{cluster="c",job="x"}"#];
    assert_eq!(arrived.write().texts(), texts);
    assert_eq!(arrived.metadata(), [(3, "Help.", "seconds"); 2]);
    assert_eq!(arrived.starts(), [7, 7, 7]);
    assert!(
        !arrived.symbols.iter().any(|symbol| symbol == "http"),
        "{:?}",
        arrived.symbols
    );
}

#[tokio::test]
async fn upstreams_of_different_versions_get_each_its_own_of_one_write() {
    let (first, second) = (Receiver::start().await, receiver_of_2().await);
    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "kube"}]});
    let tenant = tenant("a").policy("route", routes).upstreams(&["soft", "kube"]);
    let setup = Setup::with_receiver(&first).upstream("kube", &[&second]);
    let setup = setup.set("/upstreams/kube/remote_write_version", "2.0").tenant(tenant);
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let sent = write(many("up", 3).into_iter().chain(many("kube_pods", 2)));
    assert_eq!(sender.write(&sent).await.status, 204);
    assert_eq!(sender.write_v2(&RequestV2::of(&sent)).await.status, 204);
    for (one, two) in first
        .expect_requests(2)
        .await
        .iter()
        .zip(second.expect_requests(2).await)
    {
        assert_eq!((one.v2.is_some(), two.v2.is_some()), (false, true));
        assert_eq!(one.write, write(many("up", 3)));
        assert_eq!(two.write, write(many("kube_pods", 2)));
        assert_eq!(one.header("x-prometheus-remote-write-version"), "0.1.0");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_say_what_it_stored_is_the_operators_mistake() {
    for (status, why) in [
        (200, "did not say what it stored"),
        (415, "does not take remote write 2.0"),
    ] {
        let receiver = Receiver::start().await;
        receiver.answer(Reply::status(status));
        let gateway = version_2(&receiver).await;
        let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(
            answer.text.contains("which the operator of the gateway has to mend"),
            "{}",
            answer.text
        );
        let rejected = [("tenant", "a"), ("reason", "upstream_misconfigured")];
        gateway
            .expect_metric("gauntlet_rejected_samples_total", &rejected, 1.0)
            .await;
        let look_at = "upstreams.soft.remote_write_version";
        gateway.expect_log(&[why, "set remote_write_version", look_at]).await;
        let upstreams = gateway.api("/api/v1/upstreams").await.to_string();
        assert!(upstreams.contains(why) && upstreams.contains(look_at), "{upstreams}");
    }
}

#[tokio::test]
async fn what_a_receiver_of_2_says_that_it_did_not_store_is_told_and_counted() {
    let receiver = Receiver::start().await;
    let gateway = version_2(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    // Three floats, one histogram, two exemplars.
    let refused = "out of order sample for series {__name__=\"up\"}";
    receiver.answer_next([
        Reply::written(400, 2, 1, 2).text(refused),
        Reply::written(204, 2, 0, 0),
        Reply::written(400, 3, 1, 0).text("out of order exemplar"),
    ]);
    let answer = sender.write(&all_kinds()).await;
    assert_eq!(
        (answer.status, answer.text.trim()),
        (
            400,
            "the receiver stored 3 of 4 samples (out of order): out of order sample"
        )
    );
    let told = "and stored 3 of 4 samples: out of order sample for series";
    gateway.expect_log(&["upstream_out_of_order", told]).await;
    let answer = sender.write(&all_kinds()).await;
    assert_eq!(
        (answer.status, answer.text.trim()),
        (400, "the receiver stored 2 of 4 samples")
    );
    // Exemplars alone are nothing that a sender is told was refused.
    assert_eq!(sender.write(&all_kinds()).await.status, 204);
    for (reason, samples) in [("upstream_out_of_order", 1.0), ("upstream_not_written", 2.0)] {
        let rejected = [("tenant", "a"), ("reason", reason)];
        gateway
            .expect_metric("gauntlet_rejected_samples_total", &rejected, samples)
            .await;
    }
    let forwarded = [("tenant", "a"), ("upstream", "soft")];
    gateway
        .expect_metric("gauntlet_forwarded_samples_total", &forwarded, 9.0)
        .await;
    let exemplars = [("tenant", "a"), ("kind", "exemplars"), ("reason", "not_written")];
    gateway.expect_metric(DISCARDED, &exemplars, 4.0).await;
}

#[tokio::test]
async fn metadata_goes_to_upstreams_that_want_it_and_is_counted_elsewhere() {
    let (wants, other) = (Receiver::start().await, Receiver::start().await);
    let setup = soft(&wants, &[("metadata", "forward")]).upstream("other", &[&other]);
    let setup = setup
        .tenant(tenant("a").upstreams(&["other", "soft"]))
        .tenant(tenant("b").upstreams(&["other"]));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    // Alone, and beside series that go elsewhere.
    let alone = write([]).with_metadata("up").with_metadata("go_threads");
    assert_eq!(sender.write(&alone).await.status, 204);
    assert_eq!(wants.only().write, alone);
    wants.clear();
    assert_eq!(sender.write(&small_write().with_metadata("up")).await.status, 204);
    assert_eq!(wants.only().write, write([]).with_metadata("up"));
    assert_eq!(other.only().write, small_write());
    let unwanted = gateway.sender().bearer("b-token");
    assert_eq!(unwanted.write(&alone).await.status, 204);
    let not_forwarded = [("tenant", "b"), ("kind", "metadata"), ("reason", "not_forwarded")];
    gateway.expect_metric(DISCARDED, &not_forwarded, 2.0).await;
    let metrics = gateway.metrics().await;
    assert!(!metrics.has(DISCARDED, &[("tenant", "a")]));
    assert_eq!(metrics.sum("gauntlet_received_metadata_total", &[("tenant", "a")]), 3.0);
    assert_eq!(metrics.sum("gauntlet_rejected_samples_total", &[]), 0.0);
}

#[tokio::test]
async fn metadata_that_is_none_does_not_cost_the_write_it_came_with() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(soft(&receiver, &[("metadata", "forward")]).tenant(tenant("a"))).await;
    let mut body = prost::Message::encode_to_vec(&small_write().with_metadata("up"));
    // No family; a text that is not UTF-8; a message cut short.
    for none in [&b"\x08\x01"[..], b"\x12\x02up\x22\x01\xff", b"\x12\x09up"] {
        body.extend([&[0x1a, none.len() as u8], none].concat());
    }
    let sender = gateway.sender().bearer("a-token");
    let answer = sender
        .request(gauntlet_tests::remote_write::compress(&body))
        .send()
        .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(receiver.only().write, small_write().with_metadata("up"));
    let invalid = [("tenant", "a"), ("kind", "metadata"), ("reason", "invalid")];
    gateway.expect_metric(DISCARDED, &invalid, 3.0).await;
}

#[tokio::test]
async fn what_2_says_besides_goes_to_receivers_of_1_as_far_as_they_have_a_place_for_it() {
    let (plain, wants) = (Receiver::start().await, Receiver::start().await);
    let setup = soft(&plain, &[])
        .upstream("wants", &[&wants])
        .set("/upstreams/wants/metadata", "forward");
    let setup = setup.tenant(tenant("a")).tenant(tenant("b").upstreams(&["wants"]));
    let gateway = Gateway::start(setup).await;
    let sent = write([
        series("rpc_seconds_bucket").label("le", "1").sample(1.0, 0),
        series("rpc_seconds_sum").sample(1.0, 0),
        series("rpc_seconds_count").sample(1.0, 0),
    ]);
    let told = RequestV2::of(&sent).started(7).with_metadata(3, "Help.", "seconds");
    for tenant in ["a", "b"] {
        let sender = gateway.sender().bearer(&format!("{tenant}-token"));
        assert_eq!(sender.write_v2(&told).await.status, 204);
        let starts = [("tenant", tenant), ("kind", "start_timestamps"), ("reason", "protocol")];
        gateway.expect_metric(DISCARDED, &starts, 3.0).await;
    }
    assert_eq!(plain.only().write, sent);
    let arrived = wants.only().write;
    assert_eq!(arrived.timeseries, sent.timeseries);
    let entries: Vec<_> = arrived
        .metadata
        .iter()
        .map(|one| {
            (
                one.r#type,
                one.metric_family_name.as_str(),
                one.help.as_str(),
                one.unit.as_str(),
            )
        })
        .collect();
    assert_eq!(entries, [(3, "rpc_seconds", "Help.", "seconds")]);
    let metrics = gateway.metrics().await;
    let left = |tenant| metrics.sum(DISCARDED, &[("tenant", tenant), ("kind", "metadata")]);
    assert_eq!((left("a"), left("b")), (3.0, 0.0));
}
