//! What is remembered of one series.
//!
//! Takes a verdict's numbers, gives them packed into 32 bits, with when and for whom. Never holds a label: an edit's are
//! in a slab, at the slot that is packed here.

use super::activity::Window;
use crate::judge::verdict::{BlameId, Verdict};
use crate::wire::ProvedHash;

/// 24 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub hash: ProvedHash,
    /// Kind in the top three bits, stream, reason, refusal or slot below.
    pub packed: u32,
    pub seen: u16,
    /// Generation in the low fifteen bits, [`ACTIVE`] above.
    pub tag: u16,
}

pub(super) const ACTIVE: u16 = 0x8000;
pub(super) const GENERATION: u16 = 0x7fff;

const KIND_SHIFT: u32 = 29;
const PAYLOAD: u32 = (1 << KIND_SHIFT) - 1;
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

    pub fn payload(&self) -> u32 {
        self.packed & PAYLOAD
    }

    /// Where the slab has its labels, of one that is edited.
    pub fn edit(&self) -> Option<u32> {
        edit(self.packed)
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
    (packed >> KIND_SHIFT == EDIT).then_some(packed & PAYLOAD)
}

pub(super) fn pack_edit(slot: u32) -> u32 {
    (EDIT << KIND_SHIFT) | slot
}

/// None of an edit: its labels need a slot first.
pub(super) fn pack(verdict: &Verdict) -> Option<u32> {
    Some(match verdict {
        Verdict::Keep { stream } => (KEEP << KIND_SHIFT) | u32::from(*stream),
        Verdict::Drop { reason } => (DROP << KIND_SHIFT) | u32::from(*reason),
        Verdict::Reject { refusal, blame } => {
            (REJECT << KIND_SHIFT) | (u32::from(refusal.code()) << BlameId::BITS) | u32::from(*blame)
        }
        Verdict::Edit { .. } => return None,
    })
}
