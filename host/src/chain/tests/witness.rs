//! What a witness sees of a chain, which is what the chain does.

use super::*;

#[tokio::test]
async fn a_witness_sees_what_each_policy_leaves_and_changes_nothing() {
    let mut second = policy(fixture("hostile"), r#"{"mode": "no-metric-name", "when": "tenant_id"}"#);
    second.name = "second".to_owned();
    let chain = chain("witness", &[hostile("reserved-label", "relabel"), second]).await;
    for series in [UP, TRIGGER] {
        let witness = Witness::default();
        let settle: Settle<Outcome> = Arc::new(|_: &[u8], outcome| outcome);
        let watched = chain.relabel_watched(batch(&[series]), settle, witness.clone()).await;
        let watched = watched.unwrap();
        assert_eq!(watched, chain.relabel(batch(&[series])).await.unwrap());
        let seen = witness.seen();
        let policies: Vec<&str> = seen.iter().map(|seen| &*seen.policy).collect();
        assert_eq!(policies, ["hostile", "second"]);
        assert_eq!(seen[1].after, After::Series(watched.outcomes[0].clone()));
        assert_eq!(seen[0].after == seen[1].after, series == UP);
    }
}

#[tokio::test]
async fn a_witness_sees_what_a_policy_in_shadow_says_and_that_it_does_not_count() {
    let named = |name: &str, mode, policy: config::Policy| config::Policy {
        name: name.to_owned(),
        mode,
        ..policy
    };
    let policies = [
        named("shadow", Mode::Shadow, hostile("no-labels", "relabel")),
        named("part", Mode::EnforcePart(50), hostile("reserved-label", "relabel")),
        named("trap", Mode::Shadow, hostile("trap", "relabel")),
    ];
    let chain = chain("witness-shadow", &policies).await;
    let settle: Settle<Outcome> = Arc::new(|_: &[u8], outcome| outcome);
    let mut counted = 0;
    for n in 0..16 {
        let n = n.to_string();
        let series = [("__name__", "up"), ("n", &*n), ("trigger", "1")];
        let witness = Witness::default();
        let watched = chain.relabel_watched(batch(&[&series]), Arc::clone(&settle), witness.clone());
        let outcome = watched.await.unwrap().outcomes.remove(0);
        let seen = witness.seen();
        let [shadow, part, trap] = &seen[..] else {
            panic!("{seen:?}")
        };
        let labels = |testimony: &Testimony| match &testimony.after {
            After::Series(Outcome::Edit { labels, .. }) => labels.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!((shadow.counts, labels(shadow)), (false, 0));
        assert_eq!(labels(part), 5, "the one before has changed nothing");
        assert!(
            matches!((trap.counts, &trap.after), (false, After::Failed(_))),
            "{trap:?}"
        );
        let edited = matches!(outcome, Outcome::Edit { .. });
        assert_eq!(part.counts, edited);
        counted += usize::from(edited);
    }
    assert!((1..16).contains(&counted), "{counted} of 16");
    let chain = super::chain(
        "witness-write",
        &[named("w", Mode::Shadow, hostile("huge-reject", "admit"))],
    )
    .await;
    let witness = Witness::default();
    let decision = chain.admit_watched(write("trigger"), witness.clone()).await.unwrap();
    assert_eq!(decision, Decision::Admit(Arc::default()));
    let seen = witness.seen();
    assert!(
        matches!(
            &seen[..],
            [Testimony {
                after: After::Rejected(_),
                counts: false,
                ..
            }]
        ),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_witness_sees_no_policy_that_nothing_was_left_to_ask_about_and_one_that_failed() {
    let trapping = hostile("trap", "relabel");
    let mut later = policy(fixture("pass"), "{}");
    later.name = "later".to_owned();
    let failing = chain("witness-fails", &[trapping, later]).await;
    let witness = Witness::default();
    let settle: Settle<Outcome> = Arc::new(|_: &[u8], outcome| outcome);
    let failed = failing
        .relabel_watched(batch(&[TRIGGER]), settle, witness.clone())
        .await;
    assert!(matches!(failed, Err(CallError::Failed { .. })), "{failed:?}");
    let seen = witness.seen();
    assert!(
        matches!(
            &seen[..],
            [Testimony {
                after: After::Failed(_),
                ..
            }]
        ),
        "{seen:?}"
    );
}
