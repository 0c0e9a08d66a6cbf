//! One receiver: where it is, how it does, what is in flight to it.
//!
//! Takes addresses, gives guards: a [`Trip`] counts as in flight while it lives and tells the endpoint's health how it
//! ended, also where its request was dropped half-way.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::balance::Candidate;
use super::cause::Cause;
use super::health::{Health, Illness};
use crate::net::{Address, Pool};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::EndpointLabels;

pub struct Endpoint {
    pub address: Address,
    pub pool: Pool,
    in_flight: AtomicUsize,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
    labels: EndpointLabels,
}

#[derive(Default)]
struct State {
    health: Health,
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
    pub failures_in_a_row: u32,
    /// Class of the last failure: one word.
    pub last_failure: Option<&'static str>,
    /// Why the last write failed there, and how long ago, whether that counts against the endpoint or not.
    pub last_cause: Option<(Cause, Duration)>,
    /// Until an ejected endpoint is tried again.
    pub retry_in: Option<Duration>,
}

/// One request under way to an endpoint.
pub struct Trip {
    endpoint: Arc<Endpoint>,
    trial: bool,
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
            in_flight: AtomicUsize::new(0),
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
        self.metrics.upstream_healthy.remove(&self.labels);
        drop(state);
        self.pool.clear();
    }

    /// What a choice among endpoints is made from.
    pub fn candidate(&self, now: Instant) -> Candidate {
        Candidate {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            standing: self.locked().health.standing(now),
        }
    }

    pub fn status(&self) -> EndpointStatus {
        let state = self.locked();
        EndpointStatus {
            address: self.address.to_string(),
            healthy: state.health.is_healthy(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            failures_in_a_row: state.health.failures_in_a_row(),
            last_failure: state.health.last_illness().map(Illness::word),
            last_cause: state
                .last_cause
                .as_ref()
                .map(|(cause, at)| (cause.clone(), at.elapsed())),
            retry_in: state.health.retry_in(Instant::now()),
        }
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
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        // Another request may have become the trial since the choice was made; then this one is a straggler.
        let trial = may_be_trial && endpoint.locked().health.started(now);
        Self {
            endpoint: Arc::clone(endpoint),
            trial,
            ended: false,
        }
    }

    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The endpoint answered.
    pub fn succeeded(mut self) {
        self.ended = true;
        let mut state = self.endpoint.locked();
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
        {
            let mut state = self.endpoint.locked();
            let was_healthy = state.health.is_healthy();
            state.health.failed(illness, self.trial, Instant::now(), random());
            if was_healthy && !state.health.is_healthy() {
                self.endpoint.show(&state);
                tracing::warn!(
                    upstream = self.endpoint.labels.upstream,
                    endpoint = %self.endpoint.address,
                    failure = illness.word(),
                    "endpoint is passed over"
                );
            }
        }
        if !matches!(illness, Illness::ServerError | Illness::Misconfigured) {
            self.endpoint.pool.clear();
        }
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        if !self.ended {
            self.endpoint.locked().health.abandoned(self.trial);
        }
    }
}

/// A number nobody has to keep secret: std's hasher keys differ by call.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
