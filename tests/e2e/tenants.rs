//! `gauntlet tenant`: one that is made gets through, and one that does not is told at which step it ended.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gauntlet_tests::{Certs, Gateway, Receiver, Setup, refused_address, relabel};
use serde_json::json;

use crate::tenant;
use crate::tools::{Ended, gauntlet, gauntlet_meanwhile, text};

/// Where `tenant new` writes: the setup keeps its own tenants elsewhere.
struct Made {
    setup: Setup,
    folder: PathBuf,
}

impl Made {
    fn new(receiver: &Receiver) -> Self {
        let setup = Setup::with_receiver(receiver)
            .set("/remote_write/tls_server_config/client_ca_file", "client-ca.crt")
            .set("/tenant_files", json!(["made/*.yaml"]));
        setup.write();
        let folder = setup.folder().to_owned();
        fs::create_dir(folder.join("made")).unwrap();
        Self { setup, folder }
    }

    fn at(&self, name: &str) -> String {
        text(&self.folder.join(name))
    }

    /// With the paths of this folder.
    fn make(&self, name: &str, more: &[&str]) -> Ended {
        let (dir, out, main) = (self.at("made"), self.at(name), text(&self.setup.main_file()));
        let (ca, key) = (self.at("client-ca.crt"), self.at("client-ca.key"));
        let fixed = [
            "tenant", "new", name, "--dir", &dir, "--out", &out, "--ca", &ca, "--ca-key", &key, "--config", &main,
        ];
        gauntlet(&[&fixed, more].concat())
    }
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn attempt(name: &str, url: &str, more: &[&str]) -> Ended {
    let all = [&["tenant", "try", name, "--url", url], more].concat();
    gauntlet_meanwhile(all.into_iter().map(str::to_owned).collect()).await
}

#[tokio::test]
async fn a_tenant_that_is_made_gets_through_whatever_it_proves_itself_by() {
    let receiver = Receiver::start().await;
    let made = Made::new(&receiver);
    made.make("by-certificate", &["--certificate"]).with(
        0,
        &[
            "A new authority was made",
            "client_ca_file",
            "remote_write:\n  - url: \"https://gauntlet.example.com:19291/api/v1/receive\"\n    tls_config: {cert_file: client.crt",
            "gauntlet tenant try by-certificate --url",
        ],
    );
    let again = made.make("by-certificate-2", &["--certificate", "--days", "3"]);
    assert!(
        !again.with(0, &[]).out.contains("A new authority"),
        "the authority that is there signs"
    );
    made.make("by-token", &["--token"])
        .with(0, &["credentials_file: token"]);
    made.make("by-password", &["--password", "--upstream", "soft"])
        .with(0, &["basic_auth: {username: \"by-password\", password_file: password}"]);
    for secret in [
        "client-ca.key",
        "by-certificate/client.key",
        "by-token/token",
        "by-password/password",
    ] {
        assert_eq!(mode(&made.at(secret)), 0o600, "{secret}");
    }
    assert_eq!(mode(&made.at("by-token")), 0o700);
    let token = fs::read_to_string(made.at("by-token/token")).unwrap();
    let file = fs::read_to_string(made.at("made/by-token.yaml")).unwrap();
    assert!(!file.contains(&token), "{file}");
    let checked = Gateway::check_as_written(&made.setup);
    assert_eq!(checked.code, Some(0), "{}", checked.text);

    let at = |name: &str| made.at(name);
    let (ca, cert, key) = (
        at("ca.pem"),
        at("by-certificate/client.crt"),
        at("by-certificate/client.key"),
    );
    let (cert_2, key_2) = (at("by-certificate-2/client.crt"), at("by-certificate-2/client.key"));
    let (token, password) = (at("by-token/token"), at("by-password/password"));
    let gateway = Gateway::start(made.setup).await;
    let url = format!("https://localhost:{}", gateway.remote_write.port());
    for (name, proof) in [
        ("by-certificate", &["--cert", &cert, "--key", &key][..]),
        ("by-certificate-2", &["--cert", &cert_2, "--key", &key_2]),
        ("by-token", &["--token-file", &token]),
        (
            "by-password",
            &["--username", "by-password", "--password-file", &password],
        ),
    ] {
        receiver.clear();
        attempt(name, &url, &[&["--ca-file", &ca], proof].concat()).await.with(
            0,
            &[
                "ok      name resolution\n  ok      connection\n  ok      TLS handshake\n  ok      path\n  ok      credential\n",
                "ok      receiver",
                "gauntlet explain --tenant",
            ],
        );
        let received = receiver.only();
        assert_eq!(received.tenant(), name);
        let sent = format!("{:?}", received.write);
        assert!(sent.contains("gauntlet_try") && sent.contains("gauntlet-try"), "{sent}");
    }
    // And it is seen who used what.
    let admin = format!("http://{}", gateway.admin);
    let listed = ["tenant", "list", "--live", &admin].map(str::to_owned).to_vec();
    gauntlet_meanwhile(listed).await.with(
        0,
        &[
            "by-token ",
            "client certificate spiffe://by-certificate/prometheus (used ",
        ],
    );
}

#[tokio::test]
async fn nothing_is_written_over_and_nothing_is_left_of_what_cannot_be_made() {
    let receiver = Receiver::start().await;
    let made = Made::new(&receiver);
    made.make("a", &["--certificate"]).with(0, &[]);
    let before = fs::read_to_string(made.at("made/a.yaml")).unwrap();
    // The same name, into another folder.
    let (dir, out) = (made.at("made"), made.at("elsewhere"));
    gauntlet(&["tenant", "new", "a", "--dir", &dir, "--out", &out]).with(2, &["a.yaml is there already"]);
    assert!(!Path::new(&out).exists(), "no secret of a tenant that is not");
    assert_eq!(fs::read_to_string(made.at("made/a.yaml")).unwrap(), before);
    gauntlet(&["tenant", "new", "b", "--dir", &made.at("nowhere")]).with(2, &["is no folder", "--dir"]);
    // What the configuration would not read, or has another mistake.
    made.make("c", &["--upstream", "sooft"])
        .with(2, &["c.yaml:", "sooft", "nothing was written"]);
    assert!(!Path::new(&made.at("made/c.yaml")).exists() && !Path::new(&made.at("c")).exists());
    fs::create_dir(made.at("not-read")).unwrap();
    let (dir, main) = (made.at("not-read"), text(&made.setup.main_file()));
    let out = made.at("d");
    gauntlet(&["tenant", "new", "d", "--dir", &dir, "--out", &out, "--config", &main])
        .with(2, &["does not match", "nothing was written"]);
    // Half an authority signs nothing.
    fs::remove_file(made.at("client-ca.key")).unwrap();
    made.make("e", &["--certificate"])
        .with(2, &["client-ca.key, which has to sign"]);
    gauntlet(&["tenant", "new", "a/b"]).with(2, &["a/b"]);
    gauntlet(&["tenant", "new", "a", "--token", "--password"]).with(2, &["cannot be used with"]);
}

/// One tenant for each way to fail after the handshake.
fn faulty(receiver: &Receiver) -> Setup {
    Setup::with_receiver(receiver)
        .tenant(tenant("good"))
        .tenant(tenant("off").set("disabled", true))
        .tenant(tenant("policy").policy("relabel", relabel(json!([{"action": "labeldrop", "regex": ".*"}]))))
        .tenant(tenant("limit").limit("max_labels_per_series", 1))
        .tenant(tenant("rate").policy("limits", json!({"requests": {"per_second": 0.000001, "burst": 1}})))
}

#[tokio::test]
async fn each_step_at_which_a_try_can_end_is_told_with_what_to_do() {
    let receiver = Receiver::start().await;
    let gateway = Gateway::start(faulty(&receiver)).await;
    let folder = gateway.setup.folder().to_owned();
    let ca = text(&folder.join("ca.pem"));
    let url = format!("https://localhost:{}", gateway.remote_write.port());
    let token = |name: &str| {
        let file = folder.join(format!("{name}.token"));
        fs::write(&file, format!("{name}-token\n")).unwrap();
        text(&file)
    };
    let by_token = async |name: &str, of: &str| {
        let token = token(of);
        attempt(name, &url, &["--ca-file", &ca, "--token-file", &token]).await
    };

    let long = format!("https://{}.invalid:19291", "x".repeat(64));
    attempt("good", &long, &["--ca-file", &ca])
        .await
        .with(1, &["ENDED   name resolution", "check the name in --url"]);
    let nobody = format!("https://{}", refused_address().await);
    attempt("good", &nobody, &["--ca-file", &ca]).await.with(
        1,
        &[
            "ok      name resolution\n  ENDED   connection: nothing listens",
            "check the port",
        ],
    );
    let other = folder.join("other-ca.pem");
    fs::write(&other, Certs::new().ca_pem).unwrap();
    attempt("good", &url, &["--ca-file", &text(&other)]).await.with(
        1,
        &[
            "ENDED   TLS handshake",
            "it is the gateway's certificate that was not trusted",
            "--ca-file",
        ],
    );
    let plain = url.replace("https", "http");
    attempt("good", &plain, &[]).await.with(1, &["use https:// in --url"]);

    by_token("good", "nobody").await.with(
        1,
        &[
            "ok      path\n  ENDED   credential: the answer was 401: the credential is not valid",
            "no tenant has this credential",
        ],
    );
    attempt("good", &url, &["--ca-file", &ca])
        .await
        .with(1, &["ENDED   credential", "the gateway saw no credential"]);
    by_token("good", "off")
        .await
        .with(1, &["ENDED   credential", "disabled: true"]);
    by_token("off", "good")
        .await
        .with(1, &["ENDED   credential", "another tenant's"]);
    let nowhere = format!("{url}/api/v1/nowhere");
    attempt("good", &nowhere, &["--ca-file", &ca])
        .await
        .with(1, &["ok      TLS handshake\n  ENDED   path: the answer was 404"]);
    by_token("policy", "policy").await.with(
        1,
        &[
            "ok      credential\n  ENDED   policy: the answer was 400",
            "no labels are left",
            "gauntlet explain",
        ],
    );
    by_token("limit", "limit").await.with(
        1,
        &[
            "ok      policy\n  ENDED   limit: the answer was 400",
            "max_labels_per_series",
            "in `limits` of its file",
        ],
    );
    by_token("rate", "rate").await.with(0, &["ok      receiver"]);
    by_token("rate", "rate").await.with(
        1,
        &[
            "ENDED   limit: the answer was 503: the tenant is over the rate of",
            "per_second",
        ],
    );
    receiver.stop().await;
    by_token("good", "good").await.with(
        1,
        &[
            "ok      limit\n  ENDED   receiver: the answer was 503: the receiver cannot be reached",
            "gauntlet status",
        ],
    );
    // A secret is in none of this, and what cannot be read is no step.
    let missing = by_token("good", "good").await;
    assert!(!missing.out.contains("good-token") && !missing.err.contains("good-token"));
    attempt("good", &url, &["--token-file", "/no/such"])
        .await
        .with(2, &["/no/such"]);
    attempt("good", "gauntlet:19291", &[])
        .await
        .with(2, &["such as https://"]);
}

#[tokio::test]
async fn a_certificate_that_the_gateway_does_not_trust_is_told_apart_from_the_gateways_own() {
    let receiver = Receiver::start().await;
    let setup = faulty(&receiver).set(
        "/remote_write/tls_server_config/client_auth_type",
        "RequireAndVerifyClientCert",
    );
    let gateway = Gateway::start(setup).await;
    let folder = gateway.setup.folder().to_owned();
    let url = format!("https://localhost:{}", gateway.remote_write.port());
    let ca = text(&folder.join("ca.pem"));
    let write = |name: &str, text_of: &str| {
        fs::write(folder.join(name), text_of).unwrap();
        text(&folder.join(name))
    };
    let stranger = Certs::new().client_uri("spiffe://good/prometheus");
    let expired = gateway.setup.certs.client_expired("spiffe://good/prometheus");
    for (name, pair) in [("stranger", &stranger), ("expired", &expired)] {
        let (cert, key) = (
            write(&format!("{name}.crt"), &pair.pem),
            write(&format!("{name}.key"), &pair.key_pem),
        );
        let ended = attempt("good", &url, &["--ca-file", &ca, "--cert", &cert, "--key", &key]).await;
        let told = [
            "ENDED   TLS handshake",
            "it is the sender's certificate that the gateway did not trust",
        ];
        let ended = ended.with(1, &told);
        assert_eq!(
            ended.out.contains("has expired: have it renewed"),
            name == "expired",
            "{}",
            ended.out
        );
    }
    attempt("good", &url, &["--ca-file", &ca])
        .await
        .with(1, &["ENDED   TLS handshake", "or there was none and it asks for one"]);
}

#[test]
fn the_tenants_of_a_configuration_are_listed_and_a_broken_one_is_told() {
    let setup = crate::tools::unreached()
        .tenant(
            tenant("a")
                .policy("limits", json!({}))
                .certificate("uri_san", "spiffe://a"),
        )
        .tenant(tenant("b").set("disabled", true).basic("bob", "secret"));
    setup.write();
    let main = text(&setup.main_file());
    let listed = gauntlet(&["tenant", "list", "--config", &main]).with(
        0,
        &[
            "TENANT",
            "bearer token, client certificate spiffe://a",
            "disabled",
            "basic auth bob",
        ],
    );
    assert!(!listed.out.contains("secret"), "{}", listed.out);
    let setup = setup.tenant(tenant("c").set("polices", json!([])));
    setup.write();
    let told = gauntlet(&["tenant", "list", "--config", &main, "--format", "json"])
        .with(1, &[])
        .json();
    assert_eq!((&told[2]["tenant"], &told[2]["state"]), (&json!("c"), &json!("broken")));
    assert!(told[2]["error"].as_str().unwrap().contains("policies"), "{told}");
    assert_eq!(told[0]["upstreams"], json!(["soft"]));
    gauntlet(&["tenant", "list"]).with(2, &["--config"]);
}
