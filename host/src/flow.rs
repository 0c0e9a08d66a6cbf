//! What flows through the gateway: the last hour of it, by ten seconds, and of every tenant by the minute.
//!
//! Takes the counters of all tenants whenever it is asked to look, gives differences. No write does anything for it. A timer
//! looks at least every ten seconds; who asks for what it has makes it look as well, so that an answer is of now. Bounded: 360
//! intervals of six numbers and one for each upstream. Never reads a clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::forward::UpstreamStatus;
use crate::telemetry::metrics::{Durations, UpstreamName};
use crate::telemetry::{Metrics, Recent};
use crate::tenant::{Moved, Tenants};

/// How long one interval is, and how many are remembered: an hour.
pub const INTERVAL: Duration = Duration::from_secs(10);
pub const INTERVALS: usize = 360;
/// Intervals of a tenant's minute.
const OF_A_MINUTE: u64 = 6;

/// One per process.
pub struct Flow(Mutex<State>);

struct State {
    metrics: Arc<Metrics>,
    began: Instant,
    /// Intervals that are over.
    over: u64,
    open: Interval,
    /// Oldest first.
    intervals: VecDeque<Interval>,
    /// Since somebody last asked for it, and when that was.
    lately: Interval,
    lately_since: Instant,
    upstreams: BTreeMap<Arc<str>, OfUpstream>,
}

/// Samples of all tenants in some time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interval {
    pub moved: Moved,
    /// What each upstream acknowledged; those that acknowledged something.
    pub upstreams: Vec<(Arc<str>, u64)>,
}

struct OfUpstream {
    samples: u64,
    durations: Durations,
    recent: Recent,
}

/// What is known of an upstream besides its state.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct UpstreamFlow {
    /// Samples that it acknowledged since the process began.
    pub samples: u64,
    /// Seconds within which half, and 99 of 100, requests of the last five minutes were answered.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
}

impl Flow {
    pub fn new(metrics: Arc<Metrics>, now: Instant) -> Self {
        Self(Mutex::new(State {
            metrics,
            began: now,
            over: 0,
            open: Interval::default(),
            intervals: VecDeque::new(),
            lately: Interval::default(),
            lately_since: now,
            upstreams: BTreeMap::new(),
        }))
    }

    /// Whether an interval is over that nobody has looked at the end of.
    pub fn is_due(&self, now: Instant) -> bool {
        let state = self.locked();
        state.intervals_until(now) > state.over
    }

    /// Reads what is counted. What was counted since the last look belongs to the interval that was open then.
    pub fn look(&self, tenants: &Tenants, now: Instant) {
        let mut state = self.locked();
        for account in tenants.accounts() {
            let counters = account.counters();
            let moved = account
                .flow()
                .gather(counters, now, |upstream, samples| state.acknowledged(upstream, samples));
            state.open.moved += moved;
            state.lately.moved += moved;
        }
        let until = state.intervals_until(now);
        // A process that was stopped for longer than that has nothing to tell of the time.
        state.over = state.over.max(until.saturating_sub(INTERVALS as u64));
        while state.over < until {
            state.end_interval();
            if state.over.is_multiple_of(OF_A_MINUTE) {
                state.end_minute();
                tenants
                    .accounts()
                    .for_each(|account| account.flow().end_minute(account.counters()));
            }
        }
    }

    /// Knows these upstreams, and takes those for gone that are configured no more and have done nothing in the last hour.
    pub fn know_upstreams(&self, upstreams: &[UpstreamStatus]) {
        let mut state = self.locked();
        upstreams.iter().for_each(|upstream| drop(state.know(&upstream.name)));
        let is_configured = |name: &str| upstreams.iter().any(|upstream| upstream.name == name);
        let State {
            upstreams: known,
            intervals,
            ..
        } = &mut *state;
        let flowed = |name: &str| intervals.iter().any(|interval| interval.has(name));
        known.retain(|name, _| is_configured(name) || flowed(name));
    }

    /// The whole intervals of the last hour, oldest first.
    pub fn intervals(&self) -> Vec<Interval> {
        self.locked().intervals.iter().cloned().collect()
    }

    /// The upstreams that are known, by name.
    pub fn upstreams(&self) -> BTreeMap<Arc<str>, UpstreamFlow> {
        let state = self.locked();
        let flows = state
            .upstreams
            .iter()
            .map(|(name, upstream)| (Arc::clone(name), upstream.flow()));
        flows.collect()
    }

    /// What was seen since this was last asked, and in how many seconds.
    pub fn take_lately(&self, now: Instant) -> (Interval, f64) {
        let mut state = self.locked();
        let since = std::mem::replace(&mut state.lately_since, now);
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        (state.lately.take(), seconds)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn intervals_until(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs() / INTERVAL.as_secs()
    }

    fn know(&mut self, upstream: &str) -> Arc<str> {
        if let Some((known, _)) = self.upstreams.get_key_value(upstream) {
            return Arc::clone(known);
        }
        let labels = UpstreamName {
            upstream: upstream.to_owned(),
        };
        let durations = self.metrics.upstream_duration.get_or_create(&labels);
        let name: Arc<str> = Arc::from(upstream);
        self.upstreams.insert(Arc::clone(&name), OfUpstream::new(durations));
        name
    }

    fn acknowledged(&mut self, upstream: &str, samples: u64) {
        let name = self.know(upstream);
        if let Some(upstream) = self.upstreams.get_mut(&name) {
            upstream.samples += samples;
        }
        self.open.add(&name, samples);
        self.lately.add(&name, samples);
    }

    fn end_interval(&mut self) {
        if self.intervals.len() >= INTERVALS {
            self.intervals.pop_front();
        }
        let ended = self.open.take();
        self.intervals.push_back(ended);
        self.over += 1;
    }

    fn end_minute(&mut self) {
        let upstreams = self.upstreams.values_mut();
        upstreams.for_each(|upstream| upstream.recent.end_minute(&upstream.durations));
    }
}

impl OfUpstream {
    fn new(durations: Durations) -> Self {
        Self {
            samples: 0,
            recent: Recent::of(&durations),
            durations,
        }
    }

    fn flow(&self) -> UpstreamFlow {
        UpstreamFlow {
            samples: self.samples,
            p50: self.recent.quantile(&self.durations, 0.5),
            p99: self.recent.quantile(&self.durations, 0.99),
        }
    }
}

impl Interval {
    fn has(&self, upstream: &str) -> bool {
        self.upstreams.iter().any(|(name, _)| &**name == upstream)
    }

    fn add(&mut self, upstream: &Arc<str>, samples: u64) {
        match self.upstreams.iter_mut().find(|(name, _)| name == upstream) {
            Some((_, sum)) => *sum += samples,
            None => self.upstreams.push((Arc::clone(upstream), samples)),
        }
    }

    /// What is not there to be taken yet stays for the next interval.
    fn take(&mut self) -> Self {
        Self {
            moved: self.moved.take(),
            upstreams: std::mem::take(&mut self.upstreams),
        }
    }
}

#[cfg(test)]
mod tests;
