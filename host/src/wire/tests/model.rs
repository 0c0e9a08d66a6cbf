//! Remote write 1.0 as prost reads it: the oracle that the scanner is held against, here and in the fuzz targets.
//!
//! Takes bytes, gives a model, and says what a scan of those bytes has to find. Shares no code with the scanner.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

// Doubles stand as their bits (the same wire type), so that NaNs compare.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub metadata: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sample {
    #[prost(fixed64, tag = "1")]
    pub value: u64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(fixed64, tag = "2")]
    pub value: u64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub enum Count {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(fixed64, tag = "2")]
    Float(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
pub enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(fixed64, tag = "7")]
    Float(u64),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Histogram {
    #[prost(oneof = "Count", tags = "1, 2")]
    pub count: Option<Count>,
    #[prost(fixed64, tag = "3")]
    pub sum: u64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(fixed64, tag = "5")]
    pub zero_threshold: u64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(fixed64, repeated, tag = "10")]
    pub negative_counts: Vec<u64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(fixed64, repeated, tag = "13")]
    pub positive_counts: Vec<u64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(fixed64, repeated, tag = "16")]
    pub custom_values: Vec<u64>,
}

impl TimeSeries {
    /// Labels sorted, empty values left out, histograms as receivers store them: what a receiver has to be sent.
    pub fn normalised(mut self) -> Self {
        self.histograms = self.histograms.into_iter().map(Histogram::reduced).collect();
        self.labels.retain(|label| !label.value.is_empty());
        self.labels.sort();
        self
    }

    /// Whether a normalised series has the labels of a valid one.
    pub fn has_valid_labels(&self) -> bool {
        let utf8 = |labels: &[Label]| {
            let parts = labels.iter().flat_map(|label| [&label.name, &label.value]);
            parts.into_iter().all(|part| std::str::from_utf8(part).is_ok())
        };
        self.labels.windows(2).all(|two| two[0].name < two[1].name)
            && self.labels.iter().all(|label| !label.name.is_empty())
            && self.labels.iter().any(|label| label.name == b"__name__")
            && utf8(&self.labels)
            && self.exemplars.iter().all(|exemplar| utf8(&exemplar.labels))
    }
}

impl Histogram {
    /// Of schema 8 where it is of a finer one. One that makes no sense is left to be found wrong.
    fn reduced(self) -> Self {
        let is_float = matches!(self.count, Some(Count::Float(_)));
        let by = match self.schema {
            9..=52 => self.schema - 8,
            _ => return self,
        };
        let mut reduced = self.clone();
        reduced.schema = 8;
        for is_positive in [false, true] {
            let (spans, deltas, counts) = if is_positive {
                (&self.positive_spans, &self.positive_deltas, &self.positive_counts)
            } else {
                (&self.negative_spans, &self.negative_deltas, &self.negative_counts)
            };
            let mut indices = vec![];
            let mut at = 0i64;
            for span in spans {
                at += i64::from(span.offset);
                // More buckets than there are bytes are not in it.
                for _ in 0..span.length.min(1 << 20) {
                    indices.push(((at - 1) >> by) + 1);
                    at += 1;
                }
            }
            let buckets = if is_float { counts.len() } else { deltas.len() };
            if indices.len() != buckets || spans.iter().skip(1).any(|span| span.offset < 0) {
                return self;
            }
            let mut sums = std::collections::BTreeMap::<i64, (i128, f64)>::new();
            let mut count = 0i128;
            for (place, index) in indices.iter().enumerate() {
                let float = if is_float { f64::from_bits(counts[place]) } else { 0.0 };
                count += if is_float { 0 } else { i128::from(deltas[place]) };
                sums.entry(*index)
                    .and_modify(|sum| *sum = (sum.0 + count, sum.1 + float))
                    .or_insert((count, float));
            }
            let mut merged: Vec<BucketSpan> = vec![];
            let mut last = 0;
            for index in sums.keys() {
                match merged.last_mut() {
                    Some(span) if *index == last => span.length += 1,
                    _ => merged.push(BucketSpan {
                        offset: (index - last) as i32,
                        length: 1,
                    }),
                }
                last = index + 1;
            }
            let mut before = 0;
            let differences = sums
                .values()
                .map(|sum| (sum.0 - std::mem::replace(&mut before, sum.0)) as i64);
            let differences = if is_float {
                deltas.clone()
            } else {
                differences.collect()
            };
            let sums = if is_float {
                sums.values().map(|sum| sum.1.to_bits()).collect()
            } else {
                counts.clone()
            };
            if is_positive {
                (reduced.positive_spans, reduced.positive_deltas, reduced.positive_counts) =
                    (merged, differences, sums);
            } else {
                (reduced.negative_spans, reduced.negative_deltas, reduced.negative_counts) =
                    (merged, differences, sums);
            }
        }
        reduced
    }
}

/// What a scan found, in words both sides know.
pub struct Finding {
    /// The bytes of the valid series, one after another.
    pub series: Vec<u8>,
    /// Series, samples, histograms and exemplars received.
    pub received: [u64; 4],
    pub invalid_histograms: u64,
    pub rejected: u64,
    pub metadata: u64,
}

/// Panics unless a scan of `body` had to find `finding`; None where it found the body malformed.
pub fn compare(body: &[u8], finding: Option<Finding>) {
    let (model, finding) = match (WriteRequest::decode(body), finding) {
        (Ok(model), Some(finding)) => (model, finding),
        (Err(_), None) => return,
        (Ok(model), None) if model == WriteRequest::default() && has_fields_of_2_0(body) => return,
        (Ok(model), None) => panic!("prost reads what the scan refuses: {model:?}"),
        (Err(error), Some(_)) => panic!("the scan reads what prost refuses: {error}"),
    };
    assert!(model != WriteRequest::default() || !has_fields_of_2_0(body));
    assert_eq!(finding.metadata, model.metadata.len() as u64);
    let count = |part: fn(&TimeSeries) -> usize| model.timeseries.iter().map(part).sum::<usize>() as u64;
    let received = [
        count(|_| 1),
        count(|s| s.samples.len()),
        count(|s| s.histograms.len()),
        count(|s| s.exemplars.len()),
    ];
    assert_eq!(finding.received, received);
    let found = WriteRequest::decode(finding.series.as_slice()).unwrap().timeseries;
    assert_eq!(found.len() as u64 + finding.rejected, received[0]);
    // Every series with valid labels was found, in order, save those with histograms that the scan found wrong.
    let mut found = found.into_iter().peekable();
    let mut missing = 0;
    for series in model
        .timeseries
        .into_iter()
        .map(TimeSeries::normalised)
        .filter(TimeSeries::has_valid_labels)
    {
        if found.next_if(|found| *found == series).is_none() {
            assert!(!series.histograms.is_empty(), "the scan lost {series:?}");
            missing += 1;
        }
    }
    assert_eq!(found.next(), None);
    assert_eq!(missing, finding.invalid_histograms);
}

/// Whether legal protobuf has symbols or series as remote write 2.0 numbers them.
fn has_fields_of_2_0(mut body: &[u8]) -> bool {
    let mut has_any = false;
    while !body.is_empty() {
        let (number, wire_type) = decode_key(&mut body).unwrap();
        skip_field(wire_type, number, &mut body, DecodeContext::default()).unwrap();
        has_any |= wire_type == WireType::LengthDelimited && (number == 4 || number == 5);
    }
    has_any
}
