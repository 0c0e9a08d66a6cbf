//! Judging writes with real chains: what policies are told, what counts them, and what they may name.

use super::*;
use crate::chain::tests::{chain, fixture, hostile, policy, standard};
use crate::config::{Limits, defaults};
use crate::model::Refusal;
use crate::wire::{self, Framed};

pub(super) async fn judge(name: &str, policies: &[config::Policy]) -> Judge {
    let tenant = config::Tenant {
        policies: policies.to_vec(),
        limits: Limits {
            max_active_series: 1000,
            max_labels_per_series: 30,
            max_label_name_length: 100,
            max_label_value_length: 1000,
            ..defaults::LIMITS
        },
        reserved_labels: vec!["tenant_id".into()],
        ..config::tests::bare(name)
    };
    let chain = chain(name, policies).await;
    let key = Arc::new(HashKey::random().unwrap());
    let metrics = Arc::new(Metrics::new());
    let memo = Arc::new(Memo::new(&tenant.id, &memo::Memos::within(u64::MAX)));
    let clock = MemoClock::start();
    Judge::new(&tenant, chain, memo, 1, key, clock, metrics)
}

/// A write of series named `up` with one sample each, and these labels besides.
fn framed(labels: impl IntoIterator<Item = (&'static str, String)>) -> Framed {
    let mut body = Vec::new();
    for (name, value) in labels {
        let labels = [("__name__", "up"), (name, value.as_str())];
        wire::write_series(&mut body, labels.into_iter(), [(1.0, 1)].into_iter());
    }
    let max_series = 1000;
    wire::frame(
        Protocol::V1,
        body,
        &wire::ScanLimits {
            max_series,
            ..wire::ScanLimits::NONE
        },
    )
    .unwrap()
}

/// As many as asked for, which no other call gives.
fn triggers(call: &str, series: usize) -> Framed {
    framed((0..series).map(|n| ("trigger", format!("{call}-{n}"))))
}

/// Of policies that were asked about many series, so that the next hundreds are one call.
async fn judge_at_full_pace(tenant: &str, policies: &[config::Policy]) -> Judge {
    let judge = judge(tenant, policies).await;
    let plain = (0..600).map(|n| ("job", format!("plain-{n}")));
    judge.judged(framed(plain)).await.unwrap();
    judge
}

impl Judge {
    async fn recall_framed(&self, framed: Framed) -> Recalled {
        let recall = Recall::framed(Arc::clone(&self.knowledge), framed);
        self.chain.work(recall).await.unwrap().unwrap()
    }

    async fn judged(&self, framed: Framed) -> Result<Judged, JudgeError> {
        self.judge(self.recall_framed(framed).await).await
    }
}

fn origin(subject: &str) -> Origin<'_> {
    Origin {
        subject,
        protocol: Protocol::V1,
        compressed_bytes: 77,
    }
}

#[tokio::test]
async fn as_many_streams_as_a_policy_may_name_are_let_through() {
    let judge = judge_at_full_pace("streams-at", &[hostile("many-streams", "relabel")]).await;
    let judged = judge.judged(triggers("first", 64)).await.unwrap();
    assert_eq!(judged.tally.streams.len(), 65);
    assert_eq!(judged.tally.forwardable().series, 64);
    let Admission::Admit(admitted) = judge.admit(&judged, &origin("")).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (&*admitted.streams()[0], &*admitted.streams()[64]),
        ("", "stream-63"),
        "the default stream and 64 more"
    );
    // And again, when the same streams are known.
    assert!(judge.judged(triggers("second", 64)).await.is_ok());
}

/// What was refused of a write: why, how many, and by which policy.
fn refused(judged: &Judged) -> Vec<(Refusal, u64, Option<&str>)> {
    let refused = judged.tally.refused.iter();
    refused
        .map(|one| (one.refusal, one.totals.series, one.blame.policy.as_deref()))
        .collect()
}

#[tokio::test]
async fn one_stream_too_many_is_refused_with_its_series_and_the_others_go_on() {
    let judge = judge_at_full_pace("streams-above", &[hostile("many-streams", "relabel")]).await;
    let before = judge.chain().status()[0].calls;
    for _ in 0..5 {
        let judged = judge.judged(triggers("first", 65)).await.unwrap();
        assert_eq!(refused(&judged), [(Refusal::TooManyStreams, 1, Some("hostile"))]);
        assert_eq!(judged.tally.forwardable().series, 64);
    }
    let status = &judge.chain().status()[0];
    assert_eq!((status.failures, status.quarantined), (0, None));
    assert_eq!(
        status.calls - before,
        1,
        "the first write: what was refused is remembered"
    );
}

#[tokio::test]
async fn what_a_policy_makes_no_series_of_is_refused_alone_and_remembered() {
    let cases = [
        ("empty-name", Refusal::EmptyLabelName, None),
        ("duplicate-label", Refusal::DuplicateLabel, Some("twice")),
        ("label-bomb", Refusal::LabelsTooLarge, None),
        ("huge-stream", Refusal::StreamName, None),
        ("huge-budget", Refusal::BudgetName, None),
    ];
    for (mode, refusal, label) in cases {
        let judge = judge(mode, &[hostile(mode, "relabel")]).await;
        for _ in 0..5 {
            let series = [("job", "good"), ("trigger", "1"), ("job", "better")];
            let write = framed(series.map(|(name, value)| (name, value.to_owned())));
            let judged = judge.judged(write).await.unwrap();
            assert_eq!(refused(&judged), [(refusal, 1, Some("hostile"))], "{mode}");
            let one = &judged.tally.refused[0];
            assert_eq!((one.first, one.blame.label.as_deref()), (1, label), "{mode}");
            assert_eq!(judged.tally.forwardable().series, 2, "{mode}");
        }
        let status = &judge.chain().status()[0];
        assert_eq!(
            (status.calls, status.failures, status.quarantined),
            (3, 0, None),
            "{mode}"
        );
    }
}

/// The streams of the hostile guest, and `stream` for triggers that match `pattern`.
fn two_policies(pattern: &str, stream: &str) -> [config::Policy; 2] {
    let routes =
        format!(r#"{{"routes": [{{"match": {{"trigger": "{pattern}"}}, "stream": "{stream}", "upstream": "soft"}}]}}"#);
    [hostile("many-streams", "relabel"), policy(standard("route"), &routes)]
}

#[tokio::test]
async fn a_stream_that_is_too_many_only_together_is_refused_and_no_policys_failure() {
    let judge = judge_at_full_pace("streams-together", &two_policies("other-.*", "other")).await;
    assert!(judge.judged(triggers("first", 64)).await.is_ok());
    for _ in 0..5 {
        let judged = judge.judged(triggers("other", 1)).await.unwrap();
        assert_eq!(refused(&judged), [(Refusal::TooManyStreams, 1, None)]);
    }
    // An innocent policy must not come to rest for it: what it drops or redacts would pass where it may be left out.
    let status = judge.chain().status();
    assert!(
        status
            .iter()
            .all(|policy| policy.failures == 0 && policy.quarantined.is_none())
    );
    // Whoever names none of them is not in the way.
    assert!(judge.judged(triggers("second", 64)).await.is_ok());
}

#[tokio::test]
async fn only_streams_that_are_left_at_the_end_of_the_chain_count() {
    let judge = judge("streams-overwritten", &two_policies(".*", "one")).await;
    let judged = judge.judged(triggers("first", 64)).await.unwrap();
    assert_eq!((judged.tally.streams.len(), judged.tally.forwardable().series), (2, 64));
}

#[tokio::test]
async fn a_series_that_a_policy_fails_on_is_refused_from_memory_the_next_time() {
    let refusing = config::Policy {
        on_failure: config::OnFailure::RefuseSeries,
        ..hostile("trap", "relabel")
    };
    let judge = judge("fails", &[refusing]).await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        let series = (0..100).map(|n| (if n == 70 { "trigger" } else { "job" }, n.to_string()));
        let judged = judge.judged(framed(series)).await.unwrap();
        assert_eq!(refused(&judged), [(Refusal::FailsPolicy, 1, Some("hostile"))]);
        assert_eq!(
            (judged.tally.refused[0].first, judged.tally.forwardable().series),
            (70, 99)
        );
        calls.push(judge.chain().status()[0].calls);
    }
    assert!(
        calls[0] > 8 && calls[1..].iter().all(|later| *later == calls[0]),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_drop_reason_keeps_the_mark_of_what_was_cut() {
    let judge = judge("reason", &[hostile("hostile-reason", "relabel")]).await;
    let judged = judge.judged(triggers("first", 2)).await.unwrap();
    let [dropped] = &judged.tally.dropped[..] else {
        panic!("{:?}", judged.tally)
    };
    assert_eq!((&*dropped.words.policy, dropped.totals.series), ("hostile", 2));
    let reason = &*dropped.words.reason;
    assert!(reason.ends_with('…') && reason.len() <= 67, "{reason}");
    assert!(!judged.all_kept());
}

#[tokio::test]
async fn a_policy_is_told_of_the_write_and_of_the_tenants_series() {
    let inputs =
        r#"{"inputs": ["compressed-bytes", "decoded-bytes", "active-series", "new-series"], "reject": "mallory"}"#;
    let judge = judge("told", &[policy(fixture("echo"), inputs)]).await;
    let told = async |call: &str, series: usize| {
        let mut judged = judge.judged(triggers(call, series)).await.unwrap();
        let Admission::Admit(admitted) = judge.admit(&judged, &origin("alice")).await.unwrap() else {
            panic!()
        };
        judge.admitted(&mut judged).unwrap();
        let charges = admitted.charges().iter();
        let told = charges.map(|charge| (charge.bucket.clone(), charge.tokens)).collect();
        (judged.scanned().body().len() as u64, told)
    };
    let expected = |compressed, decoded, active, new| {
        [
            ("compressed-bytes", compressed),
            ("decoded-bytes", decoded),
            ("active-series", active),
            ("new-series", new),
        ]
        .map(|(name, tokens)| (name.to_owned(), tokens))
        .to_vec()
    };
    let (decoded, first): (u64, Vec<(String, u64)>) = told("first", 2).await;
    assert_eq!(first, expected(77, decoded, 2, 2));
    let (decoded, second) = told("second", 3).await;
    assert_eq!(second, expected(77, decoded, 5, 3));
    let (decoded, again) = told("second", 3).await;
    // `echo` charges nothing for nothing.
    assert_eq!(again, expected(77, decoded, 5, 0)[..3]);

    let judged = judge.judged(triggers("second", 1)).await.unwrap();
    let refused = judge.admit(&judged, &origin("mallory")).await.unwrap();
    assert!(matches!(&refused, Admission::Reject { reason } if &**reason == "mallory is not welcome"));
}

#[tokio::test]
async fn where_no_policy_judges_the_host_still_does() {
    let judge = judge("nobody", &[]).await;
    // More than are settled in one turn.
    let series = (0..200).map(|n| ("tenant_id", n.to_string()));
    let judged = judge.judged(framed(series)).await.unwrap();
    assert_eq!(judged.tally.edited.series, 200);
    let Admission::Admit(admitted) = judge.admit(&judged, &origin("")).await.unwrap() else {
        panic!()
    };
    assert!(admitted.charges().is_empty() && admitted.routes().is_empty());
}

#[tokio::test]
async fn what_is_absent_is_a_bug_and_nothing_goes_on_without_it() {
    let judge = judge("absent", &[]).await;
    let recalled = judge.recall_framed(triggers("first", 1)).await;
    let words = judge.law.words();
    let new = NewSeries::default();
    let of = |fate| tally(recalled.scanned(), &[fate], words, &new).map(|tally| tally.forwardable().series);
    assert_eq!(of(Fate::Keep { stream: 0 }), Ok(1));
    assert_eq!(of(Fate::Unknown), Err(Bug::NoVerdict));
    assert_eq!(of(Fate::Drop { reason: 0 }), Err(Bug::NoReason));
    assert_eq!(of(Fate::OverBudget { budget: 1 }), Err(Bug::NoBudget));
    assert_eq!(Edits::default().get(0), Err(Bug::NoEdit));
    let mut judged = judge.judge(recalled).await.unwrap();
    judged.tally.streams.push(crate::model::Totals::default());
    let error = judge.admit(&judged, &origin("")).await.err().unwrap();
    assert!(matches!(error, JudgeError::Bug(Bug::NoStream)), "{error}");
}
