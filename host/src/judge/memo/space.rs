//! The memory of one memo.
//!
//! Takes what is about to be allocated, draws it from the process' account in steps, or says whose bound is met. Never
//! waits and never asks others to give way: it is called under the memo's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memory::Held;

/// Drawn ahead, so that the account of the process is asked seldom: a sixteenth of what is held, within these.
const SMALLEST_STEP: u64 = 2 << 10;
const LARGEST_STEP: u64 = 256 << 10;

pub(super) struct Stock {
    held: Held,
    used: u64,
    /// What is held, for those who must not wait for the lock.
    size: Arc<AtomicU64>,
}

/// There is no memory for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    pub wanted: usize,
    pub bound: ShortOf,
    /// The shard that would have to grow.
    pub full: Option<usize>,
}

/// Whose bound is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShortOf {
    Tenant,
    AllMemos,
}

impl Stock {
    pub fn new(held: Held, size: Arc<AtomicU64>) -> Self {
        Self { held, used: 0, size }
    }

    /// What is allocated.
    pub fn used(&self) -> usize {
        self.used as usize
    }

    /// Has room for `more` bytes, of `most` in all.
    pub fn ready(&mut self, more: usize, most: usize) -> Result<(), Short> {
        let short = |bound| Short {
            wanted: more,
            bound,
            full: None,
        };
        let needed = self.used + more as u64;
        if needed > most as u64 {
            return Err(short(ShortOf::Tenant));
        }
        let lacking = needed.saturating_sub(self.held.bytes());
        if lacking > 0 {
            let drawn = self.held.grow(lacking.max(self.step()));
            drawn
                .or_else(|_| self.held.grow(lacking))
                .map_err(|_| short(ShortOf::AllMemos))?;
            self.show();
        }
        Ok(())
    }

    /// Takes `more` bytes, which are about to be allocated, of `most` in all.
    pub fn take(&mut self, more: usize, most: usize) -> Result<(), Short> {
        self.ready(more, most)?;
        self.used += more as u64;
        Ok(())
    }

    /// What was `before` is `now`. What that frees is held on.
    pub fn changed(&mut self, before: usize, now: usize) {
        self.used = (self.used + now as u64).saturating_sub(before as u64);
    }

    /// Holds no more than what is used, and a step.
    pub fn trim(&mut self) {
        let spare = self.held.bytes().saturating_sub(self.used);
        if spare > 2 * self.step() {
            self.held.shrink(spare - self.step());
            self.show();
        }
    }

    /// Parts with all that is not used.
    pub fn part(&mut self) -> Held {
        let spare = self.held.bytes().saturating_sub(self.used);
        let parted = self.held.split(spare);
        self.show();
        parted
    }

    /// Has, besides its own, what others gave.
    pub fn join(&mut self, mut given: Held) {
        self.held.absorb(&mut given);
        self.show();
    }

    fn step(&self) -> u64 {
        (self.used / 16).clamp(SMALLEST_STEP, LARGEST_STEP)
    }

    fn show(&self) {
        self.size.store(self.held.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Stock {
    /// Asserts what holds whenever nothing is being allocated, but for the 104 bytes of an empty memo.
    pub fn check(&self) {
        assert!(
            self.held.bytes() + 104 >= self.used,
            "{} of {}",
            self.used,
            self.held.bytes()
        );
        assert_eq!(self.size.load(Ordering::Relaxed), self.held.bytes());
    }
}
