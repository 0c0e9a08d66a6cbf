//! Spans of writes: how many there are, and the collector that they are sent to.
//!
//! Takes the section of the main file, gives resolved values. Never quotes what is in the files of its headers.

use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};

use super::section::{Field, Section, quote};
use super::{TlsClient, TraceSettings, door, endpoint, secret};

/// One in a hundred.
const SAMPLE: f64 = 0.01;
/// Where a collector takes traces over HTTP, by the OTLP specification.
const PATH: &str = "/v1/traces";
/// Where it takes them over gRPC.
const GRPC_PORT: u16 = 4317;
const MAX_HEADERS: usize = 16;
/// They are the exporter's own, or would make another message of it.
const NOT_TO_BE_SET: [HeaderName; 8] = [
    HOST,
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    TRANSFER_ENCODING,
    CONNECTION,
    TE,
    UPGRADE,
];

pub(super) fn traces(
    mut section: Section<'_>,
    tls_client: impl Fn(Section<'_>) -> Option<TlsClient>,
) -> Option<TraceSettings> {
    let endpoint = section.require("endpoint").and_then(|field| endpoint(&field));
    let is_http = endpoint.as_ref().is_some_and(|(https, ..)| !https);
    let sample = section.field("sample").map_or(Some(SAMPLE), |field| field.share());
    let files = section.field("header_files");
    if let Some(field) = files.as_ref().filter(|field| is_http && !field.is_empty()) {
        let message = "these secrets cross the network without encryption, because the endpoint is not https";
        field.source.warn(field.place(), &field.path, message);
    }
    let headers = files.map(|field| headers(&field)).unwrap_or_default();
    let tls = section.field("tls_config");
    if let Some(field) = tls.as_ref().filter(|_| is_http) {
        let message = "this is not used, because the endpoint is not https";
        field.source.warn(field.place(), &field.path, message);
    }
    let tls = tls.and_then(|field| field.section()).and_then(tls_client);
    section.close();
    let (https, host, port, path) = endpoint?;
    Some(TraceSettings {
        https,
        host,
        port,
        path,
        sample: sample?,
        headers,
        tls,
    })
}

fn endpoint(field: &Field<'_>) -> Option<(bool, String, u16, String)> {
    let (https, host, port, path) = match endpoint::url(field.text()?) {
        Ok(url) => url,
        Err(fault) => {
            field.fail(fault);
            return None;
        }
    };
    let path = if path.is_empty() { PATH } else { path };
    if !door::is_path(path) {
        field.fail("expected a path such as `/v1/traces` after the port, without a query");
        return None;
    }
    if port == GRPC_PORT {
        let message = "4317 is usually the port for OTLP over gRPC; traces are sent by OTLP over HTTP, usually at 4318";
        field.source.warn(field.place(), &field.path, message);
    }
    Some((https, host, port, path.to_owned()))
}

/// By name, each from a file.
fn headers(map: &Field<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (key, field) in map.named() {
        let name = match HeaderName::from_bytes(key.text.as_bytes()) {
            Ok(name) if NOT_TO_BE_SET.contains(&name) => {
                field.fail(format!("`{name}` is set by the gateway itself"));
                continue;
            }
            Ok(name) if headers.iter().any(|(other, _)| *other == name) => {
                field.fail(format!("`{name}` is listed twice"));
                continue;
            }
            Ok(name) => name,
            Err(_) => {
                field.fail(format!("`{}` is not the name of a header", quote(&key.text)));
                continue;
            }
        };
        let Some(secret) = secret::secret_file(&field) else {
            continue;
        };
        match HeaderValue::from_bytes(&secret) {
            Ok(mut value) => {
                value.set_sensitive(true);
                headers.push((name, value));
            }
            Err(_) => field.fail("the file holds a second line or a character that no header may have"),
        }
    }
    if headers.len() > MAX_HEADERS {
        map.fail(format!("there may be at most {MAX_HEADERS} headers"));
    }
    headers
}
