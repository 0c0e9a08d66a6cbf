//! Remote write 2.0 as the harness speaks it: its own messages, to and from what it says in 1.0.
//!
//! Takes a write of 1.0 and what is said besides, gives a request; takes the body of one that reached a receiver, gives the
//! same series as 1.0 has them. Never uses the gateway's own parser or encoder.

use std::collections::HashMap;

use crate::remote_write::{BucketSpan, Exemplar, Histogram, Label, Sample, TimeSeries, WriteRequest, compress};

/// `Content-Type` of a 2.0 request.
pub const CONTENT_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// `io.prometheus.write.v2.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestV2 {
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeriesV2>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeriesV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<SampleV2>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<HistogramV2>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<ExemplarV2>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<MetadataV2>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct SampleV2 {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// Integer counts only: what tests send.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HistogramV2 {
    #[prost(uint64, tag = "1")]
    pub count_int: u64,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    pub zero_count_int: u64,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExemplarV2 {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MetadataV2 {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

impl RequestV2 {
    /// The series of `write`, each string once, in the order of first use, as Prometheus writes it.
    pub fn of(write: &WriteRequest) -> Self {
        let mut request = Self {
            symbols: vec![String::new()],
            timeseries: Vec::new(),
        };
        let mut symbols = Symbols::default();
        for series in &write.timeseries {
            let labels_refs = symbols.labels(&series.labels, &mut request.symbols);
            let exemplars = series.exemplars.iter().map(|exemplar| ExemplarV2 {
                labels_refs: symbols.labels(&exemplar.labels, &mut request.symbols),
                value: exemplar.value,
                timestamp: exemplar.timestamp,
            });
            let exemplars = exemplars.collect();
            request.timeseries.push(TimeSeriesV2 {
                labels_refs,
                samples: series.samples.iter().map(SampleV2::of).collect(),
                histograms: series.histograms.iter().map(HistogramV2::of).collect(),
                exemplars,
                metadata: Some(MetadataV2::default()),
            });
        }
        request
    }

    /// Says this of every series.
    pub fn with_metadata(mut self, kind: i32, help: &str, unit: &str) -> Self {
        let mut reference = |text: &str| {
            self.symbols.push(text.to_owned());
            self.symbols.len() as u32 - 1
        };
        let said = MetadataV2 {
            r#type: kind,
            help_ref: reference(help),
            unit_ref: reference(unit),
        };
        self.timeseries
            .iter_mut()
            .for_each(|series| series.metadata = Some(said));
        self
    }

    /// Every sample and histogram started then.
    pub fn started(mut self, start: i64) -> Self {
        for series in &mut self.timeseries {
            series.samples.iter_mut().for_each(|one| one.start_timestamp = start);
            series.histograms.iter_mut().for_each(|one| one.start_timestamp = start);
        }
        self
    }

    /// Protobuf in snappy's block format: a request's body.
    pub fn body(&self) -> Vec<u8> {
        compress(&prost::Message::encode_to_vec(self))
    }

    /// The same series as 1.0 has them.
    ///
    /// # Panics
    /// If a reference is to no symbol.
    pub fn write(&self) -> WriteRequest {
        let series = |one: &TimeSeriesV2| TimeSeries {
            labels: self.labels(&one.labels_refs),
            samples: one.samples.iter().map(SampleV2::sample).collect(),
            exemplars: one
                .exemplars
                .iter()
                .map(|exemplar| Exemplar {
                    labels: self.labels(&exemplar.labels_refs),
                    value: exemplar.value,
                    timestamp: exemplar.timestamp,
                })
                .collect(),
            histograms: one.histograms.iter().map(HistogramV2::histogram).collect(),
        };
        WriteRequest::as_given(self.timeseries.iter().map(series))
    }

    /// Type, help and unit of each series.
    pub fn metadata(&self) -> Vec<(i32, &str, &str)> {
        let text = |reference: u32| self.symbols[reference as usize].as_str();
        let said = |one: &TimeSeriesV2| one.metadata.unwrap_or_default();
        let of_one = |said: MetadataV2| (said.r#type, text(said.help_ref), text(said.unit_ref));
        self.timeseries.iter().map(said).map(of_one).collect()
    }

    /// Start timestamps of all samples and histograms.
    pub fn starts(&self) -> Vec<i64> {
        let of_one = |one: &TimeSeriesV2| {
            let samples = one.samples.iter().map(|sample| sample.start_timestamp);
            let histograms = one.histograms.iter().map(|histogram| histogram.start_timestamp);
            samples.chain(histograms).collect::<Vec<_>>()
        };
        self.timeseries.iter().flat_map(of_one).collect()
    }

    fn labels(&self, references: &[u32]) -> Vec<Label> {
        let text = |reference: u32| self.symbols[reference as usize].clone();
        let pairs = references.chunks_exact(2);
        pairs
            .map(|pair| Label {
                name: text(pair[0]),
                value: text(pair[1]),
            })
            .collect()
    }
}

#[derive(Default)]
struct Symbols(HashMap<String, u32>);

impl Symbols {
    fn labels(&mut self, labels: &[Label], all: &mut Vec<String>) -> Vec<u32> {
        let pair = |label: &Label| [self.number(&label.name, all), self.number(&label.value, all)];
        labels.iter().flat_map(pair).collect()
    }

    fn number(&mut self, text: &str, all: &mut Vec<String>) -> u32 {
        if text.is_empty() {
            return 0;
        }
        *self.0.entry(text.to_owned()).or_insert_with(|| {
            all.push(text.to_owned());
            all.len() as u32 - 1
        })
    }
}

impl SampleV2 {
    fn of(sample: &Sample) -> Self {
        Self {
            value: sample.value,
            timestamp: sample.timestamp,
            start_timestamp: 0,
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            value: self.value,
            timestamp: self.timestamp,
        }
    }
}

impl HistogramV2 {
    fn of(histogram: &Histogram) -> Self {
        Self {
            count_int: histogram.count_int,
            sum: histogram.sum,
            schema: histogram.schema,
            zero_threshold: histogram.zero_threshold,
            zero_count_int: histogram.zero_count_int,
            positive_spans: histogram.positive_spans.clone(),
            positive_deltas: histogram.positive_deltas.clone(),
            timestamp: histogram.timestamp,
            start_timestamp: 0,
        }
    }

    fn histogram(&self) -> Histogram {
        Histogram {
            count_int: self.count_int,
            sum: self.sum,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count_int: self.zero_count_int,
            positive_spans: self.positive_spans.clone(),
            positive_deltas: self.positive_deltas.clone(),
            timestamp: self.timestamp,
        }
    }
}

/// Reads a request body back.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_v2(body: &[u8]) -> Result<RequestV2, String> {
    let bytes = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|e| format!("snappy: {e}"))?;
    let request: RequestV2 = prost::Message::decode(bytes.as_slice()).map_err(|e| format!("protobuf: {e}"))?;
    match request.symbols.first().map(String::as_str) {
        Some("") => Ok(request),
        first => Err(format!("the table begins with {first:?}")),
    }
}
