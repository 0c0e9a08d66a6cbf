//! Who was turned away, and why: one line in the log for each network and reason, a metric for each handshake, and
//! never a secret.

use gauntlet_tests::{Certs, Gateway, Receiver, Sender, Setup, series, within, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{one_tenant, small_write, tenant};

#[tokio::test]
async fn a_wrong_password_is_told_once_with_address_and_configured_user() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").basic("kazusa", "right-secret"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().basic("kazusa", "wrong-secret");
    for _ in 0..5 {
        assert_eq!(sender.write(&small_write()).await.status, 401);
    }
    let line = gateway.expect_log(&["request refused", "wrong_credential"]).await;
    assert!(line.contains("127.0.0.1:") && line.contains("user kazusa"), "{line}");
    assert_eq!(gateway.log().matches("request refused").count(), 1);
    assert!(!gateway.log().contains("-secret"), "{}", gateway.log());
}

#[tokio::test]
async fn a_stranger_gets_one_answer_for_each_connection_which_says_so_and_ends() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let wrong =
        "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\nContent-Length: 0\r\n\r\n".repeat(3);
    for (requests, status) in [(nowhere, "HTTP/1.1 404"), (wrong, "HTTP/1.1 401")] {
        let mut stream = gateway.sender().connect().await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut text = String::new();
        within("the end of the connection", stream.read_to_string(&mut text))
            .await
            .unwrap();
        assert!(text.starts_with(status), "{text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{text}");
        assert!(text.contains("connection: close"), "{text}");
    }
    // Whoever proved a tenant keeps the connection, whatever becomes of the write.
    let sender = gateway.sender().bearer("a-token");
    let answer = sender
        .write(&write([series("").label("job", "test").sample(1.0, 0)]))
        .await;
    assert_eq!((answer.status, answer.header("connection")), (400, None), "{answer:?}");
}

#[tokio::test]
async fn what_stands_in_the_place_of_a_user_is_not_told_unless_it_is_one() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    // A token put where the name belongs.
    let sender = gateway.sender().basic("a-token", "x");
    assert_eq!(sender.write(&small_write()).await.status, 401);
    let line = gateway.expect_log(&["request refused", "wrong_credential"]).await;
    assert!(line.contains("a user that is not configured"), "{line}");
    assert!(!gateway.log().contains("a-token"), "{}", gateway.log());
}

#[tokio::test]
async fn a_certificate_of_nobody_is_told_by_its_names() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let nobody = gateway.setup.certs.client_uri("spiffe://nobody/prometheus");
    let answer = gateway.sender_with(&nobody).write(&small_write()).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    let line = gateway.expect_log(&["request refused", "wrong_credential"]).await;
    assert!(line.contains("uri_san=spiffe://nobody/prometheus"), "{line}");
}

#[tokio::test]
async fn a_failed_handshake_is_counted_by_its_reason_and_told_with_the_names_that_were_refused() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let (ours, theirs) = (&gateway.setup.certs, Certs::new());
    let presenting = |certificate| Sender::new(gateway.remote_write, Some(ours.client_config(Some(certificate))));
    let senders = [
        (
            "tls_expired_certificate",
            presenting(&ours.client_expired("spiffe://old")),
        ),
        ("tls_unknown_ca", presenting(&theirs.client_uri("spiffe://foreign"))),
        (
            "tls_refused_by_sender",
            Sender::new(gateway.remote_write, Some(theirs.client_config(None))),
        ),
        ("tls_not_tls", Sender::new(gateway.remote_write, None)),
    ];
    for (reason, sender) in senders {
        let metric = "gauntlet_refused_connections_total";
        gateway.expect_metric(metric, &[("reason", reason)], 0.0).await;
        let answer = sender.bearer("a-token").request("").try_send().await;
        assert!(answer.is_err(), "{reason}: {answer:?}");
        gateway.expect_metric(metric, &[("reason", reason)], 1.0).await;
        gateway.expect_log(&["a handshake failed", reason, "127.0.0.1:"]).await;
    }
    gateway
        .expect_log(&["tls_expired_certificate", "uri_san=spiffe://old"])
        .await;
    gateway
        .expect_log(&["tls_unknown_ca", "uri_san=spiffe://foreign"])
        .await;
}

#[tokio::test]
async fn debug_means_the_gateways_own_lines() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a"));
    let gateway = Gateway::start_with(setup, &["--log.level=debug"]).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    gateway.expect_log(&["DEBUG", "write stored"]).await;
    let log = gateway.log();
    let others: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("\"target\":\"gauntlet"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
