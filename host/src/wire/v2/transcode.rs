//! From a body of 2.0 to one of 1.0.
//!
//! Takes a measured body, gives its series as 1.0 has them. A usual one, which has its labels, samples without a start and
//! metadata, each once and in this order, is written as it stands: what its references stand for, then its samples byte for
//! byte, which are the same in both versions. That its labels are in order is left to be proved where nobody knows it. Any
//! other is read to its parts and written canonically, or rejected. Never writes more than was measured.

use bytes::Bytes;

use super::extras::{Besides, Extras};
use super::measure::Measured;
use super::output::Output;
use super::read::Reader;
use super::symbols::{References, odd_number};
use super::tags::{LABELS_REFS, METADATA};
use crate::model::Totals;
use crate::wire::fields::Fields;
use crate::wire::series::{Rejects, ScanError, Scanned, Series, Walked};
use crate::wire::v1::{self, SeriesParts, is_usual_content, tags};
use crate::wire::varint;

/// How much is done about labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LabelsAre {
    Proved,
    /// Those of usual series are taken for what they seem to be; the caller has to prove them.
    Seeming,
}

/// Writes all series of a body.
///
/// # Errors
/// `Malformed`, `TooManyHistograms`, `TooManyLabels`.
pub(super) fn transcode(measured: &Measured, labels: LabelsAre) -> Result<Scanned, ScanError> {
    let body: &[u8] = &measured.body;
    let mut transcoder = Transcoder {
        reader: Reader {
            body,
            symbols: &measured.symbols,
        },
        out: Output::new(measured.written, &measured.symbols),
        scratch: Vec::new(),
        found: Vec::with_capacity(measured.series.len()),
        totals: Totals::default(),
        rejected: Rejects::default(),
        parts: SeriesParts::default(),
        said: Besides::default(),
        extras: Extras::of_body(&measured.body),
    };
    let mut is_plain = measured.is_plain;
    let mut lengths = measured.series.iter();
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        if number != 5 {
            continue;
        }
        let series = value.bytes("a series is not a message")?;
        let length = *lengths.next().ok_or(ScanError::NotRewritten)?;
        let usual = Usual::of(series).filter(|_| labels == LabelsAre::Seeming);
        match usual {
            Some(usual) => transcoder.usual(&usual, length)?,
            None => {
                is_plain = false;
                transcoder.any(series)?;
            }
        }
    }
    transcoder.done(measured, labels, is_plain)
}

struct Transcoder<'a> {
    reader: Reader<'a>,
    out: Output,
    scratch: Vec<u8>,
    found: Vec<Series>,
    totals: Totals,
    rejected: Rejects,
    parts: SeriesParts<'a>,
    said: Besides,
    extras: Extras,
}

impl<'a> Transcoder<'a> {
    /// Content of a `length` that was measured.
    fn usual(&mut self, usual: &Usual<'_>, length: u32) -> Result<(), ScanError> {
        let Reader { body, symbols } = self.reader;
        if !usual.metadata.is_empty() {
            self.said.clear();
            self.reader.metadata(usual.metadata, &mut self.said)?;
            self.reader.texts(&mut self.said)?;
            self.extras.add(self.found.len(), &self.said);
        }
        let start = self.out.at();
        self.out.put(tags::SERIES)?;
        self.out.put_varint(length.into())?;
        let labels_start = self.out.at();
        let mut references = References(usual.references);
        while let Some(name) = references.next()? {
            let value = references.next()?.ok_or_else(odd_number)?;
            self.out.put_label(body, symbols, name, value)?;
        }
        let labels_end = self.out.at();
        self.out.put_all(usual.samples)?;
        let end = self.out.at();
        if end - labels_start != length as usize {
            return Err(ScanError::NotRewritten);
        }
        self.totals.series += 1;
        self.totals.samples += u64::from(usual.count);
        self.found.push(Series {
            start: start as u32,
            labels_start: labels_start as u32,
            labels_end: labels_end as u32,
            end: end as u32,
            samples: usual.count,
            histograms: 0,
            exemplars: 0,
        });
        Ok(())
    }

    fn any(&mut self, series: &[u8]) -> Result<(), ScanError> {
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

    fn done(self, measured: &Measured, labels: LabelsAre, is_plain: bool) -> Result<Scanned, ScanError> {
        let body = self.out.done();
        let mut found = Walked {
            series: self.found,
            totals: self.totals,
            rejected: self.rejected,
            metadata: self.extras.totals().metadata,
        };
        if labels == LabelsAre::Proved {
            // No second opinion, but the one that counts.
            let proved = v1::prove(&body, &measured.limits)?;
            if proved.series != found.series || !proved.rejected.is_empty() {
                return Err(ScanError::NotRewritten);
            }
            found.series = proved.series;
        }
        Ok(Scanned::transcoded(
            Bytes::from(body),
            found,
            is_plain,
            self.extras.if_any(),
        ))
    }
}

/// A series as senders write nearly all of them.
struct Usual<'a> {
    references: &'a [u8],
    /// With their tags and lengths.
    samples: &'a [u8],
    count: u32,
    metadata: &'a [u8],
}

impl<'a> Usual<'a> {
    #[inline(always)]
    fn of(series: &'a [u8]) -> Option<Self> {
        if *series.first()? != LABELS_REFS {
            return None;
        }
        let (start, end) = varint::read_extent(series, 1)?;
        let references = series.get(start..end)?;
        let mut count = 0;
        let mut at = end;
        while let Some(&[tags::SAMPLE, length @ ..0x80]) = series.get(at..at + 2) {
            let next = at + 2 + usize::from(length);
            if !is_usual_content(series.get(at + 2..next)?) {
                return None;
            }
            count += 1;
            at = next;
        }
        let samples = series.get(end..at)?;
        let metadata = match series.get(at..)? {
            [] => &[],
            [METADATA, ..] => {
                let (start, end) = varint::read_extent(series, at + 1)?;
                series.get(start..end).filter(|_| end == series.len())?
            }
            _ => return None,
        };
        (count > 0).then_some(Self {
            references,
            samples,
            count,
            metadata,
        })
    }
}
