//! Policies that are asked and whose word does not count, or counts for a part of all series.

use super::*;

fn in_mode(mode: Mode, policy: config::Policy) -> config::Policy {
    config::Policy { mode, ..policy }
}

/// Of the first policy: kinds of differences that were counted.
fn differences(chain: &Chain) -> Vec<(&'static str, u64)> {
    let shadow = chain.status().remove(0).shadow.unwrap();
    let counted = shadow.differences.iter().filter(|(_, count)| *count > 0);
    counted.map(|(difference, count)| (difference.word(), *count)).collect()
}

#[tokio::test]
async fn what_a_policy_in_shadow_says_is_counted_and_not_done() {
    let kinds = [
        ("hostile-reason", "drop"),
        ("no-metric-name", "edit"),
        ("many-streams", "stream"),
        ("duplicate-label", "refuse"),
        ("trap", "fail"),
    ];
    for (mode, kind) in kinds {
        let policies = [in_mode(Mode::Shadow, hostile(mode, "relabel"))];
        let chain = chain(&format!("shadow-{mode}"), &policies).await;
        let judged = chain.relabel(batch(&[UP, TRIGGER])).await.unwrap();
        assert_eq!(judged.outcomes, kept(2), "{mode}");
        assert!(judged.cacheable, "{mode}");
        // A call that fails says nothing of any of its series.
        let count = if kind == "fail" { 2 } else { 1 };
        assert_eq!(differences(&chain), [(kind, count)], "{mode}");
        let shadow = chain.status().remove(0).shadow.unwrap();
        assert_eq!(shadow.asked, 2, "{mode}");
        assert_eq!(shadow.examples.len(), 1, "{mode}");
        if kind != "fail" {
            assert_eq!(shadow.examples[0].series, "up{trigger=\"1\"}", "{mode}");
        }
        let labels = crate::telemetry::metrics::DifferenceLabels {
            tenant: format!("shadow-{mode}"),
            policy: "hostile".to_owned(),
            kind,
        };
        let counted = shared()
            .metrics()
            .policy_shadow_differences
            .get_or_create(&labels)
            .get();
        assert_eq!(counted, count, "{mode}");
    }
}

#[tokio::test]
async fn a_write_that_a_policy_in_shadow_would_refuse_is_admitted() {
    let policies = [in_mode(Mode::Shadow, hostile("huge-reject", "admit"))];
    let chain = chain("shadow-reject", &policies).await;
    assert_eq!(
        chain.admit(write("trigger")).await.unwrap(),
        Decision::Admit(Arc::default())
    );
    assert_eq!(differences(&chain), [("reject", 1)]);
    let policies = [in_mode(Mode::EnforcePart(99), hostile("trap", "admit"))];
    let chain = super::chain("shadow-admit", &policies).await;
    assert_eq!(
        chain.admit(write("trigger")).await.unwrap(),
        Decision::Admit(Arc::default())
    );
    assert_eq!(differences(&chain), [("fail", 1)]);
}

#[tokio::test]
async fn a_part_of_the_series_is_the_policys_and_the_others_are_asked_about_all_the_same() {
    let drops = r#"{"relabel_configs": [{"source_labels": ["__name__"], "regex": "drop_me", "action": "drop"}]}"#;
    let marks = r#"{"relabel_configs": [{"target_label": "marked", "replacement": "1"}]}"#;
    let mut second = policy(standard("relabel"), marks);
    second.name = "second".to_owned();
    let policies = [
        in_mode(Mode::EnforcePart(10), policy(standard("relabel"), drops)),
        second,
    ];
    let chain = chain("a-tenth", &policies).await;
    let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let series: Vec<Vec<(&str, &str)>> = names
        .iter()
        .map(|n| vec![("__name__", "drop_me"), ("n", &**n)])
        .collect();
    let series: Vec<&[(&str, &str)]> = series.iter().map(Vec::as_slice).collect();
    let judged = chain.relabel(batch(&series)).await.unwrap();
    let dropped = judged
        .outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Drop { .. }));
    let dropped = dropped.count();
    assert!((60..140).contains(&dropped), "{dropped}");
    // What is left has been to the next policy.
    let marked = judged
        .outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Outcome::Edit { .. }));
    assert_eq!(marked.count(), 1000 - dropped);
    assert_eq!(differences(&chain), [("drop", 1000 - dropped as u64)]);
    // The same ones again.
    let again = chain.relabel(batch(&series)).await.unwrap();
    assert_eq!(again.outcomes, judged.outcomes);
}

#[tokio::test]
async fn a_series_that_a_policy_fails_on_is_refused_only_where_its_word_counts() {
    let failing = |mode| {
        let mut policy = in_mode(mode, hostile("trap", "relabel"));
        policy.on_failure = OnFailure::RefuseSeries;
        policy
    };
    let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let series: Vec<Vec<(&str, &str)>> = names
        .iter()
        .map(|n| vec![("__name__", "up"), ("n", &**n), ("trigger", "1")])
        .collect();
    let chain = chain("half-trap", &[failing(Mode::EnforcePart(50))]).await;
    let (mut refused, mut kept) = (0, 0);
    for one in &series {
        match &chain.relabel(batch(&[one])).await.unwrap().outcomes[0] {
            Outcome::Reject { unfit, .. } if unfit.refusal == Refusal::FailsPolicy => refused += 1,
            Outcome::Keep { .. } => kept += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 5 && kept > 5, "{refused} {kept}");
}
