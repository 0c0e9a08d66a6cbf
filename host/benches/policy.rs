//! What a warm call costs, hop to the plugin thread and back included.
//!
//! `cargo build -p gauntlet && cargo bench -p gauntlet --bench policy` (with `--profile dev` to spare a second build
//! of wasmtime: plugins' own code is optimised either way).

#![allow(clippy::expect_used)] // A benchmark that cannot be set up has nothing to measure.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use gauntlet::chain::{Batch, Chain, Context, PolicyWatch, Samples, Write};
use gauntlet::config::defaults::SANDBOX;
use gauntlet::config::{Mode, OnFailure, Owner, PluginSource, Policy, WrittenAt};
use gauntlet::memory::{Memory, NO_LIMIT};
use gauntlet::model::{TenantId, Totals};
use gauntlet::sandbox::{Compiler, Engine};
use gauntlet::telemetry::Metrics;
use gauntlet::wire::labels::encode_labels;

const RULES: &str = r#"{"relabel_configs": [
    {"action": "drop", "source_labels": ["__name__"], "regex": "go_.*"},
    {"action": "labeldrop", "regex": "endpoint|service"},
    {"target_label": "cluster", "replacement": "kazusa"}]}"#;
const LIMITS: &str =
    r#"{"samples": {"per_second": 50000, "burst": 200000}, "requests": {"per_second": 100, "burst": 200}}"#;

fn policy(name: &str, settings: &str) -> Policy {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../policies/plugins/{name}.wasm"));
    let bytes = std::fs::read(path).expect("a standard plugin");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    Policy {
        name: name.to_owned(),
        plugin: Arc::new(PluginSource {
            name: name.to_owned(),
            sha256: digest.as_ref().try_into().expect("32 bytes"),
            bytes: Arc::from(bytes),
            file: None,
        }),
        settings: settings.to_owned(),
        on_failure: OnFailure::Retry,
        mode: Mode::Enforce,
        owner: Owner::Tenant,
        written_at: WrittenAt::default(),
    }
}

fn batch(series: usize) -> Batch {
    let mut body = Vec::new();
    let labels = (0..series).map(|n| {
        let (start, pod) = (body.len() as u32, format!("web-{n}"));
        let labels = [
            ("__name__", "http_request_duration_seconds_bucket"),
            ("code", "200"),
            ("endpoint", "metrics"),
            ("handler", "/api/v1/write"),
            ("instance", "10.0.0.1:8080"),
            ("job", "api"),
            ("le", "0.25"),
            ("method", "POST"),
            ("namespace", "default"),
            ("pod", &*pod),
        ];
        encode_labels(labels.into_iter(), &mut body);
        start..body.len() as u32
    });
    Batch {
        labels: labels.collect(),
        body: body.into(),
    }
}

/// Prints what criterion does not: the middle and the tail of single calls, and the processor time of each, which a
/// busy machine does not change.
fn spread(name: &str, mut call: impl FnMut()) {
    let processor = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(now).expect("a clock counts upwards")
    };
    let (before, calls) = (processor(), 1000);
    let mut times: Vec<Duration> = (0..calls)
        .map(|_| {
            let began = std::time::Instant::now();
            call();
            began.elapsed()
        })
        .collect();
    let each = (processor() - before) / calls;
    times.sort_unstable();
    println!(
        "{name}: p50 {:?}, p99 {:?}, processor time {each:?} a call",
        times[500], times[990]
    );
}

fn benches(criterion: &mut Criterion) {
    // target/<profile>/deps/policy-<hash>
    let bench = std::env::current_exe().expect("a path");
    let program = bench.parent().and_then(Path::parent).expect("target").join("gauntlet");
    let compiler = Compiler {
        program,
        args: vec!["compile".into()],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(NO_LIMIT, Arc::clone(&metrics));
    let engine = Engine::new(&SANDBOX, compiler, &memory, metrics).expect("an engine");
    let samples = Arc::new(Samples::new(&PolicyWatch::new(&memory).expect("randomness")));
    let context = Context {
        tenant: TenantId::new("bench").expect("a tenant"),
        upstreams: vec!["sink".to_owned()],
    };
    let build = |policies: Vec<Policy>| {
        let chain = runtime.block_on(Chain::build_with(&engine, &context, &policies, 1, &samples));
        chain.expect("a chain")
    };

    let relabel = build(vec![policy("relabel", RULES)]);
    for series in [1, 100, 512] {
        let batch = batch(series);
        let name = format!("relabel {series} series");
        let call = || runtime.block_on(relabel.relabel(batch.clone())).expect("verdicts");
        spread(&name, || drop(call()));
        criterion.bench_function(&name, |b| b.iter(call));
    }
    let limits = build(vec![policy("limits", LIMITS)]);
    let write = Write {
        protocol: gauntlet::model::Protocol::V1,
        streams: vec![(
            Arc::from(""),
            Totals {
                series: 2000,
                samples: 2000,
                ..Totals::default()
            },
        )],
        ..Write::default()
    };
    // No two of these are the same: asking is timed, not remembering.
    let asked = Cell::new(0);
    let call = || {
        let mut write = write.clone();
        write.streams[0].1.samples = asked.get();
        asked.set(asked.get() + 1);
        runtime.block_on(limits.admit(write)).expect("a decision")
    };
    spread("admit", || drop(call()));
    criterion.bench_function("admit", |b| b.iter(call));
    let none = build(vec![]);
    criterion.bench_function("admit without policies (no hop)", |b| {
        b.iter(|| runtime.block_on(none.admit(write.clone())).expect("a decision"));
    });
}

criterion_group!(all, benches);
criterion_main!(all);
