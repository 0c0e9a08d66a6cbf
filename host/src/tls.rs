//! TLS towards senders: from PEM to a server configuration, from a handshake to a verified name.
//!
//! Takes the resolved `tls_server_config` and accepted sockets; gives encrypted streams and the names in the
//! sender's verified certificate. Never reads a file, never asks the process for a crypto provider, never
//! offers anything but HTTP/1.1, and never reports a name of a certificate that was not verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::{ClientAuthType, TlsServer, TlsVersion};
use crate::model::{PeerCertificate, seconds_since_1970};

mod client_verifier;
mod failure;
mod refused;

pub use failure::{HandshakeError, HandshakeFault, is_tls};
use refused::naming_the_refused;
pub use rustls::ServerConfig;

/// What a sender's bytes travel through.
pub type Stream = tokio_rustls::server::TlsStream<TcpStream>;

/// What is wrong with a `tls_server_config`.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: the file is not valid PEM: {reason}", file.display())]
    Pem { file: PathBuf, reason: PemError },
    #[error("{}: the file holds no certificate in PEM", file.display())]
    NoCertificate { file: PathBuf },
    #[error("{}: the certificate cannot be used: {reason}", file.display())]
    BadCertificate { file: PathBuf, reason: String },
    #[error("{}: the file holds no private key in PEM", file.display())]
    NoKey { file: PathBuf },
    #[error("{}: the private key cannot be used: {reason}", file.display())]
    BadKey { file: PathBuf, reason: String },
    #[error("the key in {} does not belong to the certificate in {}", key_file.display(), cert_file.display())]
    KeyMismatch { key_file: PathBuf, cert_file: PathBuf },
    #[error("the key in {} belongs to certificate {nth} in {}, which must come first", key_file.display(), cert_file.display())]
    LeafNotFirst {
        key_file: PathBuf,
        cert_file: PathBuf,
        nth: usize,
    },
    #[error("client_auth_type asks for client certificates, but there is no client_ca_file to verify them by")]
    NoClientCa,
    /// Prometheus refuses this too: whoever names a CA believes that certificates are asked for.
    #[error("{}: the file is named as client_ca_file, but client_auth_type asks for no certificate", file.display())]
    UnusedClientCa { file: PathBuf },
    #[error("the crypto library refused: {0}")]
    Provider(rustls::Error),
}

/// Builds what handshakes are made with.
///
/// Tickets are encrypted under a key that is drawn here and lives nowhere else, so a session can be resumed
/// only under the very configuration it began with: after a new certificate or client CA every sender makes
/// a full handshake and is verified anew. There is no early data (it can be replayed).
///
/// An expired certificate is only warned about: refusing it would take the listener away from senders that
/// do not look at it, and an operator sees `gauntlet_tls_certificate_expiry_timestamp_seconds`.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn server_config(config: &TlsServer) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates(&config.cert, &config.cert_file)?;
    let key = private_key(&config.key, &config.key_file)?;
    leaf_is_first(config, &chain, &key, &provider)?;
    for fault in unusable(config) {
        tracing::warn!("{fault}");
    }

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(config.min_version))
        .map_err(TlsError::Provider)?;
    let builder = match client_verifier(config, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder
        .with_single_cert(chain, key)
        .map_err(|reason| identity_error(config, &reason))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Provider)?;
    Ok(Arc::new(server))
}

/// Checks what [`server_config`] takes besides the key, as far as it is there.
///
/// # Errors
/// As [`server_config`].
pub fn check_without_key(config: &TlsServer) -> Result<(), TlsError> {
    if !config.cert.is_empty() {
        certificates(&config.cert, &config.cert_file)?;
    }
    client_verifier(config, Arc::new(aws_lc_rs::default_provider())).map(|_| ())
}

/// The key tells which certificate of the file is the server's own.
fn leaf_is_first(
    config: &TlsServer,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<(), TlsError> {
    let load = || provider.key_provider.load_private_key(key.clone_key()).ok();
    let is_own = |certificate: &CertificateDer<'static>| {
        load().is_some_and(|key| CertifiedKey::new(vec![certificate.clone()], key).keys_match().is_ok())
    };
    match chain.iter().position(is_own) {
        Some(later) if later > 0 => Err(TlsError::LeafNotFirst {
            key_file: config.key_file.clone(),
            cert_file: config.cert_file.clone(),
            nth: later + 1,
        }),
        _ => Ok(()),
    }
}

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
    match min {
        TlsVersion::Tls12 => &FROM_12,
        TlsVersion::Tls13 => &FROM_13,
    }
}

fn certificates(pem: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| TlsError::Pem {
            file: file.into(),
            reason,
        })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { file: file.into() });
    }
    Ok(found)
}

fn private_key(pem: &[u8], file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|reason| match reason {
        PemError::NoItemsFound => TlsError::NoKey { file: file.into() },
        reason => TlsError::Pem {
            file: file.into(),
            reason,
        },
    })
}

fn identity_error(config: &TlsServer, reason: &rustls::Error) -> TlsError {
    match reason {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
            key_file: config.key_file.clone(),
            cert_file: config.cert_file.clone(),
        },
        rustls::Error::InvalidCertificate(reason) => TlsError::BadCertificate {
            file: config.cert_file.clone(),
            reason: reason.to_string(),
        },
        reason => TlsError::BadKey {
            file: config.key_file.clone(),
            reason: reason.to_string(),
        },
    }
}

fn client_verifier(
    config: &TlsServer,
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let file = config.client_ca_file.clone().unwrap_or_default();
    let ca = match (config.client_auth_type, &config.client_ca) {
        (ClientAuthType::NoClientCert, None) => return Ok(None),
        (ClientAuthType::NoClientCert, Some(_)) => return Err(TlsError::UnusedClientCa { file }),
        (_, None) => return Err(TlsError::NoClientCa),
        (_, Some(ca)) => ca,
    };
    let is_mandatory = config.client_auth_type == ClientAuthType::RequireAndVerifyClientCert;
    client_verifier::verifier(certificates(ca, &file)?, is_mandatory, provider)
        .map(Some)
        .map_err(|reason| TlsError::BadCertificate { file, reason })
}

/// What no start refuses, and nobody can use as it is configured: certificates that have ended or have not begun, of this
/// listener or pinned in its `client_ca_file`. One line each, with the file.
pub fn unusable(config: &TlsServer) -> Vec<String> {
    let now = seconds_since_1970();
    let told = |file: &Path, nth: usize, fault: CertificateError, cost: &str| {
        let fault = match fault {
            CertificateError::Expired => "has expired",
            CertificateError::NotValidYet => "is not valid yet",
            _ => "cannot be read",
        };
        format!("{}: certificate {nth} {fault}; {cost}", file.display())
    };
    let leaf = CertificateDer::from_pem_slice(&config.cert).ok();
    let leaf = leaf.and_then(|leaf| client_verifier::in_its_validity(&leaf, now).err());
    let leaf = leaf.map(|fault| told(&config.cert_file, 1, fault, "senders that verify it refuse to connect"));
    let file = config.client_ca_file.clone().unwrap_or_default();
    let pinned = config
        .client_ca
        .iter()
        .flat_map(|ca| CertificateDer::pem_slice_iter(ca));
    let pinned = (1..).zip(pinned.flatten()).filter_map(|(nth, certificate)| {
        // A CA is believed for ever: it is who removes it from the file that ends it.
        let of_ca = client_verifier::may_issue(&certificate);
        let fault = client_verifier::in_its_validity(&certificate, now).err();
        let fault = fault.filter(|_| !of_ca)?;
        Some(told(&file, nth, fault, "it is no CA, so it lets nobody in"))
    });
    leaf.into_iter().chain(pinned).collect()
}

/// When the first certificate in `pem` (the leaf, in a chain) ends. Seconds since 1970.
pub fn expiry(pem: &[u8]) -> Option<i64> {
    let leaf = CertificateDer::from_pem_slice(pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&leaf).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The names of the first certificate in `pem` by which senders may know this listener, without those for many hosts.
pub fn hosts(pem: &[u8]) -> Vec<String> {
    let leaf = CertificateDer::from_pem_slice(pem).ok();
    let names = leaf.and_then(|leaf| PeerCertificate::parse(&leaf));
    let hosts = names.map(|names| names.dns_sans).unwrap_or_default();
    hosts.into_iter().filter(|host| !host.contains('*')).collect()
}

impl PeerCertificate {
    /// `None` if the certificate is malformed in any part that names come from: it then names nobody.
    pub(crate) fn parse(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut names = Self {
            uri_sans: Vec::new(),
            dns_sans: Vec::new(),
            common_name: None,
            not_after: certificate.validity().not_after.timestamp(),
        };
        if let Some(extension) = certificate.subject_alternative_name().ok()? {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::URI(uri) => names.uri_sans.push((*uri).to_owned()),
                    GeneralName::DNSName(dns) => names.dns_sans.push((*dns).to_owned()),
                    GeneralName::Invalid(..) => return None,
                    _ => {}
                }
            }
        }
        let mut common_names = certificate.subject().iter_common_name();
        if let (Some(only), None) = (common_names.next(), common_names.next()) {
            names.common_name = only.as_str().ok().map(str::to_owned);
        }
        Some(names)
    }
}

/// The configuration that the next handshake uses; `None` is plain HTTP (`insecure_http`).
///
/// Swap it only when the TLS part of the configuration changed: connections made under the old one end
/// after the request they are serving, so that a sender is held to the new client CA within one request.
#[derive(Debug)]
pub struct Source {
    current: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl Source {
    pub fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self {
            current: watch::Sender::new(config),
        }
    }

    /// For new connections, from now on.
    pub fn swap(&self, config: Option<Arc<ServerConfig>>) {
        self.current.send_replace(config);
    }

    /// The current value, and news of the next.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<ServerConfig>>> {
        self.current.subscribe()
    }
}

/// One handshake. The caller sets the deadline.
///
/// # Errors
/// Says why, and whose certificate was refused.
pub async fn accept(
    config: Arc<ServerConfig>,
    socket: TcpStream,
) -> Result<(Stream, Option<PeerCertificate>), HandshakeError> {
    let (accepted, certificate) = naming_the_refused(TlsAcceptor::from(config).accept(socket)).await;
    let stream = accepted.map_err(|error| HandshakeError::of(&error, certificate))?;
    let (_, session) = stream.get_ref();
    // Whatever is here was verified: no configuration asks for certificates without verifying them.
    let certificate = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .and_then(|leaf| PeerCertificate::parse(leaf));
    Ok((stream, certificate))
}

#[cfg(test)]
pub(crate) mod tests;
