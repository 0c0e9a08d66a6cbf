//! What a receiver's answer means for the write (docs/protocol.md, "What a receiver answers").
//!
//! Takes a status, a header and the start of a text; gives success or one fact. Never repeats a receiver's text to a
//! sender: Thanos puts the names of the receivers behind it there.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::health::Illness;
use super::written::Written;
use crate::net::{ExchangeError, HttpAnswer, TextBounds};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{UpstreamLabels, UpstreamName};

/// Longest `Retry-After` believed, in seconds. A receiver that says a week is wrong about one of the two.
const MAX_RETRY_AFTER: u64 = 3600;

/// What is read of an answer's text: enough for Thanos' list of reasons, too little to be used against us. It follows
/// the head at once or is not waited for: the status alone decides about the data.
pub const TEXT: TextBounds = TextBounds {
    bytes: 4096,
    time: Duration::from_millis(250),
};

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
    /// Of 2.0, to an upstream that is configured to take it: the receiver refused it, or said of nothing that it stored it.
    #[error("receiver answered {status} to remote write 2.0, which it seems not to take")]
    NotRemoteWrite2 { status: u16 },
    /// It stored so much of the `sent` samples, by its own word, and no more. `detail` is for the log, never for the sender.
    #[error("receiver answered {status} and stored {} of {sent} samples: {detail}", .written.all_samples())]
    NotWritten {
        status: u16,
        written: Written,
        sent: u64,
        detail: String,
    },
    /// `retry_after` in seconds.
    #[error("receiver answered {status}")]
    Unavailable { status: u16, retry_after: Option<u64> },
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
    /// A bug: every character that a tenant id can have is legal in a header. Nothing was sent.
    #[error("the tenant id cannot be written in a header")]
    TenantHeader,
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
pub fn judge(answer: &HttpAnswer) -> Result<(), ForwardError> {
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
            retry_after: retry_after(&answer.headers, SystemTime::now()),
        },
        500..=599 => ForwardError::Unavailable {
            status,
            retry_after: retry_after(&answer.headers, SystemTime::now()),
        },
        600.. => ForwardError::Nonsense,
        _ => ForwardError::Misconfigured { status },
    })
}

/// Seconds, or a date (RFC 9110 section 10.2.3), which is the receiver's clock's: its own `Date` says what time it was
/// there. `now` is for a receiver that does not tell.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let written = text(RETRY_AFTER)?;
    let seconds = match written.parse::<u64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let until = httpdate::parse_http_date(written).ok()?;
            let there = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
            let left = until.duration_since(there.unwrap_or(now)).unwrap_or_default();
            left.as_secs() + u64::from(left.subsec_nanos() > 0)
        }
    };
    Some(seconds.min(MAX_RETRY_AFTER))
}

/// One printable line.
pub(super) fn detail(text: &[u8]) -> String {
    let line: String = String::from_utf8_lossy(&text[..text.len().min(MAX_DETAIL)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}

impl ForwardError {
    /// Whether another endpoint may take what this one did not. The first may have stored the write all the same, as
    /// may a receiver whose idle connection broke under it. Nothing is stored twice then and nothing is lost, but only a
    /// series' newest sample is taken again without a word: for an older one the answer is 409, and the sender is told
    /// that samples were refused which are stored.
    pub fn may_pass_elsewhere(&self) -> bool {
        self.illness().is_some()
    }

    /// The receiver's own word on when to come again, in seconds.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::TooManyRequests { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What it says about the endpoint, `None` if it says that the endpoint lives.
    pub(super) fn illness(&self) -> Option<Illness> {
        match self {
            Self::Unavailable { .. } => Some(Illness::ServerError),
            Self::Timeout => Some(Illness::Timeout),
            Self::Connect => Some(Illness::Connect),
            Self::Reset => Some(Illness::Reset),
            Self::Nonsense => Some(Illness::Nonsense),
            Self::NotRemoteWrite2 { .. } => Some(Illness::Misconfigured),
            // It takes nobody's writes. Of any other status that no write should meet, 403 for one, a front door may have
            // answered this tenant alone: the others need the endpoint.
            Self::Misconfigured {
                status: 300..=399 | 401 | 404 | 405 | 415,
            } => Some(Illness::Misconfigured),
            Self::Invalid { .. }
            | Self::Conflict { .. }
            | Self::NotWritten { .. }
            | Self::TooManyRequests { .. }
            | Self::Misconfigured { .. }
            | Self::NoEndpoint
            | Self::Overloaded
            | Self::TenantHeader => None,
        }
    }
}

impl From<ExchangeError> for ForwardError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Connect(_) => Self::Connect,
            ExchangeError::Reset => Self::Reset,
            ExchangeError::Nonsense => Self::Nonsense,
        }
    }
}

/// An upstream's series of requests by outcome, made at once so that their rates begin at 0. The compiler sees an
/// outcome without a series, and a series without an outcome.
pub struct Outcomes {
    success: Counter,
    invalid: Counter,
    conflict: Counter,
    too_many_requests: Counter,
    misconfigured: Counter,
    unavailable: Counter,
    timeout: Counter,
    connect: Counter,
    reset: Counter,
    no_endpoint: Counter,
    overloaded: Counter,
    nonsense: Counter,
    bug: Counter,
    duration: Histogram,
}

impl Outcomes {
    pub fn new(upstream: &str, metrics: &Arc<Metrics>) -> Self {
        let upstream = upstream.to_owned();
        let counter = |outcome| {
            let upstream = upstream.clone();
            metrics
                .upstream_requests
                .get_or_create_owned(&UpstreamLabels { upstream, outcome })
        };
        Self {
            success: counter("success"),
            invalid: counter("invalid"),
            conflict: counter("conflict"),
            too_many_requests: counter("too_many_requests"),
            misconfigured: counter("misconfigured"),
            unavailable: counter("unavailable"),
            timeout: counter("timeout"),
            connect: counter("connect"),
            reset: counter("reset"),
            no_endpoint: counter("no_endpoint"),
            overloaded: counter("overloaded"),
            nonsense: counter("nonsense"),
            bug: counter("bug"),
            duration: metrics
                .upstream_duration
                .get_or_create_owned(&UpstreamName { upstream }),
        }
    }

    /// `took` is `None` if nothing was sent.
    pub fn count(&self, result: &Result<Written, ForwardError>, took: Option<Duration>) {
        let outcome = match result {
            Ok(_) => &self.success,
            Err(ForwardError::Invalid { .. }) => &self.invalid,
            Err(ForwardError::Conflict { .. } | ForwardError::NotWritten { .. }) => &self.conflict,
            Err(ForwardError::TooManyRequests { .. }) => &self.too_many_requests,
            Err(ForwardError::Misconfigured { .. } | ForwardError::NotRemoteWrite2 { .. }) => &self.misconfigured,
            Err(ForwardError::Unavailable { .. }) => &self.unavailable,
            Err(ForwardError::Timeout) => &self.timeout,
            Err(ForwardError::Connect) => &self.connect,
            Err(ForwardError::Reset) => &self.reset,
            Err(ForwardError::NoEndpoint) => &self.no_endpoint,
            Err(ForwardError::Overloaded) => &self.overloaded,
            Err(ForwardError::Nonsense) => &self.nonsense,
            Err(ForwardError::TenantHeader) => &self.bug,
        };
        outcome.inc();
        if let Some(took) = took {
            self.duration.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn answer(status: u16, text: &str) -> HttpAnswer {
        HttpAnswer {
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
            let expected = ForwardError::Unavailable {
                status,
                retry_after: None,
            };
            assert_eq!(told(status, ""), expected);
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
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (written, told) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("3600", Some(3600)),
            ("604800", Some(3600)),
            ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
            ("Sunday, 06-Nov-94 08:51:37 GMT", Some(120)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("Mon, 06 Nov 1995 08:49:36 GMT", Some(3600)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            for status in [429, 503, 500] {
                let mut limited = answer(status, "");
                limited.headers.insert(RETRY_AFTER, written.parse().unwrap());
                limited.headers.insert(DATE, date.parse().unwrap());
                assert_eq!(judge(&limited).unwrap_err().retry_after(), told, "{status} {written}");
            }
        }
    }

    #[test]
    fn a_date_is_told_by_our_clock_where_the_receiver_does_not_show_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT".parse().unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_000 - 119_500);
        assert_eq!(retry_after(&headers, now), Some(120));
        headers.insert(DATE, "yesterday".parse().unwrap());
        assert_eq!(retry_after(&headers, now), Some(120));
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
