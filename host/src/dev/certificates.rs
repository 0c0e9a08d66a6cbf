//! Throw-away certificates of the demo: one authority, one server, one client per tenant that uses one.
//!
//! Takes nothing, gives PEM; keys live as long as the demo.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::folder::{DevError, Folder};
use super::sample;

/// A certificate and its key, PEM.
pub(super) struct CertifiedKey {
    pub(super) cert: String,
    pub(super) key: String,
}

pub(super) struct Certificates {
    pub(super) ca: String,
    server: CertifiedKey,
    clients: Vec<(&'static str, CertifiedKey)>,
}

impl Certificates {
    pub(super) fn make() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "gauntlet dev");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into(), "::1".into()])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = sign(params, &authority)?;
        let mut clients = Vec::new();
        for tenant in &sample::TENANTS {
            if let Some(uri) = tenant.certificate_uri {
                let mut params = CertificateParams::new(Vec::new())?;
                params.distinguished_name.push(DnType::CommonName, tenant.name);
                params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                clients.push((tenant.name, sign(params, &authority)?));
            }
        }
        Ok(Self {
            ca: authority.pem(),
            server,
            clients,
        })
    }

    pub(super) fn client(&self, tenant: &str) -> Option<&CertifiedKey> {
        self.clients
            .iter()
            .find(|(name, _)| *name == tenant)
            .map(|(_, pair)| pair)
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<(), DevError> {
        folder.write("ca.crt", &self.ca)?;
        let pairs = self
            .clients
            .iter()
            .map(|(name, pair)| (*name, pair))
            .chain([("server", &self.server)]);
        for (name, pair) in pairs {
            folder.write(&format!("{name}.crt"), &pair.cert)?;
            let key = folder.write(&format!("{name}.key"), &pair.key)?;
            restrict(&key)?;
        }
        Ok(())
    }
}

fn restrict(key: &PathBuf) -> Result<(), DevError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).map_err(|reason| DevError::File {
        what: "restrict",
        path: key.clone(),
        reason,
    })
}

fn sign(params: CertificateParams, authority: &CertifiedIssuer<'_, KeyPair>) -> Result<CertifiedKey, rcgen::Error> {
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, authority)?;
    Ok(CertifiedKey {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}
