//! Whose time a call takes: a plugin's own processor time, whatever it spends it on, and never what the machine keeps it from.

use std::time::Instant;

use tracing::span;

use super::*;
use crate::sandbox::{Arguments, Instance, Meter, Share, Start, types};

/// One instance of the hostile fixture, on this thread.
async fn instance(mode: &str) -> Instance {
    let plugin = shared().load(&fixture("hostile")).await.unwrap();
    let meter = Meter::new(&SHARED.1, &crate::telemetry::metrics::PolicyLabels::default());
    let started = Instance::start(Start {
        plugin: &plugin,
        settings: &hostile(mode, "relabel").settings,
        context: &types::Context {
            tenant: "deadline",
            upstreams: &[],
        },
        share: &Arc::new(Share::new("deadline", mode, meter)),
        memory_limit: shared().memory_limit(),
        held: shared().hold_instance(),
        allowance: shared().start_allowance(),
        slot: shared().slot().unwrap(),
    });
    started.unwrap()
}

fn asked(labels: &[(&str, &str)]) -> Arguments {
    let mut arguments = Arguments::default();
    let parts = |labels: &[(&str, &str)], push: &mut dyn FnMut(&[u8])| {
        labels.iter().for_each(|(name, value)| {
            push(name.as_bytes());
            push(value.as_bytes());
        });
    };
    arguments.ask_for(std::iter::once(labels), parts).unwrap();
    arguments
}

#[tokio::test]
async fn a_plugin_is_stopped_whatever_it_spends_its_time_on() {
    // An endless loop; a hundred thousand short calls to `log`; filling memory in single instructions.
    for mode in ["loop", "log-flood", "fill"] {
        let mut instance = instance(mode).await;
        assert!(
            instance.relabel(&asked(UP), Duration::from_millis(50)).is_ok(),
            "{mode}"
        );
        let allowance = Duration::from_millis(2);
        let fault = instance.relabel(&asked(TRIGGER), allowance).unwrap_err();
        assert_eq!(fault, Fault::Timeout(allowance), "{mode}");
        assert!(instance.took() >= allowance, "{mode}: {:?}", instance.took());
    }
}

/// A log that keeps whoever writes to it waiting for so long.
struct Waits(Duration);

impl tracing::Subscriber for Waits {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target() == "gauntlet::plugin" {
            std::thread::sleep(self.0);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn a_call_that_is_kept_from_the_processor_goes_on_and_ends_by_the_clock_alone() {
    // It logs one line.
    let mut instance = instance("escape-codes").await;
    let allowance = Duration::from_millis(20);
    let mut waiting = |wait| {
        let began = Instant::now();
        let answer = tracing::subscriber::with_default(Waits(wait), || instance.relabel(&asked(TRIGGER), allowance));
        assert!(began.elapsed() >= wait, "nothing waited");
        assert!(instance.took() < allowance, "{:?}", instance.took());
        answer.map(|verdicts| verdicts.len())
    };
    assert_eq!(waiting(3 * allowance), Ok(1));
    assert_eq!(waiting(41 * allowance), Err(Fault::HeldUp));
}
