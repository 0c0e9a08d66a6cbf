//! Which labels of a body were written before behind a first one, and where.
//!
//! Takes the references to all labels of a series but the first, which is the metric's name, gives the place where the same
//! ones stand already: of one target or pod every metric has them. Never looks at what a symbol says, and never grows: what
//! collides it forgets.

use std::ops::Range;

/// Bytes of references that are looked up. With the labels of Kubernetes there are some 20, of a container some 35.
const LONGEST: usize = 48;
const WORD: usize = 8;
const WORDS: usize = LONGEST / WORD;

/// Of a body of 2000 series: some 270 are different in one of node_exporter, 700 in one of containers.
const MOST: usize = 1024;
/// One for so many labels of the body.
const LABELS: usize = 16;

/// Odd, with their bits well mixed: the golden ratio's, and that of the square root of three.
const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];

/// The bytes of references.
#[derive(Clone, Copy)]
pub(super) struct RestKey<'a> {
    /// With what follows them.
    bytes: &'a [u8; LONGEST],
    length: usize,
}

/// Labels that stand somewhere as a whole.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct KnownRest {
    /// The references to them, with zeros behind.
    references: [u64; WORDS],
    /// Bytes of those.
    key_length: u8,
    /// How many labels.
    pub(super) count: u8,
    /// Bytes of them.
    pub(super) length: u16,
    /// What it is called. 0 of nothing yet.
    pub(super) name: u32,
    /// Where it came first, which is where it is copied from, as labels are.
    pub(super) first: u32,
    pub(super) last: u32,
}

pub(super) struct KnownRests(Vec<KnownRest>);

/// From the end of those to be kept, as many as there are before it.
const MASK: [u8; 2 * LONGEST] = {
    let mut mask = [0; 2 * LONGEST];
    let mut i = 0;
    while i < LONGEST {
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

    /// With zeros behind them.
    #[inline(always)]
    fn words(&self) -> [u64; WORDS] {
        let mask = MASK.get(LONGEST - self.length..).and_then(|mask| mask.first_chunk());
        let mask: &[u8; LONGEST] = mask.unwrap_or(&[0; LONGEST]);
        std::array::from_fn(|i| word(self.bytes, i * WORD) & word(mask, i * WORD))
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
fn word(bytes: &[u8; LONGEST], at: usize) -> u64 {
    let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

impl KnownRest {
    const NONE: Self = Self {
        references: [0; WORDS],
        key_length: 0,
        count: 0,
        length: 0,
        name: 0,
        first: 0,
        last: 0,
    };
}

impl KnownRests {
    /// For a body of about so many labels.
    pub(super) fn of(labels: usize) -> Self {
        Self(vec![KnownRest::NONE; Self::count(labels)])
    }

    /// Bytes of memory.
    pub(super) fn size(labels: usize) -> usize {
        Self::count(labels) * size_of::<KnownRest>()
    }

    fn count(labels: usize) -> usize {
        (labels / LABELS).next_power_of_two().clamp(2, MOST)
    }

    /// Where labels of these references are noted, or may be, and whether they are.
    #[inline(always)]
    pub(super) fn slot(&self, key: RestKey<'_>) -> (usize, bool) {
        let words = key.words();
        let is_it = |slot: usize| {
            let rest = self.0.get(slot).unwrap_or(&KnownRest::NONE);
            let both = words.into_iter().zip(rest.references);
            let differing = both.fold(0, |differing, (word, other)| differing | (word ^ other));
            differing == 0 && usize::from(rest.key_length) == key.length
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
        let is_free = |slot: usize| self.0.get(slot).is_some_and(|rest| rest.key_length == 0);
        match is_other || !is_free(slot) && is_free(slot ^ 1) {
            true => (slot ^ 1, is_other),
            false => (slot, false),
        }
    }

    /// What is noted there.
    #[inline(always)]
    pub(super) fn get(&mut self, slot: usize) -> Option<&mut KnownRest> {
        self.0.get_mut(slot)
    }

    /// Notes that labels of these references, the second of a series and those behind, stand at `written`, if they are not too
    /// many. Gives what they are called.
    pub(super) fn note(
        &mut self,
        slot: usize,
        key: RestKey<'_>,
        count: usize,
        written: Range<usize>,
        name: u32,
    ) -> Option<u32> {
        let (count, length) = (u8::try_from(count).ok()?, u16::try_from(written.len()).ok()?);
        let first = written.start as u32;
        *self.0.get_mut(slot)? = KnownRest {
            references: key.words(),
            key_length: key.length as u8,
            count,
            length,
            name,
            first,
            last: first,
        };
        Some(name)
    }

    /// What was written at `old` and behind is at `new` and behind.
    pub(super) fn moved(&mut self, slot: usize, old: usize, new: usize) {
        let Some(rest) = self.0.get_mut(slot) else { return };
        for place in [&mut rest.first, &mut rest.last] {
            if *place as usize >= old {
                *place = (*place as usize - old + new) as u32;
            }
        }
    }
}
