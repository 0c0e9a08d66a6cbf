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
