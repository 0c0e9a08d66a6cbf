//! What the wire costs for one recorded body of 2000 samples: decode, scan, splice, encode.
//!
//! `searched` splices and has the `snap` crate search the result, `encode_spliced` is what the pipeline does. Where one
//! body comes time and again its branches are foreseen; `other_bodies` is nearer to what a gateway sees, and `unforeseen` is
//! nearest: before each body the processor does so much else that it forgets what it learnt of the branches and the memory of
//! the one before. What a gateway takes for a step, by perf under `make bench`, is what this says within a tenth.

// A benchmark without its input has nothing to measure.
#![allow(clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gauntlet::model::Protocol::{V1, V2};
use gauntlet::wire::labels::{encode_labels, labels};
use gauntlet::wire::{
    Framed, HashKey, Patch, Piece, Proof, ScanLimits, Scanned, encode, encode_copied, frame_light, scan, snappy, splice,
};

mod setup;

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

/// What else a processor does between two writes.
struct Elsewhere {
    memory: Vec<u64>,
    state: u64,
}

impl Elsewhere {
    const MEMORY: usize = 1 << 20;
    const BRANCHES: usize = 200_000;

    fn new() -> Self {
        Self {
            memory: vec![1; Self::MEMORY / size_of::<u64>()],
            state: 1,
        }
    }

    /// Writes to memory, a word in each line of the cache, and takes branches that nobody can foresee.
    #[inline(never)]
    fn visit(&mut self) {
        for word in self.memory.iter_mut().step_by(8) {
            *word = word.wrapping_add(1);
        }
        let mut taken = 0u64;
        for _ in 0..Self::BRANCHES {
            self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let random = self.state >> 60;
            macro_rules! branches {
                ($($bits:literal)*) => {$(
                    if random & $bits == $bits {
                        taken = black_box(taken.wrapping_add($bits));
                    }
                )*};
            }
            branches!(1 2 4 8 3 5 6 9 10 12);
        }
        black_box(taken);
    }
}

/// The steps of a kept write.
fn unforeseen(criterion: &mut Criterion) {
    let sent = ["00006", "00012", "00018", "00024"].map(|name| Bytes::from(recorded(name)));
    let key = HashKey::random().expect("randomness");
    let mut elsewhere = Elsewhere::new();
    let mut group = criterion.benchmark_group("unforeseen");
    group.throughput(Throughput::Elements(2000)).sample_size(20);
    let decode = |body: Bytes| snappy::decode(&body, 32 << 20).expect("snappy");
    let in_kubernetes = |others: &[_]| {
        sent.each_ref()
            .map(|body| setup::as_v2(&setup::in_kubernetes(body, others)))
    };
    for (name, protocol, bodies) in [
        ("1.0", V1, sent.clone()),
        ("2.0", V2, sent.each_ref().map(setup::as_v2)),
        ("2.0_kubernetes", V2, in_kubernetes(&[])),
        ("2.0_containers", V2, in_kubernetes(&setup::CONTAINER)),
    ] {
        let frame = |body: Bytes| {
            let framed = frame_light(protocol, &body, &LIMITS).expect("a write");
            framed.expect("a light one")
        };
        let hash = |mut framed: Framed| framed.ask(&key, usize::MAX).left();
        let mut bodies = bodies.into_iter().cycle();
        let mut next = || {
            elsewhere.visit();
            bodies.next().expect("there are four")
        };
        group.bench_function(format!("decode_{name}"), |b| {
            b.iter_batched(&mut next, decode, BatchSize::PerIteration);
        });
        group.bench_function(format!("frame_{name}"), |b| {
            b.iter_batched(|| decode(next()), frame, BatchSize::PerIteration);
        });
        group.bench_function(format!("hash_{name}"), |b| {
            b.iter_batched(|| frame(decode(next())), hash, BatchSize::PerIteration);
        });
        if protocol == V1 {
            continue;
        }
        let mut compressed = Vec::new();
        let mut written_out = || match frame(decode(next())).prove(&key) {
            Proof::AsFramed(series) => series.into_scanned(),
            Proof::Otherwise(_) => unreachable!("a canonical body"),
        };
        let mut compress = |scanned: Scanned| encode_copied(&scanned, &mut compressed);
        group.bench_function(format!("compress_{name}_as_1.0"), |b| {
            b.iter_batched(&mut written_out, &mut compress, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, wire, spliced, unforeseen);
criterion_main!(benches);
