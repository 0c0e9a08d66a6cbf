//! What a policy takes, as metrics and operators are told it.

use super::*;

#[tokio::test]
async fn what_a_policy_takes_is_metered() {
    let (engine, metrics) = {
        let metrics = Arc::new(Metrics::new());
        let memory = Memory::new(NO_LIMIT, metrics.clone());
        let engine = Engine::new(&sandbox(), compiler(), &memory, metrics.clone()).unwrap();
        (engine, metrics)
    };
    let policies = [hostile("loop", "relabel"), hostile_named("logs", "escape-codes")];
    let chain = Chain::build(&engine, &tenant("t"), &policies, 1).await.unwrap();
    chain.relabel(batch(&[TRIGGER])).await.unwrap_err();
    let [loops, logs] = &chain.status()[..] else { panic!() };
    assert!(loops.usage.cpu >= engine.call_allowance(), "{loops:?}");
    assert!(loops.usage.memory_peak >= 1 << 16, "{loops:?}");
    assert!(
        logs.usage.cpu > Duration::ZERO && logs.usage.cpu < loops.usage.cpu,
        "{logs:?}"
    );
    // It is not asked where the one before fails.
    assert_eq!((logs.usage.log_lines, logs.usage.log_bytes), (0, 0));
    let only = Chain::build(&engine, &tenant("u"), &policies[1..], 1).await.unwrap();
    only.relabel(batch(&[TRIGGER])).await.unwrap();
    // A tenant's first series are asked about again, whether the policy is pure: it says twice what it says.
    let lines = || only.status()[0].usage.log_lines;
    purity::eventually("the write to be asked about again", || lines() >= 2).await;
    let usage = only.status()[0].usage;
    assert!(usage.log_lines == 2 && usage.log_bytes > 40, "{usage:?}");
    let text = metrics.text();
    for line in [
        r#"gauntlet_policy_log_lines_total{tenant="u",policy="logs"} 2"#.to_owned(),
        format!(
            r#"gauntlet_policy_log_bytes_total{{tenant="u",policy="logs"}} {}"#,
            usage.log_bytes
        ),
        format!(
            r#"gauntlet_policy_memory_peak_bytes{{tenant="u",policy="logs"}} {}"#,
            usage.memory_peak
        ),
        r#"gauntlet_policy_cpu_seconds_total{tenant="t",policy="hostile"} 0."#.to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

fn hostile_named(name: &str, mode: &str) -> config::Policy {
    let mut policy = hostile(mode, "relabel");
    policy.name = name.to_owned();
    policy
}
