//! What always holds of a table, whatever was done to it.

use super::*;

impl MemoTable {
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Asserts what always holds.
    pub fn check(&self) {
        let all = || self.shards.iter().flatten();
        assert_eq!(all().count(), self.entries);
        let active = all().filter(|entry| entry.is_active(&self.window)).count();
        assert_eq!(active as u64, self.window.active());
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
