//! What a judge knows by heart: a tenant's memo, and under which bounds it is asked and told.
//!
//! Takes what a generation is made of, gives it to the work on its writes, which goes on wherever there is room. Never
//! judges.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::memo::{Bounds, BudgetStats, Memo, MemoStats, NewSeries, TICK_SECONDS};
use super::verdict::Fate;
use crate::wire::{AsIs, Foresight, HashKey, ProvedHash};

/// Proving so many new series, or storing their verdicts, takes an I/O thread some 50 us.
pub(super) const LIGHT_NEW: usize = 256;

/// Minutes since the process began, for the memo.
#[derive(Debug, Clone, Copy)]
pub struct MemoClock(Instant);

impl MemoClock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn tick(&self) -> u16 {
        (self.0.elapsed().as_secs() / TICK_SECONDS) as u16
    }
}

/// Of one generation of one tenant; the memo outlives it.
pub(super) struct Knowledge {
    pub(super) memo: Arc<Memo>,
    pub(super) key: Arc<HashKey>,
    pub(super) clock: MemoClock,
    pub(super) generation: u16,
    pub(super) max_memo_bytes: usize,
    pub(super) max_active_series: u64,
    /// Of this tenant's writes of 2.0.
    pub(super) foresight: Arc<Foresight>,
}

impl Knowledge {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            generation: self.generation,
            tick: self.clock.tick(),
            max_active_series: self.max_active_series,
            max_bytes: self.max_memo_bytes,
        }
    }

    pub(super) fn stats(&self) -> MemoStats {
        self.memo.stats(self.clock.tick())
    }

    /// See [`Memo::budget`].
    pub(super) fn budget(&self, name: &str) -> Option<BudgetStats> {
        self.memo.budget(name, self.clock.tick())
    }

    /// See [`Memo::activate`].
    pub(super) fn activate(&self, new: &NewSeries) -> HashMap<ProvedHash, Fate, AsIs> {
        self.memo.activate(new, &self.bounds())
    }
}
