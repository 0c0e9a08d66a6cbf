//! Verdicts by a seed byte, a body of any content: what was spliced decodes to what was decided, encoded or not.
#![no_main]

use gauntlet::model::Protocol::V1;
use gauntlet::wire::splice::{keep, splice};
use gauntlet::wire::{Patch, Piece, ScanLimits, encode, scan};
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[path = "../shared/edited.rs"]
mod edited;
// Each target uses a part of it.
#[allow(dead_code)]
#[path = "../../src/wire/tests/model.rs"]
mod model;

use model::{Label, WriteRequest};

const LIMITS: ScanLimits = ScanLimits::NONE;

fuzz_target!(|data: &[u8]| {
    let Some((seed, body)) = data.split_first() else { return };
    let Ok(scanned) = scan(V1, body.to_vec(), &LIMITS) else {
        return;
    };
    let mut all = Vec::new();
    scanned
        .series()
        .iter()
        .for_each(|series| keep(&mut all, &scanned, series).expect("a series of this body"));
    let model = WriteRequest::decode(all.as_slice()).expect("a scan proves protobuf");

    let added = edited::labels(&scanned);
    let mut pieces = Vec::new();
    let mut expected = Vec::new();
    for (i, ((series, bytes), mut model)) in scanned.series().iter().zip(&added).zip(model.timeseries).enumerate() {
        match (seed >> (2 * (i % 4))) & 3 {
            0 => continue,
            1 => {
                model.labels.retain(|label| label.name.as_slice() > b"!".as_slice());
                model.labels.insert(
                    0,
                    Label {
                        name: b"!".to_vec(),
                        value: "é".into(),
                    },
                );
                pieces.push(Piece::Edit(series, Patch::whole(bytes)));
            }
            _ => pieces.push(Piece::Keep(series)),
        }
        expected.push(model);
    }
    let mut out = Vec::new();
    splice(&mut out, &mut Vec::new(), &scanned, pieces.iter().copied()).expect("series of this body");
    let mut compressed = Vec::new();
    encode(&scanned, pieces, 0, &mut compressed).expect("a short body");
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&compressed).unwrap(), out);
    assert_eq!(
        WriteRequest::decode(out.as_slice())
            .expect("splicing keeps it protobuf")
            .timeseries,
        expected
    );
    assert!(scan(V1, out, &LIMITS).expect("splicing keeps it legal").is_as_sent());
});
