//! Receivers that refuse, hang, reset, redirect and come back: what the sender is told, and who else feels it.

use gauntlet_tests::{Certs, Gate, Gateway, Receiver, Reply, Setup, refused_address, series, within, write};
use serde_json::json;

use crate::{one_tenant, parted, small_write, tenant};

#[tokio::test]
async fn each_answer_of_a_receiver_becomes_the_documented_one() {
    let table = [
        (200, 204),
        (202, 204),
        (204, 204),
        (400, 400),
        (409, 400),
        (413, 400),
        (301, 503),
        (302, 503),
        (307, 503),
        (401, 503),
        (403, 503),
        (404, 503),
        (405, 503),
        (415, 503),
        (418, 503),
        (429, 503),
        (500, 503),
        (501, 503),
        (502, 503),
        (503, 503),
        (504, 503),
        (599, 503),
    ];
    let elsewhere = Receiver::start().await;
    // An upstream and a tenant each, so that no endpoint's health spoils another case.
    let mut setup = Setup::new();
    let mut receivers = Vec::new();
    for (theirs, _) in table {
        let receiver = Receiver::start().await;
        let reply = Reply::status(theirs).text("host 10.1.2.3 says /var/thanos is full");
        receiver.answer(
            reply
                .header("Location", &elsewhere.url())
                .header("Retry-After", "86400"),
        );
        let name = format!("u{theirs}");
        setup = setup
            .upstream(&name, &[&receiver])
            .tenant(tenant(&format!("t{theirs}")).upstreams(&[&name]));
        receivers.push(receiver);
    }
    let gateway = Gateway::start(setup).await;
    for (theirs, ours) in table {
        let answer = gateway
            .sender()
            .bearer(&format!("t{theirs}-token"))
            .write(&small_write())
            .await;
        assert_eq!(answer.status, ours, "{theirs}: {answer:?}");
        if ours == 503 {
            // Who is over its rate or sick knows when it is well again, and is believed up to an hour.
            let expected = if theirs >= 429 { 3600..=4501 } else { 1..=60 };
            assert!(expected.contains(&answer.retry_after()), "{theirs}: {answer:?}");
        }
        for word in ["10.1.2.3", "thanos", "127.0.0.1"] {
            assert!(!answer.text.to_lowercase().contains(word), "{theirs}: {answer:?}");
        }
    }
    assert!(elsewhere.received().is_empty(), "a redirect was followed");
    assert!(receivers.iter().all(|r| !r.received().is_empty()));
}

#[tokio::test]
async fn a_wrong_path_is_shown_with_upstream_url_and_key_and_the_sender_hears_no_address() {
    let receiver = Receiver::start().await;
    receiver.answer(Reply::status(404).text("404 page not found"));
    let setup = Setup::with_receiver(&receiver)
        .set("/upstreams/soft/path", "/api/v1/recieve")
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    for _ in 0..5 {
        let answer = sender.write(&small_write()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text.contains("404"), "{answer:?}");
        for word in ["127.0.0.1", "recieve", "soft"] {
            assert!(!answer.text.contains(word), "{answer:?}");
        }
    }
    let url = format!("{}/api/v1/recieve", receiver.url());
    let endpoint = gateway.api("/api/v1/upstreams").await[0]["endpoints"][0].clone();
    assert_eq!(endpoint["healthy"], false, "{endpoint}");
    assert_eq!(endpoint["last_failure"], "misconfigured", "{endpoint}");
    assert_eq!(endpoint["last_cause"]["url"], url, "{endpoint}");
    assert_eq!(endpoint["last_cause"]["look_at"], "upstreams.soft.path", "{endpoint}");
    let line = gateway
        .expect_log(&["did not get to a receiver", "upstreams.soft.path"])
        .await;
    assert!(line.contains(&url) && line.contains("404"), "{line}");
    // Five writes, one line.
    assert_eq!(gateway.log().matches("did not get to a receiver").count(), 1);
}

#[tokio::test]
async fn a_receiver_that_nobody_reaches_is_told_with_its_cause() {
    let setup = Setup::new()
        .set(
            "/upstreams/soft",
            json!({"endpoints": [format!("http://{}", refused_address().await)]}),
        )
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.text.contains("127.0.0.1"), "{answer:?}");
    let look_at = "upstreams.soft.endpoints";
    gateway.expect_log(&["nothing listens at its port", look_at]).await;
    let upstreams = gateway.api("/api/v1/upstreams").await;
    let cause = &upstreams[0]["endpoints"][0]["last_cause"];
    assert_eq!(cause["text"], "nothing listens at its port", "{cause}");
    assert_eq!(cause["look_at"], look_at, "{cause}");
}

#[tokio::test]
async fn a_receivers_429_stays_429_where_the_operator_says_so() {
    let receiver = Receiver::start().await;
    receiver.answer(Reply::status(429));
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").set("over_rate", "too_many_requests"));
    let gateway = Gateway::start(setup).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.retry_after() >= 1);
}

#[tokio::test]
async fn of_several_parts_the_longest_retry_after_reaches_the_sender() {
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let gateway = parted(&one, &other).await;
    let sender = gateway.sender().bearer("a-token");
    for (first, second) in [("2", "120"), ("120", "2")] {
        one.answer(Reply::status(503).header("Retry-After", first));
        other.answer(Reply::status(429).header("Retry-After", second));
        let both = write([series("one").sample(1.0, 1), series("other").sample(1.0, 1)]);
        let answer = sender.write(&both).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!((120..=151).contains(&answer.retry_after()), "{answer:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_hangs_is_503_after_the_timeout_and_delays_nobody_else() {
    let (hung, good) = (Receiver::start().await, Receiver::start().await);
    let gate = Gate::new();
    hung.answer(Reply::status(200).held_by(&gate));
    let setup = Setup::new()
        .upstream("hung", &[&hung])
        .set("/upstreams/hung/timeout", "2s")
        .upstream("soft", &[&good])
        .tenant(tenant("slow").upstreams(&["hung"]))
        .tenant(tenant("quick"));
    let gateway = Gateway::start(setup).await;
    let slow = gateway.sender().bearer("slow-token");
    let waiting = tokio::spawn(async move { slow.write(&small_write()).await });
    hung.expect_requests(1).await;
    let quick = gateway.sender().bearer("quick-token");
    for _ in 0..50 {
        assert_eq!(quick.write(&small_write()).await.status, 204);
    }
    assert!(
        !waiting.is_finished(),
        "the quick tenant's writes took as long as the slow one's timeout"
    );
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.retry_after() >= 1);
}

#[tokio::test]
async fn a_receiver_that_is_not_there_is_503_until_it_comes_back() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    let address = receiver.stop().await;
    let answer = sender.write(&small_write()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.retry_after() >= 1);
    assert!(!answer.text.contains("127.0.0.1"), "{answer:?}");
    let back = Receiver::start_at(address, None).await;
    gauntlet_tests::eventually("the receiver to be used again", async || {
        (sender.write(&small_write()).await.status == 204).then_some(())
    })
    .await;
    assert!(!back.received().is_empty());
}

#[tokio::test]
async fn a_connection_that_is_reset_in_mid_request_is_never_an_acknowledgement() {
    let receiver = Receiver::start().await;
    receiver.answer(Reply::reset());
    let gateway = one_tenant(&receiver).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[tokio::test]
async fn a_kept_connection_that_the_receiver_closed_costs_the_sender_nothing() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender().bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
    // The receiver restarts between two writes: the pooled connection is dead and nobody noticed.
    let receiver = Receiver::start_at(receiver.stop().await, None).await;
    assert_eq!(sender.write(&small_write()).await.status, 204);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_second_endpoint_takes_over_inside_the_same_request() {
    let broken: [(&str, Option<Reply>); 3] = [
        ("refused", None),
        ("reset", Some(Reply::reset())),
        ("unavailable", Some(Reply::status(503))),
    ];
    for (what, reply) in broken {
        let (bad, good) = (Receiver::start().await, Receiver::start().await);
        let bad_url = match &reply {
            Some(reply) => {
                bad.answer(reply.clone());
                bad.url()
            }
            None => format!("http://{}", refused_address().await),
        };
        let setup = Setup::new()
            .set("/upstreams/soft", json!({"endpoints": [bad_url, good.url()]}))
            .tenant(tenant("a"));
        let gateway = Gateway::start(setup).await;
        let sender = gateway.sender().bearer("a-token");
        for n in 0..20 {
            let answer = sender.write(&small_write()).await;
            assert_eq!(answer.status, 204, "{what}, write {n}: {answer:?}");
        }
        assert_eq!(good.received().len(), 20, "{what}");
    }
}

#[tokio::test]
async fn a_refusal_that_is_about_the_data_is_not_tried_elsewhere() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    for receiver in [&first, &second] {
        receiver.answer(Reply::conflict());
    }
    let setup = Setup::new().upstream("soft", &[&first, &second]).tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        400
    );
    assert_eq!(first.received().len() + second.received().len(), 1);
}

#[tokio::test]
async fn load_is_spread_over_the_endpoints() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let setup = Setup::new().upstream("soft", &[&first, &second]).tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    // Power of two choices by requests in flight: with one held, the other gets the work.
    let gate = Gate::new();
    for receiver in [&first, &second] {
        receiver.answer_next([Reply::status(200).held_by(&gate)]);
    }
    let held: Vec<_> = (0..2)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.write(&small_write()).await.status })
        })
        .collect();
    first.expect_requests(1).await;
    second.expect_requests(1).await;
    gate.open();
    for one in held {
        assert_eq!(one.await.unwrap(), 204);
    }
}

#[tokio::test]
async fn a_huge_answer_of_a_receiver_is_not_passed_on_nor_kept() {
    let receiver = Receiver::start().await;
    receiver.answer(Reply::status(400).text("x".repeat(64 << 20)));
    let gateway = one_tenant(&receiver).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 400, "{}", answer.status);
    assert!(answer.text.len() <= 1024);
    assert!(gateway.memory() < 512 << 20);
}

#[tokio::test]
async fn an_https_upstream_is_verified_and_given_the_client_certificate() {
    let (ours, theirs) = (Certs::new(), Certs::new());
    let receiver = Receiver::start_tls(theirs.server_config(true)).await;
    let client = theirs.client_common_name("gauntlet");
    let tls = |ca: &str| {
        json!({
            "endpoints": [receiver.url()],
            "tls_config": {"ca_file": ca, "cert_file": "client.pem", "key_file": "client.key"},
        })
    };
    let setup = Setup::new()
        .set("/upstreams/soft", tls("receiver-ca.pem"))
        .set("/upstreams/wrong", tls("other-ca.pem"))
        .set(
            "/upstreams/anonymous",
            json!({"endpoints": [receiver.url()], "tls_config": {"ca_file": "receiver-ca.pem"}}),
        )
        .tenant(tenant("a"))
        .tenant(tenant("b").upstreams(&["wrong"]))
        .tenant(tenant("c").upstreams(&["anonymous"]));
    let files = [
        ("receiver-ca.pem", &theirs.ca_pem),
        ("other-ca.pem", &ours.ca_pem),
        ("client.pem", &client.pem),
        ("client.key", &client.key_pem),
    ];
    for (name, text) in files {
        std::fs::write(setup.folder().join(name), text).unwrap();
    }
    let gateway = Gateway::start(setup).await;
    let status = async |token: &str| gateway.sender().bearer(token).write(&small_write()).await.status;
    assert_eq!(status("a-token").await, 204);
    assert_eq!(status("b-token").await, 503, "a receiver of an unknown authority");
    assert_eq!(
        status("c-token").await,
        503,
        "a receiver that wants a certificate and gets none"
    );
    assert_eq!(receiver.only().tenant(), "a");
}

#[tokio::test]
async fn a_name_with_several_addresses_is_an_endpoint_each() {
    let receiver = Receiver::start().await;
    let endpoint = format!("dns+localhost:{}", receiver.address().port());
    let setup = Setup::new()
        .set("/upstreams/soft", json!({"endpoints": [endpoint]}))
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    // The name is looked up in the background; until then there is no endpoint.
    gauntlet_tests::eventually("the name to be found", async || {
        (sender.write(&small_write()).await.status == 204).then_some(())
    })
    .await;
    assert_eq!(receiver.received()[0].tenant(), "a");
}

#[tokio::test]
async fn over_the_upstreams_requests_in_flight_is_503_at_once() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.answer(Reply::status(200).held_by(&gate));
    let setup = Setup::with_receiver(&receiver)
        .set("/upstreams/soft/max_in_flight", 2)
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    let write_one = || {
        let sender = sender.clone();
        tokio::spawn(async move { sender.write(&small_write()).await.status })
    };
    let held = [write_one(), write_one()];
    receiver.expect_requests(2).await;
    assert_eq!(within("the third write", write_one()).await.unwrap(), 503);
    gate.open();
    for one in held {
        assert_eq!(one.await.unwrap(), 204);
    }
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_waited_for_shortly_however_often_the_write_was_tried() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    receiver.stop().await;
    for attempt in ["1", "5", "4000000000"] {
        let sender = gateway.sender().bearer("a-token").with_header("Retry-Attempt", attempt);
        let answer = sender.write(&small_write()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!((1..=2).contains(&answer.retry_after()), "{answer:?}");
    }
}
