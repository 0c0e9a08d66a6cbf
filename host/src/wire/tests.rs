//! The wire as a whole: recorded bodies, each rule by a case; `properties` has random models and damaged bytes.
//!
//! Long because it has a case for every rule.

mod copied;
mod encode;
mod model;
mod model_v2;
mod named;
mod odd;
mod properties;
mod random;
mod recognition;
mod request;
mod torn;
mod translated;
mod v2;

use std::path::Path;

use bytes::Bytes;
use prost::Message;

use super::labels::{encode_labels, labels};
use super::{
    Framed, HashKey, InvalidSeries, Patch, Piece, Proof, Recognised, ScanError, ScanLimits, Scanned, frame, scan,
    snappy, splice, write_series,
};
use crate::model::Protocol::V1;
use crate::model::Totals;
use model::{Label, Sample, TimeSeries, WriteRequest};

const NO_LIMITS: ScanLimits = ScanLimits::NONE;

fn scan_model(write: &WriteRequest) -> Scanned {
    scan(V1, write.encode_to_vec(), &NO_LIMITS).unwrap()
}

/// What lies where it seems to.
fn proved(framed: Framed, key: &HashKey) -> Recognised {
    match framed.prove(key) {
        Proof::AsFramed(recognised) => recognised,
        Proof::Otherwise(_) => panic!("not as it was framed"),
    }
}

/// The bytes of all valid series.
fn kept(scanned: &Scanned) -> Vec<u8> {
    let mut out = Vec::new();
    scanned
        .series()
        .iter()
        .for_each(|series| splice::keep(&mut out, scanned, series).unwrap());
    out
}

/// `bytes` in place of `sent`, by what they have in common.
fn patch<'a>(sent: &[u8], bytes: &'a [u8]) -> Patch<'a> {
    let same = |(a, b): &(&u8, &u8)| a == b;
    let first = sent.iter().zip(bytes).take_while(same).count();
    let (sent, rest) = (&sent[first..], &bytes[first..]);
    let last = sent.iter().rev().zip(rest.iter().rev()).take_while(same).count();
    Patch {
        first: first.try_into().unwrap(),
        middle: &rest[..rest.len() - last],
        last: last.try_into().unwrap(),
    }
}

fn patched(sent: &[u8], patch: &Patch<'_>) -> Vec<u8> {
    let last = sent.len() - usize::from(patch.last);
    [&sent[..patch.first.into()], patch.middle, &sent[last..]].concat()
}

fn compare(body: &[u8]) {
    let finding = match scan(V1, body.to_vec(), &NO_LIMITS) {
        Ok(scanned) => Some(finding(&scanned)),
        Err(ScanError::Malformed { .. }) => None,
        Err(error) => panic!("{error}: {body:x?}"),
    };
    model::compare(body, finding);
}

fn finding(scanned: &Scanned) -> model::Finding {
    let Totals {
        series,
        samples,
        histograms,
        exemplars,
    } = scanned.totals();
    let rejected = |reason: Option<InvalidSeries>| {
        let chosen = scanned
            .rejected()
            .iter()
            .filter(|rejected| reason.is_none_or(|reason| rejected.reason == reason));
        chosen.map(|rejected| rejected.totals.series).sum()
    };
    model::Finding {
        series: kept(scanned),
        received: [series, samples, histograms, exemplars],
        invalid_histograms: rejected(Some(InvalidSeries::InvalidHistogram)),
        rejected: rejected(None),
        metadata: scanned.metadata(),
    }
}

fn recorded() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rw1");
    let names = ["00006.rw", "00012.rw", "00018.rw", "00024.rw"];
    names
        .into_iter()
        .map(|name| std::fs::read(folder.join(name)).unwrap())
        .collect()
}

fn recorded_body() -> Bytes {
    snappy::decode(&recorded()[0], 32 << 20).unwrap()
}

fn series(pairs: &[(&str, &str)]) -> TimeSeries {
    let labels = pairs.iter().map(|(name, value)| Label {
        name: name.as_bytes().into(),
        value: value.as_bytes().into(),
    });
    let sample = Sample {
        value: 1f64.to_bits(),
        timestamp: 1_700_000_000_000,
    };
    TimeSeries {
        labels: labels.collect(),
        samples: vec![sample],
        ..TimeSeries::default()
    }
}

fn write(series: &[TimeSeries]) -> WriteRequest {
    WriteRequest {
        timeseries: series.to_vec(),
        ..WriteRequest::default()
    }
}

#[test]
fn recorded_bodies_are_framed_as_they_are_scanned() {
    for compressed in recorded() {
        let body = snappy::decode(&compressed, 32 << 20).unwrap();
        let scanned = scan(V1, body.clone(), &NO_LIMITS).unwrap();
        let framed = frame(V1, body, &NO_LIMITS).unwrap();
        assert_eq!(framed.series(), scanned.series());
        let proved = proved(framed, &HashKey::random().unwrap());
        assert_eq!((proved.unknown().len(), proved.scanned()), (2000, &scanned));
    }
}

#[test]
fn a_value_that_looks_like_a_sample_is_seen_for_what_it_is() {
    let sample = |value: &[u8]| {
        [
            b"\x12",
            &[value.len() as u8 + 7],
            value,
            b"\x10\x81\x82\x83\x84\x85\x06",
        ]
        .concat()
    };
    for (disguise, samples) in [
        (sample(b""), 1),
        (sample(b"\x09........"), 1),
        (sample(b"").repeat(2), 2),
    ] {
        // The bytes are no UTF-8, so the series is refused; were it taken as framed, it would pass with samples of its own.
        let labels = [
            b"\x0a".as_slice(),
            &[disguise.len() as u8 + 12],
            b"\x0a\x08__name__\x12",
            &[disguise.len() as u8],
            &disguise,
        ]
        .concat();
        let body = [b"\x0a".as_slice(), &[labels.len() as u8], &labels].concat();
        let framed = frame(V1, body.clone(), &NO_LIMITS).unwrap();
        assert_eq!(framed.series()[0].samples, samples);
        let key = HashKey::random().unwrap();
        let Proof::Otherwise(refuted) = framed.prove(&key) else {
            panic!("taken for samples: {body:x?}")
        };
        let scanned = proved(refuted.scan().unwrap(), &key).into_scanned();
        assert_eq!(scanned, scan(V1, body, &NO_LIMITS).unwrap());
        assert_eq!((scanned.series().len(), scanned.totals().samples), (0, 0));
    }
}

#[test]
fn recorded_bodies_are_canonical_and_come_out_byte_for_byte() {
    for compressed in recorded() {
        let body = snappy::decode(&compressed, 32 << 20).unwrap();
        let scanned = scan(V1, body.clone(), &NO_LIMITS).unwrap();
        assert!(scanned.is_as_sent());
        assert_eq!(
            scanned.totals(),
            Totals {
                series: 2000,
                samples: 2000,
                histograms: 0,
                exemplars: 0
            }
        );
        assert_eq!(kept(&scanned), body);
        let mut spliced = Vec::new();
        splice::splice(
            &mut spliced,
            &mut Vec::new(),
            &scanned,
            scanned.series().iter().map(Piece::Keep),
        )
        .unwrap();
        assert_eq!(spliced, body);
        // Editing every series to the labels it has changes nothing.
        let mut edited = Vec::new();
        for series in scanned.series() {
            let mut bytes = Vec::new();
            encode_labels(labels(scanned.label_bytes(series)), &mut bytes);
            splice::edit(&mut edited, &scanned, series, &Patch::whole(&bytes)).unwrap();
        }
        assert_eq!(edited, body);
        compare(&body);
    }
}

#[test]
fn a_body_of_2_0_that_is_labelled_as_1_0_is_no_empty_write() {
    let request = model_v2::as_2_0(&write(&[series(&[("__name__", "up")])])).encode_to_vec();
    let told = scan(V1, request.clone(), &NO_LIMITS).unwrap_err().to_string();
    assert!(
        told.ends_with("it looks like remote write 2.0, and is labelled as 1.0"),
        "{told}"
    );
    compare(&request);
    compare(&[0x22, 0]);
    // Beside what 1.0 has, and of another type, they are fields that nobody knows.
    for known in [&b"\x0a\x00"[..], b"\x1a\x00", b"\x20\x01"] {
        let others = if known[0] == 0x20 { &[][..] } else { &request[..] };
        let body = [known, others].concat();
        assert_eq!(scan(V1, body.clone(), &NO_LIMITS).unwrap().valid().series, 0);
        compare(&body);
    }
}

#[test]
fn an_empty_body_is_a_write_of_nothing() {
    let scanned = scan(
        V1,
        Vec::new(),
        &ScanLimits {
            max_series: 0,
            ..ScanLimits::NONE
        },
    )
    .unwrap();
    assert!(scanned.is_as_sent());
    assert_eq!(scanned.totals(), Totals::default());
}

#[test]
fn a_series_without_samples_is_kept_as_it_is() {
    let bare = TimeSeries {
        samples: vec![],
        ..series(&[("__name__", "up")])
    };
    let scanned = scan_model(&write(&[bare]));
    assert!(scanned.is_as_sent());
    assert_eq!(
        scanned.totals(),
        Totals {
            series: 1,
            ..Totals::default()
        }
    );
}

#[test]
fn a_write_may_have_as_many_series_as_the_limit_and_not_one_more() {
    let body = write(&vec![series(&[("__name__", "up")]); 3]).encode_to_vec();
    // Unsorted labels, and empty messages: both leave the fast path and are counted there before anything is built.
    let odd = write(&vec![series(&[("__name__", "up"), ("A", "b")]); 3]).encode_to_vec();
    for body in [body, odd, [0x0a, 0x00].repeat(3)] {
        assert!(
            scan(
                V1,
                body.clone(),
                &ScanLimits {
                    max_series: 4,
                    ..ScanLimits::NONE
                }
            )
            .is_ok()
        );
        assert!(
            scan(
                V1,
                body.clone(),
                &ScanLimits {
                    max_series: 3,
                    ..ScanLimits::NONE
                }
            )
            .is_ok()
        );
        let told = scan(
            V1,
            body,
            &ScanLimits {
                max_series: 2,
                ..ScanLimits::NONE
            },
        )
        .unwrap_err();
        assert_eq!(told, ScanError::TooManySeries { limit: 2 });
    }
}

#[test]
fn millions_of_empty_series_are_refused_by_count() {
    let body = [0x0a, 0x00].repeat(5_000_000);
    let told = scan(
        V1,
        body,
        &ScanLimits {
            max_series: 1_000_000,
            ..ScanLimits::NONE
        },
    )
    .unwrap_err();
    assert_eq!(told, ScanError::TooManySeries { limit: 1_000_000 });
}

#[test]
fn histograms_are_bounded_in_number_on_both_paths() {
    let label = b"\x0a\x0e\x0a\x08__name__\x12\x02up".as_slice();
    let with = |histograms: usize, odd: &[u8]| {
        let content = [label, odd, &[0x22, 0x00].repeat(histograms)].concat();
        let mut body = vec![0x0a];
        prost::encoding::encode_varint(content.len() as u64, &mut body);
        scan(V1, [body, content].concat(), &NO_LIMITS)
    };
    for odd in [b"".as_slice(), b"\x28\x01"] {
        let scanned = with(100_000, odd).unwrap();
        assert_eq!(
            (scanned.totals().histograms, scanned.is_as_sent()),
            (100_000, odd.is_empty())
        );
        assert_eq!(
            with(100_001, odd).unwrap_err(),
            ScanError::TooManyHistograms { limit: 100_000 }
        );
    }
}

#[test]
fn labels_are_bounded_in_number_on_both_paths() {
    let names = (0..10_001).map(|i| format!("a{i:05}")).collect::<Vec<_>>();
    let with = |count: usize, reversed: bool| {
        let mut pairs = vec![("__name__", "up")];
        pairs.extend(names[..count - 1].iter().map(|name| (name.as_str(), "x")));
        if reversed {
            pairs.reverse();
        }
        scan(V1, write(&[series(&pairs)]).encode_to_vec(), &NO_LIMITS)
    };
    for reversed in [false, true] {
        assert_eq!(with(10_000, reversed).unwrap().is_as_sent(), !reversed);
        assert_eq!(
            with(10_001, reversed).unwrap_err(),
            ScanError::TooManyLabels { limit: 10_000 }
        );
    }
}

#[test]
fn a_series_with_an_inconsistent_histogram_is_rejected_and_its_neighbours_pass() {
    let good = series(&[("__name__", "up")]);
    let histogram = model::Histogram {
        count: Some(model::Count::Integer(1)),
        ..model::Histogram::default()
    };
    let bad = TimeSeries {
        histograms: vec![histogram.clone(), model::Histogram::default()],
        ..good.clone()
    };
    let mut odd = bad.clone();
    odd.labels.push(Label {
        name: b"A".to_vec(),
        value: b"x".to_vec(),
    });
    for bad in [bad, odd] {
        let scanned = scan_model(&write(&[good.clone(), bad, good.clone()]));
        let rejected = super::Rejected {
            reason: InvalidSeries::InvalidHistogram,
            totals: Totals {
                series: 1,
                samples: 1,
                histograms: 2,
                exemplars: 0,
            },
            first: super::Shown::of([(&b"__name__"[..], &b"up"[..])].into_iter(), None),
        };
        assert_eq!(scanned.rejected(), [rejected]);
        assert_eq!(
            scanned.totals(),
            Totals {
                series: 3,
                samples: 3,
                histograms: 2,
                exemplars: 0
            }
        );
        assert!(!scanned.is_as_sent());
        assert_eq!(kept(&scanned), write(&[good.clone(), good.clone()]).encode_to_vec());
    }
}

#[test]
fn metadata_is_counted_and_not_passed_on() {
    let mut both = write(&[series(&[("__name__", "up")]), series(&[("__name__", "down")])]);
    let plain = both.encode_to_vec();
    both.metadata = vec![b"\x08\x01".to_vec(); 3];
    let scanned = scan_model(&both);
    assert_eq!((scanned.metadata(), scanned.is_as_sent()), (3, false));
    assert_eq!(kept(&scanned), plain);
    // Between two series it does not get into a run of kept ones either.
    let [first, last] = [0, 1].map(|i| write(&both.timeseries[i..=i]).encode_to_vec());
    let apart = [first.as_slice(), b"\x1a\x02\x08\x01", &last].concat();
    let scanned = scan(V1, apart, &NO_LIMITS).unwrap();
    let mut spliced = Vec::new();
    splice::splice(
        &mut spliced,
        &mut Vec::new(),
        &scanned,
        scanned.series().iter().map(Piece::Keep),
    )
    .unwrap();
    assert_eq!((scanned.metadata(), spliced), (1, plain));
    both.timeseries.clear();
    let scanned = scan_model(&both);
    assert_eq!((scanned.metadata(), scanned.totals()), (3, Totals::default()));
}

#[test]
fn unsorted_labels_are_sorted_and_empty_ones_dropped() {
    let sent = series(&[("z", "1"), ("__name__", "up"), ("empty", ""), ("A", "2"), ("", "")]);
    let scanned = scan_model(&write(&[sent]));
    assert!(!scanned.is_as_sent() && scanned.rejected().is_empty());
    let read = labels(scanned.label_bytes(&scanned.series()[0])).collect::<Vec<_>>();
    assert_eq!(read, [("A", "2"), ("__name__", "up"), ("z", "1")]);
}

#[test]
fn an_invalid_series_is_counted_by_reason_and_its_neighbours_pass() {
    let good = series(&[("__name__", "up")]);
    let mut bad_name = good.clone();
    bad_name.labels.push(Label {
        name: b"a\xff".to_vec(),
        value: b"b".to_vec(),
    });
    let mut bad_value = good.clone();
    bad_value.labels.push(Label {
        name: b"a".to_vec(),
        value: b"\xc3\x28".to_vec(),
    });
    let mut bad_exemplar = good.clone();
    let label = Label {
        name: b"\xff".to_vec(),
        value: vec![],
    };
    bad_exemplar.exemplars = vec![model::Exemplar {
        labels: vec![label],
        value: 0,
        timestamp: 1,
    }];
    let cases = [
        (bad_name, InvalidSeries::InvalidUtf8, "up{\"a\u{fffd}\"=\"b\"}"),
        (bad_value, InvalidSeries::InvalidUtf8, "up{a=\"\u{fffd}(\"}"),
        (bad_exemplar, InvalidSeries::InvalidUtf8, "up"),
        (
            series(&[("", "x"), ("__name__", "up")]),
            InvalidSeries::EmptyLabelName,
            r#"up{""="x"}"#,
        ),
        (
            series(&[("__name__", "up"), ("a", "1"), ("a", "1")]),
            InvalidSeries::DuplicateLabel,
            r#"up{a="1"}"#,
        ),
        (
            series(&[("__name__", "up"), ("a", "1"), ("b", "2"), ("a", "1")]),
            InvalidSeries::DuplicateLabel,
            r#"up{a="1"}"#,
        ),
        (series(&[("a", "1")]), InvalidSeries::MissingMetricName, r#"{a="1"}"#),
        (
            series(&[("__name__", ""), ("a", "1")]),
            InvalidSeries::MissingMetricName,
            r#"{a="1"}"#,
        ),
        (series(&[]), InvalidSeries::MissingMetricName, "{}"),
    ];
    for (bad, reason, first) in cases {
        let scanned = scan_model(&write(&[good.clone(), bad.clone(), bad.clone(), good.clone()]));
        assert_eq!(scanned.series().len(), 2);
        assert!(!scanned.is_as_sent());
        let [rejected] = scanned.rejected() else {
            panic!("{:?}", scanned.rejected())
        };
        assert_eq!((rejected.reason, &*rejected.first.to_string()), (reason, first));
        let exemplars = 2 * bad.exemplars.len() as u64;
        assert_eq!(
            rejected.totals,
            Totals {
                series: 2,
                samples: 2,
                histograms: 0,
                exemplars
            }
        );
        assert_eq!(
            scanned.totals(),
            Totals {
                series: 4,
                samples: 4,
                histograms: 0,
                exemplars
            }
        );
        assert_eq!(kept(&scanned), write(&[good.clone(), good.clone()]).encode_to_vec());
    }
}

#[test]
fn an_empty_label_beside_one_of_its_name_is_no_duplicate() {
    let scanned = scan_model(&write(&[series(&[("__name__", "up"), ("a", ""), ("a", "1")])]));
    assert!(scanned.rejected().is_empty());
    assert_eq!(
        kept(&scanned),
        write(&[series(&[("__name__", "up"), ("a", "1")])]).encode_to_vec()
    );
}

#[test]
fn float_bits_survive_both_paths() {
    let bits = [
        0x7ff0_0000_0000_0002,
        (-0.0f64).to_bits(),
        0,
        f64::NAN.to_bits() | 1 << 63,
        u64::MAX,
    ];
    let mut plain = series(&[("__name__", "up")]);
    plain.samples = bits.iter().map(|&value| Sample { value, timestamp: -1 }).collect();
    let mut unsorted = plain.clone();
    unsorted.labels.push(Label {
        name: b"A".to_vec(),
        value: b"x".to_vec(),
    });
    for sent in [plain, unsorted] {
        let scanned = scan_model(&write(&[sent]));
        let got = WriteRequest::decode(kept(&scanned).as_slice()).unwrap();
        assert_eq!(
            got.timeseries[0]
                .samples
                .iter()
                .map(|sample| sample.value)
                .collect::<Vec<_>>(),
            bits
        );
        assert!(got.timeseries[0].samples.iter().all(|sample| sample.timestamp == -1));
    }
}

#[test]
fn any_step_off_the_canonical_form_leaves_the_fast_path_and_changes_nothing_else() {
    let plain = write(&[series(&[("__name__", "up"), ("a", "é")])]).encode_to_vec();
    assert!(scan(V1, plain.clone(), &NO_LIMITS).unwrap().is_as_sent());
    let content = &plain[2..];
    let label = b"\x0a\x0e\x0a\x08__name__\x12\x02up";
    assert!(content.starts_with(label));
    let rest = &content[label.len()..];
    let (a, sample) = rest.split_at(9);
    let variants: [Vec<u8>; 11] = [
        // A length with a needless byte, of the series and of a label.
        [&[0x0a, content.len() as u8 | 0x80, 0x00], content].concat(),
        wrap(&[b"\x0a\x8e\x00", &label[2..], rest].concat()),
        // A key with a needless byte.
        [b"\x8a\x00".as_slice(), &plain[1..]].concat(),
        // Unknown fields: in the write, the series, a label, the sample.
        [plain.as_slice(), b"\x10\x01"].concat(),
        wrap(&[content, b"\x28\x01"].concat()),
        wrap(&[b"\x0a\x10", &label[2..], b"\x18\x01", rest].concat()),
        wrap(&[label, a, b"\x12\x12", &sample[2..], b"\x18\x01"].concat()),
        // A group.
        wrap(&[content, b"\x2b\x2c"].concat()),
        // Value before name, a name said twice, a sample before the labels' end.
        wrap(&[b"\x0a\x0e\x12\x02up\x0a\x08__name__", rest].concat()),
        wrap(&[b"\x0a\x11\x0a\x01x\x0a\x08__name__\x12\x02up", rest].concat()),
        wrap(&[label, sample, a].concat()),
    ];
    for odd in variants {
        let scanned = scan(V1, odd.clone(), &NO_LIMITS).unwrap_or_else(|error| panic!("{error}: {odd:x?}"));
        assert!(!scanned.is_as_sent(), "{odd:x?}");
        assert_eq!(*scanned.body(), plain);
        compare(&odd);
    }
}

#[test]
fn what_only_looks_canonical_at_first_leaves_the_fast_path() {
    let metric = b"\x0a\x0e\x0a\x08__name__\x12\x02up".as_slice();
    let sample = b"\x12\x10\x09\0\0\0\0\0\0\xf0\x3f\x10\x80\xd0\x95\xff\xbc\x31";
    let exemplar = b"\x1a\x02\x18\x01";
    let name = [b'n'; 130];
    let empty = [b"\x0a\x87\x01\x0a\x82\x01", name.as_slice(), b"\x12\x00"].concat();
    let cases: [(Vec<u8>, Vec<u8>); 6] = [
        // Empty values, in a short and in a long label.
        (
            [metric, b"\x0a\x05\x0a\x01a\x12\x00", sample].concat(),
            [metric, sample].concat(),
        ),
        ([metric, &empty, sample].concat(), [metric, sample].concat()),
        // Samples after an exemplar, a usual and an empty one.
        ([metric, exemplar, sample].concat(), [metric, sample, exemplar].concat()),
        (
            [metric, exemplar, b"\x12\x00"].concat(),
            [metric, b"\x12\x00", exemplar].concat(),
        ),
        // A timestamp of six bytes that needs five.
        (
            [metric, b"\x12\x10\x09\0\0\0\0\0\0\xf0\x3f\x10\x80\xd0\x95\xff\xbc\x00"].concat(),
            [metric, b"\x12\x0f\x09\0\0\0\0\0\0\xf0\x3f\x10\x80\xd0\x95\xff\x3c"].concat(),
        ),
        // Names that begin alike and descend.
        (
            [
                metric,
                b"\x0a\x0e\x0a\x09a2345678z\x12\x01v\x0a\x0d\x0a\x08a2345678\x12\x01v",
                sample,
            ]
            .concat(),
            [
                metric,
                b"\x0a\x0d\x0a\x08a2345678\x12\x01v\x0a\x0e\x0a\x09a2345678z\x12\x01v",
                sample,
            ]
            .concat(),
        ),
    ];
    for (odd, plain) in cases {
        let [odd, plain] = [odd, plain].map(|content| {
            let mut body = vec![0x0a];
            prost::encoding::encode_varint(content.len() as u64, &mut body);
            [body, content].concat()
        });
        assert!(scan(V1, plain.clone(), &NO_LIMITS).unwrap().is_as_sent(), "{plain:x?}");
        let scanned = scan(V1, odd.clone(), &NO_LIMITS).unwrap();
        assert!(!scanned.is_as_sent(), "{odd:x?}");
        assert_eq!(*scanned.body(), plain);
        compare(&odd);
    }
}

fn wrap(series: &[u8]) -> Vec<u8> {
    [&[0x0a, series.len() as u8], series].concat()
}

#[test]
fn an_explicit_zero_can_be_read_in_one_way_and_stays() {
    let label = b"\x0a\x0e\x0a\x08__name__\x12\x02up".as_slice();
    for sample in [
        b"\x12\x00".as_slice(),
        b"\x12\x02\x10\x00",
        b"\x12\x0b\x09\0\0\0\0\0\0\0\0\x10\x00",
    ] {
        let body = wrap(&[label, sample].concat());
        let scanned = scan(V1, body.clone(), &NO_LIMITS).unwrap();
        assert!(scanned.is_as_sent());
        compare(&body);
    }
}

#[test]
fn bytes_that_are_no_protobuf_are_malformed() {
    let wrong_types = [
        b"\x08\x01".as_slice(),
        b"\x18\x01",
        b"\x0a\x02\x08\x01",
        b"\x0a\x02\x10\x01",
        b"\x0a\x04\x0a\x02\x08\x01",
        b"\x0a\x04\x12\x02\x08\x01",
        b"\x0a\x05\x12\x03\x12\x01\x00",
        b"\x0a\x04\x22\x02\x1a\x00",
    ];
    let broken = [
        b"\x0a".as_slice(),
        b"\x0a\x05\x0a",
        b"\x00",
        b"\x00\x00",
        b"\x02\x00",
        b"\x0f",
        b"\x2c",
        b"\x2b",
        &[0xff; 12],
    ];
    for body in wrong_types.into_iter().chain(broken) {
        let told = scan(V1, body.to_vec(), &NO_LIMITS).unwrap_err();
        assert!(matches!(told, ScanError::Malformed { .. }), "{body:x?}: {told}");
        compare(body);
    }
}

#[test]
fn a_series_written_from_values_is_canonical_and_reads_as_them() {
    let samples = [(1.5, 1_700_000_000_000), (0.0, -1), (-0.0, 0)];
    let labels = [("__name__", "up"), ("a", "é")];
    let mut body = Vec::new();
    (0..2).for_each(|_| write_series(&mut body, labels.into_iter(), samples.into_iter()));
    let sample = |(value, timestamp): (f64, i64)| Sample {
        value: value.to_bits(),
        timestamp,
    };
    let mut expected = series(&labels);
    expected.samples = samples.map(sample).to_vec();
    assert_eq!(
        WriteRequest::decode(body.as_slice()).unwrap(),
        write(&vec![expected; 2])
    );
    assert!(scan(V1, body, &NO_LIMITS).unwrap().is_as_sent());
}
