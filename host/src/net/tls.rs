//! TLS as a client: who is believed, and who is presented.
//!
//! Takes a `tls_config` as it is configured, gives secured streams. Never accepts a certificate that was not verified
//! against the peer's name, and offers HTTP/1.1 alone.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use crate::config::TlsClient;

/// Why a `tls_config` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    #[error("the CA file has no usable certificate: {0}")]
    Ca(String),
    #[error("the client certificate or its key cannot be used: {0}")]
    ClientCertificate(String),
    #[error("{0:?} is not a name to verify a certificate against")]
    ServerName(String),
    #[error("the system has no usable CA certificate")]
    SystemStore,
}

/// How connections to https peers are secured.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    /// In place of the peer's own host.
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// From a `tls_config`, or with the system's CAs where there is none.
    ///
    /// # Errors
    /// What of it cannot be used.
    pub fn new(config: Option<&TlsClient>) -> Result<Self, TlsFault> {
        let roots = match config.and_then(|c| c.ca.as_deref()) {
            Some(pem) => roots_from(pem)?,
            None => system_roots()?,
        };
        // aws-lc-rs by name: a process-wide default could be set by somebody else.
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|e| TlsFault::ClientCertificate(e.to_string()))?
                .with_root_certificates(roots);
        let mut client = match config.and_then(|c| c.client.as_ref()) {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let bad = |e: &dyn std::fmt::Display| TlsFault::ClientCertificate(e.to_string());
                let chain = CertificateDer::pem_slice_iter(cert)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| bad(&e))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad(&e))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| bad(&e))?
            }
        };
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = config
            .and_then(|c| c.server_name.clone())
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsFault::ServerName(name)))
            .transpose()?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            server_name,
        })
    }

    pub(super) async fn secure(&self, tcp: TcpStream, address: &Address) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(address.name().to_owned()).map_err(io::Error::other)?,
        };
        self.connector.connect(name, tcp).await
    }
}

fn roots_from(pem: &[u8]) -> Result<rustls::RootCertStore, TlsFault> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|e| TlsFault::Ca(e.to_string()))?;
        roots.add(certificate).map_err(|e| TlsFault::Ca(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsFault::Ca("no certificate in it".to_owned()));
    }
    Ok(roots)
}

/// Unreadable single certificates in the system's store are skipped: they are not the operator's doing.
fn system_roots() -> Result<rustls::RootCertStore, TlsFault> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsFault::SystemStore);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    /// Certificate and key, PEM.
    fn self_signed(name: &str) -> (Arc<[u8]>, Arc<[u8]>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        (cert.pem().into_bytes().into(), key.serialize_pem().into_bytes().into())
    }

    #[test]
    fn unusable_tls_material_is_told_apart() {
        let (ca, _) = self_signed("ca.example");
        let (cert, _) = self_signed("a.example");
        let (_, key) = self_signed("b.example");
        let nothing = Arc::<[u8]>::from(b"".as_slice());
        let tls = |ca: &Arc<[u8]>, client, name: Option<&str>| {
            Tls::new(Some(&TlsClient {
                ca: Some(Arc::clone(ca)),
                client,
                server_name: name.map(str::to_owned),
            }))
            .err()
            .unwrap()
        };
        assert!(matches!(tls(&nothing, None, None), TlsFault::Ca(_)));
        let mixed = Some((cert, Arc::clone(&key)));
        assert!(matches!(tls(&ca, mixed, None), TlsFault::ClientCertificate(_)));
        let none = Some((nothing, key));
        assert!(matches!(tls(&ca, none, None), TlsFault::ClientCertificate(_)));
        assert!(matches!(tls(&ca, None, Some("a b")), TlsFault::ServerName(_)));
    }
}
