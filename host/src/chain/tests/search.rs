//! Series that a policy fails on: found among many, refused alone, told; and policies that fail on too much.

use super::*;

fn refusing(mode: &str) -> config::Policy {
    config::Policy {
        on_failure: OnFailure::RefuseSeries,
        ..hostile(mode, "relabel")
    }
}

fn refused_by(policy: &str) -> Outcome {
    Outcome::Reject {
        policy: Arc::from(policy),
        unfit: Unfit::of(Refusal::FailsPolicy),
    }
}

fn refused(judged: &Relabelled<Outcome>) -> Vec<usize> {
    let fails = |outcome: &Outcome| matches!(outcome, Outcome::Reject { .. });
    (0..judged.outcomes.len())
        .filter(|at| fails(&judged.outcomes[*at]))
        .collect()
}

#[tokio::test]
async fn a_series_that_a_policy_fails_on_is_refused_alone_whatever_the_failure() {
    for mode in [
        "trap",
        "recurse",
        "grow",
        "error",
        "huge-result",
        "value-bomb",
        "loop",
        "fill",
    ] {
        let chain = chain(&format!("alone.{mode}"), &[refusing(mode)]).await;
        let mut series = vec![UP; 20];
        series[7] = TRIGGER;
        let judged = chain.relabel(batch(&series)).await.unwrap();
        let mut expected = kept(20);
        expected[7] = refused_by("hostile");
        assert_eq!((judged.outcomes, judged.cacheable), (expected, true), "{mode}");
        let status = &chain.status()[0];
        assert_eq!(status.quarantined, None, "{mode}");
        let [failed] = &status.failed_series[..] else {
            panic!("{mode}: {:?}", status.failed_series)
        };
        assert_eq!(failed.series, r#"up{trigger="1"}"#, "{mode}");
    }
}

#[tokio::test]
async fn it_is_found_among_many_in_a_few_calls_and_never_rests_the_policy() {
    let chain = chain("among-many", &[refusing("trap")]).await;
    let mut series = vec![UP; 1300];
    for at in [0, 511, 512, 1299] {
        series[at] = TRIGGER;
    }
    let before = chain.status()[0].calls;
    for _ in 0..6 {
        let judged = chain.relabel(batch(&series)).await.unwrap();
        assert_eq!(refused(&judged), [0, 511, 512, 1299]);
    }
    let status = &chain.status()[0];
    assert_eq!(status.quarantined, None);
    // Of each piece of 512, once the whole, some twenty halves for each bad one, and two instances more.
    let calls = status.calls - before;
    assert!(calls < 6 * 100, "{calls}");
    assert_eq!(status.failed_series.len(), 16, "the last ones");
}

#[tokio::test]
async fn what_other_policies_say_of_its_neighbours_is_as_if_it_had_not_been_there() {
    let relabel = policy(
        standard("relabel"),
        r#"{"relabel_configs": [{"target_label": "cluster", "replacement": "a"}]}"#,
    );
    let mut last = config::Policy {
        on_failure: OnFailure::RefuseSeries,
        ..policy(fixture("hostile"), r#"{"mode": "trap", "when": "other"}"#)
    };
    last.name = "last".to_owned();
    let chain = chain("neighbours", &[refusing("trap"), relabel, last]).await;
    let other: &[(&str, &str)] = &[("__name__", "up"), ("other", "1")];
    let judged = chain
        .relabel(batch(&[UP, TRIGGER, other, UP, other, TRIGGER, UP]))
        .await
        .unwrap();
    for (at, by) in [(1, "hostile"), (2, "last"), (4, "last"), (5, "hostile")] {
        assert_eq!(judged.outcomes[at], refused_by(by), "{at}");
    }
    for at in [0, 3, 6] {
        let Outcome::Edit { labels, .. } = &judged.outcomes[at] else {
            panic!("{judged:?}")
        };
        assert_eq!(&*labels[1].name, "cluster");
    }
    assert!(chain.status().iter().all(|policy| policy.quarantined.is_none()));
}

#[tokio::test]
async fn a_policy_that_fails_on_much_is_at_fault_itself_and_rests() {
    let chain = chain("much", &[refusing("trap")]).await;
    let mut rested = false;
    for _ in 0..5 {
        match chain.relabel(batch(&[TRIGGER; 200])).await {
            Err(CallError::Failed {
                fault: Fault::Trap(_), ..
            }) => {}
            Err(CallError::Quarantined { .. }) => rested = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(rested);
}

#[tokio::test]
async fn a_policy_that_takes_all_its_time_on_everything_holds_a_thread_only_so_long() {
    let chain = chain("all-loop", &[refusing("loop")]).await;
    let before = chain.status()[0].calls;
    let result = chain.relabel(batch(&[TRIGGER; 512])).await;
    assert!(
        matches!(
            &result,
            Err(CallError::Failed {
                fault: Fault::Timeout(_),
                ..
            })
        ),
        "{result:?}"
    );
    let status = &chain.status()[0];
    // Each of them takes the whole allowance of processor time, and 32 of those are all there are.
    assert!(status.calls - before <= 33, "{}", status.calls - before);
}

#[tokio::test]
async fn an_answer_that_is_broken_as_a_whole_is_no_series_fault() {
    for mode in ["wrong-length", "extra-verdict"] {
        let chain = chain(&format!("whole.{mode}"), &[refusing(mode)]).await;
        let before = chain.status()[0].calls;
        let result = chain.relabel(batch(&[UP, TRIGGER])).await;
        assert!(
            matches!(
                &result,
                Err(CallError::Failed {
                    fault: Fault::WrongLength { .. },
                    ..
                })
            ),
            "{result:?}"
        );
        assert_eq!(chain.status()[0].calls - before, 1, "{mode}");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_kept_whole_where_the_operator_says_retry() {
    let chain = chain("retry", &[hostile("trap", "relabel")]).await;
    let result = chain.relabel(batch(&[UP, TRIGGER])).await;
    assert!(matches!(result, Err(CallError::Failed { .. })), "{result:?}");
    assert!(chain.status()[0].failed_series.is_empty());
}

#[tokio::test]
async fn what_an_instance_fails_on_for_its_own_history_costs_no_series() {
    // Traps on its third call: pure it is not, but no series is at fault.
    let keep = "(i32.store (i32.const 68)";
    let counts = "(i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
        (if (i32.gt_u (i32.load (i32.const 8)) (i32.const 2)) (then unreachable))";
    let text = load::guest("", "").replace(keep, &format!("{counts} {keep}"));
    let forgetful = config::Policy {
        on_failure: OnFailure::RefuseSeries,
        ..policy(source("forgetful", &load::component(&text)), "{}")
    };
    let chain = chain("forgetful", &[forgetful]).await;
    for round in 0..10 {
        let judged = chain.relabel(batch(&[UP])).await.unwrap();
        assert_eq!(judged.outcomes, kept(1), "{round}");
    }
    let status = &chain.status()[0];
    assert!(status.failures >= 3 && status.failed_series.is_empty(), "{status:?}");
    assert_eq!(status.quarantined, None);
}
