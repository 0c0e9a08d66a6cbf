//! Spans of writes: what a collector gets, what receivers are told, that nobody waits for either, and that there are none if
//! nobody has configured them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gauntlet_tests::collector::STAGES;
use gauntlet_tests::sink::Sink;
use gauntlet_tests::{
    FakeCollector, Gateway, Receiver, Reply, Setup, SpanSeen, refused_address, relabel, series, write,
};
use serde_json::{Value, json};

use crate::{parted, small_write, tenant};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

fn setup(receiver: &Receiver, traces: Value) -> Setup {
    let drop = relabel(json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]));
    Setup::with_receiver(receiver)
        .set("/traces", traces)
        .tenant(tenant("a").policy("relabel", drop).limit("max_label_value_length", 10))
}

/// The one span whose attribute `gauntlet.request_id` is this.
fn of<'a>(spans: &'a [SpanSeen], id: &str) -> &'a SpanSeen {
    let mut found = spans.iter().filter(|span| span.is("gauntlet.request_id") == id);
    let span = found.next().unwrap_or_else(|| panic!("no span of {id}: {spans:#?}"));
    assert!(found.next().is_none(), "two spans of {id}: {spans:#?}");
    span
}

#[tokio::test]
async fn a_write_has_a_span_that_says_what_became_of_it_and_when_each_stage_ended() {
    let (receiver, collector) = (Receiver::start().await, FakeCollector::start().await);
    let gateway = Gateway::start(setup(&receiver, json!({"endpoint": collector.endpoint(), "sample": 1}))).await;
    let sender = gateway.sender().bearer("a-token");
    let write_of = |id: &str| sender.clone().with_header("X-Request-ID", id);
    let kept = ["up", "down", "go_threads"].map(|name| series(name).label("job", "secretive").sample(1.0, 0));
    assert_eq!(write_of("stored").write(&write(kept)).await.status, 204);
    let long = write([series("up").label("job", "longer than ten").sample(1.0, 0)]);
    assert_eq!(write_of("refused").write(&long).await.status, 400);
    receiver.answer_next([Reply::status(500)]);
    assert_eq!(write_of("waits").write(&small_write()).await.status, 503);
    let stranger = gateway
        .sender()
        .bearer("of-nobody")
        .with_header("X-Request-ID", "stranger");
    assert_eq!(stranger.write(&small_write()).await.status, 401);
    assert_eq!(
        write_of("lost").request("x").path("/no/such/path").send().await.status,
        404
    );
    let spans = collector.expect_spans(5).await;

    let span = of(&spans, "stored");
    assert_eq!(
        (span.name.as_str(), span.kind, span.status),
        ("POST /api/v1/receive", 2, 0)
    );
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/receive"),
        ("url.path", "/api/v1/receive"),
        ("url.scheme", "https"),
        ("http.response.status_code", "204"),
        ("client.address", "127.0.0.1"),
        ("gauntlet.tenant", "a"),
        ("gauntlet.protocol", "1.0"),
        ("gauntlet.upstreams", "soft"),
        ("gauntlet.samples.received", "3"),
        ("gauntlet.samples.forwarded", "2"),
        ("gauntlet.samples.dropped", "1"),
        ("gauntlet.samples.rejected", "0"),
        ("gauntlet.reason", ""),
        ("error.type", ""),
    ] {
        assert_eq!(span.is(key), value, "{key}: {span:#?}");
    }
    assert_eq!(span.stages(), STAGES);
    let times = span.events.iter().map(|event| event.time);
    let times: Vec<u64> = std::iter::once(span.start).chain(times).chain([span.end]).collect();
    assert!(times.is_sorted() && times[0] > 1_700_000_000_000_000_000, "{times:?}");
    let decoded = &span.events[2].attributes;
    assert_eq!(
        (
            &*decoded["gauntlet.series.received"],
            &*decoded["gauntlet.series.unknown"]
        ),
        ("3", "3")
    );
    let answered = &span.events[6].attributes;
    assert_eq!(
        (&*answered["gauntlet.upstream"], &*answered["gauntlet.outcome"]),
        ("soft", "stored")
    );
    assert_eq!(span.resource["service.name"], "gauntlet");
    assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((span.parent.as_str(), span.flags), ("", 0x101));

    let refused = of(&spans, "refused");
    assert_eq!(refused.is("http.response.status_code"), "400");
    assert_eq!(refused.is("gauntlet.reason"), "label_value_too_long");
    assert_eq!((refused.is("gauntlet.samples.rejected"), refused.status), ("1", 0));
    let waits = of(&spans, "waits");
    assert_eq!((waits.is("http.response.status_code"), waits.status), ("503", 2));
    assert_eq!(
        (waits.is("error.type"), waits.is("gauntlet.samples.rejected")),
        (waits.is("gauntlet.reason"), "1")
    );
    assert_eq!(
        waits.events[6].attributes["gauntlet.outcome"],
        waits.is("gauntlet.reason")
    );
    let stranger = of(&spans, "stranger");
    assert_eq!((stranger.is("gauntlet.tenant"), stranger.stages().len()), ("", 0));
    assert_eq!(stranger.is("gauntlet.reason"), "wrong_credential");
    let lost = of(&spans, "lost");
    assert_eq!((lost.name.as_str(), lost.is("http.route")), ("POST", ""));

    let told = format!("{spans:?}");
    for secret in ["a-token", "of-nobody", "secretive", "longer than ten", "go_threads"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
    gateway.expect_metric("gauntlet_trace_spans_total", &[], 5.0).await;
    gateway
        .expect_metric("gauntlet_trace_spans_dropped_total", &[], 0.0)
        .await;
}

#[tokio::test]
async fn each_part_of_a_write_is_part_of_its_span_which_is_part_of_what_the_sender_said() {
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let collector = FakeCollector::start().await;
    let mut gateway = parted(&one, &other).await;
    let traces = json!({"endpoint": collector.endpoint(), "sample": 1});
    assert_eq!(gateway.reload(|setup| setup.put("/traces", traces)).await.status, 200);
    let sender = gateway.sender().bearer("a-token");
    let sender = sender
        .with_header("traceparent", &parent("03"))
        .with_header("tracestate", "x=1,y=2");
    let both = write(["up", "other"].map(|name| series(name).sample(1.0, 0)));
    assert_eq!(sender.write(&both).await.status, 204);
    let span = collector.expect_spans(1).await.remove(0);
    assert_eq!(
        (span.trace.as_str(), span.parent.as_str(), span.state.as_str()),
        (TRACE, SPAN, "x=1,y=2")
    );
    assert_eq!(span.flags, 0x303);
    for receiver in [&one, &other] {
        let received = receiver.only();
        assert_eq!(received.headers.get_all("traceparent").iter().count(), 1);
        assert_eq!(received.header("traceparent"), format!("00-{TRACE}-{}-03", span.id));
        assert_eq!(received.header("tracestate"), "x=1,y=2");
    }
    assert_eq!(span.is("gauntlet.upstreams").split(',').count(), 2);
    assert_eq!(
        span.stages()
            .iter()
            .filter(|stage| **stage == "upstream answered")
            .count(),
        2
    );
}

#[tokio::test]
async fn a_sender_that_asks_has_a_span_now_and_then_and_a_stranger_none() {
    let (receiver, collector) = (Receiver::start().await, FakeCollector::start().await);
    let gateway = Gateway::start(setup(&receiver, json!({"endpoint": collector.endpoint(), "sample": 0}))).await;
    let with = |flags: &str| gateway.sender().with_header("traceparent", &parent(flags));
    assert_eq!(with("01").bearer("of-nobody").write(&small_write()).await.status, 401);
    assert_eq!(with("00").bearer("a-token").write(&small_write()).await.status, 204);
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    let malformed = gateway
        .sender()
        .bearer("a-token")
        .with_header("traceparent", &parent("1"));
    assert_eq!(malformed.write(&small_write()).await.status, 204);
    // What has no span goes on as the sender said it, or not at all.
    let told: Vec<_> = receiver
        .received()
        .iter()
        .map(|r| r.header("traceparent").to_owned())
        .collect();
    assert_eq!(told, [parent("00"), String::new(), String::new()]);
    receiver.clear();
    for _ in 0..60 {
        assert_eq!(with("01").bearer("a-token").write(&small_write()).await.status, 204);
    }
    let own = |r: &&gauntlet_tests::Received| r.header("traceparent") != parent("01");
    let granted = receiver.received().iter().filter(own).count();
    assert!(granted >= 10, "{granted}");
    let spans = collector.expect_spans(granted).await;
    assert_eq!(spans.len(), granted);
    let is_asked_for = |span: &SpanSeen| span.trace == TRACE && span.is("gauntlet.tenant") == "a";
    assert!(spans.iter().all(is_asked_for), "{spans:#?}");
}

#[tokio::test]
async fn a_collector_that_is_dead_or_hangs_holds_no_write_and_the_log_says_which_it_is() {
    let receiver = Receiver::start().await;
    for (address, told) in [
        (refused_address().await, "nothing listens at its port"),
        (Sink::hanging(), "no answer in 10 s"),
    ] {
        let endpoint = format!("http://{address}/v1/traces");
        let gateway = Gateway::start(setup(&receiver, json!({"endpoint": endpoint, "sample": 1}))).await;
        let sender = gateway.sender().bearer("a-token");
        let began = Instant::now();
        let mut writes = 0;
        // Until the collector is known to be gone, and for as long as it is.
        while !gateway.log().contains(told) {
            assert_eq!(sender.write(&small_write()).await.status, 204);
            writes += 1;
            assert!(began.elapsed() < Duration::from_secs(60), "{}", gateway.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway
            .expect_log(&["WARN", &endpoint, told, "spans were not taken by the collector"])
            .await;
        assert_eq!(gateway.log().matches("spans were not taken").count(), 1);
        // A hanging collector holds one exchange for ten seconds: that no write waited for it shows in their number.
        assert!(writes >= 10, "{writes} writes in {:?}", began.elapsed());
        gateway.expect_metric("gauntlet_trace_spans_total", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_batch_that_is_to_come_later_comes_and_one_that_is_refused_is_counted() {
    let (receiver, collector) = (Receiver::start().await, FakeCollector::start().await);
    let gateway = Gateway::start(setup(&receiver, json!({"endpoint": collector.endpoint(), "sample": 1}))).await;
    let sender = gateway.sender().bearer("a-token");
    collector.refuse_next([503]);
    assert_eq!(sender.write(&small_write()).await.status, 204);
    gateway.expect_log(&["it answered 503"]).await;
    collector.expect_spans(1).await;
    collector.refuse_next([400]);
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let refused = [("reason", "refused")];
    gateway
        .expect_metric("gauntlet_trace_spans_dropped_total", &refused, 1.0)
        .await;
    gateway.expect_metric("gauntlet_trace_spans_total", &[], 1.0).await;
}

#[tokio::test]
async fn a_reload_switches_spans_on_and_off_and_to_another_collector_with_a_secret_of_its_own() {
    let (receiver, collector, other) = (
        Receiver::start().await,
        FakeCollector::start().await,
        FakeCollector::start().await,
    );
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a"));
    std::fs::write(setup.folder().join("key"), "Bearer the-key\n").unwrap();
    let mut gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(receiver.only().header("traceparent"), "");
    let with = |collector: &FakeCollector| json!({"endpoint": collector.endpoint(), "sample": 1, "header_files": {"Authorization": "key"}});
    for collector in [&collector, &other] {
        let answer = gateway.reload(|setup| setup.put("/traces", with(collector))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(sender.write(&small_write()).await.status, 204);
        let spans = collector.expect_spans(1).await;
        assert_eq!(
            (spans.len(), &spans[0].headers["authorization"]),
            (1, &"Bearer the-key".parse().unwrap())
        );
    }
    let shown = gateway.api("/api/v1/config").await;
    assert_eq!(
        shown["config"]["traces"]["headers"],
        json!({"authorization": "<secret>"})
    );
    assert!(!shown.to_string().contains("the-key") && !gateway.log().contains("the-key"));
    assert_eq!(gateway.reload(|setup| setup.remove("traces")).await.status, 200);
    receiver.clear();
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(receiver.only().header("traceparent"), "");
    assert_eq!((collector.spans().len(), other.spans().len()), (1, 1));
}

#[tokio::test]
async fn what_has_ended_when_the_gateway_is_told_to_stop_still_comes() {
    let (receiver, collector) = (Receiver::start().await, FakeCollector::start().await);
    let mut gateway = Gateway::start(setup(&receiver, json!({"endpoint": collector.endpoint(), "sample": 1}))).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    gateway.terminate();
    assert!(gateway.ended().await.success());
    assert_eq!(collector.spans().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_meant_of_traces_is_told_with_its_place() {
    let receiver = Receiver::start().await;
    let at = |endpoint: &str| json!({"endpoint": endpoint});
    for (traces, told) in [
        (json!({"sample": 1}), "`endpoint` is missing"),
        (
            at("collector:4318"),
            "traces.endpoint: expected `http://host:port/path`",
        ),
        (at("http://collector/v1/traces"), "the port is missing"),
        (
            at("http://user:secret@collector:4318/"),
            "cannot hold a user or a password",
        ),
        (at("http://collector:4318/v1/traces?key=x"), "without a query"),
        (
            json!({"endpoint": "http://c:4318", "sample": 2}),
            "expected a share from `0` to `1`",
        ),
        (
            json!({"endpoint": "http://c:4318", "header_files": {"Host": "key"}}),
            "`host` is set by the gateway itself",
        ),
        (
            json!({"endpoint": "http://c:4318", "header_files": {"a b": "key"}}),
            "`a b` is not the name of a header",
        ),
        (
            json!({"endpoint": "http://c:4318", "header_files": {"authorization": "lines"}}),
            "the file holds a second line",
        ),
        (
            json!({"endpoint": "https://c:4318", "tls_config": {"ca_file": "key"}}),
            "traces.tls_config",
        ),
        (json!({"endpoint": "http://c:4318", "protocol": "grpc"}), "unknown key"),
    ] {
        let setup = setup(&receiver, traces.clone());
        std::fs::write(setup.folder().join("key"), "value").unwrap();
        std::fs::write(setup.folder().join("lines"), "hidden\nvalue").unwrap();
        let checked = Gateway::check(&setup);
        assert_eq!(checked.code, Some(1), "{traces}: {checked:?}");
        assert!(checked.text.contains(told), "{traces}: {checked:?}");
        assert!(
            !checked.text.contains("hidden") && !checked.text.contains("secret@"),
            "{checked:?}"
        );
    }
    let sound = BTreeMap::from([
        ("http://collector:4317", "4317 is usually the port for OTLP over gRPC"),
        ("http://collector:4318", ""),
    ]);
    for (endpoint, warned) in sound {
        let checked = Gateway::check(&setup(&receiver, at(endpoint)));
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(checked.text.contains(warned), "{checked:?}");
    }
}
