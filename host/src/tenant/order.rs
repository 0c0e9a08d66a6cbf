//! Of writes with the same series the older goes first, where one was told to wait.
//!
//! Takes a tenant's writes and which of them are told to come again; holds a newer one until the older has come and is
//! answered, for some seconds at most. A receiver refuses what is older than what it has, and a sender with several queues
//! (vmagent has two for each processor) sends the next block while the last one waits. Who sends what waits in one with
//! what is new never comes with the same write again: after some of those nobody is held. Costs nothing while nobody waits.
//! Never refuses a write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::counters::Counters;
use crate::chain::PolicyWatch;
use crate::memory::Held;
use crate::wire::{Scanned, first_time};

/// For how long after a write was told to wait others are looked at.
const AFTERMATH: Duration = Duration::from_secs(30);
/// Longest that a write is held. The OpenTelemetry collector gives up after 5 s.
const LONGEST: Duration = Duration::from_secs(4);
/// How much later than it was told a sender may come.
const LATE: Duration = Duration::from_secs(2);
/// Writes that are known at a time: as many as a Prometheus has connections, and some. Others are not held, and hold none.
const MOST: usize = 64;
/// How many of them are held at a time. Each has its place among the requests in flight.
const MOST_HELD: usize = 16;
/// Writes that did not come again, one after the other, before nobody is held, and for how long.
const MOST_MISSED: u32 = 3;
const RESPITE: Duration = Duration::from_secs(300);
/// Series by which a write is known: those of the least hashes, so that writes with most series in common share some.
const SIGNS: usize = 16;
/// Series that are looked at for them: some 60 us.
const LOOKED_AT: usize = 2048;

/// One tenant's.
pub struct Order {
    watch: Arc<PolicyWatch>,
    began: Instant,
    /// In milliseconds from when it began; 0 where nobody has been told to wait yet.
    until: AtomicU64,
    line: Mutex<Line>,
    moved: Notify,
}

struct Line {
    writes: Vec<Write>,
    number: u64,
    waiting: usize,
    missed: u32,
    rests_until: Option<Instant>,
    /// As many bytes as the writes take.
    held: Held,
}

struct Write {
    number: u64,
    signs: Box<[Sign]>,
    /// None while it is here, else how long it is waited for.
    expected: Option<Instant>,
}

/// One of its series, and the time of the first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sign {
    hash: u64,
    time: i64,
}

/// A write that is here. Others wait for it until this is gone.
pub struct InOrder<'o> {
    order: &'o Order,
    number: u64,
}

impl Order {
    pub fn new(watch: &Arc<PolicyWatch>) -> Self {
        Self {
            began: Instant::now(),
            until: AtomicU64::new(0),
            line: Mutex::new(Line {
                writes: Vec::new(),
                number: 0,
                waiting: 0,
                missed: 0,
                rests_until: None,
                held: watch.open(),
            }),
            moved: Notify::new(),
            watch: Arc::clone(watch),
        }
    }

    /// Whether somebody was told to wait lately.
    pub fn matters(&self) -> bool {
        match self.until.load(Ordering::Relaxed) {
            0 => false,
            until => self.began.elapsed().as_millis() < u128::from(until),
        }
    }

    /// Lets the write know its place, without waiting for it. None if it is not to be known.
    pub fn register(&self, scanned: &Scanned, now: Instant) -> Option<InOrder<'_>> {
        let signs = self.signs(scanned);
        let number = self.lock().take_in(signs, now)?;
        Some(InOrder { order: self, number })
    }

    /// Waits until no older write is here or expected.
    pub async fn wait(&self, write: &InOrder<'_>, counters: &Counters) {
        let deadline = Instant::now() + LONGEST;
        let mut waits = None;
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let now = Instant::now();
            let Some(expected) = self.lock().waits_for(write.number, now).filter(|_| now < deadline) else {
                return;
            };
            if waits.is_none() {
                waits = Waiting::begin(self);
                if waits.is_none() {
                    return;
                }
                counters.held();
            }
            let until = expected.unwrap_or(deadline).min(deadline);
            // What is to be looked at next is the same either way.
            let _ = tokio::time::timeout_at(until.into(), moved).await;
        }
    }

    /// The sender was told to send a write again in so many `seconds`; which one is known if it was here to be known.
    pub fn told_to_wait(&self, write: Option<InOrder<'_>>, seconds: u64, now: Instant) {
        let until = now.saturating_duration_since(self.began) + AFTERMATH;
        self.until.store(until.as_millis() as u64, Ordering::Relaxed);
        if let Some(write) = write {
            let expected = now + Duration::from_secs(seconds) + LATE;
            self.lock().expect(write.number, expected);
        }
    }

    pub(super) fn forget_old(&self, now: Instant) {
        let mut line = self.lock();
        line.forget_missed(now);
        if line.writes.is_empty() {
            line.writes = Vec::new();
        }
    }

    fn signs(&self, scanned: &Scanned) -> Box<[Sign]> {
        let mut least: Vec<Sign> = Vec::with_capacity(SIGNS + 1);
        for series in scanned.series().iter().take(LOOKED_AT) {
            let hash = self.watch.hash(scanned.label_bytes(series));
            if least.len() == SIGNS && least.last().is_some_and(|last| last.hash < hash) {
                continue;
            }
            let Some(time) = first_time(&scanned.body()[series.tail_range()]) else {
                continue;
            };
            match least.binary_search_by_key(&hash, |sign| sign.hash) {
                Ok(at) => least[at].time = least[at].time.min(time),
                Err(at) => least.insert(at, Sign { hash, time }),
            }
            least.truncate(SIGNS);
        }
        least.into()
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Gives its number: a new one, or that by which it is expected.
    fn take_in(&mut self, signs: Box<[Sign]>, now: Instant) -> Option<u64> {
        self.forget_missed(now);
        if signs.is_empty() || self.rests_until.is_some_and(|until| now < until) {
            return None;
        }
        let again = |write: &&mut Write| write.expected.is_some() && write.signs == signs;
        if let Some(write) = self.writes.iter_mut().find(again) {
            (write.expected, self.missed) = (None, 0);
            return Some(write.number);
        }
        if self.writes.len() == MOST || self.held.grow(Write::bytes(&signs)).is_err() {
            return None;
        }
        self.number += 1;
        self.writes.push(Write {
            number: self.number,
            signs,
            expected: None,
        });
        Some(self.number)
    }

    /// Nobody is held for what does not come.
    fn forget_missed(&mut self, now: Instant) {
        let is_missed = |write: &Write| write.expected.is_some_and(|expected| expected <= now);
        let missed = self.writes.extract_if(.., |write| is_missed(write));
        let (count, bytes) = missed.fold((0, 0), |(count, bytes), write| {
            (count + 1, bytes + Write::bytes(&write.signs))
        });
        self.held.shrink(bytes);
        self.missed += count;
        if self.missed >= MOST_MISSED {
            (self.missed, self.rests_until) = (0, Some(now + RESPITE));
        }
    }

    /// Whether it waits for another, and until when at most if that one is not here.
    fn waits_for(&mut self, number: u64, now: Instant) -> Option<Option<Instant>> {
        self.forget_missed(now);
        let write = self.writes.iter().find(|write| write.number == number)?;
        // For one that comes later than anybody is held nobody needs to be.
        let is_near = |other: &&Write| other.expected.is_none_or(|expected| expected < now + LONGEST + LATE);
        let older = self.writes.iter().filter(|other| other.is_older_than(write));
        older.filter(is_near).map(|other| other.expected).min()
    }

    fn expect(&mut self, number: u64, at: Instant) {
        if let Some(write) = self.writes.iter_mut().find(|write| write.number == number) {
            write.expected = Some(at);
        }
    }

    /// One that is here no longer and is not expected.
    fn leave(&mut self, number: u64) {
        let gone = self
            .writes
            .extract_if(.., |write| write.number == number && write.expected.is_none());
        let bytes = gone.map(|write| Write::bytes(&write.signs)).sum();
        self.held.shrink(bytes);
    }
}

impl Write {
    fn bytes(signs: &[Sign]) -> u64 {
        (size_of::<Self>() + size_of_val(signs)) as u64
    }

    /// By the first series that both have. Two that have none in common wait for neither.
    fn is_older_than(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.signs.iter().peekable(), other.signs.iter().peekable());
        while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
            match our.hash.cmp(&their.hash) {
                std::cmp::Ordering::Less => drop(ours.next()),
                std::cmp::Ordering::Greater => drop(theirs.next()),
                std::cmp::Ordering::Equal => return our.time < their.time,
            }
        }
        false
    }
}

impl Drop for InOrder<'_> {
    fn drop(&mut self) {
        self.order.lock().leave(self.number);
        self.order.moved.notify_waiters();
    }
}

/// One of those that are held at a time.
struct Waiting<'o>(&'o Order);

impl<'o> Waiting<'o> {
    fn begin(order: &'o Order) -> Option<Self> {
        let mut line = order.lock();
        let has_room = line.waiting < MOST_HELD;
        line.waiting += usize::from(has_room);
        has_room.then(|| Self(order))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

#[cfg(test)]
mod tests;
