//! The example policy that the standard ones cannot express: redaction, as the committed component, in a gateway.

use std::path::Path;

use gauntlet_tests::{Gateway, Receiver, Setup, series, write};
use serde_json::json;

use crate::tenant;

#[tokio::test]
async fn the_redact_example_takes_personal_data_out_and_keeps_series_apart() {
    let receiver = Receiver::start().await;
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/plugins/redact.wasm");
    let settings = json!({
        "key": "sixteen bytes or more",
        "pseudonyms": ["user"],
        "networks": ["client_ip"],
    });
    let setup = Setup::with_receiver(&receiver)
        .set("/plugins/redact", json!({"file": plugin}))
        .tenant(tenant("a").policy("redact", settings));
    let gateway = Gateway::start(setup).await;
    let login = |user: &str, address: &str, at| {
        let one = series("logins_total").label("user", user).label("client_ip", address);
        one.sample(1.0, at)
    };
    let body = write([
        login("alice", "192.0.2.17", 1),
        login("bob", "192.0.2.99", 2),
        login("alice", "2001:db8:1:2::3", 3),
    ]);
    assert_eq!(gateway.sender().bearer("a-token").write(&body).await.status, 204);

    let arrived = receiver.only().write.timeseries;
    let values = |label| {
        arrived
            .iter()
            .map(|one| one.value(label).unwrap_or(""))
            .collect::<Vec<_>>()
    };
    let users = values("user");
    assert!(!users.iter().any(|user| ["alice", "bob"].contains(user)), "{users:?}");
    assert_eq!(users[0], users[2], "one user is one pseudonym");
    assert_ne!(users[0], users[1], "two users are two");
    let networks = values("client_ip");
    assert!(
        networks[0].starts_with("192.0.2.0") && networks[0] == networks[1],
        "{networks:?}"
    );
    assert!(networks[2].starts_with("2001:db8:1::"), "{networks:?}");
}
