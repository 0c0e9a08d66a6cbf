//! The elements of a snappy stream: literals, and copies of what came before.
//!
//! Takes the bytes to encode and places in them that may hold the same bytes, gives the stream after its preamble.
//! Never trusts a place: what it copies was compared, so whatever the places, the stream decodes to the bytes; but for what
//! [`Elements::lay`] is told of, which whoever wrote the bytes has to know.

use crate::wire::varint;

/// Longest literal whose length fits into its tag.
const LITERAL_IN_TAG: usize = 60;
/// Longest copy that one element expresses.
const COPY: usize = 64;
/// Shorter copies cost as much as the bytes they stand for; distant ones cost two bytes more.
const LEAST_COPY: usize = 4;
const LEAST_FAR_COPY: usize = 8;
/// Elements with offsets from here on take five bytes in place of three.
const FAR: usize = 1 << 16;

/// What is written at once, sure of its room: a literal of this many bytes and its tag, then a copy of four elements.
const SHORT_LITERAL: usize = 32;
const SHORT_COPY: usize = 4 * COPY;
/// How far what follows a copy is compared, without a branch: a sample's tags, value and time, and the length of the next series.
const WINDOW: usize = 24;
const ROOM: usize = 64;

pub(in crate::wire) struct Elements<'a> {
    bytes: &'a [u8],
    /// How many of `bytes` are written.
    done: usize,
    /// A copy that ends within [`Self::PAST_FENCE`] bytes behind this place is cut here.
    fence: usize,
    out: &'a mut Vec<u8>,
    /// The end of the stream in `out`. There is other room behind it, so that writing need not move it each time.
    end: usize,
}

impl<'a> Elements<'a> {
    const PAST_FENCE: usize = 8;

    /// Of `bytes`, shorter than 4 GiB. Overwrites what `out` holds.
    pub(in crate::wire) fn new(bytes: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Self {
            bytes,
            done: 0,
            fence: 0,
            out,
            end: 0,
        }
    }

    /// How many of the bytes are written.
    #[inline(always)]
    pub(in crate::wire) fn done(&self) -> usize {
        self.done
    }

    #[inline(always)]
    pub(in crate::wire) fn set_fence(&mut self, fence: usize) {
        self.fence = fence;
    }

    /// Writes what lies at `at` as a copy of what lies at `from`, as far as they are alike, and that before it too as
    /// far as it is not written yet; what is not written then, as a literal. Does nothing and says so where they part
    /// before `least`, or are alike too briefly for a copy to be worth it.
    ///
    /// Not to be inlined: its callers are many, and all registers are needed here.
    #[inline(never)]
    pub(in crate::wire) fn copy(&mut self, at: usize, from: usize, least: usize) -> bool {
        if from >= at || at > self.bytes.len() {
            return false;
        }
        let mut stop = at + alike_after(self.bytes, at, from);
        if stop < least {
            return false;
        }
        if stop.wrapping_sub(self.fence) < Self::PAST_FENCE {
            stop = self.fence;
        }
        let mut start = self.done;
        if start < at {
            start = at - alike_before(self.bytes, at, from, at - start);
        }
        let offset = at - from;
        if stop < start + self::least(offset) {
            return false;
        }
        self.put(start, offset, stop);
        true
    }

    /// Writes what lies at `at..end`, which is the same from `from` on, as a copy, with what is alike before it, as far as that
    /// is not written yet, and some way behind it; what is not written then, as a literal. Does nothing where it would be too
    /// short.
    ///
    /// What is compared behind the end is written then, so that nothing is compared twice.
    #[inline(always)]
    pub(in crate::wire) fn lay(&mut self, at: usize, end: usize, from: usize) {
        if from >= at || end < self.done {
            return;
        }
        let offset = at - from;
        debug_assert_eq!(self.bytes.get(at..end), self.bytes.get(from..end - offset));
        let stop = end + alike_within_window(self.bytes, end, end - offset);
        let mut start = self.done;
        if start < at {
            start = at - alike_before(self.bytes, at, from, at - start);
        }
        if stop >= start + least(offset) {
            self.put(start, offset, stop);
        }
    }

    /// Writes a literal up to `start`, and a copy from `offset` bytes before up to `stop`.
    #[inline(always)]
    fn put(&mut self, start: usize, offset: usize, stop: usize) {
        if !self.put_short(start, offset, stop - start) {
            self.literal(start);
            self.put_copy(offset, stop - start);
        }
        self.done = stop;
    }

    /// Writes a literal up to `start` and a copy behind it without a branch that depends on their lengths: those are
    /// as good as random. Does nothing if they are long, or at the very end of the bytes.
    #[inline(always)]
    fn put_short(&mut self, start: usize, offset: usize, length: usize) -> bool {
        let literal = start - self.done;
        if literal > SHORT_LITERAL || length > SHORT_COPY {
            return false;
        }
        let Some(bytes) = self.bytes.get(self.done..).and_then(|bytes| bytes.first_chunk()) else {
            return false;
        };
        let room = self.out.get_mut(self.end..).and_then(|out| out.first_chunk_mut());
        let Some(room): Option<&mut [u8; ROOM]> = room else {
            return false;
        };
        let bytes: &[u8; SHORT_LITERAL] = bytes;
        room[0] = (literal as u8).wrapping_sub(1) << 2;
        room[1..1 + SHORT_LITERAL].copy_from_slice(bytes);
        let mut end = literal + usize::from(literal > 0);

        let whole = (length - 1) / COPY;
        let (element, width) = copy_element(offset, COPY);
        for i in 0..SHORT_COPY / COPY - 1 {
            room[end + i * width..end + i * width + 8].copy_from_slice(&element);
        }
        end += whole * width;
        let (element, width) = copy_element(offset, length - COPY * whole);
        room[end..end + 8].copy_from_slice(&element);
        self.end += end + width;
        true
    }

    /// Writes what lies before `to` as a literal, if it is not written yet.
    #[cold]
    #[inline(never)]
    pub(in crate::wire) fn literal(&mut self, to: usize) {
        let Some(bytes) = self.bytes.get(self.done..to).filter(|bytes| !bytes.is_empty()) else {
            return;
        };
        self.done = to;
        let above = bytes.len() - 1;
        if above < LITERAL_IN_TAG {
            self.append(&[(above as u8) << 2]);
        } else {
            let above = above as u32;
            let width = 4 - above.leading_zeros() as usize / 8;
            self.append(&[(LITERAL_IN_TAG as u8 - 1 + width as u8) << 2]);
            self.append(&above.to_le_bytes()[..width]);
        }
        self.append(bytes);
    }

    #[cold]
    #[inline(never)]
    fn put_copy(&mut self, offset: usize, mut length: usize) {
        while length > 0 {
            let part = length.min(COPY);
            length -= part;
            let (element, width) = copy_element(offset, part);
            self.append(&element[..width]);
        }
    }

    /// Writes what lies before `to`, if it is not written yet, as `snap` finds best.
    #[cold]
    pub(in crate::wire) fn search(&mut self, to: usize, snap: &mut snap::raw::Encoder) {
        let bytes = &self.bytes[self.done..to];
        self.reserve(snap::raw::max_compress_len(bytes.len()));
        let room = &mut self.out[self.end..];
        let Ok(length) = snap.compress(bytes, room) else {
            return self.literal(to);
        };
        // Elements mean the same wherever they stand; the length before them does not.
        let preamble = varint::length(bytes.len() as u64);
        room.copy_within(preamble..length, 0);
        self.end += length - preamble;
        self.done = to;
    }

    /// Writes all that is left, and gives the stream.
    pub(in crate::wire) fn finish(mut self) -> &'a [u8] {
        self.literal(self.bytes.len());
        let Self { out, end, .. } = self;
        &out[..end]
    }

    fn append(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.out[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    fn reserve(&mut self, length: usize) {
        let least = self.end + length;
        if self.out.len() < least {
            self.out.resize(least + least / 2 + ROOM, 0);
        }
    }
}

/// An element that copies up to 64 bytes, and how many of these bytes it takes.
#[inline(always)]
fn copy_element(offset: usize, length: usize) -> ([u8; 8], usize) {
    let (offset, length) = (offset as u64, length as u64);
    let is_far = offset >= FAR as u64;
    let usual = offset << 8 | (length - 1) << 2 | if is_far { 3 } else { 2 };
    // Two bytes suffice for 4 to 11 bytes from less than 2 KiB ago.
    let is_near = (offset < 2048) & (length.wrapping_sub(4) < 8);
    let near = (offset & 0xff) << 8 | (offset >> 8) << 5 | length.wrapping_sub(4) << 2 | 1;
    let element = if is_near { near } else { usual };
    // As a sum, which takes no branch.
    let width = 3 + 2 * usize::from(is_far) - usize::from(is_near);
    (element.to_le_bytes(), width)
}

/// How many bytes from `at` on are the same from `from` on, which is less.
///
/// A step of 32 bytes has one branch, at its end: where bytes part is as good as random, and a branch not foreseen costs
/// more than comparing the rest. By index, for zipping takes more instructions.
#[inline(never)]
#[allow(clippy::needless_range_loop)]
fn alike_after(bytes: &[u8], at: usize, from: usize) -> usize {
    const WORDS: usize = 4;
    const STEP: usize = 8 * WORDS;
    let (Some(a), Some(b)) = (bytes.get(at..), bytes.get(from..)) else {
        return 0;
    };
    let steps = a.as_chunks::<STEP>().0;
    let Some(other_steps) = b.as_chunks::<STEP>().0.get(..steps.len()) else {
        return 0;
    };
    for i in 0..steps.len() {
        let (words, other_words) = (steps[i].as_chunks::<8>().0, other_steps[i].as_chunks::<8>().0);
        let mut differing = [0; WORDS];
        let mut any = 0;
        let mut alike = 0;
        for k in 0..WORDS {
            differing[k] = u64::from_le_bytes(words[k]) ^ u64::from_le_bytes(other_words[k]);
            any |= differing[k];
            alike += usize::from(any == 0);
        }
        if any != 0 {
            return STEP * i + 8 * alike + differing[alike % WORDS].trailing_zeros() as usize / 8;
        }
    }
    let whole = STEP * steps.len();
    whole + last_alike(a.get(whole..), b.get(whole..))
}

/// Less than a step, at the end of the body.
#[cold]
#[inline(never)]
fn last_alike(a: Option<&[u8]>, b: Option<&[u8]>) -> usize {
    let pairs = a.unwrap_or_default().iter().zip(b.unwrap_or_default());
    pairs.take_while(|(a, b)| a == b).count()
}

/// How many bytes from `at` on are the same from `from` on, of [`WINDOW`] at most.
#[inline(always)]
fn alike_within_window(bytes: &[u8], at: usize, from: usize) -> usize {
    let window = |at: usize| Some(bytes.get(at..)?.first_chunk::<WINDOW>()?.as_chunks::<8>().0);
    let (Some([a, b, c]), Some([d, e, f])) = (window(at), window(from)) else {
        return alike_after(bytes, at, from).min(WINDOW);
    };
    let differing = |one: &[u8; 8], other: &[u8; 8]| u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
    let (first, second, third) = (differing(a, d), differing(b, e), differing(c, f));
    let (rest, before) = if second == 0 { (third, 16) } else { (second, 8) };
    let (differing, before) = if first == 0 { (rest, before) } else { (first, 0) };
    before + differing.trailing_zeros() as usize / 8
}

/// Bytes of the least copy from so far that is worth it.
#[inline(always)]
fn least(offset: usize) -> usize {
    if offset < FAR { LEAST_COPY } else { LEAST_FAR_COPY }
}

/// How many bytes before `at` are the same before `from`, which is less: at most `most`.
#[inline(always)]
pub(in crate::wire) fn alike_before(bytes: &[u8], at: usize, from: usize, most: usize) -> usize {
    let most = most.min(from);
    if let Some(a) = bytes.get(..at).and_then(|bytes| bytes.last_chunk())
        && let Some(b) = bytes.get(..from).and_then(|bytes| bytes.last_chunk())
    {
        let differing = u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
        if differing != 0 {
            return most.min(differing.leading_zeros() as usize / 8);
        }
    }
    long_alike_before(bytes, at, from, most)
}

#[cold]
#[inline(never)]
fn long_alike_before(bytes: &[u8], at: usize, from: usize, most: usize) -> usize {
    let before = |end: usize| bytes.get(end - most..end).unwrap_or_default().iter().rev();
    before(at).zip(before(from)).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which no four in a row come again.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        let next = |_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(next).collect()
    }

    fn decoded(length: usize, elements: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        varint::put(&mut stream, length as u64);
        stream.extend_from_slice(elements);
        snap::raw::Decoder::new().decompress_vec(&stream).unwrap()
    }

    /// The bytes that a copy took, after a literal of `literal` bytes behind the `offset` bytes it copies from.
    fn size_of_copy(offset: usize, length: usize, literal: usize, room: usize) -> Option<usize> {
        let at = offset + literal;
        let mut bytes = noise(offset);
        // Alike is only what lies at `at`.
        let more = |bytes: &mut Vec<u8>, differing| bytes.push(bytes[bytes.len() - offset] ^ differing);
        (0..literal).for_each(|_| more(&mut bytes, 1));
        (0..length).for_each(|_| more(&mut bytes, 0));
        // Enough behind it for the quick way.
        (0..40).for_each(|_| more(&mut bytes, 1));
        let mut out = vec![7; room];
        let mut elements = Elements::new(&bytes, &mut out);
        elements.literal(offset);
        let before = elements.end;
        let is_copied = elements.copy(at, at - offset, 0);
        let size = elements.end - before;
        assert_eq!(decoded(bytes.len(), elements.finish()), bytes);
        let tag = usize::from(literal > 0) + usize::from(literal > 60);
        is_copied.then(|| size - literal - tag)
    }

    #[test]
    fn copies_take_the_shortest_elements_and_come_back() {
        let offsets = [(100, 0), (2047, 0), (2048, 3), (65_535, 3), (65_536, 5), (200_000, 5)];
        for (offset, width) in offsets {
            for length in [
                1, 3, 4, 7, 8, 11, 12, 63, 64, 65, 68, 75, 76, 127, 128, 129, 256, 257, 400,
            ] {
                for literal in [0, 1, 31, 32, 33, 60, 61] {
                    for room in [0, 300_000] {
                        let size = size_of_copy(offset, length, literal, room);
                        let least = if width == 5 { 8 } else { 4 };
                        let is_near = width == 0 && (4..12).contains(&(length % 64));
                        let last = if is_near { 2 } else { width.max(3) };
                        let expected = (length - 1) / 64 * width.max(3) + last;
                        assert_eq!(
                            size,
                            (length >= least).then_some(expected),
                            "{length} from {offset}, {literal}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn literals_of_every_width_come_back() {
        for length in [0, 1, 60, 61, 256, 257, 65_536, 65_537, 1 << 24, (1 << 24) + 1] {
            let bytes = noise(length);
            let mut out = Vec::new();
            let elements = Elements::new(&bytes, &mut out).finish();
            assert_eq!(decoded(length, elements), bytes);
            let above = length.saturating_sub(1);
            let tag = if above < 60 {
                1
            } else {
                1 + (above.ilog2() / 8 + 1) as usize
            };
            assert_eq!(elements.len(), if length == 0 { 0 } else { tag + length });
        }
    }

    #[test]
    fn places_that_are_none_copy_nothing() {
        let bytes = [1; 100];
        let mut out = Vec::new();
        let mut elements = Elements::new(&bytes, &mut out);
        for (at, from, least) in [
            (0, 0, 0),
            (5, 5, 0),
            (5, 6, 0),
            (101, 0, 0),
            (usize::MAX, 3, 0),
            (50, 0, 101),
        ] {
            assert!(!elements.copy(at, from, least));
        }
        assert_eq!(elements.done(), 0);
        assert!(elements.copy(50, 1, 100));
        assert_eq!(elements.done(), 100);
        assert!(!elements.copy(60, 1, 0));
        assert_eq!(decoded(100, elements.finish()), bytes);
    }

    #[test]
    fn a_copy_that_ends_just_behind_the_fence_ends_at_it() {
        let bytes = [[9; 60].as_slice(), &[1], &[9; 60], &[2; 60]].concat();
        for (fence, done) in [(113, 121), (114, 114), (121, 121), (122, 121)] {
            let mut out = Vec::new();
            let mut elements = Elements::new(&bytes, &mut out);
            elements.set_fence(fence);
            assert!(elements.copy(61, 0, 0));
            assert_eq!(elements.done(), done);
            assert_eq!(decoded(bytes.len(), elements.finish()), bytes);
        }
    }

    #[test]
    fn what_is_searched_comes_back_amid_the_rest() {
        let bytes = [noise(70), noise(5000), noise(5000), noise(70)].concat();
        let mut out = Vec::new();
        let mut elements = Elements::new(&bytes, &mut out);
        elements.literal(70);
        elements.search(10_070, &mut snap::raw::Encoder::new());
        assert_eq!(elements.done(), 10_070);
        assert!(elements.copy(10_070, 0, 10_140));
        let stream = elements.finish();
        assert_eq!(decoded(bytes.len(), stream), bytes);
        assert!(stream.len() < 5600);
    }
}
