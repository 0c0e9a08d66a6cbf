//! What is written as remote write 2.0, read by one who shares no code with it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::labels::encode_labels;
use super::super::{Patch, Piece, Scanned, Torn, encode_v2, scan, snappy};
use super::model::{Label, TimeSeries, WriteRequest};
use super::model_v2::Said;
use super::request::{self, Told, plain, to_be_written};
use super::{NO_LIMITS, patch, random, recorded, scan_model, series};
use crate::model::Protocol::{V1, V2};

fn written<'a>(scanned: &'a Scanned, pieces: impl IntoIterator<Item = Piece<'a>>) -> Vec<Told> {
    // Whatever was there goes.
    let mut encoded = vec![7; 3];
    encode_v2(scanned, pieces, &mut encoded).unwrap();
    request::read(&snap::raw::Decoder::new().decompress_vec(&encoded).unwrap())
}

fn all_kept(scanned: &Scanned) -> impl Iterator<Item = Piece<'_>> {
    scanned.series().iter().map(Piece::Keep)
}

fn all_plain(write: WriteRequest) -> Vec<Told> {
    write.timeseries.into_iter().map(plain).collect()
}

#[test]
fn recorded_bodies_are_the_same_write_and_smaller() {
    for compressed in recorded() {
        let body = snappy::decode(&compressed, 32 << 20).unwrap();
        let model = <WriteRequest as prost::Message>::decode(&body[..]).unwrap();
        let scanned = scan(V1, body, &NO_LIMITS).unwrap();
        let mut encoded = Vec::new();
        encode_v2(&scanned, all_kept(&scanned), &mut encoded).unwrap();
        assert!(
            encoded.len() < compressed.len(),
            "{} of {}",
            encoded.len(),
            compressed.len()
        );
        assert_eq!(written(&scanned, all_kept(&scanned)), to_be_written(all_plain(model)));
    }
}

#[test]
fn nothing_is_a_table_with_the_empty_string() {
    let scanned = scan_model(&WriteRequest::default());
    let mut encoded = Vec::new();
    encode_v2(&scanned, [], &mut encoded).unwrap();
    let raw = snap::raw::Decoder::new().decompress_vec(&encoded).unwrap();
    assert_eq!(raw, [0x22, 0]);
}

#[test]
fn what_prometheus_sends_is_written_as_prometheus_writes_it() {
    let scanned = scan_model(&WriteRequest {
        timeseries: vec![series(&[("__name__", "up"), ("job", "up")])],
        ..WriteRequest::default()
    });
    let mut encoded = Vec::new();
    encode_v2(&scanned, all_kept(&scanned), &mut encoded).unwrap();
    let raw = snap::raw::Decoder::new().decompress_vec(&encoded).unwrap();
    let sample = &scanned.body()[scanned.series()[0].tail_range()];
    // Labels, a sample byte for byte, metadata that says nothing.
    let content = [&b"\x0a\x04\x01\x02\x03\x02"[..], sample, b"\x2a\x00"].concat();
    let expected = [
        &b"\x22\x00\x22\x08__name__\x22\x02up\x22\x03job\x2a"[..],
        &[content.len() as u8],
        &content,
    ];
    assert_eq!(raw, expected.concat());
}

#[test]
fn exemplars_that_came_alone_go_with_the_samples_of_their_series_under_its_new_labels() {
    let exemplar = |trace: &str| super::model::Exemplar {
        labels: vec![Label {
            name: b"trace_id".into(),
            value: trace.into(),
        }],
        value: 1,
        timestamp: 2,
    };
    let stray = |name: &str, trace: &str| TimeSeries {
        samples: Vec::new(),
        exemplars: vec![exemplar(trace)],
        ..series(&[("__name__", name)])
    };
    let write = WriteRequest {
        timeseries: vec![
            stray("a", "before"),
            series(&[("__name__", "a")]),
            stray("a", "behind"),
            stray("nobody", "alone"),
            series(&[("__name__", "a")]),
        ],
        ..WriteRequest::default()
    };
    let scanned = scan_model(&write);
    let told = written(&scanned, all_kept(&scanned));
    let traces = |told: &Told| -> Vec<Vec<u8>> {
        let exemplars = told.0.exemplars.iter();
        exemplars.map(|exemplar| exemplar.labels[0].value.clone()).collect()
    };
    assert_eq!(told.len(), 3);
    assert_eq!(traces(&told[0]), [b"before".to_vec(), b"behind".to_vec()]);
    assert_eq!(traces(&told[1]), [b"alone".to_vec()]);
    assert_eq!(traces(&told[2]), Vec::<Vec<u8>>::new());
    // Not where the samples go on under other labels.
    let mut other = Vec::new();
    encode_labels([("__name__", "b")].into_iter(), &mut other);
    let pieces = scanned.series().iter().map(|series| match series.totals().samples {
        0 => Piece::Keep(series),
        _ => Piece::Edit(series, patch(scanned.label_bytes(series), &other)),
    });
    assert_eq!(
        written(&scanned, pieces)
            .iter()
            .filter(|told| told.0.exemplars.len() == 1)
            .count(),
        3
    );
}

#[test]
fn a_piece_of_another_write_is_torn() {
    let (short, long) = (
        scan_model(&WriteRequest {
            timeseries: vec![series(&[("__name__", "a")])],
            ..WriteRequest::default()
        }),
        scan_model(&WriteRequest {
            timeseries: vec![series(&[("__name__", "a")]), series(&[("__name__", "b")])],
            ..WriteRequest::default()
        }),
    );
    let mut out = Vec::new();
    let torn = encode_v2(&short, [Piece::Keep(&long.series()[1])], &mut out);
    assert_eq!(torn, Err(Torn.into()));
    let too_much = Patch {
        first: 2,
        middle: b"",
        last: u16::MAX,
    };
    let torn = encode_v2(&long, [Piece::Edit(&long.series()[1], too_much)], &mut out);
    assert_eq!(torn, Err(Torn.into()));
    // Labels that are none.
    let torn = encode_v2(
        &long,
        [Piece::Edit(&long.series()[1], Patch::whole(b"\x0a\x01"))],
        &mut out,
    );
    assert_eq!(torn, Err(Torn.into()));
}

/// The same series again and again, kept or with labels of its own or of another.
fn choices() -> impl Strategy<Value = Vec<(prop::sample::Index, Option<prop::sample::Index>)>> {
    prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            prop::option::of(any::<prop::sample::Index>()),
        ),
        0..60,
    )
}

/// A series with all that 2.0 can say of it.
fn told(series: TimeSeries) -> impl Strategy<Value = Told> {
    let start = || prop_oneof![Just(0), any::<i64>()];
    let starts = |count| prop::collection::vec(start(), count);
    // A few long ones, which several series have.
    let long = (0..3usize, 254..258usize).prop_map(|(which, length)| ["x", "y", "z"][which].repeat(length));
    let text = move || prop_oneof![Just(String::new()), "\\PC{1,8}", "(le|up|job)", long.clone()];
    let starts = (starts(series.samples.len()), starts(series.histograms.len()));
    (starts, -1..9i32, text(), text()).prop_map(move |((sample_starts, histogram_starts), kind, help, unit)| {
        let said = Said {
            metadata: (kind, help.into(), unit.into()),
            sample_starts,
            histogram_starts,
        };
        (series.clone(), said)
    })
}

fn all_told() -> impl Strategy<Value = Vec<Told>> {
    random::write().prop_flat_map(|write| write.timeseries.into_iter().map(told).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_pieces_of_a_write_of_1_are_the_same_series_in_2(
        write in random::write(), sets in random::verdicts(), choices in choices(),
    ) {
        let scanned = scan_model(&write);
        let sets: Vec<BTreeMap<String, String>> = sets.into_iter().flatten().collect();
        let bytes: Vec<Vec<u8>> = sets.iter().map(|set| {
            let mut bytes = Vec::new();
            encode_labels(set.iter().map(|(name, value)| (name.as_str(), value.as_str())), &mut bytes);
            bytes
        }).collect();
        let (mut pieces, mut expected) = (Vec::new(), Vec::new());
        for (at, edit) in choices.iter().filter(|_| !write.timeseries.is_empty()) {
            let at = at.index(write.timeseries.len());
            let (series, mut model) = (&scanned.series()[at], write.timeseries[at].clone());
            match edit {
                Some(set) if !sets.is_empty() => {
                    let set = set.index(sets.len());
                    model.labels = random::labels_of(&sets[set]);
                    pieces.push(Piece::Edit(series, patch(scanned.label_bytes(series), &bytes[set])));
                }
                _ => pieces.push(Piece::Keep(series)),
            }
            expected.push(plain(model));
        }
        prop_assert_eq!(written(&scanned, pieces.iter().copied()), to_be_written(expected));
    }

    #[test]
    fn what_a_write_of_2_says_besides_its_series_goes_on_with_them(told in all_told(), dropped in any::<u64>()) {
        let scanned = scan(V2, request::write(&told), &NO_LIMITS).unwrap();
        prop_assert_eq!(scanned.series().len(), told.len());
        let goes_on = |at: usize| dropped >> (at % 64) & 1 == 0;
        let pieces = all_kept(&scanned).enumerate().filter(|(at, _)| goes_on(*at)).map(|(_, piece)| piece);
        let expected = told.iter().enumerate().filter(|(at, _)| goes_on(*at)).map(|(_, told)| told.clone());
        prop_assert_eq!(written(&scanned, pieces), to_be_written(expected.collect()));
    }
}
