//! What a series is called where its labels are not held.
//!
//! Takes canonical label bytes, gives 128 bits that no sender can predict. Never tells which labels they were.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_secret};

/// Odd, so that nothing of a hash is lost, with their bits well mixed: the golden ratio's, and that of the square root of three.
pub(super) const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];

/// Names a series without holding its labels. 128 bits, keyed per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesHash([u64; 2]);

impl SeriesHash {
    /// One half of it, for tables.
    #[inline(always)]
    pub fn low(self) -> u64 {
        self.0[0]
    }

    /// The other half.
    #[inline(always)]
    pub fn high(self) -> u64 {
        self.0[1]
    }
}

impl Hash for SeriesHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// The hash of the first label of a series, or of all others: those of other series may be the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PartHash([u64; 2]);

impl SeriesHash {
    /// Two series are called the same by chance, of 2^128, unless both parts are.
    #[inline(always)]
    pub(super) fn of(first: PartHash, rest: PartHash) -> Self {
        let both = |at: usize| first.0[at].wrapping_mul(MULTIPLIERS[at]).wrapping_add(rest.0[at]);
        Self([both(0), both(1)])
    }
}

/// The hash of label bytes that a scan has proved: whoever is called the same, to the last bit, needs no second proof.
///
/// Made in this room only, of a series that was proved ([`Recognised::hash`](super::scan::Recognised::hash)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProvedHash(SeriesHash);

impl ProvedHash {
    /// The labels of this hash must have been proved.
    pub(super) fn proved(hash: SeriesHash) -> Self {
        Self(hash)
    }

    /// For tests of what stores them.
    #[cfg(test)]
    pub(crate) fn made_up(halves: [u64; 2]) -> Self {
        Self(SeriesHash(halves))
    }

    #[inline(always)]
    pub fn is_of(&self, hash: SeriesHash) -> bool {
        self.0 == hash
    }

    #[inline(always)]
    pub fn hash(&self) -> SeriesHash {
        self.0
    }
}

/// Sets of proved hashes can be asked about any.
impl Borrow<SeriesHash> for ProvedHash {
    fn borrow(&self) -> &SeriesHash {
        &self.0
    }
}

/// Hashes a [`SeriesHash`] by not hashing it again: it is keyed already, and no sender can choose it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Same(u64);

pub type AsIs = BuildHasherDefault<Same>;

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Names a body that goes to one upstream without holding it. 128 bits, keyed per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash([u64; 2]);

/// The hash key. A sender that knew it could make two label sets collide and so borrow a verdict.
pub struct HashKey(Box<[u8; 192]>);

impl HashKey {
    /// A fresh random key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut key = Box::new([0u8; 192]);
        aws_lc_rs::rand::fill(&mut key[..]).map_err(|_| NoRandomness)?;
        Ok(Self(key))
    }

    /// Hashes the label bytes of one series, which must be canonical: the first label, which is the name of a metric, and all
    /// others. A long first label counts with the others.
    #[inline]
    pub fn hash(&self, label_bytes: &[u8]) -> SeriesHash {
        let first = first_label(label_bytes).and_then(|length| label_bytes.split_at_checked(length));
        let (first, rest) = first.unwrap_or((&[], label_bytes));
        SeriesHash::of(self.part(first), self.part(rest))
    }

    /// Hashes a label that is the first of a series. None if it is a long one.
    pub(super) fn first(&self, label: &[u8]) -> Option<PartHash> {
        (first_label(label)? == label.len()).then(|| self.part(label))
    }

    /// Hashes all labels of a series but the first.
    #[inline]
    pub(super) fn part(&self, label_bytes: &[u8]) -> PartHash {
        let hash = xxh3_128_with_secret(label_bytes, &self.0[..]);
        PartHash([hash as u64, (hash >> 64) as u64])
    }

    /// Hashes a body and where it goes.
    pub fn hash_body(&self, body: &[u8], upstream: &str) -> BodyHash {
        let mut hasher = Xxh3::with_secret(*self.0);
        hasher.update(upstream.as_bytes());
        // No name has it.
        hasher.update(&[0]);
        hasher.update(body);
        let hash = hasher.digest128();
        BodyHash([hash as u64, (hash >> 64) as u64])
    }
}

/// Bytes of the label that these begin with, if its length takes a byte.
#[inline(always)]
fn first_label(label_bytes: &[u8]) -> Option<usize> {
    match *label_bytes {
        [_, length @ ..0x80, ..] => Some(2 + usize::from(length)),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness to give")]
pub struct NoRandomness;
