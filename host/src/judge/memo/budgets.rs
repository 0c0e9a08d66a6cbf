//! A tenant's budgets: which there are, and how many active series each has.
//!
//! Takes the name and the bound that a verdict has, gives a number for both that an entry has room for; counts by name
//! and by minute, in step with the tenant's own window. Two bounds of one name have two numbers and one count. A number
//! becomes free when nothing has it any more: no entry, no refused series, no write. Never knows which series they are.

use std::hash::RandomState;
use std::sync::Arc;

use hashbrown::HashMap;

use super::activity::Window;
use crate::judge::verdict::BudgetId;
use crate::model::SeriesBudget;

/// Of an entry.
pub(super) const NUMBER_BITS: u32 = 13;
/// All but 0, which is no budget.
const MOST_NUMBERS: usize = (1 << NUMBER_BITS) - 1;
/// Names that one tenant may have active series under. There are twice as many numbers, for a reload that changes every
/// bound: the old ones go as their series are met again.
pub const MAX_BUDGETS: usize = 4000;

/// What a number stands for.
#[derive(Debug)]
pub(super) struct Numbered {
    pub budget: SeriesBudget,
    /// Where its series are counted.
    pub count: u16,
}

/// One budget at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetStats {
    pub name: Arc<str>,
    pub active_series: u64,
    /// As a verdict named it last.
    pub max_active_series: u64,
}

#[derive(Debug, Default)]
pub(super) struct Budgets {
    /// By number less one.
    lines: Vec<Option<Line>>,
    counts: Vec<Option<Count>>,
    by_name: HashMap<Arc<str>, u16, RandomState>,
    /// Lines that are in use.
    live: usize,
    /// Bytes of what is allocated for each line and each count.
    apart: usize,
}

#[derive(Debug)]
struct Line {
    numbered: Arc<Numbered>,
    /// Entries and refused series that have its number.
    holders: u32,
}

#[derive(Debug)]
struct Count {
    name: Arc<str>,
    window: Window,
    /// Bounds that it was named with, in order, each with its number.
    bounds: Vec<(u64, BudgetId)>,
    named: u64,
}

/// With the counts of an `Arc`.
const LINE_BYTES: usize = size_of::<Numbered>() + 16;
const BOUND_BYTES: usize = size_of::<(u64, BudgetId)>();
/// The bounds to begin with.
const FEWEST: usize = 2;

impl Budgets {
    /// Of a budget that has one already.
    pub fn find(&mut self, budget: &SeriesBudget) -> Option<BudgetId> {
        let count = *self.by_name.get(&budget.name)?;
        let count = self.counts.get_mut(usize::from(count))?.as_mut()?;
        let at = count.bound(budget.max_active_series).ok()?;
        count.named = budget.max_active_series;
        Some(count.bounds[at].1)
    }

    /// What is allocated to take this one more, while what there is is held still; none if there is no place for it.
    pub fn growth(&self, budget: &SeriesBudget) -> Option<usize> {
        let known = self.by_name.get(&budget.name);
        if self.live >= MOST_NUMBERS || (known.is_none() && self.by_name.len() >= MAX_BUDGETS) {
            return None;
        }
        let doubled = |used: usize, room: usize, size: usize| match used == room {
            true => size * (2 * room).max(4),
            false => 0,
        };
        let names = match self.by_name.len() == self.by_name.capacity() {
            true => 2 * self.by_name.allocation_size() + 512,
            false => 0,
        };
        let bounds = known.and_then(|count| self.counts.get(usize::from(*count))?.as_ref());
        let bounds = bounds.map_or(FEWEST, |count| 2 * count.bounds.len()) * BOUND_BYTES;
        let lines = doubled(self.lines.len(), self.lines.capacity(), size_of::<Option<Line>>());
        let counts = doubled(self.counts.len(), self.counts.capacity(), size_of::<Option<Count>>());
        Some(lines + counts + names + bounds + LINE_BYTES + name_bytes(&budget.name))
    }

    /// A number for one that has none, and a place.
    pub fn insert(&mut self, budget: &SeriesBudget, tick: u16) -> BudgetId {
        let count = match self.by_name.get(&budget.name) {
            Some(count) => *count,
            None => self.count_from_now(&budget.name, tick),
        };
        let line = Some(Line {
            numbered: Arc::new(Numbered {
                budget: budget.clone(),
                count,
            }),
            holders: 0,
        });
        let number = (put(&mut self.lines, self.live, line) + 1) as BudgetId;
        self.live += 1;
        self.apart += LINE_BYTES;
        if let Some(Some(count)) = self.counts.get_mut(usize::from(count)) {
            self.apart += count.add(budget.max_active_series, number) * BOUND_BYTES;
        }
        number
    }

    fn count_from_now(&mut self, name: &Arc<str>, tick: u16) -> u16 {
        let count = Some(Count {
            name: Arc::clone(name),
            window: Window::at(tick),
            bounds: Vec::new(),
            named: 0,
        });
        let at = put(&mut self.counts, self.by_name.len(), count) as u16;
        self.by_name.insert(Arc::clone(name), at);
        self.apart += name_bytes(name);
        at
    }

    pub fn numbered(&self, number: BudgetId) -> Option<&Arc<Numbered>> {
        self.line(number).map(|line| &line.numbered)
    }

    /// Whether it has room for one more besides `others`; always of no budget.
    pub fn has_room(&self, number: BudgetId, others: u64) -> bool {
        let Some(numbered) = self.numbered(number) else {
            return true;
        };
        let count = self.counts.get(usize::from(numbered.count)).and_then(Option::as_ref);
        let active = count.map_or(0, |count| count.window.active());
        active + others < numbered.budget.max_active_series
    }

    /// Something more has this number.
    pub fn hold(&mut self, number: BudgetId) {
        if let Some(line) = self.line_mut(number) {
            line.holders += 1;
        }
    }

    /// Something that had this number has it no more.
    pub fn release(&mut self, number: BudgetId) {
        if let Some(line) = self.line_mut(number) {
            line.holders -= 1;
        }
    }

    /// See [`Window::enter_at`].
    pub fn enter_at(&mut self, number: BudgetId, seen: u16) {
        if let Some(window) = self.window(number) {
            window.enter_at(seen);
        }
    }

    /// See [`Window::leave`].
    pub fn leave(&mut self, number: BudgetId, seen: u16) {
        if let Some(window) = self.window(number) {
            window.leave(seen);
        }
    }

    /// See [`Window::see_again`].
    #[cold]
    #[inline(never)]
    pub fn see_again(&mut self, number: BudgetId, seen: u16) {
        if let Some(window) = self.window(number) {
            window.see_again(seen);
        }
    }

    /// One that is active counts elsewhere now.
    pub fn change(&mut self, had: BudgetId, has: BudgetId, seen: u16) {
        if had != has {
            self.leave(had, seen);
            self.enter_at(has, seen);
        }
    }

    pub fn advance(&mut self, tick: u16) {
        for count in self.counts.iter_mut().flatten() {
            count.window.advance(tick);
        }
        self.collect();
    }

    /// Frees the numbers that nothing has, and the names without a number. Whether there were any.
    pub fn collect(&mut self) -> bool {
        let before = self.live;
        for at in 0..self.lines.len() {
            // Whoever has it besides got it under the memo's lock, and nobody gets it now.
            let is_idle = |line: &mut Line| line.holders == 0 && Arc::strong_count(&line.numbered) == 1;
            if let Some(line) = self.lines[at].take_if(is_idle) {
                self.forget(&line.numbered);
            }
        }
        if self.live == 0 {
            *self = Self::default();
        }
        self.live < before
    }

    fn forget(&mut self, numbered: &Numbered) {
        self.live -= 1;
        self.apart -= LINE_BYTES;
        let place = &mut self.counts[usize::from(numbered.count)];
        let Some(count) = place else { return };
        self.apart -= count.remove(numbered.budget.max_active_series) * BOUND_BYTES;
        if count.bounds.is_empty() {
            self.apart -= name_bytes(&count.name);
            self.by_name.remove(&count.name);
            *place = None;
        }
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        let lines = self.lines.capacity() * size_of::<Option<Line>>();
        let counts = self.counts.capacity() * size_of::<Option<Count>>();
        lines + counts + self.by_name.allocation_size() + self.apart
    }

    /// Names that have a count.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    pub fn of(&self, name: &str) -> Option<BudgetStats> {
        let count = *self.by_name.get(name)?;
        self.counts.get(usize::from(count))?.as_ref().map(Count::stats)
    }

    /// Those with the least room left for what they have, first.
    pub fn fullest(&self, most: usize) -> Vec<BudgetStats> {
        let counts = self.counts.iter().flatten();
        let mut all: Vec<&Count> = counts.filter(|count| count.window.active() > 0).collect();
        all.sort_unstable_by(|a, b| b.fullness().total_cmp(&a.fullness()).then_with(|| a.name.cmp(&b.name)));
        all.into_iter().take(most).map(Count::stats).collect()
    }

    fn line(&self, number: BudgetId) -> Option<&Line> {
        self.lines.get(usize::from(number).checked_sub(1)?)?.as_ref()
    }

    fn line_mut(&mut self, number: BudgetId) -> Option<&mut Line> {
        self.lines.get_mut(usize::from(number).checked_sub(1)?)?.as_mut()
    }

    fn window(&mut self, number: BudgetId) -> Option<&mut Window> {
        let count = self.line(number)?.numbered.count;
        let count = self.counts.get_mut(usize::from(count))?.as_mut()?;
        Some(&mut count.window)
    }
}

impl Count {
    /// Where a bound is, or would be.
    fn bound(&self, bound: u64) -> Result<usize, usize> {
        self.bounds.binary_search_by_key(&bound, |(bound, _)| *bound)
    }

    /// Adds a bound that is not there. By how many the room for them grew.
    fn add(&mut self, bound: u64, number: BudgetId) -> usize {
        let before = self.bounds.capacity();
        if self.bounds.len() == before {
            self.bounds.reserve_exact(before.max(FEWEST));
        }
        let (Ok(at) | Err(at)) = self.bound(bound);
        self.bounds.insert(at, (bound, number));
        self.named = bound;
        self.bounds.capacity() - before
    }

    /// Removes a bound. By how many the room for them shrank.
    fn remove(&mut self, bound: u64) -> usize {
        let before = self.bounds.capacity();
        if let Ok(at) = self.bound(bound) {
            self.bounds.remove(at);
        }
        if self.bounds.is_empty() {
            self.bounds = Vec::new();
        }
        before - self.bounds.capacity()
    }

    fn fullness(&self) -> f64 {
        self.window.active() as f64 / self.named.max(1) as f64
    }

    fn stats(&self) -> BudgetStats {
        BudgetStats {
            name: Arc::clone(&self.name),
            active_series: self.window.active(),
            max_active_series: self.named,
        }
    }
}

/// With the counts of an `Arc`.
fn name_bytes(name: &str) -> usize {
    name.len() + 16
}

/// Puts one where nothing is; `live` places have something.
fn put<T>(places: &mut Vec<Option<T>>, live: usize, one: Option<T>) -> usize {
    let hole = (live < places.len()).then(|| places.iter().position(Option::is_none));
    match hole.flatten() {
        Some(at) => {
            places[at] = one;
            at
        }
        None => {
            places.push(one);
            places.len() - 1
        }
    }
}

#[cfg(test)]
impl Budgets {
    /// Asserts what always holds: of each number, how many have it; of each name, how many active series have any of its
    /// numbers.
    pub fn check(&self, holders: impl Iterator<Item = BudgetId>, active: impl Iterator<Item = BudgetId>) {
        let (mut held, mut counted) = (vec![0; self.lines.len()], vec![0; self.counts.len()]);
        holders
            .filter(|number| *number > 0)
            .for_each(|number| held[usize::from(number) - 1] += 1);
        for number in active.filter(|number| *number > 0) {
            counted[usize::from(self.numbered(number).unwrap().count)] += 1;
        }
        for (line, held) in self.lines.iter().zip(held) {
            assert_eq!(line.as_ref().map_or(0, |line| line.holders), held);
        }
        for (count, counted) in self.counts.iter().zip(counted) {
            assert_eq!(count.as_ref().map_or(0, |count| count.window.active()), counted);
        }
        assert_eq!(self.lines.iter().flatten().count(), self.live);
        assert_eq!(self.counts.iter().flatten().count(), self.by_name.len());
        let bounds = self
            .counts
            .iter()
            .flatten()
            .map(|count| count.bounds.capacity() * BOUND_BYTES);
        let names = self.by_name.keys().map(|name| name_bytes(name));
        assert_eq!(
            self.apart,
            self.live * LINE_BYTES + bounds.sum::<usize>() + names.sum::<usize>()
        );
    }
}
