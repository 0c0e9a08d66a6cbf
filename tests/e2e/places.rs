//! What is shared by all: places and memory, which no tenant and no receiver takes from the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gauntlet_tests::{Gate, Gateway, Receiver, Reply, Setup, WriteRequest, eventually, series, write};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::{small_write, tenant};

/// Label values that no encoder can shorten: of `n` series, about 110 bytes each.
fn incompressible(n: usize) -> WriteRequest {
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    };
    let one = |_| {
        let value: String = (0..5).map(|_| format!("{:016x}", random())).collect();
        series("up").label("x", &value).sample(1.0, 0)
    };
    write((0..n).map(one).collect::<Vec<_>>())
}

#[tokio::test]
async fn bodies_that_dribble_hold_no_place() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/max_concurrent_requests", 2)
        .tenant(tenant("a").limit("max_concurrent_requests", 1))
        .tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let mut dribbling = Vec::new();
    for _ in 0..8 {
        let mut slow = gateway.sender().connect().await.unwrap();
        let head = "POST /api/v1/receive HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token\r\n\
            Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nContent-Length: 1000\r\n\r\n0123456789";
        slow.write_all(head.as_bytes()).await.unwrap();
        dribbling.push(slow);
    }
    // All of them are being read.
    gateway.expect_metric("gauntlet_in_flight_bytes", &[], 8000.0).await;
    gateway.expect_metric("gauntlet_in_flight_requests", &[], 0.0).await;
    for who in ["a-token", "b-token"] {
        let answer = gateway.sender().bearer(who).write(&small_write()).await;
        assert_eq!(answer.status, 204, "{who}: {answer:?}");
    }
    drop(dribbling);
    gateway.expect_metric("gauntlet_in_flight_bytes", &[], 0.0).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_leaves_places_for_the_others() {
    let (hangs, well) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::new();
    hangs.answer(Reply::status(200).held_by(&gate));
    let mut setup = Setup::new()
        .upstream("hangs", &[&hangs])
        .upstream("well", &[&well])
        .set("/upstreams/hangs/timeout", "25s")
        .set("/remote_write/max_concurrent_requests", 100)
        .tenant(tenant("bystander").upstreams(&["well"]));
    for flooding in ["a", "b", "c", "d"] {
        setup.put_tenant(tenant(flooding).upstreams(&["hangs"]));
    }
    let gateway = Gateway::start(setup).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for n in 0..160 {
        let sender = gateway
            .sender()
            .bearer(["a-token", "b-token", "c-token", "d-token"][n % 4]);
        let answered = Arc::clone(&answered);
        flood.spawn(async move {
            let answer = sender.write(&small_write()).await;
            answered.fetch_add(1, Ordering::Relaxed);
            answer
        });
    }
    eventually("every write of the flood to hang or to be refused", async || {
        let hanging = hangs.received().len();
        (hanging + answered.load(Ordering::Relaxed) == 160).then_some(())
    })
    .await;
    let hanging = hangs.received().len();
    assert!((50..=88).contains(&hanging), "{hanging}");
    let sender = gateway.sender().bearer("bystander-token");
    for _ in 0..20 {
        let answer = sender.write(&small_write()).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    gate.open();
    let answers = flood.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), hanging);
    for refused in answers.iter().filter(|answer| answer.status != 204) {
        assert!(refused.status == 503 && refused.retry_after() >= 1, "{refused:?}");
    }
}

#[tokio::test]
async fn large_bodies_come_in_turn_and_none_is_refused() {
    let receiver = Receiver::start().await;
    let large = incompressible(5000);
    let (sent, decoded) = (large.body().len(), prost::Message::encoded_len(&large));
    assert!(sent >= 256 << 10, "{sent}");
    // Room for one at a time.
    let tenant = tenant("a")
        .limit("max_body_size", sent)
        .limit("max_decoded_size", decoded)
        .limit("max_in_flight_size", sent + decoded);
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let mut writes = JoinSet::new();
    for n in 0..12 {
        let (sender, body) = (gateway.sender().bearer("a-token"), large.body());
        writes.spawn(async move {
            let request = sender.request(body);
            if n % 2 == 0 { request } else { request.chunked() }.send().await
        });
    }
    for answer in writes.join_all().await {
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    assert_eq!(receiver.received().len(), 12);
    gateway.expect_metric("gauntlet_in_flight_bytes", &[], 0.0).await;
}
