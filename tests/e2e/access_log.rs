//! The log of answers: what is in it, that it can be moved away, and that a gateway without one writes none.

use std::path::Path;

use gauntlet_tests::{Gateway, Receiver, Setup, eventually, series, write};
use serde_json::{Value, json};

use crate::{small_write, tenant};

fn setup(receiver: &Receiver, log: Value) -> Setup {
    Setup::with_receiver(receiver)
        .set("/access_log", log)
        .tenant(tenant("a").limit("max_label_value_length", 10))
}

/// The lines of a file, once there are so many.
async fn lines(file: &Path, n: usize) -> Vec<Value> {
    eventually("lines of the access log", async || {
        let text = std::fs::read_to_string(file).ok()?;
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() >= n).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn each_refusal_and_a_sample_of_what_was_stored_has_a_line_that_says_who_what_and_where() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(setup(&receiver, json!({"path": "access.log", "sample": 0.5}))).await;
    let file = gateway.setup.folder().join("access.log");
    let sender = gateway.sender().bearer("a-token");
    let write_of = |id: &'static str| sender.clone().with_header("X-Request-ID", id);
    for id in ["stored-1", "stored-2", "stored-3", "stored-4"] {
        assert_eq!(write_of(id).write(&small_write()).await.status, 204);
    }
    let long = write([series("up").label("job", "longer than ten").sample(1.0, 0)]);
    assert_eq!(write_of("refused").write(&long).await.status, 400);
    assert_eq!(write_of("broken").request("nonsense").send().await.status, 400);
    assert_eq!(
        gateway.sender().bearer("secret-of-nobody").write(&long).await.status,
        401
    );
    let lines = lines(&file, 5).await;
    let of = |key: &str| lines.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(
        of("request_id")[..4],
        ["stored-2", "stored-4", "refused", "broken"],
        "{lines:?}"
    );
    assert_eq!(of("status"), [204, 204, 400, 400, 401]);
    assert_eq!(
        of("reason"),
        ["", "", "label_value_too_long", "snappy", "wrong_credential"]
    );
    assert_eq!(of("tenant"), ["a", "a", "a", "a", ""]);
    assert_eq!(of("samples"), [json!(1), json!(1), json!(1), json!(null), json!(null)]);
    assert_eq!(of("bytes")[0], small_write().body().len(), "{lines:?}");
    assert_eq!((&of("bytes")[3], &of("bytes")[4]), (&json!(8), &json!(0)), "{lines:?}");
    assert_eq!(of("upstream"), ["soft", "soft", "", "", ""]);
    assert!(of("credential").iter().all(|kind| kind == "bearer_token"), "{lines:?}");
    for line in &lines {
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert!(
            line["duration"].as_f64().unwrap() > 0.0 && line["time"].as_f64().unwrap() > 1e9,
            "{line}"
        );
    }
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("secret-of-nobody"), "{text}");
    gateway.expect_metric("gauntlet_access_log_lines_total", &[], 5.0).await;
}

#[tokio::test]
async fn a_log_that_was_moved_away_is_begun_anew_after_sighup() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(setup(&receiver, json!({"path": "access.log", "sample": 1}))).await;
    let file = gateway.setup.folder().join("access.log");
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(lines(&file, 1).await.len(), 1);
    let moved = gateway.setup.folder().join("access.log.1");
    std::fs::rename(&file, &moved).unwrap();
    gateway.sighup();
    eventually("a new file", async || file.exists().then_some(())).await;
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(lines(&file, 1).await.len(), 1);
    assert_eq!(lines(&moved, 1).await.len(), 1);
}

#[tokio::test]
async fn lines_go_to_standard_output_where_that_is_asked_for_and_nowhere_where_nothing_is() {
    let receiver = Receiver::start().await;
    let to_output = json!({"path": "-", "format": "logfmt", "sample": 1});
    let gateway = Gateway::start(setup(&receiver, to_output)).await;
    let without = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    for gateway in [&gateway, &without] {
        let sender = gateway
            .sender()
            .bearer("a-token")
            .with_header("X-Request-ID", "the-one");
        assert_eq!(sender.write(&small_write()).await.status, 204);
        assert_eq!(sender.request("nonsense").send().await.status, 400);
    }
    gateway
        .expect_log(&["status=204", "request_id=the-one", "upstream=soft"])
        .await;
    assert!(!without.log().contains("upstream=soft"));
    assert_eq!(without.metrics().await.sum("gauntlet_access_log_lines_total", &[]), 0.0);
}

#[tokio::test]
async fn what_cannot_be_meant_of_the_log_is_told_with_its_place() {
    let receiver = Receiver::start().await;
    for (log, told) in [
        (json!({}), "access_log"),
        (json!({"path": "x", "sample": 2}), "expected a share from `0` to `1`"),
        (
            json!({"path": "x", "sample": "some"}),
            "expected a share from `0` to `1`",
        ),
        (json!({"path": "x", "format": "xml"}), "access_log.format"),
        (json!({"path": "x", "level": "info"}), "unknown key"),
    ] {
        let checked = Gateway::check(&setup(&receiver, log.clone()));
        assert_eq!(checked.code, Some(1), "{log}: {checked:?}");
        assert!(checked.text.contains(told), "{log}: {checked:?}");
    }
    let (status, log) = Gateway::run_to_end(&setup(&receiver, json!({"path": "no/such/folder/log"}))).await;
    assert!(!status.success() && log.contains("access_log"), "{log}");
}
