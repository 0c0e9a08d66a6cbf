//! Memory of the process, as one number on which everything that can grow draws.
//!
//! Takes who wants how much for what, gives it or says that it is full: whoever is refused forgets something or answers
//! 503, before the kernel kills the process. What is held is given back when it is dropped. Never waits, never allocates.
//!
//! Of the limit each kind of use is guaranteed a part, which no other kind can take, and bounded by a larger part; what
//! is guaranteed to nobody goes to whoever asks first. Memos alone only save time, so they give way to all others down to
//! what they are guaranteed.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::telemetry::Metrics;
use crate::telemetry::metrics::MemoryLabels;

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
#[error("the memory limit leaves no room for more {}", .0.word())]
pub struct Full(pub Kind);

/// What `kind` is guaranteed of `limit`, in bytes.
pub const fn guaranteed(limit: u64, kind: Kind) -> u64 {
    limit / 100 * kind.share().guaranteed
}

type GiveWay = Box<dyn Fn(u64) + Send + Sync>;

/// The account of the process. One per process.
pub struct Memory {
    book: Mutex<Book>,
    memos: OnceLock<GiveWay>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Book {
    limit: u64,
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
        Arc::new(Self {
            book: Mutex::new(Book {
                limit,
                held: [0; Kind::ALL.len()],
            }),
            memos: OnceLock::new(),
            metrics,
        })
    }

    /// How memos give way: called with how many bytes somebody else needs of them, gives as many back before it returns, if
    /// it can. Only the first is kept.
    pub fn give_way_with(&self, memos: GiveWay) {
        let _ = self.memos.set(memos);
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

    /// What nobody else can take of `kind`.
    pub fn guaranteed(&self, kind: Kind) -> u64 {
        self.limit() / 100 * kind.share().guaranteed
    }

    /// How much more of `kind` would fit now, memos giving way included.
    pub fn room(&self, kind: Kind) -> u64 {
        self.book().room(kind, true)
    }

    /// Publishes what is held.
    pub fn publish(&self) {
        let held = self.book().held;
        for kind in Kind::ALL {
            let gauge = self
                .metrics
                .memory
                .get_or_create_owned(&MemoryLabels { kind: kind.word() });
            gauge.set(signed(held[kind as usize]));
        }
    }

    fn take(&self, kind: Kind, bytes: u64) -> Result<(), Full> {
        let wanted = {
            let mut book = self.book();
            if bytes <= book.room(kind, false) {
                book.held[kind as usize] += bytes;
                return Ok(());
            }
            if bytes > book.room(kind, true) {
                return Err(Full(kind));
            }
            bytes - book.room(kind, false)
        };
        // Not under the lock: what memos give back is booked.
        if let Some(give_way) = self.memos.get() {
            give_way(wanted);
        }
        let mut book = self.book();
        if bytes > book.room(kind, false) {
            return Err(Full(kind));
        }
        book.held[kind as usize] += bytes;
        Ok(())
    }

    fn give_back(&self, kind: Kind, bytes: u64) {
        let held = &mut self.book().held[kind as usize];
        *held = held.saturating_sub(bytes);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// How much more of `kind` fits; `memos_give_way` as if memos held no more than they are guaranteed.
    fn room(&self, kind: Kind, memos_give_way: bool) -> u64 {
        let part = |percent: u64| self.limit / 100 * percent;
        let taken = |other: Kind| {
            let guaranteed = part(other.share().guaranteed);
            match other {
                _ if other == kind => 0,
                Kind::Memos if memos_give_way => guaranteed,
                _ => guaranteed.max(self.held[other as usize]),
            }
        };
        let others: u64 = Kind::ALL.into_iter().map(taken).sum();
        let most = part(kind.share().most).min(self.limit.saturating_sub(others));
        // What is guaranteed is there even where memos hold more than is left, until they have given way.
        most.saturating_sub(self.held[kind as usize])
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

/// Gauges are signed; no machine has 2^63 bytes.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 10_000;

    fn memory() -> Arc<Memory> {
        Memory::new(LIMIT, Arc::new(Metrics::new()))
    }

    #[test]
    fn each_kind_gets_its_most_and_not_a_byte_more() {
        for kind in Kind::ALL {
            let memory = memory();
            let most = LIMIT / 100 * kind.share().most.min(100 - guaranteed_to_others(kind));
            let mut held = memory.hold(kind, most).unwrap();
            assert_eq!(held.grow(1), Err(Full(kind)));
            held.shrink(1);
            assert_eq!(held.grow(1), Ok(()));
            drop(held);
            assert_eq!(memory.held(kind), 0);
        }
    }

    fn guaranteed_to_others(kind: Kind) -> u64 {
        let others = Kind::ALL.into_iter().filter(|other| *other != kind);
        others.map(|other| other.share().guaranteed).sum()
    }

    #[test]
    fn what_is_guaranteed_is_there_whatever_all_others_take() {
        for kind in Kind::ALL {
            let memory = memory();
            let take = |other| memory.hold(other, memory.room(other)).unwrap();
            let others = Kind::ALL.into_iter().filter(|other| *other != kind);
            let _taken: Vec<Held> = others.map(take).collect();
            let guaranteed = LIMIT / 100 * kind.share().guaranteed;
            assert!(memory.room(kind) >= guaranteed, "{kind:?}");
            let _own = memory.hold(kind, guaranteed).unwrap();
            let all: u64 = Kind::ALL.into_iter().map(|kind| memory.held(kind)).sum();
            assert!(all <= LIMIT, "{all}");
        }
    }

    #[test]
    fn memos_give_way_down_to_what_they_are_guaranteed() {
        let memory = memory();
        let memos = Arc::new(Mutex::new(memory.hold(Kind::Memos, 5_000).unwrap()));
        let giving = Arc::clone(&memos);
        memory.give_way_with(Box::new(move |wanted| giving.lock().unwrap().shrink(wanted)));
        let bodies = memory.hold(Kind::Bodies, 6_000).unwrap();
        let memos_left = memos.lock().unwrap().bytes();
        assert_eq!(memos_left, LIMIT - 6_000 - 1_000 - 1_000);
        assert_eq!(memory.hold(Kind::Plugins, 1_500).err(), None);
        assert_eq!(memory.hold(Kind::Plugins, 1_501).err(), Some(Full(Kind::Plugins)));
        drop(bodies);
    }

    #[test]
    fn what_is_handed_on_is_held_once() {
        let memory = memory();
        let mut one = memory.hold(Kind::Memos, 100).unwrap();
        let mut other = memory.open(Kind::Memos);
        other.absorb(&mut one.split(30));
        assert_eq!((one.bytes(), other.bytes(), memory.held(Kind::Memos)), (70, 30, 100));
        other.absorb(&mut one.split(1000));
        drop(one);
        assert_eq!((other.bytes(), memory.held(Kind::Memos)), (100, 100));
        drop(other);
        assert_eq!(memory.held(Kind::Memos), 0);
    }

    #[test]
    fn who_is_refused_keeps_what_he_had() {
        let memory = memory();
        let mut held = memory.hold(Kind::Compiling, 10).unwrap();
        assert_eq!(held.grow(u64::MAX), Err(Full(Kind::Compiling)));
        assert_eq!((held.bytes(), memory.held(Kind::Compiling)), (10, 10));
    }
}
