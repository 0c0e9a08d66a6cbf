//! Who may write, and as whom: every kind of credential, right and wrong.

use gauntlet_tests::{Certs, Gateway, Receiver, Setup, Tenant};
use serde_json::json;

use crate::{one_tenant, small_write, tenant};

#[tokio::test]
async fn each_kind_of_credential_proves_its_tenant() {
    let receiver = Receiver::start().await;
    let on_soft = |id: &str| Tenant::new(id).upstreams(&["soft"]);
    let setup = Setup::with_receiver(&receiver)
        .tenant(on_soft("by-uri").certificate("uri_san", "spiffe://kazusa/prometheus"))
        .tenant(on_soft("by-dns").certificate("dns_san", "prometheus.kazusa.example"))
        .tenant(on_soft("by-cn").certificate("common_name", "kazusa prometheus"))
        .tenant(on_soft("by-bearer").bearer("first-token").bearer("second-token"))
        .tenant(on_soft("by-basic").basic("kazusa", "pass:word"))
        .tenant(on_soft("by-file").credential(json!({"bearer_token_file": "../token"})))
        .tenant(
            on_soft("by-password-file")
                .credential(json!({"basic_auth": {"username": "agent", "password_file": "../password"}})),
        );
    std::fs::write(setup.folder().join("token"), "token-in-a-file\n").unwrap();
    std::fs::write(setup.folder().join("password"), "s3cret \n\n").unwrap();
    let gateway = Gateway::start(setup).await;
    let certs = &gateway.setup.certs;
    let senders = [
        (
            "by-uri",
            gateway.sender_with(&certs.client_uri("spiffe://kazusa/prometheus")),
        ),
        (
            "by-dns",
            gateway.sender_with(&certs.client_dns("prometheus.kazusa.example")),
        ),
        (
            "by-cn",
            gateway.sender_with(&certs.client_common_name("kazusa prometheus")),
        ),
        ("by-bearer", gateway.sender().bearer("first-token")),
        ("by-bearer", gateway.sender().bearer("second-token")),
        ("by-basic", gateway.sender().basic("kazusa", "pass:word")),
        ("by-file", gateway.sender().bearer("token-in-a-file")),
        ("by-password-file", gateway.sender().basic("agent", "s3cret")),
    ];
    for (tenant, sender) in senders {
        receiver.clear();
        let answer = sender.write(&small_write()).await;
        assert_eq!(answer.status, 204, "{tenant}: {answer:?}");
        assert_eq!(receiver.only().tenant(), tenant);
    }
}

#[tokio::test]
async fn no_credential_or_a_wrong_one_is_401_and_nothing_is_forwarded() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").basic("user", "password"));
    let gateway = Gateway::start(setup).await;
    let bare = || gateway.sender();
    let wrong = [
        ("none", bare()),
        ("another token", bare().bearer("b-token")),
        ("a token with more behind it", bare().bearer("a-token2")),
        ("the start of a token", bare().bearer("a-toke")),
        ("an empty token", bare().bearer("")),
        (
            "the token's hash",
            bare().bearer(&gauntlet_tests::setup::sha256(b"a-token")),
        ),
        ("another password", bare().basic("user", "passwort")),
        ("an empty password", bare().basic("user", "")),
        ("another user", bare().basic("User", "password")),
        ("a token as a password", bare().basic("a", "a-token")),
        ("no base64", bare().with_header("Authorization", "Basic %%%")),
        (
            "an unknown scheme",
            bare().with_header("Authorization", "Digest a-token"),
        ),
        ("a scheme alone", bare().with_header("Authorization", "Bearer")),
        (
            "the tenant's name in a header",
            bare().with_header("THANOS-TENANT", "a"),
        ),
    ];
    for (what, sender) in wrong {
        let answer = sender.write(&small_write()).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert!(answer.header("www-authenticate").is_some(), "{what}: {answer:?}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_certificate_counts_by_the_exact_name_of_the_configured_kind() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .tenant(
            Tenant::new("u")
                .certificate("uri_san", "spiffe://kazusa/a")
                .upstreams(&["soft"]),
        )
        .tenant(
            Tenant::new("d")
                .certificate("dns_san", "a.example")
                .upstreams(&["soft"]),
        );
    let gateway = Gateway::start(setup).await;
    let certs = &gateway.setup.certs;
    let wrong = [
        certs.client_uri("spiffe://kazusa/ab"),
        certs.client_uri("spiffe://kazusa/"),
        certs.client_uri("spiffe://kazusa/A"),
        certs.client_common_name("spiffe://kazusa/a"),
        certs.client_common_name("a.example"),
        certs.client_dns("x.a.example"),
        certs.client_dns("*.example"),
        certs.client_uri("a.example"),
    ];
    for (n, certificate) in wrong.iter().enumerate() {
        let answer = gateway.sender_with(certificate).write(&small_write()).await;
        assert_eq!(answer.status, 401, "certificate {n}: {answer:?}");
    }
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_or_an_expired_one_fails_the_handshake() {
    let receiver = Receiver::start().await;
    let tenant = Tenant::new("u")
        .certificate("uri_san", "spiffe://kazusa/a")
        .upstreams(&["soft"]);
    let gateway = Gateway::start(Setup::with_receiver(&receiver).tenant(tenant)).await;
    let name = "spiffe://kazusa/a";
    for certificate in [Certs::new().client_uri(name), gateway.setup.certs.client_expired(name)] {
        let sender = gateway.sender_with(&certificate);
        let answer = sender.request(small_write().body()).try_send().await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(receiver.received().is_empty());
    // The listener lives on.
    let good = gateway.setup.certs.client_uri(name);
    assert_eq!(gateway.sender_with(&good).write(&small_write()).await.status, 204);
}

#[tokio::test]
async fn where_certificates_are_required_none_fails_the_handshake() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set(
            "/remote_write/tls_server_config/client_auth_type",
            "RequireAndVerifyClientCert",
        )
        .tenant(tenant("a"));
    let gateway = Gateway::start(setup).await;
    let bare = gateway.sender().bearer("a-token");
    assert!(bare.request(small_write().body()).try_send().await.is_err());
    // A certificate that names no tenant gets in, and the token proves the tenant.
    let certificate = gateway.setup.certs.client_common_name("anybody");
    let sender = gateway.sender_with(&certificate).bearer("a-token");
    assert_eq!(sender.write(&small_write()).await.status, 204);
}

#[tokio::test]
async fn a_disabled_tenant_is_403_and_nothing_is_forwarded() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").set("disabled", true));
    let gateway = Gateway::start(setup).await;
    let answer = gateway.sender().bearer("a-token").write(&small_write()).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_tenant_in_the_path_must_be_the_credentials() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a")).tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    // Decoded once, so that a second layer of encoding hides nothing.
    let table = [
        ("a", 204),
        ("%61", 204),
        ("b", 403),
        ("unknown", 403),
        ("A", 403),
        ("a%2e", 403),
        ("%2561", 403),
        ("a%2fb", 403),
        ("", 404),
    ];
    for (path, status) in table {
        let path = format!("/api/metrics/v1/{path}/api/v1/receive");
        let answer = sender.request(small_write().body()).path(&path).send().await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    assert!(receiver.received().iter().all(|r| r.tenant() == "a"));
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn one_connection_may_carry_several_tenants_and_each_request_counts_for_itself() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a")).tenant(tenant("b"));
    let gateway = Gateway::start(setup).await;
    let sender = gateway.sender();
    for (token, status) in [("a-token", 204), ("c-token", 401), ("b-token", 204), ("a-token", 204)] {
        let request = sender
            .request(small_write().body())
            .header("Authorization", &format!("Bearer {token}"));
        assert_eq!(request.send().await.status, status, "{token}");
    }
    let tenants: Vec<_> = receiver.received().iter().map(|r| r.tenant().to_owned()).collect();
    assert_eq!(tenants, ["a", "b", "a"]);
}

#[tokio::test]
async fn a_certificate_and_a_header_must_not_prove_different_tenants() {
    let receiver = Receiver::start().await;
    let by_certificate = Tenant::new("c")
        .certificate("uri_san", "spiffe://c")
        .upstreams(&["soft"]);
    let setup = Setup::with_receiver(&receiver)
        .tenant(tenant("a"))
        .tenant(by_certificate);
    let gateway = Gateway::start(setup).await;
    let certificate = gateway.setup.certs.client_uri("spiffe://c");
    let with = |token: &str| gateway.sender_with(&certificate).bearer(token);
    assert_eq!(with("a-token").write(&small_write()).await.status, 403);
    assert_eq!(with("wrong").write(&small_write()).await.status, 401);
    let twice = gateway.sender().bearer("a-token").bearer("a-token");
    assert_eq!(
        twice.write(&small_write()).await.status,
        401,
        "two headers are no credential"
    );
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn plain_http_is_served_where_the_operator_says_so() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(Setup::with_receiver(&receiver).insecure().tenant(tenant("a"))).await;
    assert_eq!(
        gateway.sender().bearer("a-token").write(&small_write()).await.status,
        204
    );
    assert_eq!(gateway.sender().write(&small_write()).await.status, 401);
}

#[tokio::test]
async fn no_secret_reaches_the_log_the_metrics_or_the_api() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let sender = gateway.sender();
    for token in ["a-token", "guessed-token"] {
        sender.clone().bearer(token).write(&small_write()).await;
        sender.clone().basic("someone", token).write(&small_write()).await;
    }
    let mut said = gateway.log();
    for path in [
        "/metrics",
        "/api/v1/tenants",
        "/api/v1/policies",
        "/api/v1/upstreams",
        "/api/v1/status",
    ] {
        said += &gateway.admin("GET", path).await.text;
    }
    let hash = gauntlet_tests::setup::sha256(b"a-token");
    for secret in ["a-token", "guessed-token", &hash] {
        assert!(!said.contains(secret), "{secret} is in:\n{said}");
    }
}

/// The bundle is joined without a line end, as `cat` joins files that have none at their end.
#[tokio::test]
async fn a_self_signed_certificate_is_pinned_beside_an_authority() {
    let receiver = Receiver::start().await;
    let on_soft = |id: &str, name: &str| Tenant::new(id).upstreams(&["soft"]).certificate("uri_san", name);
    let setup = Setup::with_receiver(&receiver)
        .set("/remote_write/tls_server_config/client_ca_file", "bundle.pem")
        .tenant(on_soft("issued", "spiffe://issued"))
        .tenant(on_soft("pinned", "spiffe://pinned"));
    let pinned = Certs::self_signed("spiffe://pinned");
    let bundle = setup.certs.ca_pem.trim_end().to_owned() + pinned.pem.trim_end();
    std::fs::write(setup.folder().join("bundle.pem"), bundle).unwrap();
    let gateway = Gateway::start(setup).await;
    let issued = gateway.setup.certs.client_uri("spiffe://issued");
    for (tenant, certificate) in [("issued", &issued), ("pinned", &pinned)] {
        receiver.clear();
        let answer = gateway.sender_with(certificate).write(&small_write()).await;
        assert_eq!(answer.status, 204, "{tenant}: {answer:?}");
        assert_eq!(receiver.only().tenant(), tenant);
    }
    let twin = Certs::self_signed("spiffe://pinned");
    let refused = gateway
        .sender_with(&twin)
        .request(small_write().body())
        .try_send()
        .await;
    assert!(refused.is_err(), "{refused:?}");
}
