//! The engine: everything that all plugins share.
//!
//! Takes the sandbox's configuration; gives plugins loaded (compiled once, however many tenants use them), threads
//! to run them on, and instances to run. There is no engine without its ticker, its limits and its threads: one
//! constructor makes them all. Never shares anything between tenants but code.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Semaphore;
use wasmtime::component::Linker;
use wasmtime::{EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::artefact::{self, Artefact, Cache, Identity};
use super::compile::{self, CompileError, Compiler};
use super::contract::{self, ContractError};
use super::deadline::Busy;
use super::imports::wasi;
use super::instance::{Instance, START, Slot, Slots};
use super::plugin::Plugin;
use super::quota::Quotas;
use super::state::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES, State};
use super::target;
use super::threads::Threads;
use super::warm::{PolicyId, Room, Warm};
use crate::config;
use crate::memory::{Full, Held, Kind, Memory};
use crate::telemetry::Metrics;

/// Instances kept warm: 500 tenants with three policies and some to spare. Each reserves 4 GiB of addresses and no
/// memory; if the system refuses so many addresses, fewer are kept.
const WARM: usize = 2048;
/// Memory a freed slot keeps for the next instance in place of giving it back to the system: about what a small
/// plugin touches, so that a fresh instance costs microseconds.
const KEEP_RESIDENT: usize = 1 << 20;
/// Slots that were used and are not, each of which keeps as much.
const KEPT_SLOTS: u32 = 16;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the sandbox cannot be set up: {0}")]
    Wasmtime(String),
    #[error("the sandbox's threads cannot be started: {0}")]
    Threads(#[from] std::io::Error),
}

/// Why a plugin cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Contract(#[from] ContractError),
    #[error("cannot be loaded: {0}")]
    Load(String),
    #[error("cannot be loaded: {0}, of which its machine code takes {1} bytes")]
    NoMemory(Full, u64),
}

impl LoadError {
    /// The same plugin may well be loaded a moment later: there was no room for it, or no processor.
    pub fn may_pass(&self) -> bool {
        use CompileError::{NoRoom, NoRoomForCode, TooBusy};
        matches!(
            self,
            Self::NoMemory(..) | Self::Compile(NoRoom(_) | NoRoomForCode(_) | TooBusy(_))
        )
    }
}

pub struct Engine {
    // Threads first: they end before what they use.
    threads: Threads,
    _ticker: Ticker,
    wasm: wasmtime::Engine,
    linker: Linker<State>,
    sandbox: config::Sandbox,
    memory: Arc<Memory>,
    /// For the slots that keep some.
    _kept: Option<Held>,
    metrics: Arc<Metrics>,
    compiler: Compiler,
    compiling: Semaphore,
    cache: Option<Cache>,
    plugins: Mutex<HashMap<[u8; 32], Weak<Plugin>>>,
    slots: Arc<Slots>,
    warm: Arc<Warm<Instance>>,
    next_policy: AtomicU64,
}

impl Engine {
    /// Sets up the sandbox and starts its threads.
    ///
    /// # Errors
    /// If the system has not enough addresses or threads. A cache that cannot be used is no error: plugins are
    /// compiled anew then, and the log says why.
    pub fn new(
        config: &config::Sandbox,
        compiler: Compiler,
        memory: &Arc<Memory>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, EngineError> {
        Self::of(target::config(), config, compiler, memory, metrics)
    }

    /// One whose plugins count their instructions, for whoever measures them. It keeps no artefacts.
    ///
    /// # Errors
    /// As [`Engine::new`].
    pub fn counting(
        config: &config::Sandbox,
        mut compiler: Compiler,
        memory: &Arc<Memory>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, EngineError> {
        compiler.args.push(compile::COUNT.into());
        let config = config::Sandbox {
            cache_dir: None,
            ..config.clone()
        };
        Self::of(target::counting_config(), &config, compiler, memory, metrics)
    }

    fn of(
        target: wasmtime::Config,
        config: &config::Sandbox,
        compiler: Compiler,
        memory: &Arc<Memory>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, EngineError> {
        let (wasm, warm_instances) = pooled(target, config).map_err(|e| EngineError::Wasmtime(format!("{e:#}")))?;
        let linker = linker(&wasm, config.wasi).map_err(|e| EngineError::Wasmtime(format!("{e:#}")))?;
        let warm = Arc::new(Warm::new(Room {
            instances: warm_instances,
            per_policy: Threads::of_one_tenant(config.threads),
        }));
        let waiting = Arc::downgrade(&warm);
        memory.instances_give_way_with(Box::new(move |wanted| {
            if let Some(warm) = waiting.upgrade() {
                warm.give_way(wanted);
            }
        }));
        Ok(Arc::new(Self {
            threads: Threads::start(config.threads, &warm, &metrics)?,
            _ticker: Ticker::start(&wasm)?,
            wasm,
            linker,
            sandbox: config.clone(),
            memory: Arc::clone(memory),
            _kept: memory
                .hold(Kind::Plugins, u64::from(KEPT_SLOTS) * KEEP_RESIDENT as u64)
                .ok(),
            metrics,
            compiler,
            compiling: Semaphore::new(1),
            cache: open_cache(config),
            plugins: Mutex::new(HashMap::new()),
            slots: Slots::new(slots(warm_instances, config.threads)),
            warm,
            next_policy: AtomicU64::new(1),
        }))
    }

    /// The plugin, compiled: in memory already, from the cache, or by a child process.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub async fn load(self: &Arc<Self>, source: &config::PluginSource) -> Result<Arc<Plugin>, LoadError> {
        if let Some(plugin) = self.loaded(&source.sha256) {
            return Ok(plugin);
        }
        // One at a time: two hostile plugins at once would take twice the memory.
        let _turn = self.compiling.acquire().await;
        if let Some(plugin) = self.loaded(&source.sha256) {
            return Ok(plugin);
        }
        let identity = Identity::new(source.sha256, &self.wasm);
        let plugin = match self.from_cache(&identity).await {
            Some(plugin) => plugin?,
            None => self.from_child(source, &identity).await?,
        };
        let plugin = Arc::new(plugin);
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        plugins.retain(|_, plugin| plugin.strong_count() > 0);
        plugins.insert(source.sha256, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    fn loaded(&self, sha256: &[u8; 32]) -> Option<Arc<Plugin>> {
        let plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        plugins.get(sha256)?.upgrade()
    }

    /// `None` if the cache has nothing that can be used.
    async fn from_cache(self: &Arc<Self>, identity: &Identity) -> Option<Result<Plugin, LoadError>> {
        let (engine, identity) = (self.clone(), identity.clone());
        let load = move || {
            let (artefact, file) = match engine.cache.as_ref()?.read(&identity) {
                Ok(read) => read?,
                Err(error) => {
                    tracing::warn!(%error, "compiled plugin in the cache is not used");
                    return None;
                }
            };
            let held = match engine.hold_code(&artefact) {
                Ok(held) => held,
                Err(error) => return Some(Err(error)),
            };
            let component = artefact::load(&engine.wasm, &artefact)
                .inspect_err(|error| tracing::warn!(%error, "compiled plugin in the cache is not used"))
                .ok()?;
            let plugin = Plugin::link(&component, &engine.linker, engine.sandbox.wasi, held);
            Some(plugin.map(|plugin| plugin.kept_in(Some(file))).map_err(LoadError::from))
        };
        // Megabytes to read and map: not on a thread that serves connections.
        tokio::task::spawn_blocking(load).await.ok().flatten()
    }

    async fn from_child(
        self: &Arc<Self>,
        source: &config::PluginSource,
        identity: &Identity,
    ) -> Result<Plugin, LoadError> {
        let artefact = self.compile(&source.bytes).await?;
        let (engine, identity) = (self.clone(), identity.clone());
        let load = move || {
            let held = engine.hold_code(&artefact)?;
            let component = artefact::load(&engine.wasm, &artefact).map_err(|e| LoadError::Load(format!("{e:#}")))?;
            let plugin = Plugin::link(&component, &engine.linker, engine.sandbox.wasi, held)?;
            let Some(cache) = &engine.cache else { return Ok(plugin) };
            let file = cache.write(&identity, &artefact);
            let file = file.inspect_err(|error| tracing::warn!(%error, "compiled plugin is not kept"));
            Ok(plugin.kept_in(file.ok().flatten()))
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.unwrap_or_else(|error| Err(LoadError::Load(error.to_string())))
    }

    /// With what most plugins need; one that needs more has another try with all that there may be.
    async fn compile(&self, wasm: &[u8]) -> Result<Artefact, CompileError> {
        let sandbox = &self.sandbox;
        let (timeout, memory) = (sandbox.compile_timeout, sandbox.compile_memory_limit);
        let quotas = Quotas::new(&self.memory, timeout, memory, wasm.len());
        let (usual, most) = (quotas.usual(), quotas.most());
        let compile = |quota| compile::compile(&self.compiler, quota, sandbox.wasi, wasm);
        let first = compile(quotas.wait(usual).await?).await;
        let last = match first {
            Err(CompileError::TooMuchMemory(_)) if usual < most => compile(quotas.wait(most).await?).await,
            first => first,
        };
        last.map_err(|error| match error {
            CompileError::TooMuchMemory(bytes) if quotas.is_bounded_by_limit() => CompileError::TooMuchOfLimit(bytes),
            error => error,
        })
    }

    fn hold_code(&self, artefact: &Artefact) -> Result<Held, LoadError> {
        let bytes = artefact.length();
        let held = self.memory.hold(Kind::Plugins, bytes);
        held.map_err(|full| LoadError::NoMemory(full, bytes))
    }

    /// For an instance that holds nothing yet.
    pub(crate) fn hold_instance(&self) -> Held {
        self.memory.open(Kind::Plugins)
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// What all that it runs draws on.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub(crate) fn memory_limit(&self) -> usize {
        self.sandbox.memory_limit
    }

    pub(crate) fn call_allowance(&self) -> Duration {
        self.sandbox.call_timeout
    }

    pub(crate) fn start_allowance(&self) -> Duration {
        self.sandbox.call_timeout * START
    }

    pub(crate) fn warm(&self) -> &Warm<Instance> {
        &self.warm
    }

    /// Room for one more instance, at the cost of the one that waited longest where there is none.
    pub(crate) fn slot(&self) -> Option<Slot> {
        loop {
            if let Some(slot) = self.slots.take() {
                return Some(slot);
            }
            if !self.warm.make_room() {
                return None;
            }
        }
    }

    pub(crate) fn next_policy(&self) -> PolicyId {
        self.next_policy.fetch_add(1, Ordering::Relaxed)
    }
}

/// Instances in use and warm together, and as many again as may be between the two at one moment.
fn slots(warm: usize, long_calls: usize) -> usize {
    warm + 2 * Threads::count(long_calls)
}

/// What an operator allows less of than before is removed now.
fn open_cache(config: &config::Sandbox) -> Option<Cache> {
    let cache = Cache::open(config.cache_dir.as_deref()?, config.max_cache_size);
    let pruned = cache.and_then(|cache| cache.prune().map(|()| cache));
    pruned
        .inspect_err(|error| tracing::warn!(%error, "the plugin cache is not used"))
        .ok()
}

fn linker(engine: &wasmtime::Engine, wasi: bool) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    contract::link(&mut linker)?;
    if wasi {
        wasi::link(&mut linker)?;
    }
    Ok(linker)
}

/// An engine for `target` with as large a pool as the system allows, and how many instances it may keep warm.
fn pooled(target: wasmtime::Config, sandbox: &config::Sandbox) -> wasmtime::Result<(wasmtime::Engine, usize)> {
    let mut warm = WARM;
    loop {
        let mut config = target.clone();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            sandbox,
            slots(warm, sandbox.threads),
        )?));
        match wasmtime::Engine::new(&config) {
            Ok(engine) => return Ok((engine, warm)),
            // Addresses ran out: a container with a limit of them, or several gateways in one test process.
            Err(error) if warm > 1 => {
                warm /= 2;
                tracing::warn!(%error, warm, "fewer plugin instances are kept warm");
            }
            Err(error) => return Err(error),
        }
    }
}

fn pool(sandbox: &config::Sandbox, slots: usize) -> wasmtime::Result<PoolingAllocationConfig> {
    let count = |n: usize| u32::try_from(n).map_err(wasmtime::Error::from);
    // Nearly every component has one memory and one or two tables; where many of the few that have more meet, the
    // pool runs out before the slots do, and a warm instance makes room.
    let half_more = count(slots + slots / 2)?;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(count(slots)?)
        // No memory stands behind these: an instance's own size is allocated as it is needed.
        .total_core_instances(count(slots * MAX_CORE_INSTANCES)?)
        .total_memories(half_more)
        .total_tables(count(slots * 2)?)
        // Calls are synchronous, on the thread's own stack; garbage collection is off.
        .total_stacks(0)
        .total_gc_heaps(0)
        .max_core_instances_per_component(count(MAX_CORE_INSTANCES)?)
        .max_memories_per_component(count(MAX_MEMORIES)?)
        .max_tables_per_component(count(MAX_TABLES)?)
        .max_memories_per_module(1)
        .max_tables_per_module(2)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(sandbox.memory_limit)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        // A page: the function table of a small plugin.
        .table_keep_resident(4096)
        .max_unused_warm_slots(KEPT_SLOTS);
    Ok(pool)
}

/// Moves the engine's epoch on, so that deadlines are noticed. On its own thread: nothing may hold it up.
struct Ticker {
    thread: Option<JoinHandle<()>>,
    /// The thread ends once this is gone.
    alive: Arc<()>,
}

impl Ticker {
    fn start(engine: &wasmtime::Engine) -> std::io::Result<Self> {
        let alive = Arc::new(());
        let (weak_engine, owner): (EngineWeak, Weak<()>) = (engine.weak(), Arc::downgrade(&alive));
        let thread = std::thread::Builder::new().name("plugin-ticker".to_owned());
        let handle = thread.spawn(move || {
            while owner.strong_count() > 0 {
                if !Busy::sleep() {
                    continue;
                }
                let Some(engine) = weak_engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self {
            thread: Some(handle),
            alive,
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.alive = Arc::new(());
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
