//! What a new generation keeps and what it lets go.

use std::collections::BTreeMap;

use tokio::sync::Notify;

use super::*;
use crate::net::TlsFault;

#[tokio::test]
async fn an_unchanged_upstream_is_the_same_object() {
    let receiver = Receiver::new(OK).await;
    let stage = Stage::of(&[receiver.address]);
    let again = apply(&stage.upstreams, config(vec![at(receiver.address)]));
    assert!(Arc::ptr_eq(&stage.soft, &again));
}

#[tokio::test]
async fn a_changed_upstream_keeps_the_connections_and_the_health_of_endpoints_that_stay() {
    let (stays, goes, comes) = (
        Receiver::new(OK).await,
        Receiver::new(Reply::Status(503, "")).await,
        Receiver::new(OK).await,
    );
    let dead = dead_port().await;
    let stage = Stage::of(&[stays.address, dead]);
    while stage.endpoint(dead).healthy {
        stage.send().await.unwrap();
    }
    apply(
        &stage.upstreams,
        config(vec![at(stays.address), at(dead), at(goes.address)]),
    );
    assert_eq!(stage.healthy_metric(goes.address), Some(1.0));

    let changed = apply(
        &stage.upstreams,
        config::Upstream {
            path: "/new".to_owned(),
            ..config(vec![at(stays.address), at(dead), at(comes.address)])
        },
    );
    assert!(!Arc::ptr_eq(&stage.soft, &changed));
    assert!(!stage.endpoint(dead).healthy);
    assert_eq!(stage.healthy_metric(dead), Some(0.0));
    assert_eq!(stage.healthy_metric(goes.address), None);
    assert_eq!(stage.healthy_metric(comes.address), Some(1.0));
    for _ in 0..20 {
        changed.send(&outgoing(), Instant::now() + LONG).await.unwrap();
    }
    assert_eq!(stays.connections(), 1);
    assert_eq!(comes.connections(), 1);
}

#[tokio::test]
async fn a_removed_upstream_finishes_what_is_in_flight_and_leaves_the_metrics() {
    let (asked, removed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&removed));
    let receiver = RawReceiver::new(move |mut stream, _| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            read_request(&mut stream).await;
            tell.notify_one();
            wait.notified().await;
            stream.write_all(OK_RESPONSE).await.unwrap();
        }
    })
    .await;
    let stage = Stage::of(&[receiver.address]);
    let soft = Arc::clone(&stage.soft);
    let send = tokio::spawn(async move { soft.send(&outgoing(), Instant::now() + LONG).await });
    asked.notified().await;
    stage.upstreams.apply(&BTreeMap::new()).unwrap();
    assert_eq!(stage.healthy_metric(receiver.address), None);
    removed.notify_one();
    assert!(send.await.unwrap().is_ok());
    assert!(stage.upstreams.status().is_empty());
    // Its late success does not bring the series back.
    assert_eq!(stage.healthy_metric(receiver.address), None);
}

#[tokio::test]
async fn the_bound_holds_over_both_configurations() {
    let mut receiver = Receiver::new(Reply::Never).await;
    let bounded = |path: &str| config::Upstream {
        max_in_flight: 1,
        path: path.to_owned(),
        ..config(vec![at(receiver.address)])
    };
    let stage = Stage::new(bounded("/one"));
    let changed_config = bounded("/two");
    let soft = Arc::clone(&stage.soft);
    let first = tokio::spawn(async move { soft.send(&outgoing(), Instant::now() + LONG).await });
    receiver.next().await;
    let changed = apply(&stage.upstreams, changed_config);
    let refused = changed.send(&outgoing(), Instant::now() + LONG).await;
    assert_eq!(refused, Err(ForwardError::Overloaded));
    first.abort();
}

#[tokio::test]
async fn one_bad_upstream_is_named_and_nothing_changes() {
    let receiver = Receiver::new(OK).await;
    let stage = Stage::of(&[receiver.address]);
    let tls = Some(config::TlsClient {
        ca: Some(b"no certificate".as_slice().into()),
        client: None,
        server_name: None,
    });
    let bad = config::Upstream {
        name: "bad".to_owned(),
        tls,
        ..config(vec![at(receiver.address)])
    };
    let wanted = BTreeMap::from([("bad".to_owned(), Arc::new(bad))]);
    let error = stage.upstreams.apply(&wanted).err().unwrap();
    assert_eq!(error.upstream, "bad");
    assert!(matches!(error.fault, SetupFault::Tls(TlsFault::Ca(_))));
    assert_eq!(stage.upstreams.status()[0].name, "soft");
    assert_eq!(stage.healthy_metric(receiver.address), Some(1.0));

    let bad_path = config::Upstream {
        path: "receive".to_owned(),
        ..config(vec![])
    };
    let wanted = BTreeMap::from([("soft".to_owned(), Arc::new(bad_path))]);
    let error = stage.upstreams.apply(&wanted).err().unwrap();
    assert_eq!(error.fault, SetupFault::Path("receive".to_owned()));
    stage.send().await.unwrap();
}
