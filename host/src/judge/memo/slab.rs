//! The labels of one shard's edited series.
//!
//! Takes edits, gives the slots they lie in; says what it holds, and what it would hold if it grew. A slot that is freed is
//! used again. Never grows by itself.

use super::entry::{Entry, pack_edit};
use crate::judge::verdict::Edited;

#[derive(Debug, Default)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    /// The first of the slots that are free.
    free: Option<u32>,
    live: usize,
    /// Of what the edits hold besides their slots.
    edit_bytes: usize,
}

#[derive(Debug)]
enum Slot {
    Edited(Edited),
    /// With the next one that is free.
    Free(Option<u32>),
}

/// The slots to begin with.
const FEWEST: usize = 4;

const _: () = assert!(size_of::<Slot>() == 24);

impl Slab {
    pub fn get(&self, slot: u32) -> Option<&Edited> {
        match self.slots.get(slot as usize)? {
            Slot::Edited(edited) => Some(edited),
            Slot::Free(_) => None,
        }
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.edit_bytes
    }

    pub fn edit_bytes(&self) -> usize {
        self.edit_bytes
    }

    /// What is allocated to take one more, besides the edit itself, while what there is is held still.
    pub fn growth(&self) -> usize {
        match self.free.is_none() && self.slots.len() == self.slots.capacity() {
            true => (self.slots.capacity() + self.more()) * size_of::<Slot>(),
            false => 0,
        }
    }

    /// By half: a shard's are few enough to be moved often.
    fn more(&self) -> usize {
        (self.slots.capacity() / 2).max(FEWEST)
    }

    pub fn insert(&mut self, edited: Edited) -> u32 {
        self.live += 1;
        self.edit_bytes += edited.bytes();
        if let Some(at) = self.free
            && let Some(slot @ Slot::Free(_)) = self.slots.get_mut(at as usize)
        {
            if let Slot::Free(next) = std::mem::replace(slot, Slot::Edited(edited)) {
                self.free = next;
            }
            return at;
        }
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(self.more());
        }
        self.slots.push(Slot::Edited(edited));
        (self.slots.len() - 1) as u32
    }

    pub fn remove(&mut self, slot: u32) -> Option<Edited> {
        let place = self.slots.get_mut(slot as usize)?;
        if matches!(place, Slot::Free(_)) {
            return None;
        }
        let Slot::Edited(edited) = std::mem::replace(place, Slot::Free(self.free)) else {
            return None;
        };
        self.free = Some(slot);
        self.live -= 1;
        self.edit_bytes -= edited.bytes();
        Some(edited)
    }

    /// Moves all edits together if most slots are free; `entries` are all that have any here.
    pub fn compact<'e>(&mut self, entries: impl Iterator<Item = &'e mut Entry>) {
        if self.live * 2 > self.slots.len() {
            return;
        }
        let mut packed = Self::default();
        packed.slots.reserve_exact(self.live);
        for entry in entries {
            if let Some(edited) = entry.edit().and_then(|slot| self.remove(slot)) {
                entry.packed = pack_edit(packed.insert(edited));
            }
        }
        *self = packed;
    }
}

#[cfg(test)]
impl Slab {
    pub fn live(&self) -> usize {
        self.live
    }
}
