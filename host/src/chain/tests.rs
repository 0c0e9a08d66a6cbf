//! The sandbox against polite and hostile plugins.
//!
//! Takes the standard plugins and the fixtures as they are committed; every engine compiles them with the real
//! `gauntlet compile`, so `cargo build -p gauntlet` comes first.

mod cache;
mod deadline;
mod decisions;
mod hostile;
mod load;
mod memory;
mod meter;
mod pace;
mod purity;
mod random;
mod scope;
mod search;
mod shadow;
mod wasi;
mod witness;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::*;
use crate::config::{self, Mode, OnFailure, Owner, PluginSource, WrittenAt};
use crate::memory::{Memory, NO_LIMIT};
use crate::model::{Refusal, TenantId};
use crate::sandbox::{CompileError, Compiler, Fault, LoadError, compile};
use crate::telemetry::Metrics;
use crate::wire::labels::encode_labels;

/// As `gauntlet serve` has it.
fn sandbox() -> config::Sandbox {
    config::defaults::SANDBOX
}

/// The binary beside the test's own.
fn compiler() -> Compiler {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("gauntlet");
    assert!(
        program.exists(),
        "{} is missing: cargo build -p gauntlet",
        program.display()
    );
    Compiler {
        program,
        args: vec!["compile".into()],
    }
}

fn engine(sandbox: &config::Sandbox) -> Arc<Engine> {
    engine_within(sandbox, NO_LIMIT).0
}

/// With what it may hold.
fn engine_within(sandbox: &config::Sandbox, memory_limit: u64) -> (Arc<Engine>, Arc<Memory>) {
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(memory_limit, metrics.clone());
    (Engine::new(sandbox, compiler(), &memory, metrics).unwrap(), memory)
}

/// One engine for all tests that need no other: reserving its addresses and compiling the fixtures takes a while.
static SHARED: LazyLock<(Arc<Engine>, Arc<Metrics>)> = LazyLock::new(|| {
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(NO_LIMIT, metrics.clone());
    (
        Engine::new(&sandbox(), compiler(), &memory, metrics.clone()).unwrap(),
        metrics,
    )
});

fn shared() -> &'static Arc<Engine> {
    &SHARED.0
}

fn source(name: &str, bytes: &[u8]) -> Arc<PluginSource> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Arc::new(PluginSource {
        name: name.to_owned(),
        bytes: Arc::from(bytes),
        sha256: digest.as_ref().try_into().unwrap(),
        file: None,
    })
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

pub(crate) fn fixture(name: &str) -> Arc<PluginSource> {
    let path = repository(&format!("guest-plugins/fixtures/built/{name}.wasm"));
    source(name, &std::fs::read(path).unwrap())
}

pub(crate) fn standard(name: &str) -> Arc<PluginSource> {
    let path = repository(&format!("policies/plugins/{name}.wasm"));
    source(name, &std::fs::read(path).unwrap())
}

pub(crate) fn policy(plugin: Arc<PluginSource>, settings: &str) -> config::Policy {
    config::Policy {
        name: plugin.name.clone(),
        plugin,
        settings: settings.to_owned(),
        on_failure: OnFailure::Retry,
        mode: Mode::Enforce,
        owner: Owner::Tenant,
        written_at: WrittenAt::default(),
    }
}

pub(crate) fn hostile(mode: &str, at: &str) -> config::Policy {
    // Triggered by what only the tests send, so that the golden batch is judged politely.
    let settings = format!(r#"{{"mode": "{mode}", "at": "{at}", "when": "trigger"}}"#);
    policy(fixture("hostile"), &settings)
}

fn tenant(name: &str) -> Context {
    Context {
        tenant: TenantId::new(name).unwrap(),
        upstreams: vec!["soft".to_owned(), "soft-tenants".to_owned()],
    }
}

impl Chain {
    /// For a tenant that has sent nothing yet.
    pub(crate) async fn build(
        engine: &Arc<Engine>,
        context: &Context,
        policies: &[config::Policy],
        generation: u64,
    ) -> Result<Self, BuildError> {
        let samples = Arc::new(Samples::new(&PolicyWatch::new(engine.memory()).unwrap()));
        Self::build_with(engine, context, policies, generation, &samples).await
    }
}

pub(crate) async fn chain(name: &str, policies: &[config::Policy]) -> Chain {
    Chain::build(shared(), &tenant(name), policies, 1).await.unwrap()
}

fn batch(series: &[&[(&str, &str)]]) -> Batch {
    let mut body = Vec::new();
    let labels = series.iter().map(|labels| {
        let start = body.len() as u32;
        encode_labels(labels.iter().copied(), &mut body);
        start..body.len() as u32
    });
    Batch {
        labels: labels.collect(),
        body: bytes::Bytes::from(body),
    }
}

const UP: &[(&str, &str)] = &[("__name__", "up"), ("job", "node")];
const TRIGGER: &[(&str, &str)] = &[("__name__", "up"), ("trigger", "1")];

fn kept(n: usize) -> Vec<Outcome> {
    vec![Outcome::UNTOUCHED; n]
}

fn write(subject: &str) -> Write {
    Write {
        subject: subject.to_owned(),
        protocol: crate::model::Protocol::V1,
        ..Write::default()
    }
}

#[tokio::test]
async fn a_polite_plugin_keeps_every_series_and_admits_every_write() {
    let chain = chain("polite", &[policy(fixture("pass"), "{}")]).await;
    assert!(chain.judges_series() && chain.judges_writes());
    let judged = chain.relabel(batch(&[UP, TRIGGER])).await.unwrap();
    assert_eq!(judged.outcomes, kept(2));
    assert!(judged.cacheable);
    let decision = chain.admit(write("")).await.unwrap();
    assert_eq!(decision, Decision::Admit(Arc::default()));
    let status = chain.status();
    assert_eq!(
        (status[0].calls, status[0].failures),
        (4, 0),
        "the golden batch counts too"
    );
}

#[tokio::test]
async fn a_chain_without_policies_keeps_and_admits() {
    let chain = chain("empty", &[]).await;
    assert!(!chain.judges_series() && !chain.judges_writes());
    assert_eq!(chain.relabel(batch(&[UP])).await.unwrap().outcomes, kept(1));
    let decision = chain.admit(write("")).await.unwrap();
    assert!(matches!(decision, Decision::Admit(_)));
}

#[tokio::test]
async fn a_batch_of_more_series_than_one_call_takes_is_judged_whole_and_in_order() {
    let chain = chain("large", &[hostile("no-labels", "relabel")]).await;
    let mut series = vec![UP; 1300];
    series[511] = TRIGGER;
    series[512] = TRIGGER;
    series[1299] = TRIGGER;
    let judged = chain.relabel(batch(&series)).await.unwrap();
    let edited: Vec<usize> = (0..1300)
        .filter(|i| matches!(&judged.outcomes[*i], Outcome::Edit { labels, .. } if labels.is_empty()))
        .collect();
    assert_eq!(edited, [511, 512, 1299]);
    assert_eq!(judged.outcomes.len(), 1300);
}

#[tokio::test]
async fn a_later_policy_sees_what_an_earlier_one_edited() {
    // The first adds `tenant_id`, at which the second takes the metric's name away.
    let first = hostile("reserved-label", "relabel");
    let mut second = policy(fixture("hostile"), r#"{"mode": "no-metric-name", "when": "tenant_id"}"#);
    second.name = "second".to_owned();
    let chain = chain("two", &[first, second]).await;
    let judged = chain.relabel(batch(&[UP, TRIGGER])).await.unwrap();
    let Outcome::Edit { labels, .. } = &judged.outcomes[1] else {
        panic!("{judged:?}")
    };
    let names: Vec<&str> = labels.iter().map(|label| &*label.name).collect();
    assert_eq!(
        names,
        ["receiver_replica", "tenant_id", "trigger"],
        "sorted, without the name"
    );
    assert_eq!(judged.outcomes[0], Outcome::UNTOUCHED);
}

/// A plugin thread lets go of its chain a moment after it answered, so what is kept warm is waited for.
async fn kept_warm(engine: &Engine, expected: usize, why: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while engine.warm().len() != expected {
        let found = engine.warm().len();
        assert!(
            std::time::Instant::now() < deadline,
            "{why}: {found} instances, not {expected}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn instances_are_reused_and_gone_with_their_chain() {
    let engine = engine(&sandbox());
    let chain = Chain::build(&engine, &tenant("t"), &[policy(fixture("pass"), "{}")], 1)
        .await
        .unwrap();
    let labels = crate::telemetry::metrics::PolicyLabels {
        tenant: "t".to_owned(),
        policy: chain.status()[0].info.name.to_string(),
    };
    let asked_again = engine.metrics().policy_asked_again.get_or_create(&labels);
    for write in 1..=10 {
        chain.relabel(batch(&[UP])).await.unwrap();
        // Once it is answered, another instance is asked again: a write that came meanwhile would be right to have a third.
        purity::eventually("the write to be asked about again", || asked_again.get() >= write).await;
        kept_warm(&engine, 2, "reused").await;
    }
    let other = Chain::build(&engine, &tenant("u"), &[policy(fixture("pass"), "{}")], 1)
        .await
        .unwrap();
    kept_warm(&engine, 3, "never shared between tenants").await;
    drop(chain);
    kept_warm(&engine, 1, "gone with its chain").await;
    drop(other);
    kept_warm(&engine, 0, "gone with its chain").await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_behind() {
    let engine = engine(&sandbox());
    let chain = Chain::build(&engine, &tenant("t"), &[hostile("loop", "relabel")], 1)
        .await
        .unwrap();
    for _ in 0..600 {
        // More than may wait: each leaves before its turn.
        let relabel = chain.relabel(batch(&[TRIGGER]));
        tokio::select! {
            biased;
            _ = relabel => {}
            () = std::future::ready(()) => {}
        }
        tokio::task::yield_now().await;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        match chain.relabel(batch(&[UP])).await {
            Ok(judged) => break assert_eq!(judged.outcomes, kept(1)),
            // What is still waiting, or the loop's own quarantine.
            Err(CallError::Overloaded | CallError::Quarantined { .. }) => {
                assert!(tokio::time::Instant::now() < deadline);
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}
