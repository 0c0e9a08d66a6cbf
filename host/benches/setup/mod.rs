//! A gateway in memory: everything of it but the two networks.
//!
//! Takes a tenant's policies, gives what processes recorded bodies under them. Used by benchmarks and by tests that
//! count, so that all of them measure the same cases: kept, dropped, edited, cold, and kept of 2.0, written as 1.0 or sent on as it is.

// Each user needs a part of it; what cannot be set up has nothing to measure.
#![allow(dead_code, clippy::expect_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gauntlet::config;
use gauntlet::forward::delivery::Part;
use gauntlet::lab::Lab;
use gauntlet::model::{Protocol, TenantId};
use gauntlet::wire::labels::{encode_labels, labels};
use gauntlet::wire::{Patch, snappy, splice};
use tokio::runtime::Runtime;

/// Three relabel rules that match nothing, `limits`, `route`.
pub const KEPT: &str = r#"
- plugin: relabel
  settings:
    relabel_configs:
      - {action: drop, source_labels: [__name__], regex: "absent_.*"}
      - {action: labeldrop, regex: "absent"}
      - {source_labels: [absent], regex: "(.+)", target_label: other}
- plugin: limits
  settings: {samples: {per_second: 1e12, burst: 1000000000000}}
- plugin: route
  settings: {routes: [{match: {__name__: "absent_.*"}, stream: absent, upstream: sink}]}
"#;
/// One series in ten dropped.
pub const DROPPED: &str = r#"
- plugin: relabel
  settings:
    relabel_configs:
      - {action: hashmod, source_labels: [__name__, cpu, mode, device, collector, name, state], target_label: __tmp, modulus: 10}
      - {action: drop, source_labels: [__tmp], regex: "0"}
      - {action: labeldrop, regex: "__tmp"}
"#;
/// One label added to every series.
pub const EDITED: &str = r#"
- plugin: relabel
  settings: {relabel_configs: [{target_label: cluster, replacement: bench}]}
"#;

/// A gateway with one tenant and without listeners.
pub struct Gateway {
    pub runtime: Runtime,
    lab: Lab,
    _folder: tempfile::TempDir,
}

impl Gateway {
    /// With `policies` as a configuration file has them. `main` of whoever calls this must begin with [`compiler`].
    pub fn new(policies: &str) -> Self {
        Self::before(Protocol::V1, policies)
    }

    /// With receivers of this version.
    pub fn before(receivers: Protocol, policies: &str) -> Self {
        let version = match receivers {
            Protocol::V1 => "1.0",
            Protocol::V2 => "2.0",
        };
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join(if under_valgrind() { "valgrind" } else { "native" });
        std::fs::create_dir_all(&cache).expect("a folder for compiled plugins");
        let cache = cache.display();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config_file = folder.path().join("gauntlet.yaml");
        let text = format!(
            "memory_limit: 1TiB\nremote_write: {{insecure_http: true}}\n\
             upstreams:\n  sink: {{endpoints: ['http://127.0.0.1:1'], remote_write_version: '{version}'}}\n  \
             other: {{endpoints: ['http://127.0.0.1:1']}}\n\
             sandbox: {{call_timeout: 5s, compile_timeout: 10m, compile_memory_limit: 128GiB, cache_dir: '{cache}'}}\n\
             tenants:\n- tenant: bench\n  credentials: [{{bearer_token_sha256: '{nobody}'}}]\n  upstreams: [sink, other]\n  policies:{}\n",
            policies.replace('\n', "\n  "),
            nobody = "0".repeat(64),
        );
        std::fs::write(&config_file, text).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let loaded = config::load(&config_file).expect("a configuration without faults");
        let tenant = TenantId::new("bench").expect("an id");
        let lab = runtime.block_on(Lab::new(loaded, &tenant)).expect("a gateway");
        Self {
            runtime,
            lab,
            _folder: folder,
        }
    }

    /// From a body to what would go on.
    pub async fn process(&self, body: &Bytes) -> Vec<Part> {
        self.process_as(Protocol::V1, body).await
    }

    pub async fn process_as(&self, protocol: Protocol, body: &Bytes) -> Vec<Part> {
        self.lab.process(protocol, body).await.expect("a write that passes")
    }
}

/// Gauntlet compiles plugins in a child process of its own program, which here is whoever uses this.
pub fn compiler() -> Option<ExitCode> {
    if std::env::args().nth(1).as_deref() != Some("compile") {
        return None;
    }
    if !under_valgrind() || std::env::var_os(COMPILING).is_some() {
        return Some(gauntlet::cli::main());
    }
    // Valgrind's processor lacks instructions that this one has, and compiled plugins are bound to their processor. The
    // child limits its own files to 64; valgrind allows that only where it looks like what there was (it takes 12).
    let child = Command::new("/bin/sh")
        .args([
            "-c",
            "ulimit -n 76; exec /usr/bin/valgrind --tool=none --quiet \"$0\" \"$@\"",
        ])
        .args(std::env::args())
        .env(COMPILING, "1")
        .status();
    Some(if child.is_ok_and(|status| status.success()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

const COMPILING: &str = "GAUNTLET_BENCH_COMPILING";

/// What a program that is counted is called: its children have no other way to know.
pub const COUNTED: &str = "under-valgrind";

fn under_valgrind() -> bool {
    std::env::args()
        .next()
        .is_some_and(|program| program.ends_with(COUNTED))
}

/// Bodies of a real Prometheus 2.42 that scrapes node_exporter, 2000 samples each.
pub fn recorded() -> Vec<Bytes> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rw1");
    let files = std::fs::read_dir(folder).expect("recorded bodies");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "rw"));
    files.sort();
    let read = |path: &PathBuf| Bytes::from(std::fs::read(path).expect("a recorded body"));
    files.iter().map(read).collect()
}

/// What containers have besides: some 500 bytes.
pub const CONTAINER: [(&str, &str); 4] = [
    (
        "id",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f7b1c0e_5d3a_4f7e_9c1b_3a5f0d9c2e71.slice/\
         cri-containerd-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.scope",
    ),
    (
        "image",
        "registry.example.org/monitoring/node-exporter@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    ),
    ("metrics_path", "/metrics/cadvisor"),
    (
        "name",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ),
];

/// The same series with the labels that the Prometheus operator gives those of a daemon set, and these: values that stand under
/// several names, and three times the bytes and more.
pub fn in_kubernetes(body: &Bytes, others: &[(&str, &str)]) -> Bytes {
    let decoded = snappy::decode(body, 32 << 20).expect("snappy");
    let scanned = gauntlet::wire::scan(Protocol::V1, decoded, &gauntlet::wire::ScanLimits::NONE).expect("canonical");
    let mut written = Vec::new();
    for series in scanned.series() {
        let mut all: Vec<_> = labels(scanned.label_bytes(series))
            .filter(|(name, _)| !["instance", "job"].contains(name) && others.iter().all(|(other, _)| other != name))
            .chain([
                ("container", "node-exporter"),
                ("endpoint", "http-metrics"),
                ("instance", "10.42.17.203:9100"),
                ("job", "node-exporter"),
                ("namespace", "monitoring"),
                ("pod", "kube-prometheus-stack-prometheus-node-exporter-x7k2q"),
                ("service", "kube-prometheus-stack-prometheus-node-exporter"),
            ])
            .chain(others.iter().copied())
            .collect();
        all.sort_unstable();
        let mut bytes = Vec::new();
        encode_labels(all.into_iter(), &mut bytes);
        splice::edit(&mut written, &scanned, series, &Patch::whole(&bytes)).expect("a series of this body");
    }
    let mut compressed = Vec::new();
    snappy::encode(&written, &mut compressed).expect("a short body");
    compressed.into()
}

/// The same write as Prometheus sends it as 2.0: each string once, samples as they are, metadata empty and always there.
pub fn as_v2(body: &Bytes) -> Bytes {
    let decoded = snappy::decode(body, 32 << 20).expect("snappy");
    let scanned = gauntlet::wire::scan(Protocol::V1, decoded, &gauntlet::wire::ScanLimits::NONE).expect("canonical");
    let (mut symbols, mut all) = (vec![0x22, 0], Vec::new());
    let mut known = HashMap::new();
    let mut reference = |text: &str, out: &mut Vec<u8>| {
        let next = known.len() as u64 + 1;
        let number = *known.entry(text.to_owned()).or_insert_with(|| {
            put_field(0x22, text.as_bytes(), &mut symbols);
            next
        });
        put_varint(number, out);
    };
    for series in scanned.series() {
        let (mut references, mut content) = (Vec::new(), Vec::new());
        for (name, value) in labels(scanned.label_bytes(series)) {
            reference(name, &mut references);
            reference(value, &mut references);
        }
        put_field(0x0a, &references, &mut content);
        content.extend_from_slice(&scanned.body()[series.tail_range()]);
        content.extend_from_slice(&[0x2a, 0]);
        put_field(0x2a, &content, &mut all);
    }
    let mut compressed = Vec::new();
    snappy::encode(&[symbols, all].concat(), &mut compressed).expect("a short body");
    compressed.into()
}

fn put_field(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Makes every series of a body one that was never seen, as often as it is asked.
pub struct Churn {
    decoded: Vec<u8>,
    /// Where a label value of eight digits or more lies in each series.
    places: Vec<usize>,
}

static CHURNED: AtomicU64 = AtomicU64::new(0);

impl Churn {
    /// Every series gets a label of its own with a value of fixed width.
    pub fn new(body: &[u8]) -> Self {
        let decoded = snappy::decode(body, 32 << 20).expect("snappy");
        let limits = gauntlet::wire::ScanLimits::NONE;
        let scanned = gauntlet::wire::scan(Protocol::V1, decoded, &limits).expect("a canonical body");
        let (mut churned, mut places) = (Vec::new(), Vec::new());
        for series in scanned.series() {
            let own = labels(scanned.label_bytes(series)).chain([("zzz_churn", "0000000000000000")]);
            let mut bytes = Vec::new();
            encode_labels(own, &mut bytes);
            let before = churned.len();
            splice::edit(&mut churned, &scanned, series, &Patch::whole(&bytes)).expect("a series of this body");
            let tail = series.tail_range().len();
            places.push(churned.len() - tail - 16);
            assert!(churned[before..].windows(9).any(|name| name == b"zzz_churn"));
        }
        Self {
            decoded: churned,
            places,
        }
    }

    pub fn next(&mut self) -> Bytes {
        let number = CHURNED.fetch_add(1, Ordering::Relaxed);
        for place in &self.places {
            self.decoded[*place..place + 16].copy_from_slice(format!("{number:016}").as_bytes());
        }
        let mut out = Vec::new();
        snappy::encode(&self.decoded, &mut out).expect("a body");
        out.into()
    }
}
