//! The process: start, readiness, drain, the admin listener, and strangers who waste connections.

use std::time::Duration;

use gauntlet_tests::sender::Stream;
use gauntlet_tests::setup::replace;
use gauntlet_tests::{Gate, Gateway, Receiver, Reply, Setup, eventually, series, within, write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{one_tenant, small_write, tenant};

#[tokio::test]
async fn on_sigterm_what_is_in_flight_is_finished_nothing_new_is_taken_and_the_exit_is_0() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    // An idle kept connection must not hold the drain up.
    let idle = gateway.sender().bearer("a-token");
    assert_eq!(idle.write(&small_write()).await.status, 204);
    let gate = Gate::new();
    receiver.answer_next([Reply::status(200).held_by(&gate)]);
    let sender = gateway.sender().bearer("a-token");
    let held = tokio::spawn(async move { sender.write(&small_write()).await });
    receiver.expect_requests(2).await;
    gateway.terminate();
    eventually("readiness to end", async || {
        (gateway.admin("GET", "/-/ready").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(gateway.admin("GET", "/-/healthy").await.status, 200);
    eventually("the listener to close", async || {
        gateway.sender().connect_tcp().await.err()
    })
    .await;
    assert!(!held.is_finished());
    gate.open();
    let answer = held.await.unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    let status = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout_and_never_with_an_acknowledgement_that_was_not() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a"));
    let mut gateway = Gateway::start_with(setup, &["--shutdown.timeout=1s"]).await;
    receiver.answer(Reply::status(200).held_by(&Gate::new()));
    let sender = gateway.sender().bearer("a-token");
    let held = tokio::spawn(async move { sender.request(small_write().body()).try_send().await });
    receiver.expect_requests(1).await;
    gateway.terminate();
    gateway.ended().await;
    let outcome = held.await.unwrap();
    assert!(!outcome.as_ref().is_ok_and(|answer| answer.status < 500), "{outcome:?}");
}

#[tokio::test]
async fn the_admin_listener_serves_operators_and_takes_no_writes() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    for path in ["/-/healthy", "/-/ready", "/metrics"] {
        assert_eq!(gateway.admin("GET", path).await.status, 200, "{path}");
    }
    assert_eq!(gateway.admin("GET", "/-/reload").await.status, 405);
    assert_eq!(gateway.admin("GET", "/no/such/path").await.status, 404);
    let write = gateway.admin("POST", "/api/v1/receive").await;
    assert!([404, 405].contains(&write.status), "{write:?}");
    for (path, named) in [
        ("tenants", "\"a\""),
        ("upstreams", "soft"),
        ("policies", ""),
        ("status", ""),
    ] {
        let data = gateway.api(&format!("/api/v1/{path}")).await.to_string();
        assert!(data.contains(named), "{path}: {data}");
    }
}

#[tokio::test]
async fn a_broken_main_file_at_the_start_is_told_with_its_place_and_ends_the_process() {
    let setup = Setup::new();
    let (status, log) = Gateway::run_to_end(&setup.set("/remote_write/listen_adress", "127.0.0.1:0")).await;
    assert!(!status.success());
    assert!(log.contains("gauntlet.yaml") && log.contains("listen_adress"), "{log}");
}

/// Reads until the other side closes; gives what came.
async fn until_closed(stream: &mut (impl Stream + ?Sized)) -> String {
    let mut all = Vec::new();
    let mut some = [0; 4096];
    within("a connection to be closed", async {
        while let Ok(n @ 1..) = stream.read(&mut some).await {
            all.extend_from_slice(&some[..n]);
        }
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn senders_of_slow_headers_are_cut_off_while_others_are_served() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/header_timeout", "1s")
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = gateway.sender().connect().await.unwrap();
        stream
            .write_all(b"POST /api/v1/receive HTTP/1.1\r\nHost: x\r\n")
            .await
            .unwrap();
        slow.push(stream);
    }
    // One that drips, so that it is never silent for long.
    let mut dripping = gateway.sender().connect().await.unwrap();
    dripping
        .write_all(b"POST /api/v1/receive HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    let drip = tokio::spawn(async move {
        let mut byte = [0];
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                read = dripping.read(&mut byte) => if !matches!(read, Ok(1..)) { break },
                _ = tick.tick() => if dripping.write_all(b"x").await.is_err() { break },
            }
        }
    });
    let sender = gateway.sender().bearer("a-token");
    for _ in 0..20 {
        assert_eq!(sender.write(&small_write()).await.status, 204);
    }
    for stream in &mut slow {
        let text = until_closed(stream).await;
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 408") || text.starts_with("HTTP/1.1 400"),
            "{text}"
        );
    }
    within("the dripping sender to be cut off", drip).await.unwrap();
    assert_eq!(receiver.received().len(), 20);
}

#[tokio::test]
async fn senders_of_slow_bodies_are_told_to_come_back_while_others_are_served() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/body_timeout", "1s")
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let mut slow = gateway.sender().connect().await.unwrap();
    let head =
        "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\nContent-Length: 1000\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(b"0123456789").await.unwrap();
    let sender = gateway.sender().bearer("a-token");
    for _ in 0..20 {
        assert_eq!(sender.write(&small_write()).await.status, 204);
    }
    let text = until_closed(&mut slow).await;
    assert!(text.starts_with("HTTP/1.1 503"), "{text}");
    assert_eq!(receiver.received().len(), 20);
}

#[tokio::test]
async fn a_connection_without_a_handshake_is_cut_off() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/handshake_timeout", "1s")
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let mut silent = gateway.sender().connect_tcp().await.unwrap();
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(until_closed(&mut silent).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/idle_timeout", "1s")
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let mut idle = gateway.sender().connect().await.unwrap();
    let body = small_write().body();
    let head = format!(
        "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    idle.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let text = until_closed(&mut idle).await;
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    assert!(!text.contains("connection: close"), "{text}");
}

#[tokio::test]
async fn over_the_limit_of_connections_those_of_strangers_end_and_then_who_is_idle_the_longest() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/max_connections", 4)
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let first = gateway.sender().bearer("a-token");
    assert_eq!(first.write(&small_write()).await.status, 204);
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(gateway.sender().connect_tcp().await.unwrap());
        // They take each other's places, never that of who proved a tenant.
        assert_eq!(first.write(&small_write()).await.status, 204);
    }
    let tenants = [(); 3].map(|()| gateway.sender().bearer("a-token"));
    for sender in &tenants {
        assert_eq!(sender.write(&small_write()).await.status, 204);
    }
    assert_eq!(first.write(&small_write()).await.status, 204);
    let metric = "gauntlet_refused_connections_total";
    gateway
        .expect_metric(metric, &[("reason", "max_connections")], 12.0)
        .await;
    // All four are tenants' now, and the first of the three has been idle the longest.
    let another = gateway.sender().bearer("a-token");
    assert_eq!(another.write(&small_write()).await.status, 204);
    gateway
        .expect_metric(metric, &[("reason", "max_connections")], 13.0)
        .await;
    assert_eq!(first.write(&small_write()).await.status, 204);
    assert_eq!(gateway.metrics().await.sum("gauntlet_connections", &[]), 4.0);
}

#[tokio::test]
async fn nonsense_on_the_wire_harms_nobody() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let huge = format!(
        "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let plain: [&[u8]; 3] = [
        b"POST /api/v1/receive HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\xff\xff\xff",
        &[0xff; 9000],
    ];
    for bytes in plain {
        let mut stream = gateway.sender().connect_tcp().await.unwrap();
        // May fail: the gateway may close before all is written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let text = until_closed(&mut stream).await;
        assert!(!text.starts_with("HTTP/1.1 2"), "{text}");
    }
    let inside: [&[u8]; 4] = [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        huge.as_bytes(),
    ];
    for bytes in inside {
        let mut stream = gateway.sender().connect().await.unwrap();
        let _ = stream.write_all(bytes).await;
        let text = until_closed(&mut stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_request_of_two_lengths_is_never_two_requests() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).insecure().tenant(tenant("a"))).await;
    let body = small_write().body();
    let head = "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\n";
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let smuggled = b"POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nTHANOS-TENANT: victim\r\nContent-Length: 0\r\n\r\n";
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
    ] {
        let mut stream = gateway.sender().connect().await.unwrap();
        let bytes = [head.as_bytes(), framing.as_bytes(), &chunked, smuggled].concat();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        until_closed(&mut stream).await;
    }
    for received in receiver.received() {
        assert_eq!(received.tenant(), "a");
        assert_eq!(received.body, body);
        assert_eq!(received.header("content-length"), body.len().to_string());
        assert_eq!(received.header("transfer-encoding"), "");
    }
}

#[tokio::test]
async fn bad_chunk_framing_is_the_senders_fault_and_a_lost_connection_is_not() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).insecure().tenant(tenant("a"))).await;
    let head = "POST /api/v1/receive HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a-token\r\ntransfer-encoding: chunked\r\n\r\n";
    let bad = [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcdef\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc",
        "-1\r\n\r\n",
    ];
    for body in bad {
        let answer = raw(&gateway, format!("{head}{body}").as_bytes(), false).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{body:?}: {answer:?}");
        assert!(answer.contains("RFC 9112"), "{body:?}: {answer:?}");
    }
    for cut in ["", "3", "3\r\nab", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n"] {
        let answer = raw(&gateway, format!("{head}{cut}").as_bytes(), true).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 503"),
            "{cut:?}: {answer:?}"
        );
    }
    assert!(receiver.received().is_empty());
}

/// All that comes back for `request` over plain HTTP; the sender closes its side after it if `hangs_up`.
async fn raw(gateway: &Gateway, request: &[u8], hangs_up: bool) -> String {
    let mut stream = gateway.sender().connect_tcp().await.unwrap();
    stream.write_all(request).await.unwrap();
    if hangs_up {
        stream.shutdown().await.unwrap();
    }
    let mut answer = Vec::new();
    let _ = within("the end of the connection", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_sender_that_goes_away_in_mid_body_leaves_nothing_behind() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let head =
        "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\nContent-Length: 100000\r\n\r\n";
    for _ in 0..20 {
        let mut stream = gateway.sender().connect().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[0; 500]).await.unwrap();
    }
    gateway.expect_metric("gauntlet_in_flight_requests", &[], 0.0).await;
    gateway.expect_metric("gauntlet_in_flight_bytes", &[], 0.0).await;
    gateway.expect_metric("gauntlet_connections", &[], 0.0).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
}

#[tokio::test]
async fn a_start_does_not_wait_for_receivers() {
    let setup = Setup::new()
        .set(
            "/upstreams/soft",
            serde_json::json!({"endpoints": ["http://127.0.0.1:1", "dns+no-such-name.invalid:1"]}),
        )
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.retry_after() >= 1);
}

#[tokio::test]
async fn no_sample_and_no_label_value_is_logged_even_when_asked_for_everything_of_ours() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").limit("max_active_series", 1));
    let gateway = Gateway::start_with(setup, &["--log.level=gauntlet=trace"]).await;
    let sender = gateway.sender().bearer("a-token");
    let one = |name: &str| series(name).label("where", "in-a-label").sample(12345.6789, 0);
    for status in [200, 409, 400, 503] {
        receiver.answer(Reply::status(status));
        sender
            .write(&write([one("up"), one("down"), one("up").label("where", "twice")]))
            .await;
    }
    sender.request(&b"in-a-body"[..]).send().await;
    gateway.expect_log(&["snappy"]).await;
    for secret in ["12345.6", "in-a-label", "in-a-body"] {
        assert!(!gateway.log().contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_flag_can_be_said_by_the_environment() {
    let setup = Setup::new();
    setup.write();
    replace(&setup.main_file(), b"nonsense: true\n");
    let checked = Gateway::serve_by_environment(&setup);
    assert!(checked.text.contains("nonsense"), "the file was not read: {checked:?}");
    assert_ne!(checked.code, Some(0));
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let receiver = Receiver::start().await;
    let setup = || Setup::with_receiver(&receiver).tenant(tenant("a"));
    let gateway = Gateway::start_limited(setup(), "ulimit -Sn 300").await;
    let limits = gateway.open_files();
    assert_eq!(limits.0, limits.1, "the soft limit is not the hard one");
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );

    // `check` says what a start would, and that it is no mistake of the configuration.
    let checked = Gateway::check_limited(&setup(), "ulimit -n 300");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.text.contains("would serve 150 senders at once"), "{checked:?}");
    let checked = Gateway::check_limited(&setup().set("/remote_write/max_connections", 100), "ulimit -Sn 64");
    assert!(!checked.text.contains("open files"), "{checked:?}");

    let gateway = Gateway::start_limited(setup(), "ulimit -n 300").await;
    assert_eq!(gateway.open_files(), (300, 300));
    gateway.expect_log(&["too few open files", "\"served\":150"]).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
}
