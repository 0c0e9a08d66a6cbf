//! `gauntlet check`: exit codes, and messages that lead to the mistake.

use gauntlet_tests::setup::replace;
use gauntlet_tests::{Checked, Gateway, Setup, relabel};
use serde_json::json;

use crate::tenant;

/// An upstream nobody needs to be behind: checking asks no network.
fn setup() -> Setup {
    Setup::new().set("/upstreams/soft", json!({"endpoints": ["http://127.0.0.1:19291"]}))
}

fn refused(checked: &Checked, parts: &[&str]) {
    assert_eq!(checked.code, Some(1), "{checked:?}");
    for part in parts {
        assert!(checked.text.contains(part), "{part:?} is not in:\n{}", checked.text);
    }
}

#[test]
fn a_good_configuration_is_0() {
    let rules = json!([{"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"}]);
    let checked = Gateway::check(&setup().tenant(tenant("a").policy("relabel", relabel(rules))));
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn a_mistake_in_the_main_file_is_told_with_line_column_and_the_nearest_key() {
    let setup = setup();
    setup.write();
    let text = "admin:\n  listen_address: 127.0.0.1:0\nupstreams:\n  soft:\n    endpoint: [\"http://127.0.0.1:1\"]\n";
    replace(&setup.main_file(), text.as_bytes());
    let checked = Gateway::check_as_written(&setup);
    refused(&checked, &["gauntlet.yaml:5:5", "`endpoint`", "endpoints"]);
}

#[test]
fn a_mistake_in_a_tenant_file_is_told_with_line_column_and_the_nearest_key() {
    let setup = setup().tenant(tenant("a"));
    setup.write();
    replace(
        &setup.tenant_file("a"),
        b"tenant: a\ncredential: []\nupstreams: [sotf]\n",
    );
    let checked = Gateway::check_as_written(&setup);
    refused(&checked, &["a.yaml:2:1", "credentials", "a.yaml:3:13", "soft"]);
}

#[test]
fn a_rule_that_prometheus_refuses_is_refused_with_its_reason() {
    let wrong = [
        json!([{"action": "replace"}]),
        json!([{"action": "no_such_action", "target_label": "x"}]),
        json!([{"regex": "(", "target_label": "x"}]),
        json!([{"action": "hashmod", "target_label": "x"}]),
        json!([{"action": "labeldrop", "regex": "x", "source_labels": ["y"]}]),
        json!([{"sourcelabels": ["x"], "target_label": "y"}]),
    ];
    for rules in wrong {
        let checked = Gateway::check(&setup().tenant(tenant("a").policy("relabel", relabel(rules.clone()))));
        assert_eq!(checked.code, Some(1), "{rules}: {checked:?}");
        assert!(checked.text.contains("relabel"), "{rules}: {checked:?}");
    }
}

#[test]
fn a_credential_of_two_tenants_is_refused_and_both_are_named() {
    let checked = Gateway::check(&setup().tenant(tenant("a")).tenant(tenant("b").bearer("a-token")));
    refused(&checked, &["a.yaml", "b.yaml"]);
}

#[test]
fn tenant_ids_that_could_leave_their_folder_are_refused() {
    for id in ["..", ".", "a/b", "a b", ""] {
        let setup = setup().tenant(tenant("x").set("tenant", id));
        let checked = Gateway::check(&setup);
        assert_eq!(checked.code, Some(1), "{id:?}: {checked:?}");
    }
}

#[test]
fn secrets_are_not_printed_where_they_are_mistyped() {
    let setup = setup().tenant(tenant("a"));
    setup.write();
    let text = "tenant: a\ncredentials:\n  - bearer_token_sha256: hunter2\n  - {hunter3: x}\n  - basic_auth: {username: u, password_hash: hunter4}\n";
    replace(&setup.tenant_file("a"), text.as_bytes());
    let checked = Gateway::check_as_written(&setup);
    refused(&checked, &["a.yaml:3"]);
    assert!(!checked.text.contains("hunter"), "{checked:?}");
}

#[test]
fn files_that_are_missing_are_named() {
    let with_plugin = setup()
        .set("/plugins/mine", json!({"file": "no-such.wasm"}))
        .tenant(tenant("a").policy("mine", json!({})));
    refused(&Gateway::check(&with_plugin), &["no-such.wasm", "a.yaml"]);
    let with_key = setup().set("/remote_write/tls_server_config/key_file", "no-such.key");
    refused(&Gateway::check(&with_key), &["no-such.key"]);
    let with_token = setup().tenant(tenant("a").credential(json!({"bearer_token_file": "no-such-token"})));
    refused(&Gateway::check(&with_token), &["a.yaml", "bearer_token_file"]);
}

#[test]
fn a_mistake_in_settings_is_told_with_the_place_that_the_plugin_names() {
    let setup = setup().tenant(tenant("a"));
    setup.write();
    let text = "tenant: a
policies:
  - plugin: relabel
    settings:
      relabel_configs:
        - {action: drop, source_labels: [a], regex: a}
        - {action: drop, source_labels: [a], regex: '('}
";
    replace(&setup.tenant_file("a"), text.as_bytes());
    let checked = Gateway::check_as_written(&setup);
    refused(&checked, &["a.yaml:7:11: policies[0].settings: ", "relabel_configs[1]"]);
    replace(
        &setup.tenant_file("a"),
        text.replace("regex: '('", "regx: b").as_bytes(),
    );
    let checked = Gateway::check_as_written(&setup);
    refused(
        &checked,
        &["a.yaml:7:52: policies[0].settings: ", "did you mean `regex`"],
    );
}

#[test]
fn a_misspelt_upstream_of_a_route_is_told_with_tenant_policy_and_those_there_are() {
    let setup = setup().tenant(tenant("a"));
    setup.write();
    let text = "tenant: a
upstreams: [soft]
policies:
  - plugin: route
    name: by-team
    settings:
      routes:
        - {match: {team: a}, upstream: soft}
        - {match: {team: b}, upstream: sofft}
";
    replace(&setup.tenant_file("a"), text.as_bytes());
    refused(
        &Gateway::check_as_written(&setup),
        &[
            "a.yaml:9:40: policies[0].settings: policy by-team: ",
            "routes[1].upstream must be an upstream of tenant `a`, which has `soft`, not `sofft`",
        ],
    );
    replace(&setup.tenant_file("a"), text.replace("sofft", "soft").as_bytes());
    let checked = Gateway::check_as_written(&setup);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn an_upstream_of_the_operators_route_that_one_tenant_has_not_is_told_with_the_tenant() {
    let routes = json!([{"plugin": "route", "settings": {"routes": [{"match": {"x": "y"}, "upstream": "hard"}]}}]);
    let setup = setup()
        .set("/upstreams/hard", json!({"endpoints": ["http://127.0.0.1:19292"]}))
        .set("/policies/before", routes)
        .tenant(tenant("a").upstreams(&["soft", "hard"]))
        .tenant(tenant("b").upstreams(&["soft"]));
    refused(
        &Gateway::check(&setup),
        &[
            "gauntlet.yaml:",
            "an upstream of tenant `b`, which has `soft`, not `hard`",
            "1 error(s)",
        ],
    );
}

#[test]
fn a_mistake_of_the_operators_policy_is_told_once_and_where_it_is() {
    let wrong = json!([{"plugin": "relabel", "settings": {"relabel_configs": [{"action": "no_such_action"}]}}]);
    let setup = setup()
        .set("/policies/before", wrong)
        .tenant(tenant("a"))
        .tenant(tenant("b"));
    let checked = Gateway::check(&setup);
    refused(
        &checked,
        &["gauntlet.yaml:", "policies.before[0].settings", "1 error(s)"],
    );
}

#[test]
fn a_plugin_that_nobody_uses_is_told_and_must_load() {
    let setup = setup()
        .set("/plugins/idle", json!({"file": "idle.wasm"}))
        .tenant(tenant("a"));
    let standard = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/plugins/route.wasm");
    std::fs::copy(standard, setup.folder().join("idle.wasm")).unwrap();
    let checked = Gateway::check(&setup);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.text.contains("plugins.idle: no policy uses this plugin"),
        "{checked:?}"
    );
    std::fs::write(setup.folder().join("idle.wasm"), "no plugin").unwrap();
    refused(&Gateway::check_as_written(&setup), &["plugin idle "]);
}

#[test]
fn what_is_no_main_file_is_told_what_it_is() {
    let setup = setup().tenant(tenant("a"));
    setup.write();
    refused(
        &Gateway::check_file(&setup.tenant_file("a"), &[]),
        &[
            "a.yaml:",
            "this is the file of one tenant",
            "tenant_files",
            "1 error(s)",
        ],
    );
    let plugin = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies/plugins/route.wasm");
    refused(
        &Gateway::check_file(plugin.as_ref(), &[]),
        &["route.wasm: this is a WebAssembly file", "plugins"],
    );
}

#[test]
fn without_secrets_everything_else_is_checked() {
    let token = json!({"bearer_token_file": "../secrets/token"});
    let setup = setup().tenant(tenant("a").credential(token));
    setup.write();
    std::fs::remove_file(setup.folder().join("server.key")).unwrap();
    let without = || Gateway::check_file(&setup.main_file(), &["--without-secrets"]);
    refused(&Gateway::check_as_written(&setup), &["server.key"]);
    let checked = without();
    assert_eq!(checked.code, Some(0), "{checked:?}");
    replace(&setup.folder().join("ca.pem"), b"no certificate");
    refused(&without(), &["ca.pem: the file holds no certificate"]);
    setup.write();
    std::fs::remove_file(setup.folder().join("server.key")).unwrap();
    let text = "tenant: a\npolicies: [{plugin: relabel, settings: {relabel_config: []}}]\n";
    replace(&setup.tenant_file("a"), text.as_bytes());
    refused(&without(), &["a.yaml:2:", "relabel_configs"]);
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_told() {
    let setup = setup().tenant(tenant("a"));
    setup.write();
    let file = |name: &str| setup.folder().join(name);
    let locked = setup.certs.server_key_pem.replace("PRIVATE", "ENCRYPTED PRIVATE");
    replace(&file("server.key"), locked.as_bytes());
    refused(
        &Gateway::check_as_written(&setup),
        &[
            "gauntlet.yaml:",
            "line 1 of `server.key`: the key has a passphrase, which is not supported",
        ],
    );
    setup.write();
    let wrong_order = setup.certs.ca_pem.trim().to_owned() + &setup.certs.server_pem;
    replace(&file("server.pem"), wrong_order.as_bytes());
    refused(
        &Gateway::check_as_written(&setup),
        &["belongs to certificate 2", "must come first"],
    );
    setup.write();
    let expired = setup.certs.client_expired("spiffe://server");
    replace(&file("server.pem"), expired.pem.as_bytes());
    replace(&file("server.key"), expired.key_pem.as_bytes());
    refused(
        &Gateway::check_as_written(&setup),
        &["server.pem: certificate 1 has expired"],
    );
    let setup = setup.set(
        "/upstreams/soft",
        json!({"endpoints": ["https://127.0.0.1:1"], "tls_config": {"cert_file": "client.pem", "key_file": "client.key"}}),
    );
    std::fs::write(setup.folder().join("client.pem"), &expired.pem).unwrap();
    std::fs::write(setup.folder().join("client.key"), &expired.key_pem).unwrap();
    refused(
        &Gateway::check(&setup),
        &["upstreams.soft.tls_config: the client certificate has expired"],
    );
}

#[test]
fn listeners_that_cannot_both_listen_are_told() {
    let setup = setup()
        .set("/remote_write/listen_address", ":19291")
        .set("/admin/listen_address", "127.0.0.1:19291");
    refused(
        &Gateway::check(&setup),
        &["gauntlet.yaml:", "admin: remote_write listens on :19291"],
    );
}
