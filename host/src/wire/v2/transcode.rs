//! From a body of 2.0 to one of 1.0.
//!
//! Takes a measured body, gives its series as 1.0 has them. A usual one, which has its labels, samples and metadata, each once
//! and in this order, is written as it stands: what its references stand for, then its samples byte for byte, which are the
//! same in both versions but for a start timestamp. That its labels are in order is left to be proved where nobody knows it. Any
//! other is read to its parts and written canonically, or rejected. Never writes more than was measured.

use bytes::Bytes;

use super::canonical::{is_metadata, says_just};
use super::extras::{Besides, Extras};
use super::measure::Sizes;
use super::output::{Output, Placed};
use super::read::{ProvedTexts, Reader};
use super::symbols::Symbols;
use super::usual::Usual;
use crate::model::Totals;
use crate::wire::fields::Fields;
use crate::wire::series::{Rejects, ScanError, ScanLimits, Scanned, Series, Walked};
use crate::wire::v1::{self, SeriesParts};

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
    proved: ProvedTexts,
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
            proved: ProvedTexts::default(),
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
        self.reader.texts(&mut self.said, &mut self.proved)?;
        self.is_canonical &= is_metadata(usual.metadata, &self.said);
        self.said
            .sample_starts
            .extend(Some(usual.start).filter(|start| *start != 0));
        self.extras.add(self.found.len(), &self.said);
        Ok(())
    }

    pub(super) fn any(&mut self, series: &'a [u8]) -> Result<(), ScanError> {
        self.reader.series(series, &mut self.parts, &mut self.said)?;
        self.reader.texts(&mut self.said, &mut self.proved)?;
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
