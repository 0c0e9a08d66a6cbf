//! One policy of a chain: its plugin, its settings, its record.
//!
//! Takes calls, finds or starts an instance for each, books what came of it. After any fault but the plugin's own
//! error the instance is gone. Never calls a policy that is in quarantine, but to find out what it fails on, and never
//! decides what a failure costs: that is the chain's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::batch::Batch;
use super::context::Context;
use super::pace::Pace;
use super::purity::Purity;
use super::quarantine::{Gate, Quarantine};
use super::samples::Samples;
use super::shadow::Shadow;
use super::words::Vocabulary;
use crate::config::{self, OnFailure};
use crate::sandbox::types::{self, Inputs};
use crate::sandbox::{Engine, Fault, Instance, Meter, Plugin, PolicyId, Share, Start};
use crate::telemetry::metrics::{PolicyLabels, TrapLabels};
use crate::telemetry::{Metrics, Throttle};
use crate::wire::labels::label_bytes;
use crate::wire::{Shown, shown_whole};

mod checked;
mod status;
mod timer;

pub use status::{FailedSeries, PolicyFailure, PolicyInfo, PolicyStatus};
use timer::Timer;

/// Series that a policy fails on and that operators are shown: the last ones.
const SHOWN_SERIES: usize = 16;
/// Longest text that such a series is shown as, in bytes.
const MAX_SHOWN: usize = 512;
/// Lines about such series in one [`WINDOW`].
const LINES: u64 = 10;
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// About so many series.
    Relabel(usize),
    Admit,
}

impl Function {
    /// Whether what was asked may have been too much for one call, and nothing else. The policy is not at fault then.
    fn is_too_much(self, fault: &Fault) -> bool {
        matches!(
            (self, fault),
            (Self::Relabel(2..), Fault::Timeout(_) | Fault::SlowStart(_))
        )
    }
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Missed {
    #[error("{0}")]
    Failed(Fault),
    /// The policy failed, and one series may be at fault, or they were too many for one call. Whoever asked finds out,
    /// and says [`Member::cleared`] or [`Member::failed`].
    #[error("{0}")]
    InDoubt(Fault),
    #[error("keeps failing and rests for another {:.1} s", .retry_after.as_secs_f64())]
    Quarantined { retry_after: Duration },
    /// It gave two answers about one series, and is not asked any more.
    #[error("gave two answers about one series and is not asked any more")]
    Impure,
}

pub struct Member {
    pub info: PolicyInfo,
    pub reasons: Vocabulary,
    pub streams: Vocabulary,
    pub bypassed: Counter,
    pub purity: Purity,
    pub shadow: Shadow,
    samples: Arc<Samples>,
    /// It rested, was tried again, and failed again.
    keeps_failing: AtomicBool,
    pub pace: Pace,
    id: PolicyId,
    plugin: Arc<Plugin>,
    inputs: OnceLock<Inputs>,
    settings: String,
    context: Arc<Context>,
    metrics: Arc<Metrics>,
    share: Arc<Share>,
    quarantine: Mutex<Quarantine>,
    quarantined: Gauge<i64, std::sync::atomic::AtomicI64>,
    calls: AtomicU64,
    failures: AtomicU64,
    last_failure: Mutex<Option<PolicyFailure>>,
    failed_series: Mutex<VecDeque<FailedSeries>>,
    told: Throttle,
    halved: Counter,
    /// Made with the first call: as a rule a plugin has only one of the two.
    relabel: OnceLock<Timer>,
    admit: OnceLock<Timer>,
    /// The names of its tenant and its own, as labels have them.
    labels: (String, String),
}

impl Member {
    /// `samples` are the tenant's, `metrics` where it is counted.
    pub fn new(
        engine: &Engine,
        metrics: &Arc<Metrics>,
        context: &Arc<Context>,
        policy: &config::Policy,
        plugin: Arc<Plugin>,
        samples: &Arc<Samples>,
    ) -> Self {
        let names = (context.tenant.to_string(), policy.name.clone());
        let labels = PolicyLabels {
            tenant: names.0.clone(),
            policy: names.1.clone(),
        };
        let meter = Meter::new(metrics, &labels);
        Self {
            info: PolicyInfo {
                name: Arc::from(policy.name.as_str()),
                plugin: policy.plugin.name.clone(),
                sha256: policy.plugin.sha256,
                size: policy.plugin.bytes.len(),
                world: plugin.world(),
                owner: policy.owner,
                on_failure: policy.on_failure,
                mode: policy.mode,
                exported: plugin.scope(),
                scope: OnceLock::new(),
            },
            reasons: Vocabulary::default(),
            streams: Vocabulary::default(),
            bypassed: metrics.policy_bypassed.get_or_create(&labels),
            purity: Purity::new(
                engine.next_policy(),
                metrics.policy_impure.get_or_create(&labels),
                metrics.policy_asked_again.get_or_create(&labels),
            ),
            shadow: Shadow::new(policy.mode, &names.0, &names.1, metrics),
            samples: Arc::clone(samples),
            keeps_failing: AtomicBool::new(false),
            pace: Pace::default(),
            id: engine.next_policy(),
            plugin,
            inputs: OnceLock::new(),
            settings: policy.settings.clone(),
            context: Arc::clone(context),
            metrics: Arc::clone(metrics),
            share: Arc::new(Share::new(&names.0, &names.1, meter)),
            quarantine: Mutex::new(Quarantine::default()),
            quarantined: metrics.policy_quarantined.get_or_create(&labels),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_failure: Mutex::new(None),
            failed_series: Mutex::default(),
            told: Throttle::new(LINES, WINDOW),
            halved: metrics.policy_halved_batches.get_or_create(&labels),
            relabel: OnceLock::new(),
            admit: OnceLock::new(),
            labels: names,
        }
    }

    /// Runs `judge` on an instance of this policy. Plugin threads only.
    ///
    /// `judge` also checks what the plugin returned: nonsense costs the instance, as a trap does.
    pub fn call<R>(
        &self,
        engine: &Engine,
        function: Function,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Missed> {
        if self.purity.found.get().is_some() {
            return Err(Missed::Impure);
        }
        if let Gate::Shut { retry_after } = lock(&self.quarantine).ask(Instant::now()) {
            return Err(Missed::Quarantined { retry_after });
        }
        match self.attempt(engine, function, engine.warm().take(self.id), judge) {
            Ok(judged) => {
                self.cleared();
                Ok(judged)
            }
            Err(fault) => Err(self.missed(function, fault, true)),
        }
    }

    /// Runs `judge` to find out what the policy fails on, be it in quarantine or not; that it does well is not counted in
    /// its favour yet. `is_fresh`: on an instance that nobody has called.
    ///
    /// # Errors
    /// Whatever the plugin did instead; [`Member::missed`] says what that means.
    pub fn call_in_doubt<R>(
        &self,
        engine: &Engine,
        function: Function,
        is_fresh: bool,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let warm = (!is_fresh).then(|| engine.warm().take(self.id)).flatten();
        self.attempt(engine, function, warm, judge)
    }

    /// What a failing call means. `may_be_a_series`: nothing speaks against that but the fault, and what the operator
    /// wants.
    pub fn missed(&self, function: Function, fault: Fault, may_be_a_series: bool) -> Missed {
        let may_be_a_series = may_be_a_series && function != Function::Admit && self.may_be_a_series(&fault);
        if may_be_a_series || function.is_too_much(&fault) {
            return Missed::InDoubt(fault);
        }
        self.failed(&fault);
        Missed::Failed(fault)
    }

    /// Whether one series may be what leads to this fault, and the operator wants it refused then.
    fn may_be_a_series(&self, fault: &Fault) -> bool {
        self.info.on_failure == OnFailure::RefuseSeries && fault.may_lie_in_a_series()
    }

    fn attempt<R>(
        &self,
        engine: &Engine,
        function: Function,
        warm: Option<Instance>,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let (timer, name) = match function {
            Function::Relabel(_) => (&self.relabel, "relabel"),
            Function::Admit => (&self.admit, "admit"),
        };
        let (tenant, policy) = &self.labels;
        let timer = timer.get_or_init(|| Timer::new(&self.metrics, tenant, policy, name));
        self.calls.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let outcome = self.run(engine, self.id, warm, judge);
        let took = began.elapsed();
        timer.called(took);
        self.purity.judged(took);
        outcome.inspect_err(|fault| {
            if function.is_too_much(fault) {
                self.halved.inc();
            } else {
                self.count(fault);
            }
        })
    }

    fn run<R>(
        &self,
        engine: &Engine,
        kept_as: PolicyId,
        warm: Option<Instance>,
        judge: impl FnOnce(&mut Instance) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let mut instance = match warm {
            Some(instance) => instance,
            None => self.start(engine)?,
        };
        let outcome = judge(&mut instance);
        let now = Instant::now();
        if matches!(outcome, Ok(_) | Err(Fault::Error(_))) && !instance.worn(now) {
            let bytes = instance.held();
            engine.warm().put(kept_as, instance, bytes, now);
        }
        outcome
    }

    /// Starts and configures an instance, which waits for the first call.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn warm_up(&self, engine: &Engine) -> Result<(), Fault> {
        let instance = self.start(engine)?;
        let bytes = instance.held();
        engine.warm().put(self.id, instance, bytes, Instant::now());
        Ok(())
    }

    /// Asks what of a write this policy's decisions depend on. A policy that fails here never runs.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn learn_inputs(&self, engine: &Engine) -> Result<(), Fault> {
        let inputs = self.ask_aside(engine, |instance| instance.admission_inputs(engine.call_allowance()))?;
        self.inputs.get_or_init(|| inputs);
        Ok(())
    }

    /// What of a write this policy is told. Everything, until it was asked.
    pub fn inputs(&self) -> Inputs {
        self.inputs.get().copied().unwrap_or(Inputs::all())
    }

    fn start(&self, engine: &Engine) -> Result<Instance, Fault> {
        let upstreams: Vec<&str> = self.context.upstreams.iter().map(String::as_str).collect();
        let context = types::Context {
            tenant: self.context.tenant.as_str(),
            upstreams: &upstreams,
        };
        loop {
            let slot = engine.slot().ok_or(Fault::NoRoom)?;
            let started = Instance::start(Start {
                plugin: &self.plugin,
                settings: &self.settings,
                context: &context,
                share: &self.share,
                memory_limit: engine.memory_limit(),
                held: engine.hold_instance(),
                allowance: engine.start_allowance(),
                slot,
            });
            match started {
                // The pool's memories or tables ran out before its slots; another policy's warm instance makes room.
                Err(Fault::NoRoom) if engine.warm().make_room() => {}
                other => return other,
            }
        }
    }

    fn count(&self, fault: &Fault) {
        let labels = TrapLabels {
            tenant: self.labels.0.clone(),
            policy: self.labels.1.clone(),
            kind: fault.kind(),
        };
        self.metrics.policy_traps.get_or_create(&labels).inc();
        self.failures.fetch_add(1, Ordering::Relaxed);
        *lock(&self.last_failure) = Some(PolicyFailure {
            fault: fault.clone(),
            at: SystemTime::now(),
        });
    }

    /// The policy did well, or what it failed on is refused.
    pub fn cleared(&self) {
        lock(&self.quarantine).succeeded();
        self.quarantined.set(0);
    }

    /// Holds a fault against the policy, which rests if there are too many.
    pub fn failed(&self, fault: &Fault) {
        if fault.is_the_hosts() {
            return;
        }
        let (tenant, policy) = (&*self.labels.0, &*self.labels.1);
        let mut quarantine = lock(&self.quarantine);
        let was_tried_again = quarantine.is_on_trial();
        if quarantine.failed(Instant::now()) {
            if was_tried_again && !self.keeps_failing.swap(true, Ordering::Relaxed) {
                self.samples.watch().alarm();
            }
            self.quarantined.set(1);
            self.pace.forget();
            let rest = quarantine
                .until()
                .map(|until| until.saturating_duration_since(Instant::now()));
            let rest_seconds = rest.map_or(0.0, |rest| (rest.as_secs_f64() * 10.0).round() / 10.0);
            tracing::warn!(tenant, policy, %fault, rest_seconds, "policy keeps failing and is left alone for a while");
        } else {
            // At most a few of these before the quarantine.
            tracing::info!(tenant, policy, %fault, "policy failed");
        }
    }

    /// It rested, was tried again, and failed again.
    pub fn keeps_failing(&self) -> bool {
        self.keeps_failing.load(Ordering::Relaxed)
    }

    /// Holds against the policy that it fails on too much for a search to go on.
    pub fn fails_on_too_much(&self, function: Function, fault: &Fault) {
        if function.is_too_much(fault) {
            self.count(fault);
        }
        self.failed(fault);
    }

    /// Remembers a series that it fails on for operators, and tells them.
    pub fn refuses(&self, batch: &Batch, index: usize, fault: Fault) {
        let labels = label_bytes(batch.series(index));
        if let Some(untold) = self.told.due(Instant::now()) {
            let (tenant, policy) = (&*self.labels.0, &*self.labels.1);
            let series = Shown::of(labels.clone(), None);
            tracing::warn!(tenant, policy, %fault, %series, untold, "a policy fails on a series, which is refused from now on");
        }
        let mut all = lock(&self.failed_series);
        all.truncate(SHOWN_SERIES - 1);
        let (series, at) = (shown_whole(labels, MAX_SHOWN), SystemTime::now());
        all.push_front(FailedSeries { series, fault, at });
    }

    pub fn status(&self) -> PolicyStatus {
        let until = lock(&self.quarantine).until();
        PolicyStatus {
            info: self.info.clone(),
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            last_failure: lock(&self.last_failure).clone(),
            failed_series: lock(&self.failed_series).iter().cloned().collect(),
            quarantined: until.map(|until| until.saturating_duration_since(Instant::now())),
            impurity: self.purity.found.get().cloned(),
            shadow: self.shadow.status(),
            usage: self.share.meter.usage(),
            log: self.share.last(Instant::now()),
            series_per_call: self.pace.most(),
        }
    }

    /// Drops the instances that wait. The chain is gone; those in use follow when they are done.
    pub fn forget(&self, engine: &Engine) {
        engine.warm().forget(self.id);
        engine.warm().forget(self.purity.instances);
        if lock(&self.quarantine).until().is_some() {
            self.quarantined.set(0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
