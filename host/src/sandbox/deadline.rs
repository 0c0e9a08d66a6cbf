//! How long a plugin may run, and how it is stopped.
//!
//! Takes an allowance, gives whether it is used up. The allowance is processor time of the plugin's own thread:
//! on a machine with too much to do, a plugin is not blamed for the time others took. Wall time counts too, at
//! [`WALL`] times the allowance, so that a call ends even where the processor is not what it uses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Wall time per allowance of processor time. Nothing a plugin can call waits, so this ends only what the system
/// itself holds up (a machine that swaps). Four was too little: on two processors with ten busy processes, a call
/// of 1 ms was kept off the processor for more than 200 ms.
const WALL: u32 = 40;
/// One tick of an engine's epoch. There are none while no plugin runs: two hundred wake-ups a second for nobody cost as
/// much as 4,000 samples.
pub const TICK: Duration = Duration::from_millis(1);

static RUNNING: AtomicUsize = AtomicUsize::new(0);
/// Threads that sleep until a plugin runs.
static ASLEEP: Mutex<Vec<Thread>> = Mutex::new(Vec::new());

/// A plugin's code may be running. Whoever runs it holds one.
#[derive(Debug)]
pub struct Busy(());

impl Busy {
    pub fn begin() -> Self {
        // Whoever goes to sleep is in the list before it looks at the number, and the number is raised before the list
        // is looked at: one of the two sees the other.
        if RUNNING.fetch_add(1, Ordering::SeqCst) == 0 {
            asleep().iter().for_each(Thread::unpark);
        }
        Self(())
    }

    /// Sleeps for a tick while a plugin runs, else until one does or this thread is unparked. Whether one does.
    pub fn sleep() -> bool {
        if RUNNING.load(Ordering::SeqCst) > 0 {
            thread::sleep(TICK);
            return true;
        }
        let this = thread::current();
        let id = this.id();
        asleep().push(this);
        if RUNNING.load(Ordering::SeqCst) == 0 {
            thread::park();
        }
        asleep().retain(|other| other.id() != id);
        false
    }
}

fn asleep() -> MutexGuard<'static, Vec<Thread>> {
    ASLEEP.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Busy {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// Processor time of this thread.
    began: Duration,
    /// Of processor time.
    allowance: Duration,
    wall: Instant,
    /// Set where the call was stopped.
    pub expired: bool,
}

impl Deadline {
    /// From now on, on this thread.
    pub fn after(allowance: Duration) -> Self {
        Self {
            began: thread_time(),
            allowance,
            wall: Instant::now() + allowance * WALL,
            expired: false,
        }
    }

    /// Processor time since then.
    pub fn spent(&self) -> Duration {
        thread_time().saturating_sub(self.began)
    }

    /// A plugin that `spent` so much had all its processor time. Where it had not and is out of time all the same, the
    /// system held it up.
    pub fn is_used_up(&self, spent: Duration) -> bool {
        spent >= self.allowance
    }

    /// Ticks to wait before looking again at what was `spent`; `None` if the time is up.
    pub fn ticks_left(&self, spent: Duration) -> Option<u64> {
        let processor = self.allowance.checked_sub(spent).filter(|left| !left.is_zero())?;
        let wall = self.wall.checked_duration_since(Instant::now())?;
        let ticks = processor.min(wall).as_millis() / TICK.as_millis();
        Some(u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1))
    }
}

/// Processor time of this thread.
pub fn thread_time() -> Duration {
    // No clock counts below zero; were it so, wall time still ends a call.
    clock_gettime(ClockId::ThreadCPUTime)
        .try_into()
        .unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_the_system_holds_up_has_not_used_its_allowance_up() {
        let (hour, second) = (Duration::from_secs(3600), Duration::from_secs(1));
        let mut deadline = Deadline::after(hour);
        assert!(deadline.spent() < hour && deadline.ticks_left(second).is_some());
        assert!(deadline.ticks_left(hour - TICK).is_some() && !deadline.is_used_up(hour - TICK));
        assert!(deadline.ticks_left(hour).is_none() && deadline.is_used_up(hour));
        deadline.wall = Instant::now();
        assert!(deadline.ticks_left(second).is_none() && !deadline.is_used_up(second));
    }
}
