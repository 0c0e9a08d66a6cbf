//! Keys and certificates for senders, and who signs them.
//!
//! Takes an authority's certificate and key, or makes both; gives PEM. Never signs with a key that is not the certificate's.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SigningKey, date_time_ymd,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::{TenantId, seconds_since_1970};

/// Of an authority that is made here. A client certificate ends sooner, so that a new one is needed first.
const AUTHORITY_DAYS: u64 = 3650;
/// Clocks differ.
const BEFORE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(86_400);

/// A certificate and its key, PEM.
pub(super) struct Certified {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A new authority that signs client certificates.
pub(super) fn make_authority() -> Result<Certified, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "gauntlet tenants");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    for_days(&mut params, AUTHORITY_DAYS);
    let made = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    Ok(Certified {
        certificate: made.pem(),
        key: made.key().serialize_pem(),
    })
}

/// A client certificate with the name `uri`, signed by the authority.
///
/// # Errors
/// A sentence: the authority's certificate or key is none, or they do not belong together.
pub(super) fn sign(authority: &Certified, tenant: &TenantId, uri: &str, days: u64) -> Result<Certified, String> {
    let key = KeyPair::from_pem(&authority.key);
    let key = key.map_err(|error| format!("the authority's key cannot be used: {error}"))?;
    if !is_of(&authority.certificate, &key)? {
        return Err("the authority's key is not that of its certificate".to_owned());
    }
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key);
    let issuer = issuer.map_err(|error| format!("the authority's certificate cannot be used: {error}"))?;
    client(&issuer, tenant, uri, days).map_err(|error| format!("cannot make a certificate: {error}"))
}

fn client(
    issuer: &Issuer<'_, impl SigningKey>,
    tenant: &TenantId,
    uri: &str,
    days: u64,
) -> Result<Certified, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    // RFC 5280 has room for 64 characters.
    let name: String = tenant.as_str().chars().take(64).collect();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for_days(&mut params, days);
    let key = KeyPair::generate()?;
    Ok(Certified {
        certificate: params.signed_by(&key, issuer)?.pem(),
        key: key.serialize_pem(),
    })
}

fn for_days(params: &mut CertificateParams, days: u64) {
    let now = Duration::from_secs(seconds_since_1970().unsigned_abs());
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    params.not_after = epoch + now + DAY * u32::try_from(days).unwrap_or(u32::MAX);
}

fn is_of(certificate: &str, key: &KeyPair) -> Result<bool, String> {
    let wrong = || "the authority's certificate is not PEM".to_owned();
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|_| wrong())?;
    let (_, parsed) = X509Certificate::from_der(&pem.contents).map_err(|_| wrong())?;
    if !parsed.is_ca() {
        return Err("the authority's certificate is not one of an authority (CA:TRUE)".to_owned());
    }
    Ok(*parsed.public_key().subject_public_key.data == *key.der_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;

    #[test]
    fn a_certificate_is_signed_by_the_authority_whose_key_is_given() {
        let (authority, other) = (make_authority().unwrap(), make_authority().unwrap());
        let tenant = TenantId::new("kazusa").unwrap();
        let client = sign(&authority, &tenant, "spiffe://kazusa/prometheus", 30).unwrap();
        let end = tls::expiry(client.certificate.as_bytes()).unwrap() - seconds_since_1970();
        assert!((29 * 86_400..=30 * 86_400).contains(&end), "{end}");
        let mixed = Certified {
            key: other.key,
            certificate: authority.certificate.clone(),
        };
        let refused = |pair: &Certified| sign(pair, &tenant, "spiffe://a", 1).err().unwrap();
        assert!(refused(&mixed).contains("not that of its certificate"));
        assert!(refused(&client).contains("CA:TRUE"));
        let nonsense = |certificate: &str, key: &str| {
            refused(&Certified {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })
        };
        assert!(nonsense("x", &authority.key).contains("not PEM"));
        assert!(nonsense(&authority.certificate, "x").contains("key cannot be used"));
    }
}
