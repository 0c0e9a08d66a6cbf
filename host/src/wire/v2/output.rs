//! Where a body of 1.0 is written.
//!
//! Takes labels by their references and bytes, gives one piece of memory whose size was known before, and which rows of labels
//! stood there before: whoever compresses the body need not look for them. A label that was written before is copied from
//! there, as a whole: of twelve references of a series one or two are news. Its room grows only where it is told to.

use std::ops::Range;

use super::known::{KnownLabel, KnownLabels};
use super::symbols::{MAX_COUNT, References, Symbol, Symbols, odd_number, out_of_range};
use crate::wire::series::{LabelRow, ScanError, Series};
use crate::wire::snappy::buffer::Buffer;
use crate::wire::v1::tags::{LABEL, NAME, SERIES, VALUE};
use crate::wire::varint;

/// As many bytes are copied of a label that has no more: what is too much is written over.
const CHUNK: usize = 48;
/// A label of more bytes than this is copied by its length.
const TWO_CHUNKS: usize = 2 * CHUNK;

/// Labels of four to a row.
const USUAL_ROW: usize = 4;
/// Bytes that a reference takes at most, of two of which there may be a row, and a place in the order; room grows by doubling.
const REFERENCE_BYTES: u64 = (size_of::<LabelRow>() + size_of::<u32>()) as u64;

pub(super) struct Output {
    room: Buffer,
    /// How many bytes are written.
    at: usize,
    known: KnownLabels,
    /// The labels of usual series in the order they are written, and [`NO_LABEL`] before each series. A label is called by the
    /// place in this order where it came first. There is room for more behind `ordered`.
    order: Vec<u32>,
    ordered: usize,
    rows: Vec<LabelRow>,
    /// Bytes of the tag and the length of the last series: the next one most likely has as many.
    header: usize,
    /// Every reference so far was in its shortest form.
    is_canonical: bool,
}

/// The place of no label.
const NO_LABEL: u32 = 0;

impl Output {
    /// Bytes of room that are written over and are none of the body, behind a length that is shorter than expected.
    pub(super) const SPARE: usize = TWO_CHUNKS + Series::MOST_HEADER as usize;

    /// For so many bytes and symbols, with [`Output::SPARE`] besides. For about so many labels there is room at once.
    pub(super) fn new(length: u64, labels: usize, symbols: &Symbols) -> Self {
        Self {
            room: Buffer::take(length as usize + Self::SPARE),
            at: 0,
            known: KnownLabels::of(symbols),
            order: vec![NO_LABEL; labels],
            ordered: 0,
            rows: Vec::with_capacity(labels / USUAL_ROW),
            header: 3,
            is_canonical: true,
        }
    }

    /// Bytes of memory that it takes for so many bytes and references, at most, with the symbols, if it was made for so many
    /// labels at most.
    pub(super) fn size(length: u64, labels: usize, references: u64, symbols: &Symbols) -> u64 {
        let rows = REFERENCE_BYTES * references.max(labels as u64);
        let symbols = symbols.0.capacity() * size_of::<Symbol>() + KnownLabels::size(symbols);
        length + Self::SPARE as u64 + rows + symbols as u64
    }

    /// How many bytes are written.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many more there is room for.
    pub(super) fn left(&self) -> usize {
        self.room.as_ref().len().saturating_sub(self.at + Self::SPARE)
    }

    /// Makes it room for so many bytes in all, which is more.
    #[cold]
    pub(super) fn grow(&mut self, length: u64) {
        let mut room = Buffer::take(length as usize + Self::SPARE);
        room.room_mut()[..self.at].copy_from_slice(&self.room.as_ref()[..self.at]);
        self.room = room;
    }

    /// Whether the references were written in their shortest form.
    pub(super) fn is_canonical(&self) -> bool {
        self.is_canonical
    }

    /// What is written, and the rows of labels of usual series.
    pub(super) fn done(mut self) -> (Buffer, Vec<LabelRow>) {
        self.room.cut(self.at);
        (self.room, self.rows)
    }

    pub(super) fn put_all(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        let room = self.room.room_mut().get_mut(self.at..self.at + bytes.len());
        room.ok_or(ScanError::NotRewritten)?.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    /// Writes a series of the labels whose references lie there in `series`, and of these samples, which are not empty. Gives
    /// where its tag, its labels and its samples lie, and how many references there were.
    #[inline(always)]
    pub(super) fn put_series(
        &mut self,
        texts: (&[u8], &Symbols),
        series: &[u8],
        references: Range<usize>,
        samples: &[u8],
    ) -> Result<Placed, ScanError> {
        let start = self.at;
        let labels_start = start + self.header;
        let rows = self.rows.len();
        self.at = labels_start;
        let count = self.put_labels(&texts, series, references.clone())?;
        let labels_end = self.at;
        self.put_samples(samples)?;
        let mut written = Placed {
            start,
            labels_start,
            labels_end,
            end: self.at,
            references: 2 * count,
        };
        let length = (self.at - labels_start) as u64;
        if 1 + varint::length(length) != self.header {
            self.move_series(&mut written, &series[references], length)?;
            self.move_rows(rows, labels_start, written.labels_start);
        }
        let header = self.room.room_mut().get_mut(start..written.labels_start);
        put_header(header.ok_or(ScanError::NotRewritten)?, length);
        Ok(written)
    }

    /// Not to be inlined: all registers are needed here.
    #[inline(never)]
    fn put_labels(
        &mut self,
        texts: &(&[u8], &Symbols),
        series: &[u8],
        references: Range<usize>,
    ) -> Result<u64, ScanError> {
        self.make_order_for(series.get(references.clone()).ok_or(ScanError::NotRewritten)?);
        let (mut next, mut at, first_place) = (references.start, self.at, self.ordered + 1);
        let mut place = first_place;
        let (room, order) = (self.room.room_mut(), &mut self.order[..]);
        let mut all = self.known.tables();
        // Where the next label has its place if the row goes on, and where the row begins; it comes from nowhere if there is none.
        let mut expected = 0;
        let mut row = BegunRow::NONE;
        while next < references.end {
            let (name, value);
            (name, value, next) = match short_pair(series, next) {
                Some(pair) if pair.2 <= references.end => pair,
                _ => any_pair(series, next..references.end, &mut self.is_canonical)?,
            };
            let (known, is_known) = all.get(name, value)?;
            let ordered = order.get_mut(place).ok_or(ScanError::NotRewritten)?;
            if is_known {
                let (first, length) = (known.first as usize, known.length as usize);
                copy_chunk(room, first, at)?;
                if length > CHUNK {
                    copy_more(room, first, at, length)?;
                }
                *ordered = known.first_place;
                if order.get(expected) != Some(&known.first_place) {
                    row.end_at(at, &mut self.rows);
                    row = BegunRow {
                        from: known.last,
                        at: at as u32,
                    };
                    expected = known.last_place as usize;
                }
                expected += 1;
                known.last = at as u32;
                known.last_place = place as u32;
                at += length;
            } else {
                row.end_at(at, &mut self.rows);
                (row, expected) = (BegunRow::NONE, 0);
                let end = put_new_label(room, at, texts, (name, value))?;
                *ordered = place as u32;
                *known = KnownLabel {
                    name,
                    value,
                    length: (end - at) as u32,
                    first: at as u32,
                    last: at as u32,
                    first_place: place as u32,
                    last_place: place as u32,
                };
                at = end;
            }
            place += 1;
        }
        row.end_at(at, &mut self.rows);
        (self.at, self.ordered) = (at, place);
        Ok((place - first_place) as u64)
    }

    /// Room for the labels of these references and the end of a series. A reference may be longer than it need be, and ends with
    /// a byte below 0x80.
    #[inline(always)]
    fn make_order_for(&mut self, references: &[u8]) {
        if self.order.len() < self.ordered + references.len() + 2 {
            let count = references.iter().filter(|&&byte| byte < 0x80).count();
            let needed = self.ordered + count / 2 + 2;
            if self.order.len() < needed {
                self.order.resize(needed.max(2 * self.order.len()), NO_LABEL);
            }
        }
    }

    /// One usual sample, of 9 or 18 bytes, is written by three overlapping words, whichever it is.
    #[inline(always)]
    fn put_samples(&mut self, samples: &[u8]) -> Result<(), ScanError> {
        const ONE: usize = 18;
        const WORD: usize = 8;
        let length = samples.len();
        if !(WORD..=ONE).contains(&length) {
            return self.put_all(samples);
        }
        let room = self.room.room_mut().get_mut(self.at..);
        let room: &mut [u8; ONE] = room
            .and_then(|room| room.first_chunk_mut())
            .ok_or(ScanError::NotRewritten)?;
        for at in [0, length.saturating_sub(2 * WORD), length - WORD] {
            let word = samples.get(at..).and_then(|samples| samples.first_chunk::<WORD>());
            let place = room.get_mut(at..).and_then(|room| room.first_chunk_mut());
            *place.ok_or(ScanError::NotRewritten)? = *word.ok_or(ScanError::NotRewritten)?;
        }
        self.at += length;
        Ok(())
    }

    /// Gives the sample at `at`, of so many bytes, the length it has.
    #[inline(always)]
    pub(super) fn shorten_sample(&mut self, at: usize, bytes: usize) -> Result<(), ScanError> {
        let length = self.room.room_mut().get_mut(at + 1).ok_or(ScanError::NotRewritten)?;
        *length = (bytes - 2) as u8;
        Ok(())
    }

    /// The labels of the last series, of which these are rows, are moved: what was at `old` is at `new`.
    #[cold]
    #[inline(never)]
    fn move_rows(&mut self, first: usize, old: usize, new: usize) {
        let (old, new) = (old as u32, new as u32);
        for row in &mut self.rows[first..] {
            // Twice in one series.
            if row.from >= old {
                row.from = row.from - old + new;
            }
            row.at = row.at - old + new;
            row.end = row.end - old + new;
        }
    }

    /// The last series has another length than there was room for in front of it.
    #[cold]
    #[inline(never)]
    fn move_series(&mut self, written: &mut Placed, references: &[u8], length: u64) -> Result<(), ScanError> {
        let header = 1 + varint::length(length);
        let (from, to) = (written.labels_start, written.start + header);
        if to + length as usize > self.room.as_ref().len() {
            return Err(ScanError::NotRewritten);
        }
        self.room.room_mut().copy_within(from..self.at, to);
        self.at = to + length as usize;
        written.labels_end = to + (written.labels_end - from);
        written.labels_start = to;
        written.end = self.at;
        self.header = header;
        // What is known of its labels is where they were.
        let mut all = self.known.tables();
        let (mut references, mut at) = (References(references), to);
        while let Some(name) = references.next()? {
            let value = references.next()?.ok_or_else(odd_number)?;
            let (known, is_known) = all.get(name, value)?;
            if is_known {
                known.last = at as u32;
                if known.first as usize >= written.start {
                    known.first = at as u32;
                }
            }
            let end = varint::read_extent(self.room.as_ref(), at + 1);
            at = end.ok_or(ScanError::NotRewritten)?.1;
        }
        Ok(())
    }
}

/// A row of labels whose end is not known yet. `from` is 0 if there is none, for there is the tag of a series.
#[derive(Clone, Copy)]
struct BegunRow {
    from: u32,
    at: u32,
}

impl BegunRow {
    const NONE: Self = Self { from: 0, at: 0 };

    #[inline(always)]
    fn end_at(self, end: usize, rows: &mut Vec<LabelRow>) {
        let Self { from, at } = self;
        if from > 0 {
            let end = end as u32;
            rows.push(LabelRow { at, end, from });
        }
    }
}

/// Where a series was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) start: usize,
    pub(super) labels_start: usize,
    pub(super) labels_end: usize,
    pub(super) end: usize,
    pub(super) references: u64,
}

/// Two references at `at` and what follows them, if each takes one byte or two and no more than it needs. By branches: those of one series are mostly
/// as long as those of the one before, and where the next label begins is not waited for then.
#[inline(always)]
fn short_pair(series: &[u8], at: usize) -> Option<(u32, u32, usize)> {
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

/// The same for references of any length, of which these bytes are all there are.
#[cold]
#[inline(never)]
fn any_pair(series: &[u8], bytes: Range<usize>, is_canonical: &mut bool) -> Result<(u32, u32, usize), ScanError> {
    let mut references = References(series.get(bytes.clone()).ok_or(ScanError::NotRewritten)?);
    let name = references.next()?.ok_or_else(odd_number)?;
    let value = references.next()?.ok_or_else(odd_number)?;
    let end = bytes.end - references.0.len();
    *is_canonical &= end - bytes.start == varint::length(name.into()) + varint::length(value.into());
    // Not to be taken for the name of a label that is not known yet.
    match u64::from(name) < MAX_COUNT {
        true => Ok((name, value, end)),
        false => Err(out_of_range()),
    }
}

#[inline(always)]
fn copy_chunk(room: &mut [u8], from: usize, to: usize) -> Result<(), ScanError> {
    let chunk: Option<&[u8; CHUNK]> = room.get(from..).and_then(|bytes| bytes.first_chunk());
    let chunk = *chunk.ok_or(ScanError::NotRewritten)?;
    let place = room.get_mut(to..).and_then(|bytes| bytes.first_chunk_mut());
    *place.ok_or(ScanError::NotRewritten)? = chunk;
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
fn put_new_label(
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
fn put_header(header: &mut [u8], length: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::tags::SAMPLE;

    #[test]
    fn a_reference_that_is_longer_than_it_need_be_takes_no_more_memory() {
        let symbols = Symbols(vec![Symbol { start: 0, length: 0 }]);
        let padded = [[0x80; 9].as_slice(), &[0]].concat().repeat(2000);
        let mut output = Output::new(64 * 1024, 2048, &symbols);
        let usual = output.order.len();
        let sample = [SAMPLE, 7, 0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        let placed = output
            .put_series((&[], &symbols), &padded, 0..padded.len(), &sample)
            .unwrap();
        assert_eq!(placed.references, 2000);
        assert_eq!(output.order.len(), usual);
    }
}
