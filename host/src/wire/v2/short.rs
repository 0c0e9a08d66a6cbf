//! A series of 2.0 as nearly all are: short in every part.
//!
//! Takes a body and a place in it, gives the parts of the series there, or nothing where any of them is otherwise: whoever
//! asks reads it another way then.

use std::ops::Range;

use super::rests::RestKey;
use super::tags::{LABELS_REFS, METADATA, SERIES};
use crate::wire::v1::{USUAL_SAMPLE, usual_length};

/// Bytes of the longest one.
const MOST: usize = 0x80;
/// Sure to be there with what is read behind its references.
const WINDOW: usize = 2 * MOST;

/// A series of 2.0 of less than 128 bytes, with labels, one sample and nothing else.
pub(super) struct ShortSeries<'a> {
    pub(super) first: (u32, u32),
    /// Of the others.
    pub(super) key: RestKey<'a>,
    /// Where those lie in the body.
    pub(super) rest: Range<usize>,
    /// With its tag and its length, and whatever follows where it is shorter.
    pub(super) sample: &'a [u8; USUAL_SAMPLE],
    pub(super) sample_length: usize,
    /// Bytes of it all, with its tag and its length.
    pub(super) length: usize,
}

impl<'a> ShortSeries<'a> {
    /// None where `body` has another kind of series at `at`, or ends soon. Reads in a piece of fixed length, so that hardly any
    /// place has to be compared with where the body ends.
    #[inline(always)]
    pub(super) fn at(body: &'a [u8], at: usize) -> Option<Self> {
        let window: &[u8; WINDOW] = body.get(at..)?.first_chunk()?;
        let [SERIES, length @ ..0x80, LABELS_REFS, references @ ..0x80, ..] = *window else {
            return None;
        };
        let length = 2 + usize::from(length);
        let references_end = 4 + usize::from(references);
        let (name, value, first_end) = short_pair(window, 4)?;
        let key = RestKey::of(window, first_end..references_end)?;
        let behind: &[u8; USUAL_SAMPLE + 2] = window.get(references_end..)?.first_chunk()?;
        let sample_length = usual_length(behind)?;
        let empty = behind.get(sample_length..)?.first_chunk() == Some(&[METADATA, 0]);
        let left = length.wrapping_sub(references_end + sample_length);
        (left == 0 || left == 2 && empty).then_some(Self {
            first: (name, value),
            key,
            rest: at + first_end..at + references_end,
            sample: behind.first_chunk()?,
            sample_length,
            length,
        })
    }
}

/// Two references at `at` and what follows them, if each takes one byte or two and no more than it needs. By branches: those of
/// one series are mostly as long as those of the one before, and where the next label begins is not waited for then.
#[inline(always)]
pub(super) fn short_pair(series: &[u8], at: usize) -> Option<(u32, u32, usize)> {
    let bytes = u32::from_le_bytes(*series.get(at..)?.first_chunk()?);
    let (one, two) = (
        |bytes: u32| bytes & 0x7f,
        |bytes: u32| bytes & 0x7f | bytes >> 1 & 0x3f80,
    );
    // The last byte of two, which would not be there if it were zero.
    let is_last = |byte: u32| (byte & 0xff).wrapping_sub(1) < 0x7f;
    if bytes & 0x80 == 0 {
        if bytes & 0x8000 == 0 {
            return Some((one(bytes), one(bytes >> 8), at + 2));
        }
        return is_last(bytes >> 16).then(|| (one(bytes), two(bytes >> 8), at + 3));
    }
    if !is_last(bytes >> 8) {
        return None;
    }
    if bytes & 0x80_0000 == 0 {
        return Some((two(bytes), one(bytes >> 16), at + 3));
    }
    is_last(bytes >> 24).then(|| (two(bytes), two(bytes >> 16), at + 4))
}
