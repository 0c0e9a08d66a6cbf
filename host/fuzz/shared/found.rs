//! What a scan found, as the model says it.
//!
//! Takes what was scanned or framed, for targets that have the model beside; panics where nothing may be wrong.

use gauntlet::wire::{Framed, HashKey, InvalidSeries, Proof, ProvedHash, Recognised, Scanned, splice};

use super::model::Finding;

/// As if nothing were known.
pub fn proved(framed: Framed, key: &HashKey) -> Recognised {
    let mut proof = framed.prove(key);
    if let Proof::Otherwise(refuted) = proof {
        proof = refuted.scan().expect("what scans is scanned again").prove(key);
    }
    let Proof::AsFramed(proved) = proof else {
        panic!("what scans is proved");
    };
    proved
}

/// What its series are called.
pub fn hashes(proved: &Recognised) -> Vec<ProvedHash> {
    let count = proved.scanned().series().len();
    (0..count).map(|at| proved.hash(at)).collect()
}

pub fn finding(scanned: &Scanned) -> Finding {
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
    Finding {
        series,
        received: [totals.series, totals.samples, totals.histograms, totals.exemplars],
        invalid_histograms: rejected(&|reason| reason == InvalidSeries::InvalidHistogram),
        rejected: rejected(&|_| true),
        metadata: scanned.metadata(),
    }
}
