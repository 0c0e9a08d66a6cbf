//! Places of a body that may say what was said before.
//!
//! Takes bytes and where they lie, gives where the same ones may lie before them. Never says that they do: whoever asks
//! compares.

use crate::wire::varint;

/// Entries of a table of first bytes of series, by bits. What collides is forgotten.
pub(super) const SEAM_BITS: u32 = 8;

/// Where a name starts in the first label of a series, `__name__`: behind the tags and lengths of the label, of its
/// name and of its value, one byte each, and the name's name.
pub(super) const NAME: usize = 14;

/// What follows the labels is compared with what followed other labels. If more bytes than this are left, which is never
/// so with one sample, they are searched as the `snap` crate does it.
pub(super) const LONG_TAIL: usize = 128;

/// What was noted for `key`, and notes `at`.
#[inline(always)]
pub(super) fn replace<const BITS: u32, const N: usize>(table: &mut [u32; N], key: u64, at: usize) -> usize {
    const { assert!(N == 1 << BITS) };
    let entry = (key.wrapping_mul(MULTIPLIER) >> (u64::BITS - BITS)) as usize;
    std::mem::replace(&mut table[entry], at as u32) as usize
}

/// Odd, with its bits well mixed: the golden ratio's.
pub(super) const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The eight bytes at `at`; zero at the end of the body.
#[inline(always)]
pub(super) fn word(body: &[u8], at: usize) -> u64 {
    match body.get(at..).and_then(|body| body.first_chunk()) {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    }
}

/// The end of the label at `at`.
#[inline(always)]
pub(super) fn label_end(body: &[u8], at: usize) -> usize {
    match body.get(at + 1) {
        Some(&length) if length < 0x80 => at + 2 + usize::from(length),
        _ => varint::read_extent(body, at + 1).map_or(body.len(), |(_, end)| end),
    }
}
