//! An upstream that takes remote write 2.0.

use super::*;
use crate::model::{Protocol, Totals};

#[tokio::test]
async fn an_upstream_of_remote_write_2_is_told_so_to_the_letter_and_believed() {
    let written = |count: &str| Reply::Header(204, "x-prometheus-remote-write-samples-written", count.to_owned());
    let mut receiver = Receiver::new(OK).await;
    let mut config = config(vec![at(receiver.address)]);
    config.remote_write_version = Protocol::V2;
    let stage = Stage::new(config);
    // What released Thanos answers.
    assert_eq!(stage.send().await, Err(ForwardError::NotRemoteWrite2 { status: 200 }));
    let headers = receiver.next().await.headers;
    assert_eq!(
        headers["content-type"],
        "application/x-protobuf;proto=io.prometheus.write.v2.Request"
    );
    assert_eq!(headers["x-prometheus-remote-write-version"], "2.0.0");
    let cause = stage.endpoint(receiver.address).last_cause.unwrap().0;
    assert_eq!(cause.look_at("soft").unwrap(), "upstreams.soft.remote_write_version");
    assert_eq!(stage.outcome("misconfigured"), 1.0);

    receiver.reply_from_now(written("3"));
    let fewer = stage.send().await.unwrap_err();
    assert!(
        matches!(
            fewer,
            ForwardError::NotWritten {
                status: 204,
                sent: 4,
                ..
            }
        ),
        "{fewer:?}"
    );
    assert!(!fewer.may_pass_elsewhere());
    let mut floats = outgoing();
    floats.totals = Totals {
        samples: 3,
        ..Totals::default()
    };
    let all = stage.soft.send(&floats, Instant::now() + LONG).await.unwrap();
    assert_eq!((all.samples, all.histograms, all.exemplars), (3, 0, 0));
}
