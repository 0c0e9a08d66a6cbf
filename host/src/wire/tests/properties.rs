//! What holds for any write: random models in plain and odd encodings, verdicts, damaged bytes.

use proptest::prelude::*;
use prost::Message;

use super::super::labels::encode_labels;
use super::super::{HashKey, Piece, Proof, frame, scan, splice};
use super::model::{TimeSeries, WriteRequest};
use super::{NO_LIMITS, compare, kept, odd, patch, proved, random, scan_model};
use crate::model::Protocol::V1;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_plain_encoding_scans_to_itself(write in random::write()) {
        let body = write.encode_to_vec();
        let scanned = scan(V1, body.clone(), &NO_LIMITS).unwrap();
        prop_assert!(scanned.is_as_sent());
        prop_assert_eq!(kept(&scanned), body);
        compare(scanned.body());
    }

    #[test]
    fn framed_and_proved_is_scanned(write in random::write(), seed: u64, odd: bool) {
        let body = if odd { odd::Odd(seed).write(&write) } else { write.encode_to_vec() };
        let framed = frame(V1, body.clone(), &NO_LIMITS).unwrap();
        let key = HashKey::random().unwrap();
        let proved = match framed.prove(&key) {
            Proof::AsFramed(proved) => proved,
            Proof::Otherwise(refuted) => proved(refuted.scan().unwrap(), &key),
        };
        prop_assert_eq!(proved.scanned(), &scan(V1, body, &NO_LIMITS).unwrap());
    }

    #[test]
    fn an_odd_encoding_scans_to_the_same_model(write in random::write(), seed: u64) {
        let body = odd::Odd(seed).write(&write);
        prop_assert_eq!(&WriteRequest::decode(body.as_slice()).unwrap().timeseries.into_iter().map(TimeSeries::normalised).collect::<Vec<_>>(), &write.timeseries);
        let scanned = scan(V1, body.clone(), &NO_LIMITS).unwrap();
        prop_assert_eq!(kept(&scanned), write.encode_to_vec());
        compare(&body);
    }

    #[test]
    fn spliced_series_decode_to_the_model(write in random::write(), verdicts in random::verdicts()) {
        let scanned = scan_model(&write);
        let mut expected = vec![];
        let mut pieces = vec![];
        let edited: Vec<Vec<u8>> = verdicts.iter().map(|verdict| {
            let mut bytes = vec![];
            let pairs = verdict.iter().flatten();
            encode_labels(pairs.map(|(name, value)| (name.as_str(), value.as_str())), &mut bytes);
            bytes
        }).collect();
        let all = write.timeseries.iter().zip(scanned.series()).zip(verdicts.iter().zip(&edited).cycle());
        for (i, ((model, series), (verdict, bytes))) in all.enumerate() {
            match verdict {
                None if i % 3 == 2 => {}
                None => {
                    expected.push(model.clone());
                    pieces.push(Piece::Keep(series));
                }
                Some(labels) => {
                    expected.push(TimeSeries { labels: random::labels_of(labels), ..model.clone() });
                    pieces.push(Piece::Edit(series, patch(scanned.label_bytes(series), bytes)));
                }
            }
        }
        let mut out = vec![];
        splice::splice(&mut out, &mut Vec::new(), &scanned, pieces.iter().copied()).unwrap();
        prop_assert_eq!(&WriteRequest::decode(out.as_slice()).unwrap().timeseries, &expected);
        let mut one_by_one = vec![];
        for piece in pieces {
            match piece {
                Piece::Keep(series) => splice::keep(&mut one_by_one, &scanned, series).unwrap(),
                Piece::Edit(series, patch) => splice::edit(&mut one_by_one, &scanned, series, &patch).unwrap(),
            }
        }
        prop_assert_eq!(&one_by_one, &out);
        prop_assert!(scan(V1, out, &NO_LIMITS).unwrap().is_as_sent());
    }

    #[test]
    fn damaged_bytes_are_read_as_prost_reads_them(
        write in random::write(), seed: u64, odd: bool, cut: prop::sample::Index,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut body = if odd { odd::Odd(seed).write(&write) } else { write.encode_to_vec() };
        random::damage(&mut body, &flips, cut);
        compare(&body);
    }

    #[test]
    fn random_bytes_are_read_as_prost_reads_them(body in prop::collection::vec(any::<u8>(), 0..64)) {
        compare(&body);
    }
}
