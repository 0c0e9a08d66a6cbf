//! One upstream: which endpoints it has now, and how a write gets to one of them.
//!
//! Takes a write and a deadline, the answers of look-ups, the configuration that follows; gives the word of the last
//! endpoint tried. Never tries more than two, and lets a look-up that is late change nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, ForwardError};
use super::answer_v2;
use super::balance::{self, Candidate, Standing};
use super::budget::Load;
use super::cause::Cause;
use super::delivery::Takes;
use super::endpoint::{Endpoint, EndpointStatus, Trip, random};
use super::health::Illness;
use super::probe;
use super::request::{Outgoing, Template};
use super::written::Written;
use crate::config::{self, EndpointSpec};
use crate::model::Protocol;
use crate::net::names::{is_looked_up, static_address};
use crate::net::{Address, AddressError, Dialer, HttpAnswer, Tls, TlsFault};
use crate::telemetry::{Metrics, Throttles};

/// One line about each cause in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Causes with lines of their own: more than there are kinds, and most statuses are never seen.
const MAX_CAUSES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupFault {
    #[error(transparent)]
    Tls(#[from] TlsFault),
    #[error("{0:?} is not an absolute path")]
    Path(String),
    #[error(transparent)]
    Address(#[from] AddressError),
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
    /// Of the write API, at every endpoint.
    pub path: String,
    /// Requests since the process began, by outcome as the metrics have it; those of which there were any.
    pub answers: Vec<(&'static str, u64)>,
    pub endpoints: Vec<EndpointStatus>,
}

/// One upstream under one configuration.
pub struct Upstream {
    pub(super) config: Arc<config::Upstream>,
    dialer: Dialer,
    template: Template,
    metrics: Arc<Metrics>,
    outcomes: answer::Outcomes,
    /// Which failures are told, by their text.
    causes: Throttles<String>,
    /// Shared with the configuration before and after this one.
    pub(super) load: Arc<Load>,
    pub(super) endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    members: Mutex<Members>,
    /// Rounds of look-ups that have ended; begins at 1 where there is nothing to look up. Told at every change of the
    /// endpoints as well.
    pub(super) rounds: watch::Sender<u64>,
    pub(super) lookups: OnceLock<AbortHandle>,
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

impl Upstream {
    pub(super) fn new(
        config: &Arc<config::Upstream>,
        load: Arc<Load>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SetupFault> {
        let https = config.endpoints.iter().any(|spec| match spec {
            EndpointSpec::Static { https, .. }
            | EndpointSpec::Dns { https, .. }
            | EndpointSpec::DnsSrv { https, .. } => *https,
        });
        // A `tls_config` without an https endpoint is read all the same: its mistakes are found when it is written.
        let tls = (https || config.tls.is_some())
            .then(|| Tls::new(config.tls.as_ref()))
            .transpose()?;
        let by_spec: Vec<Vec<Address>> = config
            .endpoints
            .iter()
            .map(|spec| Ok(static_address(spec)?.into_iter().collect()))
            .collect::<Result<_, AddressError>>()?;
        Ok(Self {
            dialer: Dialer {
                tls,
                connect_timeout: config.connect_timeout,
            },
            template: Template::new(&config.path, config.remote_write_version).map_err(SetupFault::Path)?,
            outcomes: answer::Outcomes::new(&config.name, &metrics),
            causes: Throttles::new(1, TELL_EVERY, MAX_CAUSES),
            metrics,
            load,
            endpoints: ArcSwap::default(),
            members: Mutex::new(Members {
                by_spec,
                lookup_error: None,
                superseded: false,
            }),
            rounds: watch::Sender::new(u64::from(!config.endpoints.iter().any(is_looked_up))),
            lookups: OnceLock::new(),
            config: Arc::clone(config),
        })
    }

    pub fn takes(&self) -> Takes {
        Takes {
            protocol: self.config.remote_write_version,
            metadata: self.config.metadata,
        }
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Sends one write and waits for a receiver's word, at most until `deadline` or for the configured timeout. After a
    /// failure that another endpoint may not have, one more is tried. Dropping the future frees all it holds.
    ///
    /// # Errors
    /// Of the last endpoint tried.
    pub async fn send(&self, outgoing: &Outgoing, deadline: Instant) -> Result<Written, ForwardError> {
        let Some(_place) = self.load.enter(self.config.max_in_flight) else {
            return self.refuse(ForwardError::Overloaded);
        };
        let Ok(tenant) = HeaderValue::from_str(outgoing.attribution.as_str()) else {
            return self.refuse(ForwardError::TenantHeader);
        };
        let started = Instant::now();
        let end = deadline.min(started + self.config.timeout);
        let endpoints = self.endpoints_by(end).await;
        let Some(first) = self.choose(&endpoints, None) else {
            self.tell_no_endpoint();
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
        let error = match result {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        if !error.may_pass_elsewhere() || Instant::now() >= end {
            return Err(error);
        }
        match self.choose(&self.endpoints.load(), Some(&failed)) {
            Some(second) if self.load.may_fail_over() => {
                let tried = self.attempt(second, &tenant, outgoing, end).await;
                tried.map_err(|told| told.after(&error))
            }
            _ => Err(error),
        }
    }

    async fn attempt(
        &self,
        trip: Trip,
        tenant: &HeaderValue,
        outgoing: &Outgoing,
        until: Instant,
    ) -> Result<Written, ForwardError> {
        let started = Instant::now();
        let endpoint = Arc::clone(trip.endpoint());
        // The pool may send it twice; `may_pass_elsewhere` says what that can cost.
        let exchange = endpoint
            .pool
            .exchange(&endpoint.address, &self.dialer, answer::TEXT, || {
                self.template.request(endpoint.address.host_header(), tenant, outgoing)
            });
        let exchanged = timeout_at(until, exchange).await;
        let fault = exchanged
            .as_ref()
            .ok()
            .and_then(|exchanged| exchanged.as_ref().err().copied());
        let result = match exchanged {
            Err(_) => Err(ForwardError::Timeout),
            Ok(Err(fault)) => Err(fault.into()),
            Ok(Ok(answer)) => self.judge(&answer, outgoing),
        };
        self.outcomes.count(&result, Some(started.elapsed()));
        match result.as_ref().err().and_then(ForwardError::illness) {
            // Stored, but whoever comes next had better go elsewhere.
            None if result.is_ok() && self.is_slow(&trip) => trip.failed(Illness::Slow),
            None => trip.succeeded(result.is_ok()),
            // The sender's deadline was near: less than half the time the operator gives a receiver says nothing about
            // it. The trip counts as abandoned.
            Some(Illness::Timeout) if until.duration_since(started) < self.config.timeout / 2 => {
                drop(trip);
                return result;
            }
            Some(illness) => trip.failed(illness),
        }
        if let Err(error) = &result
            && let Some(cause) = Cause::of(error, fault)
        {
            self.tell(&endpoint, cause);
        }
        result
    }

    fn judge(&self, answer: &HttpAnswer, outgoing: &Outgoing) -> Result<Written, ForwardError> {
        match self.config.remote_write_version {
            Protocol::V1 => answer::judge(answer).map(|()| Written::all(&outgoing.totals)),
            Protocol::V2 => answer_v2::judge(answer, &outgoing.totals),
        }
    }

    /// Whether a trip took so much longer than it would have taken elsewhere that its endpoint may be ejected for it.
    fn is_slow(&self, trip: &Trip) -> bool {
        let took = trip.took();
        if took <= balance::SLOW {
            return false;
        }
        let (endpoints, now) = (self.endpoints.load(), std::time::Instant::now());
        let others = endpoints.iter().filter(|e| !Arc::ptr_eq(e, trip.endpoint()));
        let others: Vec<Candidate> = others.map(|e| e.candidate(now)).collect();
        balance::slow_bound(&others).is_some_and(|bound| took > bound) && balance::may_go(others.iter())
    }

    /// Chooses an endpoint and starts a trip to it. `failed` has just failed this write; the second choice is never a
    /// trial, for it is the write's last chance. Endpoints that are due for it are asked meanwhile whether they are there.
    fn choose(&self, endpoints: &[Arc<Endpoint>], failed: Option<&Arc<Endpoint>>) -> Option<Trip> {
        let now = std::time::Instant::now();
        let mut candidates = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let mut candidate = endpoint.candidate(now);
            candidate.standing = match (failed, candidate.standing) {
                (Some(failed), _) if Arc::ptr_eq(failed, endpoint) => Standing::Excluded,
                (Some(_), Standing::DueForTrial) => Standing::Ejected,
                (_, standing) => standing,
            };
            if candidate.standing == Standing::DueForProbe {
                let request = self.template.probe(endpoint.address.host_header());
                probe::start(endpoint, &self.dialer, request, self.config.connect_timeout);
            }
            candidates.push(candidate);
        }
        let chosen = balance::pick(&candidates, random())?;
        let may_be_trial = candidates[chosen].standing == Standing::DueForTrial;
        Some(Trip::start(&endpoints[chosen], may_be_trial, now))
    }

    /// A receiver did not take a write, or could not be asked to.
    fn tell(&self, endpoint: &Endpoint, cause: Cause) {
        if let Some(untold) = self.causes.due(cause.text.clone(), std::time::Instant::now()) {
            tracing::warn!(
                upstream = self.name(),
                endpoint = %endpoint.address,
                url = format!("{}{}", endpoint.address, self.config.path),
                cause = cause.text,
                look_at = cause.look_at(self.name()),
                untold,
                "a write did not get to a receiver"
            );
        }
        endpoint.note(cause);
    }

    fn tell_no_endpoint(&self) {
        if let Some(untold) = self.causes.due(String::new(), std::time::Instant::now()) {
            let cause = self.members().lookup_error.clone();
            tracing::warn!(
                upstream = self.name(),
                cause = cause.as_deref().unwrap_or("none of its names was looked up yet"),
                look_at = format!("upstreams.{}.endpoints", self.name()),
                untold,
                "a write did not get to a receiver, because the upstream has no endpoint"
            );
        }
    }

    pub(super) fn tell_untold(&self, now: std::time::Instant) {
        let (of_causes, of_others) = self.causes.ended(now);
        let of_others = of_others.map(|untold| ("many".to_owned(), untold));
        for (cause, untold) in of_causes.into_iter().chain(of_others) {
            tracing::warn!(
                upstream = self.name(),
                cause,
                untold,
                "more writes did not get to a receiver than had a line"
            );
        }
    }

    fn refuse(&self, error: ForwardError) -> Result<Written, ForwardError> {
        let refused = Err(error);
        self.outcomes.count(&refused, None);
        refused
    }

    /// The endpoints; if there are none because the first look-up is still under way, those it gives.
    async fn endpoints_by(&self, end: Instant) -> Arc<Vec<Arc<Endpoint>>> {
        let endpoints = self.endpoints.load_full();
        if !endpoints.is_empty() || *self.rounds.borrow() > 0 {
            return endpoints;
        }
        let mut rounds = self.rounds.subscribe();
        // A name server that is down is not waited for longer than a receiver that is. Whether this is too late or has
        // failed: what is there now is all there is.
        let patience = end.min(Instant::now() + self.config.connect_timeout);
        let any = rounds.wait_for(|n| *n > 0 || !self.endpoints.load().is_empty());
        let _ = timeout_at(patience, any).await;
        self.endpoints.load_full()
    }

    pub(super) fn needs_lookups(&self) -> bool {
        self.config.endpoints.iter().any(is_looked_up)
    }

    /// Begins with the endpoints that need no look-up: nothing was there before.
    pub(super) fn begin(&self) {
        self.install(&self.members(), &[]);
    }

    /// What the look-ups of one configured endpoint have found until now.
    pub(super) fn addresses(&self, spec: usize) -> Vec<Address> {
        self.members().by_spec.get(spec).cloned().unwrap_or_default()
    }

    /// A look-up has answered, or a part of it.
    pub(super) fn set_addresses(&self, spec: usize, addresses: Vec<Address>) {
        let mut members = self.members();
        if members.superseded {
            return;
        }
        if let Some(of_spec) = members.by_spec.get_mut(spec) {
            *of_spec = addresses;
        }
        let before = self.endpoints.load_full();
        self.install(&members, &before);
        // Writes that came before there was any endpoint look again.
        self.rounds.send_modify(|_| ());
    }

    /// A round of look-ups has ended.
    pub(super) fn looked_up(&self, error: Option<String>) {
        self.members().lookup_error = error;
        self.rounds.send_modify(|n| *n += 1);
    }

    /// Takes the endpoints of `old` over as far as this configuration has them too.
    pub(super) fn take_over(&self, old: &Upstream) {
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
    pub(super) fn withdraw(&self) {
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

    pub(super) fn status(&self) -> UpstreamStatus {
        UpstreamStatus {
            name: self.name().to_owned(),
            in_flight: self.load.in_flight(),
            lookup_error: self.members().lookup_error.clone(),
            path: self.config.path.clone(),
            answers: self.outcomes.counted(),
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
