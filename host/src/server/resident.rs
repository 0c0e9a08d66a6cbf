//! What the process takes beside what is accounted.
//!
//! Takes what the system counts, again and again; makes the account's limit smaller by what is too much, once freed memory
//! was given back, and tells operators when memory is refused. On a thread of its own, because what it guards against
//! keeps all others busy. Never refuses anything itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::memory::system::{Bound, Resident};
use crate::memory::{ACCOUNTED_PERCENT, Kind, Memory, allocator};
use crate::telemetry::metrics::signed;
use crate::telemetry::{Metrics, Throttle};

/// In which time a flood can take some hundred megabytes.
const EVERY: Duration = Duration::from_millis(200);
/// A control group's bound may be changed while the process runs, and what was freed after the last flood stays until somebody
/// asks for it.
const SELDOM: u32 = 50;
/// Percent of a group's bound that may be in use: the rest is for what comes until the next look.
const USABLE_PERCENT: u64 = 95;
/// One line in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Looks until it is dropped.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

struct Look {
    memory: Arc<Memory>,
    metrics: Arc<Metrics>,
    bound: Option<Bound>,
    refusals: u64,
    told: Throttle,
}

/// What the system counts, in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    /// Of the process, what cannot be dropped.
    process: u64,
    /// In use in the group that bounds it, and what it may have.
    group: Option<(u64, u64)>,
}

impl Watch {
    pub(super) fn start(memory: &Arc<Memory>, metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut look = Look::new(memory, metrics);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
            for round in 0_u32.. {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                if round % SELDOM == 0 {
                    look.bound = Bound::read();
                    allocator::give_back(false);
                }
                look.once();
                std::thread::park_timeout(EVERY);
            }
        })?;
        let thread = Some(thread);
        Ok(Self { thread, stop })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Look {
    fn new(memory: &Arc<Memory>, metrics: &Arc<Metrics>) -> Self {
        Self {
            memory: Arc::clone(memory),
            metrics: Arc::clone(metrics),
            bound: None,
            refusals: 0,
            told: Throttle::new(1, TELL_EVERY),
        }
    }

    fn once(&mut self) {
        let mut beside = self.beside();
        // From half of it on: what is given back in time makes nobody give way.
        if beside.is_much() {
            allocator::give_back(beside.excess() > 0);
            beside = self.beside();
        }
        let excess = beside.excess();
        self.memory.set_excess(excess);
        self.metrics.memory_excess.set(signed(excess));
        self.tell(excess);
    }

    fn beside(&self) -> Beside {
        let counted = self.count();
        Beside::of(
            self.memory.limit(),
            self.memory.total(),
            self.memory.held(Kind::Compiling),
            counted,
        )
    }

    fn tell(&mut self, excess: u64) {
        let refusals = self.memory.refusals();
        let refused = refusals.saturating_sub(std::mem::replace(&mut self.refusals, refusals));
        if refused > 0 && self.told.due(Instant::now()).is_some() {
            tracing::warn!(
                memory_limit = self.memory.limit(),
                held = self.memory.total(),
                excess,
                refused,
                "memory_limit is reached: writes are answered 503, or plugins not started, until memory is given back; \
                 gauntlet_memory_bytes says what it is held for"
            );
        }
    }

    fn count(&self) -> Counted {
        let resident = Resident::read();
        let group = self.bound.as_ref().and_then(|bound| {
            let in_use = bound.group.as_ref()?.in_use()?;
            Some((in_use, bound.bytes))
        });
        self.metrics
            .memory_resident
            .set(signed(resident.map_or(0, |resident| resident.total)));
        self.metrics
            .memory_group
            .set(signed(group.map_or(0, |(in_use, _)| in_use)));
        Counted {
            process: resident.map_or(0, |resident| resident.anonymous),
            group,
        }
    }
}

/// What is taken beside what is held, and how much that may be: of the process, and of its group.
#[derive(Debug, Clone, Copy)]
struct Beside {
    process: Taken,
    group: Option<Taken>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    bytes: u64,
    allowed: u64,
}

impl Beside {
    /// The child that compiles is held for and is another process of the group.
    fn of(limit: u64, held: u64, child: u64, counted: Counted) -> Self {
        // A limit above the bound is itself too much.
        let taken = |in_use: u64, held, bound: u64| Taken {
            bytes: in_use.saturating_sub(held) + limit.saturating_sub(bound),
            allowed: bound.saturating_sub(limit),
        };
        let process = limit / ACCOUNTED_PERCENT * 100;
        Self {
            process: taken(counted.process, held.saturating_sub(child), process),
            group: counted
                .group
                .map(|(in_use, bound)| taken(in_use, held, bound / 100 * USABLE_PERCENT)),
        }
    }

    fn is_much(&self) -> bool {
        [Some(self.process), self.group]
            .iter()
            .flatten()
            .any(|taken| taken.bytes > taken.allowed / 2)
    }

    fn excess(&self) -> u64 {
        let over = |taken: &Taken| taken.bytes.saturating_sub(taken.allowed);
        [Some(self.process), self.group]
            .iter()
            .flatten()
            .map(over)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    /// Of a pod of 1000 MiB.
    const LIMIT: u64 = 800 * MIB;

    fn excess(held: u64, child: u64, process: u64, group: Option<u64>) -> u64 {
        let counted = Counted {
            process: process * MIB,
            group: group.map(|in_use| (in_use * MIB, 1000 * MIB)),
        };
        Beside::of(LIMIT, held * MIB, child * MIB, counted).excess() / MIB
    }

    #[test]
    fn a_quarter_of_the_limit_may_be_taken_beside_the_account() {
        assert_eq!(excess(0, 0, 200, None), 0);
        assert_eq!(excess(0, 0, 210, None), 10);
        assert_eq!(excess(500, 0, 700, None), 0);
        assert_eq!(excess(500, 0, 701, None), 1);
        // Memory that is held and was never touched.
        assert_eq!(excess(700, 0, 100, None), 0);
    }

    #[test]
    fn a_child_counts_for_the_group_and_not_for_the_process() {
        assert_eq!(excess(300, 300, 200, Some(450)), 0);
        assert_eq!(excess(300, 300, 201, Some(450)), 1);
        assert_eq!(excess(300, 300, 100, Some(451)), 1);
        // Of the group a twentieth stays free.
        assert_eq!(excess(0, 0, 0, Some(150)), 0);
    }

    #[test]
    fn a_limit_above_what_the_group_allows_is_no_reason_to_be_killed() {
        let counted = Counted {
            process: 0,
            group: Some((100 * MIB, 500 * MIB)),
        };
        let beside = Beside::of(LIMIT, 0, 0, counted);
        assert_eq!(beside.excess() / MIB, 100 + 800 - 475);
    }

    #[test]
    fn what_is_taken_no_more_makes_the_limit_whole_again() {
        // More than what all tests of this process take together.
        const ROOMY: u64 = 1 << 40;
        let metrics = Arc::new(Metrics::new());
        let memory = Memory::new(ROOMY, Arc::clone(&metrics));
        let mut look = Look::new(&memory, &metrics);
        memory.set_excess(ROOMY);
        assert_eq!(memory.room(Kind::Bodies), 0);
        look.once();
        assert!(memory.room(Kind::Bodies) > 0 && metrics.memory_resident.get() > 0);
    }
}
