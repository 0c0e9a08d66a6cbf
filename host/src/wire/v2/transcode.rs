//! From a body of 2.0 to one of 1.0.
//!
//! Takes a measured body, gives its series as 1.0 has them. A usual one, which has its labels, samples without a start and
//! metadata, each once and in this order, is written as it stands: what its references stand for, then its samples byte for
//! byte, which are the same in both versions. That its labels are in order is left to be proved where nobody knows it. Any
//! other is read to its parts and written canonically, or rejected. Never writes more than was measured.

use std::ops::Range;

use bytes::Bytes;

use super::extras::{Besides, Extras};
use super::measure::Sizes;
use super::output::{Output, Placed};
use super::read::Reader;
use super::symbols::Symbols;
use super::tags::{LABELS_REFS, METADATA};
use crate::model::Totals;
use crate::wire::fields::Fields;
use crate::wire::series::{Rejects, ScanError, ScanLimits, Scanned, Series, Walked};
use crate::wire::v1::{self, SeriesParts, usual_length};
use crate::wire::varint;

/// How much is done about labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelsAre {
    Proved,
    /// Those of usual series are taken for what they seem to be; the caller has to prove them.
    Seeming,
}

/// Writes all series of a body that was measured.
///
/// # Errors
/// `Malformed`, `TooManyHistograms`, `TooManyLabels`.
pub(super) fn transcode(
    body: &Bytes,
    sizes: &Sizes,
    limits: &ScanLimits,
    labels: LabelsAre,
) -> Result<Scanned, ScanError> {
    let out = Output::new(sizes.written, sizes.labels(), &sizes.symbols);
    let mut transcoder = Transcoder::new(body, &sizes.symbols, out, sizes.series.len());
    let mut lengths = sizes.series.iter();
    let mut is_plain = sizes.is_plain;
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        if number != 5 {
            continue;
        }
        let series = value.bytes("a series is not a message")?;
        let length = *lengths.next().ok_or(ScanError::NotRewritten)?;
        let usual = Usual::of(series).filter(|_| labels == LabelsAre::Seeming);
        match usual {
            Some(usual) => {
                let written = transcoder.usual(series, &usual)?;
                if written.end - written.labels_start != length as usize {
                    return Err(ScanError::NotRewritten);
                }
            }
            None => {
                is_plain = false;
                transcoder.any(series)?;
            }
        }
    }
    match labels {
        LabelsAre::Proved => transcoder.proved(is_plain, limits),
        LabelsAre::Seeming => Ok(transcoder.done(is_plain)),
    }
}

pub(super) struct Transcoder<'a> {
    reader: Reader<'a>,
    pub(super) out: Output,
    scratch: Vec<u8>,
    found: Vec<Series>,
    totals: Totals,
    rejected: Rejects,
    parts: SeriesParts<'a>,
    said: Besides,
    extras: Extras,
}

impl<'a> Transcoder<'a> {
    pub(super) fn new(body: &'a Bytes, symbols: &'a Symbols, out: Output, series: usize) -> Self {
        Self {
            reader: Reader { body, symbols },
            out,
            scratch: Vec::new(),
            found: Vec::with_capacity(series),
            totals: Totals::default(),
            rejected: Rejects::default(),
            parts: SeriesParts::default(),
            said: Besides::default(),
            extras: Extras::of_body(body),
        }
    }

    #[inline(always)]
    pub(super) fn usual(&mut self, series: &[u8], usual: &Usual<'_>) -> Result<Placed, ScanError> {
        let Reader { body, symbols } = self.reader;
        if !usual.metadata.is_empty() {
            self.said.clear();
            self.reader.metadata(usual.metadata, &mut self.said)?;
            self.reader.texts(&mut self.said)?;
            self.extras.add(self.found.len(), &self.said);
        }
        let references = usual.references.clone();
        let written = self
            .out
            .put_series((body, symbols), series, references, usual.samples)?;
        self.totals.series += 1;
        self.totals.samples += u64::from(usual.count);
        self.found.push(Series {
            start: written.start as u32,
            labels_start: written.labels_start as u32,
            labels_end: written.labels_end as u32,
            end: written.end as u32,
            samples: usual.count,
            histograms: 0,
            exemplars: 0,
        });
        Ok(written)
    }

    pub(super) fn any(&mut self, series: &'a [u8]) -> Result<(), ScanError> {
        self.reader.series(series, &mut self.parts, &mut self.said)?;
        self.scratch.clear();
        if let Some(series) = self.parts.write(&mut self.scratch, &mut self.rejected) {
            let series = series.moved(self.out.at());
            self.out.put_all(&self.scratch)?;
            self.extras.add(self.found.len(), &self.said);
            self.totals += series.totals();
            self.found.push(series);
        }
        Ok(())
    }

    /// Labels of usual series are what they seem to be.
    pub(super) fn done(self, is_plain: bool) -> Scanned {
        let (body, rows) = self.out.done();
        // Of others nothing was noted.
        let rows = if is_plain { rows } else { Vec::new() };
        let found = Walked {
            series: self.found,
            totals: self.totals,
            rejected: self.rejected,
            metadata: self.extras.totals().metadata,
        };
        Scanned::transcoded(Bytes::from_owner(body), found, is_plain, self.extras.if_any(), rows)
    }

    fn proved(self, is_plain: bool, limits: &ScanLimits) -> Result<Scanned, ScanError> {
        let scanned = self.done(is_plain);
        // No second opinion, but the one that counts.
        let proved = v1::prove(scanned.body(), limits)?;
        if proved.series != scanned.series() || !proved.rejected.is_empty() {
            return Err(ScanError::NotRewritten);
        }
        Ok(scanned)
    }
}

/// A series as senders write nearly all of them.
pub(super) struct Usual<'a> {
    /// Where they lie in the series.
    references: Range<usize>,
    /// With their tags and lengths.
    samples: &'a [u8],
    pub(super) count: u32,
    pub(super) metadata: &'a [u8],
}

impl<'a> Usual<'a> {
    #[inline(always)]
    pub(super) fn of(series: &'a [u8]) -> Option<Self> {
        if let Some(short) = Self::short(series) {
            return Some(short);
        }
        if *series.first()? != LABELS_REFS {
            return None;
        }
        let (start, end) = varint::read_extent(series, 1)?;
        let mut count = 0;
        let mut at = end;
        while let Some(length) = usual_length(series.get(at..)?) {
            count += 1;
            at += length;
        }
        let samples = series.get(end..at)?;
        let metadata = match series.get(at..)? {
            [] | [METADATA, 0] => &[],
            [METADATA, ..] => {
                let (start, end) = varint::read_extent(series, at + 1)?;
                series.get(start..end).filter(|_| end == series.len())?
            }
            _ => return None,
        };
        (count > 0).then_some(Self {
            references: start..end,
            samples,
            count,
            metadata,
        })
    }

    /// One sample, and nothing else that takes more than a byte to say its length.
    #[inline(always)]
    fn short(series: &'a [u8]) -> Option<Self> {
        let [LABELS_REFS, length @ ..0x80, ..] = *series else {
            return None;
        };
        let end = 2 + usize::from(length);
        let behind = series.get(end..)?;
        let (samples, rest) = behind.split_at_checked(usual_length(behind)?)?;
        matches!(rest, [] | [METADATA, 0]).then_some(Self {
            references: 2..end,
            samples,
            count: 1,
            metadata: &[],
        })
    }
}
