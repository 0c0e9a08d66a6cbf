//! One running plugin: its memory, its limits, and calls into it.
//!
//! Takes a loaded plugin and settings, gives verdicts and decisions exactly as the plugin returned them; `chain`
//! judges those. Belongs to one policy of one tenant for life. Never used again after a fault: the caller drops
//! it, and with it everything that the plugin could have left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::{Func, HasSelf, Linker};
use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Store, UpdateDeadline, WasmBacktrace};

use super::asked::Asked;
use super::contract::types::{Decision, Inputs, LabelParam, Verdict, Write};
use super::contract::{gauntlet, log};
use super::deadline::{Deadline, Running};
use super::imports::log::{Lines, Share};
use super::imports::wasi::Wasi;
use super::plain::plain;
use super::plugin::{PackedParams, Plugin};

/// What a plugin can make the host copy in one direction of one call, in bytes. A batch is at most
/// `chain::relabel::BATCH_BYTES` of labels; edited and lifted those are 0.5 MiB of text and, at the shortest
/// labels there are, 3 MiB of records, so this leaves room to add labels.
const HOSTCALL_FUEL: usize = 8 << 20;
/// Handles of the component model one instance may hold; see also `wasi::MAX_HANDLES`.
const MAX_HANDLES: usize = 1024;
/// Core instances of one component. Python's has 38.
pub const MAX_CORE_INSTANCES: usize = 64;
/// Linear memories of one component. Python's has 3.
pub const MAX_MEMORIES: usize = 4;
/// Tables of one component. Python's has 3.
pub const MAX_TABLES: usize = 6;
/// Elements of one table. Python's has nearly 8000.
pub const MAX_TABLE_ELEMENTS: usize = 10_000;

/// An instance is replaced after so many calls: bounds what a slow leak or a plugin's own bookkeeping adds up to.
const MAX_CALLS: u32 = 100_000;
/// And after this time, for the same reason.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Longest fault text kept, in bytes: a reason and a few frames.
const MAX_FAULT_LENGTH: usize = 1024;

/// Why a call into a plugin gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("trapped: {0}")]
    Trap(String),
    #[error("ran out of time")]
    Timeout,
    #[error("wanted more memory than it may have")]
    Memory,
    #[error("judged {got} series of {asked}")]
    WrongLength { asked: usize, got: usize },
    #[error("returned nonsense: {0}")]
    Invalid(String),
    /// The plugin's own error, the one fault an instance survives.
    #[error("failed: {0}")]
    Error(String),
    /// Every slot is in use: the host's fault, not the plugin's.
    #[error("found no room to start")]
    NoRoom,
}

impl Fault {
    /// For the metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::WrongLength { .. } => "wrong_length",
            Self::Invalid(_) => "invalid",
            Self::Error(_) => "error",
            Self::NoRoom => "no_room",
        }
    }
}

/// Counts instances that exist, in use or warm: as many as the pooling allocator has room for. Running into the
/// allocator's own limit would be an error in the middle of starting an instance.
#[derive(Debug)]
pub struct Slots {
    free: AtomicUsize,
}

impl Slots {
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self {
            free: AtomicUsize::new(slots),
        })
    }

    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        let taken = self
            .free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1));
        taken.ok().map(|_| Slot(self.clone()))
    }
}

/// Room for one instance.
#[derive(Debug)]
pub struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::AcqRel);
    }
}

/// What the host keeps beside one instance.
pub struct State {
    pub wasi: Wasi,
    lines: Arc<Mutex<Lines>>,
    limits: Limits,
    deadline: Deadline,
}

struct Limits {
    memory: usize,
    table_elements: usize,
    memory_limit: usize,
    denied: bool,
}

impl ResourceLimiter for Limits {
    /// All memories of the instance together.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit {
            self.denied = true;
            return Ok(false);
        }
        self.memory = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > MAX_TABLE_ELEMENTS * 2 {
            self.denied = true;
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

impl log::Host for State {
    fn write(&mut self, level: log::Level, message: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.write(level, &message);
    }
}

impl gauntlet::policy::types::Host for State {}

/// Links `gauntlet:policy` itself.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    log::add_to_linker::<State, HasSelf<State>>(linker, |state| state)
}

/// How an instance is started.
pub struct Start<'a> {
    pub plugin: &'a Plugin,
    pub settings: &'a str,
    pub share: &'a Arc<Share>,
    /// Bytes.
    pub memory_limit: usize,
    /// For starting and configuring.
    pub allowance: Duration,
    pub slot: Slot,
}

pub struct Instance {
    // Before `slot`, so that the allocator's place is free by the time the slot is.
    store: Store<State>,
    relabel: Option<Func>,
    relabel_packed: Option<Func>,
    admit: Option<Func>,
    admission_inputs: Option<Func>,
    calls: u32,
    born: Instant,
    /// Memory once configured, in bytes.
    settled: usize,
    _slot: Slot,
}

impl Instance {
    /// Instantiates and configures.
    ///
    /// # Errors
    /// Whatever the plugin did instead; [`Fault::Error`] is its own word on the settings.
    pub fn start(start: Start<'_>) -> Result<Self, Fault> {
        let lines = Arc::new(Mutex::new(Lines::new(start.share.clone())));
        let state = State {
            wasi: Wasi::new(&lines),
            lines,
            limits: Limits {
                memory: 0,
                table_elements: 0,
                memory_limit: start.memory_limit,
                denied: false,
            },
            deadline: Deadline::after(start.allowance),
        };
        let mut store = Store::new(start.plugin.engine(), state);
        store.limiter(|state| &mut state.limits);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|mut store| {
            let deadline = &mut store.data_mut().deadline;
            Ok(match deadline.ticks_left() {
                Some(ticks) => UpdateDeadline::Continue(ticks),
                None => {
                    deadline.expired = true;
                    UpdateDeadline::Interrupt
                }
            })
        });
        let mut instance = Self {
            store,
            relabel: None,
            relabel_packed: None,
            admit: None,
            admission_inputs: None,
            calls: 0,
            born: Instant::now(),
            settled: 0,
            _slot: start.slot,
        };
        let (configured, [relabel, relabel_packed, admit, admission_inputs]) =
            instance.guarded(start.allowance, |store| {
                let found = start.plugin.instantiate(&mut *store)?;
                let configure =
                    found.get_typed_func::<(&str,), (Result<(), String>,)>(&mut *store, start.plugin.configure)?;
                let (configured,) = configure.call(&mut *store, (start.settings,))?;
                let plugin = start.plugin;
                let exports = [
                    plugin.relabel,
                    plugin.relabel_packed,
                    plugin.admit,
                    plugin.admission_inputs,
                ];
                let found = exports.map(|index| found.get_func(&mut *store, index?));
                Ok((configured, found))
            })?;
        configured.map_err(|reason| Fault::Error(plain(&reason, MAX_FAULT_LENGTH)))?;
        instance.relabel = relabel;
        instance.relabel_packed = relabel_packed;
        instance.admit = admit;
        instance.admission_inputs = admission_inputs;
        instance.settled = instance.memory();
        Ok(instance)
    }

    /// One verdict per series, in order; their number is for the caller to check.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn relabel(&mut self, asked: &Asked, allowance: Duration) -> Result<Vec<Verdict>, Fault> {
        let (verdicts,) = match (self.relabel_packed, self.relabel) {
            (Some(packed), _) => self.guarded(allowance, |store| {
                packed
                    .typed::<PackedParams<'_>, (Result<Vec<Verdict>, String>,)>(&*store)?
                    .call(&mut *store, (&asked.text, &asked.lengths, &asked.labels))
            })?,
            (None, Some(relabel)) => self.guarded(allowance, |store| {
                let series = asked.series();
                let series: Vec<&[LabelParam<'_>]> = series.iter().map(Vec::as_slice).collect();
                relabel
                    .typed::<(&[&[LabelParam<'_>]],), (Result<Vec<Verdict>, String>,)>(&*store)?
                    .call(&mut *store, (&series,))
            })?,
            (None, None) => return Err(Fault::Invalid("no relabel".to_owned())),
        };
        verdicts.map_err(|reason| Fault::Error(plain(&reason, MAX_FAULT_LENGTH)))
    }

    /// # Errors
    /// Whatever the plugin did instead.
    pub fn admit(&mut self, write: &Write<'_>, allowance: Duration) -> Result<Decision, Fault> {
        let Some(admit) = self.admit else {
            return Err(Fault::Invalid("no admit".to_owned()));
        };
        let (decision,) = self.guarded(allowance, |store| {
            admit
                .typed::<(&Write<'_>,), (Result<Decision, String>,)>(&*store)?
                .call(&mut *store, (write,))
        })?;
        decision.map_err(|reason| Fault::Error(plain(&reason, MAX_FAULT_LENGTH)))
    }

    /// What of a write its decisions depend on: everything, where the plugin does not say.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn admission_inputs(&mut self, allowance: Duration) -> Result<Inputs, Fault> {
        let Some(admission_inputs) = self.admission_inputs else {
            return Ok(Inputs::all());
        };
        let (inputs,) = self.guarded(allowance, |store| {
            admission_inputs.typed::<(), (Inputs,)>(&*store)?.call(&mut *store, ())
        })?;
        Ok(inputs)
    }

    /// Whether it has done its share and another one should take over.
    pub fn worn(&self, now: Instant) -> bool {
        let limit = self.store.data().limits.memory_limit;
        self.calls >= MAX_CALLS
            || now.saturating_duration_since(self.born) >= MAX_AGE
            || self.memory().saturating_sub(self.settled) > limit / 4
    }

    /// Linear memory, in bytes.
    pub fn memory(&self) -> usize {
        self.store.data().limits.memory
    }

    /// Runs guest code under the deadline.
    fn guarded<R>(
        &mut self,
        allowance: Duration,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.calls += 1;
        let _running = Running::begin();
        let deadline = Deadline::after(allowance);
        let state = self.store.data_mut();
        state.deadline = deadline;
        state.limits.denied = false;
        state.lines.lock().unwrap_or_else(PoisonError::into_inner).begin_call();
        self.store.set_epoch_deadline(deadline.ticks_left().unwrap_or(1));
        let result = call(&mut self.store);
        // A straight-line `memory.fill` of many megabytes returns late without ever meeting the epoch.
        let late = deadline.ticks_left().is_none();
        let state = self.store.data();
        state.lines.lock().unwrap_or_else(PoisonError::into_inner).end_call();
        match result {
            _ if late || state.deadline.expired => Err(Fault::Timeout),
            Ok(value) => Ok(value),
            Err(_) if state.limits.denied => Err(Fault::Memory),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => Err(Fault::NoRoom),
            Err(error) => Err(Fault::Trap(trap_text(&error))),
        }
    }
}

/// The reason first, then where: a deep stack must not push the reason out.
fn trap_text(error: &wasmtime::Error) -> String {
    let mut text = error.root_cause().to_string();
    for frame in error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames)
    {
        match frame.func_name() {
            Some(name) => text.extend([", in ", name]),
            None => text.push_str(&format!(", in function {}", frame.func_index())),
        }
    }
    plain(&text, MAX_FAULT_LENGTH)
}
