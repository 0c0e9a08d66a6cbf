//! Which decisions are remembered, for which writes, and what policies are told.

use super::*;
use crate::model::Totals;

fn echo(settings: &str) -> config::Policy {
    policy(fixture("echo"), settings)
}

fn named(name: &str, mut policy: config::Policy) -> config::Policy {
    policy.name = name.to_owned();
    policy
}

/// A write of two streams in which every number is a different one.
fn numbered(subject: &str) -> Write {
    let totals = |n| Totals {
        series: n,
        samples: n + 1,
        histograms: n + 2,
        exemplars: n + 3,
    };
    Write {
        compressed_bytes: 1,
        decoded_bytes: 2,
        active_series: 3,
        new_series: 4,
        streams: vec![(Arc::from(""), totals(10)), (Arc::from("kube"), totals(20))],
        ..write(subject)
    }
}

/// What each `echo` of the chain was told, by its place.
async fn told(chain: &Chain, write: Write) -> Vec<(usize, String, u64)> {
    let place = |name: &str| chain.policies().position(|policy| &*policy.name == name).unwrap();
    match chain.admit(write).await.unwrap() {
        Decision::Admit(terms) => terms
            .charges
            .iter()
            .map(|charge| (place(&charge.policy), charge.bucket.clone(), charge.tokens))
            .collect(),
        Decision::Reject { reason, .. } => panic!("{reason}"),
    }
}

/// Calls of each policy, less the golden one.
fn calls(chain: &Chain) -> Vec<u64> {
    chain.status().iter().map(|status| status.calls - 1).collect()
}

const INPUTS: [&str; 5] = [
    "compressed-bytes",
    "decoded-bytes",
    "active-series",
    "new-series",
    "totals",
];

/// What [`numbered`] holds of one input.
fn numbers(input: &str) -> Vec<(String, u64)> {
    let kinds = ["series", "samples", "histograms", "exemplars"];
    let of = |name: &str, first: u64| {
        let name = name.to_owned();
        (first..).zip(kinds).map(move |(n, kind)| (format!("{kind}:{name}"), n))
    };
    match INPUTS.iter().position(|known| *known == input) {
        Some(4) => of("", 10).chain(of("kube", 20)).collect(),
        Some(at) => vec![(input.to_owned(), at as u64 + 1)],
        None => panic!("{input}"),
    }
}

#[tokio::test]
async fn a_policy_is_told_what_it_named_and_of_the_rest_nothing() {
    for input in INPUTS {
        let chain = chain(input, &[echo(&format!(r#"{{"inputs": ["{input}"]}}"#))]).await;
        let expected: Vec<_> = numbers(input).into_iter().map(|(name, n)| (0, name, n)).collect();
        assert_eq!(told(&chain, numbered("")).await, expected, "{input}");
    }
    let none = chain("none", &[echo(r#"{"inputs": []}"#)]).await;
    assert_eq!(told(&none, numbered("")).await, []);
    let all = chain("all", &[echo("{}")]).await;
    assert_eq!(told(&all, numbered("")).await.len(), 4 + 2 * 4);
}

#[tokio::test]
async fn each_policy_is_told_what_it_named_itself() {
    let policies = [
        named("new", echo(r#"{"inputs": ["new-series"]}"#)),
        named("nothing", echo(r#"{"inputs": []}"#)),
        named("active", echo(r#"{"inputs": ["active-series"]}"#)),
    ];
    let chain = chain("each", &policies).await;
    let expected = [(0, "new-series".to_owned(), 4), (2, "active-series".to_owned(), 3)];
    for _ in 0..3 {
        assert_eq!(told(&chain, numbered("")).await, expected);
    }
    assert_eq!(calls(&chain), [1, 1, 1]);
    // What any of them named counts for all.
    let mut other = numbered("");
    other.new_series += 1;
    assert_eq!(told(&chain, other).await[0].2, 5);
    assert_eq!(calls(&chain), [2, 2, 2]);
}

#[tokio::test]
async fn a_watched_decision_is_asked_for_each_time_and_never_remembered() {
    let chain = chain("watched", &[echo(r#"{"inputs": ["totals"]}"#)]).await;
    for asked in 1..=3 {
        let witness = Witness::default();
        let decision = chain.admit_watched(numbered(""), witness.clone()).await.unwrap();
        let Decision::Admit(terms) = decision else {
            panic!("{decision:?}")
        };
        assert_eq!(calls(&chain), [asked]);
        assert_eq!(witness.seen()[0].after, After::Admitted((*terms).clone()));
    }
    chain.admit(numbered("")).await.unwrap();
    assert_eq!(calls(&chain), [4]);
}

#[tokio::test]
async fn a_decision_is_asked_for_once_per_write_that_differs_in_what_counts() {
    let chain = chain("once", &[echo(r#"{"inputs": ["totals"]}"#)]).await;
    let first = told(&chain, numbered("")).await;
    for n in 0..10 {
        let same = Write {
            compressed_bytes: n,
            decoded_bytes: n,
            active_series: n,
            new_series: n,
            ..numbered("")
        };
        assert_eq!(told(&chain, same).await, first);
    }
    assert_eq!(calls(&chain), [1]);
    let others: [fn(&mut Write); 6] = [
        |w| w.subject = "prometheus-0".to_owned(),
        |w| w.protocol = crate::model::Protocol::V2,
        |w| w.streams[0].1.samples += 1,
        |w| w.streams[1].0 = Arc::from("other"),
        |w| drop(w.streams.pop()),
        |w| w.streams.clear(),
    ];
    for (at, change) in others.into_iter().enumerate() {
        let mut other = numbered("");
        change(&mut other);
        for _ in 0..2 {
            chain.admit(other.clone()).await.unwrap();
        }
        assert_eq!(calls(&chain), [at as u64 + 2], "{at}");
    }
}

#[tokio::test]
async fn a_policy_that_does_not_say_or_names_the_compressed_size_is_asked_every_time() {
    // This one exports no `admission-inputs`.
    let silent = hostile("error", "relabel");
    let compressed = named("compressed", echo(r#"{"inputs": ["compressed-bytes"]}"#));
    for policies in [
        vec![silent.clone()],
        vec![compressed],
        vec![echo(r#"{"inputs": []}"#), silent],
    ] {
        let chain = chain("asked", &policies).await;
        let before = calls(&chain);
        for _ in 0..3 {
            chain.admit(numbered("")).await.unwrap();
        }
        let asked: Vec<u64> = calls(&chain).iter().zip(before).map(|(now, then)| now - then).collect();
        assert_eq!(asked, vec![3; policies.len()]);
    }
}

#[tokio::test]
async fn a_rejection_is_remembered() {
    let chain = chain("rejects", &[echo(r#"{"inputs": [], "reject": "mallory"}"#)]).await;
    for _ in 0..3 {
        let decision = chain.admit(numbered("mallory")).await.unwrap();
        let Decision::Reject { policy, reason } = &decision else {
            panic!("{decision:?}")
        };
        assert_eq!((&**policy, &**reason), ("echo", "mallory is not welcome"));
        assert_eq!(told(&chain, numbered("alice")).await, []);
    }
    assert_eq!(calls(&chain), [2]);
}

#[tokio::test]
async fn what_a_failing_policy_had_no_say_in_is_not_remembered() {
    let failing = echo(r#"{"inputs": [], "trap": "mallory"}"#);
    let retried = chain("retried", std::slice::from_ref(&failing)).await;
    for _ in 0..2 {
        let failed = retried.admit(numbered("mallory")).await;
        assert!(
            matches!(&failed, Err(CallError::Failed { policy, .. }) if &**policy == "echo"),
            "{failed:?}"
        );
    }
    assert_eq!(calls(&retried), [2]);

    let bypassed = config::Policy {
        on_failure: OnFailure::Bypass,
        ..named("bypassed", failing)
    };
    let other = named("other", echo(r#"{"inputs": ["new-series"], "reject": "mallory"}"#));
    let admitted = chain("bypassed", std::slice::from_ref(&bypassed)).await;
    let rejected = chain("bypassed-rejected", &[bypassed, other]).await;
    for n in 1..=2 {
        assert_eq!(told(&admitted, numbered("mallory")).await, []);
        assert_eq!(calls(&admitted), [n]);
        let decision = rejected.admit(numbered("mallory")).await.unwrap();
        assert!(
            matches!(&decision, Decision::Reject { policy, .. } if &**policy == "other"),
            "{decision:?}"
        );
        assert_eq!(calls(&rejected), [n, n]);
    }
    // What was decided by all of them still stands, whatever became of them since.
    told(&rejected, numbered("alice")).await;
    let asked = calls(&rejected);
    for _ in 0..4 {
        rejected.admit(numbered("mallory")).await.unwrap();
    }
    assert!(rejected.status()[0].quarantined.is_some());
    let before = calls(&rejected);
    assert_ne!(asked, before);
    told(&rejected, numbered("alice")).await;
    assert_eq!(calls(&rejected), before);
}

#[tokio::test]
async fn a_new_generation_remembers_nothing() {
    let policies = [echo(r#"{"inputs": []}"#)];
    for generation in 1..=2 {
        let chain = Chain::build(shared(), &tenant("generations"), &policies, generation)
            .await
            .unwrap();
        for _ in 0..3 {
            chain.admit(numbered("")).await.unwrap();
        }
        assert_eq!(calls(&chain), [1]);
    }
}

#[tokio::test]
async fn a_policy_that_fails_to_say_builds_no_chain() {
    let policies = [echo(r#"{"trap": "admission-inputs"}"#)];
    let error = Chain::build(shared(), &tenant("t"), &policies, 1).await.unwrap_err();
    assert!(matches!(error.fault, BuildFault::Inputs(Fault::Trap(_))), "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("policy echo: plugin echo does not say what its decisions depend on: trapped: "),
        "{text}"
    );
}

#[tokio::test]
async fn the_standard_policies_are_asked_again_only_where_it_matters() {
    let limits = policy(
        standard("limits"),
        r#"{"samples": {"per_second": 50000}, "requests": {"per_second": 9}}"#,
    );
    let route = policy(
        standard("route"),
        r#"{"routes": [{"stream": "kube", "upstream": "soft"}]}"#,
    );
    let routed = chain("routed", std::slice::from_ref(&route)).await;
    let both = chain("limited", &[limits, route]).await;
    let before = (calls(&routed), calls(&both));
    let mut charged = Vec::new();
    for samples in [5, 5, 5, 7, 7] {
        let mut write = numbered("");
        write.compressed_bytes = samples * 1000;
        write.active_series = samples;
        write.streams[1].1.samples = samples;
        let decision = routed.admit(write.clone()).await.unwrap();
        let to = (Arc::from("kube"), Arc::from("soft"));
        assert!(matches!(&decision, Decision::Admit(terms) if terms.routes == [to.clone()]));
        let decision = both.admit(write).await.unwrap();
        let Decision::Admit(terms) = &decision else {
            panic!("{decision:?}")
        };
        assert_eq!(terms.routes, [to]);
        charged.push(terms.charges.iter().map(|charge| charge.tokens).collect::<Vec<_>>());
    }
    // 11 + 12 of the default stream, 22 histograms of the other one.
    let samples = |n: u64| vec![1, 11 + 12 + 22 + n];
    assert_eq!(charged, [samples(5), samples(5), samples(5), samples(7), samples(7)]);
    let asked = |chain: &Chain, before: &[u64]| -> Vec<u64> {
        calls(chain).iter().zip(before).map(|(now, then)| now - then).collect()
    };
    assert_eq!(asked(&routed, &before.0), [1]);
    assert_eq!(asked(&both, &before.1), [2, 2]);
}
