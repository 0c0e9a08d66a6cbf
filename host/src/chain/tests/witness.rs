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
