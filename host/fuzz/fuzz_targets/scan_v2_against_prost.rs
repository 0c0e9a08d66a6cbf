//! A body of 2.0 of any content: what is made of it as 1.0 is what a slow model makes of what prost finds.
#![no_main]

use std::sync::Arc;

use gauntlet::model::Protocol::{V1, V2};
use gauntlet::wire::{
    Extras, HashKey, Recognised, ScanError, ScanLimits, Scanned, encode_copied, frame, frame_light, frame_measured,
    measure, name, scan, snappy,
};
use libfuzzer_sys::fuzz_target;

#[path = "../shared/found.rs"]
mod found;
#[allow(dead_code)]
#[path = "../../src/wire/tests/model.rs"]
mod model;
#[allow(dead_code)]
#[path = "../../src/wire/tests/model_v2.rs"]
mod model_v2;

/// What a few references stand for is bounded: the fuzzer would find that it can be a gigabyte.
const LIMITS: ScanLimits = ScanLimits {
    max_series: u64::MAX,
    max_decoded_size: 8 << 20,
};

fuzz_target!(|data: &[u8]| {
    let key = HashKey::random().expect("randomness");
    match scan(V2, data.to_vec(), &LIMITS) {
        Ok(scanned) => {
            model_v2::compare(data, Some(finding(&scanned)));
            let measured = measure(data.to_vec().into(), &LIMITS).expect("what scans is measured");
            assert!(scanned.body().len() as u64 <= measured.size());
            // It is a canonical body of 1.0.
            let again = scan(V1, scanned.body().clone(), &LIMITS).expect("what is written is read");
            assert!(again.is_as_sent() && again.series() == scanned.series());
            // Framed first and proved as if nothing were known, it is the same; a sample's zero may be written out or left out.
            let framed = frame(V2, data.to_vec(), &LIMITS).expect("what scans is framed");
            let proved = found::proved(framed, &key);
            assert_named(data, &proved, &key);
            let proved = proved.into_scanned();
            model_v2::compare(data, Some(finding(&proved)));
            assert_eq!(
                (proved.extras(), proved.rejected()),
                (scanned.extras(), scanned.rejected())
            );
            assert_at_once(data, &scanned, &key);
        }
        Err(error @ (ScanError::Malformed { .. } | ScanError::WrittenTooLarge { .. })) => {
            if let Ok(Some(_)) = frame_light(V2, &data.to_vec().into(), &LIMITS) {
                panic!("framed at once, and else: {error}");
            }
            if name(&data.to_vec().into(), &LIMITS, &key, &Arc::default()).is_some() {
                panic!("named, and else: {error}");
            }
            if let ScanError::Malformed { .. } = error {
                model_v2::compare(data, None);
            }
        }
        // An input would have to be larger than the fuzzer makes it.
        Err(error) => panic!("{error}"),
    }
});

/// Called by hashes with nothing written out it is called the same, and written out when it is asked for it is the same.
fn assert_named(data: &[u8], written: &Recognised, key: &HashKey) {
    let named = name(&data.to_vec().into(), &LIMITS, key, &Arc::default());
    let Some(named) = named else { return };
    let named = found::proved(frame_measured(named).expect("it is framed"), key);
    assert_eq!(found::hashes(&named), found::hashes(written));
    assert_eq!(named.scanned().length(), written.scanned().length());
    assert_eq!(named.scanned(), written.scanned());
    assert_comes_back(named.scanned());
}

/// Written out without being measured first it is the same, and so is what is compressed by what is known of it then.
fn assert_at_once(data: &[u8], scanned: &Scanned, key: &HashKey) {
    let framed = frame_light(V2, &data.to_vec().into(), &LIMITS).expect("what scans is framed");
    let Some(framed) = framed else { return };
    let proved = found::proved(framed, key).into_scanned();
    model_v2::compare(data, Some(finding(&proved)));
    assert_eq!(
        (proved.extras(), proved.rejected()),
        (scanned.extras(), scanned.rejected())
    );
    assert_comes_back(&proved);
}

/// Compressed by what is known of it, it is the same.
fn assert_comes_back(scanned: &Scanned) {
    let mut compressed = Vec::new();
    encode_copied(scanned, &mut compressed).expect("a short body");
    let decoded = snappy::decode(&compressed, LIMITS.max_decoded_size).expect("what was compressed");
    assert_eq!(&decoded, scanned.body());
}

fn finding(scanned: &Scanned) -> model_v2::Finding {
    let totals = scanned.extras().map(Extras::totals).unwrap_or_default();
    model_v2::Finding {
        // Metadata is beside what 1.0 has.
        as_1_0: model::Finding {
            metadata: 0,
            ..found::finding(scanned)
        },
        said: said(scanned),
        totals: [totals.metadata, totals.sample_starts, totals.histogram_starts],
        is_as_sent: scanned.is_as_sent(),
    }
}

fn said(scanned: &Scanned) -> Vec<(usize, model_v2::Said)> {
    let all = scanned.extras().into_iter().flat_map(Extras::iter);
    let one = |extra: gauntlet::wire::Extra<'_>| model_v2::Said {
        metadata: extra
            .metadata
            .map(|one| (one.kind, one.help.to_vec(), one.unit.to_vec()))
            .unwrap_or_default(),
        sample_starts: extra.sample_starts.to_vec(),
        histogram_starts: extra.histogram_starts.to_vec(),
    };
    all.map(|(place, extra)| (place, one(extra))).collect()
}
