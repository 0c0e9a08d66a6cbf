//! Remote write 2.0 as prost reads it, and as 1.0 would say it: the oracle for bodies of 2.0, here and in the fuzz targets.
//!
//! Takes bytes, gives a model, and says what a scan of those bytes has to find. Shares no code with the scanner.

use std::collections::BTreeMap;

use prost::Message;

use super::model::{self, Label};

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Request {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TimeSeries {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Of 1.0, but that each may have a [`Start`].
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub histograms: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Sample {
    #[prost(fixed64, tag = "1")]
    pub value: u64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Start {
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Exemplar {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(fixed64, tag = "2")]
    pub value: u64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Metadata {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

/// What is said of one series besides: type, help and unit; starts of samples and of histograms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub metadata: (i32, Vec<u8>, Vec<u8>),
    pub sample_starts: Vec<i64>,
    pub histogram_starts: Vec<i64>,
}

impl Said {
    fn is_nothing(&self) -> bool {
        let (kind, help, unit) = &self.metadata;
        let starts = || self.sample_starts.iter().chain(&self.histogram_starts);
        *kind == 0 && help.is_empty() && unit.is_empty() && starts().all(|start| *start == 0)
    }
}

/// One series of 1.0, and what is said of it besides.
type Series = (model::TimeSeries, Said);

/// What a request says. None where it is none: the references have to be understood.
pub fn read(body: &[u8]) -> Option<Vec<Series>> {
    let Request { symbols, timeseries } = Request::decode(body).ok()?;
    if !symbols.first()?.is_empty() {
        return None;
    }
    timeseries.into_iter().map(|series| series.read(&symbols)).collect()
}

impl TimeSeries {
    fn read(self, symbols: &[Vec<u8>]) -> Option<Series> {
        let exemplar = |exemplar: Exemplar| {
            Some(model::Exemplar {
                labels: labels(&exemplar.labels_refs, symbols)?,
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            })
        };
        let starts = self.histograms.iter().map(|bytes| Start::decode(bytes.as_slice()));
        let starts = starts.collect::<Result<Vec<_>, _>>().ok()?;
        let histograms = self
            .histograms
            .iter()
            .map(|bytes| model::Histogram::decode(bytes.as_slice()));
        let metadata = self.metadata.unwrap_or_default();
        let text = |reference: u32| {
            let text = symbols.get(reference as usize)?;
            std::str::from_utf8(text).ok().map(|_| text.clone())
        };
        let said = Said {
            metadata: (metadata.kind, text(metadata.help_ref)?, text(metadata.unit_ref)?),
            sample_starts: self.samples.iter().map(|sample| sample.start_timestamp).collect(),
            histogram_starts: starts.iter().map(|start| start.start_timestamp).collect(),
        };
        let sample = |sample: &Sample| model::Sample {
            value: sample.value,
            timestamp: sample.timestamp,
        };
        let series = model::TimeSeries {
            labels: labels(&self.labels_refs, symbols)?,
            samples: self.samples.iter().map(sample).collect(),
            exemplars: self.exemplars.into_iter().map(exemplar).collect::<Option<_>>()?,
            histograms: histograms.collect::<Result<_, _>>().ok()?,
        };
        Some((series, said))
    }
}

fn labels(references: &[u32], symbols: &[Vec<u8>]) -> Option<Vec<Label>> {
    let symbol = |reference: u32| symbols.get(reference as usize).cloned();
    let pairs = references.chunks(2).map(|pair| match *pair {
        [name, value] => Some(Label {
            name: symbol(name)?,
            value: symbol(value)?,
        }),
        _ => None,
    });
    pairs.collect()
}

/// Strings to references, in the order they are first met.
#[derive(Default)]
struct Table {
    symbols: Vec<Vec<u8>>,
    known: BTreeMap<Vec<u8>, u32>,
}

impl Table {
    fn new() -> Self {
        let mut table = Self::default();
        table.reference(b"");
        table
    }

    fn reference(&mut self, text: &[u8]) -> u32 {
        let next = self.symbols.len() as u32;
        let reference = *self.known.entry(text.to_vec()).or_insert(next);
        if reference == next {
            self.symbols.push(text.to_vec());
        }
        reference
    }

    fn labels(&mut self, labels: &[Label]) -> Vec<u32> {
        let pair = |label: &Label| [self.reference(&label.name), self.reference(&label.value)];
        labels.iter().flat_map(pair).collect()
    }
}

/// The same write as Prometheus would send it as 2.0, metadata empty and always there.
pub fn as_2_0(write: &model::WriteRequest) -> Request {
    let mut table = Table::new();
    let sample = |sample: &model::Sample| Sample {
        value: sample.value,
        timestamp: sample.timestamp,
        start_timestamp: 0,
    };
    let series = |series: &model::TimeSeries| TimeSeries {
        labels_refs: table.labels(&series.labels),
        samples: series.samples.iter().map(sample).collect(),
        histograms: series.histograms.iter().map(Message::encode_to_vec).collect(),
        exemplars: series
            .exemplars
            .iter()
            .map(|exemplar| Exemplar {
                labels_refs: table.labels(&exemplar.labels),
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            })
            .collect(),
        metadata: Some(Metadata::default()),
    };
    let timeseries = write.timeseries.iter().map(series).collect();
    Request {
        symbols: table.symbols,
        timeseries,
    }
}

/// What a scan found, in words both sides know.
pub struct Finding {
    /// Its `metadata` is of no account.
    pub as_1_0: model::Finding,
    /// Of each valid series that has any, by its place.
    pub said: Vec<(usize, Said)>,
    /// Series with metadata, samples with a start, histograms with one.
    pub totals: [u64; 3],
    /// Whether the body may go on as it came.
    pub is_as_sent: bool,
}

/// Whether each series has samples or histograms, never both, symbols are UTF-8, and prost writes the same bytes of what it read.
/// Unknown where a sample's value is zero, which may be written out.
pub fn has_one_reading(body: &[u8]) -> Option<bool> {
    let mut request = Request::decode(body).ok()?;
    let mut series = request.timeseries.iter();
    let has_one_kind = series.all(|series| series.samples.is_empty() != series.histograms.is_empty());
    for series in &mut request.timeseries {
        if series.samples.iter().any(|sample| sample.value == 0) {
            return None;
        }
        for bytes in &mut series.histograms {
            let start = Start::decode(bytes.as_slice()).ok()?.encode_to_vec();
            let histogram = model::Histogram::decode(bytes.as_slice()).ok()?.encode_to_vec();
            *bytes = [histogram, start].concat();
        }
    }
    let are_utf8 = request.symbols.iter().all(|symbol| std::str::from_utf8(symbol).is_ok());
    Some(has_one_kind && are_utf8 && request.encode_to_vec() == body)
}

/// Panics unless a scan of `body` had to find `finding`; None where it found the body malformed.
pub fn compare(body: &[u8], finding: Option<Finding>) {
    let (series, finding) = match (read(body), finding) {
        (Some(series), Some(finding)) => (series, finding),
        (None, None) => return,
        (Some(series), None) => panic!("prost reads what the scan refuses: {series:?}"),
        (None, Some(_)) => panic!("the scan reads what prost refuses"),
    };
    if finding.is_as_sent {
        assert_ne!(has_one_reading(body), Some(false));
    }
    let found = model::WriteRequest::decode(finding.as_1_0.series.as_slice()).unwrap();
    let mut found = found.timeseries.into_iter().enumerate().peekable();
    let mut expected = vec![];
    for (series, said) in &series {
        let series = series.clone().normalised();
        let place = found.next_if(|(_, found)| series.has_valid_labels() && *found == series);
        if let Some((place, _)) = place
            && !said.is_nothing()
        {
            expected.push((place, without_zeros(said)));
        }
    }
    assert_eq!(finding.said, expected);
    let count = |part: fn(&Said) -> usize| expected.iter().map(|(_, said)| part(said)).sum::<usize>() as u64;
    let some = |starts: &[i64]| starts.iter().filter(|start| **start != 0).count();
    let totals = [
        count(|said| usize::from(said.metadata != Said::default().metadata)),
        expected
            .iter()
            .map(|(_, said)| some(&said.sample_starts))
            .sum::<usize>() as u64,
        expected
            .iter()
            .map(|(_, said)| some(&said.histogram_starts))
            .sum::<usize>() as u64,
    ];
    assert_eq!(finding.totals, totals);
    let as_1_0 = model::WriteRequest {
        timeseries: series.into_iter().map(|(series, _)| series).collect(),
        metadata: vec![],
    };
    let finding = model::Finding {
        metadata: 0,
        ..finding.as_1_0
    };
    model::compare(&as_1_0.encode_to_vec(), Some(finding));
}

/// Where no sample and no histogram has a start, none is told.
fn without_zeros(said: &Said) -> Said {
    let starts = said.sample_starts.iter().chain(&said.histogram_starts);
    if starts.clone().any(|start| *start != 0) {
        return said.clone();
    }
    Said {
        metadata: said.metadata.clone(),
        ..Said::default()
    }
}
