//! Remote write 2.0 from senders: what receivers get of it, what it is answered, and what its references may not do.

use gauntlet_tests::remote_write::compress;
use gauntlet_tests::remote_write_v2::{CONTENT_TYPE, ExemplarV2, RequestV2, SampleV2, TimeSeriesV2};
use gauntlet_tests::{Gateway, Receiver, Reply, Response, Setup, TimeSeries, WriteRequest, relabel, series, write};
use serde_json::json;

use crate::{many, one_tenant, small_write, tenant};

/// `X-Prometheus-Remote-Write-*-Written`: samples, histograms, exemplars.
fn written(answer: &Response) -> Option<[u64; 3]> {
    let count = |what: &str| {
        let value = answer.header(&format!("X-Prometheus-Remote-Write-{what}-Written"));
        value.map(|value| value.parse::<u64>().unwrap())
    };
    let counts = ["Samples", "Histograms", "Exemplars"].map(count);
    assert!(counts.iter().all(|c| c.is_some() == counts[0].is_some()), "{counts:?}");
    counts[0].map(|_| counts.map(Option::unwrap_or_default))
}

/// Floats, a stale marker, histograms and exemplars.
fn all_kinds() -> WriteRequest {
    write([
        series("up").label("job", "x").sample(1.0, 0).stale(1),
        series("rpc").label("job", "x").histogram(2).exemplar("t-1", 2),
        series("http").label("job", "x").sample(2.5, 3).exemplar("t-2", 3),
    ])
}

#[tokio::test]
async fn a_write_of_2_reaches_a_receiver_as_the_same_write_of_1() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let sent = RequestV2::of(&all_kinds()).with_metadata(1, "A help.", "").started(5);
    // New, and then known.
    for _ in 0..2 {
        let answer = sender.write_v2(&sent).await;
        assert_eq!((answer.status, written(&answer)), (204, Some([3, 1, 2])), "{answer:?}");
    }
    for received in receiver.expect_requests(2).await {
        assert_eq!(received.header("content-type"), "application/x-protobuf");
        assert_eq!(received.header("x-prometheus-remote-write-version"), "0.1.0");
        // A NaN is no equal of itself.
        assert_eq!(received.write.samples(), all_kinds().samples());
        assert_eq!(format!("{:?}", received.write), format!("{:?}", all_kinds()));
    }
    gateway
        .expect_metric("gauntlet_received_samples_total", &[("tenant", "a")], 8.0)
        .await;
    gateway
        .expect_metric("gauntlet_received_metadata_total", &[("tenant", "a")], 6.0)
        .await;
}

#[tokio::test]
async fn a_series_that_came_as_1_is_known_when_it_comes_as_2_and_the_other_way_round() {
    let receiver = Receiver::start().await;
    let rules = json!([{"target_label": "cluster", "replacement": "c"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let (first, second) = (write(many("up", 20)), write(many("down", 30)));
    assert_eq!(sender.write(&first).await.status, 204);
    assert_eq!(sender.write_v2(&RequestV2::of(&first)).await.status, 204);
    let hits = [("tenant", "a")];
    gateway
        .expect_metric("gauntlet_policy_memo_hits_total", &hits, 20.0)
        .await;
    assert_eq!(sender.write_v2(&RequestV2::of(&second)).await.status, 204);
    assert_eq!(sender.write(&second).await.status, 204);
    gateway
        .expect_metric("gauntlet_policy_memo_hits_total", &hits, 50.0)
        .await;
    gateway.expect_metric("gauntlet_active_series", &hits, 50.0).await;
    let arrived: Vec<WriteRequest> = receiver.received().into_iter().map(|one| one.write).collect();
    assert_eq!((&arrived[0], &arrived[2]), (&arrived[1], &arrived[3]));
    assert!(
        arrived[0].texts().iter().all(|text| text.contains("cluster=\"c\"")),
        "{:?}",
        arrived[0].texts()
    );
}

#[tokio::test]
async fn what_is_dropped_on_purpose_is_written_and_what_is_refused_is_not() {
    let receiver = Receiver::start().await;
    let rules = json!([{"action": "drop", "source_labels": ["__name__"], "regex": "http|rpc"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let answer = sender.write_v2(&RequestV2::of(&all_kinds())).await;
    assert_eq!((answer.status, written(&answer)), (204, Some([3, 1, 2])));
    assert_eq!(receiver.only().write.texts(), [r#"up{job="x"}"#]);
    let bad = series("bad")
        .label("a", "1")
        .label("a", "2")
        .sample(1.0, 0)
        .sample(1.0, 1);
    let partly = WriteRequest::as_given(all_kinds().timeseries.into_iter().chain([bad]));
    let answer = sender.write_v2(&RequestV2::of(&partly)).await;
    assert_eq!((answer.status, written(&answer)), (400, Some([3, 1, 2])), "{answer:?}");
    assert!(answer.text.contains("1 of 4 series were refused"), "{answer:?}");
    // The same as 1.0, which knows no such headers.
    for (one, status) in [(&partly, 400), (&all_kinds(), 204)] {
        let answer = sender.write(one).await;
        assert_eq!((answer.status, written(&answer)), (status, None));
    }
}

#[tokio::test]
async fn where_nothing_is_stored_nothing_is_written() {
    let (soft, kube) = (Receiver::start().await, Receiver::start().await);
    let routes = json!({"routes": [{"match": {"__name__": "kube_.*"}, "stream": "kube", "upstream": "kube"}]});
    let both = tenant("b").policy("route", routes).upstreams(&["soft", "kube"]);
    let setup = Setup::with_receiver(&soft).upstream("kube", &[&kube]);
    let gateway = Gateway::start(setup.tenant(tenant("a")).tenant(both)).await;
    let sender = gateway.sender().bearer("a-token");
    soft.answer_next([Reply::status(503), Reply::status(400)]);
    for status in [503, 400] {
        let answer = sender.write_v2(&RequestV2::of(&all_kinds())).await;
        assert_eq!(
            (answer.status, written(&answer)),
            (status, Some([0, 0, 0])),
            "{answer:?}"
        );
    }
    let nonsense = sender
        .request(&b"nonsense"[..])
        .header("Content-Type", CONTENT_TYPE)
        .send()
        .await;
    assert_eq!((nonsense.status, written(&nonsense)), (400, Some([0, 0, 0])));
    // Before it was clear that it is 2.0, nobody is told anything.
    let nobody = gateway
        .sender()
        .bearer("nobody")
        .write_v2(&RequestV2::of(&small_write()))
        .await;
    assert_eq!((nobody.status, written(&nobody)), (401, None));
    // Of two parts one.
    kube.answer(Reply::status(400));
    let two = write(many("up", 3).into_iter().chain(many("kube_pods", 2)));
    let answer = gateway.sender().bearer("b-token").write_v2(&RequestV2::of(&two)).await;
    assert_eq!((answer.status, written(&answer)), (400, Some([3, 0, 0])), "{answer:?}");
}

#[tokio::test]
async fn a_decision_about_a_write_of_1_does_not_stand_for_one_of_2() {
    let receiver = Receiver::start().await;
    let generous = json!({"samples": {"per_second": 1e9, "burst": 1_000_000_000}});
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("limits", generous));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    for _ in 0..3 {
        assert_eq!(sender.write(&small_write()).await.status, 204);
        assert_eq!(sender.write_v2(&RequestV2::of(&small_write())).await.status, 204);
    }
    // When the configuration was loaded; of 1.0 and of 2.0, which are two protocols to a policy.
    let labels = [("tenant", "a"), ("policy", "limits"), ("function", "admit")];
    gateway.expect_metric("gauntlet_policy_calls_total", &labels, 3.0).await;
}

/// One series of these references.
fn one(symbols: &[&str], labels_refs: &[u32]) -> RequestV2 {
    let sample = SampleV2 {
        value: 1.0,
        timestamp: 1_767_225_600_000,
        start_timestamp: 0,
    };
    RequestV2 {
        symbols: symbols.iter().map(|&symbol| symbol.to_owned()).collect(),
        timeseries: vec![TimeSeriesV2 {
            labels_refs: labels_refs.to_vec(),
            samples: vec![sample],
            ..TimeSeriesV2::default()
        }],
    }
}

#[tokio::test]
async fn what_is_no_request_is_400_and_says_why() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let exemplar = |labels_refs: &[u32]| {
        let mut request = one(&["", "__name__", "up"], &[1, 2]);
        let labels_refs = labels_refs.to_vec();
        request.timeseries[0].exemplars = vec![ExemplarV2 {
            labels_refs,
            value: 1.0,
            timestamp: 1,
        }];
        request
    };
    let table = [
        (one(&[], &[]), "no symbols"),
        (
            one(&["__name__", "up"], &[0, 1]),
            "first symbol is not the empty string",
        ),
        (one(&["", "__name__", "up"], &[1, 3]), "to no symbol"),
        (one(&["", "__name__", "up"], &[1, u32::MAX]), "to no symbol"),
        (one(&["", "__name__", "up"], &[1, 2, 1]), "odd number"),
        (exemplar(&[1]), "odd number"),
        (exemplar(&[1, 7]), "to no symbol"),
    ];
    for (request, why) in table {
        let answer = sender.write_v2(&request).await;
        assert_eq!((answer.status, written(&answer)), (400, Some([0, 0, 0])), "{answer:?}");
        assert!(answer.text.contains(why), "{why}: {answer:?}");
    }
    // A body of 1.0 under the name of 2.0 is no empty write.
    let mistaken = sender
        .request(small_write().body())
        .header("Content-Type", CONTENT_TYPE);
    let answer = mistaken.send().await;
    assert_eq!(answer.status, 400, "{answer:?}");
    // Nor is one of 2.0 under the name of 1.0.
    let answer = sender
        .request(one(&["", "__name__", "up"], &[1, 2]).body())
        .send()
        .await;
    assert_eq!((answer.status, written(&answer)), (400, None), "{answer:?}");
    assert!(answer.text.contains("looks like remote write 2.0"), "{answer:?}");
    assert!(receiver.received().is_empty());
    gateway.expect_log(&["write failed", "malformed", "to no symbol"]).await;
}

#[tokio::test]
async fn a_few_references_to_a_large_symbol_are_refused_before_they_take_memory() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let before = gateway.memory();
    let large = "x".repeat(1 << 20);
    // A body of 100 KB that stands for 50 GiB.
    let mut request = one(&["", "__name__", &large], &[1, 2].repeat(50_000));
    let answer = sender.write_v2(&request).await;
    assert_eq!((answer.status, written(&answer)), (400, Some([0, 0, 0])), "{answer:?}");
    assert!(answer.text.contains("max_decoded_size of 33554432 bytes"), "{answer:?}");
    let after = gateway.memory();
    assert!(after < before + (24 << 20), "{before} bytes became {after}");
    // Within the limit it is a series like any, too long for a receiver or not.
    request.timeseries[0].labels_refs = vec![1, 2];
    let answer = sender.write_v2(&request).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(!answer.text.contains("max_decoded_size"), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_becomes_much_larger_is_stored_like_any_other() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let long = "x".repeat(1000);
    let wide = |i: usize| {
        series("up")
            .label("i", &i.to_string())
            .label("pod", &long)
            .sample(i as f64, 0)
    };
    let sent = write((0..5000).map(wide));
    let request = RequestV2::of(&sent);
    let decoded = prost::Message::encode_to_vec(&request).len();
    assert!(decoded < 400_000, "{decoded}");
    let answer = gateway.sender().bearer("a-token").write_v2(&request).await;
    assert_eq!(
        (answer.status, written(&answer)),
        (204, Some([5000, 0, 0])),
        "{answer:?}"
    );
    assert_eq!(receiver.only().write, sent);
    gateway.expect_metric("gauntlet_in_flight_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn labels_in_any_order_are_sorted_and_empty_ones_left_out() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let request = one(&["", "b", "__name__", "up", "a", "1"], &[1, 5, 4, 5, 2, 3, 5, 0]);
    assert_eq!(sender.write_v2(&request).await.status, 204);
    let expected: TimeSeries = series("up").label("a", "1").label("b", "1").sample(1.0, 0);
    assert_eq!(receiver.only().write, write([expected]));
}

#[tokio::test]
async fn symbols_behind_their_series_and_another_encoding_than_snappy() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let RequestV2 { symbols, timeseries } = RequestV2::of(&small_write());
    let encoded = |symbols, timeseries| prost::Message::encode_to_vec(&RequestV2 { symbols, timeseries });
    let body = [encoded(vec![], timeseries.clone()), encoded(symbols.clone(), vec![])].concat();
    let request = sender.request(compress(&body)).header("Content-Type", CONTENT_TYPE);
    // Nor is the version's header required.
    let answer = request.without("X-Prometheus-Remote-Write-Version").send().await;
    assert_eq!((answer.status, written(&answer)), (204, Some([1, 0, 0])));
    assert_eq!(receiver.only().write, small_write());
    let zstd = sender
        .request(RequestV2 { symbols, timeseries }.body())
        .header("Content-Type", CONTENT_TYPE);
    let answer = zstd.header("Content-Encoding", "zstd").send().await;
    assert_eq!((answer.status, written(&answer)), (415, None));
}
