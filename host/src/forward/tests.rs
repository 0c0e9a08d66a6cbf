//! Upstreams against fake receivers.

use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::config::EndpointSpec;
use fakes::*;

mod fakes;
mod https;
mod names;
mod reloads;
mod version_2;

const OK: Reply = Reply::Status(200, "");
const OK_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_request_is_what_the_protocol_page_says_and_nothing_more() {
    let mut receiver = Receiver::new(OK).await;
    let stage = Stage::of(&[receiver.address]);
    let mut sender = HeaderMap::new();
    sender.insert("retry-attempt", "2".parse().unwrap());
    sender.insert("thanos-replica", "1".parse().unwrap());
    sender.insert("thanos-tenant", "setsuna".parse().unwrap());
    let mut outgoing = outgoing();
    outgoing.trace = forwarded_headers(&sender);
    stage.soft.send(&outgoing, Instant::now() + LONG).await.unwrap();

    let seen = receiver.next().await;
    assert_eq!((seen.method, seen.path.as_str()), (Method::POST, "/api/v1/receive"));
    assert_eq!(seen.body, BODY);
    let mut headers: Vec<String> = seen
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-encoding: snappy".to_owned(),
            format!("content-length: {}", BODY.len()),
            "content-type: application/x-protobuf".to_owned(),
            format!("host: {}", receiver.address),
            "retry-attempt: 2".to_owned(),
            "thanos-tenant: kazusa".to_owned(),
            format!("user-agent: gauntlet/{}", env!("CARGO_PKG_VERSION")),
            "x-prometheus-remote-write-version: 0.1.0".to_owned(),
        ]
    );
    assert_eq!(stage.outcome("success"), 1.0);
}

#[tokio::test]
async fn writes_one_after_the_other_share_a_connection() {
    let receiver = Receiver::new(OK).await;
    let stage = Stage::of(&[receiver.address]);
    for _ in 0..10 {
        stage.send().await.unwrap();
    }
    // Answers with a text are read to their end, so that they do not cost a connection either.
    receiver.reply_from_now(Reply::Status(409, "add 1 samples: out of order sample"));
    for _ in 0..10 {
        stage.send().await.unwrap_err();
    }
    assert_eq!(receiver.connections(), 1);
}

fn class_of(result: Result<(), ForwardError>) -> ConflictClass {
    match result {
        Err(ForwardError::Conflict(conflict)) => conflict.class(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refused_write_is_told_by_its_class_and_is_no_ill_health() {
    let receiver = Receiver::new(OK).await;
    let stage = Stage::of(&[receiver.address]);
    for (status, text, expected) in [
        (429, "", ForwardError::TooManyRequests { retry_after: None }),
        (403, "", ForwardError::Misconfigured { status: 403 }),
        (422, "", ForwardError::Misconfigured { status: 422 }),
    ] {
        receiver.reply_from_now(Reply::Status(status, text));
        for _ in 0..health::FAILURES_TO_EJECT {
            assert_eq!(stage.send().await, Err(expected.clone()));
        }
    }
    receiver.reply_from_now(Reply::Status(409, "add 2 samples: too old sample\n"));
    for _ in 0..health::FAILURES_TO_EJECT {
        assert_eq!(class_of(stage.send().await), ConflictClass::TooOld);
    }
    assert!(stage.endpoint(receiver.address).healthy);
    assert_eq!(stage.endpoint(receiver.address).failures_in_a_row, 0);
}

#[tokio::test]
async fn an_endpoint_that_takes_nobodys_writes_is_passed_over_and_shows_why() {
    let (mut wrong, well) = (Receiver::new(Reply::Status(404, "")).await, Receiver::new(OK).await);
    let stage = Stage::of(&[wrong.address, well.address]);
    while stage.endpoint(wrong.address).healthy {
        stage.send().await.unwrap();
    }
    assert_eq!(stage.healthy_metric(wrong.address), Some(0.0));
    wrong.count();
    for _ in 0..5 {
        stage.send().await.unwrap();
    }
    assert_eq!(wrong.count(), 0);
    let shown = stage.endpoint(wrong.address);
    assert_eq!(shown.last_failure, Some("misconfigured"));
    let (cause, _) = shown.last_cause.unwrap();
    assert_eq!(cause.key, Some("path"));
    assert_eq!(cause.text, "it answered 404: nothing takes writes at this path");
    assert_eq!(stage.endpoint(well.address).last_cause, None);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut elsewhere = Receiver::new(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("http://{}/api/v1/receive", elsewhere.address);
        let receiver = Receiver::new(Reply::Header(status, "location", target)).await;
        let stage = Stage::of(&[receiver.address]);
        assert_eq!(stage.send().await, Err(ForwardError::Misconfigured { status }));
    }
    assert_eq!(elsewhere.count(), 0);
}

#[tokio::test]
async fn an_answer_without_end_is_read_only_so_far() {
    let receiver = Receiver::new(Reply::Endless(409, "add 1 samples: out of bounds")).await;
    let stage = Stage::of(&[receiver.address]);
    assert_eq!(class_of(stage.send().await), ConflictClass::OutOfBounds);
    // What is left unread makes the connection useless.
    receiver.reply_from_now(OK);
    stage.send().await.unwrap();
    assert_eq!(receiver.connections(), 2);
}

#[tokio::test]
async fn a_2xx_is_a_2xx_even_where_its_body_breaks_off() {
    let receiver = RawReceiver::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
            .await
            .unwrap();
    })
    .await;
    assert_eq!(Stage::of(&[receiver.address]).send().await, Ok(()));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_a_timeout() {
    let receiver = Receiver::new(Reply::Never).await;
    let timeout = Duration::from_millis(100);
    let stage = Stage::new(config::Upstream {
        timeout,
        ..config(vec![at(receiver.address)])
    });
    let started = Instant::now();
    assert_eq!(stage.send().await, Err(ForwardError::Timeout));
    assert!(started.elapsed() >= timeout);
    assert_eq!(stage.endpoint(receiver.address).in_flight, 0);
    assert_eq!(stage.endpoint(receiver.address).last_failure, Some("timeout"));
}

#[tokio::test]
async fn a_senders_short_deadline_is_kept_and_not_held_against_the_receiver() {
    let receiver = Receiver::new(Reply::Never).await;
    let stage = Stage::of(&[receiver.address]);
    for _ in 0..health::FAILURES_TO_EJECT {
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(stage.soft.send(&outgoing(), soon).await, Err(ForwardError::Timeout));
    }
    assert_eq!(stage.endpoint(receiver.address).failures_in_a_row, 0);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_a_reset() {
    let receiver = RawReceiver::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le").await.unwrap();
    })
    .await;
    let stage = Stage::of(&[receiver.address]);
    assert_eq!(stage.send().await, Err(ForwardError::Reset));
    // The connection was fresh: nothing to try again on this endpoint.
    assert_eq!(receiver.connections(), 1);
    assert_eq!(stage.endpoint(receiver.address).last_failure, Some("reset"));
}

#[tokio::test]
async fn what_is_not_http_is_nonsense() {
    let receiver = RawReceiver::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await.unwrap();
    })
    .await;
    assert_eq!(Stage::of(&[receiver.address]).send().await, Err(ForwardError::Nonsense));
}

#[tokio::test]
async fn an_idle_connection_closed_in_the_moment_it_is_used_is_no_failure() {
    let receiver = RawReceiver::new(|mut stream, number| async move {
        read_request(&mut stream).await;
        stream.write_all(OK_RESPONSE).await.unwrap();
        if number == 0 {
            // The second request's first byte is there, and the connection ends without an answer.
            let _ = stream.read(&mut [0; 1]).await;
        } else {
            read_request(&mut stream).await;
        }
    })
    .await;
    let stage = Stage::of(&[receiver.address]);
    stage.send().await.unwrap();
    stage.send().await.unwrap();
    assert_eq!(receiver.connections(), 2);
    assert_eq!(stage.endpoint(receiver.address).failures_in_a_row, 0);
}

#[tokio::test]
async fn an_idle_connection_that_the_receiver_closed_is_not_used() {
    let receiver = RawReceiver::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(OK_RESPONSE).await.unwrap();
    })
    .await;
    let stage = Stage::of(&[receiver.address]);
    for _ in 0..3 {
        stage.send().await.unwrap();
    }
    assert_eq!(receiver.connections(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_writes_to_a_receiver_that_closes_after_each_answer_are_all_taken() {
    let receiver = RawReceiver::new(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(OK_RESPONSE).await.unwrap();
    })
    .await;
    let stage = Arc::new(Stage::of(&[receiver.address]));
    let senders = (0..4).map(|_| {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move {
            for _ in 0..1000 {
                stage.send().await.unwrap();
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    assert_eq!((stage.outcome("success"), stage.outcome("timeout")), (4000.0, 0.0));
    assert_eq!(stage.endpoint(receiver.address).failures_in_a_row, 0);
}

#[tokio::test]
async fn a_write_that_one_endpoint_cannot_take_goes_to_another() {
    let dead = dead_port().await;
    let sick = Receiver::new(Reply::Status(503, "")).await;
    for bad in [dead, sick.address] {
        let mut well = Receiver::new(OK).await;
        let stage = Stage::of(&[bad, well.address]);
        for _ in 0..40 {
            stage.send().await.unwrap();
        }
        assert_eq!(well.count(), 40);
        let status = stage.endpoint(bad);
        assert!(!status.healthy);
        assert!(status.failures_in_a_row >= health::FAILURES_TO_EJECT);
        assert!(status.retry_in.is_some());
        assert_eq!(stage.healthy_metric(bad), Some(0.0));
        assert_eq!(stage.healthy_metric(well.address), Some(1.0));
        assert_eq!(stage.outcome("success"), 40.0);
    }
}

#[tokio::test]
async fn an_endpoint_that_swallows_requests_leaves_time_for_another() {
    let mut silent = Receiver::new(Reply::Never).await;
    let well = Receiver::new(OK).await;
    let stage = Stage::new(config::Upstream {
        timeout: Duration::from_millis(1500),
        ..config(vec![at(silent.address), at(well.address)])
    });
    while silent.count() == 0 {
        stage.send().await.unwrap();
    }
    assert_eq!(stage.outcome("timeout"), 1.0);
    assert_eq!(stage.endpoint(silent.address).last_failure, Some("timeout"));
}

#[tokio::test]
async fn with_every_endpoint_down_the_last_failure_is_told() {
    let stage = Stage::of(&[dead_port().await, dead_port().await]);
    for _ in 0..10 {
        assert_eq!(stage.send().await, Err(ForwardError::Connect));
    }
    assert_eq!(stage.outcome("connect"), 20.0);
    for endpoint in stage.soft.status().endpoints {
        let (cause, _) = endpoint.last_cause.unwrap();
        assert_eq!(
            (cause.text.as_str(), cause.key),
            ("nothing listens at its port", Some("endpoints"))
        );
    }
}

#[tokio::test]
async fn endpoints_that_all_failed_are_used_all_the_same_and_one_success_restores() {
    let (one, other) = (
        Receiver::new(Reply::Status(503, "")).await,
        Receiver::new(Reply::Status(503, "")).await,
    );
    let stage = Stage::of(&[one.address, other.address]);
    for _ in 0..health::FAILURES_TO_EJECT {
        let told = stage.send().await;
        assert!(matches!(told, Err(ForwardError::Unavailable { status: 503, .. })));
    }
    assert!(!stage.endpoint(one.address).healthy && !stage.endpoint(other.address).healthy);
    one.reply_from_now(OK);
    other.reply_from_now(OK);
    stage.send().await.unwrap();
    assert!(stage.endpoint(one.address).healthy || stage.endpoint(other.address).healthy);
}

#[tokio::test]
async fn an_ejected_endpoint_is_tried_when_its_backoff_is_over_and_comes_back() {
    let (mut sick, well) = (Receiver::new(Reply::Status(500, "")).await, Receiver::new(OK).await);
    let stage = Stage::of(&[sick.address, well.address]);
    while stage.endpoint(sick.address).healthy {
        stage.send().await.unwrap();
    }
    sick.count();
    for _ in 0..5 {
        stage.send().await.unwrap();
    }
    assert_eq!(sick.count(), 0);

    // The write that finds the back-off over goes elsewhere, and the endpoint is asked whether it is there.
    stage.end_backoff(sick.address);
    stage.send().await.unwrap();
    stage.is_due_for_trial(sick.address).await;
    assert_eq!(sick.count(), 0);
    // The trial fails, its write does not, and the endpoint is left alone again.
    for _ in 0..5 {
        stage.send().await.unwrap();
    }
    assert_eq!(sick.count(), 1);

    stage.end_backoff(sick.address);
    sick.reply_from_now(OK);
    stage.send().await.unwrap();
    stage.is_due_for_trial(sick.address).await;
    stage.send().await.unwrap();
    assert_eq!(sick.count(), 1);
    assert!(stage.endpoint(sick.address).healthy);
    assert_eq!(stage.healthy_metric(sick.address), Some(1.0));
}

#[tokio::test]
async fn no_write_waits_for_an_endpoint_that_does_not_answer_when_it_is_asked() {
    let (mut sick, well) = (Receiver::new(Reply::Status(500, "")).await, Receiver::new(OK).await);
    let stage = Stage::new(config::Upstream {
        connect_timeout: Duration::from_millis(200),
        ..config(vec![at(sick.address), at(well.address)])
    });
    while stage.endpoint(sick.address).healthy {
        stage.send().await.unwrap();
    }
    sick.count();
    sick.reply_from_now(Reply::Never);
    for _ in 0..2 {
        let failures = stage.endpoint(sick.address).failures_in_a_row;
        stage.end_backoff(sick.address);
        let told = async {
            while stage.endpoint(sick.address).failures_in_a_row == failures {
                stage.send().await.unwrap();
            }
        };
        tokio::time::timeout(LONG, told).await.unwrap();
        assert_eq!(stage.endpoint(sick.address).last_failure, Some("timeout"));
    }
    assert_eq!((sick.count(), stage.outcome("timeout")), (0, 0.0));
}

#[tokio::test]
async fn endpoints_that_hang_get_no_more_writes_long_before_the_timeout() {
    let (mut one, mut other) = (Receiver::new(Reply::Never).await, Receiver::new(Reply::Never).await);
    let well = Receiver::new(OK).await;
    let stage = Stage::of(&[one.address, other.address, well.address]);
    let mut writes = JoinSet::new();
    let in_flight = |address| stage.endpoint(address).in_flight;
    while in_flight(one.address) == 0 || in_flight(other.address) == 0 || stage.outcome("success") == 0.0 {
        let soft = Arc::clone(&stage.soft);
        writes.spawn(async move { soft.send(&outgoing(), Instant::now() + LONG).await });
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(balance::SLOW + Duration::from_millis(50)).await;
    assert!(one.count() + other.count() >= 2);
    for _ in 0..40 {
        stage.send().await.unwrap();
    }
    assert_eq!(one.count() + other.count(), 0);
    assert_eq!(stage.outcome("timeout"), 0.0, "nothing has timed out yet");
}

#[tokio::test]
async fn an_endpoint_that_takes_much_longer_than_the_other_is_passed_over_and_its_writes_are_stored() {
    let late = Reply::Late(balance::SLOW + Duration::from_millis(50));
    let (slow, well) = (Receiver::new(late.clone()).await, Receiver::new(OK).await);
    let stage = Stage::of(&[slow.address, well.address]);
    let writes = futures_util::future::join_all((0..12).map(|_| stage.send()));
    assert!(writes.await.iter().all(Result::is_ok));
    let status = stage.endpoint(slow.address);
    assert_eq!((status.healthy, status.last_failure), (false, Some("slow")));
    // Of two that are slow alike, none is slow.
    well.reply_from_now(late);
    for _ in 0..2 {
        let writes = futures_util::future::join_all((0..12).map(|_| stage.send()));
        assert!(writes.await.iter().all(Result::is_ok));
    }
    assert!(stage.endpoint(well.address).healthy);
}

#[tokio::test]
async fn an_upstream_over_its_bound_answers_at_once_and_a_dropped_write_frees_its_place() {
    let mut receiver = Receiver::new(Reply::Never).await;
    let stage = Stage::new(config::Upstream {
        max_in_flight: 1,
        ..config(vec![at(receiver.address)])
    });
    let soft = Arc::clone(&stage.soft);
    let first = tokio::spawn(async move { soft.send(&outgoing(), Instant::now() + LONG).await });
    receiver.next().await;
    assert_eq!(stage.send().await, Err(ForwardError::Overloaded));
    assert_eq!(stage.endpoint(receiver.address).in_flight, 1);

    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(stage.endpoint(receiver.address).in_flight, 0);
    assert_eq!(stage.endpoint(receiver.address).failures_in_a_row, 0);
    receiver.reply_from_now(OK);
    stage.send().await.unwrap();
    assert_eq!(stage.outcome("overloaded"), 1.0);
}

#[tokio::test]
async fn an_upstream_without_endpoints_says_so() {
    let stage = Stage::of(&[]);
    let started = Instant::now();
    assert_eq!(stage.send().await, Err(ForwardError::NoEndpoint));
    // There is no look-up to wait for.
    assert!(started.elapsed() < LONG / 2);
    assert_eq!(stage.outcome("no_endpoint"), 1.0);
}
