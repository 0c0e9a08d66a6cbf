//! Who is writing: from a request's credential to a tenant, default deny.
//!
//! Takes the headers and the verified certificate; gives a [`Proof`], which cannot be made anywhere else. Never
//! believes a header that names a tenant, never logs a credential, never says which part of one was wrong.
//!
//! Which credential counts where several are given: an `Authorization` header must be right by itself, whatever
//! the certificate says, and a header and a certificate that prove different tenants prove none (403). A verified
//! certificate that belongs to no tenant does not spoil a good header: it may be a mesh's.

use std::sync::Arc;
use std::time::Instant;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::config::{self, Credential};
use crate::model::{Peer, TenantId};

mod basic;
mod bearer;
mod claims;
mod client_cert;

pub use basic::{Pair, VerifiedPasswords};
use claims::Holder;
pub use claims::{AuthError, Claimed};

/// Longest `Authorization` header looked at. Bytes. More than any token or password in use, and what a
/// stranger can make us decode and hash.
const MAX_AUTHORIZATION: usize = 8 * 1024;

/// Proof that a request carries a tenant's credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    id: TenantId,
    subject: String,
    credential: usize,
    expires: Option<i64>,
}

impl Proof {
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// What the credential proved: a certificate's name, a user's name, or empty for a bearer token.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Which of the tenant's credentials it was, by its place among those that the [`Authenticator`] was given. If there
    /// were several, any of them.
    pub fn credential(&self) -> usize {
        self.credential
    }

    /// When the certificate ends that proved it, in seconds since 1970; nothing else is known to end.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }
}

/// All credentials of one configuration generation.
#[derive(Debug)]
pub struct Authenticator {
    tenants: Vec<Arc<config::Tenant>>,
    tokens: bearer::Tokens,
    users: basic::Users,
    names: client_cert::Names,
    removed: Vec<Removed>,
    /// The answer to a credential that nobody is known to have.
    stranger: AuthError,
}

/// The credentials of tenants that cannot be served. Whoever proves one is told to wait, since a 401 would make a
/// sender drop its data for a mistake that is not its own.
#[derive(Debug, Clone, Default)]
pub struct Waiting {
    pub credentials: Vec<Credential>,
    /// Whether there may be more, which cannot be read or are not in use. Then whoever comes with a credential that nobody has is told to
    /// wait too: it may be one of those.
    pub are_more: bool,
    pub removed: Vec<Removed>,
}

/// A credential that proved a tenant until lately and is not configured any more. It proves nothing.
#[derive(Debug, Clone)]
pub struct Removed {
    pub credential: Credential,
    pub tenant: TenantId,
    /// From then on it is a stranger's.
    pub until: Instant,
}

impl Authenticator {
    pub fn new(tenants: impl IntoIterator<Item = Arc<config::Tenant>>, waiting: Waiting) -> Self {
        let mut it = Self {
            tenants: tenants.into_iter().collect(),
            tokens: bearer::Tokens::default(),
            users: basic::Users::default(),
            names: client_cert::Names::default(),
            removed: waiting.removed,
            stranger: match waiting.are_more {
                true => AuthError::Unknown,
                false => AuthError::WrongCredential,
            },
        };
        let mut passwords = Vec::new();
        let sound = it.tenants.iter().enumerate().flat_map(|(tenant, config)| {
            let owned =
                move |(credential, it): (usize, &Credential)| (it.clone(), Holder::Tenant { tenant, credential });
            config.credentials.iter().enumerate().map(owned)
        });
        // The broken come last: they take only what is left.
        let broken = waiting
            .credentials
            .into_iter()
            .map(|credential| (credential, Holder::Broken));
        // And those that are nobody's any more behind them.
        let removed = it.removed.iter().enumerate();
        let removed = removed.map(|(place, removed)| (removed.credential.clone(), Holder::Removed(place)));
        for (credential, owner) in sound.chain(broken).chain(removed) {
            match credential {
                Credential::BearerToken(sha256) => it.tokens.add(sha256, owner),
                Credential::ClientCertificate(name) => it.names.add(name, owner),
                Credential::BasicAuth { username, password } => passwords.push((username, password, owner)),
            }
        }
        it.users = basic::Users::new(passwords);
        it
    }

    /// The tenant that `headers` and `peer` prove. `verified` outlives generations; see [`VerifiedPasswords`].
    ///
    /// # Errors
    /// Anything short of exactly one enabled tenant.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        verified: &VerifiedPasswords,
    ) -> Result<Proof, AuthError> {
        let certified = self.names.owner(peer.certificate.as_ref(), &self.stranger);
        let ((owner, subject), expires) = match self.by_header(headers, verified).await? {
            Some(found) => match certified {
                // Whether they agree shows once the tenant is sound again.
                Ok(Some((Holder::Broken, _))) => return Err(AuthError::Broken),
                Ok(Some((other, _))) if other != found.0 && other.is_sound() && found.0.is_sound() => {
                    return Err(AuthError::Ambiguous);
                }
                Err(AuthError::Ambiguous) => return Err(AuthError::Ambiguous),
                _ => (found, None),
            },
            None => match certified? {
                Some((owner, name)) => {
                    let expires = peer.certificate.as_ref().map(|certificate| certificate.not_after);
                    ((owner, name.to_owned()), expires)
                }
                None => return Err(AuthError::NoCredential),
            },
        };
        let (tenant, credential) = match owner {
            Holder::Tenant { tenant, credential } => (tenant, credential),
            Holder::Broken => return Err(AuthError::Broken),
            Holder::Removed(place) => return Err(self.removed(place, Instant::now())),
        };
        let config = self.tenants.get(tenant).ok_or(AuthError::WrongCredential)?;
        if !config.enabled {
            // Only after the proof: a stranger must not learn which tenants exist.
            return Err(AuthError::Disabled {
                tenant: config.id.clone(),
            });
        }
        Ok(Proof {
            id: config.id.clone(),
            subject,
            credential,
            expires,
        })
    }

    /// Those of a tenant that were in use until lately and whose time is not over.
    pub fn removed_of(&self, tenant: &TenantId) -> impl Iterator<Item = &Removed> {
        let now = Instant::now();
        let of = self.removed.iter().filter(move |removed| removed.tenant == *tenant);
        of.filter(move |removed| now < removed.until)
    }

    /// The answer to a credential that is not configured any more.
    fn removed(&self, place: usize, now: Instant) -> AuthError {
        match self.removed.get(place).filter(|removed| now < removed.until) {
            Some(removed) => AuthError::Removed {
                tenant: removed.tenant.clone(),
                credential: removed.credential.to_string(),
            },
            None => self.stranger.clone(),
        }
    }

    /// What `headers` claim, as far as a log may show it.
    pub fn claimed(&self, headers: &HeaderMap) -> Claimed {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Claimed::Nothing;
        };
        let short = header.len() <= MAX_AUTHORIZATION;
        match split(header.as_bytes()).filter(|_| short) {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case(b"bearer") => Claimed::Token,
            Some((scheme, pair)) if scheme.eq_ignore_ascii_case(b"basic") => {
                let name = basic::Pair::decode(pair).map(|pair| pair.username);
                Claimed::Password(name.filter(|name| self.users.has(name)))
            }
            _ => Claimed::Nonsense,
        }
    }

    async fn by_header(
        &self,
        headers: &HeaderMap,
        verified: &VerifiedPasswords,
    ) -> Result<Option<(Holder, String)>, AuthError> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let Some(header) = given.next() else {
            return Ok(None);
        };
        // RFC 9110 section 11.6.2 knows one; two may be read differently by whoever stands in front.
        if given.next().is_some() || header.len() > MAX_AUTHORIZATION {
            return Err(AuthError::WrongCredential);
        }
        let (scheme, credential) = split(header.as_bytes()).ok_or(AuthError::WrongCredential)?;
        let nobodys = || self.stranger.clone();
        // RFC 9110 section 11.1: the scheme is case-insensitive.
        if scheme.eq_ignore_ascii_case(b"bearer") {
            let owner = self.tokens.owner(credential).ok_or_else(nobodys)?;
            Ok(Some((owner, String::new())))
        } else if scheme.eq_ignore_ascii_case(b"basic") {
            let pair = basic::Pair::decode(credential).ok_or(AuthError::WrongCredential)?;
            let owner = self.users.owner(&pair, verified).await;
            let owner = owner.map_err(|error| match error {
                AuthError::WrongCredential => nobodys(),
                other => other,
            })?;
            Ok(Some((owner, pair.username)))
        } else {
            Err(AuthError::WrongCredential)
        }
    }

    /// What a 401 carries in `WWW-Authenticate`: the schemes in use.
    ///
    /// A 401 must name one (RFC 9110 section 11.6.1) and client certificates have none, so `Bearer` stands in
    /// where there is nothing else.
    pub fn challenge(&self) -> HeaderValue {
        HeaderValue::from_static(match (self.tokens.is_empty(), self.users.is_empty()) {
            (_, true) => "Bearer",
            (true, false) => "Basic realm=\"gauntlet\"",
            (false, false) => "Bearer, Basic realm=\"gauntlet\"",
        })
    }
}

/// `scheme 1*SP credential`. Not an empty one: a token file that was empty must not open the door.
pub fn split(header: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = header.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = header.split_at(space);
    Some((scheme, rest.trim_ascii())).filter(|(_, credential)| !credential.is_empty())
}

#[cfg(test)]
mod tests;
