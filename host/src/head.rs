//! The request's head: is this a remote write, and which schema and encoding does it claim.
//!
//! Takes method, path and headers; gives a [`Head`] or the reason there is none. Reads no body and knows no tenant, so
//! that a sender which speaks another protocol learns it before it sends megabytes. Pure.

use std::borrow::Cow;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method};

use crate::config::{TENANT_PREFIX, WRITE_PATHS};
use crate::model::{Protocol, TenantId, TenantIdError};

const V1: &str = "prometheus.WriteRequest";
const V2: &str = "io.prometheus.write.v2.Request";

/// The one of the specifications, and those that protobuf has elsewhere.
const PROTOBUF: [&str; 3] = [
    "application/x-protobuf",
    "application/protobuf",
    "application/vnd.google.protobuf",
];
/// What programs say that say the same of whatever they send: Telegraf, unless it is told otherwise, and upload libraries.
/// Thanos takes them, since it looks at no media type.
const SAY_NOTHING: [&str; 2] = ["text/plain", "application/octet-stream"];

/// What a write's head said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The tenant in `/api/metrics/v1/{tenant}/api/v1/receive`; must be the credential's.
    pub path_tenant: Option<Result<TenantId, PathTenantError>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("there is nothing at this path")]
    UnknownPath,
    #[error("remote write is sent with POST")]
    Method,
    #[error(
        "the media type is not supported; remote write 1.0 is application/x-protobuf, and 2.0 is that with proto={V2}"
    )]
    MediaType,
    #[error("the encoding is not supported; remote write is compressed with snappy in the block format")]
    Encoding,
}

/// Reads the head of one request. Writes are taken at `also` as well as at the customary paths.
///
/// # Errors
/// The first thing that is no remote write request, in the order path, method. Media type and encoding are
/// [`schema`]'s, after the tenant is proved.
pub fn head(method: &Method, path: &str, also: &[String]) -> Result<Head, HeadError> {
    let path_tenant = path_tenant(path);
    // A path with no tenant in the tenant's place is no path of ours; any other tenant there is somebody's mistake.
    let nobody = Some(Err(PathTenantError::Id(TenantIdError::Empty)));
    let is_known = || WRITE_PATHS.contains(&path) || also.iter().any(|other| other == path);
    if path_tenant == nobody || (path_tenant.is_none() && !is_known()) {
        return Err(HeadError::UnknownPath);
    }
    if method != Method::POST {
        return Err(HeadError::Method);
    }
    Ok(Head { path_tenant })
}

/// Which remote write the body claims to be, in snappy; a missing header claims 1.0, and snappy. What
/// `X-Prometheus-Remote-Write-Version` says is nothing to go by: the media type names the message.
///
/// # Errors
/// Anything else is answered 415, as the remote write 2.0 specification says: it makes a sender that can fall back do so.
pub fn schema(headers: &HeaderMap) -> Result<Protocol, HeadError> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let mut protocol = Protocol::V1;
    if let Some(first) = types.next() {
        let message = first.to_str().ok().filter(|_| types.next().is_none()).and_then(message);
        protocol = match message.as_deref() {
            Some(V1) => Protocol::V1,
            Some(V2) => Protocol::V2,
            _ => return Err(HeadError::MediaType),
        };
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if let Some(first) = encodings.next()
        && (encodings.next().is_some() || !first.to_str().is_ok_and(|e| e.trim().eq_ignore_ascii_case("snappy")))
    {
        return Err(HeadError::Encoding);
    }
    Ok(protocol)
}

/// Whether the sender is one that sends the same series from several queues, so that a newer write overtakes one that waits: a
/// vmagent, by what it calls itself.
pub fn has_several_queues(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT);
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"vmagent"))
}

/// The message that a media type of [`PROTOBUF`] says it holds, [`V1`] if it does not say, as RFC 9110 section 8.3.1 writes
/// it: type, subtype and parameter names in any case, spaces around `;`, values as token or quoted string.
fn message(text: &str) -> Option<Cow<'static, str>> {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let is_one_of = |names: &[&str]| names.iter().any(|name| essence.trim().eq_ignore_ascii_case(name));
    if is_one_of(&SAY_NOTHING) {
        return Some(Cow::Borrowed(V1));
    }
    if !is_one_of(&PROTOBUF) {
        return None;
    }
    let mut rest = parameters.trim();
    let mut proto = None;
    while !rest.is_empty() {
        let (name, value, after) = parameter(rest)?;
        if name.eq_ignore_ascii_case("proto") && proto.replace(value).is_some() {
            return None;
        }
        rest = after.trim_start_matches([';', ' ', '\t']);
    }
    Some(proto.map_or(Cow::Borrowed(V1), Cow::Owned))
}

/// One `name=value` and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = text.split_once('=')?;
    if name.is_empty() || name.contains([' ', '"', ';']) {
        return None;
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in quoted.char_indices() {
            match c {
                _ if escaped => {
                    value.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => return Some((name, value, quoted[at + 1..].trim_start())),
                _ => value.push(c),
            }
        }
        return None;
    }
    let end = rest.find(';').unwrap_or(rest.len());
    Some((name, rest[..end].trim_end().to_owned(), &rest[end..]))
}

/// The tenant named by `/api/metrics/v1/{tenant}/api/v1/receive`; `None` for any other path.
///
/// It proves nothing: the caller compares it with the credential's and answers 403 where they differ. The segment
/// is percent-decoded exactly once and must then be a legal id, so an encoded slash, dot segment or second layer
/// of encoding is an error, never another tenant.
fn path_tenant(path: &str) -> Option<Result<TenantId, PathTenantError>> {
    let segment = path.strip_prefix(TENANT_PREFIX)?.strip_suffix("/api/v1/receive")?;
    if segment.contains('/') {
        return None;
    }
    Some(decode_percent(segment).and_then(|id| Ok(TenantId::new(&id)?)))
}

/// Why a path names no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathTenantError {
    #[error("the tenant in the path is not well encoded")]
    Encoding,
    #[error(transparent)]
    Id(#[from] TenantIdError),
}

fn decode_percent(text: &str) -> Result<String, PathTenantError> {
    let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(high), Some(low)) => decoded.push((high * 16 + low) as u8),
            _ => return Err(PathTenantError::Encoding),
        }
    }
    String::from_utf8(decoded).map_err(|_| PathTenantError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: http::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_paths_of_remote_write_are_known_and_no_others() {
        for path in ["/api/v1/receive", "/api/v1/write", "/api/v1/push"] {
            assert_eq!(head(&Method::POST, path, &[]), Ok(Head { path_tenant: None }));
        }
        let team = TenantId::new("team-a").unwrap();
        let of = head(&Method::POST, "/api/metrics/v1/team-a/api/v1/receive", &[]);
        assert_eq!(
            of,
            Ok(Head {
                path_tenant: Some(Ok(team))
            })
        );
        for path in [
            "/",
            "/api/v1/receive/",
            "/api/metrics/v1//api/v1/receive",
            "/api/metrics/v1/a/b/api/v1/receive",
        ] {
            assert_eq!(head(&Method::POST, path, &[]), Err(HeadError::UnknownPath), "{path}");
        }
        assert_eq!(head(&Method::GET, "/api/v1/receive", &[]), Err(HeadError::Method));
        assert_eq!(head(&Method::GET, "/nowhere", &[]), Err(HeadError::UnknownPath));
    }

    #[test]
    fn an_operators_paths_take_writes_as_they_are_written() {
        let also = ["/prometheus/write".to_owned()];
        let ask = |method: &Method, path| head(method, path, &also);
        assert_eq!(ask(&Method::POST, "/prometheus/write"), Ok(Head { path_tenant: None }));
        assert_eq!(ask(&Method::POST, "/api/v1/push"), Ok(Head { path_tenant: None }));
        assert_eq!(ask(&Method::GET, "/prometheus/write"), Err(HeadError::Method));
        for path in [
            "/prometheus/write/",
            "/prometheus",
            "/Prometheus/write",
            "/prometheus%2fwrite",
        ] {
            assert_eq!(ask(&Method::POST, path), Err(HeadError::UnknownPath), "{path}");
        }
    }

    #[test]
    fn media_types_are_read_as_rfc_9110_writes_them() {
        for good in [
            "application/x-protobuf",
            "Application/X-Protobuf",
            "application/x-protobuf;proto=prometheus.WriteRequest",
            "application/x-protobuf ; Proto=\"prometheus.WriteRequest\"",
            "application/x-protobuf; charset=utf-8; proto=prometheus.WriteRequest ",
            "application/x-protobuf;",
            "application/protobuf",
            "application/vnd.google.protobuf; charset=utf-8",
            "text/plain; charset=utf-8",
            "application/octet-stream",
        ] {
            assert_eq!(schema(&with(CONTENT_TYPE, &[good])), Ok(Protocol::V1), "{good}");
        }
        for bad in [
            "application/json",
            "application/x-www-form-urlencoded",
            "application/protobuf;proto=io.prometheus.write.v3.Request",
            "text/html",
            "application/json;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf;proto=io.prometheus.write.v3.Request",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf;proto=prometheus.WriteRequest;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf;proto",
            "application/x-protobuf;proto=\"prometheus.WriteRequest",
            "",
        ] {
            assert_eq!(schema(&with(CONTENT_TYPE, &[bad])), Err(HeadError::MediaType), "{bad}");
        }
        assert_eq!(schema(&HeaderMap::new()), Ok(Protocol::V1));
        let twice = with(CONTENT_TYPE, &["application/x-protobuf", "application/x-protobuf"]);
        assert_eq!(schema(&twice), Err(HeadError::MediaType));
    }

    #[test]
    fn remote_write_2_is_told_apart_by_its_media_type_alone() {
        for v2 in [
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "application/x-protobuf; proto=\"io.prometheus.write.v2.Request\"",
            "Application/X-Protobuf ; Proto=io.prometheus.write.v2.Request; charset=utf-8",
        ] {
            assert_eq!(schema(&with(CONTENT_TYPE, &[v2])), Ok(Protocol::V2), "{v2}");
        }
        let version = http::HeaderName::from_static("x-prometheus-remote-write-version");
        assert_eq!(schema(&with(version, &["2.0.0"])), Ok(Protocol::V1));
    }

    #[test]
    fn a_2_0_write_in_another_encoding_than_snappy_is_not_taken() {
        let mut headers = with(
            CONTENT_TYPE,
            &["application/x-protobuf;proto=io.prometheus.write.v2.Request"],
        );
        headers.insert(CONTENT_ENCODING, "zstd".parse().unwrap());
        assert_eq!(schema(&headers), Err(HeadError::Encoding));
        headers.insert(CONTENT_ENCODING, "snappy".parse().unwrap());
        assert_eq!(schema(&headers), Ok(Protocol::V2));
    }

    #[test]
    fn snappy_is_the_only_encoding() {
        assert_eq!(schema(&with(CONTENT_ENCODING, &["snappy"])), Ok(Protocol::V1));
        assert_eq!(schema(&with(CONTENT_ENCODING, &["Snappy"])), Ok(Protocol::V1));
        for bad in [
            &["zstd"][..],
            &["gzip"],
            &["identity"],
            &["x-snappy-framed"],
            &["snappy, gzip"],
            &["snappy", "snappy"],
        ] {
            assert_eq!(
                schema(&with(CONTENT_ENCODING, bad)),
                Err(HeadError::Encoding),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_path_tenant_is_decoded_once_and_checked() {
        let path = |tenant: &str| path_tenant(&format!("/api/metrics/v1/{tenant}/api/v1/receive"));
        let id = |text| Some(Ok(TenantId::new(text).unwrap()));
        assert_eq!(path("kazusa"), id("kazusa"));
        assert_eq!(path("k%61zusa"), id("kazusa"));
        assert_eq!(path("team%28a%29"), id("team(a)"));
        assert_eq!(
            path("a%2Fb"),
            Some(Err(PathTenantError::Id(TenantIdError::Character('/'))))
        );
        assert_eq!(path("%2e%2E"), Some(Err(PathTenantError::Id(TenantIdError::Dots))));
        assert_eq!(
            path("a%00"),
            Some(Err(PathTenantError::Id(TenantIdError::Character('\0'))))
        );
        // Decoded twice this would be `kazusa`.
        assert_eq!(
            path("k%2561zusa"),
            Some(Err(PathTenantError::Id(TenantIdError::Character('%'))))
        );
        assert_eq!(path(""), Some(Err(PathTenantError::Id(TenantIdError::Empty))));
        for broken in ["%", "a%4", "a%zz", "%ff", "a%+1"] {
            assert_eq!(path(broken), Some(Err(PathTenantError::Encoding)), "{broken}");
        }
    }

    #[test]
    fn other_paths_name_no_tenant() {
        for path in [
            "/api/v1/receive",
            "/api/metrics/v1/kazusa/api/v1/query",
            "/api/metrics/v1/a/b/api/v1/receive",
            "/api/metrics/v1/api/v1/receive",
            "/api/metrics/v1/kazusa/api/v1/receive/",
            "/x/api/metrics/v1/kazusa/api/v1/receive",
        ] {
            assert_eq!(path_tenant(path), None, "{path}");
        }
    }
}
