//! What the answer of a receiver of remote write 2.0 means.
//!
//! Takes an answer and what was sent, gives what came of it. Released Thanos (0.42.4) answers 200 to 2.0 and stores nothing:
//! an answer that does not say what was stored is never taken for success. Never tried again for what a receiver says it did
//! not store: it took what it took.

use super::answer::{self, Conflict, ConflictClass, ForwardError};
use super::written::Written;
use crate::model::Totals;
use crate::net::HttpAnswer;

/// What the answer to a 2.0 request with `sent` in it means.
///
/// # Errors
/// Those of [`answer::judge`]; `NotRemoteWrite2` if nothing is told to be stored by a receiver that says so of nothing, and
/// `NotWritten` if some of the samples are told to be stored and others are not.
pub fn judge(answer: &HttpAnswer, sent: &Totals) -> Result<Written, ForwardError> {
    let status = answer.status.as_u16();
    let told = Written::told(&answer.headers, sent);
    let judged = answer::judge(answer);
    match (judged, told) {
        (Err(ForwardError::Misconfigured { status: 415 }), _) => Err(ForwardError::NotRemoteWrite2 { status }),
        (Ok(()), None) if Written::all(sent) != Written::default() => Err(ForwardError::NotRemoteWrite2 { status }),
        (Ok(()), None) => Ok(Written::all(sent)),
        (Ok(()) | Err(ForwardError::Invalid { .. } | ForwardError::Conflict(_)), Some(written))
            if written.all_samples() == sent.all_samples() =>
        {
            // Exemplars alone were refused, which is no reason to tell a sender that its samples were.
            Ok(written)
        }
        (Ok(()), Some(written)) => Err(not_written(answer, sent, written, None)),
        (Err(ForwardError::Conflict(why)), Some(written)) if written.all_samples() > 0 => {
            Err(not_written(answer, sent, written, Some(why)))
        }
        (Err(ForwardError::Invalid { .. }), Some(written)) if written.all_samples() > 0 => {
            Err(not_written(answer, sent, written, None))
        }
        (Err(error), _) => Err(error),
    }
}

fn not_written(answer: &HttpAnswer, sent: &Totals, written: Written, why: Option<Box<Conflict>>) -> ForwardError {
    ForwardError::NotWritten {
        status: answer.status.as_u16(),
        written,
        sent: sent.all_samples(),
        // That exemplars were refused as well is not why samples were.
        why: why.filter(|why| why.class() != ConflictClass::Exemplars),
        detail: answer::detail(&answer.text),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, StatusCode};

    use super::*;
    use crate::forward::written::{EXEMPLARS, HISTOGRAMS, SAMPLES};

    const SENT: Totals = Totals {
        series: 3,
        samples: 5,
        histograms: 2,
        exemplars: 1,
    };

    fn answer(status: u16, told: [Option<&str>; 3]) -> HttpAnswer {
        let mut headers = HeaderMap::new();
        for (name, told) in [SAMPLES, HISTOGRAMS, EXEMPLARS].into_iter().zip(told) {
            if let Some(told) = told {
                headers.insert(HeaderName::from_static(name), told.parse().unwrap());
            }
        }
        HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            text: b"why\n".to_vec(),
            again: false,
        }
    }

    fn written(samples: u64, histograms: u64, exemplars: u64) -> Written {
        Written {
            samples,
            histograms,
            exemplars,
        }
    }

    #[test]
    fn a_success_that_does_not_say_what_was_stored_is_none() {
        for status in [200, 202, 204] {
            let told = judge(&answer(status, [None; 3]), &SENT);
            assert_eq!(told, Err(ForwardError::NotRemoteWrite2 { status }));
        }
        let refused = judge(&answer(415, [None; 3]), &SENT);
        assert_eq!(refused, Err(ForwardError::NotRemoteWrite2 { status: 415 }));
        // Nothing was to be stored.
        let empty = judge(
            &answer(204, [None; 3]),
            &Totals {
                series: 1,
                ..Totals::default()
            },
        );
        assert_eq!(empty, Ok(Written::default()));
    }

    #[test]
    fn what_a_receiver_says_is_compared_with_what_it_was_sent() {
        let told = |status, told| judge(&answer(status, told), &SENT);
        assert_eq!(told(204, [Some("5"), Some("2"), Some("1")]), Ok(written(5, 2, 1)));
        assert_eq!(told(204, [Some("9"), Some("9"), Some("9")]), Ok(written(5, 2, 1)));
        // Exemplars alone are no failure, whatever the status.
        assert_eq!(told(204, [Some("5"), Some("2"), None]), Ok(written(5, 2, 0)));
        assert_eq!(told(400, [Some("5"), Some("2"), Some("0")]), Ok(written(5, 2, 0)));
        let fewer = |status, written| ForwardError::NotWritten {
            status,
            written,
            sent: 7,
            why: None,
            detail: "why".to_owned(),
        };
        assert_eq!(
            told(204, [Some("4"), Some("2"), Some("1")]),
            Err(fewer(204, written(4, 2, 1)))
        );
        assert_eq!(told(400, [Some("4"), None, None]), Err(fewer(400, written(4, 0, 0))));
        // What is not a number says nothing, and a header that is missing is 0.
        assert_eq!(
            told(200, [Some("-1"), Some("all"), None]),
            Err(fewer(200, written(0, 0, 0)))
        );
        assert!(matches!(
            told(400, [Some("0"), None, None]),
            Err(ForwardError::Invalid { status: 400, .. })
        ));
        assert!(matches!(
            told(400, [None; 3]),
            Err(ForwardError::Invalid { status: 400, .. })
        ));
        let mut known = answer(400, [Some("4"), Some("2"), None]);
        known.text = b"out of order sample".to_vec();
        let Err(ForwardError::NotWritten { why: Some(why), .. }) = judge(&known, &SENT) else {
            panic!("a word that is known");
        };
        assert_eq!(why.class(), ConflictClass::OutOfOrder);
        known.text = b"out of order exemplar".to_vec();
        assert!(matches!(
            judge(&known, &SENT),
            Err(ForwardError::NotWritten { why: None, .. })
        ));
        // What may be sent again is sent again as a whole.
        assert!(matches!(
            told(503, [Some("5"), Some("2"), Some("1")]),
            Err(ForwardError::Unavailable { .. })
        ));
        assert!(matches!(
            told(429, [Some("3"), None, None]),
            Err(ForwardError::TooManyRequests { .. })
        ));
    }
}
