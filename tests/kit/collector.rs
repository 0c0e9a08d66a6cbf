//! A fake OpenTelemetry collector: takes traces by OTLP over HTTP, and answers as it is told.
//!
//! Takes requests on a port the system picks, in the test's own runtime; gives the spans in them, decoded with messages of its
//! own. A body that it cannot read fails the test.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpListener;

use crate::deadline::eventually;

/// What a span of a write that nothing held up has as events, in their order.
pub const STAGES: [&str; 7] = [
    "authenticated",
    "body read",
    "decoded",
    "judged",
    "admitted",
    "encoded",
    "upstream answered",
];

/// One span as it arrived.
#[derive(Clone, Debug)]
pub struct SpanSeen {
    pub name: String,
    pub kind: i32,
    /// Hexadecimal, as `traceparent` writes them.
    pub trace: String,
    pub id: String,
    /// Empty: it has none.
    pub parent: String,
    pub state: String,
    pub flags: u32,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<EventSeen>,
    /// 2 is an error.
    pub status: i32,
    /// Of whoever sent it.
    pub resource: BTreeMap<String, String>,
    /// Of the request that it came in.
    pub headers: HeaderMap,
}

#[derive(Clone, Debug)]
pub struct EventSeen {
    pub time: u64,
    pub name: String,
    pub attributes: BTreeMap<String, String>,
}

impl SpanSeen {
    pub fn is(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }

    pub fn stages(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.name.as_str()).collect()
    }
}

#[derive(Default)]
struct State {
    spans: Mutex<Vec<SpanSeen>>,
    /// Statuses for the next requests; then 200.
    next: Mutex<VecDeque<u16>>,
    failure: Mutex<Option<String>>,
}

/// Stops when dropped.
pub struct FakeCollector {
    pub address: SocketAddr,
    state: Arc<State>,
    serving: tokio::task::JoinHandle<()>,
}

impl FakeCollector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(request, Arc::clone(&state)));
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self {
            address,
            state,
            serving,
        }
    }

    /// As it is configured.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Refuses the next requests so.
    pub fn refuse_next(&self, statuses: impl IntoIterator<Item = u16>) {
        self.state.next.lock().unwrap().extend(statuses);
    }

    pub fn spans(&self) -> Vec<SpanSeen> {
        if let Some(failure) = self.state.failure.lock().unwrap().as_ref() {
            panic!("in the collector: {failure}");
        }
        self.state.spans.lock().unwrap().clone()
    }

    /// Waits until there are so many spans, in the order they came.
    pub async fn expect_spans(&self, n: usize) -> Vec<SpanSeen> {
        eventually(&format!("{n} spans at a collector"), async || {
            let spans = self.spans();
            (spans.len() >= n).then_some(spans)
        })
        .await
    }
}

impl Drop for FakeCollector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let status = state.next.lock().unwrap().pop_front();
    // A sender that hung up has sent nothing.
    if let Ok(body) = body.collect().await
        && status.is_none()
    {
        match seen(&head, body.to_bytes()) {
            Ok(spans) => state.spans.lock().unwrap().extend(spans),
            Err(failure) => *state.failure.lock().unwrap() = Some(failure),
        }
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = http::StatusCode::from_u16(status.unwrap_or(200)).unwrap();
    Ok(response)
}

fn seen(head: &http::request::Parts, body: Bytes) -> Result<Vec<SpanSeen>, String> {
    let said = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if (head.method.as_str(), said("content-type")) != ("POST", Some("application/x-protobuf")) {
        return Err(format!("no OTLP over HTTP: {head:?}"));
    }
    let request = ExportRequest::decode(body).map_err(|error| error.to_string())?;
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = map(of_resource.resource.unwrap_or_default().attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(SpanSeen {
                name: span.name,
                kind: span.kind,
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                state: span.trace_state,
                flags: span.flags,
                start: span.start_time_unix_nano,
                end: span.end_time_unix_nano,
                attributes: map(span.attributes),
                events: span.events.into_iter().map(EventSeen::of).collect(),
                status: span.status.unwrap_or_default().code,
                resource: resource.clone(),
                headers: head.headers.clone(),
            });
        }
    }
    Ok(spans)
}

impl EventSeen {
    fn of(event: Event) -> Self {
        Self {
            time: event.time_unix_nano,
            name: event.name,
            attributes: map(event.attributes),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn map(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let pairs = attributes
        .into_iter()
        .map(|pair| (pair.key, pair.value.unwrap_or_default().text()));
    pairs.collect()
}

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
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
}

#[derive(Clone, PartialEq, Message)]
struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

impl AnyValue {
    /// Of a list, its values with commas between.
    fn text(self) -> String {
        match self.value {
            None => String::new(),
            Some(Value::Text(text)) => text,
            Some(Value::Bool(value)) => value.to_string(),
            Some(Value::Int(value)) => value.to_string(),
            Some(Value::Double(value)) => value.to_string(),
            Some(Value::Array(list)) => {
                let values = list.values.into_iter().map(Self::text);
                values.collect::<Vec<_>>().join(",")
            }
        }
    }
}
