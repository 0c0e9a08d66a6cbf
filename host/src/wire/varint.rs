//! Protobuf varints in their shortest form.
//!
//! Takes numbers, gives bytes, and back. Never reads a form longer than needed: the walk that allows those uses prost.

/// Bytes of the longest one.
pub(super) const MAX_LENGTH: usize = 10;

/// Appends `value`.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of bytes: its tag (one byte, so field numbers up to 15), its length, its content.
pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    put(out, content.len() as u64);
    out.extend_from_slice(content);
}

/// Bytes that [`put`] would append.
pub(super) fn length(value: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Reads the varint at `at`: its value and where the next byte lies. None where it is cut short, longer than
/// needed or above 64 bits.
#[inline(always)]
pub(super) fn read(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u64::from(first), at + 1));
    }
    let second = *bytes.get(at + 1)?;
    if second < 0x80 {
        let value = u64::from(first & 0x7f) | u64::from(second) << 7;
        return (second != 0).then_some((value, at + 2));
    }
    read_long(bytes, at)
}

fn read_long(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte holds the 64th bit and no more.
        if i == 9 && byte > 1 {
            return None;
        }
        value |= bits << (7 * i);
        if byte < 0x80 {
            let shortest = byte != 0 || i == 0;
            return shortest.then_some((value, at + i + 1));
        }
    }
    None
}

/// Reads a length at `at` and gives where its content starts and ends. None where the content leaves `bytes`.
#[inline(always)]
pub(super) fn read_extent(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (length, start) = read(bytes, at)?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some((start, end))
}

/// The content of the field of bytes with this tag at `at`, and where it ends: what [`put_bytes`] would append.
#[inline(always)]
pub(super) fn read_bytes(bytes: &[u8], at: usize, tag: u8) -> Option<(&[u8], usize)> {
    if *bytes.get(at)? != tag {
        return None;
    }
    let (start, end) = read_extent(bytes, at + 1)?;
    Some((bytes.get(start..end)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_of_varint_comes_back_and_is_as_long_as_said() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1 << bits) - 1, (1 << bits) | 1, u64::MAX >> bits] {
                let mut out = Vec::new();
                put(&mut out, value);
                assert_eq!(read(&out, 0), Some((value, out.len())));
                assert_eq!(length(value), out.len());
                assert_eq!(read(&out[..out.len() - 1], 0), None);
            }
        }
    }

    #[test]
    fn a_varint_longer_than_needed_or_above_64_bits_is_refused() {
        assert_eq!(read(&[0x80, 0x00], 0), None);
        assert_eq!(read(&[0xff, 0x80, 0x00], 0), None);
        assert_eq!(read(&[0xff; 11], 0), None);
        let mut above = [0xff; 10];
        above[9] = 0x02;
        assert_eq!(read(&above, 0), None);
        above[9] = 0x01;
        assert_eq!(read(&above, 0), Some((u64::MAX, 10)));
    }

    #[test]
    fn an_extent_stays_inside_its_bytes() {
        assert_eq!(read_extent(&[2, 0, 0], 0), Some((1, 3)));
        assert_eq!(read_extent(&[3, 0, 0], 0), None);
        assert_eq!(
            read_extent(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 0),
            None
        );
        assert_eq!(read_extent(&[], 0), None);
    }
}
