//! The toolkit of end-to-end tests, real stack, attack and bench: certificates, processes, HTTP, a fake Thanos receiver,
//! the real `gauntlet` and a sender.
//!
//! A test reads as a story: `Receiver::start()` answers, `Gateway::setup()` says who writes where,
//! `.start()` runs the real binary on ports the system picks, `gateway.sender()` writes. Everything speaks its
//! own dialect of the protocol: nothing here uses the code under test, so that a shared mistake cannot hide.
//! Never sleeps for luck: a test waits for an event, or polls a condition, under one deadline. Never leaves
//! the loopback interface.

// A harness that panics is a test that failed, which is its way to report.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod bar;
pub mod bodies;
pub mod certs;
pub mod collector;
pub mod deadline;
pub mod exporter;
pub mod gateway;
pub mod guest;
pub mod http;
pub mod machine;
pub mod metrics;
pub mod process;
pub mod receiver;
pub mod remote_write;
pub mod remote_write_v2;
pub mod sender;
pub mod setup;
pub mod sink;

pub use certs::{Certs, ClientCertificate};
pub use collector::{FakeCollector, SpanSeen};
pub use deadline::{eventually, within};
pub use gateway::{Checked, Gateway};
pub use metrics::Metrics;
pub use receiver::{Gate, Received, Receiver, Reply, refused_address};
pub use remote_write::{TimeSeries, WriteRequest, series, write};
pub use remote_write_v2::RequestV2;
pub use sender::{Request, Response, Sender};
pub use setup::{Setup, Tenant, relabel};

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_arrives_as_it_was_sent_and_one_connection_carries_many() {
        let receiver = Receiver::start().await;
        receiver.answer_next([Reply::conflict().header("x-test", "1"), Reply::status(204)]);
        let sender = Sender::new(receiver.address(), None).bearer("t").to_path("/p");
        let sent = write([series("up").label("job", "x").stale(1).histogram(2)]);
        let first = sender.write(&sent).await;
        assert_eq!((first.status, first.header("x-test")), (409, Some("1")));
        assert_eq!(sender.request(sent.body()).chunked().send().await.status, 204);
        let received = receiver.expect_requests(2).await;
        assert_eq!(received[0].write.samples(), sent.samples());
        assert_eq!(received[1].body, sent.body());
        assert_eq!(received[1].header("transfer-encoding"), "chunked");
        assert_eq!(
            (received[0].path.as_str(), received[0].header("authorization")),
            ("/p", "Bearer t")
        );
    }

    #[tokio::test]
    async fn tls_lets_in_whoever_the_authority_signed() {
        let certs = Certs::new();
        let receiver = Receiver::start_tls(certs.server_config(true)).await;
        let known = certs.client_config(Some(&certs.client_uri("spiffe://a/b")));
        let sent = write([series("up").sample(1.0, 0)]);
        assert_eq!(
            Sender::new(receiver.address(), Some(known)).write(&sent).await.status,
            200
        );
        let stranger = Certs::new().client_uri("spiffe://a/b");
        let unknown = Sender::new(receiver.address(), Some(certs.client_config(Some(&stranger))));
        assert!(unknown.request(sent.body()).try_send().await.is_err());
        assert_eq!(receiver.received().len(), 1);
    }

    #[tokio::test]
    async fn a_scripted_reset_and_a_stopped_receiver_are_broken_connections() {
        let receiver = Receiver::start().await;
        let sender = Sender::new(receiver.address(), None);
        receiver.answer_next([Reply::reset()]);
        assert!(sender.request(write([]).body()).try_send().await.is_err());
        assert_eq!(sender.write(&write([])).await.status, 200);
        receiver.stop().await;
        assert!(sender.request(write([]).body()).try_send().await.is_err());
    }

    #[tokio::test]
    #[should_panic(expected = "in the receiver: only tenant a may come here")]
    async fn a_panic_in_a_script_fails_the_test() {
        let receiver = Receiver::start().await;
        receiver.script(|received| {
            assert!(received.tenant() == "a", "only tenant a may come here");
            Reply::status(200)
        });
        Sender::new(receiver.address(), None).write(&write([])).await;
        drop(receiver);
    }
}
