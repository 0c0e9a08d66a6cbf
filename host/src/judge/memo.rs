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
//! pass. A series that was refused for `max_active_series` or for its budget is remembered by its hash and its budget alone,
//! in a set of fixed size.
//!
//! Budgets are counted as the tenant's series are, and what an active series counts against goes on to the next generation
//! with it, until that one's policies have said something else of it.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use super::verdict::{BudgetId, Edits, Fate, Verdict};
use crate::model::{SeriesBudget, TenantId};
use crate::telemetry::Throttle;
use crate::wire::{AsIs, Asked, ProvedHash, SeriesHash};

mod activity;
mod budgets;
mod entry;
mod memos;
mod refused;
mod slab;
mod space;
mod table;

mod write;

pub use activity::{ACTIVE_WINDOW, TICK_SECONDS};
pub use budgets::{BudgetStats, MAX_BUDGETS};
pub use memos::Memos;
use memos::Shelf;
use space::{Short, ShortOf};
use table::MemoTable;
pub use write::{Bounds, NewSeries, NewVerdict};

/// Series looked up under one lock: some 5 us.
const LOOK_UPS_PER_LOCK: usize = 512;
/// How often room is made for one series: for its entry, its slot, its labels and a split.
const MOST_TRIES: usize = 4;

/// How often operators are told that a tenant's budgets are too many.
const TELL_EVERY: Duration = Duration::from_secs(600);

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
    tenant: TenantId,
    unbudgeted: Counter,
    told: Throttle,
}

impl Memo {
    pub fn new(tenant: &TenantId, memos: &Arc<Memos>) -> Self {
        Self {
            shelf: memos.open(tenant),
            memos: Arc::clone(memos),
            tenant: tenant.clone(),
            unbudgeted: memos.unbudgeted(tenant),
            told: Throttle::new(1, TELL_EVERY),
        }
    }

    /// Looks up what is asked about, and shows what it knows.
    ///
    /// Marks what it finds as seen. Hits that are let through but not active are put in `new`, or are
    /// [`Fate::OverActiveSeries`] or [`Fate::OverBudget`].
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

    /// Remembers what the chain said of some series, `cacheable` permitting, and hands to `each`, in order, what becomes of
    /// it where it may not pass: there are as many active series as the tenant or the budget may have.
    ///
    /// Few at a time: all are done under one lock.
    pub fn store(
        &self,
        series: &[NewVerdict<'_>],
        cacheable: bool,
        bounds: &Bounds,
        new: &mut NewSeries,
        mut each: impl FnMut(&Verdict, Option<Fate>),
    ) {
        let (mut table, mut unbudgeted) = (self.shelf.lock(), None);
        table.advance(bounds.tick);
        if cacheable {
            // Looked at all together first, so that memory is waited for once and not once for each.
            std::hint::black_box(series.iter().filter(|one| table.is_known(one.hash)).count());
        }
        for one in series {
            let budget;
            (table, budget) = self.number(table, &one.verdict, bounds, new);
            if budget == 0 {
                unbudgeted = unbudgeted.or(one.verdict.budget());
            }
            let refused = table.lacks_room(one, budget, bounds, new);
            match cacheable {
                true if refused.is_none() => {
                    table = self
                        .with_room(table, bounds, |table| table.remember(one, budget, bounds))
                        .0;
                }
                true => table.refuse(one.hash, budget, bounds),
                false => {}
            }
            each(&one.verdict, refused);
        }
        drop(table);
        if let Some(budget) = unbudgeted {
            self.tell_unbudgeted(budget, bounds.tick);
        }
    }

    #[cold]
    fn tell_unbudgeted(&self, budget: &SeriesBudget, tick: u16) {
        if self.told.due(Instant::now()).is_some() {
            tracing::warn!(
                tenant = %self.tenant,
                budget = %budget.name,
                budgets = self.fullest_budgets(0, tick).0,
                most = MAX_BUDGETS,
                "a policy names one more budget of series than its tenant may have, or than there is memory for: what it is for \
                 counts against none, until the series of others have been gone for 20 minutes"
            );
        }
    }

    /// The number of a verdict's budget; 0 if it has none, or if it is not to be counted for want of a place or of memory.
    fn number<'a>(
        &'a self,
        table: MutexGuard<'a, MemoTable>,
        verdict: &Verdict,
        bounds: &Bounds,
        new: &mut NewSeries,
    ) -> (MutexGuard<'a, MemoTable>, BudgetId) {
        let Some(budget) = verdict.budget() else {
            return (table, 0);
        };
        let (table, number) = self.with_room(table, bounds, |table| table.number(budget, bounds, new));
        let number = number.unwrap_or(0);
        if number == 0 {
            self.unbudgeted.inc();
        }
        (table, number)
    }

    /// Makes the new series of an admitted write active, and gives back those that have no room any more: other
    /// writes, judged at the same time, may have taken it since.
    pub fn activate(&self, new: &NewSeries, bounds: &Bounds) -> HashMap<ProvedHash, Fate, AsIs> {
        let mut over = HashMap::default();
        if new.is_empty() {
            return over;
        }
        let mut table = self.shelf.lock();
        table.advance(bounds.tick);
        for (hash, budget) in new.iter() {
            let (locked, refused) = self.with_room(table, bounds, |table| table.activate(hash, budget, bounds));
            table = locked;
            // One that there is no memory for passes, and is not counted.
            if let Some(fate) = refused.flatten() {
                over.insert(hash, fate);
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
        mut what: impl FnMut(&mut MemoTable) -> Result<T, Short>,
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

    /// Whether a series is active at `tick`. Marks nothing as seen.
    pub fn is_active(&self, hash: SeriesHash, tick: u16) -> bool {
        let mut table = self.shelf.lock();
        table.advance(tick);
        table.is_active_series(hash)
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

    /// How many budgets there are, and the `most` that are fullest.
    pub fn fullest_budgets(&self, most: usize, tick: u16) -> (usize, Vec<BudgetStats>) {
        let mut table = self.shelf.lock();
        table.advance(tick);
        table.fullest_budgets(most)
    }

    /// The budget of this name. None if it has no series and had none lately.
    pub fn budget(&self, name: &str, tick: u16) -> Option<BudgetStats> {
        let mut table = self.shelf.lock();
        table.advance(tick);
        table.budget(name)
    }
}

#[cfg(test)]
mod tests;
