//! One memo's entries, and how they come and go.
//!
//! Takes hashes and verdicts, gives fates; grows only into memory that it was given before, and forgets the coldest first
//! if it must be smaller. Never locks: whoever has it has it alone.
//!
//! Invariants:
//! * `window` counts exactly the entries that are marked active and that it covers, `budgets` those of them with a budget,
//!   and who has which number;
//! * an entry lies in the shard that the last bits of its hash say, and its edit in the slab of the same number;
//! * an edit's slot is freed when its entry goes or changes;
//! * `space` knows of every byte that is allocated here.

use hashbrown::HashTable;
use prometheus_client::metrics::counter::Counter;

use super::activity::Window;
use super::budgets::Budgets;
use super::entry::{self, ACTIVE, DROP, EDIT, Entry, GENERATION, KEEP, NONE, REJECT};
use super::refused::RefusedSet;
use super::slab::Slab;
use super::space::{Short, Stock};
use super::write::{Bounds, NewSeries, NewVerdict};
use crate::judge::verdict::{BlameId, BudgetId, DropId, Edited, Edits, Fate, Verdict};
use crate::memory::Held;
use crate::model::Refusal;
use crate::wire::{Met, ProvedHash, Question, SeriesHash};

mod eviction;
mod named;

#[cfg(test)]
mod tests;

/// Small tables that grow one by one: growing one table of a million entries would hold the lock for 20 ms, and for that
/// long both. But a memo begins as one, for a tenant of few series then has all of them on few pages: with ten thousand
/// such tenants every look-up of a memo waits for memory. Where it has this many entries a shard, each is split into
/// sixteen, in 60 us, and in 0.6 ms the second time, which is the last.
const SPLIT_ENTRIES: usize = 1024;
const SPLIT: usize = 16;
const MOST_SHARDS: usize = SPLIT * SPLIT;

pub(super) struct MemoTable {
    /// 1, 16 or 256.
    shards: Vec<HashTable<Entry>>,
    /// As many. Apart, so that a look-up of a series that is kept reads nothing of them.
    edits: Vec<Slab>,
    entries: usize,
    window: Window,
    budgets: Budgets,
    refused: RefusedSet,
    space: Stock,
    evicted: Counter,
    /// The next shard to be rid of what left the window, and how many are still to do since the tick changed.
    sweep: usize,
    to_sweep: usize,
    /// The shard that was last made smaller for want of memory.
    forgot: usize,
}

impl MemoTable {
    pub fn new(space: Stock, evicted: Counter) -> Self {
        let mut table = Self {
            shards: vec![HashTable::new()],
            edits: vec![Slab::default()],
            entries: 0,
            window: Window::default(),
            budgets: Budgets::default(),
            refused: RefusedSet::default(),
            space,
            evicted,
            sweep: 0,
            to_sweep: 0,
            forgot: 0,
        };
        table.space.changed(0, table.measure());
        table
    }

    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Series that are active.
    pub fn active(&self) -> u64 {
        self.window.active()
    }

    /// Memory that is allocated.
    pub fn bytes(&self) -> usize {
        self.space.used()
    }

    fn shard(&self, hash: SeriesHash) -> usize {
        // A mask, not a shift: the width of a shift is a byte, and the rest of that register would have to be waited for,
        // which is from the look-up before, so that look-ups would wait for memory one after the other.
        hash.high() as usize & (self.shards.len() - 1)
    }

    /// Reads a small table from end to end before so many look-ups in it: among ten thousand tenants it lies in no cache,
    /// and memory read in order is not waited for. Where it does, this costs a nanosecond for each of its entries.
    pub fn read_through(&self, look_ups: usize) {
        if let [only] = &self.shards[..]
            && only.len() <= 4 * look_ups
        {
            std::hint::black_box(only.iter().fold(0, |all, entry| all ^ entry.seen));
        }
    }

    /// Moves the window on and sweeps a little of what left it.
    pub fn advance(&mut self, tick: u16) {
        if self.window.advance(tick) {
            self.to_sweep = self.shards.len();
            self.advance_budgets();
        }
        if self.to_sweep > 0 {
            self.to_sweep -= 1;
            self.sweep = (self.sweep + 1) % self.shards.len();
            self.evict_old(self.sweep);
            self.space.trim();
        }
    }

    /// The fate of a series, and that it is known. None where the chain has to be asked.
    #[inline(always)]
    pub fn look_up<'q>(
        &mut self,
        series: &Question<'q>,
        bounds: &Bounds,
        new: &mut NewSeries,
        edits: &mut Edits,
    ) -> Option<(Fate, Met<'q>)> {
        let tick = self.window.tick();
        let shard = self.shard(series.hash());
        let mut met = None;
        let entry = self.shards[shard].find_mut(series.hash().low(), |e| {
            met = series.met(&e.hash);
            met.is_some()
        })?;
        let hash = entry.hash;
        let seen = entry.seen;
        if seen != tick {
            entry.seen = tick;
            if entry.is_marked_active() {
                match self.window.covers(seen) {
                    true => {
                        self.window.see_again(seen);
                        let budget = entry.budget();
                        if budget > 0 {
                            self.budgets.see_again(budget, seen);
                        }
                    }
                    // Left the window and was not swept yet: it comes back as a new series.
                    false => entry.tag &= !ACTIVE,
                }
            }
        }
        if entry.tag & GENERATION != bounds.generation & GENERATION {
            return None;
        }
        let entry = *entry;
        let (is_active, payload) = (entry.is_marked_active(), entry.payload());
        let fate = match entry.kind() {
            KEEP if is_active || self.has_room_for(hash, entry.budget(), bounds, new) => {
                Fate::Keep { stream: entry.stream() }
            }
            DROP => Fate::Drop {
                reason: payload as DropId,
            },
            // A number that stands for no refusal: asked again.
            REJECT => Fate::Reject {
                refusal: Refusal::from_code((payload >> BlameId::BITS) as u8)?,
                blame: payload as BlameId,
            },
            EDIT if is_active || self.has_room_for(hash, entry.budget(), bounds, new) => {
                let edited = self.edits.get(shard)?.get(entry.edit()?)?;
                edits.push(edited.stream, &edited.of(series.sent())?)
            }
            KEEP | EDIT => self.over(entry.budget(), bounds, new)?,
            _ => return None,
        };
        Some((fate, met?))
    }

    /// That a series was refused for want of room, and is again: there is still none.
    pub fn refuse_again<'q>(
        &self,
        series: &Question<'q>,
        bounds: &Bounds,
        new: &mut NewSeries,
    ) -> Option<(Fate, Met<'q>)> {
        if self.refused.is_empty() || new.contains(series.hash()) {
            return None;
        }
        let (known, budget) = self.refused.find(series.hash(), bounds.generation)?;
        // It has become active since, and its verdict was forgotten.
        if self.is_active(known) {
            return None;
        }
        let fate = self.over(budget, bounds, new)?;
        Some((fate, series.met(&known)?))
    }

    /// Whether a series that policies let through and that is not active may pass: it must fit under the limit, and into
    /// its budget.
    fn has_room_for(&self, hash: ProvedHash, budget: BudgetId, bounds: &Bounds, new: &mut NewSeries) -> bool {
        let numbered = self.budgets.numbered(budget);
        let others = numbered.map_or(0, |numbered| new.counted(numbered));
        if self.window.active() + new.len() < bounds.max_active_series && self.budgets.has_room(budget, others) {
            new.insert(hash, budget, numbered);
            return true;
        }
        new.contains(hash.hash())
    }

    /// What becomes of a series that is new where its budget or its tenant is full. None if neither is.
    fn over(&self, budget: BudgetId, bounds: &Bounds, new: &mut NewSeries) -> Option<Fate> {
        if let Some(numbered) = self.budgets.numbered(budget)
            && !self.budgets.has_room(budget, new.counted(numbered))
        {
            new.know(budget, numbered);
            return Some(Fate::OverBudget { budget });
        }
        (self.window.active() + new.len() >= bounds.max_active_series).then_some(Fate::OverActiveSeries)
    }

    fn find(&self, hash: ProvedHash) -> Option<&Entry> {
        self.shards[self.shard(hash.hash())].find(hash.hash().low(), |e| e.hash == hash)
    }

    pub fn is_known(&self, hash: ProvedHash) -> bool {
        self.find(hash).is_some()
    }

    fn is_active(&self, hash: ProvedHash) -> bool {
        self.find(hash).is_some_and(|entry| entry.is_active(&self.window))
    }

    /// As [`Self::is_active`], of a series that nobody has proved: it is asked about, and gets nothing by it.
    pub fn is_active_series(&self, hash: SeriesHash) -> bool {
        let entry = self.shards[self.shard(hash)].find(hash.low(), |e| e.hash.is_of(hash));
        entry.is_some_and(|entry| entry.is_active(&self.window))
    }

    /// Why a series with this verdict may not pass. None if it has the room it needs among the active ones, if it needs any.
    pub fn lacks_room(
        &self,
        one: &NewVerdict<'_>,
        budget: BudgetId,
        bounds: &Bounds,
        new: &mut NewSeries,
    ) -> Option<Fate> {
        let may_pass =
            !one.verdict.lets_through() || self.is_active(one.hash) || self.has_room_for(one.hash, budget, bounds, new);
        if may_pass { None } else { self.over(budget, bounds, new) }
    }

    /// # Errors
    /// If there is no memory for it. What was known before still is then.
    pub fn remember(&mut self, one: &NewVerdict<'_>, budget: BudgetId, bounds: &Bounds) -> Result<(), Short> {
        if !self.is_known(one.hash) {
            self.make_place(one.hash, bounds.max_bytes)?;
        }
        let shard = self.shard(one.hash.hash());
        let packed = self.pack(shard, one, budget, bounds.max_bytes)?;
        let generation = bounds.generation & GENERATION;
        match self.shards[shard].find_mut(one.hash.hash().low(), |e| e.hash == one.hash) {
            Some(entry) => {
                let old = std::mem::replace(&mut entry.packed, packed);
                let had = entry::budget(old);
                let (is_active, seen) = (entry.is_active(&self.window), entry.seen);
                // What a new generation drops takes no place among the active series any more.
                if !one.verdict.lets_through() {
                    if is_active {
                        self.window.leave(seen);
                        self.budgets.leave(had, seen);
                    }
                    entry.tag &= !ACTIVE;
                } else if is_active {
                    self.budgets.change(had, budget, seen);
                }
                entry.tag = (entry.tag & ACTIVE) | generation;
                self.budgets.hold(entry::budget(packed));
                self.budgets.release(had);
                self.free_edit(shard, old);
            }
            None => self.insert(one.hash, packed, generation),
        }
        Ok(())
    }

    /// Remembers that a series is let through and has no room, if that costs next to nothing.
    pub fn refuse(&mut self, hash: ProvedHash, budget: BudgetId, bounds: &Bounds) {
        let (generation, tick) = (bounds.generation, self.window.tick());
        if self.refused.is_over(generation, tick) {
            self.refused
                .begin(generation, tick, |budget| self.budgets.release(budget));
        }
        let Some(growth) = self.refused.growth() else { return };
        if self.refused.find(hash.hash(), bounds.generation).is_some() {
            return;
        }
        let before = self.refused.bytes();
        if self.space.take(growth, bounds.max_bytes).is_ok() {
            self.refused.insert(hash, budget);
            self.budgets.hold(budget);
            self.space.changed(before + growth, self.refused.bytes());
        }
    }

    fn forget_refused(&mut self) {
        let before = self.refused.bytes();
        self.refused.forget(|budget| self.budgets.release(budget));
        self.space.changed(before, 0);
    }

    /// Of a hash that is not there and has a place.
    fn insert(&mut self, hash: ProvedHash, packed: u32, tag: u16) {
        let (shard, seen) = (self.shard(hash.hash()), self.window.tick());
        let entry = Entry {
            hash,
            packed,
            seen,
            tag,
        };
        self.shards[shard].insert_unique(entry.slot(), entry, Entry::slot);
        self.budgets.hold(entry.budget());
        self.entries += 1;
    }

    /// So that one more can be inserted without allocating.
    fn make_place(&mut self, hash: ProvedHash, max_bytes: usize) -> Result<(), Short> {
        if self.entries >= SPLIT_ENTRIES * self.shards.len() && self.shards.len() < MOST_SHARDS {
            // It only spares time: others do not give way for it.
            let _ = self.split(max_bytes);
        }
        let at = self.shard(hash.hash());
        let shard = &mut self.shards[at];
        if shard.len() < shard.capacity() {
            return Ok(());
        }
        let (before, both) = (shard.allocation_size(), 2 * shard.allocation_size() + 256);
        let taken = self.space.take(both, max_bytes);
        taken.map_err(|short| Short {
            full: Some(at),
            ..short
        })?;
        // Twice the size if it is full, and no larger if it is full of the marks of those that went.
        let larger = HashTable::with_capacity(shard.len() + shard.len() / 3 + 1);
        for entry in std::mem::replace(shard, larger) {
            shard.insert_unique(entry.slot(), entry, Entry::slot);
        }
        self.space.changed(before + both, shard.allocation_size());
        self.space.trim();
        Ok(())
    }

    fn split(&mut self, max_bytes: usize) -> Result<(), Short> {
        let shards = self.shards.len() * SPLIT;
        let before = self.measure();
        // Twice what there is at worst, and what the least table takes.
        let both = 2 * before + shards * 256;
        self.space.take(both, max_bytes)?;
        let old = std::mem::replace(&mut self.shards, (0..shards).map(|_| HashTable::new()).collect());
        let old_edits = std::mem::replace(&mut self.edits, (0..shards).map(|_| Slab::default()).collect());
        for (entries, edits) in old.into_iter().zip(&old_edits) {
            for mut entry in entries {
                let shard = self.shard(entry.hash.hash());
                if let Some(edited) = entry.edit().and_then(|slot| edits.get(slot)) {
                    entry.move_edit(self.edits[shard].insert(&edited));
                }
                self.shards[shard].insert_unique(entry.slot(), entry, Entry::slot);
            }
        }
        self.to_sweep = self.shards.len();
        self.sweep = 0;
        self.space.changed(before + both, self.measure());
        self.space.trim();
        Ok(())
    }

    /// All that is allocated.
    fn measure(&self) -> usize {
        let own = self.shards.len() * (size_of::<HashTable<Entry>>() + size_of::<Slab>());
        let entries: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        let edits: usize = self.edits.iter().map(Slab::bytes).sum();
        own + entries + edits + self.refused.bytes() + self.budgets.bytes()
    }

    fn pack(&mut self, shard: usize, one: &NewVerdict<'_>, budget: BudgetId, max_bytes: usize) -> Result<u32, Short> {
        let Verdict::Edit { labels, stream, .. } = &one.verdict else {
            return Ok(entry::pack(&one.verdict, budget).unwrap_or_default());
        };
        let edited = Edited::new(one.sent, labels, *stream);
        let slab = &mut self.edits[shard];
        let (before, growth) = (slab.bytes(), slab.growth(&edited));
        self.space.take(growth, max_bytes)?;
        let slot = slab.insert(&edited);
        self.space.changed(before + growth, slab.bytes());
        Ok(entry::pack_edit(slot, budget))
    }

    fn free_edit(&mut self, shard: usize, packed: u32) {
        if let Some(slot) = entry::edit(packed) {
            self.edits[shard].remove(slot);
        }
    }

    /// Makes a series active that was judged new, with this budget. What becomes of it where it is not active and has no
    /// room to become so.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn activate(&mut self, hash: ProvedHash, budget: BudgetId, bounds: &Bounds) -> Result<Option<Fate>, Short> {
        if !self.is_active(hash) {
            if !self.budgets.has_room(budget, 0) {
                return Ok(Some(Fate::OverBudget { budget }));
            }
            if self.window.active() >= bounds.max_active_series {
                return Ok(Some(Fate::OverActiveSeries));
            }
        }
        if !self.is_known(hash) {
            // Evicted between judging and admission, or never stored: it is active all the same.
            self.make_place(hash, bounds.max_bytes)?;
            self.insert(hash, entry::pack_none(budget), 0);
        }
        let shard = self.shard(hash.hash());
        if let Some(entry) = self.shards[shard].find_mut(hash.hash().low(), |e| e.hash == hash) {
            let (had, tick) = (entry.budget(), self.window.tick());
            if entry.is_active(&self.window) {
                self.window.leave(entry.seen);
                self.budgets.leave(had, entry.seen);
            }
            if entry.kind() == NONE && had != budget {
                entry.packed = entry::pack_none(budget);
                self.budgets.hold(budget);
                self.budgets.release(had);
            }
            entry.tag |= ACTIVE;
            entry.seen = tick;
            self.window.enter();
            self.budgets.enter_at(entry.budget(), tick);
        }
        Ok(None)
    }

    /// What is active is counted on, under the budgets that it has.
    pub fn forget_verdicts(&mut self) {
        let before = self.measure();
        for entry in self.shards.iter_mut().flatten() {
            if !entry.is_active(&self.window) {
                self.budgets.release(entry.budget());
                entry.packed = NONE;
            }
            entry.forget_verdict();
        }
        self.edits.fill_with(Slab::default);
        self.refused.forget(|budget| self.budgets.release(budget));
        self.space.changed(before, self.measure());
        self.space.trim();
    }

    /// Takes in what others gave.
    pub fn join(&mut self, given: Held) {
        self.space.join(given);
    }

    /// Parts with what is held and not used.
    pub fn part(&mut self) -> Held {
        self.space.part()
    }
}
