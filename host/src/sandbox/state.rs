//! What the host keeps beside one instance: what it may still take, until when, and what its imports work on.
//!
//! Takes the policy's share of the log, its limits and what is held of the process's memory; gives the data of the instance's store, which the engine's linker
//! and every import are made for. Never calls the plugin.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::ResourceLimiter;

use super::contract::log;
use super::deadline::Deadline;
use super::imports::log::{Lines, Share};
use super::imports::wasi::Wasi;
use crate::memory::Held;

/// Core instances of one component. Python's has 38.
pub const MAX_CORE_INSTANCES: usize = 64;
/// Linear memories of one component. Python's has 3.
pub const MAX_MEMORIES: usize = 4;
/// Tables of one component. Python's has 3.
pub const MAX_TABLES: usize = 6;
/// Elements of one table. Python's has nearly 8000.
pub const MAX_TABLE_ELEMENTS: usize = 10_000;

/// What the host keeps beside one instance.
pub struct State {
    wasi: Wasi,
    lines: Arc<Mutex<Lines>>,
    pub share: Arc<Share>,
    pub growth: Growth,
    pub deadline: Deadline,
}

impl State {
    pub fn new(share: &Arc<Share>, memory_limit: usize, held: Held, deadline: Deadline) -> Self {
        let lines = Arc::new(Mutex::new(Lines::new(share.clone())));
        Self {
            wasi: Wasi::new(&lines),
            lines,
            share: Arc::clone(share),
            growth: Growth {
                memory: 0,
                table_elements: 0,
                memory_limit,
                held,
                denied: false,
                failed: false,
                starved: false,
            },
            deadline,
        }
    }

    pub fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsMut<Wasi> for State {
    fn as_mut(&mut self) -> &mut Wasi {
        &mut self.wasi
    }
}

/// What one instance has taken, and may take.
pub struct Growth {
    /// Of all its linear memories together, in bytes.
    pub memory: usize,
    table_elements: usize,
    /// In bytes.
    pub memory_limit: usize,
    /// Of the process's own limit: what is [`counted`].
    pub held: Held,
    /// Set where it was refused more.
    pub denied: bool,
    /// Set where the system had no more to give, which is nobody's fault here.
    pub failed: bool,
    /// Set where the process's limit had no more to give, which is not the instance's fault either.
    pub starved: bool,
}

/// How much of the process's memory is held for so many bytes of an instance's. Toolchains give a plugin a stack of 1 MiB,
/// which is not touched: a standard plugin has 1.1 MiB and takes 55 kB, of 1000 that wait. So of what is small a quarter
/// counts; what is large is somebody's own wish. Many that are small and touch all of it are seen as the process grows.
fn counted(bytes: usize) -> u64 {
    const SMALL: usize = 2 << 20;
    (bytes.min(SMALL) / 4 + bytes.saturating_sub(SMALL)) as u64
}

impl ResourceLimiter for Growth {
    /// All memories of the instance together.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit {
            self.denied = true;
            return Ok(false);
        }
        if let Err(full) = self.held.grow(counted(total).saturating_sub(self.held.bytes())) {
            self.starved = true;
            // A trap, and not an answer that a plugin could go on with: what it said then would depend on others.
            return Err(full.into());
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

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed = true;
        Ok(())
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.failed = true;
        Ok(())
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
        self.lines().write(level, &message);
    }
}
