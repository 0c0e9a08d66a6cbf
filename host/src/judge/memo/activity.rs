//! How many series are active, of a tenant's or of one budget's, by when they were last seen.
//!
//! Takes minutes in which series were seen, gives how many were within the last twenty. Never knows which.

use std::time::Duration;

/// A series counts as active for this long after it was last sent.
pub const ACTIVE_WINDOW: Duration = Duration::from_secs(WINDOW_TICKS as u64 * TICK_SECONDS);
/// Resolution of "last sent".
pub const TICK_SECONDS: u64 = 60;
pub(super) const WINDOW_TICKS: u16 = 20;
/// Ring of counts by tick; longer than the window so that a slot is empty when it is used again.
const RING: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Window {
    counts: [u32; RING],
    active: u64,
    tick: u16,
}

impl Window {
    /// An empty one that goes with others from this tick on.
    pub fn at(tick: u16) -> Self {
        Self {
            tick,
            ..Self::default()
        }
    }

    /// False if no minute has passed.
    pub fn advance(&mut self, tick: u16) -> bool {
        let passed = tick.wrapping_sub(self.tick);
        // A tick from another thread may be one behind; half the range is "the past".
        if passed == 0 || passed >= u16::MAX / 2 {
            return false;
        }
        for step in 0..passed.min(RING as u16) {
            let leaves = self.tick.wrapping_add(step).wrapping_sub(WINDOW_TICKS - 1);
            self.active -= u64::from(std::mem::take(&mut self.counts[slot(leaves)]));
        }
        self.tick = tick;
        true
    }

    pub fn tick(&self) -> u16 {
        self.tick
    }

    pub fn active(&self) -> u64 {
        self.active
    }

    pub fn age(&self, seen: u16) -> u16 {
        self.tick.wrapping_sub(seen)
    }

    pub fn covers(&self, seen: u16) -> bool {
        self.age(seen) < WINDOW_TICKS
    }

    /// One more is active, seen now.
    pub fn enter(&mut self) {
        self.enter_at(self.tick);
    }

    /// One more is active, last seen then and inside the window.
    pub fn enter_at(&mut self, seen: u16) {
        self.counts[slot(seen)] += 1;
        self.active += 1;
    }

    /// One that was active, last seen then and inside the window, is so no more.
    pub fn leave(&mut self, seen: u16) {
        self.counts[slot(seen)] -= 1;
        self.active -= 1;
    }

    /// One that was last seen then is seen now.
    pub fn see_again(&mut self, seen: u16) {
        self.counts[slot(seen)] -= 1;
        self.counts[slot(self.tick)] += 1;
    }
}

fn slot(tick: u16) -> usize {
    tick as usize % RING
}
