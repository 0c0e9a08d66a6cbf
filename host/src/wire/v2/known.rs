//! Which labels of a body were written before, and where.
//!
//! Takes a label by its references, gives the place where what is known of it stands or may be noted. Never looks at what a
//! symbol says, and never grows: what it has no room for it forgets.

use std::ops::Range;

use super::symbols::{Symbols, out_of_range};
use crate::wire::series::ScanError;

/// Labels whose values stand under another name as well, of which this many are remembered: with Kubernetes an application
/// gives its name to its container, its job and its service.
const NAMESAKES: usize = 512;

pub(super) struct KnownLabels {
    /// By the reference to a value.
    by_value: Vec<KnownLabel>,
    /// By name and value, where `by_value` has another name for the value. What collides is forgotten.
    namesakes: Vec<KnownLabel>,
}

/// Both, for as long as they are looked into.
pub(super) struct Tables<'k> {
    by_value: &'k mut [KnownLabel],
    namesakes: &'k mut [KnownLabel],
}

/// Where the label with a value is written.
#[derive(Clone, Copy)]
pub(super) struct KnownLabel {
    /// References; of nothing yet such as there are not.
    pub(super) name: u32,
    pub(super) value: u32,
    /// 0 of nothing yet.
    pub(super) length: u32,
    /// Where it came first, which is where it is copied from: what was written just now is still on its way to memory, and
    /// reading pieces of it would wait for that.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Their places in the order.
    pub(super) first_place: u32,
    pub(super) last_place: u32,
    /// What all labels behind it are called there, if they are known as a whole.
    pub(super) rest: u32,
}

impl KnownLabel {
    const NONE: Self = Self {
        name: u32::MAX,
        value: u32::MAX,
        length: 0,
        first: 0,
        last: 0,
        first_place: 0,
        last_place: 0,
        rest: Self::NO_REST,
    };

    pub(super) const NO_REST: u32 = 0;

    /// That stands there for the first time, and in the order at `place`.
    #[inline(always)]
    pub(super) fn new((name, value): (u32, u32), written: Range<usize>, place: usize) -> Self {
        Self {
            name,
            value,
            length: written.len() as u32,
            first: written.start as u32,
            last: written.start as u32,
            first_place: place as u32,
            last_place: place as u32,
            rest: Self::NO_REST,
        }
    }
}

impl KnownLabels {
    pub(super) fn of(symbols: &Symbols) -> Self {
        Self {
            by_value: vec![KnownLabel::NONE; symbols.0.len()],
            namesakes: vec![KnownLabel::NONE; NAMESAKES],
        }
    }

    /// Bytes of memory.
    pub(super) fn size(symbols: &Symbols) -> usize {
        (symbols.0.capacity() + NAMESAKES) * size_of::<KnownLabel>()
    }

    #[inline(always)]
    pub(super) fn tables(&mut self) -> Tables<'_> {
        Tables {
            by_value: &mut self.by_value,
            namesakes: &mut self.namesakes,
        }
    }
}

impl Tables<'_> {
    /// The place of what is known of a label, and whether that is it; else it may be noted there.
    #[inline(always)]
    pub(super) fn get(&mut self, name: u32, value: u32) -> Result<(&mut KnownLabel, bool), ScanError> {
        let known = self.by_value.get_mut(value as usize).ok_or_else(out_of_range)?;
        let is_it = known.name == name;
        if is_it || known.length == 0 {
            return Ok((known, is_it));
        }
        // Values of one name mostly come in a row, and names are few.
        let place = value.wrapping_mul(5).wrapping_add(name) as usize % NAMESAKES;
        let known = self.namesakes.get_mut(place).ok_or(ScanError::NotRewritten)?;
        let is_it = (known.name == name) & (known.value == value);
        Ok((known, is_it))
    }
}
