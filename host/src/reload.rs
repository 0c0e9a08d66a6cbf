//! Generations: from a configuration on disk to the pipeline that serves, again and again.
//!
//! Takes a path, gives an [`Arc<Pipeline>`] that is swapped in one step; a request holds the one it began with. A
//! tenant whose new configuration cannot be used keeps its last good one, and nobody else notices (I5). Never stops the
//! process once it has begun.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::auth::Authenticator;
use crate::chain::{BuildError, Chain};
use crate::config::{self, Config, ConfigError, Known, Loaded};
use crate::forward::ForwardSetupError;
use crate::judge::Judge;
use crate::judge::memo::Memo;
use crate::model::TenantId;
use crate::pipeline::{Meter, Pipeline, Shared, Tenant};
use crate::telemetry::metrics::{CertificateLabels, TenantLabels};
use crate::tls::{self, TlsError};

mod report;
mod restart;

pub use report::{Broken, Report};
use restart::needs_restart;

/// Chains built at once: compiling is one at a time anyway, configuring a few plugins is not.
const BUILDS_AT_ONCE: usize = 4;

/// How often a generation that was replaced is asked whether its last request has ended.
const RETIRE_POLL: Duration = Duration::from_millis(100);

/// Why a configuration, or a part of it, is not in use.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Upstream(#[from] ForwardSetupError),
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

struct MemoSlot {
    memo: Arc<Memo>,
    generation: u16,
}

struct State {
    memos: HashMap<TenantId, MemoSlot>,
    generation: u64,
    /// What the newest load read, whether or not it came to anything.
    inputs: config::Inputs,
    /// What need not be read again where it is the same.
    known: Known,
    /// A chain could not be tried for want of room: the next poll tries again, whatever the files say.
    again: bool,
}

/// The gateway as it is configured now.
pub struct Generations {
    path: PathBuf,
    shared: Arc<Shared>,
    current: ArcSwap<Pipeline>,
    tls: Arc<tls::Source>,
    /// Held over a whole reload: they come one at a time.
    state: tokio::sync::Mutex<State>,
    report: Mutex<Report>,
}

impl Generations {
    /// Builds the first generation. A broken tenant does not stop it; a broken main file does.
    ///
    /// # Errors
    /// Where nothing could be served: the main file, its certificate or an upstream's.
    pub async fn start(path: &Path, loaded: Loaded, known: Known, shared: Arc<Shared>) -> Result<Self, ReloadError> {
        let tls = match &loaded.config.remote_write.tls {
            Some(tls) => Some(tls::server_config(tls)?),
            None => None,
        };
        let mut state = State {
            memos: HashMap::new(),
            generation: 0,
            inputs: loaded.inputs.clone(),
            known,
            again: false,
        };
        let (pipeline, report) = build(&shared, &mut state, loaded, None, "start").await?;
        let generations = Self {
            path: path.to_owned(),
            shared,
            tls: Arc::new(tls::Source::new(tls)),
            current: ArcSwap::from_pointee(pipeline),
            state: tokio::sync::Mutex::new(state),
            report: Mutex::new(report),
        };
        generations.publish();
        Ok(generations)
    }

    pub fn current(&self) -> Arc<Pipeline> {
        self.current.load_full()
    }

    pub fn tls(&self) -> &Arc<tls::Source> {
        &self.tls
    }

    pub fn report(&self) -> Report {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads everything anew and takes into use what can be used.
    ///
    /// In a task of its own: whoever asked may hang up in the middle, and files that were read and came to nothing
    /// would pass for files that are in use.
    pub async fn reload(self: &Arc<Self>, cause: &'static str) -> Report {
        let it = Arc::clone(self);
        let whole = tokio::spawn(async move {
            let mut state = it.state.lock().await;
            it.reload_locked(&mut state, cause).await
        });
        match whole.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(report) => report,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process is ending.
            Err(Err(_)) => self.report(),
        }
    }

    /// Reloads where the content of any file has changed.
    pub async fn reload_if_changed(&self) {
        let mut state = self.state.lock().await;
        let mut inputs = std::mem::take(&mut state.inputs);
        let (is_same, inputs) = blocking(move || (inputs.look() == inputs.loaded(), inputs)).await;
        state.inputs = inputs;
        let cause = match is_same {
            true if !state.again => return,
            true => "another try",
            false => "files changed",
        };
        self.reload_locked(&mut state, cause).await;
    }

    /// Polls until `shutdown`.
    pub async fn watch(&self, interval: Duration, shutdown: CancellationToken) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => self.reload_if_changed().await,
            }
        }
    }

    async fn reload_locked(&self, state: &mut State, cause: &'static str) -> Report {
        let report = match self.try_reload(state, cause).await {
            Ok(report) => report,
            Err(error) => Report {
                errors: vec![error.to_string()],
                ..Report::new(cause)
            },
        };
        let before = std::mem::replace(
            &mut *self.report.lock().unwrap_or_else(PoisonError::into_inner),
            report.clone(),
        );
        if !report.errors.is_empty() {
            // A poll that meets the same broken file again has nothing new to say.
            if before.errors != report.errors {
                tracing::error!(
                    cause,
                    errors = report.errors.join("; "),
                    "reload failed, the last good configuration serves"
                );
            }
        } else {
            tracing::info!(cause, broken_tenants = report.broken.len(), "configuration reloaded");
        }
        self.publish();
        report
    }

    async fn try_reload(&self, state: &mut State, cause: &'static str) -> Result<Report, ReloadError> {
        let path = self.path.clone();
        // Reading 500 files takes milliseconds that an I/O thread does not have.
        let mut known = std::mem::take(&mut state.known);
        let (loaded, inputs, known) = blocking(move || {
            let (loaded, inputs) = config::attempt(&path, &mut known);
            (loaded, inputs, known)
        })
        .await;
        (state.inputs, state.known) = (inputs, known);
        let loaded = loaded.map_err(ReloadError::Config)?;
        let previous = self.current();
        let mut tls_changed = None;
        if loaded.config.remote_write.tls != previous.config.remote_write.tls {
            tls_changed = Some(match &loaded.config.remote_write.tls {
                Some(tls) => Some(tls::server_config(tls)?),
                None => None,
            });
        }
        let (pipeline, mut report) = build(&self.shared, state, loaded, Some(&previous), cause).await?;
        report
            .warnings
            .extend(needs_restart(&previous.config, &pipeline.config));
        let listener = &pipeline.config.remote_write;
        self.shared
            .in_flight
            .set_limits(listener.max_in_flight_size, listener.max_concurrent_requests);
        tokio::spawn(retire(self.current.swap(Arc::new(pipeline))));
        if let Some(tls) = tls_changed {
            self.tls.swap(tls);
        }
        Ok(report)
    }

    /// Brings the gauges in line with what serves.
    fn publish(&self) {
        let metrics = &self.shared.metrics;
        let report = self.report();
        metrics.reload_successful.set(i64::from(report.is_success()));
        if report.is_success() {
            metrics.reload_timestamp.set(report.at as i64);
        }
        metrics.tenant_generation.clear();
        metrics.tenant_broken.clear();
        // Of tenants that are gone; the others' are published again when they are next read.
        metrics.active_series.clear();
        metrics.memo_entries.clear();
        metrics.memo_bytes.clear();
        let current = self.current();
        for (id, tenant) in &current.tenants {
            let labels = TenantLabels { tenant: id.to_string() };
            metrics
                .tenant_generation
                .get_or_create(&labels)
                .set(tenant.generation as i64);
            metrics.tenant_broken.get_or_create(&labels).set(0);
        }
        for broken in report.broken.iter().filter_map(|broken| broken.tenant.as_ref()) {
            metrics
                .tenant_broken
                .get_or_create(&TenantLabels {
                    tenant: broken.to_string(),
                })
                .set(1);
        }
        metrics.certificate_expiry.clear();
        if let Some(tls) = &current.config.remote_write.tls
            && let Some(expiry) = tls::expiry(&tls.cert)
        {
            let file = tls.cert_file.display().to_string();
            metrics
                .certificate_expiry
                .get_or_create(&CertificateLabels { file })
                .set(expiry);
        }
    }
}

/// Frees a generation here, below the writes, and not where its last request ends: ten thousand tenants take
/// milliseconds that an I/O thread does not have.
async fn retire(old: Arc<Pipeline>) {
    while Arc::strong_count(&old) > 1 {
        tokio::time::sleep(RETIRE_POLL).await;
    }
}

/// Runs what reads files, away from the I/O threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// One generation of everything, from what was loaded and what serves already.
async fn build(
    shared: &Arc<Shared>,
    state: &mut State,
    loaded: Loaded,
    previous: Option<&Pipeline>,
    cause: &'static str,
) -> Result<(Pipeline, Report), ReloadError> {
    let Loaded {
        mut config,
        broken,
        plugins,
        warnings,
        ..
    } = loaded;
    let plugins = plugins.iter().map(ToString::to_string).collect();
    let mut report = Report {
        plugins,
        warnings,
        ..Report::new(cause)
    };
    let mut tenants = HashMap::new();
    let kept = |id: &TenantId| previous.and_then(|pipeline| pipeline.tenants.get(id)).cloned();

    // Unchanged tenants keep their instances, their memo and their generation.
    let mut changed = Vec::new();
    for (id, tenant) in &config.tenants {
        match kept(id).filter(|old| old.config == *tenant) {
            Some(old) => drop(tenants.insert(id.clone(), old)),
            None => changed.push(Arc::clone(tenant)),
        }
    }
    state.again = false;
    let first = state.generation + 1;
    state.generation += changed.len() as u64;
    for (generation, tenant, built) in build_chains(shared, first, changed).await {
        match built {
            Ok(chain) => {
                let id = tenant.id.clone();
                tenants.insert(id, Arc::new(new_tenant(shared, state, generation, tenant, chain)));
            }
            Err(error) => {
                state.again |= error.may_pass();
                let old = kept(&tenant.id);
                report.broken.push(Broken {
                    tenant: Some(tenant.id.clone()),
                    file: tenant.file.clone(),
                    error: error.to_string(),
                    serving: old.as_ref().map(|old| old.generation),
                });
                tenants.extend(old.map(|old| (tenant.id.clone(), old)));
            }
        }
    }

    // A file that cannot be read takes nothing from the tenant that it configured before.
    let mut waiting = Vec::new();
    for broken in broken {
        let old = previous
            .into_iter()
            .flat_map(|pipeline| pipeline.tenants.values())
            .find(|old| {
                !tenants.contains_key(&old.config.id)
                    && match &broken.tenant {
                        Some(id) => *id == old.config.id,
                        None => broken.file == old.config.file,
                    }
            });
        if old.is_none() {
            waiting.extend(broken.credentials);
        }
        report.broken.push(Broken {
            tenant: broken.tenant.or_else(|| old.map(|old| old.config.id.clone())),
            file: broken.file,
            error: lines(&broken.errors),
            serving: old.map(|old| old.generation),
        });
        if let Some(old) = old {
            tenants.insert(old.config.id.clone(), Arc::clone(old));
        }
    }
    for error in &report.plugins {
        tracing::error!(error, "plugin not in use");
    }
    for broken in &report.broken {
        let tenant = broken.tenant.as_ref().map_or("", TenantId::as_str);
        tracing::error!(tenant, file = %broken.file.display(), error = broken.error, serving = broken.serving, "tenant configuration not in use");
    }

    keep_needed_upstreams(&mut config, &tenants, previous);
    let upstreams = shared.upstreams.apply(&config.upstreams)?;
    let authenticator = Authenticator::new(provable(&config, &tenants).into_values(), waiting);
    state.memos.retain(|id, _| tenants.contains_key(id));
    let pipeline = Pipeline {
        config: Arc::new(config),
        authenticator,
        tenants,
        upstreams,
        shared: Arc::clone(shared),
    };
    Ok((pipeline, report))
}

/// Who can be proved: everybody served, and the sound tenants without a generation, whose writes wait (503) and are
/// not refused (401). A tenant that goes on with an old generation loses what the new configuration gives to another:
/// a credential that proves two tenants proves none, and the other one did nothing wrong.
fn provable(config: &Config, tenants: &HashMap<TenantId, Arc<Tenant>>) -> BTreeMap<TenantId, Arc<config::Tenant>> {
    let given: HashMap<Vec<u8>, &TenantId> = config
        .tenants
        .values()
        .flat_map(|tenant| {
            tenant
                .credentials
                .iter()
                .map(|credential| (credential.identity(), &tenant.id))
        })
        .collect();
    let mut provable = config.tenants.clone();
    for (id, tenant) in tenants {
        let stays = |c: &config::Credential| given.get(&c.identity()).is_none_or(|owner| *owner == id);
        let served = match tenant.config.credentials.iter().all(stays) {
            true => Arc::clone(&tenant.config),
            false => {
                let mut config = (*tenant.config).clone();
                config.credentials.retain(stays);
                Arc::new(config)
            }
        };
        provable.insert(id.clone(), served);
    }
    provable
}

async fn build_chains(
    shared: &Arc<Shared>,
    first: u64,
    tenants: Vec<Arc<config::Tenant>>,
) -> Vec<(u64, Arc<config::Tenant>, Result<Chain, BuildError>)> {
    let builds = (first..).zip(tenants).map(|(generation, tenant)| async move {
        let chain = Chain::build(&shared.engine, &tenant.id, &tenant.policies, generation).await;
        (generation, tenant, chain)
    });
    futures_util::stream::iter(builds)
        .buffered(BUILDS_AT_ONCE)
        .collect()
        .await
}

fn new_tenant(
    shared: &Shared,
    state: &mut State,
    generation: u64,
    config: Arc<config::Tenant>,
    chain: Chain,
) -> Tenant {
    let slot = state.memos.entry(config.id.clone()).or_insert_with(|| MemoSlot {
        memo: Arc::default(),
        generation: 0,
    });
    slot.generation = slot.generation.wrapping_add(1);
    slot.memo.forget_verdicts();
    let judge = Judge::new(
        &config,
        chain,
        Arc::clone(&slot.memo),
        slot.generation,
        Arc::clone(&shared.hash_key),
        shared.clock,
        Arc::clone(&shared.metrics),
    );
    Tenant {
        meter: Meter::new(&shared.metrics, &config),
        config,
        generation,
        judge,
    }
}

/// A tenant that goes on with an old generation may name an upstream that the new configuration has no more.
fn keep_needed_upstreams(config: &mut Config, tenants: &HashMap<TenantId, Arc<Tenant>>, previous: Option<&Pipeline>) {
    let Some(previous) = previous else { return };
    for name in tenants.values().flat_map(|tenant| &tenant.config.upstreams) {
        if !config.upstreams.contains_key(name)
            && let Some(upstream) = previous.config.upstreams.get(name)
        {
            config.upstreams.insert(name.clone(), Arc::clone(upstream));
        }
    }
}
