//! What one write asks of a memo, and leaves to it.

use hashbrown::HashSet;

use crate::judge::verdict::Verdict;
use crate::wire::{AsIs, ProvedHash, SeriesHash};

/// The bounds one look-up works under.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub generation: u16,
    /// Minutes since any fixed moment, wrapping.
    pub tick: u16,
    pub max_active_series: u64,
    /// Of memory, whatever other memos leave.
    pub max_bytes: usize,
}

/// Series that this write lets through and that were not active before it. They become active when the write is
/// admitted, not sooner: a write refused for its new series must meet the same refusal when it is sent again.
#[derive(Debug, Default)]
pub struct NewSeries(HashSet<ProvedHash, AsIs>);

impl NewSeries {
    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        self.0.allocation_size()
    }

    pub(super) fn insert(&mut self, hash: ProvedHash) {
        self.0.insert(hash);
    }

    pub(super) fn contains(&self, hash: SeriesHash) -> bool {
        self.0.contains(&hash)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ProvedHash> {
        self.0.iter().copied()
    }
}

/// A verdict to be remembered, with the label bytes its series was sent with.
#[derive(Debug)]
pub struct NewVerdict<'a> {
    pub hash: ProvedHash,
    pub sent: &'a [u8],
    pub verdict: Verdict,
}
