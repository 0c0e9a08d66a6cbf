//! Series that policies let through and that found no room under `max_active_series` or in their budget.
//!
//! Takes hashes, says whether one is among them, so that policies are not asked about it again with every write. Of a
//! fixed size at most, whoever floods; forgotten after a while, as a whole, and before anything else if memory is short.

use hashbrown::HashTable;

use super::activity::WINDOW_TICKS;
use crate::judge::verdict::BudgetId;
use crate::wire::{ProvedHash, SeriesHash};

/// What fits into 1.6 MiB. Those above it are asked about again and again: none of the others gives way to them, for if
/// all were sent in turn, each would have gone before it came again.
pub(super) const MOST: usize = 57_344;

#[derive(Debug, Default)]
pub(super) struct RefusedSet {
    /// Each with its budget.
    hashes: HashTable<(ProvedHash, BudgetId)>,
    generation: u16,
    since: u16,
}

impl RefusedSet {
    /// Under the generation's verdicts alone.
    pub fn find(&self, hash: SeriesHash, generation: u16) -> Option<(ProvedHash, BudgetId)> {
        if self.generation != generation {
            return None;
        }
        self.hashes.find(hash.low(), |(known, _)| known.is_of(hash)).copied()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether they are to be forgotten before there is another one.
    pub fn is_over(&self, generation: u16, tick: u16) -> bool {
        self.generation != generation || tick.wrapping_sub(self.since) >= WINDOW_TICKS
    }

    /// Begins anew; what there was is handed to `each`.
    pub fn begin(&mut self, generation: u16, tick: u16, each: impl FnMut(BudgetId)) {
        self.hashes.drain().map(|(_, budget)| budget).for_each(each);
        (self.generation, self.since) = (generation, tick);
    }

    /// What is to be allocated for one more, while what there is is held still; none if there is no place for it.
    pub fn growth(&self) -> Option<usize> {
        match self.hashes.len() == self.hashes.capacity() {
            _ if self.hashes.len() >= MOST => None,
            true => Some(2 * self.hashes.allocation_size() + 256),
            false => Some(0),
        }
    }

    /// One that is not among them.
    pub fn insert(&mut self, hash: ProvedHash, budget: BudgetId) {
        let slot = |(hash, _): &(ProvedHash, BudgetId)| hash.hash().low();
        self.hashes.insert_unique(hash.hash().low(), (hash, budget), slot);
    }

    /// Forgets all, and hands the budget of each to `each`.
    pub fn forget(&mut self, each: impl FnMut(BudgetId)) {
        let hashes = std::mem::take(&mut self.hashes);
        hashes.into_iter().map(|(_, budget)| budget).for_each(each);
    }

    #[cfg(test)]
    pub fn budgets(&self) -> impl Iterator<Item = BudgetId> {
        self.hashes.iter().map(|(_, budget)| *budget)
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.hashes.allocation_size()
    }
}
