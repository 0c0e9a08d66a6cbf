//! Labels of a series of which those behind the first were written before as a whole.
//!
//! Takes what is known of the first and of the others, gives them written once more and the rows that stood in one row before.
//! Never looks at one of the others.

use std::ops::Range;

use super::known::KnownLabel;
use super::room::{CHUNK, copy_chunk, copy_label, put_new_label};
use super::symbols::{Symbols, label_length};
use crate::wire::series::ScanError;
use crate::wire::text::LabelRow;

/// Labels behind the first of a series, which stand somewhere as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KnownRest {
    /// What they are called. 0 of nothing yet.
    name: u32,
    /// Where they came first, which is where they are copied from, as labels are.
    first: u32,
    last: u32,
    /// Bytes of them.
    length: u16,
    /// How many.
    pub(super) count: u8,
}

impl KnownRest {
    /// That stand there for the first time. None if they are too many.
    pub(super) fn new(name: u32, count: usize, written: Range<usize>) -> Option<Self> {
        let first = written.start as u32;
        Some(Self {
            name,
            first,
            last: first,
            length: u16::try_from(written.len()).ok()?,
            count: u8::try_from(count).ok()?,
        })
    }

    /// What was written at `old` and behind is at `new` and behind.
    pub(super) fn moved(&mut self, old: usize, new: usize) {
        for place in [&mut self.first, &mut self.last] {
            if *place as usize >= old {
                *place = (*place as usize - old + new) as u32;
            }
        }
    }
}

pub(super) struct WholeLabels<'k> {
    /// The references to the first.
    pub(super) first: (u32, u32),
    /// Where what is known of it stands, or may be noted.
    pub(super) known: &'k mut KnownLabel,
    pub(super) is_known: bool,
    pub(super) rest: &'k mut KnownRest,
}

impl WholeLabels<'_> {
    /// Bytes of all of them.
    #[inline(always)]
    pub(super) fn length(&self, symbols: &Symbols) -> Result<usize, ScanError> {
        let first = match self.is_known {
            true => self.known.length as usize,
            false => label_length(symbols.get(self.first.0)?, symbols.get(self.first.1)?) as usize,
        };
        Ok(first + usize::from(self.rest.length))
    }

    /// Writes them at `at`, the first one's place in the order being `place`, which is to hold `ordered`. Gives where they end.
    #[inline(always)]
    pub(super) fn put(
        self,
        room: &mut [u8],
        texts: &(&[u8], &Symbols),
        at: usize,
        (place, ordered): (usize, &mut u32),
        rows: &mut Vec<LabelRow>,
    ) -> Result<usize, ScanError> {
        let Self {
            first,
            known,
            is_known,
            rest,
        } = self;
        let first_end = if is_known {
            let (from, length) = (known.first as usize, known.length as usize);
            copy_label(room, from, at, length)?;
            at + length
        } else {
            put_new_label(room, at, texts, first)?
        };
        let length = usize::from(rest.length);
        let mut copied = 0;
        while copied < length {
            copy_chunk(room, rest.first as usize + copied, first_end + copied)?;
            copied += CHUNK;
        }
        let end = first_end + length;
        if !is_known {
            *known = KnownLabel::new(first, at..first_end, place);
        }
        if is_known && known.rest == rest.name {
            rows.push(LabelRow::new(at..end, known.last));
        } else {
            if is_known {
                rows.push(LabelRow::new(at..first_end, known.last));
            }
            rows.push(LabelRow::new(first_end..end, rest.last));
        }
        (known.last, known.last_place, known.rest) = (at as u32, place as u32, rest.name);
        rest.last = first_end as u32;
        *ordered = known.first_place;
        Ok(end)
    }
}
