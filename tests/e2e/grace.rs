//! A credential that is taken away while it is in use: its data waits for a while, and nobody is let in by it.

use gauntlet_tests::{Gateway, Receiver, Sender, Setup, Tenant};

use crate::{small_write, tenant};

const COUNTED: &str = "gauntlet_removed_credential_requests_total";

/// The tenant `kazusa` with a credential of each kind.
fn kazusa() -> Tenant {
    tenant("kazusa")
        .basic("kazusa", "kazusa-password")
        .certificate("uri_san", "spiffe://kazusa/prometheus")
}

fn its_senders(gateway: &Gateway) -> [Sender; 3] {
    let certificate = gateway.setup.certs.client_uri("spiffe://kazusa/prometheus");
    [
        gateway.sender().bearer("kazusa-token"),
        gateway.sender().basic("kazusa", "kazusa-password"),
        gateway.sender_with(&certificate),
    ]
}

async fn statuses(senders: &[Sender]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for sender in senders {
        statuses.push(sender.write(&small_write()).await.status);
    }
    statuses
}

async fn started(receiver: &Receiver) -> Gateway {
    let setup = Setup::with_receiver(receiver).tenant(kazusa());
    // One stays: that all files of a folder are gone is not believed.
    Gateway::start(setup.tenant(tenant("b")).tenant(tenant("c"))).await
}

#[tokio::test]
async fn a_tenant_file_that_was_deleted_by_mistake_costs_no_data() {
    let receiver = Receiver::start().await;
    let mut gateway = started(&receiver).await;
    let senders = its_senders(&gateway);
    assert_eq!(statuses(&senders).await, [204; 3]);
    receiver.clear();
    gateway.reload(|setup| setup.remove_tenant("kazusa")).await;
    for sender in &senders {
        let answer = sender.write(&small_write()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!((1..=5).contains(&answer.retry_after()), "{answer:?}");
    }
    assert!(receiver.received().is_empty(), "nothing is forwarded in its name");
    let told = "a credential that is not configured any more is in use";
    let line = gateway.expect_log(&[told]).await;
    for part in ["\"WARN\"", "\"tenant\":\"kazusa\"", "\"credential\":\"bearer_token\""] {
        assert!(line.contains(part), "{line}");
    }
    for credential in [
        "bearer_token",
        "basic_auth username=kazusa",
        "client_certificate uri_san=spiffe://kazusa/prometheus",
    ] {
        let labels = [("tenant", "kazusa"), ("credential", credential)];
        gateway.expect_metric(COUNTED, &labels, 1.0).await;
        gateway
            .expect_log(&["a credential that is in use is not configured any more", credential])
            .await;
    }
    // Who never wrote, and who is wrong, are strangers.
    assert_eq!(statuses(&[gateway.sender().bearer("guess")]).await, [401]);
    assert_eq!(statuses(&[gateway.sender().basic("kazusa", "guess")]).await, [401]);
    gateway.reload_tenant(kazusa()).await;
    assert_eq!(statuses(&senders).await, [204; 3]);
}

#[tokio::test]
async fn a_credential_that_moves_to_another_tenant_is_that_ones_at_once() {
    let receiver = Receiver::start().await;
    let mut gateway = started(&receiver).await;
    let senders = its_senders(&gateway);
    assert_eq!(statuses(&senders).await, [204; 3]);
    gateway.reload(|setup| setup.remove_tenant("kazusa")).await;
    assert_eq!(statuses(&senders).await, [503; 3]);
    gateway.reload_tenant(kazusa()).await;
    gateway.reload(|setup| setup.remove_tenant("kazusa")).await;
    assert_eq!(
        statuses(&senders).await,
        [503; 3],
        "added and removed before it was used"
    );
    receiver.clear();
    let heir = tenant("heir")
        .bearer("kazusa-token")
        .basic("kazusa", "kazusa-password")
        .certificate("uri_san", "spiffe://kazusa/prometheus");
    gateway.reload_tenant(heir).await;
    assert_eq!(statuses(&senders).await, [204; 3]);
    assert!(receiver.received().iter().all(|received| received.tenant() == "heir"));
}

#[tokio::test]
async fn an_unused_credential_a_disabled_tenant_and_no_grace_are_refused_at_once() {
    let receiver = Receiver::start().await;
    let mut gateway = started(&receiver).await;
    let sender = gateway.sender().bearer("b-token");
    gateway.reload(|setup| setup.remove_tenant("b")).await;
    assert_eq!(statuses(&[sender]).await, [401], "it was never used");
    let senders = its_senders(&gateway);
    assert_eq!(statuses(&senders).await, [204; 3]);
    gateway.reload_tenant(kazusa().set("disabled", true)).await;
    assert_eq!(statuses(&senders).await, [403; 3]);
    gateway.reload_tenant(kazusa()).await;
    gateway
        .reload(|setup| {
            setup.remove_tenant("kazusa");
            setup.put("/credential_grace", 0);
        })
        .await;
    assert_eq!(statuses(&its_senders(&gateway)).await, [401; 3]);
    assert!(!gateway.metrics().await.has(COUNTED, &[]));
}

#[tokio::test]
async fn one_of_two_credentials_may_go_while_the_other_serves() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").bearer("next-token"));
    let mut gateway = Gateway::start(setup).await;
    let [old, new] = ["a-token", "next-token"].map(|token| gateway.sender().bearer(token));
    assert_eq!(statuses(std::slice::from_ref(&old)).await, [204]);
    gateway
        .reload_tenant(Tenant::new("a").bearer("next-token").upstreams(&["soft"]))
        .await;
    assert_eq!(statuses(&[old, new]).await, [503, 204]);
}
