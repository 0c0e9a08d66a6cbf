//! What a table does for the budgets that verdicts name, besides counting.
//!
//! Takes a name and a bound, gives a number, within the memory there is; says how full they are.

use super::MemoTable;
use crate::judge::memo::budgets::BudgetStats;
use crate::judge::memo::space::Short;
use crate::judge::memo::write::{Bounds, NewSeries};
use crate::judge::verdict::BudgetId;
use crate::model::SeriesBudget;

impl MemoTable {
    /// The number of a verdict's budget, which the write then has. 0 if it is one too many to be counted.
    ///
    /// # Errors
    /// If there is no memory for it.
    pub fn number(&mut self, budget: &SeriesBudget, bounds: &Bounds, new: &mut NewSeries) -> Result<BudgetId, Short> {
        let known = self.budgets.find(budget);
        let number = match (known, self.budgets.growth(budget)) {
            (Some(number), _) => number,
            (None, None) => return Ok(0),
            (None, Some(growth)) => {
                let before = self.budgets.bytes();
                self.space.take(growth, bounds.max_bytes)?;
                let number = self.budgets.insert(budget, self.window.tick());
                self.space.changed(before + growth, self.budgets.bytes());
                number
            }
        };
        if let Some(numbered) = self.budgets.numbered(number) {
            new.know(number, numbered);
        }
        Ok(number)
    }

    pub(super) fn advance_budgets(&mut self) {
        let before = self.budgets.bytes();
        self.budgets.advance(self.window.tick());
        self.space.changed(before, self.budgets.bytes());
    }

    /// Frees what budgets there are that nothing has. Whether that was anything.
    pub(super) fn forget_budgets(&mut self) -> bool {
        let before = self.budgets.bytes();
        let is_any = self.budgets.collect();
        self.space.changed(before, self.budgets.bytes());
        is_any
    }

    /// How many budgets there are, and the `most` that are fullest.
    pub fn fullest_budgets(&self, most: usize) -> (usize, Vec<BudgetStats>) {
        (self.budgets.len(), self.budgets.fullest(most))
    }

    pub fn budget(&self, name: &str) -> Option<BudgetStats> {
        self.budgets.of(name)
    }
}
