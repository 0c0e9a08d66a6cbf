//! The messages of OTLP that a span needs, and no others (opentelemetry-proto 1.x, `trace/v1` and `collector/trace/v1`).
//!
//! Takes spans, gives bytes; takes a collector's answer, gives what it refused. Written by hand: the numbers of these fields
//! are fixed for good, and the crate that has them brings a whole SDK along. A span becomes bytes as soon as it has ended,
//! so that what waits is counted to the byte: in the request it stands as bytes, which is the same on the wire.

use bytes::Bytes;
use prost::Message;

/// What is known of a span or an event: a key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 3, 5")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
    #[prost(message, tag = "5")]
    List(AnyValues),
}

#[derive(Clone, PartialEq, Message)]
struct AnyValues {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(super) trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) name: String,
    #[prost(int32, tag = "6")]
    pub(super) kind: i32,
    #[prost(fixed64, tag = "7")]
    pub(super) start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub(super) end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub(super) attributes: Vec<Attribute>,
    #[prost(message, repeated, tag = "11")]
    pub(super) events: Vec<SpanEvent>,
    #[prost(uint32, tag = "12")]
    pub(super) dropped_events_count: u32,
    #[prost(message, optional, tag = "15")]
    pub(super) status: Option<SpanStatus>,
    #[prost(fixed32, tag = "16")]
    pub(super) flags: u32,
}

/// Whose span ends with an answer to somebody else.
pub(super) const KIND_SERVER: i32 = 2;
/// Bit 8 of a span's flags says that bit 9 is known: whether the parent is somebody else's.
pub(super) const HAS_IS_REMOTE: u32 = 0x100;
pub(super) const IS_REMOTE: u32 = 0x200;

#[derive(Clone, PartialEq, Message)]
pub(super) struct SpanEvent {
    #[prost(fixed64, tag = "1")]
    pub(super) time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SpanStatus {
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(int32, tag = "3")]
    pub(super) code: i32,
}

pub(super) const STATUS_ERROR: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    spans: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

pub fn text(key: &str, value: impl Into<String>) -> Attribute {
    attribute(key, Any::Text(value.into()))
}

pub fn number(key: &str, value: u64) -> Attribute {
    attribute(key, Any::Number(i64::try_from(value).unwrap_or(i64::MAX)))
}

pub fn texts(key: &str, values: impl IntoIterator<Item = String>) -> Attribute {
    let one = |value| AnyValue {
        value: Some(Any::Text(value)),
    };
    let values = values.into_iter().map(one).collect();
    attribute(key, Any::List(AnyValues { values }))
}

fn attribute(key: &str, value: Any) -> Attribute {
    Attribute {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

impl Span {
    pub(super) fn encoded(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

/// One request with `spans`, each encoded, of the process that `resource` tells of.
pub(super) fn request(resource: &[Attribute], spans: Vec<Bytes>) -> Bytes {
    let scope = Scope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let resource_spans = ResourceSpans {
        resource: Some(Resource {
            attributes: resource.to_vec(),
        }),
        scope_spans: vec![ScopeSpans {
            scope: Some(scope),
            spans,
        }],
    };
    let request = ExportRequest {
        resource_spans: vec![resource_spans],
    };
    request.encode_to_vec().into()
}

/// How many spans a collector refused of those that it answers 2xx for, and why. What is no such message refuses none.
pub(super) fn refused(answer: &[u8]) -> Option<(u64, String)> {
    let partial = ExportResponse::decode(answer).ok()?.partial_success?;
    let refused = u64::try_from(partial.rejected_spans).ok().filter(|count| *count > 0)?;
    Some((refused, partial.error_message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_holds_its_spans_as_if_they_were_messages_in_it() {
        let span = Span {
            name: "a".to_owned(),
            kind: KIND_SERVER,
            ..Span::default()
        };
        let request = request(&[text("service.name", "g")], vec![span.encoded(), span.encoded()]);
        // ResourceSpans, its ScopeSpans, in which each span is field 2 with its length before it.
        let one = [&[0x12, span.encoded().len() as u8][..], &span.encoded()].concat();
        let both = [&one[..], &one].concat();
        assert!(request.ends_with(&both), "{request:?}");
        assert_eq!(request[0], 0x0a);
        assert_eq!(request[1] as usize, request.len() - 2);
    }

    #[test]
    fn what_a_collector_refused_is_what_it_says_and_nothing_else() {
        let partial = |rejected_spans| {
            let partial_success = Some(PartialSuccess {
                rejected_spans,
                error_message: "too old".to_owned(),
            });
            ExportResponse { partial_success }.encode_to_vec()
        };
        assert_eq!(refused(&partial(3)), Some((3, "too old".to_owned())));
        for none in [&partial(0)[..], &partial(-1), b"", b"{}", b"\xff"] {
            assert_eq!(refused(none), None, "{none:?}");
        }
    }
}
