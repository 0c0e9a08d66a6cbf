//! The status table: what is answered to each kind of request, before and after its body is read.

use gauntlet_tests::remote_write::compress;
use gauntlet_tests::{Receiver, write};

use crate::{one_tenant, small_write};

#[tokio::test]
async fn a_stored_write_is_204_without_text_and_without_the_headers_of_2_0() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    for header in ["samples", "histograms", "exemplars"] {
        let header = format!("x-prometheus-remote-write-{header}-written");
        assert_eq!(answer.header(&header), None);
    }
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn the_write_path_has_aliases_and_every_other_path_is_404() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    for path in ["/api/v1/receive", "/api/v1/write", "/api/v1/push"] {
        let answer = sender.request(small_write().body()).path(path).send().await;
        assert_eq!(answer.status, 204, "{path}");
    }
    let unknown = [
        "/",
        "/api/v1",
        "/api/v1/receive/",
        "/api/v1/query",
        "/metrics",
        "/-/reload",
        "/-/ready",
        "/api/v1/status",
        "//api/v1/receive",
        "/api/v1/../v1/receive",
        "/api/metrics/v1/a/api/v1/query",
    ];
    for path in unknown {
        let answer = sender.request(small_write().body()).path(path).send().await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn other_methods_are_405_and_told_which_is_allowed() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        let answer = sender.request(small_write().body()).method(method).send().await;
        assert_eq!(answer.status, 405, "{method}: {answer:?}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn media_types_are_read_as_rfc_9110_says_and_others_are_415() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let table = [
        ("application/x-protobuf", 204),
        ("Application/X-Protobuf", 204),
        ("application/x-protobuf;proto=prometheus.WriteRequest", 204),
        ("application/x-protobuf ; Proto=\"prometheus.WriteRequest\"", 204),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", 415),
        ("application/x-protobuf;proto=prometheus.Other", 415),
        ("application/json", 415),
        // As Telegraf has it unless it is told otherwise.
        ("text/plain; charset=utf-8", 204),
        ("application/x-protobuffer", 415),
        ("nonsense", 415),
    ];
    for (media_type, status) in table {
        let request = sender.request(small_write().body()).header("Content-Type", media_type);
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{media_type}: {answer:?}");
    }
    let none = sender
        .request(small_write().body())
        .without("Content-Type")
        .send()
        .await;
    assert_eq!(none.status, 204, "no media type means 1.0");
    assert_eq!(receiver.received().len(), 6);
}

#[tokio::test]
async fn only_snappy_is_understood_and_other_encodings_are_415() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    for encoding in ["zstd", "gzip", "identity", "x-snappy-framed", "snappy, gzip", "deflate"] {
        let request = sender
            .request(small_write().body())
            .header("Content-Encoding", encoding);
        let answer = request.send().await;
        assert_eq!(answer.status, 415, "{encoding}: {answer:?}");
    }
    let named = sender
        .request(small_write().body())
        .header("Content-Encoding", "Snappy")
        .send()
        .await;
    assert_eq!(named.status, 204, "names of encodings have no case");
    let none = sender
        .request(small_write().body())
        .without("Content-Encoding")
        .send()
        .await;
    assert_eq!(none.status, 204, "no encoding means snappy");
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_400_and_nothing_is_forwarded() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let good = small_write().body();
    let framed = b"\xff\x06\x00\x00sNaPpY\x00\x05\x00\x00\x00\x00\x00\x00x".to_vec();
    let bodies: [(&str, Vec<u8>); 10] = [
        ("empty", Vec::new()),
        ("text", b"up{job=\"x\"} 1\n".to_vec()),
        ("framed snappy", framed),
        ("cut snappy", good[..good.len() - 3].to_vec()),
        ("snappy with more behind it", [&good[..], b"abc"].concat()),
        ("a declared length of 4 GiB", vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]),
        ("a length that never ends", vec![0xff; 64]),
        ("snappy of text", compress(b"hello, this is no protobuf")),
        // Field 1 of 100 bytes, of which three are there.
        ("cut protobuf", compress(&[0x0a, 100, 1, 2, 3])),
        ("field number 0", compress(&[0x02, 0x00])),
    ];
    for (what, body) in bodies {
        let answer = sender.request(body).send().await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert!(
            !answer.text.is_empty() && answer.text.len() <= 1024,
            "{what}: {answer:?}"
        );
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_before_anything_is_allocated() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    sender.write(&small_write()).await;
    let before = gateway.memory();
    // 300 MiB of zeros in 15 MiB: over the limit on decoded bodies.
    let bomb = compress(&vec![0u8; 300 << 20]);
    assert_eq!(sender.request(bomb).send().await.status, 400);
    // 31 MiB declared in a few bytes: more than the format can hold.
    let liar = [&[0x80, 0x80, 0xc0, 0x0f][..], &[0u8; 100]].concat();
    assert_eq!(sender.request(liar).send().await.status, 400);
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    assert!(receiver.received().len() == 1);
}

#[tokio::test]
async fn what_the_specification_leaves_open_is_not_required() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let body = small_write().body();
    assert_eq!(sender.request(body.clone()).chunked().send().await.status, 204);
    let bare = sender.request(body.clone()).without("User-Agent");
    let bare = bare
        .without("X-Prometheus-Remote-Write-Version")
        .without("Content-Type");
    assert_eq!(bare.without("Content-Encoding").send().await.status, 204);
    for received in receiver.expect_requests(2).await {
        assert_eq!(received.body, body);
    }
}

#[tokio::test]
async fn an_empty_write_is_204_and_not_forwarded() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let answer = gateway.sender().bearer("a-token").write(&write([])).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn answers_are_counted_by_tenant_and_code_and_never_by_what_came_over_the_wire() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender();
    sender.clone().bearer("a-token").write(&small_write()).await;
    sender.clone().bearer("nobody").write(&small_write()).await;
    let path = "/api/metrics/v1/invented/api/v1/receive";
    sender.request(small_write().body()).path(path).send().await;
    gateway
        .expect_metric("gauntlet_requests_total", &[("tenant", "a"), ("code", "204")], 1.0)
        .await;
    gateway
        .expect_metric("gauntlet_requests_total", &[("tenant", ""), ("code", "401")], 2.0)
        .await;
    let metrics = gateway.metrics().await;
    let known = |tenant: &&str| ["", "a"].contains(tenant);
    assert!(metrics.values_of("tenant").iter().all(known), "{metrics:?}");
}
