//! Why a handshake came to nothing.
//!
//! Takes the error of a handshake, gives one of few kinds, each with the word that metrics and the log have for it. Never
//! a word that the peer has chosen.

use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

use crate::model::PeerCertificate;
use crate::net;

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct HandshakeError {
    pub kind: HandshakeFault,
    pub text: String,
    /// The client's, if that is why. Its names are claims: nobody has verified them.
    pub certificate: Option<PeerCertificate>,
}

/// The kinds of failed handshakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    NoCertificate,
    UnknownAuthority,
    ExpiredCertificate,
    BadCertificate,
    /// The sender does not believe our certificate.
    RefusedBySender,
    Version,
    Timeout,
    NotTls,
    Closed,
    Other,
}

impl HandshakeFault {
    pub const ALL: [Self; 10] = [
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::ExpiredCertificate,
        Self::BadCertificate,
        Self::RefusedBySender,
        Self::Version,
        Self::Timeout,
        Self::NotTls,
        Self::Closed,
        Self::Other,
    ];

    /// As a metric label.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoCertificate => "tls_no_certificate",
            Self::UnknownAuthority => "tls_unknown_ca",
            Self::ExpiredCertificate => "tls_expired_certificate",
            Self::BadCertificate => "tls_bad_certificate",
            Self::RefusedBySender => "tls_refused_by_sender",
            Self::Version => "tls_version",
            Self::Timeout => "tls_timeout",
            Self::NotTls => "tls_not_tls",
            Self::Closed => "tls_closed",
            Self::Other => "tls_other",
        }
    }
}

impl HandshakeError {
    pub(super) fn of(error: &io::Error, certificate: Option<PeerCertificate>) -> Self {
        let (kind, text) = match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            Some(tls) => (kind(tls), text(tls)),
            None => (HandshakeFault::Closed, format!("the connection ended: {error}")),
        };
        Self {
            kind,
            text,
            certificate,
        }
    }
}

/// Whether it is TLS that failed, and not what was said by it.
pub fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn kind(error: &rustls::Error) -> HandshakeFault {
    match error {
        rustls::Error::NoCertificatesPresented => HandshakeFault::NoCertificate,
        rustls::Error::InvalidCertificate(reason) => of_certificate(reason),
        rustls::Error::AlertReceived(alert) if net::disbelieves(*alert) => HandshakeFault::RefusedBySender,
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => HandshakeFault::Version,
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => HandshakeFault::NotTls,
        _ => HandshakeFault::Other,
    }
}

fn of_certificate(reason: &CertificateError) -> HandshakeFault {
    match reason {
        // A bad signature is that of an authority of the same name and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => HandshakeFault::UnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => HandshakeFault::ExpiredCertificate,
        _ => HandshakeFault::BadCertificate,
    }
}

fn text(error: &rustls::Error) -> String {
    match (kind(error), error) {
        (HandshakeFault::NoCertificate, _) => "no client certificate was presented".to_owned(),
        (HandshakeFault::RefusedBySender, _) => {
            format!("the sender does not trust the certificate of this listener: {error}")
        }
        (HandshakeFault::Version, _) => format!("the sender speaks no version of TLS that is spoken here: {error}"),
        (HandshakeFault::NotTls, _) => "what the sender speaks is not TLS; plain HTTP is not taken here".to_owned(),
        (HandshakeFault::UnknownAuthority, _) => {
            "the client certificate is signed by an authority that this gateway does not trust".to_owned()
        }
        (_, rustls::Error::InvalidCertificate(reason)) => format!("the client certificate was refused: {reason}"),
        _ => format!("the handshake failed: {error}"),
    }
}
