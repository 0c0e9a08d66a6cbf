//! Which series go without proof: those that are shown to be known, and no others.

use std::collections::HashMap;

use prost::Message;

use super::super::{Asked, HashKey, Proof, ProvedHash, SeriesHash, frame};
use super::{NO_LIMITS, proved, recorded_body, series, write};
use crate::model::Protocol::V1;

/// A body of three series, of which the last but one is refused once its labels are looked at.
fn three_with_a_disguise() -> Vec<u8> {
    let good = |name| write(&[series(&[("__name__", name)])]).encode_to_vec();
    let disguised = b"\x0a\x17\x0a\x15\x0a\x08__name__\x12\x09\x12\x07\x10\x81\x82\x83\x84\x85\x06";
    [good("up").as_slice(), disguised, &good("down")].concat()
}

#[test]
fn only_what_is_shown_to_be_known_goes_without_proof() {
    let key = HashKey::random().unwrap();
    let framed = || frame(V1, three_with_a_disguise(), &NO_LIMITS).unwrap();
    assert_eq!(framed().series().len(), 3);
    let other = proved(frame(V1, recorded_body(), &NO_LIMITS).unwrap(), &key);
    // Nobody asked, somebody who knows nothing, one who shows what is another series' name, and one who stops early.
    let claims: [&dyn Fn(&mut Asked<'_>); 4] = [
        &|_| (),
        &|asked| asked.answer(3, |_| None),
        &|asked| asked.answer(3, |question| question.met(&other.hash(7))),
        &|asked| asked.answer(1, |_| None),
    ];
    for claim in claims {
        let mut framed = framed();
        claim(&mut framed.ask(&key, 2));
        claim(&mut framed.ask(&key, 2));
        let Proof::Otherwise(refuted) = framed.prove(&key) else {
            panic!("taken on somebody's word")
        };
        let again = refuted.scan().unwrap();
        assert_eq!(proved(again, &key).scanned().series().len(), 2);
    }
}

#[test]
fn what_was_proved_once_is_known_by_its_hash() {
    let key = HashKey::random().unwrap();
    let framed = || frame(V1, recorded_body(), &NO_LIMITS).unwrap();
    let before = proved(framed(), &key);
    let met: HashMap<SeriesHash, ProvedHash> = (0..100).map(|at| (before.hash(at).hash(), before.hash(at))).collect();
    let mut again = framed();
    let mut sent = Vec::new();
    for turn in [700, 700, 5000] {
        let mut asked = again.ask(&key, turn);
        while asked.left() > 0 {
            asked.answer(512, |question| {
                sent.push(question.sent().to_vec());
                question.met(met.get(&question.hash())?)
            });
        }
    }
    let again = proved(again, &key);
    // A series may come twice.
    let unknown = (100..2000).filter(|&at| !met.contains_key(&before.hash(at).hash()));
    assert_eq!(again.unknown(), unknown.collect::<Vec<_>>());
    assert!((100..=1900).contains(&again.unknown().len()));
    let scanned = again.scanned();
    assert!(
        sent.iter()
            .map(Vec::as_slice)
            .eq(scanned.series().iter().map(|series| scanned.label_bytes(series)))
    );
    assert!((0..2000).all(|at| again.hash(at) == before.hash(at)));
}
