//! The verdict memo: what the whole chain said about a series, remembered by the hash of its labels.
//!
//! Takes hashes, gives verdicts; takes verdicts, gives nothing back but a smaller bill next time. One memo per
//! tenant, bounded in bytes, and all together by what the process has for them. It outlives a reload because its
//! recently-seen set is the tenant's active series; verdicts carry the generation that made them and are worth nothing
//! to another one. Never calls a plugin, never looks at a label.
//!
//! What the data path relies on:
//! * only the hashes of label bytes that a scan has proved are stored (there is no other [`ProvedHash`]): whoever is
//!   found here needs no second proof;
//! * a verdict is given out only under the generation that stored it;
//! * what the tenant has active is exact as long as its active series fit into its memory.
//!
//! If memory is short, the coldest of the largest memo goes: first what only saves time (series that are not active, and
//! the labels of edited ones, whose entries stay), then active series. One that had to go is not counted any more, and
//! passes as a new one if it comes again: too many series are let through rather than one refused that has a right to
//! pass. A series that was refused for `max_active_series` is remembered by its hash alone, in a set of fixed size.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use super::verdict::{Edits, Fate, Verdict};
use crate::model::TenantId;
use crate::wire::{AsIs, Asked, ProvedHash};

mod activity;
mod entry;
mod memos;
mod refused;
mod slab;
mod space;
mod table;

mod write;

pub use activity::{ACTIVE_WINDOW, TICK_SECONDS};
pub use memos::Memos;
use memos::Shelf;
use space::{Short, ShortOf};
use table::MemoTable;
pub use write::{Bounds, NewSeries, NewVerdict};

/// Series looked up under one lock: some 5 us.
const LOOK_UPS_PER_LOCK: usize = 512;
/// How often room is made for one series: for its entry, its slot, its labels and a split.
const MOST_TRIES: usize = 4;

/// Where look-ups put what they find.
pub struct Found<'a> {
    pub fates: &'a mut Vec<Fate>,
    pub edits: &'a mut Edits,
}

/// Counts for metrics and the admin API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoStats {
    pub entries: u64,
    pub bytes: u64,
    pub active_series: u64,
}

/// One tenant's memo.
pub struct Memo {
    shelf: Arc<Shelf>,
    memos: Arc<Memos>,
}

impl Memo {
    pub fn new(tenant: &TenantId, memos: &Arc<Memos>) -> Self {
        Self {
            shelf: memos.open(tenant),
            memos: Arc::clone(memos),
        }
    }

    /// Looks up what is asked about, and shows what it knows.
    ///
    /// Marks what it finds as seen. Hits that are let through but not active are put in `new`, or are
    /// [`Fate::OverActiveSeries`].
    pub fn look_up(&self, asked: &mut Asked<'_>, bounds: &Bounds, new: &mut NewSeries, found: &mut Found<'_>) {
        let all = asked.left();
        // The lock is taken per slice so that other connections of the tenant wait microseconds, not a whole body.
        for slice in 0..all.div_ceil(LOOK_UPS_PER_LOCK) {
            let mut table = self.shelf.lock();
            table.advance(bounds.tick);
            if slice == 0 {
                table.read_through(all);
            }
            asked.answer(LOOK_UPS_PER_LOCK, |series| {
                let known = table.look_up(&series, bounds, new, found.edits);
                let known = known.or_else(|| table.refuse_again(&series, bounds, new));
                let (fate, met) = known.unzip();
                found.fates.push(fate.unwrap_or(Fate::Unknown));
                met
            });
        }
    }

    /// Remembers what the chain said of some series, `cacheable` permitting, and hands to `each`, in order, whether it may
    /// pass: false where the tenant has as many active series as it may have.
    ///
    /// Few at a time: all are done under one lock.
    pub fn store(
        &self,
        series: &[NewVerdict<'_>],
        cacheable: bool,
        bounds: &Bounds,
        new: &mut NewSeries,
        mut each: impl FnMut(&Verdict, bool),
    ) {
        let mut table = self.shelf.lock();
        table.advance(bounds.tick);
        if cacheable {
            // Looked at all together first, so that memory is waited for once and not once for each.
            std::hint::black_box(series.iter().filter(|one| table.is_known(one.hash)).count());
        }
        for one in series {
            let may_pass = table.has_room(one, bounds, new);
            match cacheable {
                true if may_pass => table = self.with_room(table, bounds, |table| table.remember(one, bounds)).0,
                true => table.refuse(one.hash, bounds),
                false => {}
            }
            each(&one.verdict, may_pass);
        }
    }

    /// Makes the new series of an admitted write active, and gives back those that have no room any more: other
    /// writes, judged at the same time, may have taken it since.
    pub fn activate(&self, new: &NewSeries, bounds: &Bounds) -> HashSet<ProvedHash, AsIs> {
        let mut over = HashSet::default();
        if new.is_empty() {
            return over;
        }
        let mut table = self.shelf.lock();
        table.advance(bounds.tick);
        for hash in new.iter() {
            let (locked, is_active) = self.with_room(table, bounds, |table| table.activate(hash, bounds));
            table = locked;
            // One that there is no memory for passes, and is not counted.
            if is_active == Some(false) {
                over.insert(hash);
            }
        }
        over
    }

    /// Does `what`, which may need memory. Where there is none it comes from larger memos, then from what is cold here;
    /// none if there is not enough.
    fn with_room<'a, T>(
        &'a self,
        mut table: MutexGuard<'a, MemoTable>,
        bounds: &Bounds,
        what: impl Fn(&mut MemoTable) -> Result<T, Short>,
    ) -> (MutexGuard<'a, MemoTable>, Option<T>) {
        let mut done = what(&mut table);
        for _ in 0..MOST_TRIES {
            let Err(short) = done else { break };
            let mut is_given = false;
            if short.bound == ShortOf::AllMemos {
                // Not under this lock: theirs are taken.
                drop(table);
                let own = self.shelf.size();
                let given = self.memos.collect(short.wanted as u64, own + own / 8);
                is_given = given.bytes() >= short.wanted as u64;
                table = self.shelf.lock();
                table.join(given);
            }
            if !is_given && !table.make_room(short, bounds.max_bytes) {
                break;
            }
            done = what(&mut table);
        }
        (table, done.ok())
    }

    /// Forgets every verdict and keeps what was seen. Called when a generation is replaced, so that a number can
    /// come round again.
    pub fn forget_verdicts(&self) {
        self.shelf.lock().forget_verdicts();
    }

    pub fn stats(&self, tick: u16) -> MemoStats {
        let mut table = self.shelf.lock();
        table.advance(tick);
        MemoStats {
            entries: table.entries() as u64,
            bytes: table.bytes() as u64,
            active_series: table.active(),
        }
    }
}

#[cfg(test)]
mod tests;
