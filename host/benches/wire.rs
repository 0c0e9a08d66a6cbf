//! What the wire costs for one recorded body of 2000 samples: decode, scan, splice, encode.
//!
//! `searched` splices and has the `snap` crate search the result, `encode_spliced` is what the pipeline does. Where one
//! body comes time and again its branches are foreseen; `other_bodies` is nearer to what a gateway sees.

// A benchmark without its input has nothing to measure.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gauntlet::model::Protocol::V1;
use gauntlet::wire::labels::{encode_labels, labels};
use gauntlet::wire::{Patch, Piece, ScanLimits, Scanned, encode, scan, snappy, splice};

const LIMITS: ScanLimits = ScanLimits {
    max_series: 100_000,
    ..ScanLimits::NONE
};

fn recorded(name: &str) -> Vec<u8> {
    let file = format!("tests/data/rw1/{name}.rw");
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("a recorded body")
}

fn decoded(compressed: &[u8]) -> Vec<u8> {
    snappy::decode(compressed, 32 << 20).expect("snappy").to_vec()
}

/// Every series with its labels in reverse, as a sender that does not sort might send them.
fn unsorted(scanned: &Scanned) -> Vec<u8> {
    let mut body = Vec::new();
    for series in scanned.series() {
        let mut bytes = Vec::new();
        let mut pairs = labels(scanned.label_bytes(series)).collect::<Vec<_>>();
        pairs.reverse();
        encode_labels(pairs.into_iter(), &mut bytes);
        splice::edit(&mut body, scanned, series, &Patch::whole(&bytes)).expect("a series of this body");
    }
    body
}

fn wire(criterion: &mut Criterion) {
    let compressed = recorded("00012");
    let body = decoded(&compressed);
    let scanned = scan(V1, body.clone(), &LIMITS).expect("a canonical body");
    let odd = unsorted(&scanned);
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(scanned.totals().samples));

    group.bench_function("decode", |b| {
        b.iter(|| snappy::decode(black_box(&compressed), 32 << 20))
    });
    group.bench_function("scan", |b| {
        b.iter_batched(|| body.clone(), |body| scan(V1, body, &LIMITS), BatchSize::LargeInput);
    });
    group.bench_function("scan_unsorted", |b| {
        b.iter_batched(|| odd.clone(), |body| scan(V1, body, &LIMITS), BatchSize::LargeInput);
    });
    let mut out = Vec::with_capacity(2 * body.len());
    group.bench_function("splice_all_kept", |b| {
        b.iter(|| {
            out.clear();
            splice::splice(
                &mut out,
                &mut Vec::new(),
                &scanned,
                scanned.series().iter().map(Piece::Keep),
            )
            .expect("series of this body");
        });
    });
    group.bench_function("splice_one_in_two_kept", |b| {
        b.iter(|| {
            out.clear();
            splice::splice(
                &mut out,
                &mut Vec::new(),
                &scanned,
                scanned.series().iter().step_by(2).map(Piece::Keep),
            )
            .expect("series of this body");
        });
    });
    group.bench_function("splice_all_edited", |b| {
        b.iter(|| {
            out.clear();
            for series in scanned.series() {
                splice::edit(&mut out, &scanned, series, &Patch::whole(scanned.label_bytes(series)))
                    .expect("a series of this body");
            }
        });
    });
    group.bench_function("encode", |b| {
        let mut compressed = Vec::new();
        b.iter(|| snappy::encode(black_box(&body), &mut compressed));
    });
    group.finish();
}

/// As a policy leaves them that adds a label.
fn edited(scanned: &Scanned) -> Vec<Vec<u8>> {
    let added = scanned.series().iter().map(|series| {
        let own = labels(scanned.label_bytes(series));
        let mut pairs = own.chain([("edge", "shanghai-1")]).collect::<Vec<_>>();
        pairs.sort_unstable();
        let mut bytes = Vec::new();
        encode_labels(pairs.into_iter(), &mut bytes);
        bytes
    });
    added.collect()
}

/// Splices and encodes each write, one way and the other.
fn compare(criterion: &mut Criterion, name: &str, writes: &[(&Scanned, Vec<Piece>)]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(
        writes.iter().map(|(_, pieces)| pieces.len() as u64).sum(),
    ));
    group.bench_function("searched", |b| {
        let mut compressed = Vec::new();
        b.iter(|| {
            for (scanned, pieces) in writes {
                let mut body = Vec::with_capacity(scanned.body().len() + scanned.body().len() / 8);
                splice::splice(&mut body, &mut Vec::new(), scanned, pieces.iter().copied())
                    .expect("series of this body");
                snappy::encode(&body, &mut compressed).expect("a short body");
            }
        });
    });
    group.bench_function("encode_spliced", |b| {
        let mut compressed = Vec::new();
        b.iter(|| {
            for (scanned, pieces) in writes {
                encode(scanned, pieces.iter().copied(), 0, &mut compressed).expect("a short body");
            }
        });
    });
    group.finish();
}

fn spliced(criterion: &mut Criterion) {
    let bodies = ["00006", "00012", "00018", "00024"].map(|name| {
        let scanned = scan(V1, decoded(&recorded(name)), &LIMITS).expect("a canonical body");
        let edited = edited(&scanned);
        (scanned, edited)
    });
    let [_, (scanned, labels), ..] = &bodies;
    let series = scanned.series();
    let pairs = series.iter().zip(labels);
    let all_edited = pairs.map(|(series, bytes)| Piece::Edit(series, Patch::whole(bytes)));
    compare(criterion, "all_edited", &[(scanned, all_edited.collect())]);
    let half = series.iter().step_by(2).map(Piece::Keep);
    compare(criterion, "one_in_two_kept", &[(scanned, half.collect())]);
    // Of each body six, from which other series are dropped.
    let mut writes = Vec::new();
    for (scanned, labels) in &bodies {
        for dropped in [7, 11, 13, 17, 19, 23] {
            let pairs = scanned.series().iter().zip(labels).enumerate();
            let kept = pairs.filter(|(i, _)| i % dropped != 3);
            let pieces = kept.map(|(_, (series, bytes))| Piece::Edit(series, Patch::whole(bytes)));
            writes.push((scanned, pieces.collect()));
        }
    }
    compare(criterion, "other_bodies", &writes);
}

criterion_group!(benches, wire, spliced);
criterion_main!(benches);
