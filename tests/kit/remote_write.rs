//! Remote write 1.0 as the harness speaks it: its own messages, builders for series, snappy.
//!
//! Takes labels and samples, gives bodies; takes bodies that reached a receiver, gives series. Never uses the
//! gateway's own parser or encoder.

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

/// `prometheus.TimeSeries`; also the builder of one.
#[derive(Clone, PartialEq, prost::Message)]
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

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// `prometheus.Histogram`, integer counts only: what tests send.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
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
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    #[prost(string, tag = "4")]
    pub help: String,
    #[prost(string, tag = "5")]
    pub unit: String,
}

/// Prometheus' marker of a series that ended: one particular NaN, told from the others by its bits alone.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// 2026-01-01T00:00:00Z in milliseconds: any fixed time will do for a fake receiver.
pub const T0: i64 = 1_767_225_600_000;

/// A series with `__name__` and nothing else yet.
pub fn series(name: &str) -> TimeSeries {
    TimeSeries::default().label("__name__", name)
}

impl TimeSeries {
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push(Label {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        self
    }

    /// `timestamp` in milliseconds after [`T0`].
    pub fn sample(mut self, value: f64, timestamp: i64) -> Self {
        self.samples.push(Sample {
            value,
            timestamp: T0 + timestamp,
        });
        self
    }

    pub fn stale(self, timestamp: i64) -> Self {
        self.sample(f64::from_bits(STALE_NAN), timestamp)
    }

    /// A small valid native histogram: two observations in two neighbouring buckets.
    pub fn histogram(mut self, timestamp: i64) -> Self {
        self.histograms.push(Histogram {
            count_int: 2,
            sum: 3.5,
            schema: 0,
            zero_threshold: 1e-128,
            zero_count_int: 0,
            positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
            positive_deltas: vec![1, 0],
            timestamp: T0 + timestamp,
        });
        self
    }

    pub fn exemplar(mut self, trace: &str, timestamp: i64) -> Self {
        self.exemplars.push(Exemplar {
            labels: vec![Label {
                name: "trace_id".to_owned(),
                value: trace.to_owned(),
            }],
            value: 1.0,
            timestamp: T0 + timestamp,
        });
        self
    }

    /// `up{job="x"}`, with the labels in the order they stand.
    pub fn text(&self) -> String {
        let name = self.value("__name__").unwrap_or_default();
        let labels: Vec<String> = self
            .labels
            .iter()
            .filter(|l| l.name != "__name__")
            .map(|l| format!("{}={:?}", l.name, l.value))
            .collect();
        match labels.is_empty() {
            true => name.to_owned(),
            false => format!("{name}{{{}}}", labels.join(",")),
        }
    }

    pub fn value(&self, label: &str) -> Option<&str> {
        let found = self.labels.iter().find(|l| l.name == label);
        found.map(|l| l.value.as_str())
    }
}

/// A write as Prometheus sends it: labels sorted by name.
pub fn write(series: impl IntoIterator<Item = TimeSeries>) -> WriteRequest {
    let sorted = |mut one: TimeSeries| {
        one.labels.sort();
        one
    };
    WriteRequest {
        timeseries: series.into_iter().map(sorted).collect(),
        metadata: Vec::new(),
    }
}

impl WriteRequest {
    /// A write whose labels stay in the order they were given.
    pub fn as_given(series: impl IntoIterator<Item = TimeSeries>) -> Self {
        Self {
            timeseries: series.into_iter().collect(),
            metadata: Vec::new(),
        }
    }

    pub fn with_metadata(mut self, family: &str) -> Self {
        self.metadata.push(MetricMetadata {
            r#type: 1,
            metric_family_name: family.to_owned(),
            help: format!("Help of {family}."),
            unit: String::new(),
        });
        self
    }

    /// Protobuf in snappy's block format: a request's body.
    pub fn body(&self) -> Vec<u8> {
        compress(&prost::Message::encode_to_vec(self))
    }

    /// Float and histogram samples together.
    pub fn sample_count(&self) -> u64 {
        let count = |s: &TimeSeries| s.samples.len() + s.histograms.len();
        self.timeseries.iter().map(count).sum::<usize>() as u64
    }

    /// Each float sample as `series value-bits timestamp-after-T0`, in order: comparable though NaN is not.
    pub fn samples(&self) -> Vec<(String, u64, i64)> {
        let of_one = |one: &TimeSeries| {
            let text = one.text();
            let samples = one.samples.iter();
            samples
                .map(|s| (text.clone(), s.value.to_bits(), s.timestamp - T0))
                .collect::<Vec<_>>()
        };
        self.timeseries.iter().flat_map(of_one).collect()
    }

    /// [`TimeSeries::text`] of each series, in order.
    pub fn texts(&self) -> Vec<String> {
        self.timeseries.iter().map(TimeSeries::text).collect()
    }
}

/// Snappy's block format.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

/// Reads a request body back.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode(body: &[u8]) -> Result<WriteRequest, String> {
    let bytes = snap::raw::Decoder::new()
        .decompress_vec(body)
        .map_err(|e| format!("snappy: {e}"))?;
    prost::Message::decode(bytes.as_slice()).map_err(|e| format!("protobuf: {e}"))
}
