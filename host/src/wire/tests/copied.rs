//! Bodies of 2.0 that are written out at once: the same as those that are measured first, with labels that lie where they
//! are said to, and compressed by that so that one who knows nothing of it reads the same bytes.

use proptest::prelude::*;
use prost::Message;

use super::super::labels::label_bytes;
use super::super::{Piece, ScanError, ScanLimits, Scanned, encode, encode_copied, v2};
use super::model::WriteRequest;
use super::model_v2::{Metadata, Request, Sample, TimeSeries, as_2_0};
use super::{NO_LIMITS, named, recorded_body, snappy};
use crate::model::Protocol::V1;

const TIME: i64 = 1_700_000_000_000;

/// What is written out of `body` at once is what is written out of it once it was measured. None where it is not written.
pub fn compare(body: &[u8]) -> Option<Scanned> {
    let measured_first = v2::measure(body.to_vec().into(), &NO_LIMITS).and_then(v2::frame);
    named::compare(body, measured_first.as_ref().ok().map(|(scanned, _)| scanned));
    let at_once = match v2::measure_light(&body.to_vec().into(), &NO_LIMITS) {
        Ok(measured) => measured.filter(|measured| measured.is_framed())?,
        Err(error) => {
            assert_eq!(measured_first.err(), Some(error));
            return None;
        }
    };
    let size = at_once.size();
    let at_once = v2::frame(at_once).unwrap().0;
    let measured_first = measured_first.unwrap().0;
    assert!(at_once.body().len() as u64 <= size);
    for scanned in [&at_once, &measured_first] {
        assert_rows(scanned);
        assert_comes_back(scanned);
    }
    // Which rows are found may differ: each makes room for as many as it expects.
    assert!(at_once.clone().without_rows() == measured_first.without_rows());
    Some(at_once)
}

/// Where labels are said to lie before, there they lie; a row is of whole labels of one series.
fn assert_rows(scanned: &Scanned) {
    let body = scanned.body();
    let mut rows = scanned.rows().iter().peekable();
    for series in scanned.series().iter().filter(|_| scanned.is_copied()) {
        let labels = series.labels_range();
        let mut bounds = vec![labels.start];
        while bounds[bounds.len() - 1] < labels.end {
            let end = super::super::varint::read_extent(body, bounds[bounds.len() - 1] + 1)
                .unwrap()
                .1;
            bounds.push(end);
        }
        let mut before = labels.start;
        while let Some(row) = rows.next_if(|row| labels.contains(&(row.at as usize))) {
            let (at, end, from) = (row.at as usize, row.end as usize, row.from as usize);
            assert!(before <= at && at < end && from < at);
            assert!(bounds.contains(&at) && bounds.contains(&end));
            assert_eq!(&body[from..from + (end - at)], &body[at..end]);
            before = end;
        }
    }
    assert_eq!(rows.next(), None);
}

/// Gives how many bytes it takes.
pub fn assert_comes_back(scanned: &Scanned) -> usize {
    // Whatever was there goes.
    let mut encoded = vec![7; 3];
    encode_copied(scanned, &mut encoded).unwrap();
    assert_eq!(
        &snap::raw::Decoder::new().decompress_vec(&encoded).unwrap(),
        scanned.body()
    );
    // A copy saves what its element costs; long literals take two bytes and more.
    assert!(encoded.len() <= scanned.body().len() + scanned.body().len() / 32 + 8);
    encoded.len()
}

#[test]
fn recorded_bodies_are_no_larger_than_where_each_label_is_looked_for() {
    for compressed in super::recorded() {
        let sent = snappy::decode(&compressed, 32 << 20).unwrap();
        let write = WriteRequest::decode(sent.clone()).unwrap();
        let scanned = compare(&as_2_0(&write).encode_to_vec()).expect("a usual write is written at once");
        assert_eq!(scanned.body(), &sent);
        assert!(scanned.is_copied());
        let mut looked_for = Vec::new();
        encode(&scanned, scanned.series().iter().map(Piece::Keep), 0, &mut looked_for).unwrap();
        let copied = assert_comes_back(&scanned);
        assert!(copied <= looked_for.len(), "{copied} of {}", looked_for.len());
    }
}

/// As of Kubernetes, where one value stands under several names, labels are many and long, and codes come in turns.
#[test]
fn values_under_several_names_are_hardly_larger_than_where_each_label_is_looked_for() {
    let mut symbols = vec![String::new()];
    let mut reference = |text: String| {
        let known = symbols.iter().position(|symbol| *symbol == text);
        known.unwrap_or_else(|| {
            symbols.push(text);
            symbols.len() - 1
        }) as u32
    };
    let mut series = Vec::new();
    for n in 0..1800 {
        let (app, metric, code) = (n / 180, n / 3 % 60, ["200", "404", "500"][n % 3]);
        let own = format!("checkout-api-{app}");
        let labels = [
            ("__name__", format!("http_server_requests_{metric}_total")),
            ("app", own.clone()),
            ("code", code.to_owned()),
            ("container", own.clone()),
            ("instance", format!("10.1.2.{app}:8080")),
            ("job", own.clone()),
            ("namespace", "production".to_owned()),
            ("pod", format!("{own}-7d9f8b6c5-x2x{app}")),
            ("service", own),
        ];
        let labels = labels.map(|(name, value)| [reference(name.to_owned()), reference(value)]);
        series.push(labels.concat());
    }
    let series: Vec<&[u32]> = series.iter().map(Vec::as_slice).collect();
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut request = request(&symbols, &series);
    for (n, series) in request.timeseries.iter_mut().enumerate() {
        series.samples[0].value = (n as f64 * 1.37).to_bits();
    }
    let scanned = compare(&request.encode_to_vec()).expect("a usual write is written at once");
    let mut looked_for = Vec::new();
    encode(&scanned, scanned.series().iter().map(Piece::Keep), 0, &mut looked_for).unwrap();
    let copied = assert_comes_back(&scanned);
    assert!(
        copied * 100 <= looked_for.len() * 105,
        "{copied} of {}",
        looked_for.len()
    );
}

#[test]
fn what_did_not_come_as_2_0_has_no_rows_and_is_encoded_all_the_same() {
    let scanned = super::scan(V1, recorded_body(), &NO_LIMITS).unwrap();
    assert!(!scanned.is_copied());
    assert_comes_back(&scanned);
}

#[test]
fn a_reference_to_the_last_number_there_is_is_no_label_that_was_left_out() {
    for reference in [u32::MAX, 1 << 20, 3] {
        let mut request = request(&["", "__name__", "up"], &[&[1, 2, reference, 2]]);
        for _ in 0..2 {
            let body = request.encode_to_vec();
            assert!(matches!(
                v2::measure_light(&body.into(), &NO_LIMITS),
                Err(ScanError::Malformed { .. })
            ));
            request.timeseries[0].labels_refs.rotate_left(2);
        }
    }
}

#[test]
fn a_body_that_grows_more_than_its_first_series_has_room_unless_one_is_too_large() {
    // There is twice the room that the first series would need.
    let growing = |count: usize, length: usize| {
        let long = "x".repeat(length);
        let series = [vec![&[1, 3][..]; 40], vec![&[1, 2][..]; count]].concat();
        request(&["", "__name__", &long, "up"], &series).encode_to_vec()
    };
    let is_written = |body: Vec<u8>| {
        v2::measure_light(&body.into(), &NO_LIMITS)
            .unwrap()
            .unwrap()
            .is_framed()
    };
    assert!(is_written(growing(0, 0)));
    for count in [1, 10, 100, 1000] {
        assert!(is_written(growing(count, 200)));
        compare(&growing(count, 200)).unwrap();
    }
    assert!(!is_written(growing(1, 5000)));
    compare(&growing(1, 5000));
    // Up to what may be written, to the byte.
    let body = growing(1, 200);
    let written = compare(&body).unwrap().body().len() as u64;
    for (most, expected) in [
        (written, None),
        (written - 1, Some(ScanError::WrittenTooLarge { limit: written - 1 })),
    ] {
        let limits = ScanLimits {
            max_decoded_size: most,
            ..NO_LIMITS
        };
        assert_eq!(v2::measure_light(&body.clone().into(), &limits).err(), expected);
    }
}

#[test]
fn the_same_labels_are_found_whatever_lengths_lie_between_them() {
    // Series of fewer than 128 bytes beside those of more, and of more than 16383: their lengths take one byte to three.
    let (long, longer) = ("x".repeat(150), "y".repeat(20_000));
    let symbols = ["", "__name__", "up", "job", "a", &long, &longer];
    let series: Vec<&[u32]> = vec![
        &[1, 2],
        &[1, 2, 3, 4],
        &[1, 5, 3, 4],
        &[1, 2, 3, 4],
        &[1, 6, 3, 5],
        &[1, 2, 3, 5],
        &[1, 6],
        // Twice in one series: refused later, and not to be seen where it is not.
        &[1, 6, 3, 4, 3, 4],
        &[3, 4, 3, 4],
        &[1, 5, 1, 5],
        // Nor is there anything to be seen where there are none.
        &[],
        &[1, 2, 3, 4],
        &[],
        &[1, 5, 3, 4],
        // The same long one behind several names.
        &[1, 2, 3, 6],
        &[1, 5, 3, 6],
        &[1, 2, 3, 6],
        &[1, 4, 3, 6],
    ];
    // Short series near the end of a body are read another way.
    let series = [series, vec![&[1, 2, 3, 4]; 20]].concat();
    let body = request(&symbols, &series).encode_to_vec();
    assert!(compare(&body).is_some());
}

#[test]
fn a_label_that_comes_twice_is_known_where_it_lies_once_its_series_is_moved() {
    let long = "x".repeat(150);
    let twice: &[u32] = &[1, 2, 3, 4, 1, 2];
    // The length of a long one takes a byte more than the next one's.
    let series = [vec![twice, &[1, 5, 3, 4], twice, twice], vec![&[1, 2, 3, 4]; 20]].concat();
    let body = request(&["", "__name__", "up", "job", "a", &long], &series).encode_to_vec();
    assert!(compare(&body).is_some_and(|scanned| scanned.is_copied()));
}

pub fn request(symbols: &[&str], series: &[&[u32]]) -> Request {
    let timeseries = series.iter().map(|references| TimeSeries {
        labels_refs: references.to_vec(),
        samples: vec![Sample {
            value: 1f64.to_bits(),
            timestamp: TIME,
            start_timestamp: 0,
        }],
        metadata: Some(Metadata::default()),
        ..TimeSeries::default()
    });
    Request {
        symbols: symbols.iter().map(|text| text.as_bytes().to_vec()).collect(),
        timeseries: timeseries.collect(),
    }
}

/// Symbols of which a few are long, series of any of them and one to three samples: most are no valid series.
fn any_references() -> impl Strategy<Value = Request> {
    let text = prop_oneof![4 => "[a-z]{0,20}", 1 => "[a-z]{60,70}", 1 => "[ab]{130,400}"];
    let symbols = prop::collection::vec(text, 1..300);
    symbols.prop_flat_map(|mut symbols| {
        symbols[0].clear();
        let reference = 0..symbols.len() as u32;
        let sample = (any::<u64>(), 0..3i64).prop_map(|(value, later)| Sample {
            value: value % 3,
            timestamp: TIME + later,
            start_timestamp: 0,
        });
        let references = prop::collection::vec((0..reference.end.min(6), reference), 0..12);
        let series = (references, prop::collection::vec(sample, 1..4), any::<bool>());
        let series = series.prop_map(|(pairs, samples, says)| TimeSeries {
            labels_refs: pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
            samples,
            metadata: says.then(Metadata::default),
            ..TimeSeries::default()
        });
        prop::collection::vec((series, 1..4usize), 0..60).prop_map(move |series| Request {
            symbols: symbols.iter().map(|text| text.clone().into_bytes()).collect(),
            timeseries: series.into_iter().flat_map(|(one, times)| vec![one; times]).collect(),
        })
    })
}

/// A few first labels and a few lists of others, in any order, of lengths such that series take fewer than 128 bytes or more,
/// and lists some references or many; a few series with other things in them between.
pub fn firsts_and_others() -> impl Strategy<Value = Request> {
    let symbols = prop::collection::vec(
        prop_oneof![6 => "[a-z]{0,12}", 1 => "[ab]{40,60}", 1 => "[ab]{90,200}"],
        8..200,
    );
    symbols.prop_flat_map(|mut symbols| {
        symbols[0].clear();
        let reference = 0..symbols.len() as u32;
        let label = (reference.clone(), reference);
        let list = prop_oneof![6 => 1..5usize, 2 => 8..14usize, 1 => 20..30usize];
        let others = list.prop_flat_map({
            let label = label.clone();
            move |count| prop::collection::vec(label.clone(), count)
        });
        let pools = (
            prop::collection::vec(label, 1..12),
            prop::collection::vec(others, 1..24),
        );
        let series = (
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            0..3u64,
            0..40u8,
        );
        (pools, prop::collection::vec(series, 0..300)).prop_map(move |((firsts, others), series)| {
            let one = |(first, other, value, what): (prop::sample::Index, prop::sample::Index, u64, u8)| {
                let labels = std::iter::once(first.get(&firsts)).chain(other.get(&others));
                let sample = Sample {
                    value: value << 40,
                    timestamp: TIME + i64::from(what / 16),
                    start_timestamp: i64::from(what == 1),
                };
                TimeSeries {
                    labels_refs: labels.flat_map(|&(name, value)| [name, value]).collect(),
                    samples: vec![sample; if what == 2 { 2 } else { 1 }],
                    metadata: (what != 3).then(|| Metadata {
                        kind: i32::from(what == 4),
                        ..Metadata::default()
                    }),
                    ..TimeSeries::default()
                }
            };
            Request {
                symbols: symbols.iter().map(|text| text.clone().into_bytes()).collect(),
                timeseries: series.into_iter().map(one).collect(),
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_is_referred_to_is_written_alike_and_comes_back(request in prop_oneof![any_references(), firsts_and_others()]) {
        compare(&request.encode_to_vec());
    }

    #[test]
    fn labels_of_usual_series_are_those_of_their_references(request in prop_oneof![any_references(), firsts_and_others()]) {
        if let Some(scanned) = compare(&request.encode_to_vec()) {
            let text = |reference: &u32| request.symbols[*reference as usize].clone();
            for (series, sent) in scanned.series().iter().zip(&request.timeseries).filter(|_| scanned.is_copied()) {
                let mut read = Vec::new();
                // An empty text stands there as any other: it is proved later that there is none.
                for (name, value) in label_bytes(scanned.label_bytes(series)) {
                    read.extend([name.to_vec(), value.to_vec()]);
                }
                prop_assert_eq!(read, sent.labels_refs.iter().map(text).collect::<Vec<_>>());
            }
        }
    }
}
