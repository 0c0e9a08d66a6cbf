//! Policies that say what they judge.

use gauntlet_tests::guest::{judges, liar};

use super::load::{component, contract, guest};
use super::*;

/// A policy that drops every series it is asked about.
fn dropping(code: &str) -> config::Policy {
    let text = format!("{} {}", liar("(i32.const 1)", 0), judges(code));
    policy(source("dropping", &component(&text)), "{}")
}

#[tokio::test]
async fn what_a_policy_says_it_does_not_judge_it_is_not_asked_about() {
    // Bits that stand for nothing say nothing, and it has no export to be asked about writes by.
    for silent in ["(i32.const 0)", "(i32.const 2)", "(i32.const -2)"] {
        let chain = chain("silent", &[dropping(silent)]).await;
        assert!(!chain.judges_series() && !chain.judges_writes(), "{silent}");
        let judged = chain.relabel(batch(&[UP, TRIGGER])).await.unwrap();
        assert_eq!((judged.outcomes, judged.cacheable), (kept(2), true), "{silent}");
        assert_eq!(chain.status()[0].calls, 0, "{silent}");
    }
    for judging in ["(i32.const 1)", "(i32.const 3)"] {
        let chain = chain("judging", &[dropping(judging)]).await;
        assert!(chain.judges_series() && !chain.judges_writes(), "{judging}");
        let judged = chain.relabel(batch(&[UP])).await.unwrap();
        assert!(matches!(judged.outcomes[0], Outcome::Drop { .. }), "{judging}");
    }
}

#[tokio::test]
async fn those_round_a_policy_that_is_not_asked_are_asked_as_ever() {
    let named = |name: &str, policy: config::Policy| config::Policy {
        name: name.to_owned(),
        ..policy
    };
    let policies = [
        named("silent", dropping("(i32.const 0)")),
        named("in doubt", hostile("trap", "relabel")),
        named("silent too", dropping("(i32.const 0)")),
        hostile("no-labels", "relabel"),
    ];
    let chain = chain("round", &policies).await;
    let judged = chain.relabel(batch(&[UP])).await.unwrap();
    assert_eq!(judged.outcomes, kept(1));
    let calls: Vec<u64> = chain.status().iter().map(|status| status.calls).collect();
    assert_eq!(calls, [0, 3, 0, 3], "plain series, a plain write and a series each");
    let error = chain.relabel(batch(&[TRIGGER])).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Failed { policy, .. } if &**policy == "in doubt"),
        "{error}"
    );
}

#[tokio::test]
async fn a_policy_that_fails_to_say_what_it_judges_is_refused() {
    for code in ["unreachable", "(loop $for_ever (br $for_ever)) (i32.const 0)"] {
        let policies = [dropping(code)];
        let error = Chain::build(shared(), &tenant("mute"), &policies, 1).await.unwrap_err();
        assert!(
            matches!(&error.fault, BuildFault::Scope(Fault::Trap(_) | Fault::Timeout(_))),
            "{error}"
        );
        let told = "policy dropping: plugin dropping does not say what it judges: ";
        assert!(error.to_string().starts_with(told), "{error}");
        assert!(!error.may_pass());
    }
}

#[tokio::test]
async fn a_scope_is_the_contracts() {
    let other = judges("(i32.const 0)").replace(r#""series" "writes""#, r#""series" "writes" "samples""#);
    assert_eq!(
        contract(&format!("{} {other}", guest("", ""))).await,
        "exports judges with another type than gauntlet:policy@1.0.0 has: expected `..writes}`, found `..writes, samples}`"
    );
}

#[tokio::test]
async fn the_standard_plugins_judge_what_their_settings_are_about() {
    let budgets = r#"{"series_budgets": [{"per": ["__name__"], "max_active_series": 9}]}"#;
    let elsewhere = r#"{"routes": [{"upstream": "soft", "match": {"a": "b"}, "tenants": ["other"]}]}"#;
    for (plugin, settings, judges) in [
        ("limits", "{}", (false, false)),
        ("limits", r#"{"samples": {"per_second": 9}}"#, (false, true)),
        ("limits", r#"{"head_series_limit": 9}"#, (false, true)),
        ("limits", budgets, (true, false)),
        (
            "route",
            r#"{"routes": [{"upstream": "soft", "match": {"a": "b"}}]}"#,
            (true, true),
        ),
        ("route", elsewhere, (false, false)),
        ("relabel", r#"{"relabel_configs": []}"#, (false, false)),
        (
            "relabel",
            r#"{"relabel_configs": [{"regex": "a", "action": "labeldrop"}]}"#,
            (true, false),
        ),
    ] {
        let chain = chain("standard", &[policy(standard(plugin), settings)]).await;
        assert_eq!(
            (chain.judges_series(), chain.judges_writes()),
            judges,
            "{plugin} {settings}"
        );
    }
}
