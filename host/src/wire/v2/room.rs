//! Bytes put into room whose size was known before.
//!
//! Takes room and places in it. Writes more than it is asked to where that is cheaper than asking how much that is: what is too
//! much is written over. Never writes behind the room, but says so.

use super::symbols::{Symbol, Symbols};
use crate::wire::series::ScanError;
use crate::wire::v1::tags::{LABEL, NAME, SERIES, VALUE};
use crate::wire::varint;

/// As many bytes are copied of a label that has no more.
pub(super) const CHUNK: usize = 48;
/// A label of more bytes than this is copied by its length.
pub(super) const TWO_CHUNKS: usize = 2 * CHUNK;

#[inline(always)]
pub(super) fn put_chunk<const N: usize>(room: &mut [u8], at: usize, bytes: &[u8; N]) -> Result<(), ScanError> {
    let place = room.get_mut(at..at + N).and_then(|room| room.first_chunk_mut());
    *place.ok_or(ScanError::NotRewritten)? = *bytes;
    Ok(())
}

#[inline(always)]
pub(super) fn copy_chunk(room: &mut [u8], from: usize, to: usize) -> Result<(), ScanError> {
    let chunk: Option<&[u8; CHUNK]> = room.get(from..from + CHUNK).and_then(|bytes| bytes.first_chunk());
    put_chunk(room, to, chunk.copied().as_ref().ok_or(ScanError::NotRewritten)?)
}

/// Copies a label of `length`.
#[inline(always)]
pub(super) fn copy_label(room: &mut [u8], from: usize, to: usize, length: usize) -> Result<(), ScanError> {
    copy_chunk(room, from, to)?;
    if length > CHUNK {
        copy_more(room, from, to, length)?;
    }
    Ok(())
}

/// What a label of `length` has besides its first chunk.
#[inline(always)]
fn copy_more(room: &mut [u8], from: usize, to: usize, length: usize) -> Result<(), ScanError> {
    if length <= TWO_CHUNKS {
        return copy_chunk(room, from + CHUNK, to + CHUNK);
    }
    if to + length > room.len() {
        return Err(ScanError::NotRewritten);
    }
    room.copy_within(from..from + length, to);
    Ok(())
}

/// Writes the label of these references, and says where it ends.
#[inline(never)]
pub(super) fn put_new_label(
    room: &mut [u8],
    at: usize,
    &(body, symbols): &(&[u8], &Symbols),
    (name, value): (u32, u32),
) -> Result<usize, ScanError> {
    let (name, value) = (symbols.get(name)?, symbols.get(value)?);
    let mut end = put_tag(room, at, LABEL, (name.field_length() + value.field_length()) as usize)?;
    for (tag, symbol) in [(NAME, name), (VALUE, value)] {
        end = put_tag(room, end, tag, symbol.length as usize)?;
        end = put_text(room, end, body, symbol)?;
    }
    Ok(end)
}

/// Writes what a symbol says, and says where it ends.
#[inline(always)]
fn put_text(room: &mut [u8], at: usize, body: &[u8], symbol: Symbol) -> Result<usize, ScanError> {
    let end = at + symbol.length as usize;
    if symbol.length as usize <= CHUNK
        && let Some(chunk) = body
            .get(symbol.start as usize..)
            .and_then(|text| text.first_chunk::<CHUNK>())
        && let Some(place) = room.get_mut(at..).and_then(|room| room.first_chunk_mut::<CHUNK>())
    {
        *place = *chunk;
    } else {
        let place = room.get_mut(at..end).ok_or(ScanError::NotRewritten)?;
        place.copy_from_slice(symbol.text(body)?);
    }
    Ok(end)
}

/// Writes a tag and a length, and says where what follows them begins.
#[inline(always)]
fn put_tag(room: &mut [u8], at: usize, tag: u8, length: usize) -> Result<usize, ScanError> {
    if length < 0x80 {
        let header = room.get_mut(at..).and_then(|room| room.first_chunk_mut());
        *header.ok_or(ScanError::NotRewritten)? = [tag, length as u8];
        return Ok(at + 2);
    }
    let end = at + 1 + varint::length(length as u64);
    let header = room.get_mut(at..end).ok_or(ScanError::NotRewritten)?;
    header[0] = tag;
    put_length(&mut header[1..], length as u64);
    Ok(end)
}

#[inline(always)]
pub(super) fn put_header(header: &mut [u8], length: u64) {
    match header {
        [tag, low, high] => (*tag, *low, *high) = (SERIES, length as u8 | 0x80, (length >> 7) as u8),
        [tag, rest @ ..] => {
            *tag = SERIES;
            put_length(rest, length);
        }
        [] => {}
    }
}

/// As a varint of just so many bytes.
fn put_length(bytes: &mut [u8], mut length: u64) {
    if let Some((last, before)) = bytes.split_last_mut() {
        for byte in before {
            *byte = length as u8 | 0x80;
            length >>= 7;
        }
        *last = length as u8;
    }
}
