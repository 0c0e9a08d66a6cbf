//! What has to be written as remote write 2.0: the oracle for what is, here and in a fuzz target.
//!
//! Takes series with what is said of each, gives those that a request has to have, and a request that says the same; holds
//! the table of one against what the specification wants. Slow and obvious; shares no code with what it judges.

use prost::Message;

use super::model::{Histogram, Label, TimeSeries};
use super::model_v2::{self, Exemplar, Metadata, Request, Said, Sample, Start};

/// A series, and what is said of it besides: of every sample and histogram a start, 0 where it has none.
pub type Told = (TimeSeries, Said);

/// Of a series of 1.0.
pub fn plain(series: TimeSeries) -> Told {
    let said = Said {
        sample_starts: vec![0; series.samples.len()],
        histogram_starts: vec![0; series.histograms.len()],
        ..Said::default()
    };
    (series, said)
}

/// Reads a request, and panics unless it is as it is said to be written: its table has the empty string first, then each
/// string once, in the order of first use, and none that is not used; and each series has metadata.
pub fn read(bytes: &[u8]) -> Vec<Told> {
    let request = Request::decode(bytes).expect("protobuf");
    assert_eq!(request.symbols.first().map(Vec::as_slice), Some(&b""[..]));
    let mut used = 1;
    for series in &request.timeseries {
        let metadata = series.metadata.expect("Prometheus always writes metadata");
        let exemplars = series.exemplars.iter().flat_map(|exemplar| &exemplar.labels_refs);
        let last = [metadata.help_ref, metadata.unit_ref];
        for &reference in series.labels_refs.iter().chain(exemplars).chain(&last) {
            assert!(reference <= used, "{reference} comes before {used}");
            used += u32::from(reference == used);
        }
    }
    assert_eq!(used as usize, request.symbols.len(), "strings that nobody uses");
    let mut different = request.symbols;
    different.sort();
    different.dedup();
    assert_eq!(different.len(), used as usize, "a string that is there twice");
    model_v2::read(bytes).expect("a request")
}

fn has_samples((series, _): &Told) -> bool {
    !series.samples.is_empty() || !series.histograms.is_empty()
}

/// What has to be written of these series: exemplars that came alone are with the first series of the same labels that has
/// samples, and what has samples and histograms is two.
pub fn to_be_written(mut all: Vec<Told>) -> Vec<Told> {
    let mut at = 0;
    while at < all.len() {
        let TimeSeries { labels, exemplars, .. } = all[at].0.clone();
        let is_stray = !has_samples(&all[at]) && !exemplars.is_empty();
        let host = all.iter().position(|one| one.0.labels == labels && has_samples(one));
        match host.filter(|_| is_stray) {
            Some(host) => {
                all[host].0.exemplars.extend(exemplars);
                all.remove(at);
            }
            None => at += 1,
        }
    }
    all.into_iter().flat_map(split).collect()
}

fn split(told: Told) -> Vec<Told> {
    if told.0.samples.is_empty() || told.0.histograms.is_empty() {
        return vec![told];
    }
    let (mut first, mut second) = (told.clone(), told);
    first.0.histograms.clear();
    first.1.histogram_starts.clear();
    second.0.samples.clear();
    second.0.exemplars.clear();
    second.1.sample_starts.clear();
    vec![first, second]
}

/// A request that says all this, with each string as often as it is used.
pub fn write(all: &[Told]) -> Vec<u8> {
    let mut symbols = vec![Vec::new()];
    let timeseries = all.iter().map(|told| referring(told, &mut symbols)).collect();
    Request { symbols, timeseries }.encode_to_vec()
}

fn referring((series, said): &Told, symbols: &mut Vec<Vec<u8>>) -> model_v2::TimeSeries {
    let mut reference = |text: &[u8]| {
        symbols.push(text.to_vec());
        symbols.len() as u32 - 1
    };
    let mut references = |labels: &[Label]| -> Vec<u32> {
        let pair = |label: &Label| [reference(&label.name), reference(&label.value)];
        labels.iter().flat_map(pair).collect()
    };
    let started = |(histogram, start): (&Histogram, &i64)| {
        let start = Start {
            start_timestamp: *start,
        };
        [histogram.encode_to_vec(), start.encode_to_vec()].concat()
    };
    let labels_refs = references(&series.labels);
    let exemplars = series.exemplars.iter().map(|exemplar| Exemplar {
        labels_refs: references(&exemplar.labels),
        value: exemplar.value,
        timestamp: exemplar.timestamp,
    });
    let exemplars = exemplars.collect();
    let samples = series.samples.iter().zip(&said.sample_starts);
    let (kind, help, unit) = &said.metadata;
    model_v2::TimeSeries {
        labels_refs,
        samples: samples
            .map(|(sample, start)| Sample {
                value: sample.value,
                timestamp: sample.timestamp,
                start_timestamp: *start,
            })
            .collect(),
        histograms: series
            .histograms
            .iter()
            .zip(&said.histogram_starts)
            .map(started)
            .collect(),
        exemplars,
        metadata: Some(Metadata {
            kind: *kind,
            help_ref: reference(help),
            unit_ref: reference(unit),
        }),
    }
}
