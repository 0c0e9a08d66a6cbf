//! The process: builds everything in order, serves, reloads on signals, drains.
//!
//! Takes options, returns when the last write is finished. Spawns the listeners and joins them; an error comes out of
//! it only where serving never began.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::Either;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::operators::PATIENCE;
use crate::admin::{Events, Gateway, Operators, QUESTIONS_AT_ONCE};
use crate::config::{self, Config, Incumbents, Known, Loaded};
use crate::flow::Flow;
use crate::listener::{self, ListenError, Listener, Reactors};
use crate::model::{Peer, seconds_since_1970};
use crate::pipeline::{Shared, SharedError};
use crate::reload::{Generations, Kept, ReloadError};
use crate::telemetry::Throttles;
use crate::tls;
use crate::traces;

mod access_log;
mod balancers;
mod open_files;
mod operators;
mod resident;

/// How often what tenants did not use for long (idle buckets, old failures) is looked through.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// How often the log is told what it was spared of floods that have ended.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// Two, so that a probe is answered while a reload puts generations together.
const CONTROL_THREADS: usize = 2;
/// Below the threads that serve connections, as far as those of plugins: reading 500 tenants' files must not hold up
/// anybody's writes. Beside a reactor that is never idle it is a quarter of its processor.
const CONTROL_NICE: i32 = 5;
/// What the last spans have at the end of the process, of the time that is left for it.
const LAST_SPANS: Duration = Duration::from_secs(5);
/// And what all tasks have, whatever is left.
const LAST_SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Options {
    pub config_file: PathBuf,
    /// Zero: no polling.
    pub poll_interval: Duration,
    pub shutdown_timeout: Duration,
}

/// Why serving never began.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<config::ConfigError>),
    #[error(transparent)]
    Generation(#[from] ReloadError),
    #[error(transparent)]
    Shared(#[from] SharedError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot listen on {address} for operators: {reason}")]
    Admin { address: String, reason: std::io::Error },
    #[error("access_log: {} cannot be written: {reason}", .path.display())]
    AccessLog { path: PathBuf, reason: std::io::Error },
    #[error("cannot {what}: {reason}")]
    System { what: &'static str, reason: std::io::Error },
}

/// A gateway that listens and is not yet told to stop.
pub struct Running {
    pub generations: Arc<Generations>,
    pub shared: Arc<Shared>,
    pub remote_write: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    ready: Arc<AtomicBool>,
    /// Stops accepting writes; what is in flight finishes.
    stop_writes: CancellationToken,
    /// Stops everything else.
    stop: CancellationToken,
    connections: TaskTracker,
    tasks: TaskTracker,
    /// What sends spans: it has something to do when all else has ended.
    exporter: TaskTracker,
    flow: Arc<Flow>,
    events: Arc<Events>,
    /// Where connections live; they end with it.
    reactors: Arc<Reactors>,
    /// Ends with it.
    _watch: resident::Watch,
    /// Ends with it, behind the last write.
    access_log: Option<access_log::Writer>,
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// If serving never began.
pub fn run(options: &Options) -> Result<(), StartError> {
    runtime()?.block_on(async {
        let running = start(options).await?;
        let system = |reason| StartError::System {
            what: "listen for signals",
            reason,
        };
        let mut hangup = signal(SignalKind::hangup()).map_err(system)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        // A reload may compile for minutes; SIGTERM does not wait for it.
        let reloads = async {
            while hangup.recv().await.is_some() {
                // Before what may take long: who moved the file away waits for the new one.
                running.access_log.iter().for_each(access_log::Writer::reopen);
                running.generations.reload("SIGHUP").await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = reloads => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        running.drain(options.shutdown_timeout).await;
        Ok(())
    })
}

/// What is no mistake of the configuration, and a start on this system would warn of.
pub fn warnings(config: &Config) -> Option<String> {
    open_files::lack(config)
}

/// Builds every tenant's chain without listening, and loads the plugins that nobody uses; gives what cannot be used.
pub fn check(loaded: Loaded) -> Vec<String> {
    let mut faults = unusable(&loaded.config);
    let built = runtime().and_then(|runtime| runtime.block_on(build_all(loaded, &mut faults)));
    faults.extend(built.err().map(|error| error.to_string()));
    faults
}

async fn build_all(mut loaded: Loaded, faults: &mut Vec<String>) -> Result<(), StartError> {
    // The key is one of the secrets that were left out; what can be seen without it is.
    if let Some(tls) = loaded.config.remote_write.tls.take_if(|tls| tls.key.is_empty()) {
        tls::check_without_key(&tls).map_err(ReloadError::Tls)?;
    }
    if let Some(tls) = loaded.config.admin.tls.take_if(|tls| tls.key.is_empty()) {
        tls::check_without_key(&tls).map_err(ReloadError::Tls)?;
    }
    let shared = Shared::new(&loaded.config)?;
    for plugin in std::mem::take(&mut loaded.unused) {
        if let Err(fault) = shared.engine.load(&plugin).await {
            faults.push(format!("plugin {} {fault}", plugin.name));
        }
    }
    // What the configuration itself says was reported already; here is what came of the plugins.
    let known = loaded.broken.len();
    let generations = Generations::start(std::path::Path::new(""), loaded, Known::default(), None, shared).await?;
    let broken = generations.report().broken;
    let of_plugins = broken.len() - known;
    for broken in broken.into_iter().take(of_plugins) {
        // The operator's policies are in every tenant's chain.
        if !faults.contains(&broken.error) {
            faults.push(broken.error);
        }
    }
    Ok(())
}

/// Certificates that a start takes and nobody can use: they have ended or have not begun.
fn unusable(config: &Config) -> Vec<String> {
    let listeners = config.remote_write.tls.iter().chain(&config.admin.tls);
    let of_listener = listeners.flat_map(tls::unusable);
    let of_upstreams = config.upstreams.values().filter_map(|upstream| {
        let (certificate, _) = upstream.tls.as_ref()?.client.as_ref()?;
        let has_ended = tls::expiry(certificate).is_some_and(|end| end < seconds_since_1970());
        let name = &upstream.name;
        has_ended.then(|| {
            format!("upstreams.{name}.tls_config: the client certificate has expired; receivers that verify it refuse to connect")
        })
    });
    of_listener.chain(of_upstreams).collect()
}

/// Of all that is no write: accepting, the admin listener, reloads, names. Writes have the [`Reactors`].
fn runtime() -> Result<tokio::runtime::Runtime, StartError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        // Not being allowed to be nice is no reason not to run.
        .on_thread_start(|| {
            let _ = rustix::process::setpriority_process(None, CONTROL_NICE);
        })
        .build()
        .map_err(|reason| StartError::System {
            what: "start the control threads",
            reason,
        })
}

/// Loads, builds, listens.
///
/// # Errors
/// If serving cannot begin.
pub async fn start(options: &Options) -> Result<Running, StartError> {
    let file = options.config_file.clone();
    let reading = move || {
        let mut known = Known::default();
        let loaded = config::attempt(&file, &mut known, &Incumbents::default()).0?;
        let Some(kept) = loaded.config.state_dir.as_deref().and_then(open_state) else {
            return Ok((loaded, known, None));
        };
        // Now that it is known what served: it has a right to its names, and what is gone of it is missed.
        let files = kept.tenants().values().map(|tenant| tenant.file.clone()).collect();
        let incumbents = Incumbents::new(kept.tenants().clone(), BTreeSet::new(), files);
        let loaded = config::attempt(&file, &mut known, &incumbents).0?;
        Ok((loaded, known, Some(kept)))
    };
    let (loaded, known, kept) = match tokio::task::spawn_blocking(reading).await {
        Ok(read) => read.map_err(StartError::Config)?,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = loaded.config.clone();
    let shared = Shared::new(&config)?;
    let starting = Generations::start(&options.config_file, loaded, known, kept, Arc::clone(&shared));
    let generations = Arc::new(starting.await?);

    let mut remote_write = config.remote_write.clone();
    remote_write.max_connections = open_files::prepare(&config);
    let refused = Arc::clone(&shared.refused);
    let listener = Listener::bind(&remote_write, Arc::clone(&shared.metrics), refused).await?;
    let address = config.admin.listen_address.clone();
    let admin_failed = |reason| StartError::Admin {
        address: address.clone(),
        reason,
    };
    let admin_listener = listener::bind(&address).await.map_err(admin_failed)?;
    let reactors = Reactors::start().map_err(|reason| StartError::System {
        what: "start the I/O threads",
        reason,
    })?;
    let access_log = match &config.access_log {
        Some(settings) => Some(start_access_log(settings, &shared)?),
        None => None,
    };
    shared.metrics.watch_runtime("control", Handle::current().metrics());
    reactors.watch_with(&shared.metrics);
    let watch = resident::Watch::start(&shared.memory, &shared.metrics).map_err(|reason| StartError::System {
        what: "start the thread that looks at memory",
        reason,
    })?;
    let running = Running {
        flow: Arc::new(Flow::new(Arc::clone(&shared.metrics), std::time::Instant::now())),
        events: Arc::default(),
        remote_write: listener.local_addr(),
        admin: admin_listener.local_addr().map_err(admin_failed)?,
        generations,
        shared,
        ready: Arc::new(AtomicBool::new(true)),
        stop_writes: CancellationToken::new(),
        stop: CancellationToken::new(),
        connections: TaskTracker::new(),
        tasks: TaskTracker::new(),
        exporter: TaskTracker::new(),
        reactors: Arc::new(reactors),
        _watch: watch,
        access_log,
    };
    let refusals = listener.refusals();
    running.spawn_admin(admin_listener);
    running.spawn_remote_write(listener);
    running.spawn_upkeep(options.poll_interval);
    running.spawn_telling(refusals);
    running.spawn_exporter();
    let tls = config.remote_write.tls.is_some();
    tracing::info!(listener = "remote_write", address = %running.remote_write, tls, "listening");
    let tls = config.admin.tls.is_some();
    tracing::info!(listener = "admin", address = %running.admin, tls, "listening");
    Ok(running)
}

fn start_access_log(settings: &config::AccessLogSettings, shared: &Shared) -> Result<access_log::Writer, StartError> {
    let started = access_log::Writer::start(settings, &shared.metrics);
    let (writer, log) = started.map_err(|reason| StartError::AccessLog {
        path: settings.file.clone().unwrap_or_else(|| "standard output".into()),
        reason,
    })?;
    // There is one start for each of these.
    let _ = shared.access_log.set(log);
    Ok(writer)
}

/// Without it the gateway serves as it would have without the key.
fn open_state(folder: &Path) -> Option<Kept> {
    Kept::open(folder)
        .inspect_err(|error| tracing::warn!(%error, "state_dir cannot be used: nothing outlives this process"))
        .ok()
}

impl Running {
    fn spawn_remote_write(&self, listener: Listener) {
        let (generations, ready) = (Arc::clone(&self.generations), Arc::clone(&self.ready));
        let handler = move |request, peer: Arc<Peer>| {
            // A request holds the generation it began with to its end.
            let pipeline = generations.current();
            let health_checks = pipeline.config.remote_write.health_checks;
            let of_a_balancer = health_checks.then(|| balancers::answer(&request, ready.load(Ordering::Acquire)));
            match of_a_balancer.flatten() {
                Some(answer) => Either::Left(std::future::ready(answer)),
                // In a box, for as long as the write takes: the library keeps room for an answer with each connection, and
                // moves it about.
                None => Either::Right(Box::pin(async move { pipeline.answer(request, &peer).await })),
            }
        };
        let serving = listener::serve(
            listener,
            Arc::clone(self.generations.tls()),
            handler,
            self.stop_writes.clone(),
            self.connections.clone(),
            Arc::clone(&self.reactors),
            Arc::clone(&self.shared.memory),
        );
        self.tasks.spawn(serving);
    }

    fn spawn_admin(&self, listener: TcpListener) {
        let gateway = self.gateway();
        let (stop, tasks) = (self.stop.clone(), self.tasks.clone());
        self.tasks.spawn(operators::serve(
            listener,
            Arc::clone(self.generations.admin_tls()),
            Operators::new(gateway),
            PATIENCE,
            stop,
            tasks,
        ));
    }

    fn gateway(&self) -> Gateway {
        Gateway {
            generations: Arc::clone(&self.generations),
            upstreams: Arc::clone(&self.shared.upstreams),
            metrics: Arc::clone(&self.shared.metrics),
            memory: Arc::clone(&self.shared.memory),
            questions: Arc::new(Semaphore::new(QUESTIONS_AT_ONCE)),
            flow: Arc::clone(&self.flow),
            events: Arc::clone(&self.events),
            remote_write: self.remote_write,
            ready: Arc::clone(&self.ready),
            stop: self.stop.clone(),
        }
    }

    fn spawn_upkeep(&self, poll_interval: Duration) {
        if !poll_interval.is_zero() {
            let (generations, stop) = (Arc::clone(&self.generations), self.stop.clone());
            self.tasks
                .spawn(async move { generations.watch(poll_interval, stop).await });
        }
        self.tasks.spawn(self.gateway().watch_flow());
        let generations = Arc::clone(&self.generations);
        self.tasks.spawn(async move { generations.keep_started().await });
        let (generations, stop) = (Arc::clone(&self.generations), self.stop.clone());
        self.tasks.spawn(async move { generations.free_retired(stop).await });
        let (generations, stop) = (Arc::clone(&self.generations), self.stop.clone());
        self.tasks
            .spawn(async move { generations.go_back_from_condemned(stop).await });
        let (generations, stop) = (Arc::clone(&self.generations), self.stop.clone());
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {
                        let current = generations.current();
                        let now = std::time::Instant::now();
                        current.tenants.accounts().for_each(|account| account.forget_idle(now));
                        current.shared.refused.forget_old(now);
                        // Moves every memo's window on: an idle tenant's would stand still and come to mean the future.
                        current.tenants.serving().for_each(|generation| generation.publish());
                        current.shared.metrics.forget_gone(now);
                    }
                }
            }
        });
    }

    /// What the log was spared of floods is told when they have ended.
    fn spawn_telling(&self, refusals: Arc<Throttles<(IpAddr, &'static str)>>) {
        let (generations, stop) = (Arc::clone(&self.generations), self.stop.clone());
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(TELL_INTERVAL);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => generations.current().tell_untold(&refusals, std::time::Instant::now()),
                }
            }
        });
    }

    /// Sends spans wherever the configuration of the time says.
    fn spawn_exporter(&self) {
        let (generations, stop) = (Arc::clone(&self.generations), self.stop.clone());
        let tracer = Arc::clone(&self.shared.tracer);
        let collector = move || generations.current().traces.clone();
        self.exporter
            .spawn(async move { traces::export(&tracer, collector, &stop).await });
    }

    /// Not ready, no new connections, finish what is in flight inside `timeout`, stop.
    pub async fn drain(self, timeout: Duration) {
        tracing::info!(timeout_seconds = timeout.as_secs(), "draining");
        let until = tokio::time::Instant::now() + timeout;
        self.ready.store(false, Ordering::Release);
        self.stop_writes.cancel();
        self.connections.close();
        if tokio::time::timeout(timeout, self.connections.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "drain timed out, closing what is left"
            );
        }
        self.stop.cancel();
        self.tasks.close();
        self.exporter.close();
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        let for_spans = left.clamp(LAST_SECOND, LAST_SPANS);
        let (_, exported) = tokio::join!(
            // Only the admin listener can be slow here, with a scrape that never ends.
            tokio::time::timeout(LAST_SECOND, self.tasks.wait()),
            tokio::time::timeout(for_spans, self.exporter.wait()),
        );
        if exported.is_err() {
            tracing::warn!("the collector of traces did not take the last spans in time");
        }
        tracing::info!("stopped");
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const CONFIG: &str = r#"{
        "remote_write": {"listen_address": "127.0.0.1:0", "insecure_http": true},
        "admin": {"listen_address": "127.0.0.1:0"},
        "upstreams": {"soft": {"endpoints": ["http://127.0.0.1:1"]}},
        "tenant_files": ["*.tenant"]
    }"#;

    /// A gateway without tenants, and the folder of its configuration.
    pub(super) async fn running() -> (Running, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let config_file = folder.path().join("config.yaml");
        std::fs::write(&config_file, CONFIG).unwrap();
        let options = Options {
            config_file,
            poll_interval: Duration::ZERO,
            shutdown_timeout: Duration::ZERO,
        };
        (start(&options).await.unwrap(), folder)
    }

    #[tokio::test]
    async fn a_reload_is_finished_where_nobody_waits_for_it() {
        let (running, folder) = running().await;
        let tenant = r#"{"tenant": "a", "credentials": [{"bearer_token_sha256": "SHA"}], "upstreams": ["soft"]}"#;
        let tenant = tenant.replace("SHA", &"0a".repeat(32));
        std::fs::write(folder.path().join("a.tenant"), tenant).unwrap();
        // Whoever asks over HTTP and hangs up drops the future in just this way.
        assert!(running.generations.reload("test").now_or_never().is_none());
        let in_use = async {
            while running.generations.current().tenants.serving().next().is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), in_use).await.unwrap();
        running.drain(Duration::ZERO).await;
    }
}
