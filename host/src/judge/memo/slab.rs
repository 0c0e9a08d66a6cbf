//! The labels of one shard's edited series.
//!
//! Takes edits, gives the slots they lie in; says what it holds, and what it would hold if it grew. All label bytes lie one
//! behind the other in one piece of memory: those of a series are some forty, and a million allocations of that size, of
//! which half go, would leave every page half empty.

use super::entry::{Entry, MOST_SLOTS};
use crate::judge::verdict::{Edited, StreamId};

#[derive(Debug, Default)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    /// The first of the slots that are free.
    free: Option<u32>,
    live: usize,
    labels: Vec<u8>,
    /// Of `labels`, what belongs to no slot any more.
    dead: usize,
}

#[derive(Debug, Clone, Copy)]
enum Slot {
    Edited {
        start: u32,
        length: u32,
        first: u16,
        last: u16,
        stream: StreamId,
    },
    /// With the next one that is free.
    Free(Option<u32>),
}

/// The slots to begin with.
const FEWEST: usize = 4;

const _: () = assert!(size_of::<Slot>() == 16);

impl Slab {
    pub fn get(&self, slot: u32) -> Option<Edited<'_>> {
        let Slot::Edited {
            start,
            length,
            first,
            last,
            stream,
        } = *self.slots.get(slot as usize)?
        else {
            return None;
        };
        Some(Edited {
            middle: self.labels.get(start as usize..)?.get(..length as usize)?,
            first,
            last,
            stream,
        })
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.labels.capacity()
    }

    /// Bytes of labels that would be free if all were forgotten.
    pub fn label_bytes(&self) -> usize {
        self.labels.len() - self.dead
    }

    /// What is allocated to take one more, while what there is is held still.
    pub fn growth(&self, edited: &Edited<'_>) -> usize {
        let slots = match self.is_full() {
            true => (self.slots.capacity() + by_half(self.slots.capacity(), FEWEST)) * size_of::<Slot>(),
            false => 0,
        };
        let labels = match self.lacks_for(edited) {
            true => self.labels.len() + by_half(self.labels.len(), edited.middle.len()),
            false => 0,
        };
        slots + labels
    }

    fn is_full(&self) -> bool {
        self.free.is_none() && self.slots.len() == self.slots.capacity()
    }

    fn lacks_for(&self, edited: &Edited<'_>) -> bool {
        self.labels.capacity() - self.labels.len() < edited.middle.len()
    }

    /// None if there is no place in 4 GiB, or no number for one.
    pub fn insert(&mut self, edited: &Edited<'_>) -> Option<u32> {
        if self.free.is_none() && self.slots.len() >= MOST_SLOTS {
            return None;
        }
        let slot = Slot::Edited {
            start: u32::try_from(self.labels.len()).ok()?,
            length: u32::try_from(edited.middle.len()).ok()?,
            first: edited.first,
            last: edited.last,
            stream: edited.stream,
        };
        if self.lacks_for(edited) {
            let more = by_half(self.labels.len(), edited.middle.len());
            self.labels.reserve_exact(more);
        }
        self.labels.extend_from_slice(edited.middle);
        self.live += 1;
        if let Some(at) = self.free
            && let Some(place) = self.slots.get_mut(at as usize)
            && let Slot::Free(next) = std::mem::replace(place, slot)
        {
            self.free = next;
            return Some(at);
        }
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(by_half(self.slots.capacity(), FEWEST));
        }
        self.slots.push(slot);
        Some((self.slots.len() - 1) as u32)
    }

    pub fn remove(&mut self, slot: u32) {
        if let Some(place) = self.slots.get_mut(slot as usize)
            && let Slot::Edited { length, .. } = *place
        {
            *place = Slot::Free(self.free);
            self.free = Some(slot);
            self.live -= 1;
            self.dead += length as usize;
        }
    }

    /// Moves all together if half is free; `entries` are all that have any here.
    pub fn compact<'e>(&mut self, entries: impl Iterator<Item = &'e mut Entry>) {
        if self.live * 2 > self.slots.len() && self.dead * 2 < self.labels.len() {
            return;
        }
        let mut packed = Self::default();
        packed.slots.reserve_exact(self.live);
        packed.labels.reserve_exact(self.label_bytes());
        for entry in entries {
            if let Some(edited) = entry.edit().and_then(|slot| self.get(slot)) {
                entry.move_edit(packed.insert(&edited));
            }
        }
        *self = packed;
    }
}

/// By how much what has so many grows: a shard's are few enough to be moved often.
fn by_half(has: usize, least: usize) -> usize {
    (has / 2).max(least)
}

#[cfg(test)]
impl Slab {
    pub fn live(&self) -> usize {
        self.live
    }
}
