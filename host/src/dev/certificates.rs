//! Throw-away certificates of the demo: one authority, one server, one client per tenant that uses one.
//!
//! Takes nothing, gives PEM; keys live as long as the demo's folder.

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

    /// Those of the folder, if all are there: whoever was told to trust them still does.
    pub(super) fn read(folder: &Folder) -> Option<Self> {
        let pair = |name: &str| {
            Some(CertifiedKey {
                cert: folder.read(&format!("{name}.crt"))?,
                key: folder.read(&format!("{name}.key"))?,
            })
        };
        let clients = sample::TENANTS.iter().filter(|tenant| tenant.certificate_uri.is_some());
        let clients = clients.map(|tenant| Some((tenant.name, pair(tenant.name)?)));
        Some(Self {
            ca: folder.read("ca.crt")?,
            server: pair("server")?,
            clients: clients.collect::<Option<_>>()?,
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
            folder.write_secret(&format!("{name}.key"), &pair.key)?;
        }
        Ok(())
    }
}

fn sign(params: CertificateParams, authority: &CertifiedIssuer<'_, KeyPair>) -> Result<CertifiedKey, rcgen::Error> {
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, authority)?;
    Ok(CertifiedKey {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}
