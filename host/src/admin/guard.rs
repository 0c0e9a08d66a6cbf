//! Who may ask on the operators' listener.
//!
//! Takes a request's head and the configuration in use; gives nothing, or why it is refused. Never reads a body, and
//! never tells a page of the web anything: a browser that runs on an operator's machine reaches loopback, and asks there
//! for whoever wrote the page it shows. Such a request has an `Origin` that is another than its `Host`, or, if the page's
//! own name was made to lead here (DNS rebinding), a `Host` that nobody has given to this listener.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::body::Body;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};

use crate::auth;
use crate::config::{Admin, AdminBasicAuth};

/// Asked for by whatever name the cluster has for this pod, and worth nothing to a page: the numbers can be kept from it
/// by a token.
const BY_ANY_NAME: [&str; 3] = ["/metrics", "/-/healthy", "/-/ready"];
/// The kubelet has no token.
const WITHOUT_TOKEN: [&str; 2] = ["/-/healthy", "/-/ready"];

/// Why a request of an operator is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    #[error("the name in `Host` is not one of this listener; add it to `admin.allowed_hosts` if it should be")]
    UnknownHost,
    #[error("the request comes from a page of another site (`Origin`); pages elsewhere may not use the admin API")]
    OtherOrigin,
    #[error("the admin API asks who you are: `Authorization: Bearer ..`, or `Basic ..`, as `admin` has it")]
    NoCredential,
    #[error("this token, or this username and password, is not that of the admin API")]
    WrongCredential,
}

impl Denial {
    pub(super) fn response(self, admin: &Admin) -> Response<Body> {
        let mut response = Response::new(Body::from(format!("{self}\n")));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        let status = match self {
            Self::UnknownHost | Self::OtherOrigin => StatusCode::FORBIDDEN,
            Self::NoCredential | Self::WrongCredential => {
                // A browser asks its user for a name and a password where it finds `Basic`.
                let basic = admin.basic_auth.as_ref().map(|_| "Basic realm=\"gauntlet\"");
                let bearer = admin.token.as_ref().map(|_| "Bearer");
                for scheme in bearer.into_iter().chain(basic) {
                    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
                }
                StatusCode::UNAUTHORIZED
            }
        };
        *response.status_mut() = status;
        response
    }
}

/// # Errors
/// If the request is not to be answered.
pub(super) fn check(admin: &Admin, uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
    let host = host(uri, headers);
    let known = host.as_ref().is_some_and(|host| is_known(admin, host.host()));
    if !known && !BY_ANY_NAME.contains(&uri.path()) {
        return Err(Denial::UnknownHost);
    }
    if headers.contains_key(ORIGIN) && !is_same_site(only(headers, ORIGIN), host.as_ref()) {
        return Err(Denial::OtherOrigin);
    }
    let is_open = admin.token.is_none() && admin.basic_auth.is_none();
    if is_open || WITHOUT_TOKEN.contains(&uri.path()) {
        return Ok(());
    }
    let given = only(headers, AUTHORIZATION).and_then(|given| auth::split(given.as_bytes()));
    match given {
        None => Err(Denial::NoCredential),
        Some((scheme, given)) if is_operator(admin, scheme, given) => Ok(()),
        Some(_) => Err(Denial::WrongCredential),
    }
}

fn is_operator(admin: &Admin, scheme: &[u8], given: &[u8]) -> bool {
    let is_token = || admin.token.as_ref().is_some_and(|token| token.is(given));
    let is_user = |basic: &AdminBasicAuth| {
        let pair = auth::Pair::decode(given);
        pair.is_some_and(|pair| basic.is(&pair.username, pair.password()))
    };
    match scheme.to_ascii_lowercase().as_slice() {
        b"bearer" => is_token(),
        b"basic" => admin.basic_auth.as_ref().is_some_and(is_user),
        _ => false,
    }
}

/// RFC 9112 section 3.2.2: a URL in the request line counts, and `Host` does not.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let authority: Authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => only(headers, HOST)?.parse().ok()?,
    };
    // No user before the host, and nothing but a port behind it: the parser lets more pass.
    let rest = authority.as_str().strip_prefix(authority.host())?;
    (rest.is_empty() || rest.starts_with(':')).then_some(authority)
}

fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let (first, second) = (all.next()?, all.next());
    second.is_none().then(|| first.to_str().ok()).flatten()
}

/// An address cannot be made to lead elsewhere, so whoever says it means this listener.
fn is_known(admin: &Admin, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_ipv6 = || Some(host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok());
    let listened = admin.listen_address.rsplit_once(':').map(|(host, _)| host);
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok()
        || is_ipv6() == Some(true)
        || listened.is_some_and(|name| name.trim_end_matches('.').eq_ignore_ascii_case(&host))
        || admin.allowed_hosts.contains(&host)
}

/// RFC 6454 section 6.2. The scheme may differ: something before this listener may end TLS.
fn is_same_site(origin: Option<&str>, host: Option<&Authority>) -> bool {
    let (Some(origin), Some(host)) = (origin.and_then(|text| text.parse::<Uri>().ok()), host) else {
        return false;
    };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    origin.authority().is_some_and(|from| {
        let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
        from.host().eq_ignore_ascii_case(host.host()) && port(from) == port(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin() -> Admin {
        Admin {
            listen_address: "Gauntlet.Monitoring:10902".to_owned(),
            allowed_hosts: vec!["gauntlet.example.com".to_owned()],
            token: None,
            basic_auth: None,
            tls: None,
            tap: false,
        }
    }

    fn ask(path: &str, headers: &[(&str, &str)]) -> Result<(), Denial> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        check(&admin(), &path.parse().unwrap(), &map)
    }

    #[test]
    fn a_name_that_is_not_this_listeners_is_refused_and_an_address_never() {
        for host in [
            "127.0.0.1:10902",
            "10.0.0.7",
            "[::1]:10902",
            "[fd00::7]",
            "localhost:9",
            "LOCALHOST.",
            "gauntlet.monitoring:10902",
            "gauntlet.monitoring.",
            "Gauntlet.Example.com",
        ] {
            assert_eq!(ask("/api/v1/status", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:10902",
            "127.1",
            "2130706433",
            "[::1].evil.example",
            "",
            "::1",
            "user@evil.example",
        ] {
            assert_eq!(ask("/-/reload", &[("host", host)]), Err(Denial::UnknownHost), "{host}");
        }
        assert_eq!(ask("/api/v1/status", &[]), Err(Denial::UnknownHost));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(ask("/api/v1/status", &two), Err(Denial::UnknownHost));
        let both = ask("http://evil.example/-/reload", &[("host", "localhost")]);
        assert_eq!(both, Err(Denial::UnknownHost));
    }

    #[test]
    fn scrapes_and_probes_come_by_any_name() {
        for path in BY_ANY_NAME {
            assert_eq!(ask(path, &[("host", "gauntlet-admin.gauntlet.svc:10902")]), Ok(()));
            assert_eq!(ask(path, &[]), Ok(()));
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused_whatever_it_asks_for() {
        let from = |origin| ask("/-/reload", &[("host", "localhost:10902"), ("origin", origin)]);
        for own in ["http://localhost:10902", "https://LOCALHOST:10902"] {
            assert_eq!(from(own), Ok(()), "{own}");
        }
        for other in [
            "http://evil.example",
            "http://localhost:3000",
            "http://localhost",
            "null",
            "",
            "localhost:10902",
            "file://localhost:10902",
            "http://localhost:10902.evil.example",
        ] {
            assert_eq!(from(other), Err(Denial::OtherOrigin), "{other}");
        }
        let host = ("host", "localhost");
        let ended = |origin| ask("/-/reload", &[host, ("origin", origin)]);
        assert_eq!(ended("https://localhost"), Ok(()));
        assert_eq!(ended("https://localhost:80"), Err(Denial::OtherOrigin));
        let two = [host, ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(ask("/metrics", &two), Err(Denial::OtherOrigin));
    }
}
