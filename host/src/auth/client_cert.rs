//! Client certificates: a verified name to the tenant that is configured for it.
//!
//! Takes the names of a verified leaf, gives the one tenant they belong to. Matches whole names only, each kind
//! against its own: a DNS name never passes for a URI, nor the common name for either.

use crate::config::CertificateName;
use crate::model::PeerCertificate;

use super::claims::{AuthError, Claims, Holder, claim};

/// Tenants by the names in their certificates. A map per kind, so that a look-up borrows the name.
#[derive(Debug, Default)]
pub(super) struct Names {
    uri_sans: Claims<String>,
    dns_sans: Claims<String>,
    common_names: Claims<String>,
}

impl Names {
    pub(super) fn add(&mut self, name: CertificateName, owner: Holder) {
        match name {
            CertificateName::UriSan(name) => claim(&mut self.uri_sans, name, owner),
            CertificateName::DnsSan(name) => claim(&mut self.dns_sans, name, owner),
            CertificateName::CommonName(name) => claim(&mut self.common_names, name, owner),
        }
    }

    /// The tenant and the name that proved it; `None` without a certificate.
    ///
    /// # Errors
    /// `stranger` where no name is a tenant's,
    /// `Ambiguous` where the names belong to several tenants: to pick one would be to guess. Where one of those
    /// is broken it is not yet known whether they are several, so the answer is [`Holder::Broken`]: wait.
    pub(super) fn owner<'c>(
        &self,
        certificate: Option<&'c PeerCertificate>,
        stranger: &AuthError,
    ) -> Result<Option<(Holder, &'c str)>, AuthError> {
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let uris = certificate.uri_sans.iter().map(|name| (&self.uri_sans, name));
        let dns = certificate.dns_sans.iter().map(|name| (&self.dns_sans, name));
        let common = certificate.common_name.iter().map(|name| (&self.common_names, name));
        let mut found: Option<(Holder, &str)> = None;
        for (claims, name) in uris.chain(dns).chain(common) {
            let Some(owner) = claims.get(name) else {
                continue;
            };
            let owner = owner.ok_or(AuthError::Ambiguous)?;
            found = match found {
                // What is nobody's any more counts only if no name is somebody's.
                None | Some((Holder::Removed(_), _)) => Some((owner, name)),
                Some((first, _)) if first == owner || matches!(owner, Holder::Removed(_)) => found,
                Some((first, _)) if first.is_sound() && owner.is_sound() => return Err(AuthError::Ambiguous),
                Some((_, name)) => Some((Holder::Broken, name)),
            };
        }
        found.map(Some).ok_or_else(|| stranger.clone())
    }
}
