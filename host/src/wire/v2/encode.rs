//! From decided series to a compressed remote write 2.0 request.
//!
//! Takes a scanned write of either protocol and what was decided for its series, gives the request to forward in the block
//! format of snappy: each string once, in the order of first use, and the fields of a series in the order in which Prometheus
//! writes them (labels, samples, exemplars, histograms, metadata). What a 2.0 write said besides its series goes on with them.
//! Values, timestamps and whole histograms are copied as they stand in the canonical body, which both protocols write alike.
//!
//! The specification wants at least one sample or histogram in a series and never both, so a series that has both becomes
//! two. One that has only exemplars, as Prometheus sends them in both protocols, gives them to the series of the same labels
//! that has samples, if the write has one.

use std::cell::RefCell;
use std::collections::HashMap;

use super::extras::{Extra, Metadata};
use super::interned::Interned;
use super::tags::{
    EXEMPLAR, HISTOGRAM, HISTOGRAM_START, LABELS_REFS, METADATA, METADATA_HELP, METADATA_TYPE, METADATA_UNIT, SAMPLE,
    SAMPLE_START, SERIES,
};
use crate::wire::series::{Piece, Scanned, Series, Torn};
use crate::wire::snappy::{self, SnappyError};
use crate::wire::v1::encode::EncodeError;
use crate::wire::v1::labels::read_one;
use crate::wire::v1::splice::label_bytes;
use crate::wire::v1::tail::{SeriesPart, exemplar_labels, parts};
use crate::wire::varint;

/// Scratch space kept for its thread's next write. Larger ones are rare enough to pay for theirs.
const KEPT_SCRATCH_BYTES: usize = 2 << 20;

/// A text of fewer bytes is looked up by what it says.
const LONG_TEXT: usize = 256;

thread_local! {
    static WRITER: RefCell<Writer> = RefCell::default();
}

/// Encodes `pieces`, all of them series of `scanned`, into `out`, replacing what `out` held.
///
/// # Errors
/// `Torn` if a piece is of another write and does not fit into this one, `TooLong` for requests of 4 GiB and more.
pub fn encode<'a>(
    scanned: &'a Scanned,
    pieces: impl IntoIterator<Item = Piece<'a>>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    WRITER.with_borrow_mut(|writer| {
        writer.clear();
        // References are shorter than what they stand for, so that hardly any request is longer than the body.
        writer.series.reserve(scanned.body().len());
        let written = writer.write(scanned, pieces).map_err(EncodeError::from);
        let encoded = written.and_then(|()| Ok(encode_written(writer, out)?));
        if writer.size() > KEPT_SCRATCH_BYTES {
            *writer = Writer::default();
        }
        encoded
    })
}

/// The table comes first: some receivers read a series as soon as they meet it.
fn encode_written(writer: &mut Writer, out: &mut Vec<u8>) -> Result<(), SnappyError> {
    let Writer { symbols, series, .. } = writer;
    let table = symbols.bytes();
    // Numbers and places of symbols are 32 bits wide.
    let length = series.len() as u64 + table.len() as u64;
    if u32::try_from(length).is_err() {
        return Err(SnappyError::TooLong { length });
    }
    // In place: a second body of that size may be more than there is room for.
    series.extend_from_slice(table);
    series.rotate_right(table.len());
    snappy::encode(series, out)
}

#[derive(Default)]
struct Writer {
    symbols: Interned,
    /// Numbers of help texts and units, by where they lie in the write and how long they are.
    long_texts: HashMap<(usize, usize), u32>,
    /// The `Request.timeseries` written so far.
    series: Vec<u8>,
    /// The series that is being written, without its tag and length.
    content: Vec<u8>,
    /// The labels of an edited one, in one piece.
    labels: Vec<u8>,
    /// Of the labels of the series before, each with its numbers: the next one shares most of them.
    before: Vec<u8>,
    numbers: Vec<Numbered>,
    /// Those of its labels, packed.
    references: Vec<u8>,
    /// Those of an exemplar's labels.
    exemplar: Vec<u8>,
    part: Vec<u8>,
}

/// One label, which ends there in the label bytes, and the numbers of its name and value.
#[derive(Clone, Copy)]
struct Numbered {
    end: usize,
    name: u32,
    value: u32,
}

/// Series that have nothing but exemplars, by the labels they go on with.
type Strays<'a> = HashMap<Vec<u8>, Stray<'a>>;

#[derive(Default)]
struct Stray<'a> {
    tails: Vec<&'a [u8]>,
    /// A series of the same labels has samples and takes them.
    is_expected: bool,
    is_taken: bool,
}

impl Writer {
    fn clear(&mut self) {
        self.symbols.clear();
        self.long_texts.clear();
        self.series.clear();
        self.before.clear();
        self.numbers.clear();
    }

    fn size(&self) -> usize {
        let buffers = [
            &self.series,
            &self.content,
            &self.labels,
            &self.before,
            &self.references,
            &self.exemplar,
            &self.part,
        ];
        let bytes: usize = buffers.iter().map(|buffer| buffer.capacity()).sum();
        let texts = self.long_texts.capacity() * size_of::<((usize, usize), u32)>();
        bytes + texts + self.numbers.capacity() * size_of::<Numbered>() + self.symbols.size()
    }

    fn write<'a>(&mut self, scanned: &'a Scanned, pieces: impl IntoIterator<Item = Piece<'a>>) -> Result<(), Torn> {
        // Most writes have no exemplars.
        if scanned.valid().exemplars == 0 {
            return self.write_all(scanned, pieces, &mut Strays::new());
        }
        let pieces: Vec<Piece<'a>> = pieces.into_iter().collect();
        let mut strays = self.strays(scanned, &pieces)?;
        self.write_all(scanned, pieces, &mut strays)
    }

    fn strays<'a>(&mut self, scanned: &'a Scanned, pieces: &[Piece<'a>]) -> Result<Strays<'a>, Torn> {
        let mut strays = Strays::new();
        for piece in pieces.iter().filter(|piece| has_exemplars_only(piece.series())) {
            let labels = label_bytes(scanned, piece, &mut self.labels)?;
            let tail = tail_of(scanned, piece.series())?;
            strays.entry(labels.to_vec()).or_default().tails.push(tail);
        }
        if strays.is_empty() {
            return Ok(strays);
        }
        for piece in pieces.iter().filter(|piece| has_samples(piece.series())) {
            let labels = label_bytes(scanned, piece, &mut self.labels)?;
            if let Some(stray) = strays.get_mut(labels) {
                stray.is_expected = true;
            }
        }
        Ok(strays)
    }

    fn write_all<'a>(
        &mut self,
        scanned: &'a Scanned,
        pieces: impl IntoIterator<Item = Piece<'a>>,
        strays: &mut Strays<'a>,
    ) -> Result<(), Torn> {
        // Taken out, so that a series can be written while its labels are read.
        let mut whole = std::mem::take(&mut self.labels);
        for piece in pieces {
            let series = piece.series();
            let labels = label_bytes(scanned, &piece, &mut whole)?;
            let stray = strays.get_mut(labels).filter(|stray| stray.is_expected);
            let guests = match stray {
                Some(_) if has_exemplars_only(series) => continue,
                Some(stray) if has_samples(series) && !stray.is_taken => {
                    stray.is_taken = true;
                    &stray.tails[..]
                }
                _ => &[],
            };
            self.label_references(labels)?;
            self.write_series(scanned, series, guests)?;
        }
        self.labels = whole;
        Ok(())
    }

    /// Leaves the packed references of these labels.
    fn label_references(&mut self, labels: &[u8]) -> Result<(), Torn> {
        self.references.clear();
        let (mut at, mut same_from, mut number) = (0, 0, 0);
        while at < labels.len() {
            let (name, value, rest) = read_one(&labels[at..]).ok_or(Torn)?;
            let end = labels.len() - rest.len();
            let before = self.numbers.get(number).copied();
            let same = before.filter(|before| self.before.get(same_from..before.end) == labels.get(at..end));
            let numbered = Numbered {
                end,
                name: same.map_or_else(|| self.symbols.number(name), |same| same.name),
                value: same.map_or_else(|| self.symbols.number(value), |same| same.value),
            };
            varint::put(&mut self.references, numbered.name.into());
            varint::put(&mut self.references, numbered.value.into());
            same_from = before.map_or(usize::MAX, |before| before.end);
            match self.numbers.get_mut(number) {
                Some(place) => *place = numbered,
                None => self.numbers.push(numbered),
            }
            number += 1;
            at = end;
        }
        self.numbers.truncate(number);
        self.before.clear();
        self.before.extend_from_slice(labels);
        Ok(())
    }

    /// Writes one series, in two if it has samples and histograms. `guests` are tails whose exemplars it takes along.
    fn write_series(&mut self, scanned: &Scanned, series: &Series, guests: &[&[u8]]) -> Result<(), Torn> {
        let extra = extra_of(scanned, series)?;
        let (mut sample, mut histogram) = (0, 0);
        self.begin();
        let mut guests = guests.iter().flat_map(|tail| parts(tail));
        for part in parts(tail_of(scanned, series)?) {
            match part? {
                SeriesPart::Sample(content) => {
                    let start = extra.and_then(|extra| extra.sample_starts.get(sample).copied());
                    self.put_started(SAMPLE, content, &[SAMPLE_START], start);
                    sample += 1;
                }
                SeriesPart::Exemplar { labels, rest } => self.put_exemplar(labels, rest)?,
                SeriesPart::Histogram(content) => {
                    self.put_guests(&mut guests)?;
                    if sample > 0 && histogram == 0 {
                        self.end(extra.and_then(|extra| extra.metadata).as_ref());
                        self.begin();
                    }
                    let start = extra.and_then(|extra| extra.histogram_starts.get(histogram).copied());
                    self.put_started(HISTOGRAM, content, &HISTOGRAM_START, start);
                    histogram += 1;
                }
            }
        }
        self.put_guests(&mut guests)?;
        self.end(extra.and_then(|extra| extra.metadata).as_ref());
        Ok(())
    }

    fn put_guests<'a>(&mut self, guests: &mut impl Iterator<Item = Result<SeriesPart<'a>, Torn>>) -> Result<(), Torn> {
        for part in guests {
            if let SeriesPart::Exemplar { labels, rest } = part? {
                self.put_exemplar(labels, rest)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.content.clear();
        varint::put_bytes(&mut self.content, LABELS_REFS, &self.references);
    }

    /// A sample or a histogram, with its start timestamp if it has one.
    fn put_started(&mut self, tag: u8, content: &[u8], start_tag: &[u8], start: Option<i64>) {
        let Some(start) = start.filter(|start| *start != 0) else {
            return varint::put_bytes(&mut self.content, tag, content);
        };
        self.part.clear();
        self.part.extend_from_slice(content);
        self.part.extend_from_slice(start_tag);
        varint::put(&mut self.part, start as u64);
        varint::put_bytes(&mut self.content, tag, &self.part);
    }

    fn put_exemplar(&mut self, labels: &[u8], rest: &[u8]) -> Result<(), Torn> {
        self.exemplar.clear();
        for label in exemplar_labels(labels) {
            let (name, value) = label?;
            varint::put(&mut self.exemplar, self.symbols.number(name).into());
            varint::put(&mut self.exemplar, self.symbols.number(value).into());
        }
        self.part.clear();
        if !self.exemplar.is_empty() {
            varint::put_bytes(&mut self.part, LABELS_REFS, &self.exemplar);
        }
        self.part.extend_from_slice(rest);
        varint::put_bytes(&mut self.content, EXEMPLAR, &self.part);
        Ok(())
    }

    /// The number of a help text or a unit of the write. A long one is looked at once and known by its place from then on: every
    /// series may have it.
    fn said(&mut self, text: &[u8]) -> u32 {
        if text.len() < LONG_TEXT {
            return self.symbols.number(text);
        }
        let symbols = &mut self.symbols;
        let place = (text.as_ptr().addr(), text.len());
        *self.long_texts.entry(place).or_insert_with(|| symbols.number(text))
    }

    /// Metadata is always there, if only to say nothing, as Prometheus has it.
    fn end(&mut self, metadata: Option<&Metadata<'_>>) {
        self.part.clear();
        if let Some(metadata) = metadata {
            let (help, unit) = (self.said(metadata.help), self.said(metadata.unit));
            // An enum is an int32: a number below zero takes ten bytes.
            let kind = i64::from(metadata.kind) as u64;
            for (tag, value) in [
                (METADATA_TYPE, kind),
                (METADATA_HELP, help.into()),
                (METADATA_UNIT, unit.into()),
            ] {
                if value != 0 {
                    self.part.push(tag);
                    varint::put(&mut self.part, value);
                }
            }
        }
        varint::put_bytes(&mut self.content, METADATA, &self.part);
        varint::put_bytes(&mut self.series, SERIES, &self.content);
    }
}

fn has_samples(series: &Series) -> bool {
    series.samples > 0 || series.histograms > 0
}

fn has_exemplars_only(series: &Series) -> bool {
    !has_samples(series) && series.exemplars > 0
}

fn tail_of<'a>(scanned: &'a Scanned, series: &Series) -> Result<&'a [u8], Torn> {
    scanned.body().get(series.tail_range()).ok_or(Torn)
}

/// What a 2.0 write said of this series besides.
fn extra_of<'a>(scanned: &'a Scanned, series: &Series) -> Result<Option<Extra<'a>>, Torn> {
    let Some(extras) = scanned.extras() else {
        return Ok(None);
    };
    let place = scanned.series().partition_point(|one| one.start < series.start);
    match scanned.series().get(place) {
        Some(one) if one == series => Ok(extras.of(place)),
        _ => Err(Torn),
    }
}
