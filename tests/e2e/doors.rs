//! Where writes come in besides the customary paths, and what load balancers are answered.

use gauntlet_tests::{Gateway, Receiver, Setup, within};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{one_tenant, small_write, tenant};

#[tokio::test]
async fn writes_are_taken_at_an_operators_paths_and_a_reload_changes_them() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/paths", json!(["/prometheus/write"]))
        .tenant(tenant("a"));
    let mut gateway = Gateway::start(setup).await;
    let ask = async |gateway: &Gateway, path: &str| {
        let sender = gateway.sender().bearer("a-token").to_path(path);
        sender.write(&small_write()).await.status
    };
    assert_eq!(ask(&gateway, "/prometheus/write").await, 204);
    assert_eq!(ask(&gateway, "/api/v1/receive").await, 204);
    assert_eq!(ask(&gateway, "/prometheus/write/").await, 404);
    let reloaded = gateway
        .reload(|setup| setup.put("/remote_write/paths", json!(["/other"])))
        .await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    assert_eq!(ask(&gateway, "/other").await, 204);
    assert_eq!(ask(&gateway, "/prometheus/write").await, 404);
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn a_balancer_is_answered_on_one_connection_again_and_again_if_that_is_switched_on() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/health_checks", true)
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let mut stream = gateway.sender().connect().await.unwrap();
    let ready = "GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let healthy = "HEAD /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{ready}{healthy}").as_bytes()).await.unwrap();
    let mut text = String::new();
    within("the end of the connection", stream.read_to_string(&mut text))
        .await
        .unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 4, "{text}");
    assert_eq!(text.matches("\r\n\r\nready\n").count(), 3, "{text}");
    // What else operators are answered they are not answered here.
    for path in ["/metrics", "/-/reload", "/api/v1/status"] {
        let answer = gateway.sender().request("").method("GET").path(path).send().await;
        assert!([404, 405].contains(&answer.status), "{path}: {answer:?}");
    }
    assert_eq!(
        gateway.sender().request("").path("/-/ready").send().await.status,
        404,
        "POST"
    );
}

#[tokio::test]
async fn a_balancer_finds_nothing_unless_it_is_switched_on() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    for path in ["/-/ready", "/-/healthy"] {
        let answer = gateway.sender().request("").method("GET").path(path).send().await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}
