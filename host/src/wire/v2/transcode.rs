//! From a body of 2.0 to one of 1.0.
//!
//! Takes a measured body, gives its series as 1.0 has them. A usual one, which has its labels, samples and metadata, each once
//! and in this order, is written as it stands: what its references stand for, then its samples byte for byte, which are the
//! same in both versions but for a start timestamp. That its labels are in order is left to be proved where nobody knows it. Any
//! other is read to its parts and written canonically, or rejected. Never writes more than was measured.

use std::ops::Range;

use bytes::Bytes;

use super::canonical::{is_metadata, says_just};
use super::extras::{Besides, Extras};
use super::measure::Sizes;
use super::output::{Output, Placed};
use super::read::Reader;
use super::symbols::Symbols;
use super::tags::{LABELS_REFS, METADATA, SAMPLE, SAMPLE_START};
use crate::model::Totals;
use crate::wire::fields::Fields;
use crate::wire::series::{Rejects, ScanError, ScanLimits, Scanned, Series, Walked};
use crate::wire::v1::tags::SAMPLE_VALUE;
use crate::wire::v1::{self, SeriesParts, is_usual_content, usual_length};
use crate::wire::varint;

/// Bytes of the timestamp of a usual sample, its tag included.
const USUAL_TIME: usize = 7;

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
    let mut transcoder = Transcoder::new(body, &sizes.symbols, out, sizes.series as usize);
    transcoder.is_canonical = sizes.is_canonical;
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        if number != 5 {
            continue;
        }
        let series = value.bytes("a series is not a message")?;
        match Usual::of(series).filter(|_| labels == LabelsAre::Seeming) {
            Some(usual) => {
                transcoder.usual(body.len() - fields.left() - series.len(), &usual)?;
            }
            None => transcoder.any(series)?,
        }
    }
    match labels {
        LabelsAre::Proved => transcoder.proved(limits),
        LabelsAre::Seeming => Ok(transcoder.done()),
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
    /// Of every series so far it is known where its labels lie before.
    is_usual: bool,
    /// The body may go on as it came, to who takes 2.0.
    is_canonical: bool,
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
            is_usual: true,
            is_canonical: true,
        }
    }

    /// As many from `start` in the body on as are short ones.
    pub(super) fn short(&mut self, start: usize, (most, fence): (u64, usize)) -> ShortRun {
        let Reader { body, symbols } = self.reader;
        let before = self.found.len();
        let most = (most as usize, fence);
        let (end, references) = self.out.put_short(&(body, symbols), start, most, &mut self.found);
        let count = (self.found.len() - before) as u64;
        self.totals.series += count;
        self.totals.samples += count;
        ShortRun { end, count, references }
    }

    /// One that begins at `start` in the body.
    #[inline(always)]
    pub(super) fn usual(&mut self, start: usize, usual: &Usual<'_>) -> Result<Placed, ScanError> {
        let Reader { body, symbols } = self.reader;
        if usual.says_something() {
            self.besides(usual)?;
        }
        let references = start + usual.references.start..start + usual.references.end;
        let written = self.out.put_series((body, symbols), references, usual.samples)?;
        if usual.start != 0 {
            self.out.shorten_sample(written.labels_end, usual.samples.len())?;
        }
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

    fn besides(&mut self, usual: &Usual<'_>) -> Result<(), ScanError> {
        self.said.clear();
        self.reader.metadata(usual.metadata, &mut self.said)?;
        self.reader.texts(&mut self.said)?;
        self.is_canonical &= is_metadata(usual.metadata, &self.said);
        self.said
            .sample_starts
            .extend(Some(usual.start).filter(|start| *start != 0));
        self.extras.add(self.found.len(), &self.said);
        Ok(())
    }

    pub(super) fn any(&mut self, series: &'a [u8]) -> Result<(), ScanError> {
        self.reader.series(series, &mut self.parts, &mut self.said)?;
        self.scratch.clear();
        self.is_usual = false;
        let written = self.parts.write(&mut self.scratch, &mut self.rejected);
        if let Some(written) = written {
            self.is_canonical &= says_just(self.reader, series, &self.scratch, &written, &self.said);
            let series = written.moved(self.out.at());
            self.out.put_all(&self.scratch)?;
            self.extras.add(self.found.len(), &self.said);
            self.totals += series.totals();
            self.found.push(series);
        }
        Ok(())
    }

    /// Labels of usual series are what they seem to be.
    pub(super) fn done(self) -> Scanned {
        let Reader { body, symbols } = self.reader;
        let is_canonical = self.is_canonical && self.out.is_canonical() && symbols.are_utf8(body);
        let (body, rows) = self.out.done();
        let rows = if self.is_usual { rows } else { Vec::new() };
        let found = Walked {
            series: self.found,
            totals: self.totals,
            rejected: self.rejected,
            metadata: self.extras.totals().metadata,
        };
        Scanned::transcoded(Bytes::from_owner(body), found, is_canonical, self.extras.if_any(), rows)
    }

    fn proved(self, limits: &ScanLimits) -> Result<Scanned, ScanError> {
        let scanned = self.done();
        // No second opinion, but the one that counts.
        let proved = v1::prove(scanned.body(), limits)?;
        if proved.series != scanned.series() || !proved.rejected.is_empty() {
            return Err(ScanError::NotRewritten);
        }
        Ok(scanned)
    }
}

/// What became of short series.
pub(super) struct ShortRun {
    /// Where the last one ends in the body.
    pub(super) end: usize,
    pub(super) count: u64,
    pub(super) references: u64,
}

/// A series as senders write nearly all of them: labels, samples without a start timestamp or one with it, metadata.
pub(super) struct Usual<'a> {
    /// Where they lie in the series.
    references: Range<usize>,
    /// With their tags and lengths.
    samples: &'a [u8],
    pub(super) count: u32,
    /// Of a single sample, which then is without it, but has the length it had with it. 0 if there is none.
    start: i64,
    metadata: &'a [u8],
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
        let (first, end) = varint::read_extent(series, 1)?;
        let references = first..end;
        let mut count = 0;
        let mut at = end;
        while let Some(length) = usual_length(series.get(at..)?) {
            count += 1;
            at += length;
        }
        let mut samples = series.get(end..at)?;
        let mut start = 0;
        if count == 0 {
            let length;
            (samples, start, length) = Self::started(series.get(end..)?)?;
            (count, at) = (1, end + length);
        }
        let metadata = match series.get(at..)? {
            [] | [METADATA, 0] => &[],
            [METADATA, ..] => {
                let (start, end) = varint::read_extent(series, at + 1)?;
                series.get(start..end).filter(|_| end == series.len())?
            }
            _ => return None,
        };
        Some(Self {
            references,
            samples,
            count,
            start,
            metadata,
        })
    }

    /// The sample that `bytes` begin with, up to its start timestamp; that; and where the sample ends.
    #[inline(always)]
    fn started(bytes: &'a [u8]) -> Option<(&'a [u8], i64, usize)> {
        let [SAMPLE, length @ ..0x80, first, ..] = *bytes else {
            return None;
        };
        let value = if first == SAMPLE_VALUE { 9 } else { 0 };
        let (sample, started) = bytes
            .get(..2 + usize::from(length))?
            .split_at_checked(2 + value + USUAL_TIME)?;
        let (start, end) = varint::read(started, 1)?;
        let is_it = started.first() == Some(&SAMPLE_START) && end == started.len() && start != 0;
        (is_it && is_usual_content(&sample[2..])).then_some((sample, start as i64, 2 + usize::from(length)))
    }

    /// Bytes of the start timestamp that is left out.
    pub(super) fn start_length(&self) -> usize {
        match self.start {
            0 => 0,
            start => 1 + varint::length(start as u64),
        }
    }

    pub(super) fn says_something(&self) -> bool {
        self.start != 0 || !self.metadata.is_empty()
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
            start: 0,
            metadata: &[],
        })
    }
}
