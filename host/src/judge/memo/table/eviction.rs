//! What goes if a memo must be smaller, or is old.
//!
//! Takes how much is wanted, forgets what is cold until that is free: first what only saves time, then what is counted.

use std::cmp::Ordering;

use super::MemoTable;
use crate::judge::memo::activity::Window;
use crate::judge::memo::entry::Entry;
use crate::judge::memo::slab::Slab;
use crate::judge::memo::space::Short;

/// Who goes if memory is short.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// What is not active, and the labels of edited series: both cost time alone.
    Spare,
    /// What is not active.
    Inactive,
    Anyone,
}

/// What an entry loses.
enum Loses {
    Nothing,
    Edit,
    All,
}

impl MemoTable {
    /// Forgets until there is room for what was short; false if there is none then.
    pub fn make_room(&mut self, short: Short, max_bytes: usize) -> bool {
        let labels: usize = self.edits.iter().map(Slab::label_bytes).sum();
        // As long as there are labels to forget, no active series need go.
        if let Some(at) = short.full
            && labels < 2 * short.wanted
            && self.thin_out(at)
        {
            return true;
        }
        while self.space.ready(short.wanted, max_bytes).is_err() {
            if !self.forget_some() {
                return false;
            }
        }
        true
    }

    /// Makes places in a full shard that cannot grow: it keeps the size it has. False if it has no size.
    fn thin_out(&mut self, at: usize) -> bool {
        let (full, mut whom) = (self.shards[at].len(), Whom::Inactive);
        // Not for a few, or the next few would have to do it again.
        while self.shards[at].len() > full - full.div_ceil(8) {
            if self.evict_older(at, whom) == 0 {
                whom = Whom::Anyone;
            }
        }
        // What went has left marks behind, which take its place.
        let left: Vec<Entry> = self.shards[at].drain().collect();
        for entry in left {
            self.shards[at].insert_unique(entry.slot(), entry, Entry::slot);
        }
        full > 0
    }

    /// Forgets some of what is cold, so that memory is freed if any can be; false if nothing is left.
    ///
    /// Of one shard after the other, as much as frees anything: they are alike, since nobody chooses his shard.
    pub fn forget_some(&mut self) -> bool {
        let before = self.space.used();
        if self.refused.bytes() > 0 {
            self.forget_refused();
            return true;
        }
        let shards = self.shards.len();
        let mut next = (1..=shards).map(|step| (self.forgot + step) % shards);
        let Some(at) = next.find(|at| !self.shards[*at].is_empty()) else {
            return self.forget_budgets();
        };
        self.forgot = at;
        let mut whom = Whom::Spare;
        while self.space.used() >= before {
            let evicted = self.evict_older(at, whom);
            self.shrink(at, self.shards[at].len());
            match (evicted, whom) {
                (0, Whom::Spare) => whom = Whom::Anyone,
                (0, _) => break,
                _ => {}
            }
        }
        true
    }

    /// The older half of those of one shard that may go. How many it were.
    fn evict_older(&mut self, at: usize, whom: Whom) -> u64 {
        let all = self.shards[at].iter().filter(|entry| may_go(entry, &self.window, whom));
        let mut ages: Vec<u16> = all.map(|entry| self.window.age(entry.seen)).collect();
        if ages.is_empty() {
            return 0;
        }
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        // All of one age, as when churn fills the memo within a minute: every other one goes.
        let mut every_other = false;
        let evicted = self.evict(at, |entry, window| {
            let is_older = match window.age(entry.seen).cmp(&median) {
                _ if !may_go(entry, window, whom) => false,
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal => {
                    every_other = !every_other;
                    every_other
                }
            };
            match is_older {
                false => Loses::Nothing,
                true if whom == Whom::Spare && entry.is_active(window) => Loses::Edit,
                true => Loses::All,
            }
        });
        self.evicted.inc_by(evicted);
        evicted
    }

    /// Gives back what entries that went have left, but for room for so many.
    fn shrink(&mut self, at: usize, places: usize) {
        let shard = &mut self.shards[at];
        let before = shard.allocation_size();
        shard.shrink_to(places, Entry::slot);
        self.space.changed(before, shard.allocation_size());
    }

    /// Those of one shard that left the window.
    pub(super) fn evict_old(&mut self, at: usize) {
        self.evict(at, |entry, window| match window.covers(entry.seen) {
            true => Loses::Nothing,
            false => Loses::All,
        });
        // Not when it is half empty: it would grow again with the next one.
        self.shrink(at, self.shards[at].len() * 2);
    }

    /// How many lost anything.
    fn evict(&mut self, at: usize, mut loses: impl FnMut(&Entry, &Window) -> Loses) -> u64 {
        let (shard, edits, window) = (&mut self.shards[at], &mut self.edits[at], &mut self.window);
        let budgets = &mut self.budgets;
        let (before, had) = (edits.bytes(), shard.len());
        let mut evicted = 0;
        shard.retain(|entry| {
            let loses = loses(entry, window);
            if let Loses::Nothing = loses {
                return true;
            }
            evicted += 1;
            if let Some(slot) = entry.edit() {
                edits.remove(slot);
                entry.forget_verdict();
            }
            if let Loses::Edit = loses {
                return true;
            }
            if entry.is_active(window) {
                window.leave(entry.seen);
                budgets.leave(entry.budget(), entry.seen);
            }
            budgets.release(entry.budget());
            false
        });
        self.entries -= had - shard.len();
        edits.compact(shard.iter_mut());
        self.space.changed(before, edits.bytes());
        evicted
    }
}

fn may_go(entry: &Entry, window: &Window, whom: Whom) -> bool {
    match whom {
        Whom::Spare => entry.edit().is_some() || !entry.is_active(window),
        Whom::Inactive => !entry.is_active(window),
        Whom::Anyone => true,
    }
}
