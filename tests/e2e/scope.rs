//! Policies that say what they judge under their settings: they are not asked about the rest.

use std::path::PathBuf;

use gauntlet_tests::guest::{judges, liar};
use gauntlet_tests::{Gateway, Receiver, Setup, write};
use serde_json::json;

use crate::tools::{gauntlet, text};
use crate::{many, tenant};

/// A component that drops every series it is asked about, in the folder of `setup`.
fn dropping(setup: &Setup, scope: &str) -> PathBuf {
    let file = setup.folder().join("dropping.wasm");
    let component = format!("(component {} {})", liar("(i32.const 1)", 0), judges(scope));
    std::fs::write(&file, wat::parse_str(component).unwrap()).unwrap();
    file
}

#[tokio::test]
async fn limits_without_budgets_is_asked_about_writes_alone() {
    let receiver = Receiver::start().await;
    let rate = json!({"samples": {"per_second": 1000, "burst": 10000}});
    let setup = Setup::with_receiver(&receiver).tenant(tenant("a").policy("limits", rate));
    let mut gateway = Gateway::start(setup).await;
    let sender = gateway.sender().bearer("a-token");
    for n in 1..4 {
        assert_eq!(sender.write(&write(many("up", n))).await.status, 204);
    }
    let calls = async |gateway: &Gateway| {
        let metrics = gateway.metrics().await;
        let of = |function| {
            metrics.sum(
                "gauntlet_policy_calls_total",
                &[("policy", "limits"), ("function", function)],
            )
        };
        (of("relabel"), of("admit"))
    };
    let (about_series, about_writes) = calls(&gateway).await;
    assert_eq!(about_series, 0.0);
    assert!(about_writes > 1.0, "{about_writes}");
    let policies = gateway.api("/api/v1/policies").await;
    assert_eq!(
        (&policies[0]["judges_series"], &policies[0]["judges_writes"]),
        (&json!(false), &json!(true))
    );

    let budgets = json!({"series_budgets": [{"per": ["__name__"], "max_active_series": 100}]});
    gateway.reload_tenant(tenant("a").policy("limits", budgets)).await;
    assert_eq!(sender.write(&write(many("up", 9))).await.status, 204);
    let (about_series, after) = calls(&gateway).await;
    assert!(about_series > 1.0, "{about_series}");
    assert_eq!(after, about_writes);
}

#[tokio::test]
async fn a_policy_that_cannot_say_what_it_judges_is_refused_by_check() {
    let receiver = Receiver::start().await;
    let setup = Setup::with_receiver(&receiver);
    let file = dropping(&setup, "unreachable");
    let setup = setup
        .set("/plugins/mute", json!({"file": file}))
        .tenant(tenant("a").policy("mute", json!({})));
    let checked = Gateway::check(&setup);
    assert!(
        checked
            .text
            .contains("plugin mute does not say what it judges: trapped"),
        "{}",
        checked.text
    );
}

#[test]
fn authors_are_told_what_a_plugin_judges_and_where_it_says_less_than_it_does() {
    let settings = ["--settings", "{samples: {per_second: 5}}"];
    let of =
        |command: &'static str, plugin: &str, more: &[&str]| gauntlet(&[&["plugin", command, plugin], more].concat());
    of("inspect", "limits", &settings).with(0, &["judges       writes under these settings"]);
    of("inspect", "limits", &[]).with(0, &["judges       nothing under these settings"]);
    let told = of("bench", "limits", &["--format", "json"]).with(0, &[]).json();
    assert!(told["series_ns"].is_null() && told["decision_ns"].is_null(), "{told}");

    let setup = Setup::new();
    let silent = text(&dropping(&setup, "(i32.const 0)"));
    of("run", &silent, &["up"]).with(0, &["up\n  keep"]);
    let cases = setup.folder().join("cases.yaml");
    std::fs::write(
        &cases,
        "policy: {plugin: dropping.wasm}\ncases:\n  - {series: up, expect: keep}\n",
    )
    .unwrap();
    gauntlet(&["plugin", "test", &text(&cases)]).with(
        1,
        &[
            "judges as declared: of up the plugin says `drop: lie`, and nobody asks it",
            "What a policy says it does not judge it is not asked about.",
            "1 cases, 0 failed; 1 checks (judges as declared), 1 failed",
        ],
    );
}
