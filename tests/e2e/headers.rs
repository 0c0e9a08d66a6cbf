//! What a receiver is told: exact headers, nothing of the sender's but the allow-list.

use gauntlet_tests::{Receiver, Reply};

use crate::{one_tenant, small_write};

#[tokio::test]
async fn a_request_to_a_receiver_is_built_from_scratch() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    gateway.sender().bearer("a-token").write(&small_write()).await;
    let received = receiver.only();
    assert_eq!(
        (received.method.as_str(), received.path.as_str()),
        ("POST", "/api/v1/receive")
    );
    let agent = format!("gauntlet/{}", env!("CARGO_PKG_VERSION"));
    let length = received.body.len().to_string();
    let address = receiver.address().to_string();
    let exact = [
        ("content-encoding", "snappy"),
        ("content-length", &length),
        ("content-type", "application/x-protobuf"),
        ("host", &address),
        ("thanos-tenant", "a"),
        ("user-agent", &agent),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    for (name, value) in exact {
        assert_eq!(received.headers.get_all(name).iter().count(), 1, "{name}: {received:?}");
        assert_eq!(received.header(name), value, "{name}");
    }
    let tracing = ["traceparent", "tracestate", "x-request-id"];
    let expected = |name: &str| exact.iter().any(|(n, _)| *n == name) || tracing.contains(&name);
    let others: Vec<_> = received.headers.keys().filter(|n| !expected(n.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test]
async fn a_senders_headers_do_not_arrive() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let forged = [
        ("THANOS-TENANT", "victim"),
        ("THANOS-REPLICA", "1"),
        ("X-Scope-OrgID", "victim"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Prometheus-Remote-Write-Version", "9.9.9"),
        ("Cookie", "session=victim"),
        ("Proxy-Authorization", "Basic victim"),
        ("X-Custom", "victim"),
        ("TE", "trailers"),
        ("Upgrade", "victim"),
        ("Expect", "100-continue"),
    ];
    let sender = gateway.sender().bearer("a-token");
    let once = forged
        .iter()
        .fold(sender.request(small_write().body()), |r, (name, value)| {
            r.header(name, value)
        });
    let twice = forged
        .iter()
        .flat_map(|(name, value)| [(*name, *value), (*name, "victim")])
        .fold(sender.request(small_write().body()), |r, (name, value)| {
            r.also(name, value)
        });
    let named = sender
        .request(small_write().body())
        .header("thanos-tenant", "victim")
        .header("Connection", "Thanos-Tenant, keep-alive");
    for request in [once, twice, named] {
        receiver.clear();
        let answer = request.send().await;
        assert_eq!(answer.status, 204, "{answer:?}");
        let received = receiver.only();
        assert_eq!(received.headers.get_all("thanos-tenant").iter().count(), 1);
        assert_eq!(received.tenant(), "a");
        assert_eq!(received.header("x-prometheus-remote-write-version"), "0.1.0");
        for name in [
            "thanos-replica",
            "authorization",
            "cookie",
            "x-custom",
            "te",
            "upgrade",
            "expect",
        ] {
            assert!(!received.headers.contains_key(name), "{name}: {received:?}");
        }
        let text = format!("{:?}", received.headers);
        assert!(!text.contains("victim") && !text.contains("a-token"), "{text}");
    }
}

#[tokio::test]
async fn the_allow_listed_headers_arrive() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let allowed = [
        ("Retry-Attempt", "3"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=1"),
        ("X-Request-ID", "request-7"),
    ];
    let sender = gateway.sender().bearer("a-token");
    let mut request = sender.request(small_write().body());
    for (name, value) in allowed {
        request = request.header(name, value);
    }
    assert_eq!(request.send().await.status, 204);
    for (name, value) in allowed {
        assert_eq!(receiver.only().header(name), value, "{name}");
    }
}

#[tokio::test]
async fn the_log_names_a_write_as_the_receiver_was_told_it() {
    let receiver = Receiver::start().await;
    receiver.answer(Reply::status(503));
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    let id = format!("prometheus@host~{}", "7".repeat(100));
    let request = sender.request(small_write().body()).header("X-Request-ID", &id);
    assert_eq!(request.send().await.status, 503);
    assert_eq!(receiver.only().header("x-request-id"), id);
    gateway.expect_log(&["write failed", &id]).await;
}
