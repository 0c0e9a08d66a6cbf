//! A policy's answer of any bytes, as it lies in its memory: a fault in words that fit a line, or outcomes that can be done.
//!
//! The guest is built by hand and answers with the bytes that it has as its settings. It is compiled by this program itself,
//! called with `compile`.
#![no_main]

use std::process::ExitCode;
use std::sync::{Arc, LazyLock};

use gauntlet::chain::{Batch, BuildFault, CallError, Chain, Context, Outcome, PolicyWatch, Samples};
use gauntlet::config::{self, Mode, OnFailure, Owner, PluginSource, Policy, WrittenAt, defaults};
use gauntlet::memory::{Memory, NO_LIMIT};
use gauntlet::model::TenantId;
use gauntlet::sandbox::{Compiler, Engine};
use gauntlet::telemetry::Metrics;
use gauntlet::wire::labels::encode_labels;
use libfuzzer_sys::fuzz_target;

// Each target uses a part of it.
#[allow(dead_code)]
#[path = "../../../tests/kit/guest.rs"]
mod guest;

/// As many as the gateway's own plain series, for which an answer is as long as it is for these.
const SERIES: usize = 5;

struct Tried {
    runtime: tokio::runtime::Runtime,
    engine: Arc<Engine>,
    context: Context,
    plugin: Arc<PluginSource>,
    samples: Arc<Samples>,
    batch: Batch,
    /// So that the plugin stays compiled.
    _kept: Chain,
}

static TRIED: LazyLock<Tried> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let metrics = Arc::new(Metrics::new());
    let memory = Memory::new(NO_LIMIT, Arc::clone(&metrics));
    let compiler = Compiler {
        program: std::env::current_exe().unwrap(),
        args: vec!["compile".into()],
    };
    let engine = Engine::new(&defaults::SANDBOX, compiler, &memory, metrics).unwrap();
    let context = Context {
        tenant: TenantId::new("fuzz").unwrap(),
        upstreams: vec!["main".to_owned()],
    };
    let component = wat::parse_str(format!("(component {})", guest::answering())).unwrap();
    let plugin = config::plugin_source("answering", &component, None);
    let samples = Arc::new(Samples::new(&PolicyWatch::new(&memory).unwrap()));
    let keeps = [0, guest::IMAGE + 16, SERIES as u32]
        .iter()
        .flat_map(|word| word.to_le_bytes());
    let keeps: Vec<u8> = keeps.chain([0; 512]).collect();
    let kept = build(&runtime, &engine, &context, answering(&plugin, &keeps), &samples);
    Tried {
        _kept: kept.unwrap(),
        batch: batch(),
        runtime,
        engine,
        context,
        plugin,
        samples,
    }
});

fn build(
    runtime: &tokio::runtime::Runtime,
    engine: &Arc<Engine>,
    context: &Context,
    policy: Policy,
    samples: &Arc<Samples>,
) -> Result<Chain, gauntlet::chain::BuildError> {
    runtime.block_on(Chain::build_with(engine, context, &[policy], 1, samples))
}

fn answering(plugin: &Arc<PluginSource>, image: &[u8]) -> Policy {
    Policy {
        name: "answering".to_owned(),
        plugin: Arc::clone(plugin),
        settings: format!("\"{}\"", data_encoding::HEXLOWER.encode(image)),
        on_failure: OnFailure::Retry,
        mode: Mode::Enforce,
        owner: Owner::Tenant,
        written_at: WrittenAt::default(),
    }
}

fn batch() -> Batch {
    let mut body = Vec::new();
    let labels = (0..SERIES).map(|n| {
        let (start, n) = (body.len() as u32, n.to_string());
        encode_labels([("__name__", "up"), ("n", &*n)].into_iter(), &mut body);
        start..body.len() as u32
    });
    Batch {
        labels: labels.collect(),
        body: body.into(),
    }
}

fn check(outcome: &Outcome) {
    match outcome {
        Outcome::Edit { labels, .. } => {
            let labels = labels.to_vec();
            assert!(labels.windows(2).all(|two| two[0].name < two[1].name), "{labels:?}");
            assert!(
                labels
                    .iter()
                    .all(|label| !label.name.is_empty() && !label.value.is_empty()),
                "{labels:?}"
            );
        }
        Outcome::Drop { reason, .. } => assert!(reason.len() <= 1024 && !reason.contains(char::is_control), "{reason}"),
        Outcome::Keep { .. } | Outcome::Reject { .. } | Outcome::TooLarge => {}
    }
}

fuzz_target!(
    init: {
        if std::env::args().nth(1).as_deref() == Some("compile") {
            let is_well = gauntlet::cli::main() == ExitCode::SUCCESS;
            std::process::exit(i32::from(!is_well));
        }
    },
    |data: &[u8]| {
        let tried = &*TRIED;
        // What the guest has room for beside its arguments.
        let image = &data[..data.len().min(16 << 10)];
        let policy = answering(&tried.plugin, image);
        match build(&tried.runtime, &tried.engine, &tried.context, policy, &tried.samples) {
            Err(error) => {
                let told = error.to_string();
                assert!(told.len() < 4096 && !told.contains(char::is_control), "{told}");
                assert!(matches!(error.fault, BuildFault::Golden(_) | BuildFault::Impure(_)), "{told}");
            }
            Ok(chain) => match tried.runtime.block_on(chain.relabel(tried.batch.clone())) {
                Ok(relabelled) => {
                    assert_eq!(relabelled.outcomes.len(), SERIES);
                    relabelled.outcomes.iter().for_each(check);
                }
                Err(CallError::Failed { fault, .. }) => assert!(fault.to_string().len() < 4096),
                Err(error) => panic!("{error}"),
            },
        }
    }
);
