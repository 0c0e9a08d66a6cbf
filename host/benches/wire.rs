//! What the wire costs for one recorded body of 2000 samples: decode, scan, splice, encode.

// A benchmark without its input has nothing to measure.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gauntlet::wire::labels::{encode_labels, labels};
use gauntlet::wire::{Limits, Scanned, scan, snappy, splice};

const LIMITS: Limits = Limits { max_series: 100_000 };

fn recorded() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rw1/00012.rw")).expect("a recorded body")
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
        splice::edit(&mut body, scanned, series, &bytes);
    }
    body
}

fn wire(criterion: &mut Criterion) {
    let compressed = recorded();
    let body = decoded(&compressed);
    let scanned = scan(body.clone(), &LIMITS).expect("a canonical body");
    let odd = unsorted(&scanned);
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(scanned.totals().samples));

    group.bench_function("decode", |b| {
        b.iter(|| snappy::decode(black_box(&compressed), 32 << 20))
    });
    group.bench_function("scan", |b| {
        b.iter_batched(|| body.clone(), |body| scan(body, &LIMITS), BatchSize::LargeInput);
    });
    group.bench_function("scan_unsorted", |b| {
        b.iter_batched(|| odd.clone(), |body| scan(body, &LIMITS), BatchSize::LargeInput);
    });
    let mut out = Vec::with_capacity(2 * body.len());
    group.bench_function("splice_all_kept", |b| {
        b.iter(|| {
            out.clear();
            splice::splice(&mut out, &scanned, scanned.series().iter().map(splice::Piece::Keep));
        });
    });
    group.bench_function("splice_one_in_two_kept", |b| {
        b.iter(|| {
            out.clear();
            splice::splice(
                &mut out,
                &scanned,
                scanned.series().iter().step_by(2).map(splice::Piece::Keep),
            );
        });
    });
    group.bench_function("splice_all_edited", |b| {
        b.iter(|| {
            out.clear();
            for series in scanned.series() {
                splice::edit(&mut out, &scanned, series, scanned.label_bytes(series));
            }
        });
    });
    group.bench_function("encode", |b| {
        let mut compressed = Vec::new();
        b.iter(|| snappy::encode(black_box(&body), &mut compressed));
    });
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
