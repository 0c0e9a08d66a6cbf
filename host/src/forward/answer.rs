//! What a receiver's answer means for the write (docs/protocol.md, "What a receiver answers").
//!
//! Takes a status, a header and the start of a text; gives success or one fact. Never repeats a receiver's text to a
//! sender: Thanos puts the names of the receivers behind it there. Of samples that were refused `conflict` knows what may
//! be told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::counter::Counter;

use super::health::Illness;
use super::written::Written;
use crate::net::{ExchangeError, HttpAnswer, TextBounds};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Durations, UpstreamLabels, UpstreamName};

mod conflict;
mod words;

pub use conflict::{Amounts, Conflict, ConflictClass, HowMany};

/// Longest `Retry-After` believed. A receiver that says a week is wrong about one of the two.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What is read of an answer's text: enough for Thanos' list of reasons, too little to be used against us. It follows
/// the head at once or is not waited for: the status alone decides about the data.
pub const TEXT: TextBounds = TextBounds {
    bytes: 4096,
    time: Duration::from_millis(250),
};

/// Why a write was not stored, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The receiver says that the write is malformed or too large. `detail` is for the log, never for the sender.
    #[error("receiver answered {status}: {detail}")]
    Invalid { status: u16, detail: String },
    /// The receiver refused samples or exemplars. What became of the others it may say.
    #[error("receiver {0}")]
    Conflict(Box<Conflict>),
    /// `retry_after` in seconds.
    #[error("receiver limits this tenant")]
    TooManyRequests { retry_after: Option<u64> },
    /// The operator's mistake: a wrong path, a front door in front of the front door.
    #[error("receiver answered {status}, which no write should meet")]
    Misconfigured { status: u16 },
    /// Of 2.0, to an upstream that is configured to take it: the receiver refused it, or said of nothing that it stored it.
    #[error("receiver answered {status} to remote write 2.0, which it seems not to take")]
    NotRemoteWrite2 { status: u16 },
    /// It stored so much of the `sent` samples, by its own word, and no more; why, where it says that in words that are known.
    /// `detail` is for the log, never for the sender.
    #[error("receiver answered {status} and stored {} of {sent} samples: {detail}", .written.all_samples())]
    NotWritten {
        status: u16,
        written: Written,
        sent: u64,
        why: Option<Box<Conflict>>,
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

/// Success is 2xx and nothing else.
pub fn judge(answer: &HttpAnswer) -> Result<(), ForwardError> {
    let status = answer.status.as_u16();
    Err(match status {
        200..=299 => return Ok(()),
        // No request of ours asks for an interim answer or an upgrade.
        100..=199 => ForwardError::Nonsense,
        400 | 409 | 413 => refused(status, answer),
        429 => ForwardError::TooManyRequests {
            retry_after: retry_after(answer),
        },
        500..=599 => ForwardError::Unavailable {
            status,
            retry_after: retry_after(answer),
        },
        600.. => ForwardError::Nonsense,
        _ => ForwardError::Misconfigured { status },
    })
}

fn refused(status: u16, answer: &HttpAnswer) -> ForwardError {
    match Conflict::read(status, &answer.text) {
        Some(mut conflict) => {
            conflict.again = answer.again;
            ForwardError::Conflict(Box::new(conflict))
        }
        None => ForwardError::Invalid {
            status,
            detail: detail(&answer.text),
        },
    }
}

/// Seconds, as far as they are believed.
fn retry_after(answer: &HttpAnswer) -> Option<u64> {
    Some(answer.retry_after(SystemTime::now())?.min(MAX_RETRY_AFTER).as_secs())
}

/// One printable line of a receiver's text, for the log.
pub(super) fn detail(text: &[u8]) -> String {
    words::line(&String::from_utf8_lossy(text), words::MOST)
}

impl ForwardError {
    /// Whether another endpoint may take what this one did not. The first may have stored the write all the same, as may a
    /// receiver whose idle connection broke under it. Nothing is stored twice then and nothing is lost, but only a series'
    /// newest sample is taken again without a word: an older one is refused ([`Conflict::is_of_a_second_time`]).
    pub fn may_pass_elsewhere(&self) -> bool {
        self.illness().is_some()
    }

    /// Whether a receiver may have stored the write all the same.
    pub fn may_be_stored(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::Timeout | Self::Reset | Self::Nonsense => true,
            Self::Invalid { .. }
            | Self::Conflict(_)
            | Self::NotWritten { .. }
            | Self::NotRemoteWrite2 { .. }
            | Self::TooManyRequests { .. }
            | Self::Misconfigured { .. }
            | Self::Connect
            | Self::NoEndpoint
            | Self::Overloaded
            | Self::TenantHeader => false,
        }
    }

    /// The same, of an endpoint that was tried when `first` had failed.
    pub(super) fn after(mut self, first: &Self) -> Self {
        if let Self::Conflict(conflict) = &mut self {
            conflict.again |= first.may_be_stored();
        }
        self
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
            | Self::Conflict(_)
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
    duration: Durations,
}

impl Outcomes {
    pub fn new(upstream: &str, metrics: &Arc<Metrics>) -> Self {
        let upstream = upstream.to_owned();
        let counter = |outcome| {
            let upstream = upstream.clone();
            metrics
                .upstream_requests
                .get_or_create(&UpstreamLabels { upstream, outcome })
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
            duration: metrics.upstream_duration.get_or_create(&UpstreamName { upstream }),
        }
    }

    /// Those of which there were any.
    pub fn counted(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("success", &self.success),
            ("invalid", &self.invalid),
            ("conflict", &self.conflict),
            ("too_many_requests", &self.too_many_requests),
            ("misconfigured", &self.misconfigured),
            ("unavailable", &self.unavailable),
            ("timeout", &self.timeout),
            ("connect", &self.connect),
            ("reset", &self.reset),
            ("no_endpoint", &self.no_endpoint),
            ("overloaded", &self.overloaded),
            ("nonsense", &self.nonsense),
            ("bug", &self.bug),
        ];
        let counted = all.into_iter().map(|(outcome, counter)| (outcome, counter.get()));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// `took` is `None` if nothing was sent.
    pub fn count(&self, result: &Result<Written, ForwardError>, took: Option<Duration>) {
        let outcome = match result {
            Ok(_) => &self.success,
            Err(ForwardError::Invalid { .. }) => &self.invalid,
            Err(ForwardError::Conflict(_) | ForwardError::NotWritten { .. }) => &self.conflict,
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
    use http::header::{DATE, RETRY_AFTER};
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, text: &str) -> HttpAnswer {
        HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            text: text.as_bytes().to_vec(),
            again: false,
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
    fn a_conflict_knows_whether_the_write_was_sent_before() {
        let text = "add 1 samples: out of order sample\n";
        let told = |again, first: Option<ForwardError>| {
            let answer = HttpAnswer {
                again,
                ..answer(409, text)
            };
            let told = judge(&answer).unwrap_err();
            let told = first.map_or(told.clone(), |first| told.after(&first));
            match told {
                ForwardError::Conflict(conflict) => conflict.again,
                other => panic!("{other}"),
            }
        };
        assert!(!told(false, None) && told(true, None));
        assert!(told(false, Some(ForwardError::Timeout)) && told(false, Some(ForwardError::Reset)));
        assert!(!told(false, Some(ForwardError::Connect)));
        assert!(told(true, Some(ForwardError::Connect)));
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
}
