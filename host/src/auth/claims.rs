//! Whose a credential is, and why nobody is proved.
//!
//! Takes credentials with their owners, gives maps in which two owners of one credential are none. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use crate::model::TenantId;

/// Most bytes of a username that are shown.
const MAX_SHOWN_NAME: usize = 64;

/// Why a request has no tenant. Texts are public and the same for every way to be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// 401.
    #[error("no credential was given")]
    NoCredential,
    /// 401. Unknown, mistyped and malformed look alike on purpose.
    #[error("the credential is not valid")]
    WrongCredential,
    /// 403. The certificate has names of two tenants, or proves another tenant than the header.
    #[error("the credentials given belong to more than one tenant")]
    Ambiguous,
    /// 403.
    #[error("the tenant is disabled")]
    Disabled { tenant: TenantId },
    /// 503. The credential is that of a tenant whose configuration cannot be read: not a stranger.
    #[error("the tenant's configuration is not usable right now")]
    Broken,
    /// 503. Nobody is known to have the credential, but it may be that of a tenant whose credentials cannot be read.
    #[error("the credential cannot be checked right now")]
    Unknown,
    /// 503. The credential proved a tenant until lately and is not configured any more, which may be a mistake.
    #[error("the credential is not configured any more; whoever runs the gateway can say whether that is meant")]
    Removed {
        tenant: TenantId,
        /// Its kind and its public name.
        credential: String,
    },
    /// 503. Too many passwords are being checked at once.
    #[error("credentials cannot be checked right now")]
    Overloaded,
}

/// What a request that proved nothing came with, as far as a log may show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    Nothing,
    Token,
    /// The name only if it is one of the configuration: what else stands in its place may be a token or a password that
    /// somebody has put there.
    Password(Option<String>),
    Nonsense,
}

impl Claimed {
    /// The word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Token => "bearer_token",
            Self::Password(_) => "basic_auth",
            Self::Nonsense => "nonsense",
        }
    }

    /// A user of the configuration, whose password it was not.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Password(name) => name.as_deref(),
            Self::Nothing | Self::Token | Self::Nonsense => None,
        }
    }
}

impl std::fmt::Display for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Token => f.write_str("a bearer token"),
            Self::Password(Some(name)) => {
                let shown = &name[..name.floor_char_boundary(MAX_SHOWN_NAME)];
                write!(f, "a password of user {shown}")
            }
            Self::Password(None) => f.write_str("a password of a user that is not configured"),
            Self::Nonsense => f.write_str("an Authorization header that is neither Bearer nor Basic"),
        }
    }
}

/// Whose a credential is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder {
    /// By its place in the authenticator's list, with the credential's place in the tenant's.
    Tenant { tenant: usize, credential: usize },
    /// Some tenant that is known and cannot be served. Claims only what no sound tenant does.
    Broken,
    /// Nobody, by the place among what is not configured any more. Claims only what nobody else does.
    Removed(usize),
}

impl Holder {
    pub(super) fn is_sound(self) -> bool {
        matches!(self, Self::Tenant { .. })
    }
}

/// Two credentials of one tenant have the same holder.
impl PartialEq for Holder {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tenant { tenant: one, .. }, Self::Tenant { tenant: other, .. }) => one == other,
            (Self::Broken, Self::Broken) => true,
            (Self::Removed(one), Self::Removed(other)) => one == other,
            (Self::Tenant { .. } | Self::Broken | Self::Removed(_), _) => false,
        }
    }
}

impl Eq for Holder {}

/// Who holds a credential; `None` if two tenants claim it. The configuration refuses that, but nothing here
/// may depend on it: a credential that proves two tenants proves none.
pub(super) type Claims<K> = HashMap<K, Option<Holder>>;

pub(super) fn claim<K: Eq + Hash>(claims: &mut Claims<K>, credential: K, owner: Holder) {
    match claims.entry(credential) {
        Entry::Vacant(free) => {
            free.insert(Some(owner));
        }
        Entry::Occupied(mut held) if owner.is_sound() && *held.get() != Some(owner) => {
            held.insert(None);
        }
        Entry::Occupied(_) => {}
    }
}
