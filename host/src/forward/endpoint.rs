//! One receiver: where it is, how it does, what is in flight to it.
//!
//! Takes addresses, gives guards: a [`Trip`] counts as in flight while it lives, a [`Probe`] is the only one, and each tells
//! the endpoint's health how it ended, also where its request was dropped half-way.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use super::balance::{self, Candidate};
use super::cause::Cause;
use super::health::{Health, Illness};
use super::latency::Latency;
use crate::net::{Address, Pool};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::EndpointLabels;

pub struct Endpoint {
    pub address: Address,
    pub pool: Pool,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
    labels: EndpointLabels,
}

#[derive(Default)]
struct State {
    health: Health,
    latency: Latency,
    probe: Option<AbortHandle>,
    /// Whether the endpoint belongs to what is configured, and so owns a time series.
    published: bool,
    last_cause: Option<(Cause, Instant)>,
}

/// What the admin API says of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    /// URL without a path.
    pub address: String,
    pub healthy: bool,
    pub in_flight: usize,
    /// What a write took there lately, on average; `None` if none was stored there.
    pub latency: Option<Duration>,
    pub failures_in_a_row: u32,
    /// Class of the last failure: one word.
    pub last_failure: Option<&'static str>,
    /// Why the last write failed there, and how long ago, whether that counts against the endpoint or not.
    pub last_cause: Option<(Cause, Duration)>,
    /// Until an ejected endpoint is tried again.
    pub retry_in: Option<Duration>,
}

/// One write under way to an endpoint.
pub struct Trip {
    endpoint: Arc<Endpoint>,
    began: Instant,
    trial: bool,
    ended: bool,
}

/// The one question under way to an endpoint that is passed over.
pub struct Probe {
    endpoint: Arc<Endpoint>,
    ended: bool,
}

impl Endpoint {
    pub fn new(upstream: &str, address: Address, metrics: Arc<Metrics>) -> Arc<Self> {
        let labels = EndpointLabels {
            upstream: upstream.to_owned(),
            endpoint: address.to_string(),
        };
        Arc::new(Self {
            address,
            pool: Pool::default(),
            state: Mutex::default(),
            metrics,
            labels,
        })
    }

    /// Shows the endpoint in the metrics. Those that make room for it have to be withdrawn before: two endpoints may
    /// follow each other under one address.
    pub fn publish(&self) {
        let mut state = self.locked();
        state.published = true;
        self.show(&state);
    }

    /// Takes the endpoint out of the metrics. What is in flight finishes.
    pub fn withdraw(&self) {
        let mut state = self.locked();
        state.published = false;
        let probe = state.probe.take();
        self.metrics.upstream_healthy.remove(&self.labels);
        drop(state);
        if let Some(probe) = probe {
            probe.abort();
        }
        self.pool.clear();
    }

    /// What a choice among endpoints is made from.
    pub fn candidate(&self, now: Instant) -> Candidate {
        let state = self.locked();
        Candidate {
            standing: state.health.standing(now),
            in_flight: state.latency.in_flight(),
            usual: state.latency.usual(),
            faded: state.latency.faded(now),
            silence: state.latency.silence(now),
        }
    }

    pub fn status(&self) -> EndpointStatus {
        let state = self.locked();
        EndpointStatus {
            address: self.address.to_string(),
            healthy: state.health.is_healthy(),
            in_flight: state.latency.in_flight(),
            latency: state.latency.usual(),
            failures_in_a_row: state.health.failures_in_a_row(),
            last_failure: state.health.last_illness().map(Illness::word),
            last_cause: state
                .last_cause
                .as_ref()
                .map(|(cause, at)| (cause.clone(), at.elapsed())),
            retry_in: state.health.retry_in(Instant::now()),
        }
    }

    /// What asks the endpoint now; it ends with the endpoint's time in the configuration.
    pub fn is_probed_by(&self, task: AbortHandle) {
        self.locked().probe = Some(task);
    }

    /// Keeps why a write failed here, for operators.
    pub fn note(&self, cause: Cause) {
        self.locked().last_cause = Some((cause, Instant::now()));
    }

    /// As if the time until the next trial had passed.
    #[cfg(test)]
    pub(super) fn end_backoff(&self) {
        self.locked().health.end_backoff(Instant::now());
    }

    fn failed(&self, illness: Illness, waited: Duration, trial: bool, now: Instant) {
        {
            let mut state = self.locked();
            if illness.is_answer() {
                state.latency.answered(now);
            }
            // What was waited for in vain is at least so long.
            if illness.is_a_wait() && waited > balance::SLOW {
                state.latency.learnt(waited, now);
            }
            let was_healthy = state.health.is_healthy();
            state.health.failed(illness, waited, trial, now, random());
            if was_healthy && !state.health.is_healthy() {
                self.show(&state);
                tracing::warn!(
                    upstream = self.labels.upstream,
                    endpoint = %self.address,
                    failure = illness.word(),
                    "endpoint is passed over"
                );
            }
        }
        if !illness.is_answer() {
            self.pool.clear();
        }
    }

    /// Under the lock, so that no late outcome shows an endpoint again that was withdrawn.
    fn show(&self, state: &State) {
        if state.published {
            let healthy = i64::from(state.health.is_healthy());
            self.metrics.upstream_healthy.get_or_create(&self.labels).set(healthy);
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trip {
    pub fn start(endpoint: &Arc<Endpoint>, may_be_trial: bool, now: Instant) -> Self {
        let mut state = endpoint.locked();
        state.latency.began(now);
        Self {
            endpoint: Arc::clone(endpoint),
            began: now,
            // Another write may have become the trial since the choice was made; then this one is a straggler.
            trial: may_be_trial && state.health.started(now),
            ended: false,
        }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// The endpoint answered. `stored` is whether it has done the whole work: only then does the time say what a write
    /// takes there.
    pub fn succeeded(mut self, stored: bool) {
        self.ended = true;
        let now = Instant::now();
        let mut state = self.endpoint.locked();
        state.latency.answered(now);
        if stored {
            state.latency.learnt(now.saturating_duration_since(self.began), now);
        }
        let was_healthy = state.health.is_healthy();
        state.health.succeeded();
        if !was_healthy {
            self.endpoint.show(&state);
            tracing::info!(upstream = self.endpoint.labels.upstream, endpoint = %self.endpoint.address, "endpoint is back");
        }
    }

    /// The endpoint failed, and it was its own doing.
    pub fn failed(mut self, illness: Illness) {
        self.ended = true;
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.began);
        self.endpoint.failed(illness, waited, self.trial, now);
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        self.endpoint.locked().latency.ended();
        if self.ended {
            return;
        }
        // Whoever gave up waiting has learnt something: it takes at least so long.
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.began);
        match (self.trial, waited > balance::SLOW) {
            (true, true) => self.endpoint.failed(Illness::Timeout, waited, true, now),
            (false, true) => self.endpoint.locked().latency.learnt(waited, now),
            (trial, false) => self.endpoint.locked().health.abandoned(trial),
        }
    }
}

impl Probe {
    /// `None` if the endpoint is not due to be asked, or is being asked.
    pub fn begin(endpoint: &Arc<Endpoint>, now: Instant) -> Option<Self> {
        let begins = endpoint.locked().health.probed(now);
        begins.then(|| Self {
            endpoint: Arc::clone(endpoint),
            ended: false,
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// `None` is an answer.
    pub fn ended(mut self, fault: Option<Illness>) {
        self.ended = true;
        match fault {
            None => self.endpoint.locked().health.answered(),
            // Nobody has waited for it.
            Some(illness) => self.endpoint.failed(illness, Duration::ZERO, true, Instant::now()),
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.ended {
            self.endpoint.locked().health.abandoned(true);
        }
    }
}

/// A number nobody has to keep secret: std's hasher keys differ by call.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
