//! Certificates made on the spot: a certificate authority, a server's, senders' good and bad.
//!
//! Takes names, gives PEM texts and rustls configurations; never touches the system's store.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority and the gateway's certificate that it signed.
pub struct Certs {
    ca: Issuer<'static, KeyPair>,
    pub ca_pem: String,
    pub server_pem: String,
    pub server_key_pem: String,
}

/// A certificate with its key, to present.
#[derive(Clone)]
pub struct ClientCertificate {
    pub pem: String,
    pub key_pem: String,
}

impl Default for Certs {
    fn default() -> Self {
        Self::new()
    }
}

impl Certs {
    /// A new authority, unknown to everybody else.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let ca_pem = params.self_signed(&key).unwrap().pem();
        let ca = Issuer::new(params, key);
        let (server_pem, server_key_pem) = server(&ca);
        Self {
            ca,
            ca_pem,
            server_pem,
            server_key_pem,
        }
    }

    /// A second certificate for the server from the same authority.
    pub fn renew_server(&mut self) {
        (self.server_pem, self.server_key_pem) = server(&self.ca);
    }

    /// The files a configuration names: `ca.pem`, `server.pem`, `server.key`.
    pub fn write_to(&self, folder: &Path) {
        std::fs::write(folder.join("ca.pem"), &self.ca_pem).unwrap();
        std::fs::write(folder.join("server.pem"), &self.server_pem).unwrap();
        std::fs::write(folder.join("server.key"), &self.server_key_pem).unwrap();
    }

    pub fn client_uri(&self, uri: &str) -> ClientCertificate {
        self.client(|params| {
            params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        })
    }

    pub fn client_dns(&self, name: &str) -> ClientCertificate {
        self.client(|params| {
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        })
    }

    pub fn client_common_name(&self, name: &str) -> ClientCertificate {
        self.client(|params| params.distinguished_name.push(DnType::CommonName, name))
    }

    /// As [`Certs::client_uri`], but its validity ended in 2021.
    pub fn client_expired(&self, uri: &str) -> ClientCertificate {
        self.client(|params| {
            params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// As `openssl req -x509` makes it: its own authority, and nobody else's.
    pub fn self_signed(uri: &str) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, uri);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        ClientCertificate {
            pem: params.self_signed(&key).unwrap().pem(),
            key_pem: key.serialize_pem(),
        }
    }

    fn client(&self, shape: impl FnOnce(&mut CertificateParams)) -> ClientCertificate {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        shape(&mut params);
        ClientCertificate {
            pem: params.signed_by(&key, &self.ca).unwrap().pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// A sender's side of TLS: trusts this authority alone, presents `client` where there is one.
    pub fn client_config(&self, client: Option<&ClientCertificate>) -> Arc<rustls::ClientConfig> {
        client_config(&self.ca_pem, client)
    }

    /// A receiver's side of TLS; with `verify`, only senders with a certificate of this authority get in.
    pub fn server_config(&self, verify: bool) -> Arc<rustls::ServerConfig> {
        let builder = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if verify {
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&self.ca_pem)), provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = builder.with_single_cert(chain(&self.server_pem), key(&self.server_key_pem));
        Arc::new(config.unwrap())
    }
}

/// See [`Certs::client_config`].
pub fn client_config(ca_pem: &str, client: Option<&ClientCertificate>) -> Arc<rustls::ClientConfig> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(ca_pem));
    let config = match client {
        Some(client) => builder
            .with_client_auth_cert(chain(&client.pem), key(&client.key_pem))
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    Arc::new(config)
}

/// The first certificate of a PEM text, as it goes over the wire.
pub fn der(pem: &str) -> Vec<u8> {
    chain(pem)[0].to_vec()
}

fn server(ca: &Issuer<'static, KeyPair>) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let pem = params.signed_by(&key, ca).unwrap().pem();
    (pem, key.serialize_pem())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(ca_pem: &str) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in chain(ca_pem) {
        roots.add(certificate).unwrap();
    }
    roots
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap()
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}
