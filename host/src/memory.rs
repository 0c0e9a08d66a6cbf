//! Memory of the process, as one number on which everything that can grow draws.
//!
//! Takes who wants how much for what, gives it or says that it is full: whoever is refused forgets something or answers
//! 503, before the kernel kills the process. What is held is given back when it is dropped. Never waits, never allocates.
//!
//! Of the limit each kind of use is guaranteed a part, which no other kind can take, and bounded by a larger part; what
//! is guaranteed to nobody goes to whoever asks first. Memos and instances that wait only save time, so they give way to
//! all others down to what they are guaranteed. What the process takes beside what is accounted is read off the system
//! (`system`) and makes the limit smaller where it is too much.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::metrics::counter::Counter;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{MemoryLabels, signed};

pub mod allocator;
pub mod system;
#[cfg(test)]
mod tests;

/// Percent of what the system allows that is accounted, if nothing is configured. The rest is for what is not: the
/// program, its threads and tables (40 MB), sockets' buffers in the kernel, what the allocator keeps of freed memory and
/// loses in rounding (a tenth under load).
pub const ACCOUNTED_PERCENT: u64 = 80;

/// What memory is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sockets' buffers, TLS states, heads of requests.
    Connections,
    /// Request bodies as they came and as decoded, frames, edits, encoded parts.
    Bodies,
    /// What is remembered of series.
    Memos,
    /// Linear memories of instances, machine code.
    Plugins,
    /// The child process that compiles.
    Compiling,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Connections,
        Self::Bodies,
        Self::Memos,
        Self::Plugins,
        Self::Compiling,
    ];

    /// As metrics and errors call it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Bodies => "bodies",
            Self::Memos => "memos",
            Self::Plugins => "plugins",
            Self::Compiling => "compiling",
        }
    }

    /// Percent of the limit that nobody else can take, and that this kind cannot exceed.
    const fn share(self) -> Share {
        let (guaranteed, most) = match self {
            Self::Connections => (10, 25),
            Self::Bodies => (30, 60),
            Self::Memos => (15, 50),
            Self::Plugins => (10, 40),
            Self::Compiling => (0, 50),
        };
        Share { guaranteed, most }
    }
}

struct Share {
    guaranteed: u64,
    most: u64,
}

/// There is no memory for it now. It passes, unless a single thing is larger than its kind may ever be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`memory_limit` leaves no room for more {}", .0.word())]
pub struct Full(pub Kind);

/// How often instances are asked to give way to one thing.
const TRIES: usize = 4;

/// For tools and tests that need no bound.
pub const NO_LIMIT: u64 = u64::MAX / 100;

/// What `kind` is guaranteed of `limit`, in bytes.
pub const fn guaranteed(limit: u64, kind: Kind) -> u64 {
    limit / 100 * kind.share().guaranteed
}

/// How much of `kind` there may ever be under `limit`, in bytes.
pub fn most(limit: u64, kind: Kind) -> u64 {
    let others = Kind::ALL.into_iter().filter(|other| *other != kind);
    let others: u64 = others.map(|other| guaranteed(limit, other)).sum();
    (limit / 100 * kind.share().most).min(limit - others)
}

/// The least limit that guarantees `kind` so many `bytes`.
pub const fn limit_that_guarantees(kind: Kind, bytes: u64) -> u64 {
    bytes.div_ceil(kind.share().guaranteed).saturating_mul(100)
}

type GiveWay = Box<dyn Fn(u64) + Send + Sync>;

/// The account of the process. One per process.
pub struct Memory {
    book: Mutex<Book>,
    memos: OnceLock<GiveWay>,
    waiting_instances: OnceLock<GiveWay>,
    refused: [Counter; Kind::ALL.len()],
    metrics: Arc<Metrics>,
}

#[derive(Debug, Clone, Copy)]
struct Book {
    limit: u64,
    /// What the process takes beside what is held, as far as that is more than it should be.
    excess: u64,
    held: [u64; Kind::ALL.len()],
}

/// Memory that is held for something; given back when it is dropped.
pub struct Held {
    memory: Arc<Memory>,
    kind: Kind,
    bytes: u64,
}

impl Memory {
    /// `limit` is in bytes.
    pub fn new(limit: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.memory_limit.set(signed(limit));
        let refused = |kind: Kind| {
            metrics
                .memory_refused
                .get_or_create(&MemoryLabels { kind: kind.word() })
        };
        Arc::new(Self {
            book: Mutex::new(Book {
                limit,
                excess: 0,
                held: [0; Kind::ALL.len()],
            }),
            memos: OnceLock::new(),
            waiting_instances: OnceLock::new(),
            refused: Kind::ALL.map(refused),
            metrics,
        })
    }

    /// Holds from now on. What is held above a smaller limit is held on.
    pub fn set_limit(&self, limit: u64) {
        self.book().limit = limit;
        self.metrics.memory_limit.set(signed(limit));
    }

    /// How memos give way: called with how many bytes somebody else needs of them, gives as many back before it returns, if
    /// it can. Only the first is kept.
    pub fn give_way_with(&self, memos: GiveWay) {
        let _ = self.memos.set(memos);
    }

    /// How instances that wait for a call give way, as [`Memory::give_way_with`].
    pub fn instances_give_way_with(&self, waiting: GiveWay) {
        let _ = self.waiting_instances.set(waiting);
    }

    /// Holds nothing yet.
    pub fn open(self: &Arc<Self>, kind: Kind) -> Held {
        Held {
            memory: Arc::clone(self),
            kind,
            bytes: 0,
        }
    }

    /// # Errors
    /// If it does not fit.
    pub fn hold(self: &Arc<Self>, kind: Kind, bytes: u64) -> Result<Held, Full> {
        let mut held = self.open(kind);
        held.grow(bytes)?;
        Ok(held)
    }

    pub fn limit(&self) -> u64 {
        self.book().limit
    }

    pub fn held(&self, kind: Kind) -> u64 {
        self.book().held[kind as usize]
    }

    /// What nobody else can take of `kind`, of the limit as far as it is not taken beside the account.
    pub fn guaranteed(&self, kind: Kind) -> u64 {
        self.book().guaranteed(kind)
    }

    /// How much more of `kind` would fit now, memos giving way included.
    pub fn room(&self, kind: Kind) -> u64 {
        self.book().room(kind, true)
    }

    /// All that is held.
    pub fn total(&self) -> u64 {
        self.book().total()
    }

    /// How often memory was refused for other things than memos, which are full when they do their work well.
    pub fn refusals(&self) -> u64 {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Memos);
        kinds.map(|kind| self.refused[kind as usize].get()).sum()
    }

    /// So much of what the process takes is not accounted and too much: it makes the limit smaller until it is told
    /// otherwise. Who gives way does so now.
    pub fn set_excess(&self, bytes: u64) {
        let (over, of_instances) = {
            let mut book = self.book();
            book.excess = bytes;
            let over = book.total().saturating_sub(book.bound());
            (over, over.min(book.above_guaranteed(Kind::Plugins)))
        };
        let before = self.held(Kind::Plugins);
        ask(&self.waiting_instances, of_instances);
        let given = before.saturating_sub(self.held(Kind::Plugins));
        ask(&self.memos, over.saturating_sub(given));
    }

    /// Publishes what is held.
    pub fn publish(&self) {
        let held = self.book().held;
        for kind in Kind::ALL {
            let gauge = self.metrics.memory.get_or_create(&MemoryLabels { kind: kind.word() });
            gauge.set(signed(held[kind as usize]));
        }
    }

    fn take(&self, kind: Kind, bytes: u64) -> Result<(), Full> {
        if self.take_free(kind, bytes) {
            return Ok(());
        }
        // Not under the lock: what is given back is booked. Memos hold locks of their own and make nobody give way.
        if kind != Kind::Memos && (self.take_from_instances(kind, bytes) || self.take_from_memos(kind, bytes)) {
            return Ok(());
        }
        self.refused[kind as usize].inc();
        Err(Full(kind))
    }

    fn take_free(&self, kind: Kind, bytes: u64) -> bool {
        self.book().take(kind, bytes)
    }

    /// Instances that wait go first: they are soon made again. More than once, because somebody else may take what they gave.
    fn take_from_instances(&self, kind: Kind, bytes: u64) -> bool {
        (0..TRIES).any(|_| {
            ask(&self.waiting_instances, self.wanted_of_instances(kind, bytes));
            self.take_free(kind, bytes)
        })
    }

    /// Nothing where it would not fit although all gave way.
    fn wanted_of_instances(&self, kind: Kind, bytes: u64) -> u64 {
        let book = *self.book();
        let most = match kind {
            Kind::Plugins => book.held[kind as usize],
            _ => book.above_guaranteed(Kind::Plugins),
        };
        let mut after = book;
        after.held[Kind::Plugins as usize] -= most;
        match bytes > after.room(kind, true) {
            true => 0,
            false => bytes.saturating_sub(book.room(kind, false)).min(most),
        }
    }

    fn take_from_memos(&self, kind: Kind, bytes: u64) -> bool {
        let wanted = {
            let book = self.book();
            if bytes > book.room(kind, true) {
                return false;
            }
            bytes.saturating_sub(book.room(kind, false))
        };
        ask(&self.memos, wanted);
        self.take_free(kind, bytes)
    }

    fn give_back(&self, kind: Kind, bytes: u64) {
        let held = &mut self.book().held[kind as usize];
        *held = held.saturating_sub(bytes);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For so many bytes, if there is somebody to be asked.
fn ask(who: &OnceLock<GiveWay>, bytes: u64) {
    if let Some(give_way) = who.get().filter(|_| bytes > 0) {
        give_way(bytes);
    }
}

impl Book {
    /// False if it does not fit.
    fn take(&mut self, kind: Kind, bytes: u64) -> bool {
        let fits = bytes <= self.room(kind, false);
        if fits {
            self.held[kind as usize] += bytes;
        }
        fits
    }

    /// How much more of `kind` fits; `memos_give_way` as if memos held no more than they are guaranteed.
    fn room(&self, kind: Kind, memos_give_way: bool) -> u64 {
        let taken = |other: Kind| {
            let guaranteed = self.guaranteed(other);
            match other {
                _ if other == kind => 0,
                Kind::Memos if memos_give_way => guaranteed,
                _ => guaranteed.max(self.held[other as usize]),
            }
        };
        let others: u64 = Kind::ALL.into_iter().map(taken).sum();
        let share = self.bound() / 100 * kind.share().most;
        let most = share.min(self.bound().saturating_sub(others));
        most.saturating_sub(self.held[kind as usize])
    }

    fn bound(&self) -> u64 {
        self.limit.saturating_sub(self.excess)
    }

    fn guaranteed(&self, kind: Kind) -> u64 {
        guaranteed(self.bound(), kind)
    }

    fn above_guaranteed(&self, kind: Kind) -> u64 {
        self.held[kind as usize].saturating_sub(self.guaranteed(kind))
    }

    fn total(&self) -> u64 {
        self.held.iter().sum()
    }
}

impl Held {
    /// Holds `more` bytes on top.
    ///
    /// # Errors
    /// If they do not fit; what was held before is held on.
    pub fn grow(&mut self, more: u64) -> Result<(), Full> {
        if more > 0 {
            self.memory.take(self.kind, more)?;
            self.bytes += more;
        }
        Ok(())
    }

    /// Gives `less` of it back.
    pub fn shrink(&mut self, less: u64) {
        let less = less.min(self.bytes);
        if less > 0 {
            self.memory.give_back(self.kind, less);
            self.bytes -= less;
        }
    }

    /// Parts with `bytes` of it, or with all if it is less.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            memory: Arc::clone(&self.memory),
            kind: self.kind,
            bytes,
        }
    }

    /// Holds what `other` held, which is of the same kind.
    pub fn absorb(&mut self, other: &mut Self) {
        debug_assert_eq!(self.kind, other.kind);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}
