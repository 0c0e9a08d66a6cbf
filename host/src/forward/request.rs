//! The request to a receiver, built from nothing (docs/protocol.md, "What is sent to receivers").
//!
//! Takes a session's attribution, a body and [`ForwardedHeaders`], the only thing of the sender's head that gets past this point.
//! Thanos believes its front door: a `THANOS-REPLICA` that slipped through would suppress replication, a second
//! `THANOS-TENANT` name another tenant. So nothing is filtered out here; four headers are let in.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use crate::model::{Protocol, Totals};
use crate::tenant::Attribution;
use crate::traces::{SenderContext, TRACE_PARENT, TRACE_STATE, TraceParent};

const TENANT: HeaderName = HeaderName::from_static("thanos-tenant");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const AGENT: &str = concat!("gauntlet/", env!("CARGO_PKG_VERSION"));

const MAX_REQUEST_ID: usize = 128;

/// One write for one upstream.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub attribution: Attribution,
    /// A request in snappy's block format, of the version that the upstream takes.
    pub body: Bytes,
    /// What is in it.
    pub totals: Totals,
    pub trace: ForwardedHeaders,
}

/// Headers of a sender that may reach a receiver. Made by [`forwarded_headers`] alone.
#[derive(Debug, Clone, Default)]
pub struct ForwardedHeaders(HeaderMap);

impl ForwardedHeaders {
    pub fn as_map(&self) -> &HeaderMap {
        &self.0
    }

    /// Has receivers know their part as part of a span of ours, and no more as one of the sender's.
    pub fn become_part_of(&mut self, span: TraceParent) {
        self.0.insert(TRACE_PARENT, span.header());
    }
}

/// The allow-list: `Retry-Attempt`, `traceparent`, `tracestate` and `X-Request-ID`, each only once and only where it is
/// what its name says.
pub fn forwarded_headers(sender: &HeaderMap) -> ForwardedHeaders {
    let mut allowed = HeaderMap::new();
    let mut pass = |name: HeaderName, valid: fn(&str) -> bool| {
        let value = only(sender, &name).filter(|v| v.to_str().is_ok_and(valid));
        if let Some(value) = value {
            allowed.insert(name, value.clone());
        }
    };
    pass(RETRY_ATTEMPT, |v| {
        (1..=10).contains(&v.len()) && v.bytes().all(|b| b.is_ascii_digit())
    });
    pass(REQUEST_ID, is_request_id);
    if let Some(context) = SenderContext::of(sender) {
        allowed.insert(TRACE_PARENT, context.parent.header());
        allowed.extend(context.state.map(|state| (TRACE_STATE, state)));
    }
    ForwardedHeaders(allowed)
}

/// The sender's `X-Request-ID` if it is one that receivers are told too: the log and they know a write by one name.
pub fn request_id(sender: &HeaderMap) -> Option<&str> {
    only(sender, &REQUEST_ID)?.to_str().ok().filter(|id| is_request_id(id))
}

/// Plain enough for a log line and for anybody's header.
fn is_request_id(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(&b);
    (1..=MAX_REQUEST_ID).contains(&text.len()) && text.bytes().all(legal)
}

/// The value of a header that is there once. Twice is somebody's trick or mistake.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// What all requests to one upstream have in common.
#[derive(Debug, Clone)]
pub struct Template {
    uri: Uri,
    headers: HeaderMap,
}

impl Template {
    /// # Errors
    /// If `path` is not an absolute path.
    pub fn new(path: &str, protocol: Protocol) -> Result<Self, String> {
        let uri = path
            .parse::<PathAndQuery>()
            .ok()
            .filter(|_| path.starts_with('/'))
            .map(Uri::from)
            .ok_or_else(|| path.to_owned())?;
        // To the letter: receivers compare them.
        let (content_type, version) = match protocol {
            Protocol::V1 => ("application/x-protobuf", "0.1.0"),
            Protocol::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let headers = [
            (CONTENT_TYPE, content_type),
            (CONTENT_ENCODING, "snappy"),
            (VERSION, version),
            (USER_AGENT, AGENT),
        ];
        Ok(Self {
            uri,
            headers: headers
                .map(|(n, v)| (n, HeaderValue::from_static(v)))
                .into_iter()
                .collect(),
        })
    }

    /// Asks whether anybody is there, and for nothing else.
    pub fn probe(&self, host: &HeaderValue) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        request
    }

    /// Content-Length is exact because hyper writes the length of the one piece the body is.
    pub fn request(&self, host: &HeaderValue, tenant: &HeaderValue, outgoing: &Outgoing) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(outgoing.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(HOST, host.clone());
        headers.insert(TENANT, tenant.clone());
        for (name, value) in &outgoing.trace.0 {
            headers.insert(name.clone(), value.clone());
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        map
    }

    fn passed(pairs: &[(&str, &str)]) -> Vec<String> {
        let mut names: Vec<String> = forwarded_headers(&headers(pairs))
            .0
            .keys()
            .map(|n| n.to_string())
            .collect();
        names.sort();
        names
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn four_headers_pass_and_no_other() {
        let all = [
            ("Retry-Attempt", "3"),
            ("traceparent", PARENT),
            ("tracestate", "a=1,b=2"),
            ("X-Request-ID", "f00-1"),
            ("THANOS-TENANT", "other"),
            ("THANOS-REPLICA", "1"),
            ("Authorization", "Bearer x"),
            ("Cookie", "a"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Host", "evil"),
            ("Content-Length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "thanos-tenant"),
        ];
        assert_eq!(
            passed(&all),
            ["retry-attempt", "traceparent", "tracestate", "x-request-id"]
        );
    }

    #[test]
    fn a_header_that_is_not_what_its_name_says_does_not_pass() {
        let long_id = "a".repeat(MAX_REQUEST_ID + 1);
        let long_state = format!("a={}", "b".repeat(511));
        for bad in [
            ("retry-attempt", ""),
            ("retry-attempt", "-1"),
            ("retry-attempt", "12345678901"),
            ("x-request-id", ""),
            ("x-request-id", "a b"),
            ("x-request-id", &long_id),
            ("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            ("traceparent", "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
            (
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            ),
            ("tracestate", "a=1"), // without its parent
        ] {
            assert_eq!(passed(&[bad]), Vec::<String>::new(), "{bad:?}");
        }
        assert_eq!(
            passed(&[("traceparent", PARENT), ("tracestate", &long_state)]),
            ["traceparent"]
        );
        assert_eq!(
            passed(&[("retry-attempt", "1"), ("retry-attempt", "2")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn receivers_are_part_of_a_span_of_ours_with_what_was_said_before_it() {
        let sender = headers(&[("traceparent", PARENT), ("tracestate", "a=1")]);
        let mut forwarded = forwarded_headers(&sender);
        let other = PARENT.replace("00f067aa0ba902b7", "1111111111111111");
        let other = headers(&[("traceparent", &other)]);
        forwarded.become_part_of(TraceParent::of(&other).unwrap());
        let values = |name| forwarded.0.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values(TRACE_PARENT), [&other[TRACE_PARENT]]);
        assert_eq!(values(TRACE_STATE), ["a=1"]);
    }

    #[test]
    fn bounds_are_inclusive() {
        let id = "a".repeat(MAX_REQUEST_ID);
        assert_eq!(passed(&[("x-request-id", &id)]), ["x-request-id"]);
        assert_eq!(passed(&[("retry-attempt", "1234567890")]), ["retry-attempt"]);
    }

    #[test]
    fn a_request_id_is_told_in_the_log_exactly_where_receivers_are_told_it() {
        let longest = "a".repeat(MAX_REQUEST_ID);
        let too_long = "a".repeat(MAX_REQUEST_ID + 1);
        for id in ["f00-1", "user@host~1", &longest, &too_long, "", "a b", "a\"b", "é"] {
            let sender = headers(&[("x-request-id", id)]);
            let forwarded = forwarded_headers(&sender).0.get(REQUEST_ID).cloned();
            assert_eq!(
                request_id(&sender).map(str::as_bytes),
                forwarded.as_ref().map(HeaderValue::as_bytes)
            );
        }
        assert_eq!(request_id(&headers(&[("x-request-id", &longest)])), Some(&*longest));
        let twice = headers(&[("x-request-id", "a"), ("x-request-id", "b")]);
        assert_eq!(request_id(&twice), None);
    }

    #[test]
    fn only_an_absolute_path_makes_a_template() {
        for bad in ["", "api", "http://x/y", "*", "/a b"] {
            assert!(Template::new(bad, Protocol::V1).is_err(), "{bad:?}");
        }
        assert!(Template::new("/api/v1/receive?x=1", Protocol::V2).is_ok());
    }
}
