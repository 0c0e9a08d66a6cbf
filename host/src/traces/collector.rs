//! The collector, and one exchange with it: OTLP over HTTP, in protobuf.
//!
//! Takes what is configured and a finished request, gives how many spans of it were refused, or why it was not taken and
//! whether it may be later. Never tries twice: that is `export`'s to decide.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::timeout;

use super::otlp;
use crate::config::TraceSettings;
use crate::model::plain;
use crate::net::{Address, AddressError, Dialer, HttpAnswer, Pool, TextBounds, Tls, TlsFault};

/// One exchange, as SDKs have it.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TEXT: TextBounds = TextBounds {
    bytes: 4096,
    time: Duration::from_secs(2),
};
/// Of an answer's text, in the log.
const SHOWN: usize = 200;
/// A longer `Retry-After` is a mistake, or a collector that will not come back.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("gauntlet/", env!("CARGO_PKG_VERSION")));

/// Where spans go, under one configuration.
pub struct Collector {
    pub settings: TraceSettings,
    address: Address,
    uri: Uri,
    headers: HeaderMap,
    dialer: Dialer,
    pool: Pool,
}

/// A section `traces` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceSetupError {
    #[error("traces.tls_config: {0}")]
    Tls(#[from] TlsFault),
    #[error("traces.endpoint: {0}")]
    Address(#[from] AddressError),
    #[error("traces.endpoint: {0:?} is not an absolute path")]
    Path(String),
}

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotTaken {
    pub(super) why: String,
    /// Whether the same may be taken later.
    pub(super) may_be_later: bool,
    /// When, if the collector says so.
    pub(super) after: Option<Duration>,
}

/// Spans of a request that was taken which the collector refused all the same, and why.
pub(super) type RefusedSpans = Option<(u64, String)>;

impl Collector {
    /// # Errors
    /// What of `settings` cannot be used.
    pub fn new(settings: &TraceSettings) -> Result<Self, TraceSetupError> {
        let path = settings.path.parse::<PathAndQuery>();
        let path = path.map_err(|_| TraceSetupError::Path(settings.path.clone()))?;
        let address = Address::new(settings.https, settings.host.clone(), settings.port, None)?;
        let tls = settings.https.then(|| Tls::new(settings.tls.as_ref())).transpose()?;
        let mut headers: HeaderMap = settings.headers.iter().cloned().collect();
        headers.insert(HOST, address.host_header().clone());
        headers.insert(CONTENT_TYPE, PROTOBUF);
        headers.entry(USER_AGENT).or_insert(AGENT);
        Ok(Self {
            settings: settings.clone(),
            uri: path.into(),
            headers,
            dialer: Dialer {
                tls,
                connect_timeout: CONNECT_TIMEOUT,
            },
            pool: Pool::default(),
            address,
        })
    }

    pub(super) async fn send(&self, body: &Bytes) -> Result<RefusedSpans, NotTaken> {
        let exchange = self
            .pool
            .exchange(&self.address, &self.dialer, TEXT, || self.request(body));
        match timeout(TIMEOUT, exchange).await {
            Ok(Ok(answer)) => judge(&answer),
            Ok(Err(error)) => Err(NotTaken::passing(error.to_string())),
            Err(_) => Err(NotTaken::passing(format!("no answer in {} s", TIMEOUT.as_secs()))),
        }
    }

    fn request(&self, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }
}

impl NotTaken {
    fn passing(why: String) -> Self {
        Self {
            why,
            may_be_later: true,
            after: None,
        }
    }
}

/// The OTLP specification, "OTLP/HTTP response": which statuses are to be tried again.
fn judge(answer: &HttpAnswer) -> Result<RefusedSpans, NotTaken> {
    let status = answer.status;
    if status.is_success() {
        return Ok(otlp::refused(&answer.text));
    }
    let text = plain(String::from_utf8_lossy(&answer.text).trim(), SHOWN);
    let may_be_later = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    Err(NotTaken {
        why: format!("it answered {}: {text}", status.as_u16()),
        may_be_later,
        after: answer
            .retry_after(SystemTime::now())
            .map(|after| after.min(LONGEST_WAIT)),
    })
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::*;

    fn answer(status: u16, retry_after: Option<&'static str>) -> HttpAnswer {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|after| (RETRY_AFTER, HeaderValue::from_static(after))));
        HttpAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            text: b"why\n".to_vec(),
            again: false,
        }
    }

    #[test]
    fn what_is_to_be_tried_again_is_what_the_specification_says() {
        for status in [200, 202, 204] {
            assert_eq!(judge(&answer(status, None)), Ok(None));
        }
        for (status, may_be_later) in [
            (400, false),
            (401, false),
            (404, false),
            (413, false),
            (500, false),
            (307, false),
            (429, true),
            (502, true),
            (503, true),
            (504, true),
        ] {
            let refusal = judge(&answer(status, None)).unwrap_err();
            assert_eq!(refusal.may_be_later, may_be_later, "{status}");
            assert_eq!(refusal.why, format!("it answered {status}: why"));
        }
    }

    #[test]
    fn when_a_collector_wants_to_be_asked_again_is_bounded() {
        for (text, after) in [
            ("3", Some(3)),
            ("86400", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let refusal = judge(&answer(503, Some(text))).unwrap_err();
            assert_eq!(refusal.after, after.map(Duration::from_secs), "{text}");
        }
    }
}
