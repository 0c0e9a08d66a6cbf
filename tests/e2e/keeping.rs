//! What cannot be read and what vanished: no sender is turned away for it, and no newcomer gains by it.

use std::path::PathBuf;

use gauntlet_tests::setup::replace;
use gauntlet_tests::{Gateway, Receiver, Setup};
use serde_json::json;

use crate::{small_write, tenant};

/// The tenant `a`, and a folder of files as a test writes them.
fn with_raw_files(receiver: &Receiver) -> (Setup, PathBuf) {
    let setup = Setup::with_receiver(receiver)
        .tenant(tenant("a"))
        .set("/tenant_files", json!(["tenants/*.yaml", "raw/*.yaml"]));
    let raw = setup.folder().join("raw");
    std::fs::create_dir(&raw).unwrap();
    (setup, raw)
}

async fn status_of(gateway: &Gateway, token: &str) -> u16 {
    gateway.sender().bearer(token).write(&small_write()).await.status
}

#[tokio::test]
async fn while_the_credentials_of_a_file_cannot_be_known_nobody_is_turned_away_for_his_own() {
    let receiver = Receiver::start().await;
    let (setup, raw) = with_raw_files(&receiver);
    let whole = "tenant: b\ncredentials: [{bearer_token_file: token}]\nupstreams: [soft]\n";
    replace(&raw.join("token"), b"b-token\n");
    replace(&raw.join("b.yaml"), format!("{whole}policies: [").as_bytes());
    let gateway = Gateway::start(setup).await;
    for text in [
        format!("{whole}policies: ["),
        whole.replace("upstreams", "\tupstreams"),
        format!("<<<<<<< HEAD\n{whole}"),
        format!("{whole}---\n{whole}"),
        whole.replace("file: token", "file: no-such-token"),
        whole.replace("credentials", "credentails"),
        String::new(),
    ] {
        replace(&raw.join("b.yaml"), text.as_bytes());
        gateway.admin("POST", "/-/reload").await;
        assert_eq!(status_of(&gateway, "a-token").await, 204, "{text}");
        let answer = gateway.sender().bearer("b-token").write(&small_write()).await;
        assert_eq!(answer.status, 503, "{text}: {answer:?}");
        assert!(answer.retry_after() >= 1, "{text}");
        // Without a credential a request is nobody's.
        assert_eq!(gateway.sender().write(&small_write()).await.status, 401, "{text}");
    }
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("gauntlet_tenant_credentials_unknown", &[]), 1.0);
    let reason = [("reason", "credentials_unknown")];
    assert_eq!(metrics.sum("gauntlet_authentication_failures_total", &reason), 7.0);
    let status = gateway.api("/api/v1/status").await;
    assert_eq!(
        status["broken_tenants"][0]["credentials_unknown"],
        json!(true),
        "{status}"
    );
    gateway.expect_log(&["cannot be read", "b.yaml"]).await;

    // All its credentials are known, whatever else is wrong.
    replace(&raw.join("b.yaml"), format!("{whole}polices: []\n").as_bytes());
    gateway.admin("POST", "/-/reload").await;
    assert_eq!(status_of(&gateway, "b-token").await, 503);
    assert_eq!(status_of(&gateway, "c-token").await, 401);

    replace(&raw.join("b.yaml"), whole.as_bytes());
    gateway.admin("POST", "/-/reload").await;
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("gauntlet_tenant_credentials_unknown", &[]), 0.0);

    // From here on they are known from what serves.
    replace(&raw.join("b.yaml"), b"\t");
    gateway.admin("POST", "/-/reload").await;
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    assert_eq!(status_of(&gateway, "c-token").await, 401);
}

#[tokio::test]
async fn a_certificate_is_a_credential_that_may_be_the_unreadable_tenants() {
    let receiver = Receiver::start().await;
    let (setup, raw) = with_raw_files(&receiver);
    replace(&raw.join("b.yaml"), b"tenant: b\ncredentials: [");
    let gateway = Gateway::start(setup).await;
    let certificate = gateway.setup.certs.client_uri("spiffe://b");
    let answer = gateway.sender_with(&certificate).write(&small_write()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let with_header = gateway.sender_with(&certificate).bearer("a-token");
    assert_eq!(with_header.write(&small_write()).await.status, 204);
}
