//! What always holds of a table, whatever was done to it.

use super::*;

impl MemoTable {
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// By the name of its budget, of an active series.
    pub fn counted(&self, hash: ProvedHash) -> Option<Option<&str>> {
        let entry = self.find(hash).filter(|entry| entry.is_active(&self.window))?;
        let numbered = self.budgets.numbered(entry.budget());
        Some(numbered.map(|numbered| &*numbered.budget.name))
    }

    /// Asserts what always holds.
    pub fn check(&self) {
        let all = || self.shards.iter().flatten();
        assert_eq!(all().count(), self.entries);
        let active = all().filter(|entry| entry.is_active(&self.window)).count();
        assert_eq!(active as u64, self.window.active());
        let of_refused = self.refused.budgets();
        self.budgets.check(
            all().map(Entry::budget).chain(of_refused),
            all().filter(|entry| entry.is_active(&self.window)).map(Entry::budget),
        );
        let edited = all().filter(|entry| entry.edit().is_some()).count();
        assert_eq!(self.edits.iter().map(Slab::live).sum::<usize>(), edited);
        for (at, shard) in self.shards.iter().enumerate() {
            for entry in shard {
                assert_eq!(self.shard(entry.hash.hash()), at);
                assert!(entry.edit().is_none_or(|slot| self.edits[at].get(slot).is_some()));
            }
        }
        assert_eq!(self.measure(), self.space.used());
        self.space.check();
    }
}
