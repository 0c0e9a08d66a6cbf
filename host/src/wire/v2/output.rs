//! Where a body of 1.0 is written.
//!
//! Takes labels by their references and bytes, gives one piece of memory whose size was known before, and which rows of labels
//! stood there before: whoever compresses the body need not look for them. A label that was written before is copied from
//! there, as a whole, and so are all labels of a series but the first if they were: of twelve references one or two are news.
//! Its room grows only where it is told to.

use std::ops::Range;

use super::known::{KnownLabel, KnownLabels};
use super::read::ProvedTexts;
use super::rests::{KnownRests, RestKey};
use super::room::{TWO_CHUNKS, copy_label, put_chunk, put_header, put_new_label};
use super::short::{ShortSeries, short_pair};
use super::symbols::{MAX_COUNT, References, Symbol, Symbols, odd_number, out_of_range};
use super::whole::{KnownRest, WholeLabels};
use crate::wire::series::{ScanError, Series};
use crate::wire::snappy::buffer::Buffer;
use crate::wire::text::LabelRow;
use crate::wire::v1::tags::SERIES;
use crate::wire::varint;

/// Labels of four to a row.
const USUAL_ROW: usize = 4;
/// Bytes that a reference takes at most, of two of which there may be a row, and a place in the order; room grows by doubling.
const REFERENCE_BYTES: u64 = (size_of::<LabelRow>() + size_of::<u32>()) as u64;

pub(super) struct Output {
    room: Buffer,
    /// How many bytes are written.
    at: usize,
    known: KnownLabels,
    rests: KnownRests<KnownRest>,
    /// Where the labels of the last series, but for the first, are noted.
    slot: Option<usize>,
    /// The labels of usual series in the order they are written, and [`NO_LABEL`] before each series. A label is called by the
    /// place in this order where it came first. There is room for more behind `ordered`. Of a series whose other labels were
    /// copied as a whole it has the first.
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
            rests: KnownRests::of(labels),
            slot: None,
            order: vec![NO_LABEL; labels / USUAL_ROW],
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
        let symbols =
            symbols.0.capacity() * size_of::<Symbol>() + KnownLabels::size(symbols) + ProvedTexts::size(symbols);
        Buffer::size(length as usize + Self::SPARE) as u64
            + rows
            + (symbols + KnownRests::<KnownRest>::size(labels)) as u64
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

    /// Writes a series of the labels whose references lie there in the body, and of these samples, which are not empty. Gives
    /// where its tag, its labels and its samples lie, and how many references there were.
    #[inline(always)]
    pub(super) fn put_series(
        &mut self,
        texts: (&[u8], &Symbols),
        references: Range<usize>,
        samples: &[u8],
    ) -> Result<Placed, ScanError> {
        let start = self.at;
        let labels_start = start + self.header;
        let rows = self.rows.len();
        self.at = labels_start;
        let count = self.put_labels(&texts, references.clone())?;
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
            self.move_series(&mut written, texts.0.get(references).unwrap_or_default(), length)?;
            self.move_rows(rows, labels_start, written.labels_start);
        }
        let header = self.room.room_mut().get_mut(start..written.labels_start);
        put_header(header.ok_or(ScanError::NotRewritten)?, length);
        Ok(written)
    }

    /// Not to be inlined: all registers are needed here.
    #[inline(never)]
    fn put_labels(&mut self, texts: &(&[u8], &Symbols), references: Range<usize>) -> Result<u64, ScanError> {
        let body = texts.0;
        self.make_order_for(body.get(references.clone()).ok_or(ScanError::NotRewritten)?);
        self.slot = None;
        let first = short_pair(body, references.start);
        let Some((name, value, key)) =
            first.and_then(|(name, value, next)| Some((name, value, RestKey::of(body, next..references.end)?)))
        else {
            return Ok(self.put_each(texts, references)?.0);
        };
        let (slot, is_noted) = self.rests.slot(key);
        self.slot = Some(slot);
        let Some(rest) = self.rests.get(slot).filter(|_| is_noted) else {
            return self.put_and_note(texts, references, (name, value), (slot, key));
        };
        let place = self.ordered + 1;
        let mut all = self.known.tables();
        let (known, is_known) = all.get(name, value)?;
        let count = rest.count;
        let whole = WholeLabels {
            first: (name, value),
            known,
            is_known,
            rest,
        };
        let ordered = self.order.get_mut(place).ok_or(ScanError::NotRewritten)?;
        self.at = whole.put(self.room.room_mut(), texts, self.at, (place, ordered), &mut self.rows)?;
        self.ordered = place + 1;
        Ok(1 + u64::from(count))
    }

    /// Writes series from `at` in the body on that are as most are: of less than 128 bytes, with one sample and nothing else,
    /// and with labels of which those behind the first are known as a whole. Stops before the first other one, where so
    /// many are written or there are `fence` bytes, and where it lacks room. Gives where it stopped, and how many references
    /// there were.
    #[inline(never)]
    pub(super) fn put_short(
        &mut self,
        texts: &(&[u8], &Symbols),
        mut at: usize,
        (most, fence): (usize, usize),
        found: &mut Vec<Series>,
    ) -> (usize, u64) {
        let body = texts.0;
        let room = self.room.room_mut();
        let order = &mut self.order[..];
        let mut all = self.known.tables();
        let (mut start, mut place) = (self.at, self.ordered + 1);
        let mut references = 0;
        for _ in 0..most {
            let Some(short) = ShortSeries::at(body, at).filter(|_| start < fence) else {
                break;
            };
            let (slot, is_noted) = self.rests.slot(short.key);
            let Some(rest) = self.rests.get(slot).filter(|_| is_noted) else {
                break;
            };
            let Ok((known, is_known)) = all.get(short.first.0, short.first.1) else {
                break;
            };
            let count = 1 + u64::from(rest.count);
            let whole = WholeLabels {
                first: short.first,
                known,
                is_known,
                rest,
            };
            let Ok(labels) = whole.length(texts.1) else { break };
            let length = labels + short.sample_length;
            let labels_start = start + if length < 0x80 { 2 } else { 3 };
            let end = labels_start + length;
            // The first label's, and the one before the next series.
            let Some([ordered, _]) = order.get_mut(place..).and_then(|order| order.first_chunk_mut()) else {
                break;
            };
            if length >= 0x4000 || end + Self::SPARE > room.len() {
                break;
            }
            let header = [
                SERIES,
                length as u8 & 0x7f | u8::from(length >= 0x80) << 7,
                (length >> 7) as u8,
            ];
            let Ok(()) = put_chunk(room, start, &header) else { break };
            let Ok(labels_end) = whole.put(room, texts, labels_start, (place, ordered), &mut self.rows) else {
                break;
            };
            let Ok(()) = put_chunk(room, labels_end, short.sample) else {
                break;
            };
            found.push(Series {
                start: start as u32,
                labels_start: labels_start as u32,
                labels_end: labels_end as u32,
                end: end as u32,
                samples: 1,
                histograms: 0,
                exemplars: 0,
            });
            references += 2 * count;
            place += 2;
            (start, at) = (end, at + short.length);
        }
        (self.at, self.ordered) = (start, place - 1);
        (at, references)
    }

    /// Labels of which those behind the first are not known as a whole.
    #[cold]
    #[inline(never)]
    fn put_and_note(
        &mut self,
        texts: &(&[u8], &Symbols),
        references: Range<usize>,
        (name, value): (u32, u32),
        (slot, key): (usize, RestKey<'_>),
    ) -> Result<u64, ScanError> {
        let (start, place) = (self.at as u32, self.ordered + 2);
        let (count, first_end) = self.put_each(texts, references)?;
        let rest = KnownRest::new(place as u32, count as usize - 1, first_end..self.at);
        if let Some(rest) = rest {
            self.rests.note(slot, key, rest);
        }
        let mut all = self.known.tables();
        let (known, is_known) = all.get(name, value)?;
        if is_known && known.last == start {
            known.rest = rest.map_or(KnownLabel::NO_REST, |_| place as u32);
        }
        Ok(count)
    }

    /// Writes one label after the other. Gives how many, and where the first one ends.
    #[inline(never)]
    fn put_each(&mut self, texts: &(&[u8], &Symbols), references: Range<usize>) -> Result<(u64, usize), ScanError> {
        let body = texts.0;
        let (mut next, mut at, first_place) = (references.start, self.at, self.ordered + 1);
        let mut place = first_place;
        let mut first_end = at;
        let (room, order) = (self.room.room_mut(), &mut self.order[..]);
        let mut all = self.known.tables();
        // Where the next label has its place if the row goes on, and where the row begins; it comes from nowhere if there is none.
        let mut expected = 0;
        let mut row = BegunRow::NONE;
        while next < references.end {
            let (name, value);
            (name, value, next) = match short_pair(body, next) {
                Some(pair) if pair.2 <= references.end => pair,
                _ => any_pair(body, next..references.end, &mut self.is_canonical)?,
            };
            let (known, is_known) = all.get(name, value)?;
            let ordered = order.get_mut(place).ok_or(ScanError::NotRewritten)?;
            if is_known {
                let (first, length) = (known.first as usize, known.length as usize);
                copy_label(room, first, at, length)?;
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
                known.rest = KnownLabel::NO_REST;
                at += length;
            } else {
                row.end_at(at, &mut self.rows);
                (row, expected) = (BegunRow::NONE, 0);
                let end = put_new_label(room, at, texts, (name, value))?;
                *ordered = place as u32;
                *known = KnownLabel::new((name, value), at..end, place);
                at = end;
            }
            if place == first_place {
                first_end = at;
            }
            place += 1;
        }
        row.end_at(at, &mut self.rows);
        (self.at, self.ordered) = (at, place);
        Ok(((place - first_place) as u64, first_end))
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
        if let Some(rest) = self.slot.and_then(|slot| self.rests.get(slot)) {
            rest.moved(from, to);
        }
        // What is known of its labels is where they were.
        let mut all = self.known.tables();
        let (mut references, mut at) = (References(references), to);
        while let Some(name) = references.next()? {
            let value = references.next()?.ok_or_else(odd_number)?;
            let (known, is_known) = all.get(name, value)?;
            if is_known {
                // A label that comes twice is known where it came first or last: not here, perhaps.
                let before = (at - to + from) as u32;
                for place in [&mut known.first, &mut known.last] {
                    if *place == before {
                        *place = at as u32;
                    }
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
            rows.push(LabelRow::new(at as usize..end, from));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::tags::SAMPLE;

    #[test]
    fn a_reference_that_is_longer_than_it_need_be_takes_no_more_memory() {
        let symbols = Symbols(vec![Symbol { start: 0, length: 0 }]);
        let padded = [[0x80; 9].as_slice(), &[0]].concat().repeat(2000);
        let mut output = Output::new(64 * 1024, 4096, &symbols);
        let usual = output.order.len();
        let sample = [SAMPLE, 7, 0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        let placed = output
            .put_series((&padded, &symbols), 0..padded.len(), &sample)
            .unwrap();
        assert_eq!(placed.references, 2000);
        assert_eq!(output.order.len(), usual);
    }
}
