//! Writes with the same series, of which one was told to wait: the older is stored first.

use std::time::Duration;

use gauntlet_tests::remote_write::T0;
use gauntlet_tests::{Gate, Gateway, Received, Receiver, Reply, Sender, Setup, WriteRequest, series, write};
use serde_json::json;

use crate::tenant;

const HELD: &str = "gauntlet_held_writes_total";
const OF_A: [(&str, &str); 1] = [("tenant", "a")];

fn at(time: i64) -> WriteRequest {
    write((0..20).map(|n| series(&format!("metric_{n}")).sample(1.0, time)))
}

/// Sends it as senders do: until it is stored.
async fn stored(sender: &Sender, write: WriteRequest) {
    for _ in 0..100 {
        let answer = sender.write(&write).await;
        if answer.status == 204 {
            return;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never stored");
}

fn time(received: &Received) -> i64 {
    received.write.timeseries[0].samples[0].timestamp - T0
}

#[tokio::test]
async fn what_comes_while_an_older_write_waits_is_held_until_that_has_come_again() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let (one, other) = (gateway.sender().bearer("a-token"), gateway.sender().bearer("a-token"));
    receiver.answer_next([Reply::status(503), Reply::status(503)]);
    assert_eq!(one.write(&at(1000)).await.status, 503);
    assert_eq!(one.write(&at(1000)).await.status, 503);
    receiver.clear();
    let later = async {
        gateway.expect_metric(HELD, &OF_A, 1.0).await;
        assert!(receiver.received().is_empty());
        // Other series wait for nobody.
        let others = write([series("another").sample(1.0, 2000)]);
        stored(&one, others).await;
        stored(&one, at(1000)).await;
    };
    tokio::join!(stored(&other, at(2000)), later);
    let times: Vec<i64> = receiver.received().iter().map(time).collect();
    assert_eq!(times, [2000, 1000, 2000]);
    assert_eq!(receiver.received()[0].write.timeseries.len(), 1);
}

#[tokio::test]
async fn what_is_over_the_rate_is_known_the_first_time() {
    let receiver = Receiver::start().await;
    let limited = tenant("a").policy("limits", json!({"requests": {"per_second": 1, "burst": 1}}));
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(limited)).await;
    let (one, other) = (gateway.sender().bearer("a-token"), gateway.sender().bearer("a-token"));
    assert_eq!(one.write(&at(1000)).await.status, 204);
    assert_eq!(one.write(&at(2000)).await.status, 503);
    let later = async {
        gateway.expect_metric(HELD, &OF_A, 1.0).await;
        stored(&one, at(2000)).await;
    };
    tokio::join!(stored(&other, at(3000)), later);
    let times: Vec<i64> = receiver.received().iter().map(time).collect();
    assert_eq!(times, [1000, 2000, 3000]);
}

#[tokio::test]
async fn a_write_whose_older_one_never_comes_goes_on_by_itself() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let sender = gateway.sender().bearer("a-token");
    receiver.answer_next([Reply::status(503), Reply::status(503)]);
    assert_eq!(sender.write(&at(1000)).await.status, 503);
    assert_eq!(sender.write(&at(1000)).await.status, 503);
    // As Telegraf does: what waited is gone, and comes with what is new.
    stored(&sender, at(2000)).await;
    assert_eq!(gateway.metrics().await.sum(HELD, &OF_A), 1.0);
}

#[tokio::test]
async fn what_a_vmagent_kept_for_a_gateway_that_was_away_goes_by_its_age() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let sender = || gateway.sender().bearer("a-token");
    let (one, other) = (
        sender().with_header("User-Agent", "vmagent"),
        sender().with_header("User-Agent", "vmagent"),
    );
    let older = async {
        gateway.expect_metric(HELD, &OF_A, 1.0).await;
        // Whoever has one queue for each series waits for nobody.
        let another = write([series("another").sample(1.0, 3000)]);
        stored(&sender().with_header("User-Agent", "Prometheus/3.15.1"), another).await;
        stored(&other, at(1000)).await;
    };
    tokio::join!(stored(&one, at(2000)), older);
    let times: Vec<i64> = receiver.received().iter().map(time).collect();
    assert_eq!(times, [3000, 1000, 2000]);

    // What comes while an older one of those is still under way waits for that.
    receiver.clear();
    let gate = Gate::new();
    receiver.answer_next([Reply::status(200).held_by(&gate)]);
    let newer = async {
        receiver.expect_requests(1).await;
        let newer = stored(&one, at(5000));
        let opened = async {
            gateway.expect_metric(HELD, &OF_A, 3.0).await;
            assert_eq!(receiver.received().len(), 1);
            gate.open();
        };
        tokio::join!(newer, opened);
    };
    tokio::join!(stored(&other, at(4000)), newer);
    let times: Vec<i64> = receiver.received().iter().map(time).collect();
    assert_eq!(times, [4000, 5000]);
}
