//! Policies that say something else when they are asked again: found before they serve, and while they do.

use gauntlet_tests::guest::{self, BY_CALL, BY_PLACE, BY_THE_ONE_BEFORE};

use super::load::component;
use super::*;

/// A policy that drops series by what they do not say, once it has seen so many.
fn liar(when: &str, after: usize) -> config::Policy {
    policy(source("liar", &component(&guest::liar(when, after))), "{}")
}

fn all_kinds() -> [(&'static str, &'static str); 3] {
    [("call", BY_CALL), ("place", BY_PLACE), ("before", BY_THE_ONE_BEFORE)]
}

/// Series of names of all lengths that nobody sent before.
fn fresh(count: usize, round: usize) -> Vec<Vec<(String, String)>> {
    let one = |n: usize| {
        vec![
            ("__name__".to_owned(), "m".repeat(1 + n % 7)),
            ("n".to_owned(), n.to_string()),
            ("round".to_owned(), round.to_string()),
        ]
    };
    (0..count).map(one).collect()
}

fn batch_of(series: &[Vec<(String, String)>]) -> Batch {
    let series: Vec<Vec<(&str, &str)>> = series
        .iter()
        .map(|labels| labels.iter().map(|(name, value)| (&**name, &**value)).collect())
        .collect();
    batch(&series.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// A policy's series are asked about again when the write is answered.
pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_policy_that_depends_on_more_than_the_series_is_refused_before_it_serves() {
    for (kind, when) in all_kinds() {
        let error = Chain::build(shared(), &tenant("t"), &[liar(when, 0)], 1)
            .await
            .unwrap_err();
        let BuildFault::Impure(found) = &error.fault else {
            panic!("{kind}: {error}")
        };
        let mut said = found.said.clone();
        said.sort();
        assert_eq!(said, ["drop (lie)", "keep"], "{kind}");
        let text = error.to_string();
        assert!(
            text.starts_with("policy liar: plugin liar is not pure: of one series of ") && text.contains(&found.metric),
            "{kind}: {text}"
        );
        assert!(!error.may_pass());
    }
    Chain::build(shared(), &tenant("t"), &[liar("(i32.const 0)", 0)], 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_tenant_sent_lately_is_tried_as_well() {
    let samples = Samples::new(&PolicyWatch::new(shared().memory()).unwrap());
    let samples = Arc::new(samples);
    let build = async |samples: &Arc<Samples>| {
        // More than the plain series of one trial, and fewer than with the tenant's own.
        let policies = [liar(BY_PLACE, 40)];
        Chain::build_with(shared(), &tenant("t"), &policies, 1, samples).await
    };
    build(&samples).await.unwrap();
    for n in 0..200 {
        let sent = batch(&[&[("__name__", &*format!("own_{n}"))]]);
        samples.note(sent.series(0));
    }
    let error = build(&samples).await.unwrap_err();
    assert!(matches!(error.fault, BuildFault::Impure(_)), "{error}");
}

#[tokio::test]
async fn a_policy_that_begins_to_depend_on_more_is_found_while_it_serves() {
    for (kind, when) in all_kinds() {
        let chain = chain(kind, &[liar(when, 300)]).await;
        let mut written = 0;
        while chain.condemned().is_none() {
            // A small tenant's minute: 60 writes of 50 new series.
            assert!(written < 60, "{kind} was not found");
            match chain.relabel(batch_of(&fresh(50, written))).await {
                Ok(_) | Err(CallError::Impure { .. }) => {}
                Err(other) => panic!("{kind}: {other}"),
            }
            written += 1;
        }
        let condemned = chain.condemned().unwrap();
        assert!(&*condemned.policy == "liar" && condemned.is_impure, "{kind}");
        let status = &chain.status()[0];
        let found = status.impurity.as_ref().unwrap();
        assert!(found.series.contains("round="), "{kind}: {found:?}");
        assert!(found.answers.contains(&"keep".to_owned()), "{kind}: {found:?}");
        let error = chain.relabel(batch(&[UP])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "policy liar gave two answers about one series and is not asked any more"
        );
        let labels = crate::telemetry::metrics::PolicyLabels {
            tenant: kind.to_owned(),
            policy: "liar".to_owned(),
        };
        let metrics = shared().metrics();
        // One call may show it of several series.
        assert!(metrics.policy_impure.get_or_create(&labels).get() >= 1, "{kind}");
    }
}

#[tokio::test]
async fn a_pure_policy_is_asked_again_about_a_small_part_and_never_suspected() {
    let rules = r#"{"relabel_configs": [
        {"source_labels": ["n"], "regex": ".*3", "action": "drop"},
        {"source_labels": ["n"], "target_label": "copy"}]}"#;
    let chain = chain(
        "asked-again",
        &[policy(standard("relabel"), rules), policy(fixture("pass"), "{}")],
    )
    .await;
    for round in 0..10 {
        chain.relabel(batch_of(&fresh(1000, round))).await.unwrap();
    }
    let asked = |policy: &str| {
        let labels = crate::telemetry::metrics::PolicyLabels {
            tenant: "asked-again".to_owned(),
            policy: policy.to_owned(),
        };
        shared().metrics().policy_asked_again.get_or_create(&labels).get()
    };
    // 10,000 series, of which the second is asked about nine in ten: one in 64, and the first ones.
    for (policy, most) in [("relabel", 2 * 10_000 / 64 + 64), ("pass", 2 * 9_000 / 64 + 64)] {
        eventually("the last write to be asked about again", || asked(policy) >= 32).await;
        assert!(asked(policy) <= most, "{policy}: {}", asked(policy));
    }
    assert_eq!(chain.condemned(), None);
}

#[tokio::test]
async fn an_impure_policy_in_shadow_is_told_and_harms_nobody() {
    let mut liar = liar(BY_CALL, 100);
    liar.mode = Mode::Shadow;
    let chain = chain("shadow-liar", &[liar]).await;
    for round in 0..60 {
        let judged = chain.relabel(batch_of(&fresh(50, round))).await.unwrap();
        assert_eq!(judged.outcomes, kept(50));
    }
    eventually("the liar to be found", || chain.status()[0].impurity.is_some()).await;
    assert_eq!(chain.condemned(), None);
}
