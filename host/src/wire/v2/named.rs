//! The series of a body of 2.0 by their hashes, where that is light work, and none written out.
//!
//! Takes a decoded body as senders write nearly all of them, gives what each series is called as one of 1.0 and where it would
//! lie; or gives up, where anything is otherwise: whoever calls has it written out then. What the labels behind the metric's name
//! are called is found out once for all series that have them, by their references; so is each name. Labels are not proved:
//! they are what they seem to be, as where they are written out.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::at_once::{LEAST_SERIES, symbols};
use super::measure::{LIGHT_WRITTEN, Measuring, sizes};
use super::output::Output;
use super::rests::KnownRests;
use super::room::put_new_label;
use super::short::{ShortSeries, short_pair};
use super::symbols::Symbols;
use super::tags::SERIES;
use super::transcode::{LabelsAre, transcode};
use super::usual::Usual;
use crate::model::Totals;
use crate::wire::identity::{HashKey, PartHash, SeriesHash};
use crate::wire::series::{Rejects, ScanLimits, Scanned, Series, Walked};
use crate::wire::text::{Foresight, Unwritten, WrittenText};
use crate::wire::varint::read_bytes;
use crate::wire::{LIGHT_ELEMENTS, varint};

/// Bytes of labels that a series has. One with more is written out.
const MOST_LABELS: usize = 4096;
/// Names of metrics that are known at a time, at most.
const MOST_NAMES: usize = 1024;
/// Of a series.
const USUAL_LABELS: usize = 8;

#[derive(Debug)]
pub(super) struct Named {
    pub(super) scanned: Scanned,
    /// Of its series.
    pub(super) hashes: Vec<SeriesHash>,
    /// Bytes of memory that it takes besides the decoded body, and what it takes to write it out.
    pub(super) size: u64,
}

/// None where it is more than light work, where it is likely that it has to be written out, and where anything is unusual or wrong
/// with it.
pub(super) fn named(body: &Bytes, limits: &ScanLimits, key: &HashKey, foresight: &Arc<Foresight>) -> Option<Named> {
    if foresight.is_asked_for() {
        return None;
    }
    let named = tried(body, limits, key, foresight);
    if named.is_none() {
        foresight.was_in_vain();
    }
    named
}

fn tried(body: &Bytes, limits: &ScanLimits, key: &HashKey, foresight: &Arc<Foresight>) -> Option<Named> {
    let (symbols, at) = symbols(body)?;
    let mut namer = Namer::of((body, &symbols), key, (body.len() - at) / LEAST_SERIES + 1);
    let most = limits.max_series.min(LIGHT_ELEMENTS as u64);
    let mut next = at;
    while next < body.len() {
        next = match namer.short(next) {
            Some(end) => end,
            None => namer.any(next)?,
        };
        let is_light = namer.measuring.is_light() && namer.at as u64 <= LIGHT_WRITTEN;
        if !is_light || namer.series.len() as u64 > most {
            return None;
        }
    }
    let Namer {
        series,
        hashes,
        at: length,
        samples,
        measuring: Measuring { references, .. },
        ..
    } = namer;
    if length as u64 > limits.max_decoded_size || !symbols.are_utf8(body) {
        return None;
    }
    let count = series.len() as u64;
    let found = Walked {
        totals: Totals {
            series: count,
            samples,
            ..Totals::default()
        },
        series,
        rejected: Rejects::default(),
        metadata: 0,
    };
    let labels = (references / 2 + count + 1) as usize;
    // In room that grows by doubling.
    let held = 2 * count * (size_of::<SeriesHash>() + size_of::<Series>()) as u64;
    let size = Output::size(length as u64, labels, references, &symbols) + held;
    let unwritten = Unwritten {
        came_as: body.clone(),
        write,
        foresight: Arc::clone(foresight),
    };
    Some(Named {
        scanned: Scanned::unwritten(unwritten, length, found),
        hashes,
        size,
    })
}

/// It was seen that it can be.
fn write(body: &Bytes) -> Option<WrittenText> {
    let limits = ScanLimits::NONE;
    let sizes = sizes(body, &limits, false).ok()??;
    let scanned = transcode(body, &sizes, &limits, LabelsAre::Seeming).ok()?;
    Some(scanned.into_written())
}

struct Namer<'a> {
    texts: (&'a [u8], &'a Symbols),
    key: &'a HashKey,
    names: Vec<Name>,
    rests: KnownRests<PartHash>,
    /// Of each of those.
    extents: Vec<Extent>,
    /// Where labels stand to be hashed.
    scratch: [u8; MOST_LABELS],
    series: Vec<Series>,
    hashes: Vec<SeriesHash>,
    /// Where the next series would lie.
    at: usize,
    samples: u64,
    measuring: Measuring<'a>,
}

/// A first label, which nearly always is the name of a metric. What collides is forgotten.
#[derive(Clone, Copy)]
struct Name {
    label: (u32, u32),
    length: u32,
    hash: PartHash,
}

/// Bytes of labels as 1.0, and how many references there are to them.
#[derive(Clone, Copy, Default)]
struct Extent {
    length: u16,
    references: u16,
}

impl<'a> Namer<'a> {
    /// For about so many series.
    fn of(texts: (&'a [u8], &'a Symbols), key: &'a HashKey, series: usize) -> Self {
        let series = series.min(LIGHT_ELEMENTS);
        let names = series.next_power_of_two().clamp(2, MOST_NAMES);
        let rests = KnownRests::of(series * USUAL_LABELS);
        let none = Name {
            label: (u32::MAX, u32::MAX),
            length: 0,
            hash: PartHash::default(),
        };
        Self {
            texts,
            key,
            names: vec![none; names],
            extents: vec![Extent::default(); rests.count()],
            rests,
            scratch: [0; MOST_LABELS],
            series: Vec::with_capacity(series),
            hashes: Vec::with_capacity(series),
            at: 0,
            samples: 0,
            measuring: Measuring::of(texts.1),
        }
    }

    /// The series that begins at `start`, and where it ends. None if it is not a short one.
    #[inline(always)]
    fn short(&mut self, start: usize) -> Option<usize> {
        let short = ShortSeries::at(self.texts.0, start)?;
        let (slot, is_noted) = self.rests.slot(short.key);
        if !is_noted {
            let (hash, extent) = self.rest(short.rest)?;
            self.rests.note(slot, short.key, hash);
            *self.extents.get_mut(slot)? = extent;
        }
        let (rest, extent) = (*self.rests.get(slot)?, *self.extents.get(slot)?);
        let place = short.first.1 as usize & (self.names.len() - 1);
        let mut name = *self.names.get(place)?;
        if name.label != short.first {
            name = self.name(short.first)?;
            *self.names.get_mut(place)? = name;
        }
        self.hashes.push(SeriesHash::of(name.hash, rest));
        self.measuring.references += 2 + u64::from(extent.references);
        let labels = name.length as usize + usize::from(extent.length);
        self.place(labels, short.sample_length, 1);
        Some(start + short.length)
    }

    /// The same for any usual one that says nothing besides.
    #[cold]
    #[inline(never)]
    fn any(&mut self, start: usize) -> Option<usize> {
        let (series, end) = read_bytes(self.texts.0, start, SERIES)?;
        let usual = Usual::of(series).filter(|usual| !usual.says_something())?;
        let start = end - series.len();
        let references = start + usual.references.start..start + usual.references.end;
        let (length, count) = self.write(references)?;
        self.hashes.push(self.key.hash(self.scratch.get(..length)?));
        self.measuring.usual(count, usual.count, false);
        self.place(length, usual.samples.len(), usual.count);
        Some(end)
    }

    /// Of a series with so many bytes of labels and samples.
    #[inline(always)]
    fn place(&mut self, labels: usize, samples: usize, count: u32) {
        let length = labels + samples;
        let labels_start = self.at + 1 + varint::length(length as u64);
        self.series.push(Series {
            start: self.at as u32,
            labels_start: labels_start as u32,
            labels_end: (labels_start + labels) as u32,
            end: (labels_start + length) as u32,
            samples: count,
            histograms: 0,
            exemplars: 0,
        });
        self.samples += u64::from(count);
        self.at = labels_start + length;
    }

    /// None if it is so long that it is not hashed by itself.
    #[inline(never)]
    fn name(&mut self, label: (u32, u32)) -> Option<Name> {
        let length = put_new_label(&mut self.scratch, 0, &self.texts, label).ok()?;
        let written = self.scratch.get(..length)?;
        Some(Name {
            label,
            length: length as u32,
            hash: self.key.first(written)?,
        })
    }

    #[inline(never)]
    fn rest(&mut self, references: Range<usize>) -> Option<(PartHash, Extent)> {
        let (length, count) = self.write(references)?;
        let extent = Extent {
            length: length as u16,
            references: count as u16,
        };
        Some((self.key.part(self.scratch.get(..length)?), extent))
    }

    /// Writes the labels that these refer to, and says how many bytes that are, and how many references those were. None if they
    /// are too many, and where a reference is to nothing or longer than it need be.
    fn write(&mut self, references: Range<usize>) -> Option<(usize, u64)> {
        let (mut next, mut at, mut count) = (references.start, 0, 0);
        while next < references.end {
            let (name, value);
            (name, value, next) = short_pair(self.texts.0, next)?;
            at = put_new_label(&mut self.scratch, at, &self.texts, (name, value)).ok()?;
            count += 2;
        }
        (next == references.end).then_some((at, count))
    }
}
