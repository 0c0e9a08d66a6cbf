//! Series of 2.0 that are called by their hashes with nothing written out: the same as where they are written out.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use prost::Message;

use super::super::{
    Foresight, Framed, HashKey, Measured, Proof, ScanLimits, Scanned, Series, SeriesHash, frame_measured, v2,
};
use super::copied::{assert_comes_back, compare as compare_copied, firsts_and_others, request};
use super::model::WriteRequest;
use super::model_v2::{Metadata, Request, as_2_0};
use super::{NO_LIMITS, recorded_body, snappy};

static KEY: LazyLock<HashKey> = LazyLock::new(|| HashKey::random().unwrap());

fn named_within(body: &[u8], limits: &ScanLimits) -> Option<Measured> {
    v2::name(&body.to_vec().into(), limits, &KEY, &Arc::default())
}

fn named(request: &Request) -> Option<Framed> {
    named_within(&request.encode_to_vec(), &NO_LIMITS).map(|named| frame_measured(named).unwrap())
}

/// If the series of `body` are named, they are called, and lie, as they do where they are written out.
pub fn compare(body: &[u8], written: Option<&Scanned>) {
    let Some(named) = named_within(body, &NO_LIMITS) else {
        return;
    };
    let written = written.expect("only what is well-formed is named");
    let size = named.size();
    assert!(named.is_light() && named.is_framed());
    assert_eq!(named.written(), written.length() as u64);
    let (scanned, hashes) = v2::frame(named).unwrap();
    assert!(written.is_as_sent() && scanned.is_as_sent());
    assert_eq!(scanned.series(), written.series());
    assert_eq!((scanned.valid(), scanned.totals()), (written.valid(), written.totals()));
    assert_eq!((scanned.metadata(), scanned.extras()), (0, None));
    assert_eq!((written.metadata(), written.extras()), (0, None));
    let hashed = written
        .series()
        .iter()
        .map(|series| KEY.hash(written.label_bytes(series)));
    assert_eq!(hashes.unwrap(), hashed.collect::<Vec<_>>());
    assert_eq!(scanned.length(), written.length());
    // Only now.
    assert_eq!(scanned.body(), written.body());
    assert_comes_back(&scanned);
    let held = written.length() + scanned.series().len() * (size_of::<Series>() + size_of::<SeriesHash>());
    assert!(held as u64 <= size);
}

fn recorded_2_0() -> Request {
    as_2_0(&WriteRequest::decode(recorded_body()).unwrap())
}

#[test]
fn recorded_bodies_are_named() {
    for compressed in super::recorded() {
        let sent = snappy::decode(&compressed, 32 << 20).unwrap();
        let request = as_2_0(&WriteRequest::decode(sent).unwrap());
        assert_eq!(named(&request).unwrap().series().len(), request.timeseries.len());
    }
}

#[test]
fn what_is_not_known_is_written_and_proved() {
    let request = request(
        &["", "__name__", "up", "job", "a"],
        &[&[1, 2, 3, 4][..], &[1, 4]].repeat(20),
    );
    let mut framed = named(&request).unwrap();
    let mut asked = framed.ask(&KEY, usize::MAX);
    assert_eq!(asked.left(), 40);
    let mut sent = Vec::new();
    asked.answer(1, |question| {
        sent.extend_from_slice(question.sent());
        None
    });
    assert_eq!(sent, b"\x0a\x0e\x0a\x08__name__\x12\x02up\x0a\x08\x0a\x03job\x12\x01a");
    let Proof::AsFramed(recognised) = framed.prove(&KEY) else {
        panic!("its labels are in order")
    };
    assert_eq!(recognised.unknown().len(), 40);
    // These are not.
    let unordered = self::request_of(&[3, 4, 1, 2]);
    let Proof::Otherwise(refuted) = named(&unordered).unwrap().prove(&KEY) else {
        panic!("its labels are not in order")
    };
    let again = refuted.scan().unwrap();
    assert_eq!(again.series().len(), 20);
    let Proof::AsFramed(recognised) = again.prove(&KEY) else {
        panic!("it was written in order")
    };
    let hash = named(&self::request_of(&[1, 2, 3, 4])).unwrap().ask(&KEY, 1).left();
    assert_eq!(hash, 20);
    let mut ordered = named(&self::request_of(&[1, 2, 3, 4])).unwrap();
    let mut hashes = Vec::new();
    ordered.ask(&KEY, 20).answer(20, |question| {
        hashes.push(question.hash());
        None
    });
    assert_eq!(hashes[0], recognised.hash(0).hash());
}

/// Of twenty times the same series.
fn request_of(references: &[u32]) -> Request {
    request(&["", "__name__", "up", "job", "a"], &[references].repeat(20))
}

#[test]
fn what_says_something_besides_or_is_no_usual_series_is_not_named() {
    let usual = || request_of(&[1, 2, 3, 4]);
    assert!(named(&usual()).is_some());
    let changes: [&dyn Fn(&mut Request); 6] = [
        &|request| {
            request.timeseries[7].metadata = Some(Metadata {
                kind: 1,
                ..Metadata::default()
            })
        },
        &|request| request.timeseries[7].samples[0].start_timestamp = 1_690_000_000_000,
        &|request| request.timeseries[7].samples[0].timestamp = 5,
        &|request| request.timeseries[7].samples.clear(),
        &|request| request.timeseries[7].labels_refs.truncate(3),
        &|request| request.timeseries[7].labels_refs[2] = 5,
    ];
    for change in changes {
        let mut request = usual();
        change(&mut request);
        assert!(named(&request).is_none());
        request.timeseries.rotate_left(8);
        assert!(named(&request).is_none());
    }
    // A symbol that is not text, though no series refers to it.
    let mut request = usual();
    request.symbols.push(b"\xff".to_vec());
    assert!(named(&request).is_none());
    // Something behind the series, and a reference that is longer than it need be.
    let body = usual().encode_to_vec();
    assert!(named_within(&[&body[..], &[0x22, 0]].concat(), &NO_LIMITS).is_none());
    let (before, after) = body.split_at(body.windows(2).position(|two| two == [1, 2]).unwrap());
    assert_eq!(after[..4], [1, 2, 3, 4]);
    for (at, padded) in [(1, [0x82, 0]), (3, [0x84, 0])] {
        let mut padded = [before, &after[..at], &padded, &after[at + 1..]].concat();
        padded[before.len() - 1] += 1;
        padded[before.len() - 3] += 1;
        compare_copied(&padded).unwrap();
        assert!(named_within(&padded, &NO_LIMITS).is_none());
    }
}

#[test]
fn no_more_is_named_than_is_light_and_within_the_limits() {
    let request = recorded_2_0();
    let body = request.encode_to_vec();
    let (count, written) = (request.timeseries.len() as u64, recorded_body().len() as u64);
    for (max_series, max_decoded_size, is_named) in [
        (count, written, true),
        (count - 1, written, false),
        (count, written - 1, false),
    ] {
        let limits = ScanLimits {
            max_series,
            max_decoded_size,
        };
        assert_eq!(named_within(&body, &limits).is_some(), is_named);
    }
    let of =
        |series: &[u32], count: usize| named(&super::copied::request(&["", "__name__", "up"], &vec![series; count]));
    assert!(of(&[1, 2], 4096).is_some());
    assert!(of(&[1, 2], 4097).is_none());
    // References and bytes, of which a short series may have many.
    let many = [1, 2].repeat(20);
    assert!(of(&many, 65_536 / 40).is_some());
    assert!(of(&many, 65_536 / 40 + 1).is_none());
    let long = "x".repeat(900);
    let of = |count: usize| {
        named(&super::copied::request(
            &["", "__name__", &long],
            &vec![&[1, 2][..]; count],
        ))
    };
    let most = (2 << 20) / (900 + 40);
    assert!(of(most - 20).is_some());
    assert!(of(most + 20).is_none());
    // Samples, of which one is no more than its series.
    let of = |samples: usize| {
        let mut request = request_of(&[1, 2, 3, 4]);
        request.timeseries[7].samples = vec![request.timeseries[7].samples[0]; samples];
        named(&request)
    };
    assert!(of(4097).is_some());
    assert!(of(4098).is_none());
    // More than is hashed at once.
    let many = [1, 2].repeat(5);
    assert!(named(&super::copied::request(&["", "__name__", &long], &[&many])).is_none());
}

#[test]
fn who_asks_for_the_bytes_has_the_next_ones_written_at_once() {
    let foresight = Arc::<Foresight>::default();
    let body = recorded_2_0().encode_to_vec();
    let named = || v2::name(&body.clone().into(), &NO_LIMITS, &KEY, &foresight);
    let asked_for = |named: Option<Measured>| v2::frame(named.unwrap()).unwrap().0.body().len();
    assert_eq!(asked_for(named()), recorded_body().len());
    asked_for(named());
    let at_once = (0..100).take_while(|_| named().is_none()).count();
    assert!((1..100).contains(&at_once));
    // Nobody does.
    assert!((0..100).all(|_| named().is_some()));
    // Nor is it tried with each of those that cannot be named.
    let mut other = recorded_2_0();
    other.timeseries[1999].samples[0].timestamp = 5;
    let other = other.encode_to_vec();
    for _ in 0..10 {
        assert!(v2::name(&other.clone().into(), &NO_LIMITS, &KEY, &foresight).is_none());
    }
    assert!(named().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn usual_series_are_named_whatever_their_labels(mut request in firsts_and_others()) {
        for series in &mut request.timeseries {
            series.samples.truncate(1);
            series.samples[0].start_timestamp = 0;
            series.metadata = Some(Metadata::default());
        }
        if let Some(written) = compare_copied(&request.encode_to_vec()) {
            // A series with more labels is written out.
            let has_room = |series| written.label_bytes(series).len() <= 4096;
            if written.series().iter().all(has_room) {
                prop_assert_eq!(named(&request).is_some(), written.is_as_sent());
            }
        }
    }
}
