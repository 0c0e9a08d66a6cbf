//! What a receiver's answer means for the write (docs/protocol.md, "What a receiver answers").
//!
//! Takes a status, a header and the start of a text; gives success or one fact. Never repeats a receiver's text to a
//! sender: Thanos puts the names of the receivers behind it there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::client::{Answer, Fault};
use super::health::Illness;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{UpstreamLabels, UpstreamName};

/// Longest `Retry-After` believed. A receiver that says a week is wrong about one of the two.
const MAX_RETRY_AFTER: u64 = 300;

/// Bytes of a receiver's text that are kept for the log.
const MAX_DETAIL: usize = 256;

/// Why a write was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The receiver says that the write is malformed or too large. `detail` is for the log, never for the sender.
    #[error("receiver answered {status}: {detail}")]
    Invalid { status: u16, detail: String },
    /// Samples were refused; all others of the write were stored.
    #[error("receiver refused samples: {class}")]
    Conflict { class: ConflictClass },
    /// `retry_after` in seconds.
    #[error("receiver limits this tenant")]
    TooManyRequests { retry_after: Option<u64> },
    /// The operator's mistake: a wrong path, a front door in front of the front door.
    #[error("receiver answered {status}, which no write should meet")]
    Misconfigured { status: u16 },
    #[error("receiver answered {status}")]
    Unavailable { status: u16 },
    #[error("receiver did not answer in time")]
    Timeout,
    #[error("cannot connect to a receiver")]
    Connect,
    #[error("receiver broke the connection")]
    Reset,
    #[error("upstream has no endpoint")]
    NoEndpoint,
    #[error("too many requests in flight to the upstream")]
    Overloaded,
    #[error("what the receiver answered is not HTTP")]
    Nonsense,
}

/// Why Thanos refused samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictClass {
    OutOfOrder,
    Duplicate,
    TooOld,
    /// Exemplars, labels, or a text nobody knows.
    Other,
}

impl ConflictClass {
    /// As a metric label.
    pub fn word(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::Duplicate => "duplicate",
            Self::TooOld => "too_old",
            Self::Other => "other",
        }
    }

    /// By the error texts of Prometheus' `storage` package, which Thanos 0.42 strings together as
    /// `2 errors: add 1 samples: out of bounds; add 3 samples: out of order sample`. Of several classes the first of
    /// this list is told.
    fn of(text: &str) -> Self {
        if text.contains("out of order sample") {
            Self::OutOfOrder
        } else if text.contains("duplicate sample for timestamp") {
            Self::Duplicate
        } else if text.contains("too old sample") || text.contains("out of bounds") {
            Self::TooOld
        } else {
            Self::Other
        }
    }
}

impl std::fmt::Display for ConflictClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Success is 2xx and nothing else.
pub fn judge(answer: &Answer) -> Result<(), ForwardError> {
    let status = answer.status.as_u16();
    Err(match status {
        200..=299 => return Ok(()),
        // No request of ours asks for an interim answer or an upgrade.
        100..=199 => ForwardError::Nonsense,
        400 | 413 => ForwardError::Invalid {
            status,
            detail: detail(&answer.text),
        },
        409 => ForwardError::Conflict {
            class: ConflictClass::of(&String::from_utf8_lossy(&answer.text)),
        },
        429 => ForwardError::TooManyRequests {
            retry_after: answer
                .headers
                .get(RETRY_AFTER)
                .and_then(|v| v.to_str().ok()?.trim().parse::<u64>().ok())
                .map(|seconds| seconds.min(MAX_RETRY_AFTER)),
        },
        500..=599 => ForwardError::Unavailable { status },
        600.. => ForwardError::Nonsense,
        _ => ForwardError::Misconfigured { status },
    })
}

/// One printable line.
fn detail(text: &[u8]) -> String {
    let line: String = String::from_utf8_lossy(&text[..text.len().min(MAX_DETAIL)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}

impl ForwardError {
    /// As a metric label.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::Conflict { .. } => "conflict",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Misconfigured { .. } => "misconfigured",
            Self::Unavailable { .. } => "unavailable",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::NoEndpoint => "no_endpoint",
            Self::Overloaded => "overloaded",
            Self::Nonsense => "nonsense",
        }
    }

    /// Whether another endpoint may take what this one did not. A write that has reached the first as well does no
    /// harm: re-sent identical samples are harmless.
    pub fn may_pass_elsewhere(&self) -> bool {
        self.illness().is_some()
    }

    /// What it says about the endpoint, `None` where it says that the endpoint lives.
    pub(super) fn illness(&self) -> Option<Illness> {
        match self {
            Self::Unavailable { .. } => Some(Illness::ServerError),
            Self::Timeout => Some(Illness::Timeout),
            Self::Connect => Some(Illness::Connect),
            Self::Reset => Some(Illness::Reset),
            Self::Nonsense => Some(Illness::Nonsense),
            Self::Invalid { .. }
            | Self::Conflict { .. }
            | Self::TooManyRequests { .. }
            | Self::Misconfigured { .. }
            | Self::NoEndpoint
            | Self::Overloaded => None,
        }
    }
}

impl From<Fault> for ForwardError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Connect => Self::Connect,
            Fault::Reset => Self::Reset,
            Fault::Nonsense => Self::Nonsense,
        }
    }
}

/// An upstream's series of requests by outcome, made at once so that their rates begin at 0.
pub struct Outcomes {
    by_word: BTreeMap<&'static str, Counter>,
    duration: Histogram,
}

const SUCCESS: &str = "success";

impl Outcomes {
    pub fn new(upstream: &str, metrics: &Arc<Metrics>) -> Self {
        let words = [
            SUCCESS,
            "invalid",
            "conflict",
            "too_many_requests",
            "misconfigured",
            "unavailable",
            "timeout",
            "connect",
            "reset",
            "no_endpoint",
            "overloaded",
            "nonsense",
        ];
        let counter = |outcome| {
            let upstream = upstream.to_owned();
            metrics
                .upstream_requests
                .get_or_create_owned(&UpstreamLabels { upstream, outcome })
        };
        Self {
            by_word: words.map(|word| (word, counter(word))).into_iter().collect(),
            duration: metrics.upstream_duration.get_or_create_owned(&UpstreamName {
                upstream: upstream.to_owned(),
            }),
        }
    }

    /// `took` is `None` where nothing was sent.
    pub fn count(&self, result: &Result<(), ForwardError>, took: Option<Duration>) {
        let word = result.as_ref().err().map_or(SUCCESS, ForwardError::word);
        if let Some(counter) = self.by_word.get(word) {
            counter.inc();
        }
        if let Some(took) = took {
            self.duration.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            text: text.as_bytes().to_vec(),
        }
    }

    #[test]
    fn only_2xx_is_success() {
        for status in 100..=999 {
            let stored = judge(&answer(status, "")).is_ok();
            assert_eq!(stored, (200..300).contains(&status), "{status}");
        }
    }

    #[test]
    fn every_status_is_told_as_the_protocol_page_says() {
        let detail = || "snappy decode error".to_owned();
        let told = |status, text| judge(&answer(status, text)).unwrap_err();
        assert_eq!(
            told(400, "snappy decode error\n"),
            ForwardError::Invalid {
                status: 400,
                detail: detail()
            }
        );
        assert_eq!(
            told(413, "snappy\ndecode error"),
            ForwardError::Invalid {
                status: 413,
                detail: detail()
            }
        );
        assert_eq!(told(429, ""), ForwardError::TooManyRequests { retry_after: None });
        for status in [301, 302, 307, 308, 401, 403, 404, 405, 415, 422] {
            assert_eq!(told(status, ""), ForwardError::Misconfigured { status });
        }
        for status in [500, 502, 503, 504, 599] {
            assert_eq!(told(status, ""), ForwardError::Unavailable { status });
        }
        assert_eq!(told(101, ""), ForwardError::Nonsense);
        assert_eq!(told(999, ""), ForwardError::Nonsense);
    }

    #[test]
    fn conflicts_are_classed_by_thanos_texts() {
        for (text, class) in [
            ("add 3 samples: out of order sample", ConflictClass::OutOfOrder),
            (
                "add 1 samples: duplicate sample for timestamp",
                ConflictClass::Duplicate,
            ),
            ("add 1 samples: out of bounds", ConflictClass::TooOld),
            ("add 1 samples: too old sample", ConflictClass::TooOld),
            (
                "2 errors: add 1 samples: out of bounds; add 3 samples: out of order sample",
                ConflictClass::OutOfOrder,
            ),
            (
                "rpc error: code = AlreadyExists desc = store locally for endpoint r-0:10901: add 1 samples: too old sample",
                ConflictClass::TooOld,
            ),
            ("add 1 exemplars: out of order exemplar", ConflictClass::Other),
            ("add 1 series: out of order labels", ConflictClass::Other),
            ("conflict", ConflictClass::Other),
            ("", ConflictClass::Other),
        ] {
            let told = judge(&answer(409, text)).unwrap_err();
            assert_eq!(told, ForwardError::Conflict { class }, "{text}");
        }
    }

    #[test]
    fn a_receivers_retry_after_is_believed_within_reason() {
        for (written, told) in [
            ("7", Some(7)),
            ("300", Some(300)),
            ("604800", Some(300)),
            ("soon", None),
            ("-1", None),
        ] {
            let mut limited = answer(429, "");
            limited.headers.insert(RETRY_AFTER, written.parse().unwrap());
            let expected = ForwardError::TooManyRequests { retry_after: told };
            assert_eq!(judge(&limited), Err(expected));
        }
    }

    #[test]
    fn a_text_becomes_one_bounded_line() {
        assert_eq!(detail(b"  a\r\nb\x00 "), "a  b");
        assert_eq!(
            detail("é".repeat(MAX_DETAIL).as_bytes()).chars().count(),
            MAX_DETAIL / 2
        );
        assert_eq!(detail(&[0xff; 3]), "\u{fffd}\u{fffd}\u{fffd}");
    }
}
