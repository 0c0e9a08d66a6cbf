//! Which labels of a body came before behind a first one, and what is known of them.
//!
//! Takes the references to all labels of a series but the first, which is the metric's name, gives the place of what is known of
//! the same ones: of one target or pod every metric has them. Never looks at what a symbol says, and never grows: what
//! collides it forgets.

use std::ops::Range;

use crate::wire::identity::MULTIPLIERS;

/// Bytes of references that are looked up. With the labels of Kubernetes there are some 20, of a container some 35.
const LONGEST: usize = 47;
const WORD: usize = 8;
/// With how many there are in the last byte.
const WORDS: usize = (LONGEST + 1) / WORD;
const LENGTH_BITS: u32 = u64::BITS - u8::BITS;

/// Of a body of 2000 series: some 270 are different in one of node_exporter, 700 in one of containers.
const MOST: usize = 1024;
/// One for so many labels of the body.
const LABELS: usize = 16;

/// The bytes of references.
#[derive(Clone, Copy)]
pub(super) struct RestKey<'a> {
    /// With what follows them.
    bytes: &'a [u8; LONGEST + 1],
    length: usize,
}

/// By the references to labels, what is known of them.
pub(super) struct KnownRests<T>(Vec<Rest<T>>);

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Rest<T> {
    /// With zeros behind, and their number.
    references: [u64; WORDS],
    known: T,
}

/// From the end of those to be kept, as many as there are before it.
const MASK: [u8; 2 * (LONGEST + 1)] = {
    let mut mask = [0; 2 * (LONGEST + 1)];
    let mut i = 0;
    while i <= LONGEST {
        mask[i] = 0xff;
        i += 1;
    }
    mask
};

impl<'a> RestKey<'a> {
    /// None where there are none or too many, and at the very end of the body.
    #[inline(always)]
    pub(super) fn of(body: &'a [u8], references: Range<usize>) -> Option<Self> {
        let length = references.end.checked_sub(references.start)?;
        let bytes = body.get(references.start..)?.first_chunk()?;
        matches!(length, 1..=LONGEST).then_some(Self { bytes, length })
    }

    /// With zeros behind them, and their number.
    #[inline(always)]
    fn words(&self) -> [u64; WORDS] {
        let mask = MASK
            .get(LONGEST + 1 - self.length..)
            .and_then(|mask| mask.first_chunk());
        let mask: &[u8; LONGEST + 1] = mask.unwrap_or(&[0; LONGEST + 1]);
        let mut words: [u64; WORDS] = std::array::from_fn(|i| word(self.bytes, i * WORD) & word(mask, i * WORD));
        words[WORDS - 1] |= (self.length as u64) << LENGTH_BITS;
        words
    }

    /// Of the first, the middle and the last of them, which are all where there are no more than 24.
    #[inline(always)]
    fn hash(&self) -> u64 {
        let short = (WORD - self.length.min(WORD)) as u32 * u8::BITS;
        let kept = u64::MAX >> short;
        let part = |at: usize| word(self.bytes, at) & kept;
        let last = part(self.length.saturating_sub(WORD));
        let middle = part((self.length / 2).saturating_sub(WORD / 2));
        part(0).wrapping_mul(MULTIPLIERS[0]) ^ (last ^ middle.rotate_left(21)).wrapping_mul(MULTIPLIERS[1])
    }
}

#[inline(always)]
fn word(bytes: &[u8; LONGEST + 1], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

impl<T: Copy + Default> KnownRests<T> {
    /// For a body of about so many labels.
    pub(super) fn of(labels: usize) -> Self {
        let none = Rest {
            references: [0; WORDS],
            known: T::default(),
        };
        Self(vec![none; Self::most(labels)])
    }

    /// Bytes of memory.
    pub(super) fn size(labels: usize) -> usize {
        Self::most(labels) * size_of::<Rest<T>>()
    }

    fn most(labels: usize) -> usize {
        (labels / LABELS).next_power_of_two().clamp(2, MOST)
    }

    /// How many places there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Where labels of these references are noted, or may be, and whether they are.
    #[inline(always)]
    pub(super) fn slot(&self, key: RestKey<'_>) -> (usize, bool) {
        let words = key.words();
        let is_it = |slot: usize| {
            let known = self.0.get(slot).map_or(&[0; WORDS], |rest| &rest.references);
            let both = words.into_iter().zip(known);
            both.fold(0, |differing, (word, other)| differing | (word ^ other)) == 0
        };
        let slot = (key.hash() >> 40) as usize & (self.0.len() - 1);
        if is_it(slot) {
            (slot, true)
        } else {
            self.other(slot, is_it(slot ^ 1))
        }
    }

    /// There are two places for each. What came last is forgotten.
    #[inline(never)]
    fn other(&self, slot: usize, is_other: bool) -> (usize, bool) {
        let is_free = |slot: usize| self.0.get(slot).is_some_and(|rest| rest.references[0] == 0);
        match is_other || !is_free(slot) && is_free(slot ^ 1) {
            true => (slot ^ 1, is_other),
            false => (slot, false),
        }
    }

    /// What is noted there.
    #[inline(always)]
    pub(super) fn get(&mut self, slot: usize) -> Option<&mut T> {
        self.0.get_mut(slot).map(|rest| &mut rest.known)
    }

    /// Notes there what is known of labels of these references.
    pub(super) fn note(&mut self, slot: usize, key: RestKey<'_>, known: T) {
        if let Some(rest) = self.0.get_mut(slot) {
            let references = key.words();
            *rest = Rest { references, known };
        }
    }
}
