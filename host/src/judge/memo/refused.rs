//! Series that policies let through and that found no room under `max_active_series`.
//!
//! Takes hashes, says whether one is among them, so that policies are not asked about it again with every write. Of a
//! fixed size at most, whoever floods; forgotten after a while, as a whole, and before anything else if memory is short.

use hashbrown::HashTable;

use super::activity::WINDOW_TICKS;
use crate::wire::{ProvedHash, SeriesHash};

/// What fits into 1.1 MiB. Those above it are asked about again and again: none of the others gives way to them, for if
/// all were sent in turn, each would have gone before it came again.
pub(super) const MOST: usize = 57_344;

#[derive(Debug, Default)]
pub(super) struct RefusedSet {
    hashes: HashTable<ProvedHash>,
    generation: u16,
    since: u16,
}

impl RefusedSet {
    /// Under the generation's verdicts alone.
    pub fn find(&self, hash: SeriesHash, generation: u16) -> Option<ProvedHash> {
        if self.generation != generation {
            return None;
        }
        self.hashes.find(hash.low(), |known| known.is_of(hash)).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Makes ready for one more. What is to be allocated for it, while what there is is held still; none if there is no
    /// place for it.
    pub fn growth(&mut self, generation: u16, tick: u16) -> Option<usize> {
        if self.generation != generation || tick.wrapping_sub(self.since) >= WINDOW_TICKS {
            self.hashes.clear();
            (self.generation, self.since) = (generation, tick);
        }
        match self.hashes.len() == self.hashes.capacity() {
            _ if self.hashes.len() >= MOST => None,
            true => Some(2 * self.hashes.allocation_size() + 256),
            false => Some(0),
        }
    }

    /// One that is not among them.
    pub fn insert(&mut self, hash: ProvedHash) {
        let slot = |hash: &ProvedHash| hash.hash().low();
        self.hashes.insert_unique(slot(&hash), hash, slot);
    }

    pub fn forget(&mut self) {
        self.hashes = HashTable::new();
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.hashes.allocation_size()
    }
}
