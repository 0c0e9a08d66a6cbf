//! What is remembered of one series.
//!
//! Takes a verdict's numbers and that of the series' budget, gives them packed into 32 bits, with when and for whom. Never
//! holds a label: an edit's are in a slab, at the slot that is packed here.

use super::activity::Window;
use super::budgets::NUMBER_BITS;
use crate::judge::verdict::{BlameId, BudgetId, StreamId, Verdict};
use crate::wire::ProvedHash;

/// 24 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub hash: ProvedHash,
    /// Kind in the top three bits. Below, of a series that is dropped or refused, the reason or the refusal; of any other
    /// its budget, and in the last sixteen bits the stream or the slot.
    pub packed: u32,
    pub seen: u16,
    /// Generation in the low fifteen bits, [`ACTIVE`] above.
    pub tag: u16,
}

pub(super) const ACTIVE: u16 = 0x8000;
pub(super) const GENERATION: u16 = 0x7fff;

const KIND_SHIFT: u32 = 29;
const PAYLOAD: u32 = (1 << KIND_SHIFT) - 1;
const BUDGET_SHIFT: u32 = KIND_SHIFT - NUMBER_BITS;
const SLOT: u32 = (1 << BUDGET_SHIFT) - 1;
const _: () = assert!(BUDGET_SHIFT >= StreamId::BITS);
/// Slots of one shard that an entry can say.
pub(super) const MOST_SLOTS: usize = 1 << BUDGET_SHIFT;
/// No verdict: the chain is asked. What it may have is a budget, against which it is counted.
pub(super) const NONE: u32 = 0;
pub(super) const KEEP: u32 = 1;
pub(super) const DROP: u32 = 2;
pub(super) const REJECT: u32 = 3;
pub(super) const EDIT: u32 = 4;

impl Entry {
    /// Where it lies in its shard.
    pub fn slot(&self) -> u64 {
        self.hash.hash().low()
    }

    pub fn kind(&self) -> u32 {
        self.packed >> KIND_SHIFT
    }

    /// Of one that is dropped or refused.
    pub fn payload(&self) -> u32 {
        self.packed & PAYLOAD
    }

    /// Of one that is kept.
    pub fn stream(&self) -> StreamId {
        self.packed as StreamId
    }

    /// Where the slab has its labels, of one that is edited.
    pub fn edit(&self) -> Option<u32> {
        edit(self.packed)
    }

    /// Against which it counts where it is active.
    pub fn budget(&self) -> BudgetId {
        budget(self.packed)
    }

    /// Its labels have another place, or none; then it is as good as unknown.
    pub fn move_edit(&mut self, slot: Option<u32>) {
        self.packed = pack_edit(slot, self.budget());
    }

    /// It has no verdict any more; what it counts against stays.
    pub fn forget_verdict(&mut self) {
        self.packed = pack_none(self.budget());
    }

    /// It was made active; it is so no more if it left the window since.
    pub fn is_marked_active(&self) -> bool {
        self.tag & ACTIVE != 0
    }

    pub fn is_active(&self, window: &Window) -> bool {
        self.is_marked_active() && window.covers(self.seen)
    }
}

/// The slot, of what an edit was packed to.
pub(super) fn edit(packed: u32) -> Option<u32> {
    (packed >> KIND_SHIFT == EDIT).then_some(packed & SLOT)
}

pub(super) fn budget(packed: u32) -> BudgetId {
    match packed >> KIND_SHIFT {
        DROP | REJECT => 0,
        _ => ((packed & PAYLOAD) >> BUDGET_SHIFT) as BudgetId,
    }
}

/// An edit whose labels have no slot is no verdict.
pub(super) fn pack_edit(slot: Option<u32>, budget: BudgetId) -> u32 {
    pack_none(budget) | slot.map_or(0, |slot| (EDIT << KIND_SHIFT) | slot)
}

pub(super) fn pack_none(budget: BudgetId) -> u32 {
    (NONE << KIND_SHIFT) | (u32::from(budget) << BUDGET_SHIFT)
}

/// None of an edit: its labels need a slot first.
pub(super) fn pack(verdict: &Verdict, budget: BudgetId) -> Option<u32> {
    Some(match verdict {
        Verdict::Keep { stream, .. } => (KEEP << KIND_SHIFT) | pack_none(budget) | u32::from(*stream),
        Verdict::Drop { reason } => (DROP << KIND_SHIFT) | u32::from(*reason),
        Verdict::Reject { refusal, blame } => {
            (REJECT << KIND_SHIFT) | (u32::from(refusal.code()) << BlameId::BITS) | u32::from(*blame)
        }
        Verdict::Edit { .. } => return None,
    })
}
