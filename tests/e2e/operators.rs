//! Who may use the admin listener: not the pages that an operator's browser shows, and with a token only who has it.

use gauntlet_tests::sender::base64;
use gauntlet_tests::setup::sha256;
use gauntlet_tests::{Gateway, Receiver, Sender, Setup};
use serde_json::json;

use crate::{one_tenant, tenant};

type Headers = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn a_page_of_the_web_can_neither_reload_nor_read() {
    let receiver = Receiver::start().await;
    let gateway = one_tenant(&receiver).await;
    let before = gateway.api("/api/v1/status").await["last_reload"]["cause"].clone();
    let own = format!("http://{}", gateway.admin);
    let refused: [(&str, &str, Headers); 7] = [
        ("POST", "/-/reload", &[("Origin", "http://evil.example")]),
        ("PUT", "/-/reload", &[("Origin", "null")]),
        (
            "POST",
            "/-/reload",
            &[("Host", "evil.example:10902"), ("Origin", "http://evil.example:10902")],
        ),
        ("GET", "/api/v1/tenants", &[("Host", "evil.example")]),
        ("GET", "/no/such/path", &[("Host", "evil.example")]),
        ("GET", "/", &[("Host", "evil.example")]),
        ("GET", "/console/app.js", &[("Origin", "http://evil.example")]),
    ];
    for (method, path, headers) in refused {
        let answer = gateway.admin_with(method, path, headers).await;
        assert_eq!(answer.status, 403, "{method} {path} {headers:?}: {answer:?}");
    }
    assert_eq!(gateway.api("/api/v1/status").await["last_reload"]["cause"], before);
    gateway.expect_log(&["admin listener was refused", "Origin"]).await;
    // A scraper and a kubelet know the gateway by whatever name the cluster gives it.
    for path in ["/metrics", "/-/healthy", "/-/ready"] {
        let named = [("Host", "gauntlet-admin.gauntlet.svc:10902")];
        assert_eq!(gateway.admin_with("GET", path, &named).await.status, 200, "{path}");
    }
    let answer = gateway.admin_with("POST", "/-/reload", &[("Origin", &own)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_name_of_the_admin_listener_is_known_from_the_reload_that_lists_it_on() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    let named = [("Host", "gauntlet.example.com")];
    assert_eq!(gateway.admin_with("GET", "/api/v1/status", &named).await.status, 403);
    let listed = gateway
        .reload(|setup| setup.put("/admin/allowed_hosts", vec!["Gauntlet.example.com"]))
        .await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let status = gateway.admin_with("GET", "/api/v1/status", &named).await;
    assert_eq!(status.status, 200, "{status:?}");
    assert!(!status.text.contains("restart"), "{status:?}");
}

#[tokio::test]
async fn a_token_is_asked_for_from_the_reload_that_names_it_on() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver)
        .set("/admin/bearer_token_sha256", sha256(b"first-secret"))
        .tenant(tenant("a"));
    let mut gateway = Gateway::start(setup).await;
    let status = async |gateway: &Gateway, path: &str, token: Option<&str>| {
        let value = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = value.iter().map(|value| ("Authorization", value.as_str())).collect();
        gateway.admin_with("GET", path, &headers).await.status
    };
    for path in [
        "/",
        "/console/app.js",
        "/metrics",
        "/api/v1/tenants",
        "/api/v1/status",
        "/no/such/path",
    ] {
        for token in [None, Some("wrong-secret"), Some("a-token"), Some("")] {
            assert_eq!(status(&gateway, path, token).await, 401, "{path} {token:?}");
        }
    }
    assert_eq!(gateway.admin("POST", "/-/reload").await.status, 401);
    assert_eq!(status(&gateway, "/metrics", Some("first-secret")).await, 200);
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(status(&gateway, path, None).await, 200, "{path}");
    }

    gateway.setup.put(
        "/admin",
        serde_json::json!({
            "listen_address": "127.0.0.1:0",
            "bearer_token_file": "admin-token",
        }),
    );
    std::fs::write(gateway.setup.folder().join("admin-token"), "second-secret\n").unwrap();
    gateway.setup.write();
    let bearer = [("Authorization", "Bearer first-secret")];
    let reloaded = gateway.admin_with("POST", "/-/reload", &bearer).await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    assert_eq!(status(&gateway, "/api/v1/status", Some("first-secret")).await, 401);
    assert_eq!(status(&gateway, "/api/v1/status", Some("second-secret")).await, 200);

    // A token that cannot be read takes nothing away.
    std::fs::write(gateway.setup.folder().join("admin-token"), "").unwrap();
    let bearer = [("Authorization", "Bearer second-secret")];
    assert_eq!(gateway.admin_with("POST", "/-/reload", &bearer).await.status, 500);
    assert_eq!(status(&gateway, "/metrics", None).await, 401);
    assert_eq!(status(&gateway, "/metrics", Some("second-secret")).await, 200);
    assert!(!gateway.log().contains("-secret"), "a token is in the log");
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{username}:{password}").as_bytes()))
}

#[tokio::test]
async fn a_password_is_asked_for_so_that_a_browser_asks_its_user() {
    let receiver = Receiver::start().await;
    let by_hash = json!({"username": "operator", "password_sha256": sha256(b"first:secret")});
    let setup = Setup::with_receiver(&receiver)
        .set("/admin/basic_auth", by_hash)
        .tenant(tenant("a"));
    let mut gateway = Gateway::start(setup).await;
    let ask = async |gateway: &Gateway, authorization: &str| {
        let headers = [("Authorization", authorization)];
        gateway.admin_with("GET", "/api/v1/status", &headers).await
    };
    let asked = gateway.admin("GET", "/api/v1/status").await;
    assert_eq!(asked.status, 401, "{asked:?}");
    assert_eq!(asked.header("www-authenticate"), Some("Basic realm=\"gauntlet\""));
    assert_eq!(ask(&gateway, &basic("operator", "first:secret")).await.status, 200);
    for wrong in [
        basic("operator", "wrong"),
        basic("Operator", "first:secret"),
        basic("operator", ""),
        basic("", "first:secret"),
        "Basic b3BlcmF0b3I=".to_owned(),
        "Basic !".to_owned(),
        "Bearer first:secret".to_owned(),
        "Digest first:secret".to_owned(),
    ] {
        assert_eq!(ask(&gateway, &wrong).await.status, 401, "{wrong}");
    }
    for path in ["/-/healthy", "/-/ready"] {
        assert_eq!(gateway.admin("GET", path).await.status, 200, "{path}");
    }

    // Beside a token, either will do; and the password of a file.
    let by_file = json!({"username": "operator", "password_file": "admin-password"});
    std::fs::write(gateway.setup.folder().join("admin-password"), "second-secret\n").unwrap();
    gateway.setup.put("/admin/basic_auth", by_file);
    gateway
        .setup
        .put("/admin/bearer_token_sha256", sha256(b"a-secret-token"));
    gateway.setup.write();
    let first = [("Authorization", basic("operator", "first:secret"))];
    let first: Vec<(&str, &str)> = first.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reloaded = gateway.admin_with("POST", "/-/reload", &first).await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    assert_eq!(ask(&gateway, first[0].1).await.status, 401);
    assert_eq!(ask(&gateway, &basic("operator", "second-secret")).await.status, 200);
    assert_eq!(ask(&gateway, "Bearer a-secret-token").await.status, 200);
    let asked = gateway.admin("GET", "/metrics").await;
    let schemes: Vec<_> = asked.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(schemes, ["Bearer", "Basic realm=\"gauntlet\""]);
    assert!(!gateway.log().contains("secret"), "a secret is in the log");
}

#[tokio::test]
async fn a_password_that_is_not_wholly_written_is_a_mistake() {
    let receiver = Receiver::start().await;
    for (written, told) in [
        (
            json!({"username": "operator"}),
            "exactly one of `password_sha256` and `password_file`",
        ),
        (json!({"password_sha256": sha256(b"secret")}), "`username` is missing"),
        (
            json!({"username": "operator", "password_sha256": "planted"}),
            "expected 64 hexadecimal digits",
        ),
        (
            json!({"username": "operator", "password_sha256": sha256(b"")}),
            "SHA-256 of an empty",
        ),
    ] {
        let setup = Setup::with_receiver(&receiver).set("/admin/basic_auth", written);
        let checked = Gateway::check(&setup);
        assert_eq!(checked.code, Some(1), "{}", checked.text);
        assert!(
            checked.text.contains(told) && checked.text.contains("admin.basic_auth"),
            "{}",
            checked.text
        );
        assert!(!checked.text.contains("planted"), "{}", checked.text);
    }
}

#[tokio::test]
async fn operators_may_be_answered_over_tls_whose_certificate_changes_with_a_reload() {
    let receiver = Receiver::start().await;
    let mut gateway = one_tenant(&receiver).await;
    let tls = json!({"cert_file": "server.pem", "key_file": "server.key"});
    let reloaded = gateway.reload(|setup| setup.put("/admin/tls_server_config", tls)).await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    let operator = Sender::new(gateway.admin, Some(gateway.setup.certs.client_config(None)));
    let ask = async |method: &str, path: &str| {
        let request = operator.request("").method(method).path(path);
        request.without("Content-Encoding").without("Content-Type").send().await
    };
    let status = ask("GET", "/api/v1/status").await;
    assert_eq!(status.status, 200, "{status:?}");
    let before = operator.peer_certificate().await;
    gateway.setup.certs.renew_server();
    gateway.setup.write();
    let reloaded = ask("POST", "/-/reload").await;
    assert_eq!(reloaded.status, 200, "{reloaded:?}");
    assert_ne!(operator.peer_certificate().await, before);
    // Who speaks no TLS is told nothing.
    assert!(gateway.try_admin("GET", "/-/healthy").await.is_err());
    // A certificate that cannot be used takes nothing away.
    std::fs::write(gateway.setup.folder().join("server.key"), "nonsense").unwrap();
    assert_eq!(ask("POST", "/-/reload").await.status, 500);
    assert_eq!(ask("GET", "/-/healthy").await.status, 200);
}
