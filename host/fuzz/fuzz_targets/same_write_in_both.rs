//! Whatever 1.0 can say, said in 2.0: the same series come out, called the same, refused for the same reasons.
#![no_main]

use std::sync::Arc;

use gauntlet::model::Protocol::{V1, V2};
use gauntlet::wire::{HashKey, ScanLimits, Scanned, frame, frame_measured, name, scan};
use libfuzzer_sys::fuzz_target;
use prost::Message;

#[allow(dead_code)]
#[path = "../shared/found.rs"]
mod found;
#[allow(dead_code)]
#[path = "../../src/wire/tests/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../src/wire/tests/model_v2.rs"]
mod model_v2;

// A byte that says how the symbols lie, and a body of 1.0.
fuzz_target!(|data: &[u8]| {
    let Some((order, body)) = data.split_first() else {
        return;
    };
    let Ok(write) = model::WriteRequest::decode(body) else {
        return;
    };
    let request = reordered(model_v2::as_2_0(&write), usize::from(*order));
    let body = write.encode_to_vec();
    let of_1_0 = scan(V1, body.clone(), &ScanLimits::NONE).expect("prost wrote it");
    let of_2_0 = scan(V2, request.encode_to_vec(), &ScanLimits::NONE).expect("prost wrote it");
    // What lies between the series of 1.0 is metadata.
    assert_eq!(series(&of_1_0), series(&of_2_0));
    assert_eq!(of_1_0.totals(), of_2_0.totals());
    assert_eq!(of_1_0.rejected(), of_2_0.rejected());
    let key = HashKey::random().expect("randomness");
    let called = |protocol, body: Vec<u8>| {
        let framed = frame(protocol, body, &ScanLimits::NONE).expect("prost wrote it");
        found::hashes(&found::proved(framed, &key))
    };
    let of_1_0 = called(V1, body);
    let body = request.encode_to_vec();
    assert_eq!(of_1_0, called(V2, body.clone()));
    // With nothing written out, where that is done.
    if let Some(named) = name(&body.into(), &ScanLimits::NONE, &key, &Arc::default()) {
        let named = found::proved(frame_measured(named).expect("it is framed"), &key);
        assert_eq!(of_1_0, found::hashes(&named));
        assert_eq!(series(&of_2_0), series(named.scanned()));
    }
});

fn series(scanned: &Scanned) -> Vec<&[u8]> {
    let body = scanned.body();
    scanned.series().iter().map(|series| &body[series.range()]).collect()
}

/// All symbols but the first one turned by so many places.
fn reordered(mut request: model_v2::Request, by: usize) -> model_v2::Request {
    let [_, symbols @ ..] = request.symbols.as_mut_slice() else {
        return request;
    };
    let count = symbols.len();
    if count == 0 {
        return request;
    }
    symbols.rotate_right(by % count);
    let turn = |reference: &mut u32| {
        if *reference > 0 {
            *reference = ((*reference as usize - 1 + by) % count) as u32 + 1;
        }
    };
    for series in &mut request.timeseries {
        series.labels_refs.iter_mut().for_each(turn);
        let exemplars = series.exemplars.iter_mut();
        exemplars.for_each(|exemplar| exemplar.labels_refs.iter_mut().for_each(turn));
    }
    request
}
