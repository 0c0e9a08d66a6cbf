//! Host checks on labels: reserved names, order, empty values, what is rejected and what is still forwarded.

use gauntlet_tests::remote_write::{Label, compress};
use gauntlet_tests::setup::replace;
use gauntlet_tests::{Gateway, Receiver, Setup, TimeSeries, WriteRequest, relabel, series, write};
use serde_json::json;

use crate::{one_tenant, tenant};

#[tokio::test]
async fn a_reserved_label_is_renamed() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let forged = series("up")
        .label("tenant_id", "victim")
        .label("receiver_replica", "7")
        .label("z", "1");
    let answer = gateway
        .sender()
        .bearer("a-token")
        .write(&write([forged.sample(1.5, 3)]))
        .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let expected = r#"up{exported_receiver_replica="7",exported_tenant_id="victim",z="1"}"#;
    assert_eq!(
        receiver.only().write.samples(),
        [(expected.to_owned(), 1.5f64.to_bits(), 3)]
    );
}

#[tokio::test]
async fn where_the_new_name_of_a_reserved_label_is_taken_the_series_is_rejected() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let taken = series("bad")
        .label("exported_tenant_id", "mine")
        .label("tenant_id", "victim")
        .sample(1.0, 0);
    let answer = gateway
        .sender()
        .bearer("a-token")
        .write(&write([taken, series("good").sample(2.0, 0)]))
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(receiver.only().write.texts(), ["good"]);
}

#[tokio::test]
async fn a_policy_cannot_set_a_reserved_label() {
    let receiver = Receiver::start().await;
    let rules = json!([
        {"target_label": "tenant_id", "replacement": "victim"},
        {"target_label": "receiver_replica", "replacement": "7"},
    ]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    gateway
        .sender()
        .bearer("a-token")
        .write(&write([series("up").sample(1.0, 0)]))
        .await;
    for received in receiver.received() {
        assert_eq!(received.tenant(), "a");
        for one in received.write.timeseries {
            assert_eq!(
                (one.value("tenant_id"), one.value("receiver_replica")),
                (None, None),
                "{}",
                one.text()
            );
        }
    }
}

#[tokio::test]
async fn a_series_that_a_policy_leaves_without_sense_is_rejected_and_the_rest_is_forwarded() {
    let receiver = Receiver::start().await;
    // The group may be empty, as in Prometheus.
    let rules = json!([{"action": "labelmap", "regex": "label_(.*)"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let nameless = series("bad").label("label_", "x").sample(2.0, 0);
    let good = series("good").label("label_app", "web").sample(1.0, 0);
    // Often enough to rest a policy that failed; known from the second one on.
    for _ in 0..6 {
        receiver.clear();
        let sent = write([good.clone(), nameless.clone()]);
        let answer = gateway.sender().bearer("a-token").write(&sent).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.text.contains("an empty label name (policy relabel)"),
            "{answer:?}"
        );
        assert_eq!(receiver.only().write.texts(), [r#"good{app="web",label_app="web"}"#]);
    }
    let refused = [("tenant", "a"), ("reason", "empty_label_name")];
    gateway
        .expect_metric("gauntlet_rejected_samples_total", &refused, 6.0)
        .await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("gauntlet_policy_traps_total", &[("tenant", "a")]), 0.0);
    assert_eq!(metrics.sum("gauntlet_policy_quarantined", &[("tenant", "a")]), 0.0);
}

#[tokio::test]
async fn a_value_of_many_megabytes_is_refused_by_its_limit_before_any_policy_and_the_rest_goes_on() {
    let receiver = Receiver::start().await;
    let rules = json!([{"target_label": "cluster", "replacement": "c"}]);
    let shortens = json!([{"source_labels": ["path"], "regex": "(.{10}).*", "target_label": "path"}]);
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("a").policy("relabel", relabel(rules)))
        .tenant(tenant("b").policy("relabel", relabel(shortens)));
    let gateway = Gateway::start(setup).await;
    let huge = "x".repeat(9 << 20);
    // Often enough to rest a policy that failed.
    for _ in 0..6 {
        receiver.clear();
        let sent = write([
            series("good").sample(1.0, 0),
            series("huge").label("path", &huge).sample(1.0, 0),
        ]);
        let answer = gateway.sender().bearer("a-token").write(&sent).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let told = "1: a label value longer than max_label_value_length, as in huge{path=\"xxx";
        assert!(answer.text.contains(told), "{answer:?}");
        assert_eq!(receiver.only().write.texts(), [r#"good{cluster="c"}"#]);
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("gauntlet_policy_traps_total", &[]), 0.0);
    // What is only over the limit is the policy's to shorten.
    receiver.clear();
    let long = write([series("long").label("path", &"y".repeat(100_000)).sample(1.0, 0)]);
    assert_eq!(gateway.sender().bearer("b-token").write(&long).await.status, 204);
    assert_eq!(receiver.only().write.texts(), [r#"long{path="yyyyyyyyyy"}"#]);
}

#[tokio::test]
async fn the_first_refused_series_of_each_reason_is_named_to_the_sender_the_log_and_the_operator() {
    let receiver = Receiver::start().await;
    let rules = json!([{"action": "labelmap", "regex": "label_(.*)"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let good = (0..1999).map(|n| series("up").label("n", &n.to_string()).sample(1.0, 0));
    let long = "x".repeat(5000);
    let bad = [
        series("twice").label("job", "x").label("job", "x"),
        series("twice_again").label("job", "x").label("job", "x"),
        TimeSeries::default().label("job", "nameless"),
        series("long").label("path", &long),
        series("mapped").label("label_", "x"),
    ];
    let bad = bad.into_iter().map(|one| one.sample(1.0, 0));
    // The second time, the policy is not asked any more.
    for _ in 0..2 {
        let sent = WriteRequest::as_given(good.clone().chain(bad.clone()));
        let answer = gateway.sender().bearer("a-token").write(&sent).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        for told in [
            "5 of 2004 series were refused",
            r#"2: a label name occurs twice, as in twice{job="x"}"#,
            r#"1: the label __name__ is missing or empty, as in {job="nameless"}"#,
            r#"1: a label value longer than max_label_value_length, as in long{path="xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"}"#,
            "1: an empty label name (policy relabel), as in mapped",
        ] {
            assert!(answer.text.contains(told), "{told}: {answer:?}");
        }
        assert!(answer.text.len() <= 1024);
    }
    let log = gateway.log();
    let told = log
        .lines()
        .filter(|line| line.contains("\"series refused: dropped by the sender\""));
    let told: Vec<&str> = told.filter(|line| line.contains("duplicate_label")).collect();
    assert_eq!(told.len(), 2, "{log}");
    for part in [
        r#""level":"WARN""#,
        r#""tenant":"a""#,
        r#""series":2"#,
        "as in twice{job}",
    ] {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
    let shown = gateway.api("/api/v1/tenants").await.to_string();
    assert!(shown.contains("as in twice{job}"), "{shown}");
    // A value may be what a policy redacts.
    assert!(
        !log.contains("nameless") && !shown.contains("nameless") && !log.contains("xxx"),
        "{log}"
    );
    // A flood is told by its first lines.
    for _ in 0..40 {
        let sent = WriteRequest::as_given([series("twice").label("job", "x").label("job", "x").sample(1.0, 0)]);
        assert_eq!(gateway.sender().bearer("a-token").write(&sent).await.status, 400);
    }
    let log = gateway.log();
    assert!(log.matches(r#""reason":"duplicate_label""#).count() < 42, "{log}");
}

#[tokio::test]
async fn other_names_can_be_reserved() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/reserved_labels", json!(["cluster_of_origin"]))
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let sent = series("up").label("cluster_of_origin", "x").sample(1.0, 0);
    assert_eq!(
        gateway.sender().bearer("a-token").write(&write([sent])).await.status,
        204
    );
    assert_eq!(receiver.only().write.texts(), [r#"up{exported_cluster_of_origin="x"}"#]);
}

#[tokio::test]
async fn unsorted_labels_are_sorted_and_empty_ones_vanish() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let unsorted = TimeSeries::default()
        .label("z", "1")
        .label("a", "2")
        .label("empty", "")
        .label("__name__", "up");
    // Sorted by bytes: upper case stands before the underscore, and that before lower case.
    let mixed = series("down").label("b", "1").label("B", "2").label("_", "3");
    let sent = WriteRequest::as_given([unsorted.sample(1.0, 0), mixed.sample(2.0, 0)]);
    let answer = gateway.sender().bearer("a-token").write(&sent).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let arrived = receiver.only().write;
    let names = |one: &TimeSeries| one.labels.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&arrived.timeseries[0]), ["__name__", "a", "z"]);
    assert_eq!(names(&arrived.timeseries[1]), ["B", "_", "__name__", "b"]);
    assert_eq!(arrived.sample_count(), 2);
}

#[tokio::test]
async fn an_invalid_series_is_rejected_and_the_rest_is_forwarded() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let bare = TimeSeries::default;
    let invalid = [
        ("no name", bare().label("job", "x")),
        ("an empty name", bare().label("__name__", "").label("job", "x")),
        ("no labels", bare()),
        ("a name twice", series("up").label("job", "x").label("job", "x")),
        (
            "a name twice, values apart",
            series("up").label("job", "x").label("job", "y"),
        ),
        ("__name__ twice", series("up").label("__name__", "down")),
        ("an empty label name", series("up").label("", "x")),
    ];
    let mut bad = 0.0;
    for (what, one) in invalid {
        receiver.clear();
        let sent = WriteRequest::as_given([
            series("before").sample(1.0, 0),
            one.sample(2.0, 0).sample(3.0, 1),
            series("after").sample(4.0, 0),
        ]);
        let answer = sender.write(&sent).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(
            !answer.text.is_empty() && answer.text.len() <= 1024,
            "{what}: {answer:?}"
        );
        assert_eq!(receiver.only().write.texts(), ["before", "after"], "{what}");
        bad += 2.0;
    }
    gateway
        .expect_metric("gauntlet_rejected_samples_total", &[("tenant", "a")], bad)
        .await;
    gateway
        .expect_metric("gauntlet_forwarded_samples_total", &[("tenant", "a")], bad)
        .await;
}

#[tokio::test]
async fn a_label_that_is_not_utf_8_never_arrives() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let mut body = prost::Message::encode_to_vec(&write([
        series("good").sample(1.0, 0),
        series("bad").label("job", "XX").sample(2.0, 0),
    ]));
    let at = body.windows(2).position(|w| w == b"XX").unwrap();
    body[at] = 0xff;
    let answer = gateway.sender().bearer("a-token").request(compress(&body)).send().await;
    assert_eq!(answer.status, 400, "{answer:?}");
    for received in receiver.received() {
        assert_eq!(received.write.texts(), ["good"]);
    }
}

#[tokio::test]
async fn any_utf_8_name_is_legal_unless_the_operator_wants_the_old_pattern() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("new"))
        .tenant(tenant("old").set("legacy_names", true));
    let gateway = Gateway::start(setup).await;
    let sent = [
        series("温度").label("straße.name", "x").sample(1.0, 0),
        series("a:b_c1").label("_x", "y").sample(1.0, 0),
    ];
    let new = gateway.sender().bearer("new-token").write(&write(sent.clone())).await;
    assert_eq!(new.status, 204, "{new:?}");
    assert_eq!(receiver.only().write.timeseries.len(), 2);
    receiver.clear();
    let old = gateway.sender().bearer("old-token").write(&write(sent)).await;
    assert_eq!(old.status, 400, "{old:?}");
    assert_eq!(receiver.only().write.texts(), [r#"a:b_c1{_x="y"}"#]);
}

#[tokio::test]
async fn what_a_policy_makes_invalid_is_rejected_not_forwarded() {
    let receiver = Receiver::start().await;
    let rules = json!([{"source_labels": ["strip"], "regex": "yes", "target_label": "__name__", "replacement": ""}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    let sent = write([
        series("good").sample(1.0, 0),
        series("bad").label("strip", "yes").sample(1.0, 0),
    ]);
    let answer = gateway.sender().bearer("a-token").write(&sent).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(receiver.only().write.texts(), ["good"]);
}

#[tokio::test]
async fn labels_of_every_length_survive_an_edit_to_the_byte() {
    let receiver = Receiver::start().await;
    let rules = json!([{"target_label": "cluster", "replacement": "c"}]);
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("relabel", relabel(rules)));
    let gateway = Gateway::start(setup).await;
    // Round the lengths where protobuf's length prefix grows by a byte.
    let lengths = [1, 2, 100, 126, 127, 128, 129, 300, 1000];
    let sent: Vec<_> = lengths
        .map(|n| series("long").label("v", &"é".repeat(n)).sample(n as f64, 1))
        .into();
    let answer = gateway.sender().bearer("a-token").write(&write(sent.clone())).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let arrived = receiver.only().write;
    let expected = sent.into_iter().map(|mut one| {
        one.labels.push(Label {
            name: "cluster".to_owned(),
            value: "c".to_owned(),
        });
        one
    });
    assert_eq!(arrived, write(expected));
}

/// YAML sees a truth value and numbers where Prometheus sees text.
#[tokio::test]
async fn settings_reach_a_policy_as_they_are_written() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let token = gauntlet_tests::setup::sha256(b"a-token");
    let text = format!(
        "tenant: a
credentials: [{{bearer_token_sha256: {token}}}]
upstreams: [soft]
policies:
  - plugin: relabel
    settings:
      relabel_configs:
        - {{action: keep, source_labels: [ready], regex: True}}
        - {{target_label: code, replacement: 0x10}}
        - {{target_label: day, replacement: 2026-11-26}}
        - {{target_label: zeros, replacement: 007}}
"
    );
    replace(&gateway.setup.tenant_file("a"), text.as_bytes());
    assert_eq!(gateway.admin("POST", "/-/reload").await.status, 200);
    let ready = |value: &str| series("up").label("ready", value).sample(1.0, 0);
    let answer = gateway
        .sender()
        .bearer("a-token")
        .write(&write([ready("True"), ready("true")]))
        .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    let arrived = receiver.only().write.timeseries;
    assert_eq!(arrived.len(), 1, "{arrived:?}");
    for (name, value) in [
        ("ready", "True"),
        ("code", "0x10"),
        ("day", "2026-11-26"),
        ("zeros", "007"),
    ] {
        assert_eq!(arrived[0].value(name), Some(value), "{name}");
    }
}
