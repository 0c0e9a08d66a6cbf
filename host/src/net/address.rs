//! Where a peer is.
//!
//! Takes a host and a port, gives what is dialled, verified, told in `Host` and shown to people. Never holds a host that
//! no `Host` header can name: Go answers such a header with 400, which means "drop this data" to whoever sent it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::HeaderValue;

/// Where a peer is, checked when made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    https: bool,
    host: String,
    port: u16,
    ip: Option<IpAddr>,
    host_header: HeaderValue,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host:?} is neither the name of a host nor an IP address")]
pub struct AddressError {
    pub host: String,
}

impl Address {
    /// `host` is a name or an IP address without brackets; `ip` is where a look-up has found it, `None` has the name
    /// looked up on every connect.
    ///
    /// # Errors
    /// If `host` is neither a registered name as `Host` has it (RFC 3986 section 3.2.2, nothing percent-encoded) nor
    /// an IP address: the DNS allows any byte.
    pub fn new(https: bool, host: String, port: u16, ip: Option<IpAddr>) -> Result<Self, AddressError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c);
        let is_name = !bare(&host).is_empty() && host.chars().all(legal);
        let header = HeaderValue::from_str(&authority(&host, port));
        match header {
            Ok(host_header) if is_name || host.parse::<IpAddr>().is_ok() => Ok(Self {
                https,
                host,
                port,
                ip,
                host_header,
            }),
            _ => Err(AddressError { host }),
        }
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    /// What certificates are verified against.
    pub fn name(&self) -> &str {
        bare(&self.host)
    }

    /// The `Host` header: the port always written, as Go's clients do for such ports.
    pub fn host_header(&self) -> &HeaderValue {
        &self.host_header
    }

    /// Whether `host` and `port` are what it was made of.
    pub(super) fn is_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }

    /// Whether a look-up has found it as an IPv4 address.
    pub(super) fn is_ipv4(&self) -> bool {
        self.ip.is_some_and(|ip| ip.is_ipv4())
    }

    /// The sockets that may be tried, those of a name looked up now by the system.
    pub(super) async fn sockets(&self) -> std::io::Result<Vec<SocketAddr>> {
        match self.ip {
            Some(ip) => Ok(vec![(ip, self.port).into()]),
            None => {
                let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
                Ok(found.collect())
            }
        }
    }
}

/// The host as certificates and `Host` headers write it: the final dot, which keeps a resolver from searching, is no
/// part of it (RFC 6066 section 3).
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn authority(host: &str, port: u16) -> String {
    let name = bare(host);
    if name.contains(':') {
        format!("[{name}]:{port}")
    } else {
        format!("{name}:{port}")
    }
}

/// What metrics, logs and the API call the peer: its URL, with the address where a look-up has found one.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        match self.ip {
            Some(ip) => write!(f, "{scheme}://{}", SocketAddr::new(ip, self.port)),
            None => write!(f, "{scheme}://{}", authority(&self.host, self.port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_a_host_header_and_a_name_that_cannot_is_none() {
        for (host, name, header) in [
            ("receiver.example", "receiver.example", "receiver.example:80"),
            ("receiver.example.", "receiver.example", "receiver.example:80"),
            ("r_0", "r_0", "r_0:80"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.1:80"),
            ("::1", "::1", "[::1]:80"),
        ] {
            let address = Address::new(false, host.to_owned(), 80, None).unwrap();
            assert_eq!(
                (address.name(), address.host_header().to_str().unwrap()),
                (name, header)
            );
        }
        for host in [
            "",
            ".",
            "a b",
            "a\\032b.test.",
            "a\nb",
            "a:b",
            "a/b",
            "é",
            "[::1]",
            "::1%eth0",
        ] {
            let refused = Address::new(false, host.to_owned(), 80, None);
            assert_eq!(refused, Err(AddressError { host: host.to_owned() }));
        }
    }
}
