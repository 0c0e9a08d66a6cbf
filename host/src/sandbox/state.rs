//! What the host keeps beside one instance: what it may still take, until when, and what its imports work on.
//!
//! Takes the policy's share of the log and its limits; gives the data of the instance's store, which the engine's linker
//! and every import are made for. Never calls the plugin.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::ResourceLimiter;

use super::contract::log;
use super::deadline::Deadline;
use super::imports::log::{Lines, Share};
use super::imports::wasi::Wasi;

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
    pub growth: Growth,
    pub deadline: Deadline,
}

impl State {
    pub fn new(share: &Arc<Share>, memory_limit: usize, deadline: Deadline) -> Self {
        let lines = Arc::new(Mutex::new(Lines::new(share.clone())));
        Self {
            wasi: Wasi::new(&lines),
            lines,
            growth: Growth {
                memory: 0,
                table_elements: 0,
                memory_limit,
                denied: false,
                failed: false,
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
    /// Set where it was refused more.
    pub denied: bool,
    /// Set where the system had no more to give, which is nobody's fault here.
    pub failed: bool,
}

impl ResourceLimiter for Growth {
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
