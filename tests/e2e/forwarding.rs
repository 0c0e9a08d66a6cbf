//! What arrives at the receivers: bytes as they came where nothing changes, exact samples where labels do.

use std::path::Path;

use gauntlet_tests::remote_write::{STALE_NAN, compress, decode};
use gauntlet_tests::{Gate, Gateway, Receiver, Reply, Setup, TimeSeries, WriteRequest, relabel, series, write};
use serde_json::json;

use crate::{many, one_tenant, small_write, tenant};

/// Bodies of a real Prometheus scraping node_exporter.
fn recorded() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/tests/data/rw1");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "rw"));
    paths.sort();
    assert!(paths.len() >= 4, "{paths:?}");
    paths.iter().map(|p| std::fs::read(p).unwrap()).collect()
}

#[tokio::test]
async fn recorded_bodies_arrive_byte_for_byte_without_policies() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    for body in recorded() {
        assert_eq!(sender.request(body).send().await.status, 204);
    }
    let arrived: Vec<_> = receiver.received().into_iter().map(|r| r.body.to_vec()).collect();
    assert!(arrived == recorded(), "a body was changed on the way");
}

#[tokio::test]
async fn recorded_bodies_arrive_byte_for_byte_where_policies_keep_everything() {
    let receiver = Receiver::start().await;
    let rules = json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "no_such_metric"},
        {"action": "labeldrop", "regex": "no_such_label"},
    ]);
    let routes = json!({"routes": [{"match": {"__name__": "no_such_metric"}, "stream": "s", "upstream": "soft"}]});
    let generous = json!({"samples": {"per_second": 1e9, "burst": 1_000_000_000}});
    let tenant = tenant("a")
        .policy("relabel", relabel(rules))
        .policy("limits", generous)
        .policy("route", routes);
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let sender = gateway.sender().bearer("a-token");
    // Twice: judged by the policies, then by the memo.
    for body in recorded().into_iter().chain(recorded()) {
        assert_eq!(sender.request(body).send().await.status, 204);
    }
    let arrived: Vec<_> = receiver.received().into_iter().map(|r| r.body.to_vec()).collect();
    assert!(
        arrived == [recorded(), recorded()].concat(),
        "a body was changed on the way"
    );
    assert!(
        gateway
            .metrics()
            .await
            .sum("gauntlet_policy_memo_hits_total", &[("tenant", "a")])
            > 0.0
    );
}

#[tokio::test]
async fn every_recorded_sample_survives_a_change_of_every_series() {
    let receiver = Receiver::start().await;
    let rules = json!([{"target_label": "added_here", "replacement": "x"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    for body in recorded() {
        receiver.clear();
        let edited = decode(&body)
            .unwrap()
            .timeseries
            .into_iter()
            .map(|one| one.label("added_here", "x"));
        assert_eq!(sender.request(body).send().await.status, 204);
        let (arrived, expected) = (receiver.only().write.samples(), write(edited).samples());
        for (arrived, expected) in arrived.iter().zip(&expected) {
            assert_eq!(arrived, expected);
        }
        assert_eq!(arrived.len(), expected.len());
    }
}

#[tokio::test]
async fn float_bits_survive_an_edit() {
    let receiver = Receiver::start().await;
    let rules = json!([{"target_label": "cluster", "replacement": "c"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let bits = [
        STALE_NAN,
        0x7ff8_0000_0000_0001,
        0x7ff0_0000_0000_0001,
        0xfff8_0000_0000_0000,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        (-0.0f64).to_bits(),
        0,
        1,
        f64::MAX.to_bits(),
    ];
    // Encoders leave a zero out, minus zero too: each value stands in for its bits until the body is encoded.
    let stand_in = |n: usize| 1e100 + n as f64 * 1e90;
    let one = (0..bits.len()).fold(series("up"), |one, n| one.sample(stand_in(n), n as i64));
    let one = one.sample(1.0, i64::MIN / 2).sample(1.0, i64::MAX / 2);
    let mut body = prost::Message::encode_to_vec(&write([one.clone()]));
    for (n, bits) in bits.iter().enumerate() {
        let stand_in = stand_in(n).to_le_bytes();
        let at = body.windows(8).position(|w| w == stand_in).unwrap();
        body[at..at + 8].copy_from_slice(&bits.to_le_bytes());
    }
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.request(compress(&body)).send().await.status, 204);
    let arrived = receiver.only().write.samples();
    assert_eq!(arrived.len(), bits.len() + 2);
    for (n, bits) in bits.iter().enumerate() {
        assert_eq!(arrived[n], (r#"up{cluster="c"}"#.to_owned(), *bits, n as i64));
    }
    let times: Vec<_> = arrived[bits.len()..].iter().map(|(_, _, at)| *at).collect();
    assert_eq!(times, [i64::MIN / 2, i64::MAX / 2]);
}

#[tokio::test]
async fn dropped_series_are_gone_edited_ones_changed_and_the_others_untouched() {
    let receiver = Receiver::start().await;
    let rules = json!([
        {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
        {"source_labels": ["pod"], "regex": "(.+)-[0-9]+", "target_label": "workload"},
        {"action": "labeldrop", "regex": "secret"},
    ]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let sent = write([
        series("go_threads").sample(1.0, 0),
        series("up").label("job", "x").sample(2.0, 0).sample(2.5, 1),
        series("cpu").label("pod", "web-7").sample(3.0, 0).exemplar("abc", 0),
        series("go_info").sample(4.0, 0),
        series("mem").label("secret", "s").stale(5).histogram(6),
    ]);
    let expected = write([
        series("up").label("job", "x").sample(2.0, 0).sample(2.5, 1),
        series("cpu")
            .label("pod", "web-7")
            .label("workload", "web")
            .sample(3.0, 0)
            .exemplar("abc", 0),
        series("mem").stale(5).histogram(6),
    ]);
    let sender = gateway.sender().bearer("a-token");
    // The second time from the memo.
    for _ in 0..2 {
        receiver.clear();
        assert_eq!(sender.write(&sent).await.status, 204);
        let arrived = receiver.only().write;
        assert_eq!(arrived.samples(), expected.samples());
        let rest = |w: WriteRequest| {
            w.timeseries
                .into_iter()
                .map(|s| (s.exemplars, s.histograms))
                .collect::<Vec<_>>()
        };
        assert_eq!(rest(arrived), rest(expected.clone()));
    }
    let by_relabel = [("tenant", "a"), ("policy", "relabel")];
    gateway
        .expect_metric("gauntlet_dropped_samples_total", &by_relabel, 4.0)
        .await;
}

#[tokio::test]
async fn a_write_whose_every_series_is_dropped_is_204_and_not_forwarded() {
    let receiver = Receiver::start().await;
    let rules = json!([{"action": "drop", "source_labels": ["__name__"], "regex": ".*"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn policies_run_in_order_the_operators_round_the_tenants() {
    let receiver = Receiver::start().await;
    let set =
        |name: &str, from: &str| relabel(json!([{"source_labels": [from], "target_label": name, "replacement": "$1"}]));
    let constant = relabel(json!([{"target_label": "one", "replacement": "x"}]));
    let setup = Setup::with_receiver(&receiver)
        .set("/policies/before", json!([{"plugin": "relabel", "settings": constant}]))
        .set(
            "/policies/after",
            json!([{"plugin": "relabel", "settings": set("three", "two")}]),
        )
        .tenant(tenant("a").policy("relabel", set("two", "one")));
    let gateway = Gateway::start(setup).await;
    assert_eq!(
        gateway
            .sender()
            .bearer("a-token")
            .write(&write([series("up").sample(1.0, 0)]))
            .await
            .status,
        204
    );
    assert_eq!(receiver.only().write.texts(), [r#"up{one="x",three="x",two="x"}"#]);
}

#[tokio::test]
async fn a_write_is_split_over_upstreams_and_each_gets_its_series() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let gateway = Gateway::start(split(&first, &second)).await;
    let sent = write([many("up", 3), many("kube_pod", 2), many("cpu", 1)].concat());
    let answer = gateway.sender().bearer("a-token").write(&sent).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(
        first.only().write.samples(),
        write([many("up", 3), many("cpu", 1)].concat()).samples()
    );
    assert_eq!(second.only().write.samples(), write(many("kube_pod", 2)).samples());
    assert_eq!((first.only().tenant(), second.only().tenant()), ("a", "a"));
    for (upstream, samples) in [("soft", 4.0), ("kube", 2.0)] {
        let labels = [("tenant", "a"), ("upstream", upstream)];
        gateway
            .expect_metric("gauntlet_forwarded_samples_total", &labels, samples)
            .await;
    }
}

#[tokio::test]
async fn a_write_is_acknowledged_only_when_every_receiver_concerned_has_done_so() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let gateway = Gateway::start(split(&first, &second)).await;
    let sender = gateway.sender().bearer("a-token");
    let sent = write([many("up", 1), many("kube_pod", 1)].concat());
    // One answers at once, the other is held: there is no answer to the sender before it.
    let gate = Gate::new();
    second.answer_next([Reply::status(200).held_by(&gate)]);
    let held = tokio::spawn({
        let (sender, sent) = (sender.clone(), sent.clone());
        async move { sender.write(&sent).await }
    });
    first.expect_requests(1).await;
    second.expect_requests(1).await;
    // Another request goes all the way meanwhile, so the held one has had its time.
    assert_eq!(sender.write(&write(many("up", 1))).await.status, 204);
    assert!(!held.is_finished());
    gate.open();
    assert_eq!(held.await.unwrap().status, 204);
}

#[tokio::test]
async fn outcomes_of_several_streams_merge_to_the_one_that_keeps_the_data() {
    let table = [
        (200, 200, 204),
        (200, 409, 400),
        (409, 200, 400),
        (503, 200, 503),
        (409, 503, 503),
        (500, 409, 503),
    ];
    for (one, other, answer) in table {
        let (first, second) = (Receiver::start().await, Receiver::start().await);
        first.answer(Reply::status(one));
        second.answer(Reply::status(other));
        let gateway = Gateway::start(split(&first, &second)).await;
        let sent = write([many("up", 1), many("kube_pod", 1)].concat());
        let status = gateway.sender().bearer("a-token").write(&sent).await.status;
        assert_eq!(status, answer, "{one} and {other}");
    }
}

#[tokio::test]
async fn a_policy_cannot_route_to_an_upstream_that_is_not_its_tenants() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "kube"}]});
    let setup = Setup::new()
        .upstream("soft", &[&first])
        .upstream("kube", &[&second])
        .tenant(tenant("a").policy("route", routes))
        .tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let answer = gateway
        .sender()
        .bearer("a-token")
        .write(&write(many("kube_pod", 1)))
        .await;
    // The operator's mistake: the sender keeps its data (or the tenant's configuration was refused as a whole).
    assert!(answer.status >= 500 || answer.status == 401, "{answer:?}");
    assert!(first.received().is_empty() && second.received().is_empty());
    assert_eq!(
        gateway.sender().bearer("b-token").write(&small_write()).await.status,
        204
    );
}

#[tokio::test]
async fn metadata_alone_is_204_counted_and_not_forwarded() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let metadata = write([]).with_metadata("up").with_metadata("go_threads");
    assert_eq!(sender.write(&metadata).await.status, 204);
    assert!(receiver.received().is_empty());
    gateway
        .expect_metric("gauntlet_received_metadata_total", &[("tenant", "a")], 2.0)
        .await;
    // Beside series it stops nothing.
    assert_eq!(sender.write(&small_write().with_metadata("up")).await.status, 204);
    assert_eq!(receiver.only().write.samples(), small_write().samples());
}

#[tokio::test]
async fn legal_protobuf_that_no_encoder_writes_is_understood_like_any_other() {
    let receiver = Receiver::start().await;
    let rules = json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let encoded = |one: TimeSeries| prost::Message::encode_to_vec(&one);
    let labels = encoded(series("up").label("job", "x"));
    let samples = encoded(TimeSeries::default().sample(1.5, 7).stale(8));
    let field = |bytes: &[u8]| [&[0x0a, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let dropped = field(&encoded(series("go_threads").sample(1.0, 0)));
    let odd: [(&str, Vec<u8>); 6] = [
        ("samples before labels", field(&[&samples[..], &labels].concat())),
        (
            "an unknown field in the series",
            field(&[&labels[..], &[0x98, 0x06, 0x01], &samples].concat()),
        ),
        (
            "an unknown field in the write",
            [&[0x98, 0x06, 0x2a][..], &field(&[&labels[..], &samples].concat())].concat(),
        ),
        (
            "an unknown group",
            [
                &[0x9b, 0x06, 0x08, 0x01, 0x9c, 0x06][..],
                &field(&[&labels[..], &samples].concat()),
            ]
            .concat(),
        ),
        ("a length of more bytes than it needs", {
            let inner = [&labels[..], &samples].concat();
            [
                &[0x0a, u8::try_from(inner.len()).unwrap() | 0x80, 0x80, 0x00],
                &inner[..],
            ]
            .concat()
        }),
        (
            "a dropped series between",
            [&dropped[..], &field(&[&labels[..], &samples].concat()), &dropped].concat(),
        ),
    ];
    for (what, body) in odd {
        receiver.clear();
        let answer = sender.request(compress(&body)).send().await;
        assert_eq!(answer.status, 204, "{what}: {answer:?}");
        let expected = write([series("up").label("job", "x").sample(1.5, 7).stale(8)]);
        assert_eq!(receiver.only().write.samples(), expected.samples(), "{what}");
    }
}

/// The tenant `a`, whose `kube_*` series go to the upstream `kube` and the others to `soft`.
fn split(first: &Receiver, second: &Receiver) -> Setup {
    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "kube"}]});
    let tenant = tenant("a").policy("route", routes).upstreams(&["soft", "kube"]);
    Setup::new()
        .upstream("soft", &[first])
        .upstream("kube", &[second])
        .tenant(tenant)
}
