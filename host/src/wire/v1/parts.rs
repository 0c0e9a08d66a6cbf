//! One series by its parts, as any legal message has them, and the canonical series that they make.
//!
//! Takes labels, samples, exemplars and histograms in the order they are met, says whether they make a series, writes it.
//! Whatever a protocol says, this is what its series are held against and become. Never keeps the parts of more than one.

use super::canonical::{METRIC_NAME, is_ascii};
use super::histogram;
use super::labels::{self, put_label};
use super::tags::{
    EXEMPLAR, EXEMPLAR_LABEL, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, HISTOGRAM, NAME, SAMPLE, SAMPLE_TIMESTAMP,
    SAMPLE_VALUE, SERIES, VALUE,
};
use super::write::put_value;
use crate::model::Totals;
use crate::wire::series::{InvalidSeries, Rejects, ScanError, Series};
use crate::wire::{Shown, varint};

/// The parts of one series. The buffers are used again for the next one.
#[derive(Default)]
pub(in crate::wire) struct SeriesParts<'a> {
    /// Names and values, empty values left out.
    labels: Vec<(&'a [u8], &'a [u8])>,
    samples: Vec<u8>,
    exemplars: Vec<u8>,
    histograms: Vec<u8>,
    totals: Totals,
    /// With the name of the label at fault, if it is one.
    invalid: Option<(InvalidSeries, Option<&'a [u8]>)>,
    scratch: Vec<u8>,
    /// Histograms of this series and of those before it.
    histograms_of_all: u64,
}

impl<'a> SeriesParts<'a> {
    /// Begins the next series.
    pub(in crate::wire) fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        self.exemplars.clear();
        self.histograms.clear();
        self.totals = Totals {
            series: 1,
            ..Totals::default()
        };
        self.invalid = None;
    }

    /// If several reasons apply, the one that [`InvalidSeries`] lists first stands.
    pub(in crate::wire) fn reject(&mut self, reason: InvalidSeries, at_fault: Option<&'a [u8]>) {
        if self.invalid.is_none_or(|(other, _)| reason < other) {
            self.invalid = Some((reason, at_fault));
        }
    }

    /// # Errors
    /// `TooManyLabels`.
    pub(in crate::wire) fn add_label(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), ScanError> {
        // An empty value is an absent label, whatever its name (Prometheus data model).
        if value.is_empty() {
            return Ok(());
        }
        if !(is_utf8(name) && is_utf8(value)) {
            self.reject(InvalidSeries::InvalidUtf8, Some(name));
        }
        if self.labels.len() >= labels::MAX_COUNT {
            return Err(ScanError::TooManyLabels {
                limit: labels::MAX_COUNT,
            });
        }
        self.labels.push((name, value));
        Ok(())
    }

    pub(in crate::wire) fn add_sample(&mut self, value: u64, timestamp: u64) {
        self.totals.samples += 1;
        self.scratch.clear();
        put_value(&mut self.scratch, (SAMPLE_VALUE, value), (SAMPLE_TIMESTAMP, timestamp));
        varint::put_bytes(&mut self.samples, SAMPLE, &self.scratch);
    }

    /// Begins an exemplar, which ends with [`SeriesParts::end_exemplar`].
    pub(in crate::wire) fn begin_exemplar(&mut self) {
        self.totals.exemplars += 1;
        self.scratch.clear();
    }

    pub(in crate::wire) fn add_exemplar_label(&mut self, name: &[u8], value: &[u8]) {
        if !(is_utf8(name) && is_utf8(value)) {
            self.reject(InvalidSeries::InvalidUtf8, None);
        }
        put_exemplar_label(&mut self.scratch, name, value);
    }

    pub(in crate::wire) fn end_exemplar(&mut self, value: u64, timestamp: u64) {
        put_value(
            &mut self.scratch,
            (EXEMPLAR_VALUE, value),
            (EXEMPLAR_TIMESTAMP, timestamp),
        );
        varint::put_bytes(&mut self.exemplars, EXEMPLAR, &self.scratch);
    }

    /// The bytes of a `Histogram`. A field that 1.0 does not have is left out.
    ///
    /// # Errors
    /// `TooManyHistograms` and `Malformed`.
    pub(in crate::wire) fn add_histogram(&mut self, histogram: &[u8]) -> Result<(), ScanError> {
        self.totals.histograms += 1;
        self.histograms_of_all += 1;
        if self.histograms_of_all > histogram::MAX_COUNT {
            return Err(histogram::too_many());
        }
        self.scratch.clear();
        match histogram::rewrite(histogram, &mut self.scratch)? {
            Ok(()) => varint::put_bytes(&mut self.histograms, HISTOGRAM, &self.scratch),
            Err(histogram::Inconsistent) => self.reject(InvalidSeries::InvalidHistogram, None),
        }
        Ok(())
    }

    /// Appends the series that has all the parts, or counts it among the rejected. Where it lies, if it does.
    pub(in crate::wire) fn write(&mut self, out: &mut Vec<u8>, rejected: &mut Rejects) -> Option<Series> {
        self.check_labels();
        if let Some((reason, at_fault)) = self.invalid {
            let labels = || self.labels.iter().copied();
            rejected.add(reason, self.totals, || Shown::of(labels(), at_fault));
            return None;
        }
        self.scratch.clear();
        for (name, value) in &self.labels {
            put_label(&mut self.scratch, name, value);
        }
        let parts = [&self.scratch, &self.samples, &self.exemplars, &self.histograms];
        let start = out.len();
        out.push(SERIES);
        varint::put(out, parts.iter().map(|part| part.len() as u64).sum());
        let labels_start = out.len();
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Some(Series {
            start: start as u32,
            labels_start: labels_start as u32,
            labels_end: (labels_start + self.scratch.len()) as u32,
            end: out.len() as u32,
            samples: self.totals.samples as u32,
            histograms: self.totals.histograms as u32,
            exemplars: self.totals.exemplars as u32,
        })
    }

    fn check_labels(&mut self) {
        self.labels.sort_unstable_by_key(|(name, _)| *name);
        let mut pairs = self.labels.windows(2);
        if self.labels.first().is_some_and(|(name, _)| name.is_empty()) {
            self.reject(InvalidSeries::EmptyLabelName, Some(b""));
        } else if let Some(pair) = pairs.find(|pair| pair[0].0 == pair[1].0) {
            let twice = pair[0].0;
            self.reject(InvalidSeries::DuplicateLabel, Some(twice));
        } else if !self.labels.iter().any(|(name, _)| name == METRIC_NAME) {
            self.reject(InvalidSeries::MissingMetricName, None);
        }
    }
}

/// Nearly every text is ASCII, which is found out in less time.
pub(in crate::wire) fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

fn put_exemplar_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let parts = [(NAME, name), (VALUE, value)]
        .into_iter()
        .filter(|(_, part)| !part.is_empty());
    let length = |part: &[u8]| 1 + varint::length(part.len() as u64) + part.len();
    out.push(EXEMPLAR_LABEL);
    varint::put(out, parts.clone().map(|(_, part)| length(part) as u64).sum());
    parts.for_each(|(tag, part)| varint::put_bytes(out, tag, part));
}
