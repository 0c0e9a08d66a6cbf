//! What receivers refuse, in their own words: what the sender is told, what is counted, and what is no fault of his.

use gauntlet_tests::{Gateway, Receiver, Reply, Setup, WriteRequest, series, write};

use crate::{parted, small_write, tenant};

/// Two series with three samples each: four are not their series' newest.
fn six(time: i64) -> WriteRequest {
    write(["one", "other"].map(|name| (0..3).fold(series(name), |one, n| one.sample(1.0, time + n))))
}

async fn counted(gateway: &Gateway, tenant: &str) -> (f64, f64) {
    let metrics = gateway.metrics().await;
    let of = [("tenant", tenant)];
    let sum = |name| metrics.sum(name, &of);
    assert_eq!(
        sum("gauntlet_received_samples_total"),
        sum("gauntlet_forwarded_samples_total") + sum("gauntlet_rejected_samples_total")
    );
    (
        sum("gauntlet_forwarded_samples_total"),
        sum("gauntlet_rejected_samples_total"),
    )
}

async fn rejected(gateway: &Gateway, tenant: &str, reason: &str) -> f64 {
    let of = [("tenant", tenant), ("reason", reason)];
    gateway.metrics().await.sum("gauntlet_rejected_samples_total", &of)
}

#[tokio::test]
async fn what_a_receiver_refuses_is_told_by_class_and_counted_as_far_as_it_says() {
    let mimir = "failed pushing to ingester mimir-0: user=x: said (err-mimir-sample-duplicate-timestamp). The affected \
                 sample is from series {job=\"hush\"}\n";
    let two = "2 errors: forwarding request to endpoint r-0:10901: add 1 samples: out of order sample; forwarding request to \
               endpoint r-1:10901: add 1 samples: out of order sample\n";
    // Of six samples: stored, and refused for the reason.
    let table = [
        (
            409,
            "add 4 samples: out of order sample\n",
            2,
            "upstream_out_of_order",
            4,
        ),
        (409, "add 6 samples: too old sample\n", 0, "upstream_too_old", 6),
        (409, "add 1 samples: out of bounds\n", 5, "upstream_out_of_bounds", 1),
        (
            409,
            "add 1 samples: duplicate sample for timestamp\n",
            5,
            "upstream_duplicate",
            1,
        ),
        (409, two, 4, "upstream_unknown", 2),
        (409, "add 1 series: out of order labels\n", 0, "upstream_unknown", 6),
        (409, "conflict\n", 0, "upstream_unknown", 6),
        (400, "out of order sample\n", 0, "upstream_out_of_order", 6),
        (
            400,
            "out of bounds: timestamp is too far in the future\n",
            0,
            "upstream_too_far_ahead",
            6,
        ),
        (400, mimir, 0, "upstream_unknown", 6),
        (413, "too many timeseries\n", 0, "upstream_limit", 6),
        (400, "snappy decode error\n", 0, "upstream_invalid", 6),
    ];
    let receiver = Receiver::start().await;
    let tenants = (0..table.len()).map(|n| tenant(&format!("t{n}")));
    let gateway = Gateway::start(tenants.fold(Setup::with_receiver(&receiver), Setup::tenant)).await;
    for (n, (status, text, stored, reason, refused)) in table.into_iter().enumerate() {
        receiver.answer(Reply::status(status).text(text));
        let tenant = format!("t{n}");
        let answer = gateway.sender().bearer(&format!("{tenant}-token")).write(&six(0)).await;
        assert_eq!(answer.status, 400, "{text}: {answer:?}");
        for secret in ["r-0", "mimir-0", "hush", "endpoint", "user="] {
            assert!(!answer.text.contains(secret), "{answer:?}");
        }
        assert_eq!(counted(&gateway, &tenant).await.0, f64::from(stored), "{text}");
        assert_eq!(rejected(&gateway, &tenant, reason).await, f64::from(refused), "{text}");
        // Operators are told in the receiver's own words, of 400 and of 409 alike.
        let words = text.trim_end().split(" {").next().unwrap();
        let line = gateway
            .expect_log(&["write failed: dropped by the sender", &tenant, words])
            .await;
        assert!(line.contains("\"WARN\"") && !line.contains("hush"), "{line}");
    }
}

#[tokio::test]
async fn a_sender_hears_the_class_and_the_receivers_phrases() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    for (status, text, told) in [
        (
            409,
            "forwarding request to endpoint addr: r-0:10901, capnp_addr: r-0:19391, az: : writing locally: 2 errors: add 1 \
             samples: out of bounds; add 3 samples: out of order sample\n",
            "the receiver refused 4 samples and stored the others (too old or too far ahead): 1 samples: out of bounds, 3 \
             samples: out of order sample\n",
        ),
        (
            400,
            "out of order sample\n",
            "the receiver refused the write (out of order): out of order sample\n",
        ),
        (
            400,
            "user=x: (err-mimir-max-series-per-user)\n",
            "the receiver refused samples and did not say how many (a limit of the receiver): err-mimir-max-series-per\n",
        ),
        (
            409,
            "10.1.2.3 is full\n",
            "the receiver refused samples and did not say how many (other)\n",
        ),
    ] {
        receiver.answer(Reply::status(status).text(text));
        let answer = gateway.sender().bearer("a-token").write(&six(0)).await;
        assert_eq!((answer.status, answer.text.as_str()), (400, told));
    }
}

#[tokio::test]
async fn where_exemplars_alone_were_refused_the_write_is_stored() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let sender = gateway.sender().bearer("a-token");
    receiver.answer(Reply::status(409).text("add 3 exemplars: out of order exemplar\n"));
    assert_eq!(sender.write(&six(0)).await.status, 204);
    assert_eq!(counted(&gateway, "a").await, (6.0, 0.0));
    gateway
        .expect_metric("gauntlet_refused_exemplars_total", &[("tenant", "a")], 3.0)
        .await;
    // What broke off may have said more.
    receiver.answer(Reply::status(409).text("2 errors: add 3 exemplars: out of order exemplar"));
    assert_eq!(sender.write(&six(0)).await.status, 400);
    assert_eq!(rejected(&gateway, "a", "upstream_unknown").await, 6.0);
}

#[tokio::test]
async fn a_part_that_was_stored_the_first_time_is_not_held_against_the_second() {
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let gateway = parted(&one, &other).await;
    let sender = gateway.sender().bearer("a-token");
    other.answer_next([Reply::status(503)]);
    assert_eq!(sender.write(&six(0)).await.status, 503);
    // Somebody else wrote in the meantime, so that the receiver calls all of it old, and does not even say how many.
    one.answer(Reply::status(409).text("something: out of order sample\n"));
    let again = sender.write(&six(0)).await;
    assert_eq!(again.status, 204, "{again:?}");
    assert_eq!(rejected(&gateway, "a", "already_stored").await, 3.0);
    assert_eq!(counted(&gateway, "a").await, (6.0, 6.0));
    // Another write is another matter, and so is one of which that part was refused the first time.
    assert_eq!(sender.write(&six(1)).await.status, 400);
    other.answer_next([Reply::status(503)]);
    assert_eq!(sender.write(&six(2)).await.status, 503);
    assert_eq!(sender.write(&six(2)).await.status, 400);
}

#[tokio::test]
async fn a_write_that_may_have_been_stored_is_believed_only_where_the_numbers_say_so() {
    let exactly = "add 4 samples: out of order sample\n";
    let table = [
        (Reply::reset(), exactly, 204),
        (Reply::status(503), exactly, 204),
        (Reply::reset(), "add 5 samples: out of order sample\n", 400),
        (Reply::reset(), "add 3 samples: out of order sample\n", 400),
        (Reply::reset(), "add 4 samples: duplicate sample for timestamp\n", 400),
        (Reply::reset(), "out of order sample\n", 400),
        // What was certainly not stored is lost now, and the sender must hear it.
        (Reply::status(429), exactly, 400),
        (Reply::status(404), exactly, 400),
    ];
    for (first, second, told) in table {
        let receiver = Receiver::start().await;
        let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
        let sender = gateway.sender().bearer("a-token");
        receiver.answer_next([first]);
        assert_eq!(sender.write(&six(0)).await.status, 503);
        receiver.answer(Reply::status(409).text(second));
        let answer = sender.write(&six(0)).await;
        assert_eq!(answer.status, told, "{second}: {answer:?}");
        let already_stored = rejected(&gateway, "a", "already_stored").await;
        assert_eq!(already_stored, if told == 204 { 4.0 } else { 0.0 }, "{second}");
        counted(&gateway, "a").await;
    }
}

#[tokio::test]
async fn a_sender_that_says_it_tries_again_is_believed_where_the_numbers_say_so() {
    for (attempt, refused, told) in [
        ("1", 4, 204),
        ("1", 3, 400),
        ("1", 6, 400),
        ("0", 4, 400),
        ("x", 4, 400),
    ] {
        let receiver = Receiver::start().await;
        let text = format!("add {refused} samples: out of order sample\n");
        receiver.answer(Reply::status(409).text(text));
        let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
        let sender = gateway.sender().bearer("a-token").with_header("Retry-Attempt", attempt);
        let answer = sender.write(&six(0)).await;
        assert_eq!(answer.status, told, "{attempt} {refused}: {answer:?}");
    }
}

#[tokio::test]
async fn what_the_first_endpoint_may_have_stored_the_second_may_refuse() {
    for (second, told) in [
        ("add 4 samples: out of order sample\n", 204),
        ("add 6 samples: out of order sample\n", 400),
    ] {
        let (this, that) = (Receiver::start().await, Receiver::start().await);
        let setup = Setup::new().upstream("soft", &[&this, &that]).tenant(tenant("a"));
        let gateway = Gateway::start(setup).await;
        let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for receiver in [&this, &that] {
            let asked = std::sync::Arc::clone(&asked);
            receiver.script(
                move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => Reply::status(500),
                    _ => Reply::status(409).text(second),
                },
            );
        }
        let answer = gateway.sender().bearer("a-token").write(&six(0)).await;
        assert_eq!(answer.status, told, "{answer:?}");
    }
}

#[tokio::test]
async fn the_log_warns_of_what_the_sender_drops_and_tells_what_it_keeps() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let sender = gateway.sender().bearer("a-token");
    receiver.answer_next([Reply::status(503)]);
    assert_eq!(sender.write(&small_write()).await.status, 503);
    assert_eq!(sender.request(b"no snappy".to_vec()).send().await.status, 400);
    let stranger = gateway.sender().bearer("nobody");
    assert_eq!(stranger.write(&small_write()).await.status, 401);
    for (level, parts) in [
        ("INFO", ["write failed: kept by the sender", "upstream_unavailable"]),
        ("WARN", ["write failed: dropped by the sender", "snappy"]),
        ("WARN", ["request refused: dropped by the sender", "wrong_credential"]),
    ] {
        let line = gateway.expect_log(&parts).await;
        assert!(line.contains(&format!("\"level\":\"{level}\"")), "{line}");
    }
}
