//! Every way a plugin can misbehave at run time: what it costs itself, and that it costs nobody else anything.

use std::time::Instant;

use super::*;

/// Sends the trigger to a plugin of this mode and gives what came of it.
async fn relabelled(mode: &str) -> Result<Relabelled<Outcome>, CallError> {
    let chain = chain(mode, &[hostile(mode, "relabel")]).await;
    let result = chain.relabel(batch(&[UP, TRIGGER])).await;
    // Whatever it was, the next good call succeeds.
    let good = chain
        .relabel(batch(&[UP]))
        .await
        .unwrap_or_else(|e| panic!("{mode}: {e}"));
    assert_eq!(good.outcomes, kept(1), "{mode}");
    result
}

async fn admitted(mode: &str) -> Result<Decision, CallError> {
    let chain = chain(&format!("{mode}.admit"), &[hostile(mode, "admit")]).await;
    let result = chain.admit(write("trigger")).await;
    assert!(chain.admit(write("")).await.is_ok(), "{mode}");
    result
}

fn fault<T: std::fmt::Debug>(result: Result<T, CallError>) -> Fault {
    match result {
        Err(CallError::Failed { policy, fault }) if &*policy == "hostile" => fault,
        other => panic!("{other:?}"),
    }
}

/// What a call may take under [`sandbox`].
const TIMEOUT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn an_endless_loop_is_stopped_at_its_deadline() {
    let chain = chain("loop", &[hostile("loop", "relabel")]).await;
    let began = Instant::now();
    assert_eq!(fault(chain.relabel(batch(&[TRIGGER])).await), Fault::Timeout(TIMEOUT));
    // 50 ms of processor time; only a machine that is held up comes near the forty times that of wall time.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(
        Fault::Timeout(TIMEOUT).to_string(),
        "ran out of the 50ms of processor time that `sandbox.call_timeout` allows a call"
    );
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
    assert_eq!(fault(admitted("loop").await), Fault::Timeout(TIMEOUT));
}

#[tokio::test]
async fn deep_recursion_traps() {
    let Fault::Trap(text) = fault(relabelled("recurse").await) else {
        panic!()
    };
    // The guest's own stack, in its memory, is gone before the engine's is.
    assert!(text.starts_with("wasm trap: "), "{text}");
    assert!(!text.contains('\n') && text.len() < 1100, "{text}");
}

#[tokio::test]
async fn memory_growth_ends_at_the_limit() {
    let over = Fault::Memory(32 << 20);
    assert_eq!(
        over.to_string(),
        "wanted more memory than the 33554432 bytes that `sandbox.memory_limit` allows"
    );
    assert_eq!(fault(relabelled("grow").await), over);
    assert_eq!(fault(admitted("grow").await), over);
}

#[tokio::test]
async fn a_leaking_instance_is_replaced_before_it_fails() {
    let chain = chain("leak", &[hostile("leak", "relabel")]).await;
    for _ in 0..20 {
        assert_eq!(chain.relabel(batch(&[TRIGGER])).await.unwrap().outcomes, kept(1));
    }
    assert_eq!(chain.status()[0].failures, 0);
}

#[tokio::test]
async fn a_straight_line_fill_that_no_epoch_interrupts_is_late_all_the_same() {
    assert_eq!(fault(relabelled("fill").await), Fault::Timeout(TIMEOUT));
}

#[tokio::test]
async fn a_trap_and_an_error_say_what_happened() {
    let Fault::Trap(text) = fault(relabelled("trap").await) else {
        panic!()
    };
    assert!(text.contains("unreachable"), "{text}");
    assert!(matches!(fault(admitted("trap").await), Fault::Trap(_)));
    let refused = Fault::Error("this policy refuses to answer".to_owned());
    assert_eq!(fault(relabelled("error").await), refused);
    assert_eq!(fault(admitted("error").await), refused);
}

#[tokio::test]
async fn an_instance_survives_its_own_error_and_nothing_else() {
    let engine = engine(&sandbox());
    for (mode, left) in [("error", 1), ("trap", 0), ("wrong-length", 0)] {
        let policies = [hostile(mode, "relabel")];
        let chain = Chain::build(&engine, &tenant(mode), &policies, 1).await.unwrap();
        assert!(chain.relabel(batch(&[TRIGGER])).await.is_err());
        kept_warm(&engine, left, mode).await;
    }
}

#[tokio::test]
async fn an_answer_of_another_length_is_a_fault() {
    let wrong = |got| Fault::WrongLength { asked: 2, got };
    assert_eq!(fault(relabelled("wrong-length").await), wrong(1));
    assert_eq!(fault(relabelled("extra-verdict").await), wrong(3));
}

#[tokio::test]
async fn what_a_plugin_returns_is_bounded_before_the_host_allocates_it() {
    for mode in ["huge-result", "value-bomb"] {
        let found = fault(relabelled(mode).await);
        assert!(
            matches!(&found, Fault::Trap(text) if text.contains("fuel")) || matches!(found, Fault::Memory(_)),
            "{mode}: {found}"
        );
    }
    let Fault::Trap(text) = fault(admitted("huge-result").await) else {
        panic!()
    };
    assert!(text.contains("fuel"), "{text}");
    for mode in ["huge-error", "huge-reject"] {
        let result = admitted(mode).await;
        match (mode, &result) {
            ("huge-reject", Ok(Decision::Reject { policy, reason })) if &**policy == "hostile" => {
                assert!(reason.len() <= 515 && !reason.contains(char::is_control), "{reason}");
            }
            ("huge-error", _) => {
                let Fault::Error(text) = fault(result) else { panic!() };
                assert!(text.len() <= 1027 && !text.contains(char::is_control));
            }
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn labels_that_make_no_series_cost_that_series_alone() {
    for mode in ["duplicate-label", "empty-name", "label-bomb", "huge-stream"] {
        let judged = relabelled(mode).await.unwrap();
        assert_eq!(judged.outcomes[0], Outcome::UNTOUCHED, "{mode}");
        let Outcome::Reject { policy, .. } = &judged.outcomes[1] else {
            panic!("{mode}: {judged:?}")
        };
        assert_eq!((&**policy, judged.cacheable), ("hostile", true), "{mode}");
    }
}

#[tokio::test]
async fn a_series_with_more_labels_than_a_call_holds_is_put_to_no_policy_and_the_others_are() {
    let chain = chain("too-large", &[hostile("no-labels", "relabel")]).await;
    // With a label that the guest acts on: what it is asked about comes back without labels.
    let with = |bytes: usize| "v".repeat(bytes);
    let (most, more) = (with(relabel::BATCH_BYTES - 100), with(relabel::BATCH_BYTES));
    let sized = |value| [("__name__", "up"), ("trigger", value)];
    let judged = chain
        .relabel(batch(&[UP, &sized(&*most), &sized(&*more), TRIGGER]))
        .await
        .unwrap();
    let asked = |outcome: &Outcome| matches!(outcome, Outcome::Edit { labels, .. } if labels.is_empty());
    assert!(asked(&judged.outcomes[1]) && asked(&judged.outcomes[3]));
    assert_eq!(
        (&judged.outcomes[0], &judged.outcomes[2]),
        (&kept(1)[0], &Outcome::TooLarge)
    );
    assert_eq!(chain.status()[0].failures, 0);
}

#[tokio::test]
async fn charges_and_routes_that_mean_nothing_are_nonsense() {
    for mode in [
        "nan-charge",
        "negative-charge",
        "huge-charge",
        "many-buckets",
        "forbidden-upstream",
    ] {
        let found = fault(admitted(mode).await);
        assert!(matches!(found, Fault::Invalid(_)), "{mode}: {found}");
    }
}

#[tokio::test]
async fn one_policy_names_only_so_many_streams_and_reasons() {
    let chain = chain("many-streams", &[hostile("many-streams", "relabel")]).await;
    let numbers: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    let triggers: Vec<[(&str, &str); 2]> = numbers
        .iter()
        .map(|n| [("__name__", "up"), ("trigger", &**n)])
        .collect();
    let triggers: Vec<&[(&str, &str)]> = triggers.iter().map(|labels| &labels[..]).collect();
    let judged = chain.relabel(batch(&triggers[..64])).await.unwrap();
    let stream = |i: usize| Outcome::Keep {
        stream: Some(Arc::from(format!("stream-{i}"))),
        budget: None,
    };
    assert_eq!(
        judged.outcomes[63],
        stream(63),
        "labels that did not change are no edit"
    );
    let judged = chain.relabel(batch(&triggers)).await.unwrap();
    assert_eq!(judged.outcomes[63], stream(63));
    let unfit = Unfit::of(Refusal::TooManyStreams);
    assert!(matches!(&judged.outcomes[64], Outcome::Reject { unfit: found, .. } if *found == unfit));

    let judged = relabelled("hostile-reason").await.unwrap();
    let Outcome::Drop { policy, reason } = &judged.outcomes[1] else {
        panic!("{judged:?}")
    };
    assert_eq!(&**policy, "hostile");
    assert!(
        reason.len() <= words::MAX_REASON_LENGTH + 3 && !reason.contains(char::is_control),
        "{reason}"
    );
}

#[tokio::test]
async fn reserved_labels_and_missing_names_are_left_to_the_hosts_own_checks() {
    for mode in ["reserved-label", "no-labels", "no-metric-name"] {
        let judged = relabelled(mode).await.unwrap();
        assert!(matches!(judged.outcomes[1], Outcome::Edit { .. }), "{mode}");
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_counted() {
    let name = "log-flood";
    let chain = chain(name, &[hostile(name, "relabel")]).await;
    // It may or may not make its deadline; what it logged is bounded either way.
    let _ = chain.relabel(batch(&[TRIGGER])).await;
    let labels = crate::telemetry::metrics::PolicyLabels {
        tenant: name.to_owned(),
        policy: "hostile".to_owned(),
    };
    let dropped = SHARED.1.policy_log_lines_dropped.get_or_create(&labels).get();
    assert!(dropped >= 1000, "{dropped}");
    assert_eq!(relabelled("escape-codes").await.unwrap().outcomes, kept(2));
    let huge = relabelled("log-huge").await;
    assert!(matches!(huge, Err(CallError::Failed { .. })), "{huge:?}");
}

#[tokio::test]
async fn a_policy_that_fails_at_configure_builds_no_chain() {
    for mode in ["loop", "recurse", "grow", "trap", "error", "huge-error"] {
        let settings = format!(r#"{{"mode": "{mode}", "at": "configure"}}"#);
        let policies = [policy(fixture("hostile"), &settings)];
        let error = Chain::build(shared(), &tenant("configure"), &policies, 1)
            .await
            .unwrap_err();
        assert_eq!(error.policy, "hostile");
        let BuildFault::Configure(fault) = &error.fault else {
            panic!("{mode}: {error}")
        };
        match mode {
            "loop" => assert_eq!(*fault, Fault::SlowStart(20 * TIMEOUT)),
            "grow" => assert!(matches!(fault, Fault::Memory(_)), "{fault}"),
            "error" | "huge-error" => assert!(matches!(fault, Fault::Error(_)), "{mode}: {fault}"),
            _ => assert!(matches!(fault, Fault::Trap(_)), "{mode}: {fault}"),
        }
    }
    let error = Chain::build(shared(), &tenant("t"), &[policy(fixture("hostile"), "{}")], 1)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy hostile: plugin hostile does not take its settings: failed: mode is missing"
    );
}

#[tokio::test]
async fn a_policy_that_fails_the_golden_batch_builds_no_chain() {
    for (at, mode) in [("relabel", "trap"), ("admit", "trap"), ("relabel", "empty-name")] {
        let settings = format!(r#"{{"mode": "{mode}", "at": "{at}"}}"#);
        let policies = [policy(fixture("hostile"), &settings)];
        let error = Chain::build(shared(), &tenant("golden"), &policies, 1)
            .await
            .unwrap_err();
        let BuildFault::Golden(fault) = &error.fault else {
            panic!("{error}")
        };
        assert!(
            matches!(
                (mode, fault),
                ("trap", Fault::Trap(_)) | ("empty-name", Fault::Invalid(_))
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_keeps_failing_rests_and_comes_back() {
    let chain = chain("rests", &[hostile("trap", "relabel")]).await;
    // The golden batches were good calls; four failures are enough in any case.
    for _ in 0..4 {
        assert!(chain.relabel(batch(&[TRIGGER])).await.is_err());
    }
    let shut = chain.relabel(batch(&[UP])).await;
    let Err(CallError::Quarantined { policy, retry_after }) = shut else {
        panic!("{shut:?}")
    };
    assert_eq!(&*policy, "hostile");
    assert!(retry_after <= Duration::from_secs(1));
    let status = &chain.status()[0];
    assert!(status.quarantined.is_some());
    assert!(matches!(status.last_failure.as_ref().unwrap().fault, Fault::Trap(_)));
    // Calls while it rests cost nothing and say how long; after that one is let through.
    tokio::time::sleep(retry_after).await;
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
    assert!(chain.status()[0].quarantined.is_none());
}

#[tokio::test]
async fn a_failing_policy_is_left_out_where_the_operator_says_so_and_that_is_not_remembered() {
    let mut broken = hostile("trap", "relabel");
    broken.on_failure = OnFailure::Bypass;
    let mut last = hostile("no-labels", "relabel");
    last.name = "last".to_owned();
    let chain = chain("bypass", &[broken, last]).await;
    for round in 0..6 {
        // From the fourth round on it is left out without being run.
        let judged = chain.relabel(batch(&[TRIGGER])).await.unwrap();
        assert!(!judged.cacheable, "{round}");
        assert!(matches!(&judged.outcomes[0], Outcome::Edit { labels, .. } if labels.is_empty()));
    }
    let labels = crate::telemetry::metrics::PolicyLabels {
        tenant: "bypass".to_owned(),
        policy: "hostile".to_owned(),
    };
    assert_eq!(SHARED.1.policy_bypassed.get_or_create(&labels).get(), 6);
    assert!(chain.status()[0].quarantined.is_some());
}

#[tokio::test]
async fn a_policy_that_fails_half_way_and_is_left_out_leaves_nothing_behind() {
    // Each answer is a good one; together they are more than a call may grow by.
    let rules = format!(
        r#"{{"relabel_configs": [{{"target_label": "x", "replacement": "{}"}}]}}"#,
        "v".repeat(60_000)
    );
    let bypassed = config::Policy {
        on_failure: OnFailure::Bypass,
        ..policy(standard("relabel"), &rules)
    };
    let chain = chain("half-way", &[bypassed]).await;
    let judged = chain.relabel(batch(&[UP; 16])).await.unwrap();
    assert_eq!((judged.outcomes, judged.cacheable), (kept(16), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_tenant_loops_the_others_go_on() {
    let bad = chain("looper", &[hostile("loop", "relabel")]).await;
    let good = chain("bystander", &[policy(fixture("pass"), "{}")]).await;
    let looping = tokio::spawn(async move {
        let (mut timeouts, deadline) = (0, Instant::now() + Duration::from_secs(1));
        while Instant::now() < deadline {
            let calls = (0..8).map(|_| bad.relabel(batch(&[TRIGGER]))).collect::<Vec<_>>();
            for call in calls {
                timeouts += usize::from(matches!(
                    call.await,
                    Err(CallError::Failed {
                        fault: Fault::Timeout(_),
                        ..
                    })
                ));
            }
            tokio::task::yield_now().await;
        }
        timeouts
    });
    let (mut calls, mut slow) = (0, 0);
    while !looping.is_finished() {
        let began = Instant::now();
        assert_eq!(good.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
        calls += 1;
        slow += usize::from(began.elapsed() > Duration::from_millis(50));
    }
    let timeouts = looping.await.unwrap();
    assert!(timeouts >= 3, "it looped {timeouts} times before it was left alone");
    // The looper holds one of the two threads at most; what is slow here is the machine.
    assert!(
        calls > 100 && slow * 20 < calls,
        "{slow} of {calls} calls took more than 50 ms"
    );
}

#[tokio::test]
async fn a_write_cannot_be_blown_up_by_small_steps() {
    // Each series stays far below what one may have, and each call's answer below what a call may copy.
    let blown = |bytes: usize| {
        let rule = format!(
            r#"{{"relabel_configs":[{{"target_label":"x","replacement":"{}"}}]}}"#,
            "y".repeat(bytes)
        );
        policy(standard("relabel"), &rule)
    };
    let many = vec![UP; 512];
    let grown = chain("grown", &[blown(900)]).await;
    assert_eq!(grown.relabel(batch(&many)).await.unwrap().outcomes.len(), 512);
    let chain = chain("blown", &[blown(8000)]).await;
    let result = chain.relabel(batch(&many)).await;
    let Err(CallError::Failed {
        fault: Fault::Invalid(text),
        ..
    }) = result
    else {
        panic!("{result:?}")
    };
    assert!(text.contains(" bytes of labels and budgets on "), "{text}");
    // A few may grow as much as they like.
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes.len(), 1);
}
