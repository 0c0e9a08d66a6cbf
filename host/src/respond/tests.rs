//! The map of failures to answers, case by case.

use super::*;
use crate::memory::{Full, Kind};
use crate::wire::Torn;

fn context() -> Context {
    Context::plain(OverRate::Retry)
}

#[test]
fn a_receivers_retry_after_is_passed_on_and_the_longest_weighs_most_of_several_parts() {
    let refused = Failure::from(ScanError::TooManySeries { limit: 1 });
    let says = |retry_after| Failure::from(ForwardError::TooManyRequests { retry_after });
    let all = [refused, says(None), says(Some(1)), says(Some(120))];
    let told = all.each_ref().map(|f| f.answer(&context()).retry_after_seconds);
    assert_eq!(told, [None, Some(1), Some(1), Some(120)]);
    assert!(all.is_sorted_by(|less, more| less.weight(OverRate::Retry) < more.weight(OverRate::Retry)));
}

#[test]
fn of_several_parts_a_429_on_which_data_may_be_dropped_weighs_less_than_a_503() {
    let too_many = Failure::from(ForwardError::TooManyRequests { retry_after: Some(5) });
    let all = [
        Failure::from(ScanError::TooManySeries { limit: 1 }),
        too_many,
        Failure::from(ForwardError::Timeout),
    ];
    let weight = |failure: &Failure| failure.weight(OverRate::TooManyRequests);
    assert!(all.is_sorted_by(|less, more| weight(less) < weight(more)));
}

#[test]
fn over_rate_keeps_the_data_unless_the_operator_says_otherwise() {
    let failure = Failure::OverRate {
        bucket: "samples".into(),
        retry_after: Duration::from_millis(1500),
    };
    assert_eq!(failure.answer(&context()).status, StatusCode::SERVICE_UNAVAILABLE);
    let drops = Context {
        over_rate: OverRate::TooManyRequests,
        ..context()
    };
    assert_eq!(failure.answer(&drops).status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(failure.answer(&drops).retry_after_seconds, Some(2));
}

#[test]
fn what_is_the_gateways_own_fault_keeps_the_data() {
    let bug = Failure::from(ScanError::NotRewritten);
    assert_eq!(bug.answer(&context()).status, StatusCode::INTERNAL_SERVER_ERROR);
    for absent in [
        Failure::Bug("a part"),
        PartError::NotRouted(1).into(),
        ForwardError::TenantHeader.into(),
        PartError::from(EncodeError::from(Torn)).into(),
        JudgeError::from(crate::judge::Bug::NoStream).into(),
    ] {
        assert_eq!(absent.answer(&context()), bug.answer(&context()));
    }
    let grown = Failure::from(SnappyError::TooLong { length: 1 << 32 });
    assert!(grown.answer(&context()).status.is_server_error());
    for refused in [
        SnappyError::Malformed.into(),
        ScanError::TooManySeries { limit: 1 }.into(),
    ] {
        let refused: Failure = refused;
        assert_eq!(refused.answer(&context()).status, StatusCode::BAD_REQUEST);
    }
}

#[test]
fn those_who_met_a_bound_are_spread_and_the_writes_of_one_sender_come_back_in_their_order() {
    let told = |failure: Failure, sender, request| {
        let context = Context {
            sender,
            request,
            ..context()
        };
        failure.answer(&context).retry_after_seconds
    };
    let away = |sender, request| told(ForwardError::Connect.into(), sender, request);
    assert_eq!(away(0, 0), away(0, 1));
    assert_ne!(away(0, 0), away(1, 0));
    let full = |sender, request| told(BoundMet::Requests.into(), sender, request);
    assert_ne!(full(0, 0), full(0, 1));
}

#[test]
fn each_bound_has_a_word_of_its_own_and_a_sender_hears_whether_it_is_its_own() {
    let told = [
        (BoundMet::Requests, "overloaded_requests", false),
        (BoundMet::Bytes, "overloaded_bytes", false),
        (BoundMet::TenantRequests, "tenant_requests", true),
        (BoundMet::TenantBytes, "tenant_bytes", true),
        (BoundMet::ShareOfRequests, "share_of_requests", true),
        (BoundMet::ShareOfBytes, "share_of_bytes", true),
        (BoundMet::Memory(Full(Kind::Bodies)), "overloaded_memory", false),
    ];
    for (bound, reason, own) in told {
        let answer = Failure::from(bound).answer(&context());
        assert_eq!((answer.status.as_u16(), answer.reason), (503, reason));
        assert_eq!(answer.text.contains("this tenant"), own, "{}", answer.text);
    }
}

#[test]
fn a_limit_is_not_told_as_a_malformed_body() {
    let told = [
        (ScanError::Malformed { what: "x" }, "malformed"),
        (ScanError::TooManySeries { limit: 1 }, "too_many_series"),
        (ScanError::TooManyHistograms { limit: 1 }, "too_many_histograms"),
        (ScanError::TooManyLabels { limit: 1 }, "too_many_labels"),
        (ScanError::TooManySymbols { limit: 1 }, "too_many_symbols"),
        (ScanError::WrittenTooLarge { limit: 1 }, "decoded_too_large"),
        (ScanError::TooLong { length: 1 }, "decoded_too_long"),
    ];
    for (error, reason) in told {
        let answer = Failure::from(error).answer(&context());
        assert_eq!((answer.status, answer.reason), (StatusCode::BAD_REQUEST, reason));
    }
}

#[test]
fn a_text_is_cut_at_a_kibibyte_and_at_a_character() {
    let response = plain(StatusCode::BAD_REQUEST, &"é".repeat(2000));
    let size = hyper::body::Body::size_hint(response.body()).exact().unwrap();
    assert!((1022..=1024).contains(&size), "{size}");
}

#[test]
fn a_write_with_nothing_refused_is_204_and_else_says_what_and_how_many() {
    assert_eq!(stored(&Stored::default()).status(), StatusCode::NO_CONTENT);
    let partly = Stored {
        received: Totals {
            series: 10,
            ..Totals::default()
        },
        refused: vec![RefusedSeries {
            reason: "duplicate_label",
            series: 2,
            why: "a label name occurs twice".into(),
            first: Shown::default(),
        }],
        ..Stored::default()
    };
    assert_eq!(stored(&partly).status(), StatusCode::BAD_REQUEST);
}
