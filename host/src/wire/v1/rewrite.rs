//! Any legal body, written anew in canonical form.
//!
//! Takes a body that is not canonical, gives one that is, with the series that are invalid left out and counted.
//! Reads as protobuf prescribes: fields in any order, the last of a repeated scalar wins, unknown fields are skipped.
//! Never builds the message: memory stays in proportion to the body, and series are counted before any is written.

use super::canonical::{METRIC_NAME, is_ascii};
use super::histogram;
use super::labels::{self, put_label};
use super::tags::{
    EXEMPLAR, EXEMPLAR_LABEL, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE, HISTOGRAM, NAME, SAMPLE, SAMPLE_TIMESTAMP,
    SAMPLE_VALUE, SERIES, VALUE,
};
use super::write::put_value;
use crate::model::Totals;
use crate::wire::fields::Fields;
use crate::wire::series::{InvalidSeries, Rejects, ScanError, ScanLimits};
use crate::wire::{Shown, varint};

pub(super) struct Rewritten {
    pub(super) body: Vec<u8>,
    pub(super) rejected: Rejects,
    pub(super) metadata: u64,
}

/// Writes `body` anew.
///
/// # Errors
/// `TooManySeries` before anything is built, `TooManyHistograms`, `TooManyLabels`, `Malformed` where the body is no protobuf.
pub(super) fn rewrite(body: &[u8], limits: &ScanLimits) -> Result<Rewritten, ScanError> {
    check_count(body, limits)?;
    let mut rewritten = Rewritten {
        body: Vec::with_capacity(body.len()),
        rejected: Rejects::default(),
        metadata: 0,
    };
    let mut series = Parts::default();
    let mut fields = Fields::new(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                series.read(value.bytes("a series is not a message")?)?;
                match series.invalid {
                    Some((reason, at_fault)) => rewritten.rejected.add(reason, series.totals, || {
                        Shown::of(series.labels.iter().copied(), at_fault)
                    }),
                    None => series.write(&mut rewritten.body),
                }
            }
            3 => {
                value.bytes("metadata is not a message")?;
                rewritten.metadata += 1;
            }
            _ => {}
        }
    }
    Ok(rewritten)
}

/// A million empty series fit in 100 KB of snappy; counting them costs no memory.
fn check_count(body: &[u8], limits: &ScanLimits) -> Result<(), ScanError> {
    let mut count = 0;
    let mut fields = Fields::new(body);
    while let Some((number, _)) = fields.next()? {
        count += u64::from(number == 1);
        if count > limits.max_series {
            return Err(ScanError::TooManySeries {
                limit: limits.max_series,
            });
        }
    }
    Ok(())
}

/// The parts of one series. The buffers are used again for the next one.
#[derive(Default)]
struct Parts<'a> {
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

impl<'a> Parts<'a> {
    fn read(&mut self, series: &'a [u8]) -> Result<(), ScanError> {
        self.labels.clear();
        self.samples.clear();
        self.exemplars.clear();
        self.histograms.clear();
        self.totals = Totals {
            series: 1,
            ..Totals::default()
        };
        self.invalid = None;
        let mut fields = Fields::new(series);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => self.read_label(value.bytes("a label is not a message")?)?,
                2 => self.read_sample(value.bytes("a sample is not a message")?)?,
                3 => self.read_exemplar(value.bytes("an exemplar is not a message")?)?,
                4 => self.read_histogram(value.bytes("a histogram is not a message")?)?,
                _ => {}
            }
        }
        self.check_labels();
        Ok(())
    }

    /// If several reasons apply, the one that [`InvalidSeries`] lists first stands.
    fn reject(&mut self, reason: InvalidSeries, at_fault: Option<&'a [u8]>) {
        if self.invalid.is_none_or(|(other, _)| reason < other) {
            self.invalid = Some((reason, at_fault));
        }
    }

    fn read_label(&mut self, label: &'a [u8]) -> Result<(), ScanError> {
        let (name, value) = label_parts(label)?;
        // An empty value is an absent label, whatever its name (Prometheus data model).
        if value.is_empty() {
            return Ok(());
        }
        let utf8 = is_ascii(label) || (is_utf8(name) && is_utf8(value));
        if !utf8 {
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

    fn read_sample(&mut self, sample: &[u8]) -> Result<(), ScanError> {
        self.totals.samples += 1;
        let (mut value, mut timestamp) = (0, 0);
        let mut fields = Fields::new(sample);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => value = field.fixed64("a sample's value is not a double")?,
                2 => timestamp = field.varint("a sample's timestamp is not an integer")?,
                _ => {}
            }
        }
        self.scratch.clear();
        put_value(&mut self.scratch, (SAMPLE_VALUE, value), (SAMPLE_TIMESTAMP, timestamp));
        varint::put_bytes(&mut self.samples, SAMPLE, &self.scratch);
        Ok(())
    }

    fn read_exemplar(&mut self, exemplar: &[u8]) -> Result<(), ScanError> {
        self.totals.exemplars += 1;
        let (mut value, mut timestamp) = (0, 0);
        self.scratch.clear();
        let mut fields = Fields::new(exemplar);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => {
                    let (name, value) = label_parts(field.bytes("an exemplar's label is not a message")?)?;
                    if !(is_utf8(name) && is_utf8(value)) {
                        self.reject(InvalidSeries::InvalidUtf8, None);
                    }
                    put_exemplar_label(&mut self.scratch, name, value);
                }
                2 => value = field.fixed64("an exemplar's value is not a double")?,
                3 => timestamp = field.varint("an exemplar's timestamp is not an integer")?,
                _ => {}
            }
        }
        put_value(
            &mut self.scratch,
            (EXEMPLAR_VALUE, value),
            (EXEMPLAR_TIMESTAMP, timestamp),
        );
        varint::put_bytes(&mut self.exemplars, EXEMPLAR, &self.scratch);
        Ok(())
    }

    fn read_histogram(&mut self, histogram: &[u8]) -> Result<(), ScanError> {
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

    fn write(&mut self, out: &mut Vec<u8>) {
        self.scratch.clear();
        for (name, value) in &self.labels {
            put_label(&mut self.scratch, name, value);
        }
        let parts = [&self.scratch, &self.samples, &self.exemplars, &self.histograms];
        out.push(SERIES);
        varint::put(out, parts.iter().map(|part| part.len() as u64).sum());
        parts.iter().for_each(|part| out.extend_from_slice(part));
    }
}

fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

/// Name and value of a label, the last of each; absent ones are empty.
fn label_parts(label: &[u8]) -> Result<(&[u8], &[u8]), ScanError> {
    let mut parts: (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(label);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => parts.0 = field.bytes("a label's name is not a string")?,
            2 => parts.1 = field.bytes("a label's value is not a string")?,
            _ => {}
        }
    }
    Ok(parts)
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
