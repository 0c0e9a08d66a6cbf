//! What a 2.0 write says of its series that has no place in a canonical body: metadata and start timestamps.
//!
//! Takes what a walk meets on its way, gives it by the place of a series among the scanned ones. Holds nothing where there
//! is nothing: an empty metadata message, which Prometheus always sends, says nothing, nor does a start of zero. Never
//! copies a text: help and unit lie in the body as it came.

use std::ops::Range;

use bytes::Bytes;

/// Of one write, of those of its series that have any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// The decoded 2.0 body, which holds the texts.
    body: Bytes,
    /// Ascending by place.
    series: Vec<Entry>,
    /// Of the samples of a series, then of its histograms.
    starts: Vec<i64>,
    totals: ExtraTotals,
}

/// How much of each kind there is. An upstream that takes 1.0 is sent none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtraTotals {
    /// Series with a type, a help text or a unit.
    pub metadata: u64,
    /// Samples with a start timestamp.
    pub sample_starts: u64,
    /// Histograms with one.
    pub histogram_starts: u64,
}

/// What is said of one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extra<'e> {
    pub metadata: Option<Metadata<'e>>,
    /// In milliseconds since 1970, 0 where there is none: as many as the series has samples, in their order, or none at
    /// all if none of its samples and histograms has one.
    pub sample_starts: &'e [i64],
    /// The same of its histograms.
    pub histogram_starts: &'e [i64],
}

/// Of a series' metric. At least one of the three says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'e> {
    /// `Metadata.type`, whatever number was sent: 0 is unspecified.
    pub kind: i32,
    /// UTF-8; empty where there is none.
    pub help: &'e [u8],
    /// UTF-8; empty where there is none.
    pub unit: &'e [u8],
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    place: u32,
    kind: i32,
    help: Range<u32>,
    unit: Range<u32>,
    /// Where its start timestamps are in `starts`, and how many of them are its samples'.
    starts: Range<u32>,
    of_samples: u32,
}

/// What was read of one series, before it is known whether the series is valid. Used again for the next one.
#[derive(Debug, Default)]
pub(in crate::wire) struct Besides {
    pub(super) kind: i32,
    pub(super) help_ref: u32,
    pub(super) unit_ref: u32,
    /// Where the texts lie.
    pub(super) help: Range<u32>,
    pub(super) unit: Range<u32>,
    /// Of every sample, 0 where it has none.
    pub(super) sample_starts: Vec<i64>,
    pub(super) histogram_starts: Vec<i64>,
}

impl Besides {
    pub(super) fn clear(&mut self) {
        (self.kind, self.help_ref, self.unit_ref) = Default::default();
        (self.help, self.unit) = Default::default();
        self.sample_starts.clear();
        self.histogram_starts.clear();
    }

    fn has_metadata(&self) -> bool {
        self.kind != 0 || !self.help.is_empty() || !self.unit.is_empty()
    }
}

impl Extras {
    /// Of a decoded 2.0 body.
    pub(super) fn of_body(body: &Bytes) -> Self {
        Self {
            body: body.clone(),
            ..Self::default()
        }
    }

    /// What is said of the series at `place`, which is behind all that were added before.
    pub(super) fn add(&mut self, place: usize, said: &Besides) {
        let some = |starts: &[i64]| starts.iter().filter(|start| **start != 0).count() as u64;
        let (samples, histograms) = (some(&said.sample_starts), some(&said.histogram_starts));
        let has_metadata = said.has_metadata();
        self.totals.metadata += u64::from(has_metadata);
        self.totals.sample_starts += samples;
        self.totals.histogram_starts += histograms;
        let first = self.starts.len();
        if samples + histograms > 0 {
            self.starts.extend_from_slice(&said.sample_starts);
            self.starts.extend_from_slice(&said.histogram_starts);
        } else if !has_metadata {
            return;
        }
        let of_samples = (self.starts.len() - first).min(said.sample_starts.len());
        self.series.push(Entry {
            place: place as u32,
            kind: said.kind,
            help: said.help.clone(),
            unit: said.unit.clone(),
            starts: first as u32..self.starts.len() as u32,
            of_samples: of_samples as u32,
        });
    }

    /// None where nothing is said.
    pub(super) fn if_any(self) -> Option<Box<Self>> {
        (!self.series.is_empty()).then(|| Box::new(self))
    }

    /// What is said of the series at this place of [`Scanned::series`](crate::wire::Scanned::series).
    pub fn of(&self, place: usize) -> Option<Extra<'_>> {
        let at = self.series.binary_search_by_key(&place, |entry| entry.place as usize);
        at.ok()
            .and_then(|at| self.series.get(at))
            .map(|entry| self.extra(entry))
    }

    /// All there is, by the places of the series, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Extra<'_>)> {
        self.series
            .iter()
            .map(|entry| (entry.place as usize, self.extra(entry)))
    }

    pub fn totals(&self) -> ExtraTotals {
        self.totals
    }

    fn extra(&self, entry: &Entry) -> Extra<'_> {
        let starts = &self.starts[entry.starts.start as usize..entry.starts.end as usize];
        let (sample_starts, histogram_starts) = starts.split_at(entry.of_samples as usize);
        Extra {
            metadata: self.metadata(entry),
            sample_starts,
            histogram_starts,
        }
    }

    fn metadata(&self, entry: &Entry) -> Option<Metadata<'_>> {
        let text = |range: &Range<u32>| &self.body[range.start as usize..range.end as usize];
        let metadata = Metadata {
            kind: entry.kind,
            help: text(&entry.help),
            unit: text(&entry.unit),
        };
        let says_something = metadata.kind != 0 || !metadata.help.is_empty() || !metadata.unit.is_empty();
        says_something.then_some(metadata)
    }
}
