//! Which series of a judged write operators are pointed to: those that became active, and one of each kind that came to nothing.
//!
//! Takes a write's fates, gives places and label bytes. Pure.

use std::ops::Range;

use super::Judged;
use super::tally::{Dropped, Refused};
use super::verdict::Fate;
use crate::model::Refusal;

/// Fates that are looked at for one: some 2 us.
const NEAR: usize = 2048;

impl Judged {
    /// Where the label bytes are of each series that became active with this write.
    pub fn became_active(&self) -> impl ExactSizeIterator<Item = Range<u32>> {
        let series = self.scanned.series();
        let range = |at: &u32| {
            let range = series[*at as usize].labels_range();
            range.start as u32..range.end as u32
        };
        self.fresh.iter().map(range)
    }

    /// Label bytes of one of the series that were dropped so: the next one from the place `from` on, if one is near.
    pub fn one_dropped(&self, dropped: &Dropped, from: usize) -> &[u8] {
        let is_one = |fate: &Fate| *fate == Fate::Drop { reason: dropped.id };
        self.one(dropped.first, from, is_one)
    }

    /// The same of one that was refused so.
    pub fn one_refused(&self, refused: &Refused, from: usize) -> &[u8] {
        let is_one = |fate: &Fate| match fate {
            Fate::Reject { refusal, .. } => *refusal == refused.refusal,
            Fate::OverActiveSeries => refused.refusal == Refusal::OverActiveSeries,
            Fate::OverBudget { .. } => refused.refusal == Refusal::OverBudget,
            Fate::Unknown | Fate::Keep { .. } | Fate::Drop { .. } | Fate::Edit { .. } => false,
        };
        self.one(refused.first, from, is_one)
    }

    fn one(&self, first: usize, from: usize, is_one: impl Fn(&Fate) -> bool) -> &[u8] {
        let from = from % self.fates.len().max(1);
        let near = self.fates.iter().skip(from).take(NEAR).position(is_one);
        let at = near.map_or(first, |near| from + near);
        self.scanned.label_bytes(&self.scanned.series()[at])
    }
}
