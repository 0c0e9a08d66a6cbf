//! Policies that take long for each series: asked about fewer at once, and never at fault for that.

use super::*;

/// Series with three labels take it half a millisecond or so each, others nothing.
fn slow(on_failure: OnFailure) -> config::Policy {
    const SPIN: &str = "(func $go)
        (func $spin (local $turns i32) (local.set $turns (i32.const 2000000))
          (loop $again
            (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
            (br_if $again (local.get $turns))))";
    let relabel = "(func (export \"relabel\") (param i32 i32) (result i32)";
    let spins = format!(
        "{relabel} (local $series i32)
          (global.set $top (i32.const 1048576))
          (block $done (loop $next
            (br_if $done (i32.eq (local.get $series) (local.get 1)))
            (if (i32.eq (i32.load offset=4 (i32.add (local.get 0) (i32.mul (local.get $series) (i32.const 8)))) (i32.const 3))
              (then (call $spin)))
            (local.set $series (i32.add (local.get $series) (i32.const 1)))
            (br $next)))"
    );
    // Verdicts lie at 64 KiB, which is what 512 series with their labels take.
    let large = [
        ("(memory (export \"memory\") 2)", "(memory (export \"memory\") 64)"),
        ("(i32.const 4096)", "(i32.const 1048576)"),
        (relabel, &spins),
    ];
    let text = large.iter().fold(load::guest(SPIN, ""), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text.replace(old, new)
    });
    config::Policy {
        on_failure,
        ..policy(source("slow", &load::component(&text)), "{}")
    }
}

const SLOW: &[(&str, &str)] = &[("__name__", "up"), ("job", "node"), ("zone", "a")];

fn halved(tenant: &str) -> u64 {
    let labels = crate::telemetry::metrics::PolicyLabels {
        tenant: tenant.to_owned(),
        policy: "slow".to_owned(),
    };
    SHARED.1.policy_halved_batches.get_or_create(&labels).get()
}

#[tokio::test]
async fn a_policy_in_a_slow_language_is_asked_about_fewer_series_at_once_and_never_fails() {
    // At once they would take it several times its 50 ms.
    for on_failure in [OnFailure::Retry, OnFailure::RefuseSeries, OnFailure::Bypass] {
        let chain = chain(&format!("slow.{on_failure:?}"), &[slow(on_failure)]).await;
        let judged = chain.relabel(batch(&[SLOW; 500])).await.unwrap();
        assert_eq!((judged.outcomes, judged.cacheable), (kept(500), true));
        let status = &chain.status()[0];
        assert_eq!((status.failures, status.quarantined), (0, None), "{on_failure:?}");
        assert!(status.calls > 5 && status.series_per_call < 500, "{status:?}");
        assert!(status.usage.cpu > shared().call_allowance(), "{status:?}");
    }
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_asked_about_in_smaller_ones_and_that_is_no_failure() {
    for on_failure in [OnFailure::Retry, OnFailure::RefuseSeries, OnFailure::Bypass] {
        let name = format!("slower.{on_failure:?}");
        let chain = chain(&name, &[slow(on_failure)]).await;
        chain.relabel(batch(&[UP; 2000])).await.unwrap();
        assert_eq!((chain.status()[0].series_per_call, halved(&name)), (512, 0));
        let judged = chain.relabel(batch(&[SLOW; 500])).await.unwrap();
        assert_eq!((judged.outcomes, judged.cacheable), (kept(500), true));
        let status = &chain.status()[0];
        assert_eq!((status.failures, status.quarantined), (0, None), "{on_failure:?}");
        assert!(
            status.last_failure.is_none() && status.failed_series.is_empty(),
            "{status:?}"
        );
        assert!((1..20).contains(&halved(&name)), "{}", halved(&name));
    }
}

#[tokio::test]
async fn one_series_that_takes_too_long_is_a_failure_however_many_came_with_it() {
    let chain = chain("slow.alone", &[hostile("loop", "relabel")]).await;
    let mut series = vec![UP; 100];
    series[60] = TRIGGER;
    let failed = chain.relabel(batch(&series)).await;
    let Err(CallError::Failed { fault, .. }) = failed else {
        panic!("{failed:?}")
    };
    assert!(matches!(fault, Fault::Timeout(_)), "{fault}");
    assert_eq!(chain.status()[0].failures, 1);
}

#[tokio::test]
async fn a_policy_that_may_be_left_out_is_when_it_takes_too_long_for_everything() {
    let endless = config::Policy {
        on_failure: OnFailure::Bypass,
        ..hostile("loop", "relabel")
    };
    let chain = chain("slow.bypassed", &[endless]).await;
    chain.relabel(batch(&[UP; 2000])).await.unwrap();
    let before = chain.status()[0].calls;
    let judged = chain.relabel(batch(&[TRIGGER; 512])).await.unwrap();
    assert_eq!((judged.outcomes, judged.cacheable), (kept(512), false));
    // Down to one series, twice more, and from then on it rests.
    let status = &chain.status()[0];
    assert!(status.calls - before < 10 && status.quarantined.is_some(), "{status:?}");
}
