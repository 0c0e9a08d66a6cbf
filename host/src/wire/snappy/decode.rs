//! The elements of a snappy stream, decoded with few branches.
//!
//! Takes what follows the preamble and room of the declared length, fills the room or gives up: whoever calls lets the
//! `snap` crate decide what was given up, and say what is wrong with it. Of what is read beyond the end of what was written nothing
//! counts: it is written over, or the room is not filled, so bytes of an earlier body cannot come through.
//!
//! A write of 2000 samples has 14,000 elements, and what kind the next one is can hardly be predicted; a wrong guess
//! costs as much as two elements, and a processor that did other things between two writes guesses wrong more often than one that
//! decodes the same body again and again. So neither whether there is a literal before a copy nor the two short kinds of copies
//! have a branch of their own, and 64 bytes of a copy are written whatever its length, 16 of a literal.

/// Of an element whose length its tag tells: a literal of this many bytes, a copy of this many.
const LITERAL: usize = 60;
const COPY: usize = 64;
/// A literal longer than this takes a second step. Hardly any is, in a write.
const SHORT_LITERAL: usize = 16;
/// A tag, the longest literal with a length in its tag, and the copy behind it, with the tag after that.
const AHEAD: usize = 1 + COPY + 8;
/// Both of them.
const ROOM: usize = 2 * COPY;

const IS_LITERAL: usize = 0;
const IS_NEAR_COPY: usize = 1;
const IS_COPY: usize = 2;

/// By tag, of copies of the two short kinds.
static COPIES: [Copy; 256] = copies();

#[derive(Clone, Copy)]
struct Copy {
    /// 255: another kind of element.
    length: u8,
    /// What of the two bytes behind the tag is the offset.
    mask: u16,
    /// What the tag says of the offset.
    high: u16,
}

const fn copies() -> [Copy; 256] {
    let mut copies = [Copy {
        length: u8::MAX,
        mask: 0,
        high: 0,
    }; 256];
    let mut tag = 0;
    while tag < 256 {
        match tag & 3 {
            IS_NEAR_COPY => {
                copies[tag] = Copy {
                    length: 4 + (tag >> 2 & 7) as u8,
                    mask: 0xff,
                    high: (tag >> 5 << 8) as u16,
                }
            }
            IS_COPY => {
                copies[tag] = Copy {
                    length: 1 + (tag >> 2) as u8,
                    mask: 0xffff,
                    high: 0,
                }
            }
            _ => {}
        }
        tag += 1;
    }
    copies
}

/// What a tag says of a literal. Both are 0 if the element is none.
struct Literal {
    /// With the tag.
    size: usize,
    length: usize,
}

impl Literal {
    #[inline(always)]
    fn of(tag: u8) -> Self {
        let (kind, above) = (usize::from(tag & 3), usize::from(tag >> 2));
        match kind == IS_LITERAL {
            true => Self {
                size: above + 2,
                length: above + 1,
            },
            false => Self { size: 0, length: 0 },
        }
    }
}

/// Where a stream is read and its bytes are written.
#[derive(Clone, Copy)]
struct At {
    read: usize,
    written: usize,
}

/// Fills `out` with what `elements` decode to. None where they do not fill it to the last byte, or are malformed; `out`
/// holds anything then.
pub(super) fn decode(elements: &[u8], out: &mut [u8]) -> Option<()> {
    let mut at = At { read: 0, written: 0 };
    // Two loops, one of them short, so that the fast one keeps its registers.
    while at.read < elements.len() {
        at = many(elements, out, at);
        at = one(elements, out, at)?;
    }
    (at.written == out.len()).then_some(())
}

/// Decodes elements as long as they are usual and the ends are far: in one step a literal, if there is one, and the copy
/// behind it.
#[inline(never)]
fn many(elements: &[u8], out: &mut [u8], mut at: At) -> At {
    let Some(&tag) = elements.get(at.read) else {
        return at;
    };
    // Its lowest byte is always the one at `at.read`, which was read with the element before.
    let mut next = u64::from(tag);
    while let Some(ahead) = elements.get(at.read..).and_then(|rest| rest.first_chunk::<AHEAD>()) {
        let room = out.get_mut(at.written..).and_then(|rest| rest.first_chunk_mut());
        let Some(room): Option<&mut [u8; ROOM]> = room else {
            break;
        };
        let literal = Literal::of(next as u8);
        room[..SHORT_LITERAL].copy_from_slice(&ahead[1..1 + SHORT_LITERAL]);
        if literal.length > SHORT_LITERAL {
            if literal.length > LITERAL {
                break;
            }
            room[..COPY].copy_from_slice(&ahead[1..1 + COPY]);
        }
        let Some(&copy) = ahead[literal.size..].first_chunk() else {
            break;
        };
        at.read += literal.size;
        at.written += literal.length;
        next = u64::from_le_bytes(copy);
        let Copy { length, mask, high } = COPIES[usize::from(next as u8)];
        let length = usize::from(length);
        let offset = usize::from((next >> 8) as u16 & mask | high);
        // A copy that begins before the first byte, or runs into what it writes itself (then all of it is not there
        // yet to be read at once), or is of the long kind, or none.
        if offset > at.written || offset < length {
            break;
        }
        let from = at.written - offset;
        let Some(&copied) = out.get(from..).and_then(|rest| rest.first_chunk::<COPY>()) else {
            break;
        };
        let room = out.get_mut(at.written..).and_then(|rest| rest.first_chunk_mut());
        let Some(room): Option<&mut [u8; COPY]> = room else {
            break;
        };
        *room = copied;
        let size = 1 + (next & 3);
        // By a shift: to read it from memory takes longer, and all that follows waits for it.
        next >>= 8 * size;
        at.read += size as usize;
        at.written += length;
    }
    at
}

/// Decodes the element at `at`, of whatever kind. None if it is malformed.
#[cold]
#[inline(never)]
fn one(elements: &[u8], out: &mut [u8], at: At) -> Option<At> {
    let Some(&tag) = elements.get(at.read) else {
        return Some(at);
    };
    let (kind, above) = (usize::from(tag & 3), usize::from(tag >> 2));
    let number = |bytes: usize| {
        let bytes = elements.get(at.read + 1..at.read + 1 + bytes)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |number, &byte| number << 8 | usize::from(byte)),
        )
    };
    if kind == IS_LITERAL {
        let extra = (above + 1).saturating_sub(LITERAL);
        let length = if extra == 0 { above } else { number(extra)? } + 1;
        let start = at.read + 1 + extra;
        let literal = elements.get(start..start + length)?;
        out.get_mut(at.written..at.written + length)?.copy_from_slice(literal);
        return Some(At {
            read: start + length,
            written: at.written + length,
        });
    }
    let (length, offset, extra) = match kind {
        IS_NEAR_COPY => (4 + (above & 7), above >> 3 << 8 | number(1)?, 1),
        IS_COPY => (1 + above, number(2)?, 2),
        _ => (1 + above, number(4)?, 4),
    };
    let from = at.written.checked_sub(offset)?;
    let end = at.written + length;
    if offset == 0 || end > out.len() {
        return None;
    }
    // At most `offset` bytes are there to be copied; where that is less than asked for, they repeat.
    let mut written = at.written;
    while written < end {
        let there = (written - from).min(end - written);
        out.copy_within(from..from + there, written);
        written += there;
    }
    Some(At {
        read: at.read + 1 + extra,
        written: end,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that an earlier body left.
    const STALE: u8 = 0xa5;

    fn decoded(elements: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut out = vec![STALE; length];
        decode(elements, &mut out).map(|()| out)
    }

    fn by_snap(elements: &[u8], length: usize) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        crate::wire::varint::put(&mut whole, length as u64);
        whole.extend_from_slice(elements);
        snap::raw::Decoder::new().decompress_vec(&whole).ok()
    }

    fn literal(bytes: &[u8]) -> Vec<u8> {
        let above = bytes.len() as u32 - 1;
        let mut element = match above {
            0..60 => vec![(above as u8) << 2],
            _ => [&[63 << 2], above.to_le_bytes().as_slice()].concat(),
        };
        element.extend_from_slice(bytes);
        element
    }

    fn copy(kind: usize, length: usize, offset: usize) -> Vec<u8> {
        let above = (length - 1) as u8;
        match kind {
            IS_NEAR_COPY => vec![
                (offset >> 8 << 5) as u8 | ((length - 4) as u8 % 8) << 2 | 1,
                offset as u8,
            ],
            IS_COPY => [&[above << 2 | 2], (offset as u16).to_le_bytes().as_slice()].concat(),
            _ => [&[above << 2 | 3], (offset as u32).to_le_bytes().as_slice()].concat(),
        }
    }

    #[derive(Debug, Clone)]
    enum Element {
        Literal(Vec<u8>),
        /// Kind, length, and the offset as a part of what was written, in 1/256.
        Copy(usize, usize, usize),
        /// Bytes of any meaning.
        Raw(Vec<u8>),
    }

    fn stream(elements: &[Element]) -> (Vec<u8>, usize) {
        let (mut bytes, mut written) = (Vec::new(), 0);
        for element in elements {
            match element {
                Element::Literal(content) => {
                    bytes.extend(literal(content));
                    written += content.len();
                }
                Element::Copy(kind, length, part) => {
                    let length = if *kind == IS_NEAR_COPY { 4 + length % 8 } else { *length };
                    let farthest = if *kind == IS_NEAR_COPY { 2047 } else { 65_535 };
                    bytes.extend(copy(*kind, length, (written * part / 256).clamp(1, farthest)));
                    written += length;
                }
                Element::Raw(raw) => bytes.extend_from_slice(raw),
            }
        }
        (bytes, written)
    }

    fn element() -> impl Strategy<Value = Element> {
        prop_oneof![
            4 => prop::collection::vec(any::<u8>(), 1..12).prop_map(Element::Literal),
            1 => prop::collection::vec(any::<u8>(), 1..300).prop_map(Element::Literal),
            9 => (1..4usize, 1..=64usize, 0..=256usize).prop_map(|(kind, length, part)| Element::Copy(kind, length, part)),
        ]
    }

    fn spoilt() -> impl Strategy<Value = Element> {
        prop_oneof![
            30 => element(),
            1 => prop::collection::vec(any::<u8>(), 1..5).prop_map(Element::Raw),
        ]
    }

    proptest! {
        #[test]
        fn whole_streams_decode_as_the_snap_crate_decodes_them(elements in prop::collection::vec(element(), 1..200)) {
            let (bytes, length) = stream(&elements);
            prop_assume!(matches!(elements[0], Element::Literal(_)));
            let expected = by_snap(&bytes, length);
            prop_assert!(expected.is_some());
            prop_assert_eq!(decoded(&bytes, length), expected);
        }

        #[test]
        fn nothing_is_decoded_that_the_snap_crate_refuses(
            elements in prop::collection::vec(spoilt(), 1..100),
            cut in 0..40usize,
            longer in -3..70isize,
        ) {
            let (mut bytes, length) = stream(&elements);
            bytes.truncate(bytes.len().saturating_sub(cut % 20));
            let length = length.saturating_add_signed(longer / 20);
            if let Some(out) = decoded(&bytes, length) {
                prop_assert_eq!(Some(out), by_snap(&bytes, length));
            } else {
                prop_assert_eq!(None, by_snap(&bytes, length));
            }
        }
    }

    #[test]
    fn a_copy_may_reach_back_to_the_first_byte_and_not_further() {
        for (kind, more) in [
            (IS_NEAR_COPY, 0),
            (IS_COPY, 0),
            (3, 0),
            (IS_NEAR_COPY, 200),
            (IS_COPY, 200),
            (3, 200),
        ] {
            // With other elements behind it, it is not the end that makes it a special case.
            let tail = literal(&vec![7; more + 1]);
            let length = 60 + 8 + more + 1;
            let reaching = [literal(&[9; 60]), copy(kind, 8, 60), tail.clone()].concat();
            assert_eq!(decoded(&reaching, length), by_snap(&reaching, length));
            assert!(decoded(&reaching, length).is_some());
            let beyond = [literal(&[9; 60]), copy(kind, 8, 61), tail].concat();
            assert_eq!((decoded(&beyond, length), by_snap(&beyond, length)), (None, None));
        }
    }

    #[test]
    fn a_stream_must_fill_its_room_and_end_there() {
        let whole = [literal(&[1; 100]), copy(IS_COPY, 64, 64)].concat();
        assert!(decoded(&whole, 164).is_some());
        for length in [163, 165, 0] {
            assert_eq!(decoded(&whole, length), None);
        }
        for end in 1..whole.len() {
            assert_eq!(decoded(&whole[..end], 164), None, "cut at {end}");
        }
        assert_eq!(decoded(&[], 0), Some(vec![]));
    }

    #[test]
    fn a_literal_longer_than_any_memory_is_refused() {
        for length in [[0xff; 4], [0xff, 0xff, 0xff, 0x7f]] {
            let claims = [&[63 << 2], length.as_slice(), &[1; 100]].concat();
            assert_eq!(decoded(&claims, 100), None);
        }
    }
}
