//! Generations: from a configuration on disk to the pipeline that serves, again and again.
//!
//! Takes a path, gives an [`Arc<Pipeline>`] that is swapped in one step; a request holds the one it began with. A
//! tenant whose new configuration cannot be used keeps its last good one, and nobody else notices (I5). Never stops the
//! process once it has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Incumbents, Known, Loaded, TenantFiles, TlsServer};
use crate::model::TenantId;
use crate::pipeline::{Pipeline, Shared};
use crate::telemetry::metrics::{CertificateLabels, ConfiguredTenant};
use crate::tenant::WentBack;
use crate::tls::{self, TlsError};

mod back;
mod blocking;
mod build;
mod grace;
mod history;
mod report;
mod restart;
mod retired;
mod state;

pub use back::NoWayBack;
use back::{Grounds, go_back};
use blocking::blocking;
use build::{Lineage, build};
use history::History;
pub use history::Reloaded;
pub use report::{Broken, ReloadError, Report};
use restart::needs_restart;
use retired::Retired;
pub use state::Kept;

/// A tenant file that was seen to be gone by so many polls in a row, and still is at the next, is gone.
const POLLS_UNTIL_GONE: u32 = 3;

struct State {
    lineage: Lineage,
    /// What the newest load read, whether or not it came to anything.
    inputs: config::Inputs,
    /// What need not be read again where it is the same.
    known: Known,
    /// Where the tenants that serve were found.
    found: TenantFiles,
    /// Tenant files that are gone, with the polls that saw so, one after the other.
    gone: BTreeMap<PathBuf, u32>,
    /// Taken out while it is written.
    kept: Option<Kept>,
}

/// Who asked for a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// An operator, who has looked: a tenant file that is gone was meant to go.
    ByOperator,
    /// Nobody: a file that is gone may be on its way to another folder, or its volume is not there yet.
    ByPoll,
}

/// The gateway as it is configured now.
pub struct Generations {
    path: PathBuf,
    shared: Arc<Shared>,
    current: ArcSwap<Pipeline>,
    tls: Arc<tls::Source>,
    admin_tls: Arc<tls::Source>,
    /// Held over a whole reload: they come one at a time.
    state: tokio::sync::Mutex<State>,
    retired: Retired<Pipeline>,
    report: Mutex<Report>,
    history: History,
}

impl Generations {
    /// Builds the first generation. A broken tenant does not stop it, and is served as it was `kept` if it was; a broken
    /// main file does.
    ///
    /// # Errors
    /// If nothing could be served: the main file, its certificate or an upstream's.
    pub async fn start(
        path: &Path,
        loaded: Loaded,
        known: Known,
        kept: Option<Kept>,
        shared: Arc<Shared>,
    ) -> Result<Self, ReloadError> {
        let began = Instant::now();
        let tls = match &loaded.config.remote_write.tls {
            Some(tls) => Some(tls::server_config(tls)?),
            None => None,
        };
        let admin_tls = loaded.config.admin.tls.as_ref().map(tls::server_config);
        let admin_tls = admin_tls.transpose()?;
        let mut state = State {
            lineage: Lineage::default(),
            inputs: loaded.inputs.clone(),
            known,
            found: TenantFiles::default(),
            gone: BTreeMap::new(),
            kept,
        };
        state.remember(loaded.found.clone());
        state.lineage.kept = state
            .kept
            .as_ref()
            .map(|kept| kept.tenants().clone())
            .unwrap_or_default();
        let (pipeline, report) = build(&shared, &mut state.lineage, loaded, None, "start").await?;
        state.lineage.kept.clear();
        let generations = Self {
            path: path.to_owned(),
            shared,
            tls: Arc::new(tls::Source::new(tls)),
            admin_tls: Arc::new(tls::Source::new(admin_tls)),
            current: ArcSwap::from_pointee(pipeline),
            state: tokio::sync::Mutex::new(state),
            retired: Retired::default(),
            report: Mutex::new(report),
            history: History::default(),
        };
        let (report, current) = (generations.report(), generations.current());
        generations.history.note(&report, began.elapsed(), None, &current);
        generations.report().log_unknown(&Report::default());
        generations.publish();
        Ok(generations)
    }

    pub fn current(&self) -> Arc<Pipeline> {
        self.current.load_full()
    }

    pub fn tls(&self) -> &Arc<tls::Source> {
        &self.tls
    }

    /// The operators' listener's.
    pub fn admin_tls(&self) -> &Arc<tls::Source> {
        &self.admin_tls
    }

    /// Where the main file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What became of the last reloads, the newest first.
    pub fn history(&self) -> Vec<Arc<Reloaded>> {
        self.history.all()
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
            it.reload_locked(&mut state, Asked::ByOperator, cause).await
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
            true if state.lineage.again.is_due(Instant::now()) => "another try",
            true if !state.gone.is_empty() => "a tenant file is gone",
            true => return,
            false => "files changed",
        };
        self.reload_locked(&mut state, Asked::ByPoll, cause).await;
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

    /// Lets tenants go back whose policies are found not to be ones that may serve on, until `shutdown`.
    pub async fn go_back_from_condemned(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.shared.watch.alarmed() => {}
            }
            let mut state = self.state.lock().await;
            let current = self.current();
            let rests = |back: Option<&WentBack>| back.is_some_and(|back| back.to.is_none());
            let condemned = current
                .tenants
                .serving()
                .filter(|generation| !rests(generation.went_back()));
            let condemned = condemned.filter_map(|generation| {
                let fault = generation.chain().condemned()?;
                Some((generation.config().id.clone(), Grounds::Fault(fault)))
            });
            let condemned: Vec<_> = condemned.collect();
            for (tenant, grounds) in condemned {
                // One that keeps failing and has nothing to go back to rests and is tried again, as it says in its status.
                let _ = self.go_back(&mut state, &tenant, &grounds).await;
            }
        }
    }

    /// Has `tenant` judged by the policies before, until its configuration changes; gives the number of the new generation.
    ///
    /// # Errors
    /// See [`NoWayBack`].
    pub async fn roll_back(self: &Arc<Self>, tenant: TenantId) -> Result<(u64, WentBack), NoWayBack> {
        let it = Arc::clone(self);
        // In a task of its own, as a reload.
        let whole = tokio::spawn(async move {
            let mut state = it.state.lock().await;
            it.go_back(&mut state, &tenant, &Grounds::Operator).await
        });
        match whole.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The process is ending.
            Err(Err(_)) => Err(NoWayBack::NoTenant),
        }
    }

    async fn go_back(
        &self,
        state: &mut State,
        tenant: &TenantId,
        grounds: &Grounds,
    ) -> Result<(u64, WentBack), NoWayBack> {
        let current = self.current();
        let lineage = &mut state.lineage;
        let generation = go_back(
            &mut lineage.predecessors,
            &mut lineage.generation,
            &self.shared,
            &current,
            tenant,
            grounds,
        )?;
        let number = generation.number();
        let went_back = generation.went_back().cloned().ok_or(NoWayBack::Nothing)?;
        let next = back::replace(&current, vec![generation]);
        drop(current);
        self.retired.push(self.current.swap(Arc::new(next)));
        self.publish();
        self.keep(state).await;
        Ok((number, went_back))
    }

    /// Frees what was replaced as its last write ends, until `shutdown`.
    pub async fn free_retired(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.retired.free_ended() => {}
        }
    }

    async fn reload_locked(&self, state: &mut State, asked: Asked, cause: &'static str) -> Report {
        let (before, served, began) = (self.report(), self.current(), Instant::now());
        let report = match self.try_reload(state, asked, cause).await {
            Ok(report) => report,
            Err(error) => {
                state.gone.clear();
                Report {
                    errors: vec![error.to_string()],
                    // What serves is what served, with all that is wrong with it.
                    broken: before.broken.clone(),
                    ..Report::new(cause)
                }
            }
        };
        self.history
            .note(&report, began.elapsed(), Some(&served), &self.current());
        drop(served);
        report.clone_into(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
        report.log_unknown(&before);
        if !report.errors.is_empty() {
            // A poll that meets the same broken file again has nothing new to say.
            if asked == Asked::ByOperator || before.errors != report.errors {
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
        if report.errors.is_empty() {
            self.keep(state).await;
        }
        report
    }

    /// Keeps what serves from the start on; reloads do so themselves.
    pub async fn keep_started(&self) {
        let mut state = self.state.lock().await;
        self.keep(&mut state).await;
    }

    /// Who is not known any more is forgotten, unless a file cannot be read that may be his.
    async fn keep(&self, state: &mut State) {
        let Some(mut kept) = state.kept.take() else { return };
        let (current, report) = (self.current(), self.report());
        let serving = current
            .tenants
            .serving()
            .map(|generation| Arc::clone(generation.config()));
        let serving: Vec<_> = serving.collect();
        let broken = report.broken.iter().filter_map(|broken| broken.tenant.clone());
        let sound = current.config.tenants.keys().cloned();
        let known: BTreeSet<_> = serving
            .iter()
            .map(|tenant| tenant.id.clone())
            .chain(broken)
            .chain(sound)
            .collect();
        let may_forget = report.unknown().next().is_none();
        let kept = blocking(move || {
            kept.keep(serving, Some(&known).filter(|_| may_forget));
            kept
        });
        state.kept = Some(kept.await);
    }

    async fn try_reload(&self, state: &mut State, asked: Asked, cause: &'static str) -> Result<Report, ReloadError> {
        let previous = self.current();
        let loaded = self.read_again(state, incumbents(&previous, state, asked)).await?;
        let found = loaded.found.clone();
        let (was, is) = (&previous.config, &loaded.config);
        let writes = new_tls(&was.remote_write.tls, &is.remote_write.tls)?;
        let admin = new_tls(&was.admin.tls, &is.admin.tls)?;
        let (pipeline, mut report) = build(&self.shared, &mut state.lineage, loaded, Some(&previous), cause).await?;
        let restart = needs_restart(&previous.config, &pipeline.config);
        report.warnings.extend(restart);
        self.take_into_use(pipeline, writes, admin);
        state.remember(found);
        Ok(report)
    }

    async fn read_again(&self, state: &mut State, incumbents: Incumbents) -> Result<Loaded, ReloadError> {
        let path = self.path.clone();
        // Reading 500 files takes milliseconds that an I/O thread does not have.
        let mut known = std::mem::take(&mut state.known);
        let (loaded, inputs, known) = blocking(move || {
            let (loaded, inputs) = config::attempt(&path, &mut known, &incumbents);
            (loaded, inputs, known)
        })
        .await;
        (state.inputs, state.known) = (inputs, known);
        loaded.map_err(ReloadError::Config)
    }

    /// From here on new requests have the new generation; those that began go on with theirs.
    fn take_into_use(&self, pipeline: Pipeline, writes: Option<NewTls>, admin: Option<NewTls>) {
        self.shared.set_limits(&pipeline.config);
        self.retired.push(self.current.swap(Arc::new(pipeline)));
        if let Some(NewTls(tls)) = writes {
            self.tls.swap(tls);
        }
        if let Some(NewTls(tls)) = admin {
            self.admin_tls.swap(tls);
        }
    }

    /// Brings the gauges in line with what serves.
    fn publish(&self) {
        let metrics = &self.shared.metrics;
        let report = self.report();
        metrics.reload_successful.set(i64::from(report.is_success()));
        if report.is_success() {
            metrics.reload_timestamp.set(report.at as i64);
        }
        let restored = report.broken.iter().filter(|broken| broken.is_restored);
        metrics.tenants_restored.set(restored.count() as i64);
        metrics.credentials_unknown.set(report.unknown().count() as i64);
        metrics.tenant_generation.clear();
        metrics.tenant_broken.clear();
        metrics.tenant_went_back.clear();
        // Of tenants that are gone; the others' are published again when they are next read.
        metrics.active_series.clear();
        metrics.memo_entries.clear();
        metrics.memo_bytes.clear();
        let current = self.current();
        for generation in current.tenants.serving() {
            let labels = ConfiguredTenant {
                tenant: generation.config().id.to_string(),
            };
            metrics
                .tenant_generation
                .get_or_create(&labels)
                .set(generation.number() as i64);
            metrics.tenant_broken.get_or_create(&labels).set(0);
            let went_back = i64::from(generation.went_back().is_some());
            metrics.tenant_went_back.get_or_create(&labels).set(went_back);
        }
        for broken in report.broken.iter().filter_map(|broken| broken.tenant.as_ref()) {
            metrics
                .tenant_broken
                .get_or_create(&ConfiguredTenant {
                    tenant: broken.to_string(),
                })
                .set(1);
        }
        metrics.certificate_expiry.clear();
        let listeners = current.config.remote_write.tls.iter().chain(&current.config.admin.tls);
        for (tls, expiry) in listeners.filter_map(|tls| Some((tls, tls::expiry(&tls.cert)?))) {
            let file = tls.cert_file.display().to_string();
            metrics
                .certificate_expiry
                .get_or_create(&CertificateLabels { file })
                .set(expiry);
        }
    }
}

impl State {
    /// What is missing is missed until it was gone for long enough.
    fn remember(&mut self, mut found: TenantFiles) {
        let seen = std::mem::take(&mut self.gone);
        let polls = |file: &PathBuf| seen.get(file).map_or(1, |polls| polls + 1);
        self.gone = found.missing.iter().map(|file| (file.clone(), polls(file))).collect();
        found.files.append(&mut found.missing);
        self.found = found;
    }
}

/// What serves, and what of its files is missed if it is gone.
fn incumbents(previous: &Pipeline, state: &State, asked: Asked) -> Incumbents {
    let mut tenants = previous.config.tenants.clone();
    let serving = previous.tenants.serving().map(|generation| generation.config());
    tenants.extend(serving.map(|tenant| (tenant.id.clone(), Arc::clone(tenant))));
    let is_missed = |file: &&PathBuf| {
        let polls = state.gone.get(*file).copied().unwrap_or(0);
        asked == Asked::ByPoll && polls < POLLS_UNTIL_GONE
    };
    let files = state.found.files.iter().filter(is_missed).cloned().collect();
    Incumbents::new(tenants, state.found.patterns.clone(), files)
}

/// What a listener's next handshakes are made with; none: plain HTTP.
struct NewTls(Option<Arc<tls::ServerConfig>>);

/// `None` if it is the same: connections made under the one in use need not end.
fn new_tls(was: &Option<TlsServer>, is: &Option<TlsServer>) -> Result<Option<NewTls>, TlsError> {
    if was == is {
        return Ok(None);
    }
    let config = is.as_ref().map(tls::server_config).transpose()?;
    Ok(Some(NewTls(config)))
}
