//! What the span of a write says of it, in the words of OpenTelemetry's conventions for HTTP servers.
//!
//! Takes a request, and what is known of it when it is answered; gives attributes. Never a label of a series, a credential,
//! or the text that a sender is answered.

use std::time::Instant;

use http::header::{HOST, USER_AGENT};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderName, Method};

use super::accessed::reason;
use super::{Answering, Pipeline, Trace};
use crate::head::{self, Head};
use crate::model::{Peer, Protocol, TenantId, plain};
use crate::respond::{Answer, Failure, Stored};
use crate::traces::{Attribute, Collector, Recording, SpanEnd, number, text, texts};

/// Of a text that a sender chose.
const LONGEST: usize = 256;
/// The path with a tenant in it, as a template.
const TENANT_ROUTE: &str = "/api/metrics/v1/{tenant}/api/v1/receive";
/// Those of RFC 9110, and `PATCH`: the conventions have all others be `_OTHER`.
const METHODS: [Method; 9] = [
    Method::POST,
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

impl Pipeline {
    /// The span of the request of this number, if the operator's share is to have one of it.
    pub(super) fn begin_span(
        &self,
        collector: &Collector,
        head: &Parts,
        peer: &Peer,
        number: u64,
        began: Instant,
    ) -> Recording {
        match self.shared.tracer.chooses(number, collector.settings.sample) {
            true => self.begin(head, peer, began),
            false => Recording::default(),
        }
    }

    /// Now that it is known whose write it is: its sender may ask for a span, if it has none.
    pub(super) fn prove_span(
        &self,
        recording: &mut Recording,
        head: &Parts,
        peer: &Peer,
        tenant: &TenantId,
        began: Instant,
    ) {
        if !recording.is_on() && self.shared.tracer.grants(&head.headers, tenant, began) {
            *recording = self.begin(head, peer, began);
        }
        recording.proved(tenant);
    }

    fn begin(&self, head: &Parts, peer: &Peer, began: Instant) -> Recording {
        Recording::begin(&self.shared.tracer, &head.headers, began, || self.of_head(head, peer))
    }

    fn of_head(&self, head: &Parts, peer: &Peer) -> (String, Vec<Attribute>) {
        let method = METHODS.iter().find(|known| **known == head.method);
        let (method, shown) = method.map_or(("_OTHER", "HTTP"), |method| (method.as_str(), method.as_str()));
        let listener = &self.config.remote_write;
        let path = head.uri.path();
        let route = match head::head(&Method::POST, path, &listener.paths) {
            Ok(Head { path_tenant: None }) => Some(path),
            Ok(_) => Some(TENANT_ROUTE),
            Err(_) => None,
        };
        let scheme = if listener.tls.is_some() { "https" } else { "http" };
        let mut attributes = vec![
            text("http.request.method", method),
            text("url.scheme", scheme),
            text("url.path", plain(path, LONGEST)),
            text("client.address", peer.address.ip().to_canonical().to_string()),
            number("client.port", peer.address.port().into()),
        ];
        attributes.extend(route.map(|route| text("http.route", route)));
        attributes.extend(said(head, &USER_AGENT).map(|agent| text("user_agent.original", agent)));
        let server = said(head, &HOST).and_then(|host| host.parse::<Authority>().ok());
        if let Some(server) = server {
            attributes.push(text("server.address", server.host()));
            attributes.extend(server.port_u16().map(|port| number("server.port", port.into())));
        }
        (
            route.map_or_else(|| shown.to_owned(), |route| format!("{shown} {route}")),
            attributes,
        )
    }

    pub(super) fn end_span(
        &self,
        trace: &mut Trace<'_>,
        result: &Result<Stored, (Answer, Failure)>,
        answering: &Answering<'_>,
    ) {
        let recording = std::mem::take(&mut trace.recording);
        recording.end(|| SpanEnd {
            status: answering.status.as_u16(),
            reason: reason(result),
            duration: answering.duration,
            attributes: self.of_answer(trace, answering),
        });
    }

    fn of_answer(&self, trace: &Trace<'_>, answering: &Answering<'_>) -> Vec<Attribute> {
        let mut attributes = vec![
            text("gauntlet.request_id", answering.id),
            number("http.request.body.size", trace.bytes),
        ];
        if trace.bytes > 0 {
            let is_2 = trace.written.is_some();
            let protocol = if is_2 { Protocol::V2 } else { Protocol::V1 };
            attributes.push(text("gauntlet.protocol", protocol.word()));
        }
        let upstreams = self.upstreams_of(trace);
        if !upstreams.is_empty() {
            attributes.push(texts("gauntlet.upstreams", upstreams));
        }
        attributes
    }
}

/// A header that is text.
fn said(head: &Parts, name: &HeaderName) -> Option<String> {
    let value = head.headers.get(name)?.to_str().ok()?;
    Some(plain(value, LONGEST))
}
