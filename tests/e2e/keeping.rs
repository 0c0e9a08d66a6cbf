//! What cannot be read and what vanished: no sender is turned away for it, and no newcomer gains by it.

use std::path::PathBuf;

use gauntlet_tests::setup::replace;
use gauntlet_tests::{Gateway, Receiver, Setup, eventually};
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
        assert_eq!(answer.header("connection"), None, "it is to try again: {text}");
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
    gateway.expect_log(&["not all credentials", "b.yaml"]).await;

    // A link that leads nowhere.
    std::fs::remove_file(raw.join("b.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", raw.join("b.yaml")).unwrap();
    gateway.admin("POST", "/-/reload").await;
    assert_eq!(status_of(&gateway, "b-token").await, 503);

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

    // From here on what served goes on. Who has a credential that came with the mistake waits until it is mended.
    let rotated = "tenant: b\ncredentials: [{bearer_token_file: rotated}]\nupstreams: [soft]\npolices: []\n";
    replace(&raw.join("rotated"), b"c-token\n");
    let refused = "tenant: b\ncredentials: [{bearer_token_file: rotated}]\nupstreams: [soft]\npolicies: [{plugin: relabel, settings: {no: 1}}]\n";
    for text in ["\t", rotated, refused] {
        replace(&raw.join("b.yaml"), text.as_bytes());
        gateway.admin("POST", "/-/reload").await;
        assert_eq!(status_of(&gateway, "b-token").await, 204, "{text}");
        assert_eq!(status_of(&gateway, "c-token").await, 503, "{text}");
    }
    replace(&raw.join("b.yaml"), format!("{whole}polices: []\n").as_bytes());
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

#[tokio::test]
async fn a_folder_that_became_empty_is_a_failed_reload_and_everybody_goes_on() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a")).tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let tenants = gateway.setup.folder().join("tenants");
    std::fs::rename(&tenants, gateway.setup.folder().join("away")).unwrap();
    for empty in [false, true] {
        if empty {
            std::fs::create_dir(&tenants).unwrap();
        }
        let answer = gateway.admin("POST", "/-/reload").await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text.contains("tenant_files[0]"), "{answer:?}");
        assert_eq!(status_of(&gateway, "a-token").await, 204);
        assert_eq!(status_of(&gateway, "b-token").await, 204);
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.sum("gauntlet_config_last_reload_successful", &[]), 0.0);
    }
    std::fs::remove_dir(&tenants).unwrap();
    std::fs::rename(gateway.setup.folder().join("away"), &tenants).unwrap();
    assert_eq!(gateway.admin("POST", "/-/reload").await.status, 200);
}

#[tokio::test]
async fn a_file_that_vanished_is_let_go_only_after_some_polls() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a")).tenant(tenant("b"));
    let gateway = Gateway::start_with(setup, &["--config.poll-interval=300ms"]).await;
    let (file, away) = (gateway.setup.tenant_file("b"), gateway.setup.folder().join("b"));
    std::fs::rename(&file, &away).unwrap();
    // Another file that changes in the same breath takes nothing from it.
    replace(
        &gateway.setup.tenant_file("c"),
        b"tenant: c\ncredentials: [{bearer_token_file: ../c-token}]\n",
    );
    std::fs::write(gateway.setup.folder().join("c-token"), "c-token").unwrap();
    gateway.expect_log(&["this tenant file is gone", "b.yaml"]).await;
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    // Its credential was in use: whoever has it waits.
    eventually("b to be let go", async || {
        (status_of(&gateway, "b-token").await == 503).then_some(())
    })
    .await;
    assert_eq!(gateway.log().matches("this tenant file is gone").count(), 3);
    gateway.expect_log(&["is not configured any more", "b.yaml"]).await;
    assert_eq!(status_of(&gateway, "a-token").await, 204);
    std::fs::rename(&away, &file).unwrap();
    eventually("b to be back", async || {
        (status_of(&gateway, "b-token").await == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_newcomer_takes_neither_a_tenant_nor_a_credential_from_who_serves() {
    let receiver = Receiver::start().await;
    let (setup, raw) = with_raw_files(&receiver);
    let text = |id: &str, token: &str| {
        std::fs::write(raw.join(token), token).unwrap();
        format!("tenant: {id}\ncredentials: [{{bearer_token_file: {token}}}]\nupstreams: [soft]\n")
    };
    replace(&raw.join("b.yaml"), text("b", "b-token").as_bytes());
    let gateway = Gateway::start(setup).await;
    replace(&raw.join("a-new.yaml"), text("b", "thief-token").as_bytes());
    replace(&raw.join("a-thief.yaml"), text("thief", "b-token").as_bytes());
    // What cannot be read may have another credential.
    for (incumbent, nobodys) in [(text("b", "b-token"), 401), ("\t".to_owned(), 503)] {
        replace(&raw.join("b.yaml"), incumbent.as_bytes());
        receiver.clear();
        let answer = gateway.admin("POST", "/-/reload").await;
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text.contains("raw/b.yaml"), "{answer:?}");
        assert_eq!(status_of(&gateway, "b-token").await, 204, "{incumbent}");
        assert_eq!(receiver.only().tenant(), "b", "{incumbent}");
        assert_eq!(status_of(&gateway, "thief-token").await, 503, "{incumbent}");
        assert_eq!(status_of(&gateway, "nobodys").await, nobodys, "{incumbent}");
    }
}

#[tokio::test]
async fn what_served_last_outlives_a_restart_in_state_dir() {
    let receiver = Receiver::start().await;
    let (setup, raw) = with_raw_files(&receiver);
    let setup = setup.set("/state_dir", json!("state"));
    let rules = r#"{"relabel_configs": [{"target_label": "kept", "replacement": "yes"}]}"#;
    let of_b = format!(
        "tenant: b\ncredentials: [{{bearer_token_file: token}}]\nupstreams: [soft]\npolicies: [{{plugin: relabel, settings: {rules}}}]\n"
    );
    let of_c = "tenant: c\ncredentials: [{bearer_token_file: c-token}]\nupstreams: [soft]\n";
    replace(&raw.join("token"), b"b-token\n");
    replace(&raw.join("c-token"), b"c-token\n");
    replace(&raw.join("b.yaml"), of_b.as_bytes());
    replace(&raw.join("c.yaml"), of_c.as_bytes());
    let state = setup.folder().join("state");
    let kept = |ending: &str| {
        let files = std::fs::read_dir(&state).into_iter().flatten();
        files
            .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|it| it == ending))
            .count()
    };
    let mut gateway = Gateway::start(setup).await;
    eventually("three tenants and a plugin", async || {
        ((kept("tenant"), kept("wasm")) == (3, 1)).then_some(())
    })
    .await;
    gateway.terminate();
    gateway.ended().await;

    // One file broken, one folder's worth of others untouched, and a newcomer that would take b over.
    replace(&raw.join("b.yaml"), b"\t");
    replace(
        &raw.join("a-new.yaml"),
        of_c.replace("tenant: c", "tenant: b")
            .replace("c-token", "token")
            .as_bytes(),
    );
    let mut gateway = Gateway::start(gateway.setup).await;
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    assert_eq!(receiver.only().write.timeseries[0].value("kept"), Some("yes"));
    assert_eq!(receiver.only().tenant(), "b");
    assert_eq!(status_of(&gateway, "nobodys").await, 503);
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("gauntlet_tenants_restored", &[]) >= 1.0);
    assert_eq!(metrics.sum("gauntlet_tenant_broken", &[("tenant", "b")]), 1.0);
    let status = gateway.api("/api/v1/status").await;
    let broken = status["broken_tenants"].as_array().unwrap();
    let of_b_file = broken
        .iter()
        .find(|one| one["file"].as_str().unwrap().ends_with("raw/b.yaml"));
    assert_eq!(of_b_file.unwrap()["restored"], json!(true), "{status}");
    gateway.expect_log(&["\"restored\":true", "b.yaml"]).await;

    // Mended, it serves as it is written; what is gone on purpose is forgotten.
    std::fs::remove_file(raw.join("a-new.yaml")).unwrap();
    std::fs::remove_file(raw.join("c.yaml")).unwrap();
    replace(&raw.join("b.yaml"), of_b.replace("yes", "new").as_bytes());
    assert_eq!(gateway.admin("POST", "/-/reload").await.status, 200);
    receiver.clear();
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    assert_eq!(receiver.only().write.timeseries[0].value("kept"), Some("new"));
    assert_eq!(status_of(&gateway, "c-token").await, 401);
    assert_eq!(kept("tenant"), 2);
    assert_eq!(gateway.metrics().await.sum("gauntlet_tenants_restored", &[]), 0.0);
    gateway.terminate();
    gateway.ended().await;

    // A volume that is not there yet is no wish, also at the start.
    for file in ["b.yaml", "token"] {
        std::fs::rename(raw.join(file), gateway.setup.folder().join(file)).unwrap();
    }
    let gateway = Gateway::start(gateway.setup).await;
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    assert_eq!(gateway.admin("POST", "/-/reload").await.status, 500);
    assert_eq!(status_of(&gateway, "b-token").await, 204);
    // No secret is there in clear text.
    for file in std::fs::read_dir(&state).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"b-token"));
    }
}
