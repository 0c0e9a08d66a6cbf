//! What is encoded by what series are, decoded by one who does not know.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::labels::{encode_labels, labels};
use super::super::splice::{Extent, splice};
use super::super::{Patch, Piece, Scanned, Series, encode, scan, snappy};
use super::model::{Label, Sample, TimeSeries, WriteRequest};
use super::{NO_LIMITS, patch, patched, random, recorded, scan_model};
use crate::model::Protocol::V1;

/// Encodes, and gives how many bytes that takes and how many the `snap` crate needs for the same body.
fn compare_sizes<'a>(scanned: &Scanned, pieces: impl Iterator<Item = Piece<'a>> + Clone) -> (usize, usize) {
    let (mut body, mut extents) = (Vec::new(), Vec::new());
    splice(&mut body, &mut extents, scanned, pieces.clone()).unwrap();
    assert_places(scanned, pieces.clone(), &body, &extents);
    // Whatever was there goes.
    let mut encoded = vec![7; 3];
    encode(scanned, pieces, 0, &mut encoded).unwrap();
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&encoded).unwrap(), body);
    // A copy saves what its element costs; long literals take two bytes and more.
    assert!(encoded.len() <= body.len() + body.len() / 32 + 8);
    let mut searched = Vec::new();
    snappy::encode(&body, &mut searched).unwrap();
    (encoded.len(), searched.len())
}

fn assert_places<'a>(scanned: &Scanned, pieces: impl Iterator<Item = Piece<'a>>, body: &[u8], extents: &[Extent]) {
    let mut places = extents.iter();
    for piece in pieces {
        let (series, label_bytes) = match piece {
            Piece::Keep(series) => (series, scanned.label_bytes(series).to_vec()),
            Piece::Edit(series, patch) => (series, patched(scanned.label_bytes(series), &patch)),
        };
        let place = places.next().unwrap();
        assert_eq!(&body[place.labels as usize..place.tail as usize], label_bytes);
        let tail = &body[place.tail as usize..place.end as usize];
        assert_eq!(tail, &scanned.body()[series.tail_range()]);
    }
    assert!(places.next().is_none());
    assert_eq!(extents.last().map_or(0, |place| place.end as usize), body.len());
}

fn label_bytes(set: &BTreeMap<String, String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_labels(
        set.iter().map(|(name, value)| (name.as_str(), value.as_str())),
        &mut bytes,
    );
    bytes
}

fn with_label_added(scanned: &Scanned, series: &Series) -> Vec<u8> {
    let mut set: BTreeMap<String, String> = labels(scanned.label_bytes(series))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    set.insert("edge".into(), "shanghai-1".into());
    label_bytes(&set)
}

#[test]
fn recorded_bodies_come_back_and_are_hardly_larger_than_searched_ones() {
    for compressed in recorded() {
        let scanned = scan(V1, snappy::decode(&compressed, 32 << 20).unwrap(), &NO_LIMITS).unwrap();
        let all = scanned.series();
        let edited: Vec<Vec<u8>> = all.iter().map(|series| with_label_added(&scanned, series)).collect();
        let edits = all
            .iter()
            .zip(&edited)
            .map(|(series, bytes)| Piece::Edit(series, patch(scanned.label_bytes(series), bytes)));
        let one_in_ten_dropped = all
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 10 != 3)
            .map(|(_, series)| series);
        for (encoded, searched) in [
            compare_sizes(&scanned, all.iter().map(Piece::Keep)),
            compare_sizes(&scanned, edits),
            compare_sizes(&scanned, one_in_ten_dropped.map(Piece::Keep)),
            compare_sizes(&scanned, all.iter().step_by(2).map(Piece::Keep)),
        ] {
            assert!(encoded * 100 <= searched * 108, "{encoded} bytes, {searched} searched");
        }
    }
}

#[test]
fn nothing_is_one_byte() {
    let scanned = scan_model(&WriteRequest::default());
    assert_eq!(compare_sizes(&scanned, std::iter::empty()), (1, 1));
}

/// Numbers that repeat nothing.
fn noise() -> impl FnMut() -> u64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state ^ state >> 29
    }
}

#[test]
fn series_that_share_nothing_grow_by_the_tags_of_their_literals() {
    let mut next = noise();
    let mut word = |length: usize| -> Vec<u8> { (0..length).map(|_| b' ' + (next() >> 40) as u8 % 90).collect() };
    let timeseries = (0..500).map(|_| TimeSeries {
        labels: vec![Label {
            name: b"__name__".into(),
            value: word(400),
        }],
        ..TimeSeries::default()
    });
    let scanned = scan_model(&WriteRequest {
        timeseries: timeseries.collect(),
        ..WriteRequest::default()
    });
    let (encoded, _) = compare_sizes(&scanned, scanned.series().iter().map(Piece::Keep));
    assert!(encoded < scanned.body().len());
}

#[test]
fn long_tails_are_searched() {
    let mut next = noise();
    let timeseries = (0..50).map(|i| TimeSeries {
        labels: vec![Label {
            name: b"__name__".into(),
            value: b"up".into(),
        }],
        samples: (0..100)
            .map(|k| Sample {
                value: ((next() % 50) as f64).to_bits(),
                timestamp: 1_700_000_000_000 + k * 15_000 + i,
            })
            .collect(),
        ..TimeSeries::default()
    });
    let scanned = scan_model(&WriteRequest {
        timeseries: timeseries.collect(),
        ..WriteRequest::default()
    });
    let (encoded, searched) = compare_sizes(&scanned, scanned.series().iter().map(Piece::Keep));
    assert!(encoded * 100 <= searched * 130, "{encoded} bytes, {searched} searched");
}

/// The same series again and again, kept or with labels of its own or of another.
fn choices() -> impl Strategy<Value = Vec<(prop::sample::Index, Option<prop::sample::Index>)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), any::<Option<prop::sample::Index>>()),
        0..300,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_pieces_come_back(write in random::write(), sets in random::verdicts(), choices in choices()) {
        let scanned = scan_model(&write);
        let sets: Vec<Vec<u8>> = sets.iter().flatten().map(label_bytes).collect();
        let pieces: Vec<Piece> = choices.iter().filter(|_| !scanned.series().is_empty()).map(|(series, edit)| {
            let series = series.get(scanned.series());
            match edit {
                Some(set) if !sets.is_empty() => Piece::Edit(series, patch(scanned.label_bytes(series), set.get(&sets[..]).as_slice())),
                _ => Piece::Keep(series),
            }
        }).collect();
        compare_sizes(&scanned, pieces.iter().copied());
    }

    #[test]
    fn label_bytes_that_are_none_come_back_too(
        write in random::write(), choices in choices(), bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let scanned = scan_model(&write);
        let pieces: Vec<Piece> = choices.iter().filter(|_| !scanned.series().is_empty()).map(|(series, edit)| {
            let series = series.get(scanned.series());
            match edit {
                Some(cut) => Piece::Edit(series, Patch::whole(&bytes[..cut.index(bytes.len() + 1)])),
                None => Piece::Keep(series),
            }
        }).collect();
        compare_sizes(&scanned, pieces.iter().copied());
    }
}
