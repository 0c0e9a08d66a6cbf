//! Why there is no connection to a peer, in words that say what to look at.
//!
//! Takes the errors of name look-up, TCP and TLS; gives one of few kinds. Never the text of an error: it may hold what
//! the peer sent.

use std::io;

use rustix::io::Errno;
use rustls::{AlertDescription, CertificateError};

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFault {
    #[error("its name has no address")]
    NoSuchName,
    #[error("nothing listens at its port")]
    Refused,
    #[error("there is no route to it")]
    Unreachable,
    #[error("it did not take the connection in time")]
    TimedOut,
    #[error("this process has no file descriptor left")]
    NoDescriptor,
    #[error("its certificate is of an authority that is not trusted")]
    UnknownAuthority,
    #[error("its certificate is for another name")]
    OtherName,
    #[error("its certificate has expired, or is not valid yet")]
    Expired,
    #[error("its certificate is not valid")]
    BadCertificate,
    #[error("it refuses our client certificate, or that there is none")]
    ClientCertificate,
    #[error("what it speaks is not TLS")]
    NotTls,
    #[error("the TLS handshake failed")]
    Tls,
    #[error("the connection broke while it was made")]
    Broken,
}

impl ConnectFault {
    pub(super) fn of(error: &io::Error) -> Self {
        if let Some(fault) = of_tls(error) {
            return fault;
        }
        if [Errno::MFILE, Errno::NFILE]
            .map(|errno| Some(errno.raw_os_error()))
            .contains(&error.raw_os_error())
        {
            return Self::NoDescriptor;
        }
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoSuchName,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unreachable,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Broken,
        }
    }

    /// What the peer says of our certificate when TLS 1.3 has the first request on its way already.
    pub(super) fn of_late_refusal(error: &hyper::Error) -> Option<Self> {
        let source = std::error::Error::source(error)?;
        let fault = of_tls(source.downcast_ref::<io::Error>()?)?;
        (fault == Self::ClientCertificate).then_some(fault)
    }
}

fn of_tls(error: &io::Error) -> Option<ConnectFault> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(reason) => of_certificate(reason),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::NoCertificate) => {
            ConnectFault::ClientCertificate
        }
        rustls::Error::AlertReceived(alert) if disbelieves(*alert) => ConnectFault::ClientCertificate,
        rustls::Error::InvalidMessage(_) => ConnectFault::NotTls,
        _ => ConnectFault::Tls,
    })
}

/// Whether the other side says by it that it does not believe the certificate it was shown.
pub fn disbelieves(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            // Its authority has the same name as ours and another key.
            | AlertDescription::DecryptError
    )
}

fn of_certificate(reason: &CertificateError) -> ConnectFault {
    match reason {
        // An authority of the same name and another key has signed it.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => ConnectFault::UnknownAuthority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => ConnectFault::OtherName,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => ConnectFault::Expired,
        _ => ConnectFault::BadCertificate,
    }
}
