//! All memos of the process, under one number.
//!
//! Takes how much is wanted, has the largest memos give it up, the coldest of theirs first, so that none gives way while
//! another is larger: whoever holds less than an equal part of what memos are guaranteed loses nothing to others.
//!
//! Locks: of memos one at a time, and the list of them and the account of the process only for moments in which no other
//! lock is taken. Nobody may come here under a memo's lock.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus_client::metrics::counter::Counter;

use super::space::Stock;
use super::table::MemoTable;
use crate::memory::{Held, Kind, Memory};
use crate::model::TenantId;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::TenantLabels;

/// Given at once where others need memory, so that not every body has to ask.
const BATCH: u64 = 4 << 20;

/// One per process.
pub struct Memos {
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    all: Mutex<Vec<Weak<Shelf>>>,
}

/// One memo's table, and its size for those who must not wait for its lock.
pub(super) struct Shelf {
    table: Mutex<MemoTable>,
    size: Arc<AtomicU64>,
}

impl Memos {
    /// They give way whenever others draw on `memory`.
    pub fn new(memory: &Arc<Memory>, metrics: &Arc<Metrics>) -> Arc<Self> {
        let memos = Arc::new(Self {
            memory: Arc::clone(memory),
            metrics: Arc::clone(metrics),
            all: Mutex::default(),
        });
        let giving = Arc::downgrade(&memos);
        memory.give_way_with(Box::new(move |wanted| {
            if let Some(memos) = giving.upgrade() {
                memos.give_way(wanted);
            }
        }));
        memos
    }

    /// For tests of what has a memo.
    #[cfg(test)]
    pub(crate) fn within(limit: u64) -> Arc<Self> {
        let metrics = Arc::new(Metrics::new());
        Self::new(&Memory::new(limit, Arc::clone(&metrics)), &metrics)
    }

    pub(super) fn open(&self, tenant: &TenantId) -> Arc<Shelf> {
        let tenant = tenant.to_string();
        let evicted = self.metrics.memo_evicted.get_or_create(&TenantLabels { tenant });
        let size = Arc::default();
        let space = Stock::new(self.memory.open(Kind::Memos), Arc::clone(&size));
        let shelf = Arc::new(Shelf {
            table: Mutex::new(MemoTable::new(space, evicted)),
            size,
        });
        let mut all = self.list();
        if all.len() == all.capacity() {
            all.retain(|shelf| shelf.strong_count() > 0);
        }
        all.push(Arc::downgrade(&shelf));
        shelf
    }

    pub(super) fn unbudgeted(&self, tenant: &TenantId) -> Counter {
        let tenant = tenant.to_string();
        self.metrics.unbudgeted_series.get_or_create(&TenantLabels { tenant })
    }

    /// Some `wanted` bytes of memos that have more than `floor`; of the largest what they have more than the others.
    pub(super) fn collect(&self, wanted: u64, floor: u64) -> Held {
        let shelves: Vec<Arc<Shelf>> = self.list().iter().filter_map(Weak::upgrade).collect();
        let sizes = shelves.iter().map(|shelf| (shelf.size(), shelf));
        let mut larger: Vec<_> = sizes.filter(|(size, _)| *size > floor).collect();
        larger.sort_unstable_by_key(|(size, _)| Reverse(*size));
        let level = level(larger.iter().map(|(size, _)| *size), wanted).max(floor);
        let mut given = self.memory.open(Kind::Memos);
        for (size, shelf) in larger {
            if size <= level || given.bytes() >= wanted {
                break;
            }
            shelf.give(size - level, &mut given);
        }
        given
    }

    fn give_way(&self, wanted: u64) {
        let held = self.memory.held(Kind::Memos);
        let spare = held.saturating_sub(self.memory.guaranteed(Kind::Memos));
        // What was collected is given back to all by being dropped.
        self.collect(wanted.max(BATCH).min(spare), 0);
    }

    fn list(&self) -> MutexGuard<'_, Vec<Weak<Shelf>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Down to what the largest must go so that `wanted` is left over. `sizes` fall.
fn level(sizes: impl Iterator<Item = u64>, wanted: u64) -> u64 {
    let (mut sum, mut level) = (0_u64, 0);
    for (larger, size) in (0..).zip(sizes) {
        // As large as this one, and the level is reached with those before it.
        if larger > 0 && size <= level {
            break;
        }
        sum += size;
        level = sum.saturating_sub(wanted) / (larger + 1);
    }
    level
}

impl Shelf {
    pub fn lock(&self) -> MutexGuard<'_, MemoTable> {
        // A panic under the lock would be a bug; the table is still a table, and other tenants' writes go on.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of memory that it holds.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Gives some `wanted` bytes to `given`, the coldest first. Under the lock for one shard at a time: 100 us.
    fn give(&self, wanted: u64, given: &mut Held) {
        let enough = given.bytes() + wanted;
        loop {
            let mut table = self.lock();
            given.absorb(&mut table.part());
            if given.bytes() >= enough || !table.forget_some() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
