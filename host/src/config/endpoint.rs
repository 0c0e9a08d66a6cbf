//! Where receivers are found and where listeners listen, as text.
//!
//! Takes `http://h:p`, `dns+h:p`, `dnssrv+_svc._tcp.name` and `host:port`, gives checked parts. Ports are
//! never guessed: Thanos' 19291 and https' 443 would both be reasonable, and the wrong one is found out
//! only in production. Credentials, paths and queries in an endpoint are refused, because the path is the
//! upstream's and secrets do not belong in URLs.

use std::net::{IpAddr, Ipv6Addr};

use super::EndpointSpec;
use super::nearest::nearest;

const SCHEMES: [&str; 6] = [
    "http://",
    "https://",
    "dns+",
    "dns+https://",
    "dnssrv+",
    "dnssrv+https://",
];

/// Parses one endpoint.
///
/// # Errors
/// What is wrong, and the scheme that was perhaps meant.
pub(super) fn parse(text: &str) -> Result<EndpointSpec, (String, Option<&'static str>)> {
    let plain = |message: String| (message, None);
    if let Some(rest) = text.strip_prefix("dnssrv+") {
        let (https, rest) = web_scheme(rest).unwrap_or((false, rest));
        return srv_name(rest)
            .map(|name| EndpointSpec::DnsSrv { https, name })
            .map_err(plain);
    }
    if let Some(rest) = text.strip_prefix("dns+") {
        let (https, rest) = web_scheme(rest).unwrap_or((false, rest));
        let (host, port) = authority(rest).map_err(plain)?;
        if host.parse::<IpAddr>().is_ok() {
            return Err(plain(
                "`dns+` looks a name up; write an address as `http://address:port`".to_owned(),
            ));
        }
        return Ok(EndpointSpec::Dns { https, host, port });
    }
    let Some((https, rest)) = web_scheme(text) else {
        let scheme = text
            .find("://")
            .map(|end| end + 3)
            .or_else(|| text.find('+').map(|end| end + 1))
            .unwrap_or(0);
        let near = if host_port(text).is_ok() {
            Some(SCHEMES[0])
        } else {
            nearest(&text[..scheme], SCHEMES)
        };
        return Err((format!("an endpoint starts with `{}`", SCHEMES.join("`, `")), near));
    };
    let (host, port) = authority(rest).map_err(plain)?;
    Ok(EndpointSpec::Static { https, host, port })
}

/// An address with a path: `http://host:port/path`; its parts, of which the path may be empty.
///
/// # Errors
/// What is wrong.
pub(super) fn url(text: &str) -> Result<(bool, String, u16, &str), String> {
    let (https, rest) = web_scheme(text).ok_or("expected `http://host:port/path` or `https://host:port/path`")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority(host)?;
    Ok((https, host, port, path))
}

fn web_scheme(text: &str) -> Option<(bool, &str)> {
    let https = text.strip_prefix("https://").map(|rest| (true, rest));
    https.or_else(|| text.strip_prefix("http://").map(|rest| (false, rest)))
}

fn authority(text: &str) -> Result<(String, u16), String> {
    if text.contains('@') {
        return Err("an endpoint cannot hold a user or a password".to_owned());
    }
    if text.contains(['/', '?', '#']) {
        return Err("an endpoint ends after the port; write the path as the upstream's `path`".to_owned());
    }
    let (host, port) = host_port(text)?;
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if port == 0 {
        return Err("port 0 cannot be connected to".to_owned());
    }
    Ok((host, port))
}

fn srv_name(text: &str) -> Result<String, String> {
    if text.contains(':') {
        return Err("a `dnssrv+` endpoint has no port; the SRV records carry theirs".to_owned());
    }
    let mut labels = text.split('.');
    let service = labels
        .next()
        .is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    let protocol = labels.next().is_some_and(|label| matches!(label, "_tcp" | "_udp"));
    if !service || !protocol || !is_name(text) {
        return Err("expected a name such as `_remote-write._tcp.receiver.example.com` after `dnssrv+`".to_owned());
    }
    Ok(text.to_owned())
}

/// Splits and checks `host:port`; an IPv6 address stands in brackets and is given without them.
fn host_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").ok_or("expected `[address]:port`")?,
        None => text.rsplit_once(':').ok_or("the port is missing: write `host:port`")?,
    };
    let sound = match text.starts_with('[') {
        true => host.parse::<Ipv6Addr>().is_ok(),
        false => host.is_empty() || is_name(host),
    };
    if !sound {
        return Err("the host is neither a name nor an address (IPv6 in brackets)".to_owned());
    }
    // `parse` alone would take `+80`.
    let port = Some(port)
        .filter(|port| port.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|port| port.parse().ok());
    Ok((host.to_owned(), port.ok_or("the port is not a number up to 65535")?))
}

/// Whether `text` can name a host.
pub(super) fn is_name(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    // RFC 1035 section 2.3.4: a look-up would refuse what is longer.
    let label = |label: &str| (1..=63).contains(&label.len());
    text.len() <= 253 && text.chars().all(sound) && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

/// `host:port` to listen on; no host is every address of both families.
///
/// # Errors
/// What is wrong.
pub(super) fn listen_address(text: &str) -> Result<String, String> {
    let (host, port) = host_port(text)?;
    Ok(match host.as_str() {
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

/// Whether two listeners cannot have these addresses, each as [`listen_address`] gives it. Of names it is known only where
/// they are the same: what they stand for is the network's matter.
pub(super) fn collide(one: &str, other: &str) -> bool {
    let (Some((one, port)), Some((other, other_port))) = (one.rsplit_once(':'), other.rsplit_once(':')) else {
        return false;
    };
    port == other_port && port != "0" && (one == other || takes(one, other) || takes(other, one))
}

/// Whether who listens on the host `wide` has the host `one` too.
fn takes(wide: &str, one: &str) -> bool {
    let is_v6 = one.starts_with('[');
    match wide {
        // What the system does with `[::]` unless it is told otherwise.
        "" | "[::]" => true,
        "0.0.0.0" => !is_v6,
        "localhost" => matches!(one, "127.0.0.1" | "[::1]"),
        _ => false,
    }
}

/// Whether only this machine can reach the address.
pub(super) fn is_loopback(address: &str) -> bool {
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.starts_with("localhost:"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_receiver_is_understood() {
        let host = |host: &str| host.to_owned();
        for (text, expected) in [
            (
                "http://r:19291",
                EndpointSpec::Static {
                    https: false,
                    host: host("r"),
                    port: 19291,
                },
            ),
            (
                "https://r.example.com:443",
                EndpointSpec::Static {
                    https: true,
                    host: host("r.example.com"),
                    port: 443,
                },
            ),
            (
                "http://[::1]:80",
                EndpointSpec::Static {
                    https: false,
                    host: host("::1"),
                    port: 80,
                },
            ),
            (
                "http://10.0.0.1:80",
                EndpointSpec::Static {
                    https: false,
                    host: host("10.0.0.1"),
                    port: 80,
                },
            ),
            (
                "dns+r.svc.:80",
                EndpointSpec::Dns {
                    https: false,
                    host: host("r.svc."),
                    port: 80,
                },
            ),
            (
                "dns+tasks.mon_receive:80",
                EndpointSpec::Dns {
                    https: false,
                    host: host("tasks.mon_receive"),
                    port: 80,
                },
            ),
            (
                "dns+https://r:80",
                EndpointSpec::Dns {
                    https: true,
                    host: host("r"),
                    port: 80,
                },
            ),
            (
                "dnssrv+_w._tcp.r",
                EndpointSpec::DnsSrv {
                    https: false,
                    name: host("_w._tcp.r"),
                },
            ),
            (
                "dnssrv+https://_w._tcp.r",
                EndpointSpec::DnsSrv {
                    https: true,
                    name: host("_w._tcp.r"),
                },
            ),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_an_endpoint_must_not_hold_is_refused() {
        let long_label = format!("dns+{}:80", "r".repeat(64));
        for text in [
            long_label.as_str(),
            "",
            "r:80",
            "ftp://r:80",
            "http://r",
            "http://:80",
            "http://r:0",
            "http://r:65536",
            "http://r:+80",
            "http://u:p@r:80",
            "http://r:80/x",
            "http://r:80?x",
            "http://::1:80",
            "http://[::1]",
            "http://[r]:80",
            "http://a b:80",
            "http://a..b:80",
            "http://a..:80",
            "http://a\r\nb:80",
            "dns+10.0.0.1:80",
            "dns+r",
            "dnssrv+_w._tcp.r:80",
            "dnssrv+r.example.com",
            "dnssrv+_._tcp.r",
            "dnssrv+_w._tcp..r",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn listeners_that_cannot_both_have_their_address_collide() {
        let hosts = [
            "",
            "[::]",
            "0.0.0.0",
            "localhost",
            "127.0.0.1",
            "[::1]",
            "10.0.0.1",
            "gateway",
        ];
        let with = |other: &str, port: u16| -> Vec<&str> {
            let collides = |host: &&str| {
                let (one, other) = (format!("{host}:1"), format!("{other}:{port}"));
                assert_eq!(collide(&one, &other), collide(&other, &one));
                collide(&one, &other)
            };
            hosts.into_iter().filter(collides).collect()
        };
        assert_eq!(with("", 1), hosts);
        assert_eq!(with("[::]", 1), hosts);
        let v4 = ["", "[::]", "0.0.0.0", "localhost", "127.0.0.1", "10.0.0.1", "gateway"];
        assert_eq!(with("0.0.0.0", 1), v4);
        assert_eq!(with("127.0.0.1", 1), ["", "[::]", "0.0.0.0", "localhost", "127.0.0.1"]);
        assert_eq!(with("[::1]", 1), ["", "[::]", "localhost", "[::1]"]);
        assert_eq!(with("10.0.0.1", 1), ["", "[::]", "0.0.0.0", "10.0.0.1"]);
        assert!(with("", 2).is_empty() && !collide(":0", ":0"));
    }

    #[test]
    fn listen_addresses_may_leave_the_host_out() {
        assert_eq!(listen_address(":19291").as_deref(), Ok(":19291"));
        assert_eq!(listen_address("[::]:0").as_deref(), Ok("[::]:0"));
        assert_eq!(listen_address("localhost:1").as_deref(), Ok("localhost:1"));
        assert!(listen_address("19291").is_err());
        assert!(listen_address("::1:19291").is_err());
        assert!(is_loopback("127.0.0.1:1") && is_loopback("[::1]:1") && is_loopback("localhost:1"));
        assert!(!is_loopback("0.0.0.0:1") && !is_loopback(":1"));
    }
}
