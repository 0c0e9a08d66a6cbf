//! Certificates for one run: an authority, the gateway's own, one per sender, and a stranger's.
//!
//! Takes a folder; gives PEM files in it. Never kept or reused: they die with the run's folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};

/// A certificate and its key on disk.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Everything the run presents or trusts.
pub struct Certs {
    pub authority: PathBuf,
    /// The gateway's, for 127.0.0.1 and localhost.
    pub gateway: Pair,
    /// URI SAN `spiffe://kazusa/prometheus`.
    pub kazusa: Pair,
    /// DNS SAN `prometheus.setsuna.example`.
    pub setsuna: Pair,
    /// Signed by the same authority, but no tenant's.
    pub stranger: Pair,
    /// kazusa's own name, signed by an authority the gateway does not know.
    pub impostor: Pair,
}

impl Certs {
    pub fn make(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (issuer, pem) = authority("stack authority")?;
        let authority_file = folder.join("authority.pem");
        std::fs::write(&authority_file, pem)?;
        let (unknown, _) = authority("unknown authority")?;
        let uri = |text: &str| Ok::<_, anyhow::Error>(SanType::URI(Ia5String::try_from(text)?));
        let dns = |text: &str| Ok::<_, anyhow::Error>(SanType::DnsName(Ia5String::try_from(text)?));
        let loopback = SanType::IpAddress([127, 0, 0, 1].into());
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        Ok(Self {
            authority: authority_file,
            gateway: pair(folder, "gateway", &issuer, vec![loopback, dns("localhost")?], server)?,
            kazusa: pair(
                folder,
                "kazusa",
                &issuer,
                vec![uri("spiffe://kazusa/prometheus")?],
                client.clone(),
            )?,
            setsuna: pair(
                folder,
                "setsuna",
                &issuer,
                vec![dns("prometheus.setsuna.example")?],
                client.clone(),
            )?,
            stranger: pair(
                folder,
                "stranger",
                &issuer,
                vec![uri("spiffe://stranger/prometheus")?],
                client.clone(),
            )?,
            impostor: pair(
                folder,
                "impostor",
                &unknown,
                vec![uri("spiffe://kazusa/prometheus")?],
                client,
            )?,
        })
    }
}

fn authority(name: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key)?.pem();
    Ok((Issuer::new(params, key), pem))
}

fn pair(
    folder: &Path,
    name: &str,
    issuer: &Issuer<'static, KeyPair>,
    names: Vec<SanType>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<Pair> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let cert = params
        .signed_by(&key, issuer)
        .with_context(|| format!("signing {name}"))?;
    let pair = Pair {
        cert: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    std::fs::write(&pair.cert, cert.pem())?;
    std::fs::write(&pair.key, key.serialize_pem())?;
    Ok(pair)
}
