//! What an operator is told of a receiver that did not take a write: why, and which key of the upstream to look at.
//!
//! Takes the fact of a failed attempt, gives words. Only what is the way's or the receiver's: a receiver that judged the
//! data, or the tenant, is the tenant's to hear of.

use super::answer::ForwardError;
use crate::net::{ConnectFault, ExchangeError};

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// A sentence about the receiver.
    pub text: String,
    /// Below the upstream's own, such as `path`. `None` if no setting would change it.
    pub key: Option<&'static str>,
}

impl Cause {
    /// `None` if the failure says nothing about the receiver or the way to it.
    pub(super) fn of(error: &ForwardError, exchange: Option<ExchangeError>) -> Option<Self> {
        let (text, key) = match error {
            ForwardError::Misconfigured { status } => (misconfigured(*status), Some(key_of(*status))),
            ForwardError::NotRemoteWrite2 { status } => (not_remote_write_2(*status), Some("remote_write_version")),
            ForwardError::Unavailable { status, .. } => (format!("it answered {status}"), None),
            ForwardError::Timeout => ("it did not answer in time".to_owned(), Some("timeout")),
            ForwardError::Connect => match exchange {
                Some(ExchangeError::Connect(fault)) => (fault.to_string(), key_of_connect(fault)),
                _ => ("it cannot be connected to".to_owned(), Some("endpoints")),
            },
            ForwardError::Reset => ("it broke the connection before it answered".to_owned(), None),
            ForwardError::Nonsense => {
                let text = "what it answered is not HTTP/1.1; it may expect https, or be no receiver";
                (text.to_owned(), Some("endpoints"))
            }
            ForwardError::Invalid { .. }
            | ForwardError::Conflict(_)
            | ForwardError::NotWritten { .. }
            | ForwardError::TooManyRequests { .. }
            | ForwardError::NoEndpoint
            | ForwardError::Overloaded
            | ForwardError::TenantHeader => return None,
        };
        Some(Self { text, key })
    }

    /// The key of the configuration to look at.
    pub fn look_at(&self, upstream: &str) -> Option<String> {
        self.key.map(|key| format!("upstreams.{upstream}.{key}"))
    }
}

fn misconfigured(status: u16) -> String {
    let why = match status {
        300..=399 => "writes are not taken here, and redirects are never followed",
        401 | 403 | 407 => "something asks for a credential, or refuses this gateway's or this tenant's",
        404 | 405 => "nothing takes writes at this path",
        415 => "it does not take remote write 1.0",
        _ => "no receiver answers a write so",
    };
    format!("it answered {status}: {why}")
}

fn not_remote_write_2(status: u16) -> String {
    let why = match status {
        415 => "it does not take remote write 2.0",
        _ => "it did not say what it stored, as receivers do that know remote write 1.0 alone and throw 2.0 away",
    };
    format!("it answered {status}: {why}; set remote_write_version: \"1.0\"")
}

fn key_of(status: u16) -> &'static str {
    match status {
        404 | 405 => "path",
        _ => "endpoints",
    }
}

fn key_of_connect(fault: ConnectFault) -> Option<&'static str> {
    match fault {
        ConnectFault::NoSuchName
        | ConnectFault::Refused
        | ConnectFault::Unreachable
        | ConnectFault::NotTls
        | ConnectFault::Tls => Some("endpoints"),
        ConnectFault::TimedOut => Some("connect_timeout"),
        ConnectFault::UnknownAuthority => Some("tls_config.ca_file"),
        ConnectFault::OtherName => Some("tls_config.server_name"),
        ConnectFault::ClientCertificate => Some("tls_config.cert_file"),
        ConnectFault::NoDescriptor | ConnectFault::Expired | ConnectFault::BadCertificate | ConnectFault::Broken => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_can_mend_names_its_key_and_what_the_data_did_names_nothing() {
        let key = |error: ForwardError| Cause::of(&error, None).map(|cause| cause.key);
        for (status, named) in [
            (301, "endpoints"),
            (401, "endpoints"),
            (404, "path"),
            (405, "path"),
            (415, "endpoints"),
        ] {
            assert_eq!(
                key(ForwardError::Misconfigured { status }),
                Some(Some(named)),
                "{status}"
            );
        }
        for status in [200, 204, 415] {
            let cause = Cause::of(&ForwardError::NotRemoteWrite2 { status }, None).unwrap();
            assert_eq!(cause.look_at("soft").unwrap(), "upstreams.soft.remote_write_version");
            assert!(
                cause.text.ends_with("set remote_write_version: \"1.0\""),
                "{}",
                cause.text
            );
        }
        assert_eq!(key(ForwardError::Timeout), Some(Some("timeout")));
        assert_eq!(
            key(ForwardError::Unavailable {
                status: 503,
                retry_after: None,
            }),
            Some(None)
        );
        let limited = ForwardError::TooManyRequests { retry_after: None };
        assert_eq!((key(limited), key(ForwardError::Overloaded)), (None, None));
        let of = |fault| Cause::of(&ForwardError::Connect, Some(ExchangeError::Connect(fault))).unwrap();
        assert_eq!(of(ConnectFault::UnknownAuthority).key, Some("tls_config.ca_file"));
        assert_eq!(of(ConnectFault::NoSuchName).text, "its name has no address");
    }
}
