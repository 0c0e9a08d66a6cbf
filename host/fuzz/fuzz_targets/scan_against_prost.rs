//! A body of any content: the scan finds what prost finds.
#![no_main]

use gauntlet::model::Protocol::V1;
use gauntlet::wire::{HashKey, InvalidSeries, Proof, ScanError, ScanLimits, Scanned, frame, scan, splice};
use libfuzzer_sys::fuzz_target;

// Each target uses a part of it.
#[allow(dead_code)]
#[path = "../../src/wire/tests/model.rs"]
mod model;

fuzz_target!(|data: &[u8]| {
    let limits = ScanLimits::NONE;
    match scan(V1, data.to_vec(), &limits) {
        Ok(scanned) => {
            model::compare(data, Some(finding(&scanned)));
            // Framed first and proved as if nothing were known, it is the same.
            let framed = frame(V1, data.to_vec(), &limits).expect("what scans is framed");
            let key = HashKey::random().expect("randomness");
            let mut proof = framed.prove(&key);
            if let Proof::Otherwise(refuted) = proof {
                proof = refuted.scan().expect("what scans is scanned again").prove(&key);
            }
            let Proof::AsFramed(proved) = proof else {
                panic!("what scans is proved");
            };
            assert_eq!(proved.scanned(), &scanned);
        }
        Err(ScanError::Malformed { .. }) => model::compare(data, None),
        // An input would have to be larger than the fuzzer makes it.
        Err(error) => panic!("{error}"),
    }
});

fn finding(scanned: &Scanned) -> model::Finding {
    let totals = scanned.totals();
    let mut series = Vec::new();
    scanned
        .series()
        .iter()
        .for_each(|one| splice::keep(&mut series, scanned, one).expect("a series of this body"));
    let rejected = |wanted: &dyn Fn(InvalidSeries) -> bool| {
        scanned
            .rejected()
            .iter()
            .filter(|rejected| wanted(rejected.reason))
            .map(|rejected| rejected.totals.series)
            .sum()
    };
    model::Finding {
        series,
        received: [totals.series, totals.samples, totals.histograms, totals.exemplars],
        invalid_histograms: rejected(&|reason| reason == InvalidSeries::InvalidHistogram),
        rejected: rejected(&|_| true),
        metadata: scanned.metadata(),
    }
}
