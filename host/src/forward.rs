//! The way to the receivers: named upstreams, each a set of endpoints that can take each other's place.
//!
//! Takes a tenant's finished body and a deadline; gives `Ok` only after a receiver said 2xx (I1), or the fact that
//! `respond` turns into an answer. Never waits for a place: an upstream over its bound answers at once.
//!
//! [`Upstreams`] lives as long as the process and applies generations of configuration; an [`UpstreamSet`] is what one
//! generation of the pipeline holds. What a reload leaves alone keeps its connections, health and counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config;
use crate::net::SystemResolver;
use crate::telemetry::Metrics;

mod answer;
mod answer_v2;
pub mod balance;
mod budget;
mod cause;
pub mod delivery;
mod endpoint;
mod health;
mod latency;
mod lookup;
mod probe;
mod request;
mod said;
mod upstream;
mod written;

pub use answer::{Amounts, Conflict, ConflictClass, ForwardError, HowMany};
pub use cause::Cause;
pub use endpoint::EndpointStatus;
pub use request::{ForwardedHeaders, Outgoing, forwarded_headers, request_id};
pub use upstream::{SetupFault, Upstream, UpstreamStatus};
pub use written::Written;

use budget::{All, Load};
use delivery::Takes;

/// Every upstream there is. One per process.
pub struct Upstreams {
    metrics: Arc<Metrics>,
    all: Arc<All>,
    current: Mutex<BTreeMap<String, Arc<Upstream>>>,
    resolver: Arc<SystemResolver>,
}

/// The upstreams of one generation.
#[derive(Clone, Default)]
pub struct UpstreamSet(BTreeMap<String, Arc<Upstream>>);

/// An upstream that cannot be set up; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("upstream {upstream:?}: {fault}")]
pub struct ForwardSetupError {
    pub upstream: String,
    pub fault: SetupFault,
}

impl Upstreams {
    /// `max_sends` is how many requests there may be to all upstreams at once, of which none gets all.
    pub fn new(metrics: Arc<Metrics>, max_sends: usize) -> Arc<Self> {
        Self::with_resolver(metrics, max_sends, SystemResolver::default())
    }

    fn with_resolver(metrics: Arc<Metrics>, max_sends: usize, resolver: SystemResolver) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            all: All::new(max_sends),
            current: Mutex::default(),
            resolver: Arc::new(resolver),
        })
    }

    /// Changes how many requests there may be at once. What is under way stays.
    pub fn set_max_sends(&self, max: usize) {
        self.all.set_max(max);
    }

    /// Takes a new generation into use. Unchanged upstreams stay the same object; changed ones keep the endpoints that
    /// stayed; of removed ones the requests in flight finish. Call it inside the runtime: look-ups are a task of it.
    ///
    /// # Errors
    /// Names the upstream that cannot be set up. Nothing has changed then.
    pub fn apply(
        &self,
        upstreams: &BTreeMap<String, Arc<config::Upstream>>,
    ) -> Result<Arc<UpstreamSet>, ForwardSetupError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // First everything that can fail.
        let mut next = BTreeMap::new();
        for (name, config) in upstreams {
            let old = current.get(name);
            let upstream = match old.filter(|old| old.config == *config) {
                Some(unchanged) => Arc::clone(unchanged),
                None => self
                    .prepare(config, old.map(|o| Arc::clone(&o.load)))
                    .map_err(|fault| ForwardSetupError {
                        upstream: name.clone(),
                        fault,
                    })?,
            };
            next.insert(name.clone(), upstream);
        }
        // From here on nothing does.
        for (name, old) in current.iter() {
            match next.get(name) {
                Some(new) if Arc::ptr_eq(old, new) => {}
                Some(new) => new.take_over(old),
                None => old.withdraw(),
            }
        }
        for (name, new) in next.iter().filter(|(name, _)| !current.contains_key(*name)) {
            tracing::debug!(upstream = name, "new upstream");
            new.begin();
        }
        for upstream in next.values().filter(|u| u.needs_lookups()) {
            upstream
                .lookups
                .get_or_init(|| lookup::keep_current(upstream, Arc::clone(&self.resolver)));
        }
        current.clone_from(&next);
        Ok(Arc::new(UpstreamSet(next)))
    }

    /// Upstreams in use, by name.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.values().map(|upstream| upstream.status()).collect()
    }

    /// What the log did not tell of writes that did not get to a receiver, once they have ended.
    pub fn tell_untold(&self, now: std::time::Instant) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.values().for_each(|upstream| upstream.tell_untold(now));
    }

    /// An upstream that nobody sees yet. Where names are to be looked up, there must be somebody to ask.
    fn prepare(&self, config: &Arc<config::Upstream>, load: Option<Arc<Load>>) -> Result<Arc<Upstream>, SetupFault> {
        let upstream = Upstream::new(
            config,
            load.unwrap_or_else(|| Load::new(&self.all)),
            Arc::clone(&self.metrics),
        )?;
        if upstream.needs_lookups() {
            self.resolver.current().map_err(SetupFault::Resolver)?;
        }
        Ok(Arc::new(upstream))
    }
}

impl UpstreamSet {
    /// What the upstream of this name takes. What there is none of takes nothing in particular.
    pub fn takes(&self, name: &str) -> Takes {
        self.find(name).map(|upstream| upstream.takes()).unwrap_or_default()
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.get(name)
    }
}

#[cfg(test)]
mod tests;
