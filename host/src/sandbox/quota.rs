//! How much time and memory compiling one plugin may take, the memory held for as long as it runs.
//!
//! Takes the plugin's size and what the process may hold, gives bounds of processor time and of addresses for the child. What
//! most plugins need is tried first: memos give way to what is held, and would for a plugin that then needs a tenth of it.
//! Waits for room, never beyond the time that compiling may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::memory::{self, Held, Kind, Memory};

/// Of a child's addresses that take no memory of their own: the program's file (35 MB, which the system can drop) and
/// stacks. The standard plugins need 105 to 142 MiB of addresses and 61 to 94 MB of memory, the program's file among it;
/// 200,000 empty functions under 256 MiB took 216.
const NOT_MEMORY: u64 = 40 << 20;
/// Addresses that suffice for every plugin known, with as much again for each byte of the plugin.
const USUAL: u64 = 192 << 20;
const USUAL_PER_BYTE: u64 = 32;
/// A plugin of more bytes has as much processor time again for each so many more. Python's, the largest known, has 18 MB and
/// takes 5 to 9 seconds.
const TIMED_BYTES: usize = 16 << 20;
/// Time by the clock for each second of processor time. Compiling never waits, and with more than one thread takes more than
/// a second of processor time in each by the clock: where this runs out first, others had the processors.
const WALL: u32 = 2;
/// How soon room is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How soon instances are asked again to give way to it.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// There was no room to compile. It passes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be compiled now: `memory_limit` leaves no room for the {0} bytes that it may take")]
pub struct NoRoom(u64);

/// What one compilation may take.
pub struct Quota {
    pub processor: Duration,
    /// By the clock, from when the child is started.
    pub wall: Duration,
    /// Address space, in bytes.
    pub memory: u64,
    /// For the child, until it is gone.
    pub held: Held,
    /// For its machine code, which grows as it is read.
    pub code: Held,
}

/// What all attempts at one plugin may take.
pub struct Quotas {
    memory: Arc<Memory>,
    processor: Duration,
    until: Instant,
    configured: u64,
    /// Of the plugin, in bytes.
    length: usize,
}

impl Quotas {
    /// Of a plugin of `length` bytes. `timeout` is for one of up to [`TIMED_BYTES`]; `configured` is the most addresses that
    /// a child may have, in bytes.
    pub fn new(memory: &Arc<Memory>, timeout: Duration, configured: u64, length: usize) -> Self {
        let parts = u32::try_from(length.div_ceil(TIMED_BYTES).max(1)).unwrap_or(u32::MAX);
        let processor = timeout.saturating_mul(parts);
        Self {
            memory: Arc::clone(memory),
            processor,
            until: Instant::now() + processor,
            configured,
            length,
        }
    }

    /// What most plugins of this size need.
    pub fn usual(&self) -> u64 {
        let usual = USUAL.saturating_add((self.length as u64).saturating_mul(USUAL_PER_BYTE));
        usual.min(self.most())
    }

    /// What any plugin may take: what is configured, or what there could be if nothing else had more than is certain for it.
    pub fn most(&self) -> u64 {
        let room = memory::most(self.memory.limit(), Kind::Compiling);
        self.configured.min(room.saturating_add(NOT_MEMORY))
    }

    /// Whether `memory_limit` is what bounds it.
    pub fn is_bounded_by_limit(&self) -> bool {
        self.most() < self.configured
    }

    /// Waits until there is room for so many bytes of addresses.
    ///
    /// # Errors
    /// If there was none in the time that compiling may take.
    pub async fn wait(&self, memory: u64) -> Result<Quota, NoRoom> {
        let bytes = memory.saturating_sub(NOT_MEMORY);
        let mut ask_at = Instant::now();
        loop {
            let now = Instant::now();
            if now >= ask_at || self.memory.room(Kind::Compiling) >= bytes {
                ask_at = now + ASK_AGAIN;
                if let Ok(held) = self.memory.hold(Kind::Compiling, bytes) {
                    return Ok(self.quota(memory, held));
                }
            }
            if now >= self.until {
                return Err(NoRoom(memory));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn quota(&self, memory: u64, held: Held) -> Quota {
        Quota {
            processor: self.processor,
            wall: self.processor.saturating_mul(WALL),
            memory,
            held,
            code: self.memory.open(Kind::Plugins),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::telemetry::Metrics;

    const GIB: u64 = 1 << 30;
    const MINUTE: Duration = Duration::from_secs(60);

    fn memory(limit: u64) -> Arc<Memory> {
        Memory::new(limit, Arc::new(Metrics::new()))
    }

    fn quotas(memory: &Arc<Memory>, timeout: Duration) -> Quotas {
        Quotas::new(memory, timeout, 2 * GIB, 1 << 20)
    }

    #[test]
    fn a_large_plugin_has_more_time_and_twice_as_much_by_the_clock() {
        let memory = memory(64 * GIB);
        for (length, times) in [(0, 1), (16 << 20, 1), ((16 << 20) + 1, 2), (64 << 20, 4)] {
            let quotas = Quotas::new(&memory, MINUTE, 2 * GIB, length);
            let quota = quotas.quota(GIB, memory.open(Kind::Compiling));
            assert_eq!(
                (quota.processor, quota.wall),
                (times * MINUTE, 2 * times * MINUTE),
                "{length}"
            );
        }
    }

    #[test]
    fn a_child_has_what_is_configured_or_what_the_limit_leaves_and_usually_less() {
        let large = quotas(&memory(64 * GIB), MINUTE);
        assert_eq!((large.most(), large.is_bounded_by_limit()), (2 * GIB, false));
        assert_eq!(large.usual(), (192 + 32) << 20);
        let small = Quotas::new(&memory(GIB), MINUTE, 2 * GIB, 100 << 20);
        assert_eq!(
            (small.most(), small.is_bounded_by_limit()),
            (memory::most(GIB, Kind::Compiling) + NOT_MEMORY, true)
        );
        assert_eq!(small.usual(), small.most());
    }

    #[tokio::test]
    async fn who_waits_is_refused_once() {
        let memory = memory(GIB);
        let quotas = quotas(&memory, MINUTE);
        let _bodies = memory.hold(Kind::Bodies, GIB / 100 * 60).unwrap();
        let waited = tokio::time::timeout(3 * LOOK_AGAIN, quotas.wait(quotas.most())).await;
        assert!(waited.is_err());
        assert_eq!(memory.refusals(), 1);
    }

    #[tokio::test]
    async fn room_is_waited_for_as_long_as_compiling_may_take() {
        let memory = memory(GIB);
        let patient = quotas(&memory, MINUTE);
        let most = patient.most();
        let bodies = memory.hold(Kind::Bodies, GIB / 100 * 60).unwrap();
        let mut waiting = Box::pin(patient.wait(most));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(bodies);
        let quota = waiting.await.unwrap();
        assert_eq!((quota.memory, quota.held.bytes()), (most, most - NOT_MEMORY));
        assert_eq!(memory.held(Kind::Compiling), most - NOT_MEMORY);
        let hasty = quotas(&memory, Duration::ZERO);
        assert_eq!(hasty.wait(most).await.err(), Some(NoRoom(most)));
        drop(quota);
        assert_eq!(memory.held(Kind::Compiling), 0);
    }
}
