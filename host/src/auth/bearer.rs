//! Bearer tokens (RFC 6750 section 2.1).
//!
//! Takes the token as sent, gives the tenant whose configured digest it has. Never keeps a token.

use aws_lc_rs::digest::{SHA256, digest};

use super::claims::{Claims, Holder, claim};

/// Tenants by the SHA-256 of their tokens.
///
/// A map is safe although it compares bytes and stops at the first that differ: what is compared are digests, so
/// to use the time a comparison takes one would have to choose a token by its digest, and what one would learn is
/// a digest, from which no token of a sensible length can be found. That the map's hash is keyed per process
/// keeps even that out of reach.
#[derive(Default)]
pub(super) struct Tokens(Claims<[u8; 32]>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    pub(super) fn add(&mut self, sha256: [u8; 32], owner: Holder) {
        claim(&mut self.0, sha256, owner);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn owner(&self, token: &[u8]) -> Option<Holder> {
        let sha256 = <[u8; 32]>::try_from(digest(&SHA256, token).as_ref()).ok()?;
        self.0.get(&sha256).copied().flatten()
    }
}
