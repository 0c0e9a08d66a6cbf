//! Which client certificates are believed: those that chain to a CA, and those that are named themselves.
//!
//! Takes the certificates of `client_ca_file`, gives what handshakes ask. A certificate of that file is believed by its
//! bytes, as who pins a self-signed one expects, in its validity alone; the signature of the handshake must prove its
//! key in any case. Never takes one that says it is no CA for the issuer of others: whoever has the key of a pinned certificate
//! could otherwise make one with another tenant's name.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::refused;

/// See [`verifier`].
#[derive(Debug)]
struct Verifier {
    /// `None` where no certificate is a CA's.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    named: Vec<CertificateDer<'static>>,
    /// Which certificates a sender may offer; empty is any.
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    is_mandatory: bool,
}

/// What verifies the certificates of senders by `certificates`.
///
/// # Errors
/// Says which of them cannot be used.
pub(super) fn verifier(
    certificates: Vec<CertificateDer<'static>>,
    is_mandatory: bool,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut authorities = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        if may_issue(certificate) {
            let added = authorities.add(certificate.clone());
            added.map_err(|error| format!("certificate {}: {error}", index + 1))?;
        }
    }
    let only_authorities = authorities.len() == certificates.len();
    let algorithms = provider.signature_verification_algorithms;
    let chains = match authorities.is_empty() {
        true => None,
        false => {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            Some(builder.build().map_err(|error| error.to_string())?)
        }
    };
    // A sender holds back what no hint names, and a certificate that is no CA names its issuer, who may be anybody.
    let hints = chains.as_ref().filter(|_| only_authorities);
    let hints = hints.map_or_else(Vec::new, |chains| chains.root_hint_subjects().to_vec());
    Ok(Arc::new(Verifier {
        chains,
        named: certificates,
        hints,
        algorithms,
        is_mandatory,
    }))
}

/// Whether others may chain to it. Of version 1, and of what cannot be told, the library decides.
pub(super) fn may_issue(certificate: &[u8]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return true;
    };
    let constraints = certificate.basic_constraints().ok().flatten();
    certificate.version() != X509Version::V3 || constraints.is_some_and(|constraints| constraints.value.ca)
}

/// # Errors
/// If it has ended or has not begun.
pub(super) fn in_its_validity(certificate: &[u8], now: i64) -> Result<(), CertificateError> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, certificate) = parsed.map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    if validity.not_after.timestamp() < now {
        return Err(CertificateError::Expired);
    }
    Ok(())
}

impl Verifier {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.named.iter().any(|named| named.as_ref() == end_entity.as_ref()) {
            let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
            return match in_its_validity(end_entity, now) {
                Ok(()) => Ok(ClientCertVerified::assertion()),
                Err(fault) => Err(Error::InvalidCertificate(fault)),
            };
        }
        match &self.chains {
            Some(chains) => chains.verify_client_cert(end_entity, intermediates, now),
            None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verify(end_entity, intermediates, now);
        verified.inspect_err(|_| refused::note(end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
