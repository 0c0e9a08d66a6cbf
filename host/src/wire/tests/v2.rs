//! Writes of 2.0: each rule by a case, then random requests in plain and odd encodings, damaged bytes.
//!
//! Long because it has a case for every rule.

use proptest::prelude::*;
use prost::Message;

use super::model::{self, WriteRequest};
use super::model_v2::{self, Exemplar, Metadata, Request, Said, Sample, Start, TimeSeries, as_2_0, has_one_reading};
use super::{NO_LIMITS, copied, kept, labels, odd, proved, random, recorded_body};
use crate::model::Protocol::{V1, V2};
use crate::wire::{
    ExtraTotals, Extras, HashKey, InvalidSeries, Proof, ScanError, ScanLimits, Scanned, frame, frame_light, measure,
    scan,
};

/// docs/protocol.md says so.
const MOST_SYMBOLS: u64 = 1 << 20;
const TIME: i64 = 1_700_000_000_000;

fn sample(value: u64, timestamp: i64, start_timestamp: i64) -> Sample {
    Sample {
        value,
        timestamp,
        start_timestamp,
    }
}

/// One series of these labels and one sample.
fn one(labels_refs: &[u32]) -> TimeSeries {
    TimeSeries {
        labels_refs: labels_refs.to_vec(),
        samples: vec![sample(1f64.to_bits(), TIME, 0)],
        ..TimeSeries::default()
    }
}

fn request(symbols: &[&str], timeseries: Vec<TimeSeries>) -> Request {
    Request {
        symbols: symbols.iter().map(|text| text.as_bytes().to_vec()).collect(),
        timeseries,
    }
}

fn up() -> Request {
    request(&["", "__name__", "up"], vec![one(&[1, 2])])
}

/// Scanned, and framed and proved: the same, whatever way it goes.
fn scanned(body: &[u8]) -> Result<Scanned, ScanError> {
    let scanned = scan(V2, body.to_vec(), &NO_LIMITS);
    let key = HashKey::random().unwrap();
    let framed = frame(V2, body.to_vec(), &NO_LIMITS).map(|framed| match framed.prove(&key) {
        Proof::AsFramed(recognised) => recognised.into_scanned(),
        Proof::Otherwise(refuted) => proved(refuted.scan().unwrap(), &key).into_scanned(),
    });
    match (&scanned, &framed) {
        (Ok(scanned), Ok(framed)) => {
            assert_eq!(scanned.protocol(), V2);
            let parts = |one: &Scanned| {
                (
                    one.body().clone(),
                    one.series().to_vec(),
                    one.totals(),
                    one.rejected().to_vec(),
                )
            };
            assert_eq!(parts(scanned), parts(framed));
            assert_eq!(scanned.extras(), framed.extras());
            // It is a canonical body of 1.0.
            let again = scan(V1, scanned.body().clone(), &NO_LIMITS).unwrap();
            assert_eq!((again.series(), again.is_as_sent()), (scanned.series(), true));
            let measured = measure(body.to_vec().into(), &NO_LIMITS).unwrap();
            let held = scanned.body().len() + size_of_val(scanned.series());
            assert!(held as u64 <= measured.size());
        }
        (Err(scanned), Err(framed)) => assert_eq!(scanned, framed),
        _ => panic!("{scanned:?} is not {framed:?}"),
    }
    copied::compare(body);
    framed
}

fn refusal(body: &[u8]) -> String {
    match scanned(body) {
        Err(error @ ScanError::Malformed { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

fn compare(body: &[u8]) {
    let finding = match scanned(body) {
        Ok(scanned) => Some(finding(&scanned)),
        Err(ScanError::Malformed { .. }) => None,
        Err(error) => panic!("{error}: {body:x?}"),
    };
    model_v2::compare(body, finding);
}

fn finding(scanned: &Scanned) -> model_v2::Finding {
    let totals = scanned.extras().map(Extras::totals).unwrap_or_default();
    model_v2::Finding {
        as_1_0: super::finding(scanned),
        said: said(scanned),
        totals: [totals.metadata, totals.sample_starts, totals.histogram_starts],
        is_as_sent: scanned.is_as_sent(),
    }
}

fn said(scanned: &Scanned) -> Vec<(usize, Said)> {
    let all = scanned.extras().into_iter().flat_map(Extras::iter);
    let all = all.map(|(place, extra)| {
        assert_eq!(scanned.extras().unwrap().of(place), Some(extra));
        let metadata = extra
            .metadata
            .map(|one| (one.kind, one.help.to_vec(), one.unit.to_vec()));
        let said = Said {
            metadata: metadata.unwrap_or_default(),
            sample_starts: extra.sample_starts.to_vec(),
            histogram_starts: extra.histogram_starts.to_vec(),
        };
        (place, said)
    });
    all.collect()
}

#[test]
fn what_prometheus_sends_becomes_to_the_byte_what_it_sends_as_1_0() {
    let sent = recorded_body();
    let write = WriteRequest::decode(sent.clone()).unwrap();
    let body = as_2_0(&write).encode_to_vec();
    assert!(body.len() * 2 < sent.len(), "{} of {}", body.len(), sent.len());
    let framed = frame_light(V2, &body.into(), &NO_LIMITS)
        .unwrap()
        .expect("a usual write is light");
    let scanned = proved(framed, &HashKey::random().unwrap()).into_scanned();
    assert_eq!(scanned.body(), &sent);
    assert_eq!((scanned.is_as_sent(), scanned.extras()), (true, None));
    let as_1_0 = scan(V1, sent, &NO_LIMITS).unwrap();
    assert_eq!((scanned.series(), scanned.totals()), (as_1_0.series(), as_1_0.totals()));
}

#[test]
fn a_series_is_called_the_same_whichever_way_it_comes() {
    let key = HashKey::random().unwrap();
    let write = WriteRequest::decode(recorded_body()).unwrap();
    let named = |protocol, body: Vec<u8>| {
        let recognised = proved(frame(protocol, body, &NO_LIMITS).unwrap(), &key);
        let count = recognised.scanned().series().len();
        (0..count).map(|at| recognised.hash(at)).collect::<Vec<_>>()
    };
    let mut reversed = as_2_0(&write);
    let last = reversed.symbols.len() as u32;
    reversed.symbols[1..].reverse();
    for series in &mut reversed.timeseries {
        series
            .labels_refs
            .iter_mut()
            .for_each(|reference| *reference = last - *reference);
    }
    let of_1_0 = named(V1, write.encode_to_vec());
    assert_eq!(named(V2, as_2_0(&write).encode_to_vec()), of_1_0);
    assert_eq!(named(V2, reversed.encode_to_vec()), of_1_0);
}

#[test]
fn symbols_may_follow_the_series_that_refer_to_them() {
    let Request { symbols, timeseries } = up();
    let symbols = Request {
        symbols,
        timeseries: vec![],
    }
    .encode_to_vec();
    let series = Request {
        symbols: vec![],
        timeseries,
    }
    .encode_to_vec();
    let after = [series.clone(), symbols.clone()].concat();
    assert_eq!(
        kept(&scanned(&after).unwrap()),
        kept(&scanned(&up().encode_to_vec()).unwrap())
    );
    // Also among each other.
    let between = [&symbols[..2], &series, &symbols[2..]].concat();
    assert_eq!(scanned(&between).unwrap().totals().samples, 1);
}

#[test]
fn references_may_be_split_unpacked_and_longer_than_needed() {
    let sample = [
        0x12, 16, 9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31,
    ];
    let expected = kept(&scanned(&up().encode_to_vec()).unwrap());
    for references in [
        &[8, 1, 8, 2][..],
        &[0x0a, 1, 1, 0x0a, 1, 2],
        &[0x0a, 1, 1, 8, 2],
        &[0x0a, 3, 0x81, 0, 2],
        &[0x0a, 0, 0x0a, 5, 1, 0x82, 0x80, 0x80, 0],
        // 2 and a bit beyond the 32 of a reference.
        &[0x0a, 6, 1, 0x82, 0x80, 0x80, 0x80, 0x10],
    ] {
        let series = [references, &sample].concat();
        let mut body = Request {
            timeseries: vec![],
            ..up()
        }
        .encode_to_vec();
        body.extend([&[0x2a, series.len() as u8][..], &series].concat());
        assert_eq!(kept(&scanned(&body).unwrap()), expected, "{references:x?}");
        compare(&body);
    }
}

/// One series of each kind, and all that can be said of it.
fn all_kinds() -> Request {
    let symbols = ["", "__name__", "up", "trace_id", "abc", "Whether it is up."];
    let histogram = model::Histogram {
        count: Some(model::Count::Integer(3)),
        schema: 3,
        positive_spans: vec![model::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![1, 1],
        timestamp: TIME,
        ..Default::default()
    };
    let start_timestamp = TIME - 1;
    let exemplars = vec![Exemplar {
        labels_refs: vec![3, 4],
        value: 1f64.to_bits(),
        timestamp: TIME,
    }];
    let metadata = Some(Metadata {
        kind: 1,
        help_ref: 5,
        unit_ref: 0,
    });
    let samples = TimeSeries {
        samples: vec![sample(1f64.to_bits(), TIME, start_timestamp)],
        exemplars: exemplars.clone(),
        metadata,
        ..one(&[1, 2])
    };
    let histograms = TimeSeries {
        samples: vec![],
        histograms: vec![[histogram.encode_to_vec(), Start { start_timestamp }.encode_to_vec()].concat()],
        exemplars,
        metadata,
        ..one(&[1, 2])
    };
    request(&symbols, vec![one(&[1, 2]), samples, histograms])
}

#[test]
fn a_write_of_2_0_that_has_one_reading_may_go_on_as_it_came() {
    let is_as_sent = |body: &[u8]| {
        compare(body);
        scanned(body).unwrap().is_as_sent()
    };
    let request = all_kinds();
    assert!(is_as_sent(&request.encode_to_vec()));
    // All together is light, and each alone may be.
    for series in &request.timeseries {
        let alone = Request {
            timeseries: vec![series.clone()],
            ..request.clone()
        };
        assert!(is_as_sent(&alone.encode_to_vec()), "{series:?}");
    }
    type Change = fn(&mut TimeSeries);
    let changes: [Change; 6] = [
        // Receivers want one of both.
        |series| series.samples = vec![sample(1, TIME, 0)],
        |series| series.histograms.clear(),
        // A field that comes twice, and one that nobody knows.
        |series| series.histograms[0].extend([0x78, 1]),
        |series| series.histograms[0].extend([0x90, 1, 1]),
        // Labels that are sorted or left out.
        |series| series.labels_refs = vec![3, 4, 1, 2],
        |series| series.labels_refs = vec![1, 2, 3, 0],
    ];
    for (at, change) in changes.iter().enumerate() {
        let mut changed = request.clone();
        change(&mut changed.timeseries[2]);
        assert!(!is_as_sent(&changed.encode_to_vec()), "change {at}");
    }
}

#[test]
fn a_write_of_2_0_with_a_longer_form_of_anything_goes_on_written_anew() {
    let symbols = [&b"\x22\x00\x22\x08__name__\x22\x02up"[..]].concat();
    let sample = b"\x12\x10\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x10\x80\xd0\x95\xff\xbc\x31";
    let series = |content: &[u8]| [&[0x2a, content.len() as u8], content].concat();
    let is_as_sent = |body: &[u8]| {
        compare(body);
        scanned(body).unwrap().is_as_sent()
    };
    let plain = series(&[&b"\x0a\x02\x01\x02"[..], sample, b"\x2a\x02\x08\x01"].concat());
    assert!(is_as_sent(&[&symbols[..], &plain].concat()));
    for content in [
        // References of two bytes and of three where one does.
        [&b"\x0a\x03\x81\x00\x02"[..], sample, b"\x2a\x00"].concat(),
        [&b"\x0a\x03\x01\x82\x00"[..], sample, b"\x2a\x00"].concat(),
        [&b"\x0a\x04\x01\x82\x80\x00"[..], sample].concat(),
        // Split, and not packed.
        [&b"\x0a\x01\x01\x0a\x01\x02"[..], sample].concat(),
        [&b"\x08\x01\x08\x02"[..], sample].concat(),
        // Metadata that says zero, comes twice, or says more than is known.
        [&b"\x0a\x02\x01\x02"[..], sample, b"\x2a\x02\x18\x00"].concat(),
        [&b"\x0a\x02\x01\x02"[..], sample, b"\x2a\x04\x08\x02\x08\x01"].concat(),
        [&b"\x0a\x02\x01\x02"[..], sample, b"\x2a\x02\x08\x01\x2a\x00"].concat(),
        [&b"\x0a\x02\x01\x02"[..], sample, b"\x2a\x04\x08\x01\x28\x01"].concat(),
        // A field behind the last one.
        [&b"\x0a\x02\x01\x02"[..], sample, b"\x30\x01"].concat(),
    ] {
        let body = [&symbols[..], &series(&content)].concat();
        assert!(!is_as_sent(&body), "{content:x?}");
    }
    // So with the fields of a request: symbols behind a series, one of no use, one that is no text, lengths of two bytes.
    for body in [
        [&symbols[..], b"\x22\x02\xff\xc0", &plain].concat(),
        [&plain[..], &symbols].concat(),
        [&symbols[..], &plain, b"\x22\x00"].concat(),
        [&symbols[..], &plain, b"\x30\x01"].concat(),
        [&b"\x22\x80\x00"[..], &symbols[2..], &plain].concat(),
        [&symbols[..], b"\xaa\x00", &plain[1..]].concat(),
    ] {
        assert!(!is_as_sent(&body), "{body:x?}");
    }
}

#[test]
fn labels_are_sorted_emptied_and_refused_as_those_of_1_0() {
    let symbols = ["", "__name__", "up", "a", "b"];
    let texts = |references: &[u32]| {
        let scanned = scanned(&request(&symbols, vec![one(references), one(&[1, 2])]).encode_to_vec()).unwrap();
        let texts = labels(scanned.label_bytes(&scanned.series()[0]));
        let texts = texts.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        (
            texts.join(" "),
            scanned.rejected().iter().map(|one| one.reason).collect::<Vec<_>>(),
        )
    };
    let all = "__name__=up a=b".to_owned();
    assert_eq!(texts(&[1, 2, 3, 4]), (all.clone(), vec![]));
    assert_eq!(texts(&[3, 4, 1, 2]), (all.clone(), vec![]));
    assert_eq!(texts(&[3, 4, 4, 0, 1, 2]), (all, vec![]));
    // The other series goes on.
    let left = "__name__=up".to_owned();
    for (references, reason) in [
        (&[1, 2, 3, 4, 3, 2][..], InvalidSeries::DuplicateLabel),
        (&[0, 4, 1, 2], InvalidSeries::EmptyLabelName),
        (&[3, 4], InvalidSeries::MissingMetricName),
        (&[1, 0], InvalidSeries::MissingMetricName),
        (&[], InvalidSeries::MissingMetricName),
    ] {
        assert_eq!(texts(references), (left.clone(), vec![reason]), "{references:?}");
    }
    let mut bad = request(&symbols, vec![one(&[1, 2, 3, 4]), one(&[1, 2])]);
    bad.symbols[4] = b"\xff".to_vec();
    let scanned = scanned(&bad.encode_to_vec()).unwrap();
    assert_eq!(scanned.rejected()[0].reason, InvalidSeries::InvalidUtf8);
    assert_eq!(scanned.series().len(), 1);
}

#[test]
fn what_no_reference_can_mean_is_refused_with_the_reason() {
    let with = |change: fn(&mut Request)| {
        let mut request = up();
        change(&mut request);
        refusal(&request.encode_to_vec())
    };
    let has = |text: String, part: &str| assert!(text.contains(part), "{text}");
    has(with(|r| r.symbols.clear()), "no symbols");
    has(
        with(|r| drop(r.symbols.remove(0))),
        "first symbol is not the empty string",
    );
    has(with(|r| r.timeseries[0].labels_refs[1] = 3), "to no symbol");
    has(with(|r| r.timeseries[0].labels_refs[0] = u32::MAX), "to no symbol");
    has(with(|r| r.timeseries[0].labels_refs.push(0)), "odd number");
    has(
        with(|r| {
            r.timeseries[0].metadata = Some(Metadata {
                help_ref: 3,
                ..Metadata::default()
            })
        }),
        "to no symbol",
    );
    has(
        with(|r| {
            r.timeseries[0].metadata = Some(Metadata {
                unit_ref: 3,
                ..Metadata::default()
            })
        }),
        "to no symbol",
    );
    has(
        with(|r| {
            r.timeseries[0].exemplars = vec![Exemplar {
                labels_refs: vec![1],
                ..Exemplar::default()
            }]
        }),
        "odd number",
    );
    has(
        with(|r| {
            r.timeseries[0].exemplars = vec![Exemplar {
                labels_refs: vec![1, 9],
                ..Exemplar::default()
            }]
        }),
        "to no symbol",
    );
    // Whatever it is, it is not an empty write: nobody would send what is in it again.
    has(refusal(&[]), "no symbols");
    has(refusal(&recorded_body()), "no symbols");
    has(refusal(&[0x22, 0, 0x2a]), "");
    has(refusal(&[0x22, 0, 0x28, 1]), "a series is not a message");
    has(refusal(&[0x20, 0]), "a symbol is not a string");
    has(refusal(&[0x22, 0, 0x2a, 2, 0x0d, 0]), "");
    has(refusal(&[0x22, 0, 0x2a, 2, 0x0a, 1]), "");
    has(
        refusal(&[0x22, 0, 0x2a, 3, 0x0a, 1, 0x80]),
        "a reference is cut short or too long",
    );
    assert_eq!(scanned(&[0x22, 0]).unwrap().totals().series, 0);
}

#[test]
fn metadata_and_starts_are_told_by_the_place_of_their_series() {
    let mut request = request(&["", "__name__", "up", "a help", "seconds", "down"], vec![]);
    let metadata = |kind, help_ref, unit_ref| {
        Some(Metadata {
            kind,
            help_ref,
            unit_ref,
        })
    };
    let histogram = |start: i64| {
        let mut bytes = model::Histogram {
            timestamp: TIME,
            ..Default::default()
        }
        .encode_to_vec();
        bytes.extend(Start { start_timestamp: start }.encode_to_vec());
        bytes
    };
    request.timeseries = vec![
        // Refused, with all that is said of it.
        TimeSeries {
            metadata: metadata(2, 3, 4),
            ..one(&[3, 4])
        },
        TimeSeries {
            metadata: metadata(0, 0, 0),
            ..one(&[1, 2])
        },
        TimeSeries {
            metadata: metadata(1, 3, 4),
            ..one(&[1, 5])
        },
        TimeSeries {
            samples: vec![sample(0, TIME, 0), sample(1, TIME + 1, TIME - 5)],
            histograms: vec![histogram(0), histogram(-7)],
            ..one(&[1, 2])
        },
        TimeSeries {
            metadata: metadata(0, 0, 4),
            ..one(&[1, 2])
        },
    ];
    let body = request.encode_to_vec();
    let scanned = scanned(&body).unwrap();
    let said = said(&scanned);
    let expected = |metadata: (i32, &str, &str), samples: &[i64], histograms: &[i64]| Said {
        metadata: (metadata.0, metadata.1.into(), metadata.2.into()),
        sample_starts: samples.to_vec(),
        histogram_starts: histograms.to_vec(),
    };
    assert_eq!(
        said,
        [
            (1, expected((1, "a help", "seconds"), &[], &[])),
            (2, expected((0, "", ""), &[0, TIME - 5], &[0, -7])),
            (3, expected((0, "", "seconds"), &[], &[])),
        ]
    );
    let totals = ExtraTotals {
        metadata: 2,
        sample_starts: 1,
        histogram_starts: 1,
    };
    assert_eq!(scanned.extras().unwrap().totals(), totals);
    assert_eq!(scanned.extras().unwrap().of(0), None);
    assert_eq!(scanned.metadata(), 2);
    compare(&body);
    // What nobody says is nothing to keep.
    assert_eq!(self::scanned(&up().encode_to_vec()).unwrap().extras(), None);
}

#[test]
fn series_with_only_exemplars_and_times_of_creation_are_taken() {
    let mut request = up();
    request.timeseries[0].samples.clear();
    request.timeseries[0].exemplars = vec![Exemplar {
        labels_refs: vec![0, 0, 2, 1],
        ..Exemplar::default()
    }];
    let mut body = request.encode_to_vec();
    compare(&body);
    let totals = scanned(&body).unwrap().totals();
    assert_eq!((totals.series, totals.samples, totals.exemplars), (1, 0, 1));
    // Field 6, once `created_timestamp`, at the end of the series.
    body = up().encode_to_vec();
    let length = body.iter().rposition(|byte| *byte == 0x2a).unwrap() + 1;
    body[length] += 7;
    body.extend([0x30, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
    assert_eq!(scanned(&body).unwrap().totals().samples, 1);
    compare(&body);
}

#[test]
fn what_references_stand_for_is_bounded_before_it_is_written() {
    let long = "x".repeat(1 << 20);
    // A hundred bytes that stand for a hundred mebibytes.
    let labels_refs = [1, 2].repeat(100);
    let body = request(&["", "__name__", &long], vec![one(&labels_refs)]).encode_to_vec();
    let limits = |max_decoded_size| ScanLimits {
        max_decoded_size,
        ..ScanLimits::NONE
    };
    for read in [
        scan(V2, body.clone(), &limits(32 << 20)).err(),
        frame(V2, body.clone(), &limits(32 << 20)).err(),
    ] {
        assert_eq!(read, Some(ScanError::WrittenTooLarge { limit: 32 << 20 }));
    }
    assert!(read_says(
        "max_decoded_size of 33554432 bytes",
        &ScanError::WrittenTooLarge { limit: 32 << 20 }
    ));
    // To the byte, at the limit and above it.
    let body = up().encode_to_vec();
    let written = scan(V2, body.clone(), &NO_LIMITS).unwrap().body().len() as u64;
    assert!(scan(V2, body.clone(), &limits(written)).is_ok());
    assert!(scan(V2, body, &limits(written - 1)).is_err());
}

fn read_says(part: &str, error: &ScanError) -> bool {
    error.to_string().contains(part)
}

#[test]
fn the_two_ways_of_writing_a_body_out_agree_on_how_large_it_is() {
    let started = TimeSeries {
        samples: vec![sample(1f64.to_bits(), TIME, 1 << 30)],
        ..one(&[1, 2])
    };
    let body = request(&["", "__name__", "up"], vec![started; 100]).encode_to_vec();
    // Start timestamps count, though 1.0 has no place for them.
    for limit in [3599, 3600, 3601, 4199, 4200] {
        let limits = ScanLimits {
            max_decoded_size: limit,
            ..NO_LIMITS
        };
        let measured_first = measure(body.clone().into(), &limits).map(|_| ());
        let at_once = frame_light(V2, &body.clone().into(), &limits).map(|_| ());
        assert_eq!(at_once, measured_first, "{limit}");
    }
}

#[test]
fn series_and_symbols_are_counted_before_anything_is_made_of_them() {
    let two = request(&["", "__name__", "up"], vec![one(&[1, 2]); 2]).encode_to_vec();
    let limits = |max_series| ScanLimits {
        max_series,
        ..ScanLimits::NONE
    };
    assert!(scan(V2, two.clone(), &limits(2)).is_ok());
    assert_eq!(
        scan(V2, two, &limits(1)).err(),
        Some(ScanError::TooManySeries { limit: 1 })
    );
    let symbols = [0x22, 0].repeat(MOST_SYMBOLS as usize);
    assert!(scan(V2, symbols.clone(), &NO_LIMITS).is_ok());
    let one_more = [symbols, vec![0x22, 0]].concat();
    let limit = MOST_SYMBOLS;
    assert_eq!(
        scan(V2, one_more, &NO_LIMITS).err(),
        Some(ScanError::TooManySymbols { limit })
    );
}

#[test]
fn what_is_much_work_is_not_light() {
    let is_light = |request: &Request| {
        frame_light(V2, &request.encode_to_vec().into(), &NO_LIMITS)
            .unwrap()
            .is_some()
    };
    let series = |count: usize| request(&["", "__name__", "up"], vec![one(&[1, 2]); count]);
    assert!(is_light(&series(4096)));
    assert!(!is_light(&series(4097)));
    let references = |count: usize| request(&["", "a"], vec![one(&vec![1; count])]);
    assert!(is_light(&references(65_536)));
    assert!(!is_light(&references(65_538)));
    let symbols = |count: usize| request(&vec![""; count], vec![]);
    assert!(is_light(&symbols(16_384)));
    assert!(!is_light(&symbols(16_385)));
    // A few references that stand for much.
    let long = "x".repeat(100_000);
    let large = |count: usize| request(&["", &long], vec![one(&[1, 1].repeat(count))]);
    assert!(is_light(&large(10)));
    assert!(!is_light(&large(11)));
    let mut samples = up();
    samples.timeseries[0].samples = vec![sample(0, 1, 0); 5000];
    assert!(!is_light(&samples));
    let mut metadata = up().encode_to_vec();
    metadata.extend([0x2a, 0x90, 0x4e]);
    metadata.extend([0x2a, 0].repeat(5000));
    assert!(frame_light(V2, &metadata.into(), &NO_LIMITS).unwrap().is_none());
}

#[test]
fn a_histogram_finer_than_receivers_store_is_reduced_in_both_versions() {
    let fine = model::Histogram {
        count: Some(model::Count::Integer(9)),
        schema: 9,
        positive_spans: vec![
            model::BucketSpan { offset: 0, length: 4 },
            model::BucketSpan { offset: 3, length: 2 },
        ],
        positive_deltas: vec![1, 2, -2, 1, -1, 0],
        timestamp: TIME,
        ..Default::default()
    };
    let mut write = WriteRequest {
        timeseries: vec![super::series(&[("__name__", "up")])],
        ..Default::default()
    };
    write.timeseries[0].histograms = vec![fine];
    let of_1_0 = scan(V1, write.encode_to_vec(), &NO_LIMITS).unwrap();
    let stored = WriteRequest::decode(of_1_0.body().clone()).unwrap();
    let stored = &stored.timeseries[0].histograms[0];
    assert_eq!(
        (stored.schema, stored.positive_deltas.as_slice()),
        (8, &[1, 3, -2, 0][..])
    );
    assert!(!of_1_0.is_as_sent());
    let of_2_0 = scanned(&as_2_0(&write).encode_to_vec()).unwrap();
    assert_eq!(of_2_0.body(), of_1_0.body());
    super::compare(&write.encode_to_vec());
    compare(&as_2_0(&write).encode_to_vec());
}

/// Metadata and starts for a request that has none.
fn say(request: &mut Request, seed: u64) {
    let mut dice = odd::Odd(seed);
    let symbols = request.symbols.len() as u64;
    for series in &mut request.timeseries {
        if dice.below(2) == 0 {
            let text = |n: u64| n.saturating_sub(3) as u32;
            series.metadata = Some(Metadata {
                kind: dice.below(8) as i32,
                help_ref: text(dice.below(symbols.min(8) + 3)).min(symbols as u32 - 1),
                unit_ref: text(dice.below(symbols.min(8) + 3)).min(symbols as u32 - 1),
            });
        }
        for sample in &mut series.samples {
            sample.start_timestamp = [0, 0, TIME, -1][dice.below(4) as usize];
        }
        for histogram in &mut series.histograms {
            let start_timestamp = [0, 0, TIME, -1][dice.below(4) as usize];
            histogram.extend(Start { start_timestamp }.encode_to_vec());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_plain_encoding_becomes_the_same_write_of_1_0(write in random::write(), seed: u64, says: bool) {
        let mut request = as_2_0(&write);
        if says {
            say(&mut request, seed);
        }
        let body = request.encode_to_vec();
        let scanned = scanned(&body).unwrap();
        prop_assert_eq!(scanned.body(), &write.encode_to_vec());
        if let Some(has_one_reading) = has_one_reading(&body) {
            prop_assert_eq!(scanned.is_as_sent(), has_one_reading);
        }
        compare(&body);
    }

    #[test]
    fn an_odd_encoding_becomes_the_same_write_of_1_0(write in random::write(), seed: u64) {
        let mut request = as_2_0(&write);
        say(&mut request, seed);
        let body = odd::Odd(seed).write_v2(&request);
        let scanned = scanned(&body).unwrap();
        prop_assert_eq!(scanned.body(), &write.encode_to_vec());
        compare(&body);
    }

    #[test]
    fn damaged_bytes_of_2_0_are_read_as_prost_reads_them(
        write in random::write(), seed: u64, odd: bool, cut: prop::sample::Index,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut request = as_2_0(&write);
        say(&mut request, seed);
        let mut body = if odd { odd::Odd(seed).write_v2(&request) } else { request.encode_to_vec() };
        random::damage(&mut body, &flips, cut);
        compare(&body);
    }

    #[test]
    fn random_bytes_of_2_0_are_read_as_prost_reads_them(body in prop::collection::vec(any::<u8>(), 0..64)) {
        compare(&body);
        compare(&[vec![0x22, 0], body].concat());
    }
}
