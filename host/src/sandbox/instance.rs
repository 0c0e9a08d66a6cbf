//! One running plugin: its memory, its limits, and calls into it.
//!
//! Takes a loaded plugin and settings, gives verdicts and decisions exactly as the plugin returned them; `chain`
//! judges those. Belongs to one policy of one tenant for life. Never used again after a fault: the caller drops
//! it, and with it everything that the plugin could have left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline, WasmBacktrace};

use super::arguments::Arguments;
use super::contract::Functions;
use super::contract::types::{Context, Decision, Inputs, Scope, Verdict, Write};
use super::deadline::{Busy, Deadline};
use super::imports::log::Share;
use super::plugin::Plugin;
use super::state::State;
use crate::memory::Held;
use crate::model::{joined, plain, plain_lines};

/// What a plugin can make the host copy in one direction of one call, in bytes. A batch is at most
/// `chain::relabel::BATCH_BYTES` of labels; edited and lifted those are 0.5 MiB of text and, at the shortest
/// labels there are, 3 MiB of records, so this leaves room to add labels.
const HOSTCALL_FUEL: usize = 8 << 20;
/// Handles of the component model one instance may hold; see also `wasi::MAX_HANDLES`.
const MAX_HANDLES: usize = 1024;
/// An instance is replaced after so many calls: bounds what a slow leak or a plugin's own bookkeeping adds up to.
const MAX_CALLS: u32 = 100_000;
/// And after this time, for the same reason.
const MAX_AGE: Duration = Duration::from_secs(600);
/// Starting and configuring may take so many times what a call may: it may compile hundreds of regular expressions, and happens
/// once per instance.
pub const START: u32 = 20;
/// Longest fault text kept, in bytes: a reason and a few frames.
const MAX_FAULT_LENGTH: usize = 1024;

/// Why a call into a plugin gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text may have lines, which are shown on one.
    #[error("trapped: {}", joined(.0))]
    Trap(String),
    #[error("ran out of the {0:?} of processor time that `sandbox.call_timeout` allows a call")]
    Timeout(Duration),
    #[error(
        "ran out of the {0:?} of processor time in which it must start and take its settings, {START} times \
         `sandbox.call_timeout`"
    )]
    SlowStart(Duration),
    /// The system's doing, not the plugin's.
    #[error("was kept from the processor for too long")]
    HeldUp,
    #[error("wanted more memory than the {0} bytes that `sandbox.memory_limit` allows")]
    Memory(usize),
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
    /// The process holds all it may: the host's fault as well.
    #[error("found no memory: `memory_limit` leaves no room for more plugins")]
    NoMemory,
}

impl Fault {
    /// As it is told, with its lines as lines: for its author, and never for a log.
    pub fn on_lines(&self) -> String {
        match self {
            Self::Trap(text) => format!("trapped: {text}"),
            other => other.to_string(),
        }
    }

    /// For the metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Timeout(_) | Self::SlowStart(_) => "timeout",
            Self::HeldUp => "held_up",
            Self::Memory(_) => "memory",
            Self::WrongLength { .. } => "wrong_length",
            Self::Invalid(_) => "invalid",
            Self::Error(_) => "error",
            Self::NoRoom => "no_room",
            Self::NoMemory => "no_memory",
        }
    }

    /// The plugin has no part in it.
    pub fn is_the_hosts(&self) -> bool {
        matches!(self, Self::NoRoom | Self::NoMemory | Self::HeldUp)
    }

    /// One series may be what leads to it. An answer that is broken as a whole says nothing of any.
    pub fn may_lie_in_a_series(&self) -> bool {
        matches!(
            self,
            Self::Trap(_) | Self::Timeout(_) | Self::SlowStart(_) | Self::Memory(_) | Self::Error(_)
        )
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

/// How an instance is started.
pub struct Start<'a> {
    pub plugin: &'a Plugin,
    pub settings: &'a str,
    pub context: &'a Context<'a>,
    pub share: &'a Arc<Share>,
    /// Bytes.
    pub memory_limit: usize,
    /// Grows with its memory.
    pub held: Held,
    /// For starting and configuring.
    pub allowance: Duration,
    pub slot: Slot,
}

pub struct Instance {
    // Before `slot`, so that the allocator's place is free by the time the slot is.
    guest: Guest,
    functions: Functions,
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
        let state = State::new(
            start.share,
            start.memory_limit,
            start.held,
            Deadline::after(start.allowance),
        );
        let mut store = Store::new(start.plugin.engine(), state);
        store.limiter(|state| &mut state.growth);
        store.set_hostcall_fuel(HOSTCALL_FUEL);
        // Refused by all engines but one that counts.
        let _ = store.set_fuel(u64::MAX);
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|mut store| {
            let deadline = &mut store.data_mut().deadline;
            Ok(match deadline.ticks_left(deadline.spent()) {
                Some(ticks) => UpdateDeadline::Continue(ticks),
                None => {
                    deadline.expired = true;
                    UpdateDeadline::Interrupt
                }
            })
        });
        let mut guest = Guest {
            store,
            calls: 0,
            took: Duration::ZERO,
        };
        let started = guest.guarded(start.allowance, |store| {
            let functions = start.plugin.instantiate(&mut *store)?;
            let configured = functions.configure(store, start.settings, start.context)?;
            Ok((functions, configured))
        });
        let (functions, configured) = started.map_err(|fault| match fault {
            Fault::Timeout(allowance) => Fault::SlowStart(allowance),
            fault => fault,
        })?;
        own_word(configured)?;
        Ok(Self {
            settled: guest.memory(),
            guest,
            functions,
            born: Instant::now(),
            _slot: start.slot,
        })
    }

    /// One verdict per series, in order; their number is for the caller to check.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn relabel(&mut self, asked: &Arguments, allowance: Duration) -> Result<Vec<Verdict>, Fault> {
        own_word(
            self.guest
                .guarded(allowance, |store| self.functions.relabel(store, asked))?,
        )
    }

    /// As [`Instance::relabel`], by the plain export also where the plugin has a packed one.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn relabel_plain(&mut self, asked: &Arguments, allowance: Duration) -> Result<Vec<Verdict>, Fault> {
        own_word(
            self.guest
                .guarded(allowance, |store| self.functions.relabel_plain(store, asked))?,
        )
    }

    /// # Errors
    /// Whatever the plugin did instead.
    pub fn admit(&mut self, write: &Write<'_>, allowance: Duration) -> Result<Decision, Fault> {
        own_word(
            self.guest
                .guarded(allowance, |store| self.functions.admit(store, write))?,
        )
    }

    /// What of a write its decisions depend on: everything if the plugin does not say.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn admission_inputs(&mut self, allowance: Duration) -> Result<Inputs, Fault> {
        self.guest
            .guarded(allowance, |store| self.functions.admission_inputs(store))
    }

    /// What it judges under its settings: everything if the plugin does not say.
    ///
    /// # Errors
    /// Whatever the plugin did instead.
    pub fn judges(&mut self, allowance: Duration) -> Result<Scope, Fault> {
        self.guest.guarded(allowance, |store| self.functions.judges(store))
    }

    /// Whether it has done its share and another one should take over.
    pub fn worn(&self, now: Instant) -> bool {
        let limit = self.guest.store.data().growth.memory_limit;
        self.guest.calls >= MAX_CALLS
            || now.saturating_duration_since(self.born) >= MAX_AGE
            || self.memory().saturating_sub(self.settled) > limit / 4
    }

    /// Linear memory, in bytes.
    pub fn memory(&self) -> usize {
        self.guest.memory()
    }

    /// Instructions of the plugin so far, its start included; `None` on an engine that does not count.
    pub fn instructions(&self) -> Option<u64> {
        Some(u64::MAX - self.guest.store.get_fuel().ok()?)
    }

    /// Processor time of the last call, or of starting.
    pub fn took(&self) -> Duration {
        self.guest.took
    }

    /// What is held for it of the process's memory, in bytes.
    pub fn held(&self) -> u64 {
        self.guest.store.data().growth.held.bytes()
    }
}

/// A store that only guarded code runs in.
struct Guest {
    store: Store<State>,
    calls: u32,
    took: Duration,
}

impl Guest {
    fn memory(&self) -> usize {
        self.store.data().growth.memory
    }

    /// Runs guest code under the deadline.
    fn guarded<R>(
        &mut self,
        allowance: Duration,
        call: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        self.calls += 1;
        let _busy = Busy::begin();
        let deadline = Deadline::after(allowance);
        let state = self.store.data_mut();
        state.deadline = deadline;
        (state.growth.denied, state.growth.failed, state.growth.starved) = (false, false, false);
        state.lines().begin_call();
        self.store
            .set_epoch_deadline(deadline.ticks_left(Duration::ZERO).unwrap_or(1));
        let result = call(&mut self.store);
        self.took = deadline.spent();
        // A straight-line `memory.fill` of many megabytes returns late without ever meeting the epoch.
        let late = deadline.ticks_left(self.took).is_none();
        let state = self.store.data();
        let last_word = state.lines().end_call();
        state.share.meter.called(self.took, state.growth.memory);
        match result {
            _ if late || state.deadline.expired => Err(match deadline.is_used_up(self.took) {
                true => Fault::Timeout(allowance),
                false => Fault::HeldUp,
            }),
            Ok(value) => Ok(value),
            Err(_) if state.growth.starved => Err(Fault::NoMemory),
            Err(_) if state.growth.failed => Err(Fault::NoRoom),
            Err(_) if state.growth.denied => Err(Fault::Memory(state.growth.memory_limit)),
            Err(error) if error.is::<PoolConcurrencyLimitError>() => Err(Fault::NoRoom),
            Err(error) => Err(Fault::Trap(trap_text(&error, last_word))),
        }
    }
}

/// What the plugin says itself is a fault of its own, which its instance survives.
fn own_word<T>(said: Result<T, String>) -> Result<T, Fault> {
    said.map_err(|reason| Fault::Error(plain(&reason, MAX_FAULT_LENGTH)))
}

/// The reason first, then where: a deep stack must not push the reason out. A toolchain's panic is a trap that says nothing of
/// itself; what it logged as an error before, does.
fn trap_text(error: &wasmtime::Error, last_word: Option<String>) -> String {
    let mut text = error.root_cause().to_string();
    if let Some(word) = last_word {
        let between = if word.contains('\n') { '\n' } else { ' ' };
        text = format!("{word}{between}({text})");
    }
    for frame in error
        .downcast_ref::<WasmBacktrace>()
        .map_or(&[][..], WasmBacktrace::frames)
    {
        match frame.func_name() {
            Some(name) => text.extend([", in ", name]),
            None => text.push_str(&format!(", in function {}", frame.func_index())),
        }
    }
    plain_lines(&text, MAX_FAULT_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_told_with_the_error_that_was_logged_before_it() {
        let trap = wasmtime::Error::from(wasmtime::Trap::UnreachableCodeReached);
        let without = trap_text(&trap, None);
        assert!(without.starts_with("wasm trap: wasm `unreachable`"), "{without}");
        let with = trap_text(&trap, Some("panicked at src/lib.rs:7:5: no such team".to_owned()));
        assert_eq!(with, format!("panicked at src/lib.rs:7:5: no such team ({without})"));
        // What is logged is one line, whatever a plugin writes.
        let stack = trap_text(&trap, Some("no such team\n  at relabel\n  at call".to_owned()));
        assert_eq!(stack, format!("no such team\n  at relabel\n  at call\n({without})"));
        let fault = Fault::Trap(stack);
        let told = format!("trapped: no such team\\n  at relabel\\n  at call\\n({without})");
        assert_eq!(fault.to_string(), told);
        assert_eq!(fault.on_lines(), told.replace("\\n", "\n"));
    }
}
