//! What one write asks of a memo, and leaves to it.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::budgets::Numbered;
use crate::judge::verdict::{BudgetId, Bug, Verdict};
use crate::model::SeriesBudget;
use crate::wire::{AsIs, ProvedHash, Recognised, SeriesHash};

/// The bounds one look-up works under.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub generation: u16,
    /// Minutes since any fixed moment, wrapping.
    pub tick: u16,
    pub max_active_series: u64,
    /// Of memory, whatever other memos leave.
    pub max_bytes: usize,
}

/// Series that this write lets through and that were not active before it. They become active when the write is
/// admitted, not sooner: a write refused for its new series must meet the same refusal when it is sent again.
///
/// It has their budgets too, and those of the series that are refused for theirs: as long as a write has a number, it comes
/// to stand for no other budget.
#[derive(Debug, Default)]
pub struct NewSeries {
    series: HashMap<ProvedHash, BudgetId, AsIs>,
    /// Nothing where no policy names any.
    budgets: Option<Box<OfBudgets>>,
}

#[derive(Debug, Default)]
struct OfBudgets {
    known: HashMap<BudgetId, Arc<Numbered>>,
    /// New series by where they are counted.
    counts: HashMap<u16, u64>,
}

impl NewSeries {
    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.series.reserve(more);
    }

    pub fn len(&self) -> u64 {
        self.series.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Bytes of memory held.
    pub fn size(&self) -> usize {
        let budgets = self.budgets.as_ref();
        let budgets = budgets.map_or(0, |of| of.known.allocation_size() + of.counts.allocation_size());
        self.series.allocation_size() + budgets
    }

    /// Of a series that is refused for its budget.
    ///
    /// # Errors
    /// If the write does not have it.
    pub fn budget(&self, number: BudgetId) -> Result<&SeriesBudget, Bug> {
        let known = self.budgets.as_ref().and_then(|of| of.known.get(&number));
        known.map(|numbered| &numbered.budget).ok_or(Bug::NoBudget)
    }

    /// Where they are among the series of the write, each of them once.
    pub fn places(&self, series: &Recognised) -> Vec<u32> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut seen: HashSet<ProvedHash, AsIs> = HashSet::with_capacity_and_hasher(self.series.len(), AsIs::default());
        let mut is_first = |at: &usize| {
            let hash = series.hash(*at);
            self.contains(hash.hash()) && seen.insert(hash)
        };
        let all = 0..series.scanned().series().len();
        all.filter(|at| is_first(at)).map(|at| at as u32).collect()
    }

    pub(super) fn know(&mut self, number: BudgetId, numbered: &Arc<Numbered>) {
        let budgets = self.budgets.get_or_insert_default();
        budgets.known.entry(number).or_insert_with(|| Arc::clone(numbered));
    }

    /// `numbered` is what `budget` stands for, if it is one.
    pub(super) fn insert(&mut self, hash: ProvedHash, budget: BudgetId, numbered: Option<&Arc<Numbered>>) {
        if self.series.insert(hash, budget).is_none()
            && let Some(numbered) = numbered
        {
            self.know(budget, numbered);
            let budgets = self.budgets.get_or_insert_default();
            *budgets.counts.entry(numbered.count).or_default() += 1;
        }
    }

    /// How many are counted where this budget's are.
    pub(super) fn counted(&self, numbered: &Numbered) -> u64 {
        let count = self.budgets.as_ref().and_then(|of| of.counts.get(&numbered.count));
        count.copied().unwrap_or(0)
    }

    pub(super) fn contains(&self, hash: SeriesHash) -> bool {
        self.series.contains_key(&hash)
    }

    /// Each with its budget.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProvedHash, BudgetId)> {
        self.series.iter().map(|(hash, budget)| (*hash, *budget))
    }
}

/// A verdict to be remembered, with the label bytes its series was sent with.
#[derive(Debug)]
pub struct NewVerdict<'a> {
    pub hash: ProvedHash,
    pub sent: &'a [u8],
    pub verdict: Verdict,
}
