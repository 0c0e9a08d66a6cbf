//! A body of either version, verdicts by a seed byte: what is written as remote write 2.0 says what was decided.
#![no_main]

use gauntlet::model::Protocol;
use gauntlet::wire::splice::keep;
use gauntlet::wire::{Patch, Piece, ScanLimits, Scanned, encode_v2, scan};
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[path = "../shared/edited.rs"]
mod edited;
// Each target uses a part of it.
#[allow(dead_code)]
#[path = "../../src/wire/tests/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../src/wire/tests/model_v2.rs"]
mod model_v2;
#[allow(dead_code)]
#[path = "../../src/wire/tests/request.rs"]
mod request;

use model::{Label, WriteRequest};
use request::{Told, plain, to_be_written};

fuzz_target!(|data: &[u8]| {
    let Some((seed, body)) = data.split_first() else { return };
    let protocol = match seed & 1 {
        0 => Protocol::V1,
        _ => Protocol::V2,
    };
    let Ok(scanned) = scan(protocol, body.to_vec(), &ScanLimits::NONE) else {
        return;
    };
    let all = told(&scanned);
    let added = edited::labels(&scanned);
    let (mut pieces, mut expected) = (Vec::new(), Vec::new());
    for (i, ((series, bytes), mut told)) in scanned.series().iter().zip(&added).zip(all).enumerate() {
        match (seed >> (1 + 2 * (i % 3))) & 3 {
            0 => continue,
            1 => {
                told.0.labels.retain(|label| label.name.as_slice() > b"!".as_slice());
                let label = Label {
                    name: b"!".to_vec(),
                    value: "é".into(),
                };
                told.0.labels.insert(0, label);
                pieces.push(Piece::Edit(series, Patch::whole(bytes)));
            }
            _ => pieces.push(Piece::Keep(series)),
        }
        expected.push(told);
    }
    let mut encoded = Vec::new();
    encode_v2(&scanned, pieces, &mut encoded).expect("series of this body");
    let raw = snap::raw::Decoder::new().decompress_vec(&encoded).expect("snappy");
    assert_eq!(request::read(&raw), to_be_written(expected));
    // Read and written once more it says the same, though a zero that was written out may be left out then.
    let again = scan(Protocol::V2, raw.clone(), &ScanLimits::NONE).expect("a request of our own");
    let mut twice = Vec::new();
    encode_v2(&again, again.series().iter().map(Piece::Keep), &mut twice).expect("series of this body");
    let twice = snap::raw::Decoder::new().decompress_vec(&twice).expect("snappy");
    assert_eq!(request::read(&twice), request::read(&raw));
});

/// Every series with what is said of it.
fn told(scanned: &Scanned) -> Vec<Told> {
    let mut all = Vec::new();
    let series = scanned.series();
    series
        .iter()
        .for_each(|one| keep(&mut all, scanned, one).expect("a series of this body"));
    let model = WriteRequest::decode(all.as_slice()).expect("a scan proves protobuf");
    let mut told: Vec<Told> = model.timeseries.into_iter().map(plain).collect();
    for (place, extra) in scanned.extras().into_iter().flat_map(|extras| extras.iter()) {
        let (_, said) = &mut told[place];
        if !(extra.sample_starts.is_empty() && extra.histogram_starts.is_empty()) {
            said.sample_starts = extra.sample_starts.to_vec();
            said.histogram_starts = extra.histogram_starts.to_vec();
        }
        if let Some(metadata) = extra.metadata {
            said.metadata = (metadata.kind, metadata.help.to_vec(), metadata.unit.to_vec());
        }
    }
    told
}
