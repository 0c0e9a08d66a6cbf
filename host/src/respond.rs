//! Answers: one exhaustive map from every failure to status, retry advice, public text and metric reason.
//!
//! Takes what became of a write, gives the response. A status is a decision about data: Prometheus keeps it on 5xx
//! and a broken connection, and drops it on every 4xx. Public text never names hosts, paths or other tenants.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::auth::AuthError;
use crate::body::BodyError;
use crate::config::OverRate;
use crate::forward::ForwardError;
use crate::forward::delivery::PartError;
use crate::head::HeadError;
use crate::judge::{Blame, JudgeError, RecallError};
use crate::limits::{BoundMet, ChargeError};
use crate::model::{Protocol, Refusal, SeriesBudget, Totals};
use crate::route::RouteError;
use crate::sandbox::Undone;
use crate::tenant::{NotReady, OutOfTurn};
use crate::wire::labels::label_bytes;
use crate::wire::{EncodeError, ScanError, Shown, SnappyError};

mod bounds;
mod conflict;
mod retry;
mod written;

use bounds::OVERLOADED;
pub use conflict::reason_of;
use conflict::{conflict_text, not_written_text};
pub use retry::Fullness;
pub use written::say_written;

/// Longest text a sender is told, in bytes.
const MAX_TEXT: usize = 1024;

const EDITED_TOO_LONG: &str = "edited_too_long";
const A_POLICY_FAILED: &str = "a policy failed, try again";

/// Everything that ends a write before it is stored.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Head(#[from] HeadError),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("the tenant in the path is not the credential's")]
    PathTenant,
    #[error(transparent)]
    NotReady(#[from] NotReady),
    #[error(transparent)]
    OutOfTurn(#[from] OutOfTurn),
    #[error(transparent)]
    BoundMet(#[from] BoundMet),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Undone(#[from] Undone),
    #[error(transparent)]
    Policy(#[from] JudgeError),
    #[error("a policy refused the write: {text}")]
    Refused { text: String },
    #[error("the tenant is over the rate of bucket {bucket}")]
    OverRate { bucket: String, retry_after: Duration },
    /// A policy asked for more buckets than a tenant may have, or for one that cannot be kept.
    #[error("a policy's charges cannot be kept: {0}")]
    Charges(String),
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// What cannot be absent is absent. The data is as good as it was.
    #[error("a bug of the gateway: {0}")]
    Bug(&'static str),
}

impl From<RecallError> for Failure {
    fn from(error: RecallError) -> Self {
        match error {
            RecallError::Snappy(error) => error.into(),
            RecallError::Scan(error) => error.into(),
            RecallError::Undone(undone) => undone.into(),
        }
    }
}

impl From<ChargeError> for Failure {
    fn from(error: ChargeError) -> Self {
        match error {
            ChargeError::Empty(empty) => Self::OverRate {
                bucket: empty.bucket,
                retry_after: empty.retry_after,
            },
            error => Self::Charges(error.to_string()),
        }
    }
}

/// A write that ended well, and what of it was left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    pub protocol: Protocol,
    pub received: Totals,
    /// What receivers acknowledged.
    pub forwarded: Totals,
    /// What policies dropped on purpose.
    pub dropped: Totals,
    /// What was refused of it, by reason.
    pub refused: Vec<RefusedSeries>,
}

impl Stored {
    /// What a sender of 2.0 is told that was written: what was dropped on purpose is nothing that it should miss.
    pub fn written(&self) -> Totals {
        let mut written = self.forwarded;
        written += self.dropped;
        written
    }
}

/// Series of one write that were refused for one reason while the others went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSeries {
    /// The metric's and the log's word.
    pub reason: &'static str,
    pub series: u64,
    pub why: String,
    pub first: Shown,
}

impl RefusedSeries {
    /// So many series that were refused for one reason; `first` are the label bytes of one of them, as it was sent, and
    /// `budget` is the one that was full.
    pub fn of(refusal: Refusal, blame: &Blame, budget: Option<&SeriesBudget>, first: &[u8], series: u64) -> Self {
        let policy = blame.policy.as_deref();
        let policy = policy.map(|name| format!(" (policy {name})")).unwrap_or_default();
        let full = budget.map(|budget| {
            let SeriesBudget {
                name,
                max_active_series,
            } = budget;
            format!(", budget {name:?} of {max_active_series} active series")
        });
        Self {
            reason: refusal.reason(),
            series,
            why: format!("{}{policy}{}", refusal.text(), full.unwrap_or_default()),
            first: Shown::of(label_bytes(first), blame.label.as_deref().map(str::as_bytes)),
        }
    }
}

/// How one failure is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub retry_after_seconds: Option<u64>,
    pub text: String,
    /// The metric's and the log's `reason`.
    pub reason: &'static str,
}

/// What an answer depends on besides the failure.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    pub over_rate: OverRate,
    pub load: Fullness,
    /// The same for all writes of one sender, so that those which had to wait come again in the order in which they came: a
    /// receiver refuses what is older than what it has.
    pub sender: u64,
    /// Any number that differs from request to request.
    pub request: u64,
}

impl Context {
    /// Reasons and retryability depend on nothing but what is over its rate.
    pub const fn plain(over_rate: OverRate) -> Self {
        Self {
            over_rate,
            load: Fullness::NONE,
            sender: 0,
            request: 0,
        }
    }
}

impl Failure {
    /// The one map.
    pub fn answer(&self, context: &Context) -> Answer {
        let keep = |reason, text: &str| Answer {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after_seconds: Some(retry::soon(context.load, context.sender)),
            text: text.to_owned(),
            reason,
        };
        // Those who met a bound together must not meet it together again.
        let full = |reason, text: &str| Answer {
            retry_after_seconds: Some(retry::soon(Fullness::FULL, context.request)),
            ..keep(reason, text)
        };
        let refuse = |status, reason, text: String| Answer {
            status,
            retry_after_seconds: None,
            text,
            reason,
        };
        match self {
            Self::Head(error) => {
                let (status, reason) = match error {
                    HeadError::UnknownPath => (StatusCode::NOT_FOUND, "unknown_path"),
                    HeadError::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
                    HeadError::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type"),
                    HeadError::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding"),
                };
                refuse(status, reason, error.to_string())
            }
            Self::Auth(error) => auth_answer(error, &keep, &full, &refuse),
            Self::PathTenant => refuse(StatusCode::FORBIDDEN, "path_tenant", self.to_string()),
            Self::NotReady(NotReady) => keep("no_generation", "the tenant's policies are not ready"),
            Self::OutOfTurn(OutOfTurn { retry_after }) => Answer {
                retry_after_seconds: Some(retry::once_paid(*retry_after)),
                ..keep("out_of_turn", &self.to_string())
            },
            Self::BoundMet(bound) => {
                let (reason, text) = bounds::told(bound);
                full(reason, text)
            }
            Self::Body(error) => match error {
                BodyError::TooLarge { limit } => refuse(
                    StatusCode::BAD_REQUEST,
                    "body_too_large",
                    format!("the body is larger than max_body_size of {limit} bytes"),
                ),
                BodyError::Framing => refuse(StatusCode::BAD_REQUEST, "body_framing", error.to_string()),
                BodyError::Slow { .. } => keep("slow_body", "the body came too slowly"),
                BodyError::TimedOut { .. } => keep("body_timeout", "the body was not complete in time"),
                BodyError::Disconnected => keep("disconnected", "the connection ended"),
            },
            Self::Snappy(error) => {
                let reason = match error {
                    SnappyError::TooLarge { .. } => "decoded_too_large",
                    SnappyError::Implausible { .. } | SnappyError::Malformed => "snappy",
                    // Of what is encoded, which is no fault of the sender's.
                    SnappyError::TooLong { .. } => return keep(EDITED_TOO_LONG, A_POLICY_FAILED),
                };
                refuse(StatusCode::BAD_REQUEST, reason, error.to_string())
            }
            Self::Scan(error) => {
                let reason = match error {
                    ScanError::Malformed { .. } => "malformed",
                    ScanError::TooManySeries { .. } => "too_many_series",
                    ScanError::TooManyHistograms { .. } => "too_many_histograms",
                    ScanError::TooManyLabels { .. } => "too_many_labels",
                    ScanError::TooManySymbols { .. } => "too_many_symbols",
                    ScanError::WrittenTooLarge { .. } => "decoded_too_large",
                    ScanError::TooLong { .. } => "decoded_too_long",
                    ScanError::NotRewritten => return bug(),
                };
                refuse(StatusCode::BAD_REQUEST, reason, error.to_string())
            }
            Self::Undone(Undone::Lost) => bug(),
            Self::Undone(Undone::Full) | Self::Policy(JudgeError::Undone(Undone::Full)) => {
                full("overloaded_processor", OVERLOADED)
            }
            Self::Policy(error) if error.is_bug() => bug(),
            Self::Policy(error) => Answer {
                retry_after_seconds: Some(retry::once_rested(error.retry_after(), context.load, context.sender)),
                ..keep(error.reason(), A_POLICY_FAILED)
            },
            Self::Refused { text } => refuse(
                StatusCode::BAD_REQUEST,
                "refused_by_policy",
                format!("a policy refused the write: {text}"),
            ),
            Self::OverRate { bucket, retry_after } => Answer {
                status: over_rate_status(context),
                retry_after_seconds: Some(retry::once_paid(*retry_after)),
                text: format!("the tenant is over the rate of {bucket}"),
                reason: "over_rate",
            },
            Self::Charges(_) => keep("policy_charges", A_POLICY_FAILED),
            Self::Route(_) => keep("policy_route", A_POLICY_FAILED),
            Self::Part(error) => match error {
                // A body is encoded from what policies made of one that was taken: its sender has done nothing wrong.
                PartError::Encode(EncodeError::Snappy(_)) => keep(EDITED_TOO_LONG, A_POLICY_FAILED),
                PartError::Encode(EncodeError::Torn(_)) | PartError::NotRouted(_) | PartError::Edits(_) => bug(),
            },
            Self::Bug(_) => bug(),
            Self::Forward(error) => forward_answer(error, context, &keep, &full, &refuse),
        }
    }

    /// How much it weighs among the failures of one write's parts: more where the sender is told to keep the data than
    /// where it may, and that more than any refusal; then the one that is to be waited for the longest.
    pub fn weight(&self, over_rate: OverRate) -> (bool, bool, Option<u64>) {
        let status = self.answer(&Context::plain(over_rate)).status;
        let retry_after = match self {
            Self::Forward(error) => error.retry_after(),
            _ => None,
        };
        (
            status.is_server_error(),
            status == StatusCode::TOO_MANY_REQUESTS,
            retry_after,
        )
    }

    /// The metric's and the log's word.
    pub fn reason(&self) -> &'static str {
        self.answer(&Context::plain(OverRate::Retry)).reason
    }
}

fn auth_answer(
    error: &AuthError,
    keep: &dyn Fn(&'static str, &str) -> Answer,
    full: &dyn Fn(&'static str, &str) -> Answer,
    refuse: &dyn Fn(StatusCode, &'static str, String) -> Answer,
) -> Answer {
    let text = error.to_string();
    match error {
        AuthError::NoCredential => refuse(StatusCode::UNAUTHORIZED, "no_credential", text),
        AuthError::WrongCredential => refuse(StatusCode::UNAUTHORIZED, "wrong_credential", text),
        AuthError::Ambiguous => refuse(StatusCode::FORBIDDEN, "ambiguous_credentials", text),
        AuthError::Disabled { .. } => refuse(StatusCode::FORBIDDEN, "tenant_disabled", text),
        AuthError::Broken => keep("tenant_broken", "the tenant's policies are not ready"),
        AuthError::Unknown => keep("credentials_unknown", &text),
        AuthError::Removed { .. } => keep("credential_removed", &text),
        AuthError::Overloaded => full("overloaded", OVERLOADED),
    }
}

fn forward_answer(
    error: &ForwardError,
    context: &Context,
    keep: &dyn Fn(&'static str, &str) -> Answer,
    full: &dyn Fn(&'static str, &str) -> Answer,
    refuse: &dyn Fn(StatusCode, &'static str, String) -> Answer,
) -> Answer {
    let bad = StatusCode::BAD_REQUEST;
    match error {
        ForwardError::Invalid { .. } => refuse(
            bad,
            "upstream_invalid",
            "the receiver refused the write as invalid".into(),
        ),
        ForwardError::Conflict(conflict) => refuse(bad, reason_of(conflict.class()), conflict_text(conflict)),
        ForwardError::NotWritten { written, sent, why, .. } => refuse(
            bad,
            why.as_ref()
                .map_or("upstream_not_written", |why| reason_of(why.class())),
            not_written_text(written.all_samples(), *sent, why.as_deref()),
        ),
        ForwardError::TooManyRequests { .. } => Answer {
            status: over_rate_status(context),
            retry_after_seconds: Some(as_receivers_say(error, context)),
            text: "the receiver is over its rate".into(),
            reason: "upstream_over_rate",
        },
        ForwardError::Misconfigured { status } | ForwardError::NotRemoteWrite2 { status } => keep(
            "upstream_misconfigured",
            &format!("the receiver answered {status}, which the operator of the gateway has to mend, try again"),
        ),
        ForwardError::Unavailable { status, .. } => Answer {
            retry_after_seconds: Some(as_receivers_say(error, context)),
            ..keep(
                "upstream_unavailable",
                &format!("the receiver answered {status}, try again"),
            )
        },
        ForwardError::Timeout => keep("upstream_timeout", "the receiver did not answer in time"),
        ForwardError::Connect => keep("upstream_connect", "the receiver cannot be reached, try again"),
        ForwardError::Reset => keep("upstream_reset", "the connection to the receiver broke, try again"),
        ForwardError::NoEndpoint => keep("no_endpoint", "no receiver is known at the moment, try again"),
        ForwardError::Overloaded => full("upstream_overloaded", OVERLOADED),
        ForwardError::Nonsense => keep("upstream_nonsense", "the receiver did not answer in HTTP, try again"),
        ForwardError::TenantHeader => bug(),
    }
}

/// Nobody's fault but ours: the sender keeps the data.
fn bug() -> Answer {
    Answer {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        retry_after_seconds: None,
        text: "an error of the gateway".into(),
        reason: "bug",
    }
}

fn over_rate_status(context: &Context) -> StatusCode {
    match context.over_rate {
        OverRate::Retry => StatusCode::SERVICE_UNAVAILABLE,
        OverRate::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
    }
}

fn as_receivers_say(error: &ForwardError, context: &Context) -> u64 {
    match error.retry_after() {
        None => retry::soon(context.load, context.sender),
        Some(seconds) => retry::as_receivers_say(seconds, context.sender),
    }
}

/// The response for a write that was stored, or dropped on purpose, or in part refused.
pub fn stored(stored: &Stored) -> Response<Full<Bytes>> {
    let (status, text) = stored_as(stored);
    if let Some(text) = text {
        return plain(status, &text);
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// Status and text for it.
pub fn stored_as(stored: &Stored) -> (StatusCode, Option<String>) {
    let refused: u64 = stored.refused.iter().map(|refused| refused.series).sum();
    if refused == 0 {
        return (StatusCode::NO_CONTENT, None);
    }
    (StatusCode::BAD_REQUEST, Some(refused_text(stored, Shown::clone)))
}

/// What a sender is told of series that were refused while the others were stored, with each first one as it is `shown`.
pub fn refused_text(stored: &Stored, shown: impl Fn(&Shown) -> Shown) -> String {
    let refused: u64 = stored.refused.iter().map(|refused| refused.series).sum();
    let mut text = format!(
        "{refused} of {} series were refused, the others were stored: ",
        stored.received.series
    );
    for (i, refused) in stored.refused.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        let RefusedSeries { series, why, first, .. } = refused;
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{series}: {why}, as in {}", shown(first));
    }
    text
}

/// The response for a failure.
pub fn failed(answer: &Answer, challenge: impl FnOnce() -> HeaderValue) -> Response<Full<Bytes>> {
    let mut response = plain(answer.status, &answer.text);
    let headers: &mut HeaderMap = response.headers_mut();
    if let Some(seconds) = answer.retry_after_seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match answer.status {
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, challenge());
        }
        _ => {}
    }
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let shown = &text[..text.floor_char_boundary(MAX_TEXT - 1)];
    let mut response = Response::new(Full::from(Bytes::from(format!("{shown}\n"))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
