//! A body of any content: the scan finds what prost finds.
#![no_main]

use gauntlet::model::Protocol::V1;
use gauntlet::wire::{HashKey, ScanError, ScanLimits, frame, scan};
use libfuzzer_sys::fuzz_target;

// Each target uses a part of it.
#[allow(dead_code)]
#[path = "../../src/wire/tests/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../shared/found.rs"]
mod found;

use found::{finding, proved};

fuzz_target!(|data: &[u8]| {
    let limits = ScanLimits::NONE;
    match scan(V1, data.to_vec(), &limits) {
        Ok(scanned) => {
            model::compare(data, Some(finding(&scanned)));
            // Framed first and proved as if nothing were known, it is the same.
            let framed = frame(V1, data.to_vec(), &limits).expect("what scans is framed");
            let key = HashKey::random().expect("randomness");
            let proved = proved(framed, &key);
            assert_eq!(proved.scanned(), &scanned);
        }
        Err(ScanError::Malformed { .. }) => model::compare(data, None),
        // An input would have to be larger than the fuzzer makes it.
        Err(error) => panic!("{error}"),
    }
});
