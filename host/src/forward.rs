//! The way to the receivers: named upstreams, each a set of endpoints that can take each other's place.
//!
//! Takes a tenant's finished body and a deadline; gives `Ok` only after a receiver said 2xx (I1), or the fact that
//! `respond` turns into an answer. Never waits for a place: an upstream over its bound answers at once.
//!
//! [`Upstreams`] lives as long as the process and applies generations of configuration; an [`UpstreamSet`] is what one
//! generation of the pipeline holds. What a reload leaves alone keeps its connections, health and counts.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use http::HeaderValue;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::config;
use crate::config::EndpointSpec;
use crate::telemetry::Metrics;

mod answer;
pub mod balance;
mod budget;
mod client;
pub mod delivery;
mod endpoint;
mod health;
mod lookup;
mod request;

pub use answer::{ConflictClass, ForwardError};
pub use client::TlsFault;
pub use endpoint::EndpointStatus;
pub use request::{ForwardedHeaders, Outgoing, forwarded_headers};

use budget::Load;
use client::{Address, Dialer, Tls};
use endpoint::{Endpoint, Trip, choose};
use request::Template;

/// Every upstream there is. One per process.
pub struct Upstreams {
    metrics: Arc<Metrics>,
    current: Mutex<BTreeMap<String, Arc<Upstream>>>,
    /// Made when the first upstream needs it: many configurations have no name to look up, and a container without
    /// `/etc/resolv.conf` shall run them.
    resolver: OnceLock<TokioResolver>,
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

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupFault {
    #[error(transparent)]
    Tls(#[from] TlsFault),
    #[error("{0:?} is no absolute path")]
    Path(String),
    #[error("the system's resolver configuration cannot be used: {0}")]
    Resolver(String),
}

/// What the admin API says of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    pub name: String,
    pub in_flight: usize,
    /// Why the last round of look-ups was not a full success.
    pub lookup_error: Option<String>,
    pub endpoints: Vec<EndpointStatus>,
}

/// One upstream under one configuration.
pub struct Upstream {
    config: Arc<config::Upstream>,
    dialer: Dialer,
    template: Template,
    metrics: Arc<Metrics>,
    outcomes: answer::Outcomes,
    /// Shared with the configuration before and after this one.
    load: Arc<Load>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    members: Mutex<Members>,
    /// Rounds of look-ups that have ended; begins at 1 where there is nothing to look up.
    rounds: watch::Sender<u64>,
    lookups: OnceLock<AbortHandle>,
}

/// What `endpoints` is made from.
struct Members {
    /// By place in `config.endpoints`: the last good answer.
    by_spec: Vec<Vec<Address>>,
    lookup_error: Option<String>,
    /// A newer configuration has taken the endpoints over, or the upstream was removed: a look-up still under way
    /// must not touch them any more.
    superseded: bool,
}

impl Upstreams {
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            current: Mutex::default(),
            resolver: OnceLock::new(),
        })
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
            new.install(&new.members(), &[]);
        }
        for upstream in next.values().filter(|u| u.needs_lookups()) {
            if let Some(resolver) = self.resolver.get() {
                upstream
                    .lookups
                    .get_or_init(|| lookup::keep_current(upstream, resolver.clone()));
            }
        }
        current.clone_from(&next);
        Ok(Arc::new(UpstreamSet(next)))
    }

    /// Upstreams in use, by name.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.values().map(|upstream| upstream.status()).collect()
    }

    /// An upstream that nobody sees yet. Makes the resolver where one is needed.
    fn prepare(&self, config: &Arc<config::Upstream>, load: Option<Arc<Load>>) -> Result<Arc<Upstream>, SetupFault> {
        let upstream = Upstream::new(config, load.unwrap_or_default(), Arc::clone(&self.metrics))?;
        if upstream.needs_lookups() && self.resolver.get().is_none() {
            let resolver = lookup::system_resolver().map_err(SetupFault::Resolver)?;
            self.resolver.get_or_init(|| resolver);
        }
        Ok(Arc::new(upstream))
    }
}

impl UpstreamSet {
    pub fn find(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.get(name)
    }
}

impl Upstream {
    fn new(config: &Arc<config::Upstream>, load: Arc<Load>, metrics: Arc<Metrics>) -> Result<Self, SetupFault> {
        let https = config.endpoints.iter().any(|spec| match spec {
            EndpointSpec::Static { https, .. }
            | EndpointSpec::Dns { https, .. }
            | EndpointSpec::DnsSrv { https, .. } => *https,
        });
        // A `tls_config` without an https endpoint is read all the same: its mistakes are found when it is written.
        let tls = (https || config.tls.is_some())
            .then(|| Tls::new(config.tls.as_ref()))
            .transpose()?;
        let looked_up = config
            .endpoints
            .iter()
            .all(|spec| lookup::static_address(spec).is_some());
        Ok(Self {
            dialer: Dialer {
                tls,
                connect_timeout: config.connect_timeout,
            },
            template: Template::new(&config.path).map_err(SetupFault::Path)?,
            outcomes: answer::Outcomes::new(&config.name, &metrics),
            metrics,
            load,
            endpoints: ArcSwap::default(),
            members: Mutex::new(Members {
                by_spec: config
                    .endpoints
                    .iter()
                    .map(|spec| lookup::static_address(spec).into_iter().collect())
                    .collect(),
                lookup_error: None,
                superseded: false,
            }),
            rounds: watch::Sender::new(u64::from(looked_up)),
            lookups: OnceLock::new(),
            config: Arc::clone(config),
        })
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Sends one write and waits for a receiver's word, at most until `deadline` or for the configured timeout. After a
    /// failure that another endpoint may not have, one more is tried. Dropping the future frees all it holds.
    ///
    /// # Errors
    /// Of the last endpoint tried.
    pub async fn send(&self, outgoing: &Outgoing, deadline: Instant) -> Result<(), ForwardError> {
        let Some(_place) = self.load.enter(self.config.max_in_flight) else {
            return self.refuse(ForwardError::Overloaded);
        };
        // Every character a tenant id can have is legal in a header; were that to change, nothing would be sent.
        let tenant = HeaderValue::from_str(outgoing.attribution.as_str())
            .map_err(|_| ForwardError::Misconfigured { status: 400 })?;
        let started = Instant::now();
        let end = deadline.min(started + self.config.timeout);
        let endpoints = self.endpoints_by(end).await;
        let Some(first) = choose(&endpoints, None) else {
            return self.refuse(ForwardError::NoEndpoint);
        };
        // Two thirds for the first: a receiver that is well answers in milliseconds, so a third is plenty for the
        // second, and a first that is only slow is not given up early.
        let first_end = match endpoints.len() {
            1 => end,
            _ => started + end.saturating_duration_since(started) * 2 / 3,
        };
        let failed = Arc::clone(first.endpoint());
        let result = self.attempt(first, &tenant, outgoing, first_end).await;
        let Err(error) = result else { return Ok(()) };
        if !error.may_pass_elsewhere() || Instant::now() >= end {
            return Err(error);
        }
        match choose(&self.endpoints.load(), Some(&failed)) {
            Some(second) if self.load.may_fail_over() => self.attempt(second, &tenant, outgoing, end).await,
            _ => Err(error),
        }
    }

    async fn attempt(
        &self,
        trip: Trip,
        tenant: &HeaderValue,
        outgoing: &Outgoing,
        until: Instant,
    ) -> Result<(), ForwardError> {
        let started = Instant::now();
        let endpoint = Arc::clone(trip.endpoint());
        let exchange = endpoint.pool.exchange(&endpoint.address, &self.dialer, || {
            self.template.request(&endpoint, tenant, outgoing)
        });
        let result = match timeout_at(until, exchange).await {
            Err(_) => Err(ForwardError::Timeout),
            Ok(Err(fault)) => Err(fault.into()),
            Ok(Ok(answer)) => answer::judge(&answer),
        };
        self.outcomes.count(&result, Some(started.elapsed()));
        match result.as_ref().err().and_then(ForwardError::illness) {
            None => trip.succeeded(),
            // The sender's deadline was near: less than half the time the operator gives a receiver says nothing about
            // it. The trip counts as abandoned.
            Some(health::Illness::Timeout) if until.duration_since(started) < self.config.timeout / 2 => drop(trip),
            Some(illness) => trip.failed(illness),
        }
        result
    }

    fn refuse(&self, error: ForwardError) -> Result<(), ForwardError> {
        let refused = Err(error);
        self.outcomes.count(&refused, None);
        refused
    }

    /// The endpoints; where there are none because the first look-up is still under way, those it gives.
    async fn endpoints_by(&self, end: Instant) -> Arc<Vec<Arc<Endpoint>>> {
        let endpoints = self.endpoints.load_full();
        if !endpoints.is_empty() || *self.rounds.borrow() > 0 {
            return endpoints;
        }
        let mut rounds = self.rounds.subscribe();
        // A name server that is down is not waited for longer than a receiver that is. Whether this is too late or has
        // failed: what is there now is all there is.
        let patience = end.min(Instant::now() + self.config.connect_timeout);
        let _ = timeout_at(patience, rounds.wait_for(|n| *n > 0)).await;
        self.endpoints.load_full()
    }

    fn needs_lookups(&self) -> bool {
        self.config
            .endpoints
            .iter()
            .any(|spec| lookup::static_address(spec).is_none())
    }

    /// A look-up has answered.
    fn set_addresses(&self, spec: usize, addresses: Vec<Address>) {
        let mut members = self.members();
        if members.superseded {
            return;
        }
        if let Some(of_spec) = members.by_spec.get_mut(spec) {
            *of_spec = addresses;
        }
        let before = self.endpoints.load_full();
        self.install(&members, &before);
    }

    /// A round of look-ups has ended.
    fn looked_up(&self, error: Option<String>) {
        self.members().lookup_error = error;
        self.rounds.send_modify(|n| *n += 1);
    }

    /// Takes the endpoints of `old` over as far as this configuration has them too.
    fn take_over(&self, old: &Upstream) {
        let mut from = old.members();
        from.superseded = true;
        let mut members = self.members();
        for (spec, addresses) in self.config.endpoints.iter().zip(&mut members.by_spec) {
            let before = old.config.endpoints.iter().position(|s| s == spec);
            if let Some(known) = before.and_then(|i| from.by_spec.get(i)) {
                addresses.clone_from(known);
            }
        }
        let before = old.endpoints.load_full();
        if old.config.tls == self.config.tls {
            self.install(&members, &before);
        } else {
            // Connections that stand were made with the old certificate and CA.
            before.iter().for_each(|endpoint| endpoint.withdraw());
            self.install(&members, &[]);
        }
        drop(members);
        if !self.endpoints.load().is_empty() {
            // What the look-ups of the old one found is enough to begin with.
            self.rounds.send_modify(|n| *n += 1);
        }
        old.stop_lookups();
    }

    /// The upstream is configured no more. What is in flight finishes.
    fn withdraw(&self) {
        self.members().superseded = true;
        self.endpoints.load().iter().for_each(|endpoint| endpoint.withdraw());
        self.stop_lookups();
    }

    /// Makes `endpoints` what `members` says, out of those `before` and new ones.
    fn install(&self, members: &Members, before: &[Arc<Endpoint>]) {
        // Two specs may lead to one receiver; under one name it is one endpoint.
        let mut seen = HashSet::new();
        let wanted = members.by_spec.iter().flatten().filter(|a| seen.insert(a.to_string()));
        let next: Vec<Arc<Endpoint>> = wanted
            .map(|address| {
                let known = before.iter().find(|e| e.address == *address).cloned();
                known.unwrap_or_else(|| Endpoint::new(self.name(), address.clone(), Arc::clone(&self.metrics)))
            })
            .collect();
        let stays = |endpoint: &&Arc<Endpoint>| next.iter().any(|e| Arc::ptr_eq(e, endpoint));
        before.iter().filter(|e| !stays(e)).for_each(|e| e.withdraw());
        next.iter().for_each(|e| e.publish());
        self.endpoints.store(Arc::new(next));
    }

    fn status(&self) -> UpstreamStatus {
        UpstreamStatus {
            name: self.name().to_owned(),
            in_flight: self.load.in_flight(),
            lookup_error: self.members().lookup_error.clone(),
            endpoints: self.endpoints.load().iter().map(|e| e.status()).collect(),
        }
    }

    fn stop_lookups(&self) {
        if let Some(task) = self.lookups.get() {
            task.abort();
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop_lookups();
    }
}

#[cfg(test)]
mod tests;
