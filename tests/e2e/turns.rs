//! Bodies of much work: on whose account it is done, and that usual ones go on where they came.

use futures_util::future::join_all;
use gauntlet_tests::remote_write::compress;
use gauntlet_tests::{Gateway, Receiver, Setup, WriteRequest, series, write};
use prost::Message as _;

use crate::{many, tenant};

const WORK: &str = "gauntlet_work_seconds_total";

#[tokio::test]
async fn a_body_of_many_elements_is_work_of_its_tenants_and_a_usual_one_is_none() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a")).tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let send = async |token: &str, body: Vec<u8>| {
        let sender = gateway.sender().bearer(token);
        let answer = sender.request(body).send().await;
        assert_eq!(answer.status, 204, "{answer:?}");
    };
    // Half a million unknown fields, and as many empty metadata entries, in 47 kB each; new series in number.
    let one = write([series("up").sample(1.0, 0)]).encode_to_vec();
    let mut before = 0.0;
    for field in [[0x78, 0], [0x1a, 0]] {
        let body = compress(&[one.clone(), field.repeat(500_000)].concat());
        assert!(body.len() < 64 << 10, "{} bytes", body.len());
        send("a-token", body).await;
        let after = gateway.metrics().await.sum(WORK, &[("tenant", "a")]);
        assert!(after > before, "{after} s after {before} s");
        before = after;
    }
    send("a-token", write(many("new", 5000)).body()).await;
    assert!(gateway.metrics().await.sum(WORK, &[("tenant", "a")]) > before);

    for _ in 0..2 {
        send("b-token", write(many("few", 100)).body()).await;
    }
    assert!(!gateway.metrics().await.has(WORK, &[("tenant", "b")]));
    let stored = async |id: &str, samples: f64| {
        gateway
            .expect_metric("gauntlet_forwarded_samples_total", &[("tenant", id)], samples)
            .await;
    };
    stored("a", 5002.0).await;
    stored("b", 200.0).await;
}

#[tokio::test]
async fn more_bodies_of_much_work_than_there_are_threads_are_all_stored() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant("a"))).await;
    let unsorted = |n: usize| {
        let one = write(many(&format!("name_{n}"), 300));
        let series = one.timeseries.into_iter().map(|mut one| {
            one.labels.reverse();
            one
        });
        WriteRequest {
            timeseries: series.collect(),
            ..Default::default()
        }
    };
    let writes = (0..40).map(|n| {
        let (sender, write) = (gateway.sender().bearer("a-token"), unsorted(n));
        async move { sender.write(&write).await.status }
    });
    let statuses = join_all(writes).await;
    assert_eq!(statuses, [204; 40]);
    gateway
        .expect_metric("gauntlet_forwarded_samples_total", &[("tenant", "a")], 12_000.0)
        .await;
}
