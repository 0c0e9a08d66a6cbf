//! What an answer to a write means to whoever set up its sender: how far the write came, and what to do.
//!
//! Takes a status with its text, or why there was no answer; gives the step at which it ended. It reads the texts that
//! `respond` writes; an answer that is none of them is not a gateway's.

use crate::net::{ConnectFault, ExchangeError};

/// In the order in which a write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Names,
    Connection,
    Tls,
    Path,
    Credential,
    Policy,
    Limit,
    Receiver,
    /// It was stored.
    Done,
}

impl Stage {
    pub(super) const ALL: [Self; 8] = [
        Self::Names,
        Self::Connection,
        Self::Tls,
        Self::Path,
        Self::Credential,
        Self::Policy,
        Self::Limit,
        Self::Receiver,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Names => "name resolution",
            Self::Connection => "connection",
            Self::Tls => "TLS handshake",
            Self::Path => "path",
            Self::Credential => "credential",
            Self::Policy => "policy",
            Self::Limit => "limit",
            Self::Receiver => "receiver",
            Self::Done => "stored",
        }
    }
}

/// Where it ended, and what to do about that.
pub(super) type Ended = (Stage, &'static str);

/// Without an answer.
pub(super) fn unanswered(error: ExchangeError, is_https: bool) -> Ended {
    let fault = match error {
        ExchangeError::Connect(fault) => fault,
        ExchangeError::Reset if !is_https => {
            return (
                Stage::Path,
                "the connection was closed without an answer, as a listener for TLS does: use https:// in --url",
            );
        }
        ExchangeError::Nonsense if !is_https => {
            return (
                Stage::Path,
                "what answered does not speak HTTP; if it speaks TLS, use https:// in --url",
            );
        }
        ExchangeError::Reset => {
            return (
                Stage::Path,
                "the connection was closed without an answer: the gateway may have been stopped, or something between closed it; \
                 try again, then look at the gateway's log",
            );
        }
        ExchangeError::Nonsense => {
            return (
                Stage::Path,
                "what answered does not speak HTTP: check the port in --url",
            );
        }
    };
    of_fault(fault)
}

fn of_fault(fault: ConnectFault) -> Ended {
    match fault {
        ConnectFault::NoSuchName => (
            Stage::Names,
            "check the name in --url, and that it is known where this runs",
        ),
        ConnectFault::Refused => (
            Stage::Connection,
            "nothing listens there: check the port in --url (19291 by default), and that the gateway runs",
        ),
        ConnectFault::Unreachable | ConnectFault::TimedOut => (
            Stage::Connection,
            "no way leads there: check routes and firewalls between this machine and the gateway",
        ),
        ConnectFault::NoDescriptor => (
            Stage::Connection,
            "this machine has no file descriptor left: raise its limit",
        ),
        ConnectFault::UnknownAuthority => (
            Stage::Tls,
            "it is the gateway's certificate that was not trusted: give the authority that signed it with --ca-file (and as \
             `ca_file` to the sender)",
        ),
        ConnectFault::OtherName => (
            Stage::Tls,
            "it is the gateway's certificate that was not trusted, because it is for another name: use a name in --url that it \
             has, or have one made with this name",
        ),
        ConnectFault::Expired => (
            Stage::Tls,
            "it is the gateway's certificate that was not trusted, because its time is over or has not begun: have it renewed, \
             and check this machine's clock",
        ),
        ConnectFault::BadCertificate => (
            Stage::Tls,
            "it is the gateway's certificate that was not trusted, because it is malformed or not one for servers: have a new \
             one made",
        ),
        ConnectFault::ClientCertificate => (
            Stage::Tls,
            "it is the sender's certificate that the gateway did not trust, or there was none and it asks for one: check that \
             `client_ca_file` of the gateway has the authority that signed --cert, and that the certificate has not expired",
        ),
        ConnectFault::NotTls => (
            Stage::Tls,
            "what listens there does not speak TLS: check the port, or use http:// in --url",
        ),
        ConnectFault::Tls => (
            Stage::Tls,
            "the two sides have no version of TLS or no cipher in common: check `min_version` of the gateway",
        ),
        ConnectFault::Broken => (
            Stage::Tls,
            "the connection broke while it was made: something between may have closed it, or the gateway has too many",
        ),
    }
}

/// With one.
pub(super) fn answered(status: u16, text: &str) -> Ended {
    match status {
        200..=299 => (Stage::Done, ""),
        400 => bad_request(text),
        401 if text.contains("no credential") => (
            Stage::Credential,
            "the gateway saw no credential: give --cert with --key, --token-file, or --username with --password-file; a \
             certificate counts only if the gateway has a `client_ca_file`",
        ),
        401 => (
            Stage::Credential,
            "no tenant has this credential: compare it with `credentials` in the tenant's file, and see that the gateway has \
             read that file (`gauntlet tenant list --live ..`)",
        ),
        403 if text.contains("in the path") => (
            Stage::Credential,
            "the credential is good, and another tenant's: check the name, or use this tenant's own credential",
        ),
        403 if text.contains("disabled") => (
            Stage::Credential,
            "the credential is good, and the tenant is switched off: remove `disabled: true` from its file",
        ),
        403 if text.contains("more than one tenant") => (
            Stage::Credential,
            "several credentials were given, and they are different tenants': give only one",
        ),
        429 if text.contains("receiver") => (
            Stage::Receiver,
            "the receiver limits this tenant: raise its limit there, or send less",
        ),
        429 => over_rate(),
        500 if text.contains("an error of the gateway") => {
            (Stage::Path, "the gateway has a bug: look at its log, and report it")
        }
        503 => unavailable(text),
        _ => (
            Stage::Path,
            "that is not how a gateway answers a write: check host, port and path in --url, and what stands between",
        ),
    }
}

fn over_rate() -> Ended {
    (
        Stage::Limit,
        "the tenant is over a rate limit of its policies: send less, raise `per_second` and `burst` of the bucket that is \
         named, or wait",
    )
}

fn bad_request(text: &str) -> Ended {
    if text.contains("the receiver") {
        return (
            Stage::Receiver,
            "the receiver refused the sample; its words say why: if it is too old or a duplicate, compare the clocks",
        );
    }
    let is_refused = text.contains("were refused");
    let is_limit = text.contains(" max_") && !text.contains("(policy ");
    if text.contains(", budget ") || is_limit {
        return (
            Stage::Limit,
            "it is over a limit of the tenant: raise the one that is named, in `limits` of its file or in the policy that has \
             the budget, or have it send less",
        );
    }
    // Nothing is wrong with the series as it is sent.
    if is_refused || text.contains("policy refused") {
        return (
            Stage::Policy,
            "a policy of the tenant refuses it: `gauntlet explain --tenant .. gauntlet_try` shows which one, step by step",
        );
    }
    (
        Stage::Path,
        "that is not how a gateway answers this write: check host, port and path in --url, and what stands between",
    )
}

fn unavailable(text: &str) -> Ended {
    if text.contains("over the rate of") {
        return over_rate();
    }
    if text.contains("receiver") {
        return (
            Stage::Receiver,
            "the gateway took it, and no receiver of its upstream did: `gauntlet status` says which one is down and why",
        );
    }
    if text.contains("credential") {
        return (
            Stage::Credential,
            "the credential is not configured any more, or cannot be checked right now: `gauntlet status` names broken files",
        );
    }
    if text.contains("not ready") || text.contains("a policy failed") {
        return (
            Stage::Policy,
            "the tenant's file or one of its policies cannot be used: `gauntlet status` names it and says why",
        );
    }
    if text.contains("overloaded") || text.contains("busy") || text.contains("in flight") {
        return (
            Stage::Limit,
            "the gateway or this tenant has as much in flight as it may: try again, then look at `max_in_flight_size`, \
             `max_concurrent_requests` and `memory_limit`",
        );
    }
    (
        Stage::Path,
        "that is not how a gateway answers a write: something between answers for it, or it is shutting down",
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::auth::AuthError;
    use crate::config::OverRate;
    use crate::forward::ForwardError;
    use crate::head::HeadError;
    use crate::judge::Blame;
    use crate::limits::BoundMet;
    use crate::model::{Refusal, TenantId, Totals};
    use crate::respond::{Context, Failure, RefusedSeries, Stored, stored_as};
    use crate::tenant::NotReady;

    fn of(failure: impl Into<Failure>, over_rate: OverRate) -> Stage {
        let answer = failure.into().answer(&Context::plain(over_rate));
        answered(answer.status.as_u16(), &answer.text).0
    }

    /// So that a text that changes there changes here.
    #[test]
    fn each_answer_of_the_gateway_is_known_by_its_text() {
        let tenant = TenantId::new("a").unwrap();
        let rate = || Failure::OverRate {
            bucket: "samples".to_owned(),
            retry_after: Duration::from_secs(1),
        };
        let refused = Failure::Refused {
            text: "no such team".to_owned(),
        };
        let removed = AuthError::Removed {
            tenant: tenant.clone(),
            credential: "token".to_owned(),
        };
        for (step, failure) in [
            (Stage::Path, Failure::from(HeadError::UnknownPath)),
            (Stage::Path, HeadError::MediaType.into()),
            (Stage::Path, Failure::Bug("x")),
            (Stage::Credential, AuthError::NoCredential.into()),
            (Stage::Credential, AuthError::WrongCredential.into()),
            (Stage::Credential, AuthError::Ambiguous.into()),
            (Stage::Credential, AuthError::Disabled { tenant }.into()),
            (Stage::Credential, AuthError::Unknown.into()),
            (Stage::Credential, removed.into()),
            (Stage::Credential, Failure::PathTenant),
            (Stage::Policy, AuthError::Broken.into()),
            (Stage::Policy, Failure::NotReady(NotReady)),
            (Stage::Policy, refused),
            (Stage::Policy, Failure::Charges("x".to_owned())),
            (Stage::Limit, rate()),
            (Stage::Limit, BoundMet::Requests.into()),
            (Stage::Limit, BoundMet::TenantBytes.into()),
            (Stage::Limit, BoundMet::ShareOfBytes.into()),
            (Stage::Receiver, ForwardError::Connect.into()),
            (Stage::Receiver, ForwardError::Timeout.into()),
            (Stage::Receiver, ForwardError::NoEndpoint.into()),
            (Stage::Receiver, ForwardError::Nonsense.into()),
            (Stage::Receiver, ForwardError::Reset.into()),
        ] {
            assert_eq!(of(failure, OverRate::Retry), step);
        }
        assert_eq!(of(rate(), OverRate::TooManyRequests), Stage::Limit);
        assert_eq!(answered(204, "").0, Stage::Done);
        assert_eq!(answered(502, "bad gateway").0, Stage::Path);
        assert_eq!(
            answered(400, "Client sent an HTTP request to an HTTPS server.").0,
            Stage::Path
        );
    }

    #[test]
    fn a_series_that_is_refused_is_a_policys_doing_or_over_a_limit() {
        let of = |refusal, blame: &Blame| {
            let refused = RefusedSeries::of(refusal, blame, None, b"", 1);
            let stored = Stored {
                received: Totals {
                    series: 1,
                    ..Totals::default()
                },
                refused: vec![refused],
                ..Stored::default()
            };
            let (status, text) = stored_as(&stored);
            answered(status.as_u16(), &text.unwrap()).0
        };
        let by_policy = Blame {
            policy: Some("limits".into()),
            ..Blame::default()
        };
        assert_eq!(of(Refusal::OverActiveSeries, &Blame::default()), Stage::Limit);
        assert_eq!(of(Refusal::TooManyLabels, &Blame::default()), Stage::Limit);
        assert_eq!(of(Refusal::NoLabels, &Blame::default()), Stage::Policy);
        assert_eq!(of(Refusal::LabelValueTooLong, &by_policy), Stage::Policy);
        assert_eq!(of(Refusal::FailsPolicy, &by_policy), Stage::Policy);
    }

    #[test]
    fn the_handshake_says_whose_certificate_was_not_trusted() {
        let told = |fault| unanswered(ExchangeError::Connect(fault), true);
        for gateways in [
            ConnectFault::UnknownAuthority,
            ConnectFault::OtherName,
            ConnectFault::Expired,
            ConnectFault::BadCertificate,
        ] {
            let (step, advice) = told(gateways);
            assert!(
                step == Stage::Tls && advice.starts_with("it is the gateway's certificate"),
                "{advice}"
            );
        }
        let (step, advice) = told(ConnectFault::ClientCertificate);
        assert!(
            step == Stage::Tls && advice.starts_with("it is the sender's certificate"),
            "{advice}"
        );
        assert_eq!(told(ConnectFault::NoSuchName).0, Stage::Names);
        assert_eq!(told(ConnectFault::Refused).0, Stage::Connection);
        assert!(unanswered(ExchangeError::Reset, false).1.contains("use https://"));
    }
}
