//! The threads that run plugins.
//!
//! Takes jobs from any task, runs them step by step on a few operating system threads in the order that is fair
//! between tenants (`queue`). Plugins block their thread until they return or are stopped, so they are never run
//! on the threads that serve connections. The threads end with the engine that owns them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::deadline::thread_time;
use super::instance::Instance;
use super::queue::{Capacity, Fair, Full};
use super::warm::Warm;
use crate::model::TenantId;

/// Waiting jobs of one tenant. Each belongs to a request in flight, so this is rarely what refuses.
const WAITING_PER_TENANT: usize = 256;
/// Waiting jobs of all tenants: at 50 us each, a fifth of a second of work.
const WAITING: usize = 4096;
/// Below the threads that serve connections: a tenant's plugin must not slow another tenant's writes that need
/// none.
const NICE: i32 = 5;
/// How often an idle thread looks for instances that nobody needs any more.
const SWEEP: Duration = Duration::from_secs(1);

/// Work on a plugin thread, in steps of at most a few plugin calls each.
pub trait Job: Send {
    fn step(&mut self) -> Step;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// There is more to do; others may go first.
    Again,
    Done,
}

pub struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<Queue>,
    ready: Condvar,
}

struct Queue {
    fair: Fair<Box<dyn Job>>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Threads {
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(threads: usize, warm: &Arc<Warm<Instance>>) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            state: Mutex::new(Queue {
                fair: Fair::new(Capacity {
                    waiting_per_tenant: WAITING_PER_TENANT,
                    waiting: WAITING,
                    // One tenant alone never holds every thread: a plugin in an endless loop would stop all others
                    // until its deadline.
                    running_per_tenant: (threads - 1).max(1),
                }),
                closed: false,
            }),
            ready: Condvar::new(),
        });
        let mut started = Self {
            shared: shared.clone(),
            handles: Vec::new(),
        };
        for n in 0..threads {
            let (shared, warm) = (shared.clone(), warm.clone());
            let thread = std::thread::Builder::new().name(format!("plugin-{n}"));
            started.handles.push(thread.spawn(move || run(&shared, &warm))?);
        }
        Ok(started)
    }

    /// # Errors
    /// If too much is waiting already.
    pub fn submit(&self, tenant: &TenantId, job: Box<dyn Job>) -> Result<(), Full> {
        let pushed = self.shared.lock().fair.push(tenant, job);
        self.shared.ready.notify_one();
        pushed
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.ready.notify_all();
        let own = std::thread::current().id();
        for handle in self.handles.drain(..) {
            // The last user of the engine may be a job, which would wait for itself here.
            if handle.thread().id() != own {
                let _ = handle.join();
            }
        }
    }
}

fn run(shared: &Shared, warm: &Warm<Instance>) {
    // Not being allowed to be nice is no reason not to run.
    let _ = rustix::process::setpriority_process(None, NICE);
    // wasmtime-wasi runs its calls on the runtime it finds, and would start one with threads of its own otherwise.
    // Without drivers: nothing that is linked waits for time or for a socket.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let _entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
    let mut swept = Instant::now();
    let mut queue = shared.lock();
    while !queue.closed {
        let Some((tenant, mut job)) = queue.fair.pop() else {
            let (waited, _) = shared
                .ready
                .wait_timeout(queue, SWEEP)
                .unwrap_or_else(PoisonError::into_inner);
            queue = waited;
            if swept.elapsed() >= SWEEP {
                drop(queue);
                swept = Instant::now();
                warm.sweep(swept);
                queue = shared.lock();
            }
            continue;
        };
        drop(queue);
        let began = thread_time();
        // A panic is a bug of the host's; it costs the job (whose caller sees that it is gone), not the thread.
        let step = std::panic::catch_unwind(AssertUnwindSafe(|| job.step())).unwrap_or(Step::Done);
        let job = match step {
            Step::Again => Some(job),
            Step::Done => {
                drop(job);
                None
            }
        };
        let took = thread_time().saturating_sub(began);
        queue = shared.lock();
        if let Some(job) = job {
            queue.fair.put_back(&tenant, job);
        }
        queue.fair.finish(&tenant, took);
        if queue.fair.waiting() > 1 {
            // What this tenant's share kept from running may run now. One piece is for this thread itself: to wake
            // another for it would send every job of several steps back and forth between the two.
            shared.ready.notify_one();
        }
    }
}
