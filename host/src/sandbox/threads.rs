//! The threads that run plugins, and whatever else is too much for the threads that serve connections.
//!
//! Takes jobs from any task, runs them step by step on a few operating system threads in the order that is fair
//! between tenants (`queue`), by what all their jobs took together. Plugins block their thread until they return or are
//! stopped, so they are never run on the threads that serve connections. Work on bodies is done there as long as it is
//! light and the tenant's turn (`turn`). The threads end with the engine that owns them.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::deadline::thread_time;
use super::instance::Instance;
use super::queue::{Capacity, Fair, Full, Rank};
use super::warm::Warm;
use crate::model::TenantId;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::TenantLabels;
use crate::turn;

/// Waiting jobs of one tenant: half of all. Each belongs to a request in flight, of which a tenant may have as many as it
/// is configured to have, so this is rarely what refuses.
const WAITING_PER_TENANT: usize = WAITING / 2;
/// Waiting jobs of all tenants: at 50 us each, a fifth of a second of work.
const WAITING: usize = 4096;
/// Below the threads that serve connections: a tenant's plugin, or its floods, must not slow another tenant's writes
/// that need neither.
const NICE: i32 = 5;
/// How often an idle thread looks for instances that nobody needs any more.
const SWEEP: Duration = Duration::from_secs(1);

/// How often what a tenant's steps took of late counts for half as much.
const FADE: Duration = Duration::from_secs(1);

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

/// Work on a body, in steps.
pub trait Work: Send + 'static {
    type Done: Send + 'static;

    /// Where it waits among the tenant's other work.
    const RANK: Rank = Rank::Begins;

    /// All of it that is light, or one step of what is not. None if there is more to do.
    fn go_on(&mut self, effort: Effort) -> Option<Self::Done>;
}

/// How much may be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What an I/O thread can spare.
    Light,
    Full,
}

/// Work of one step, at the end of a request.
pub struct Once<F> {
    is_light: bool,
    work: Option<F>,
}

impl<F> Once<F> {
    pub fn new(is_light: bool, work: F) -> Self {
        Self {
            is_light,
            work: Some(work),
        }
    }
}

impl<T: Send + 'static, F: FnOnce() -> T + Send + 'static> Work for Once<F> {
    type Done = T;

    const RANK: Rank = Rank::GoesOn;

    fn go_on(&mut self, effort: Effort) -> Option<T> {
        match effort {
            Effort::Light if !self.is_light => None,
            _ => self.work.take().map(|work| work()),
        }
    }
}

/// Why work was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    #[error("too much work waits for a processor")]
    Full,
    /// A bug: it panicked.
    #[error("the work on a write was lost")]
    Lost,
}

pub struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<Queue>,
    ready: Condvar,
    metrics: Arc<Metrics>,
}

struct Queue {
    fair: Fair<Box<dyn Job>>,
    faded: Instant,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn count(&self, tenant: &TenantId, took: Duration) {
        let labels = TenantLabels {
            tenant: tenant.to_string(),
        };
        let counter = self.metrics.work_seconds.get_or_create(&labels);
        counter.inc_by(took.as_secs_f64());
    }
}

impl Queue {
    fn fade(&mut self) {
        if self.faded.elapsed() >= FADE {
            self.faded = Instant::now();
            self.fair.fade();
        }
    }
}

impl Threads {
    /// How many run jobs of one tenant at most: as many as there are processors, and as may be in long calls.
    pub fn of_one_tenant(long_calls: usize) -> usize {
        std::thread::available_parallelism()
            .map_or(1, usize::from)
            .max(long_calls)
    }

    /// How many there are: one more, so that nobody waits for the end of another tenant's long calls.
    pub fn count(long_calls: usize) -> usize {
        Self::of_one_tenant(long_calls) + 1
    }

    /// Threads of which at most `long_calls` are in long steps at a time.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(long_calls: usize, warm: &Arc<Warm<Instance>>, metrics: &Arc<Metrics>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(Queue {
                fair: Fair::new(Capacity {
                    waiting_per_tenant: WAITING_PER_TENANT,
                    waiting: WAITING,
                    // One tenant alone never holds every thread, nor do all whose steps are long: a plugin in an
                    // endless loop would stop all others until its deadline.
                    running_per_tenant: Self::of_one_tenant(long_calls),
                    // Enough that no thread waits for a reactor.
                    begun_per_tenant: 2 * Self::of_one_tenant(long_calls),
                    running_long: long_calls.max(1),
                }),
                faded: Instant::now(),
                closed: false,
            }),
            ready: Condvar::new(),
            metrics: Arc::clone(metrics),
        });
        let mut started = Self {
            shared: shared.clone(),
            handles: Vec::new(),
        };
        for n in 0..Self::count(long_calls) {
            let (shared, warm) = (shared.clone(), warm.clone());
            let thread = std::thread::Builder::new().name(format!("plugin-{n}"));
            started.handles.push(thread.spawn(move || run(&shared, &warm))?);
        }
        Ok(started)
    }

    /// # Errors
    /// If too much is waiting already.
    pub fn submit(&self, tenant: &TenantId, rank: Rank, job: Box<dyn Job>) -> Result<(), Full> {
        let pushed = self.shared.lock().fair.push(tenant, rank, job);
        self.shared.ready.notify_one();
        pushed
    }

    /// Does work for a tenant: here if it is light and the tenant's turn, else on these threads. Dropping the future
    /// gives it up.
    ///
    /// # Errors
    /// See [`Undone`].
    pub async fn work<W: Work>(&self, tenant: &TenantId, mut work: W) -> Result<W::Done, Undone> {
        if let Some(done) = turn::take(tenant, || work.go_on(Effort::Light)) {
            return Ok(done);
        }
        let given = Arc::new(Mutex::new(Some(work)));
        let _given_up = GivenUp(Arc::clone(&given));
        let (reply, done) = oneshot::channel();
        let piece = Piece {
            given,
            reply: Some(reply),
            tenant: tenant.clone(),
            shared: Arc::downgrade(&self.shared),
        };
        self.submit(tenant, W::RANK, Box::new(piece))
            .map_err(|Full| Undone::Full)?;
        let (done, _fetched) = done.await.map_err(|_| Undone::Lost)?;
        Ok(done)
    }
}

/// Work that waits or runs.
struct Piece<W: Work> {
    given: Arc<Mutex<Option<W>>>,
    reply: Option<oneshot::Sender<(W::Done, ToFetch)>>,
    tenant: TenantId,
    shared: Weak<Shared>,
}

impl<W: Work> Job for Piece<W> {
    fn step(&mut self) -> Step {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.reply.as_ref().is_some_and(|reply| !reply.is_closed());
        let Some(work) = given.as_mut().filter(|_| wanted) else {
            return Step::Done;
        };
        let Some(done) = work.go_on(Effort::Full) else {
            drop(given);
            return self.unless_given_up();
        };
        *given = None;
        drop(given);
        if let Some(reply) = self.reply.take() {
            // The request may have gone in this moment, which is its right.
            let _ = reply.send((done, ToFetch::new(&self.tenant, &self.shared)));
        }
        Step::Done
    }
}

impl<W: Work> Piece<W> {
    /// Who gave the work up while it ran could not take it back.
    fn unless_given_up(&self) -> Step {
        if self.reply.as_ref().is_some_and(|reply| !reply.is_closed()) {
            return Step::Again;
        }
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Step::Done
    }
}

/// Something was done for a tenant, which is fetched when this is dropped.
struct ToFetch {
    tenant: TenantId,
    shared: Weak<Shared>,
}

impl ToFetch {
    fn new(tenant: &TenantId, shared: &Weak<Shared>) -> Self {
        if let Some(shared) = shared.upgrade() {
            shared.lock().fair.done(tenant);
        }
        Self {
            tenant: tenant.clone(),
            shared: Weak::clone(shared),
        }
    }
}

impl Drop for ToFetch {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            let mut queue = shared.lock();
            queue.fair.fetched(&self.tenant);
            if queue.fair.waiting() > 0 {
                shared.ready.notify_one();
            }
        }
    }
}

/// Takes work back that nobody waits for any more, with the memory it holds: a sender that is gone holds no permit for
/// it. What runs just then ends with its step.
struct GivenUp<W>(Arc<Mutex<Option<W>>>);

impl<W> Drop for GivenUp<W> {
    fn drop(&mut self) {
        if let Ok(mut given) = self.0.try_lock() {
            *given = None;
        }
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
        queue.fade();
        let Some((started, mut job)) = queue.fair.pop() else {
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
        shared.count(&started.tenant, took);
        queue = shared.lock();
        if let Some(job) = job {
            queue.fair.put_back(&started, job);
        }
        queue.fair.finish(&started, took);
        if queue.fair.waiting() > 1 {
            // What this tenant's share kept from running may run now. One piece is for this thread itself: to wake
            // another for it would send every job of several steps back and forth between the two.
            shared.ready.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
