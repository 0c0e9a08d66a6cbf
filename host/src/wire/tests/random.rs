//! Random writes that are valid and in canonical order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::model::{BucketSpan, Count, Exemplar, Histogram, Label, Sample, TimeSeries, WriteRequest, ZeroCount};

pub fn write() -> impl Strategy<Value = WriteRequest> {
    prop::collection::vec(series(), 0..6).prop_map(|timeseries| WriteRequest {
        timeseries,
        ..WriteRequest::default()
    })
}

/// None, or other labels.
pub fn verdicts() -> impl Strategy<Value = Vec<Option<BTreeMap<String, String>>>> {
    prop::collection::vec(prop::option::of(label_set()), 1..8)
}

pub fn labels_of(set: &BTreeMap<String, String>) -> Vec<Label> {
    set.iter()
        .map(|(name, value)| Label {
            name: name.as_bytes().into(),
            value: value.as_bytes().into(),
        })
        .collect()
}

/// Other bytes in some places, and an end too early after every second kind of damage.
pub fn damage(body: &mut Vec<u8>, flips: &[(prop::sample::Index, u8)], cut: prop::sample::Index) {
    if body.is_empty() {
        return;
    }
    for (at, byte) in flips {
        let at = at.index(body.len());
        body[at] = *byte;
    }
    if flips.len().is_multiple_of(2) {
        body.truncate(cut.index(body.len()) + 1);
    }
}

fn series() -> impl Strategy<Value = TimeSeries> {
    let samples = prop::collection::vec((bits(), timestamp()), 0..4);
    let exemplars = prop::collection::vec(exemplar(), 0..3);
    let histograms = prop::collection::vec(histogram(), 0..2);
    (label_set(), samples, exemplars, histograms).prop_map(|(labels, samples, exemplars, histograms)| TimeSeries {
        labels: labels_of(&labels),
        samples: samples
            .into_iter()
            .map(|(value, timestamp)| Sample { value, timestamp })
            .collect(),
        exemplars,
        histograms,
    })
}

fn label_set() -> impl Strategy<Value = BTreeMap<String, String>> {
    let name = prop_oneof!["[a-z_]{1,12}", "[A-Z]{1,3}", "\\PC{1,4}", "[a-z]{120,140}"];
    let value = prop_oneof!["[ -~]{1,20}", "\\PC{1,8}", "[0-9]{100,300}"];
    (prop::collection::btree_map(name, value, 0..6), "[a-z]{1,9}").prop_map(|(mut labels, metric)| {
        labels.insert("__name__".into(), metric);
        labels
    })
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    let label = ("\\PC{0,4}", "\\PC{0,4}").prop_map(|(name, value)| Label {
        name: name.into(),
        value: value.into(),
    });
    (prop::collection::vec(label, 0..3), bits(), timestamp()).prop_map(|(labels, value, timestamp)| Exemplar {
        labels,
        value,
        timestamp,
    })
}

fn bits() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(0x7ff0_0000_0000_0002),
        Just((-0.0f64).to_bits()),
        any::<u64>(),
        (0..1000i64).prop_map(|value| (value as f64).to_bits()),
    ]
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![Just(0), any::<i64>(), 1_600_000_000_000..1_900_000_000_000i64]
}

/// Spans of buckets: the gap before each, and its counts.
type Side = Vec<(u8, Vec<u8>)>;

fn side() -> impl Strategy<Value = Side> {
    prop::collection::vec((0..5u8, prop::collection::vec(any::<u8>(), 0..4)), 0..4)
}

fn histogram() -> impl Strategy<Value = Histogram> {
    (
        side(),
        side(),
        (any::<u8>(), bits(), bits(), -4..=8i32),
        (0..=3i32, timestamp()),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(positive, negative, (zero, sum, threshold, schema), (reset_hint, timestamp), float, custom)| {
                let negative = if custom { Side::new() } else { negative };
                let zero = if custom { 0 } else { zero };
                let reach = positive
                    .iter()
                    .map(|(gap, counts)| *gap as usize + counts.len())
                    .sum::<usize>();
                let bounds = (1..reach.max(1)).map(|bound| (bound as f64).to_bits());
                let mut histogram = Histogram {
                    sum,
                    schema: if custom { -53 } else { schema },
                    zero_threshold: if custom { 0 } else { threshold },
                    negative_spans: spans(&negative),
                    positive_spans: spans(&positive),
                    reset_hint,
                    timestamp,
                    custom_values: if custom { bounds.collect() } else { vec![] },
                    ..Histogram::default()
                };
                if float {
                    histogram.count = Some(Count::Float(7.5f64.to_bits()));
                    histogram.zero_count = Some(ZeroCount::Float(f64::from(zero).to_bits()));
                    histogram.positive_counts = counts(&positive).map(|count| (count as f64).to_bits()).collect();
                    histogram.negative_counts = counts(&negative).map(|count| (count as f64).to_bits()).collect();
                } else {
                    let total = i64::from(zero) + counts(&positive).sum::<i64>() + counts(&negative).sum::<i64>();
                    histogram.count = Some(Count::Integer(total as u64));
                    histogram.zero_count = Some(ZeroCount::Integer(zero.into()));
                    histogram.positive_deltas = deltas(&positive);
                    histogram.negative_deltas = deltas(&negative);
                }
                histogram
            },
        )
}

fn spans(side: &Side) -> Vec<BucketSpan> {
    side.iter()
        .map(|(gap, counts)| BucketSpan {
            offset: (*gap).into(),
            length: counts.len() as u32,
        })
        .collect()
}

fn counts(side: &Side) -> impl Iterator<Item = i64> {
    side.iter()
        .flat_map(|(_, counts)| counts)
        .map(|count| i64::from(*count))
}

fn deltas(side: &Side) -> Vec<i64> {
    let mut last = 0;
    counts(side)
        .map(|count| count - std::mem::replace(&mut last, count))
        .collect()
}
