//! Of writes with the same series the older goes first, where one was told to wait.
//!
//! Takes a tenant's writes and which of them are told to come again; holds a newer one until the older has come and is
//! answered, for some seconds at most. A receiver refuses what is older than what it has, and a sender with several queues
//! (vmagent has two for each processor) sends the next block while the last one waits. A newer one whose turn is further off
//! is told to come after the older. Who sends what waits in one with what is new never comes with the same write again: after
//! some of those nobody is held. What waits for a gateway that was away is not known to it: writes of a sender with several queues
//! gather for the first seconds, and then go by their age. Costs nothing while nobody waits.

use std::cmp::Ordering::{self, Equal, Greater, Less};
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::counters::Counters;
use crate::chain::PolicyWatch;
use crate::memory::Held;
use crate::wire::{Scanned, Series, first_time};

/// How much later than the older the newer is told to come.
const AFTER: Duration = Duration::from_secs(1);
/// For how long after a write was told to wait others are looked at.
const AFTERMATH: Duration = Duration::from_secs(30);
/// How long a write waits for an older one that nobody knows of yet, where some had the same series: what two connections bring
/// at the same time comes in any order.
const SETTLES: Duration = Duration::from_millis(50);
/// For how long the writes of a sender with several queues gather from the first one on. A vmagent waits for a second, then for two,
/// and then for four, when nobody takes its writes.
const GATHERS: Duration = Duration::from_secs(4);
/// Longest that a write is held after that. The OpenTelemetry collector gives up after 5 s.
const LONGEST: Duration = Duration::from_secs(4);
/// How much later than it was told a sender may come.
const LATE: Duration = Duration::from_secs(2);
/// Longest that a write is waited for which was told to come then: as long as a bucket tells, and what is late. A receiver may say
/// an hour.
const LONGEST_EXPECTED: Duration = Duration::from_secs(62);
/// Writes that are known at a time: as many as a Prometheus has connections, and some; each is a bit. Others are not held, and
/// hold none.
const MOST: usize = u64::BITS as usize;
/// Bytes of them, where all tenants together have room for it, and what each has however many there are.
const MOST_BYTES: u64 = 128 << 10;
const LEAST_BYTES: u64 = 8 << 10;
/// How many of them are held at a time. Each has its place among the requests in flight.
const MOST_HELD: usize = 16;
/// Writes that did not come again, one after the other, before nobody is held, and for how long.
const MOST_MISSED: u32 = 3;
const RESPITE: Duration = Duration::from_secs(300);
/// Series by which a write is known to those that come after it: those of the least hashes, so that writes with most series in
/// common share some.
const SIGNS: usize = 128;
/// Series that are looked at in all: some 100 us.
const LOOKED_AT: usize = 2048;

/// One tenant's.
pub struct Order {
    watch: Arc<PolicyWatch>,
    began: Instant,
    /// In milliseconds from when it began; 0 where nobody has been told to wait yet.
    until: AtomicU64,
    /// Until when they gather, since the first of them came.
    gather_until: OnceLock<Instant>,
    line: Mutex<Line>,
    moved: Notify,
}

struct Line {
    /// By their places, which they keep while they are known.
    writes: Vec<Option<Write>>,
    waiting: usize,
    /// How long writes with the same series are to be reckoned with.
    shared_until: Option<Instant>,
    missed: u32,
    rests_until: Option<Instant>,
    /// As many bytes as the writes take.
    held: Held,
}

struct Write {
    signs: Box<[Sign]>,
    /// None while it is here, else how long it is waited for.
    expected: Option<Instant>,
    /// The places of those that are older and have some of its series, a bit each.
    older: u64,
}

/// One of its series, and the time of the first sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sign {
    hash: u64,
    time: i64,
}

/// An older write with the same series is to come first, and later than anybody is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an older write with the same series was told to wait and comes first, try again")]
pub struct OutOfTurn {
    pub retry_after: Duration,
}

/// A write that is here. Others wait for it until this is gone, or longer if it is expected again.
pub struct InOrder<'o> {
    order: &'o Order,
    place: usize,
    expected: Option<Instant>,
}

impl Order {
    pub fn new(watch: &Arc<PolicyWatch>) -> Self {
        Self {
            began: Instant::now(),
            until: AtomicU64::new(0),
            gather_until: OnceLock::new(),
            line: Mutex::new(Line {
                writes: Vec::new(),
                waiting: 0,
                shared_until: None,
                missed: 0,
                rests_until: None,
                held: watch.open(),
            }),
            moved: Notify::new(),
            watch: Arc::clone(watch),
        }
    }

    /// Whether somebody was told to wait lately, or, of a sender with `several_queues`, they gather or did so lately.
    pub fn matters(&self, several_queues: bool) -> bool {
        if several_queues {
            let now = Instant::now();
            let gather_until = *self.gather_until.get_or_init(|| now + GATHERS);
            if now < gather_until + AFTERMATH {
                return true;
            }
        }
        match self.until.load(atomic::Ordering::Relaxed) {
            0 => false,
            until => self.began.elapsed().as_millis() < u128::from(until),
        }
    }

    /// Lets the write know its place, without waiting for it. None if it is not to be known.
    pub fn register(&self, scanned: &Scanned, now: Instant) -> Option<InOrder<'_>> {
        if self.lock().rests(now) {
            return None;
        }
        let series = self.series(scanned);
        let most = self.watch.share(LEAST_BYTES..=MOST_BYTES);
        let place = self.lock().take_in(&series, most, now)?;
        Some(InOrder {
            order: self,
            place,
            expected: None,
        })
    }

    /// Waits until no older write is here or expected.
    ///
    /// # Errors
    /// If it would have to wait for too long. One that is here for as long is waited for no more.
    pub async fn wait(&self, write: &InOrder<'_>, several_queues: bool, counters: &Counters) -> Result<(), OutOfTurn> {
        let mut waits = None;
        let gather_until = self
            .gather_until
            .get()
            .filter(|until| several_queues && **until > Instant::now());
        if let Some(until) = gather_until {
            waits = Waiting::begin(self);
            if waits.is_none() {
                return Ok(());
            }
            counters.held();
            tokio::time::sleep_until((*until).into()).await;
        }
        let deadline = Instant::now() + LONGEST;
        let is_shared = self.lock().is_shared(Instant::now());
        if is_shared {
            tokio::time::sleep(SETTLES).await;
        }
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let now = Instant::now();
            let expected = match self.lock().waits_for(write.place, now) {
                Some(Some(expected)) if now >= deadline || expected > deadline + LATE => {
                    let retry_after = (expected - LATE).saturating_duration_since(now) + AFTER;
                    return Err(OutOfTurn { retry_after });
                }
                Some(expected) if now < deadline => expected,
                _ => return Ok(()),
            };
            if waits.is_none() {
                waits = Waiting::begin(self);
                if waits.is_none() {
                    return Ok(());
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
        self.until.store(until.as_millis() as u64, atomic::Ordering::Relaxed);
        if let Some(mut write) = write {
            write.expected = Some(now + Duration::from_secs(seconds) + LATE);
        }
    }

    pub(super) fn forget_old(&self, now: Instant) {
        let mut line = self.lock();
        line.forget_missed(now);
        if line.writes.iter().all(Option::is_none) {
            line.writes = Vec::new();
        }
    }

    /// By hash, each once, with the oldest of its samples' times.
    fn series(&self, scanned: &Scanned) -> Vec<Sign> {
        let looked_at = scanned.series().iter().take(LOOKED_AT);
        let sign = |series: &Series| {
            Some(Sign {
                time: first_time(&scanned.body()[series.tail_range()])?,
                hash: self.watch.hash(scanned.label_bytes(series)),
            })
        };
        let mut series: Vec<Sign> = looked_at.filter_map(sign).collect();
        series.sort_unstable();
        series.dedup_by_key(|sign| sign.hash);
        series
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Gives its place: a new one, or that where it is expected.
    fn take_in(&mut self, series: &[Sign], most: u64, now: Instant) -> Option<usize> {
        self.forget_missed(now);
        if series.is_empty() || self.rests(now) {
            return None;
        }
        let signs = &series[..series.len().min(SIGNS)];
        let is_again = |write: &Write| write.expected.is_some() && *write.signs == *signs;
        let again = self
            .writes
            .iter()
            .position(|write| write.as_ref().is_some_and(is_again));
        if let Some(write) = again.and_then(|place| self.write(place)) {
            (write.expected, self.missed) = (None, 0);
            return again;
        }
        let place = self.room_for(Write::bytes(signs), most)?;
        let older = self.compare(series, place, now);
        self.writes[place] = Some(Write {
            signs: signs.into(),
            expected: None,
            older,
        });
        Some(place)
    }

    fn rests(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    fn is_shared(&self, now: Instant) -> bool {
        self.shared_until.is_some_and(|until| now < until)
    }

    fn room_for(&mut self, bytes: u64, most: u64) -> Option<usize> {
        let place = self
            .writes
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.writes.len());
        if place == MOST || self.held.bytes() + bytes > most || self.held.grow(bytes).is_err() {
            return None;
        }
        if place == self.writes.len() {
            self.writes.push(None);
        }
        Some(place)
    }

    /// Which are older than one of these `series`, and tells those that are newer that one is in this place.
    fn compare(&mut self, series: &[Sign], place: usize, now: Instant) -> u64 {
        let mut older = 0;
        for (at, write) in self.writes.iter_mut().enumerate() {
            let Some(write) = write else { continue };
            match write.compared_with(series) {
                Less => older |= 1 << at,
                Equal => continue,
                Greater => write.older |= 1 << place,
            }
            self.shared_until = Some(now + AFTERMATH);
        }
        older
    }

    /// Nobody is held for what does not come.
    fn forget_missed(&mut self, now: Instant) {
        for place in 0..self.writes.len() {
            let expected = self.write(place).and_then(|write| write.expected);
            if expected.is_some_and(|expected| expected <= now) {
                self.forget(place);
                self.missed += 1;
            }
        }
        if self.missed >= MOST_MISSED {
            (self.missed, self.rests_until) = (0, Some(now + RESPITE));
        }
    }

    /// Whether it waits for another, and until when at most if that one is not here.
    fn waits_for(&mut self, place: usize, now: Instant) -> Option<Option<Instant>> {
        self.forget_missed(now);
        let older = self.write(place)?.older;
        let writes = self.writes.iter().enumerate();
        let waited_for = writes
            .filter(|(at, _)| older & 1 << at != 0)
            .filter_map(|(_, write)| write.as_ref());
        let is_near = |expected: &Option<Instant>| expected.is_none_or(|expected| expected <= now + LONGEST_EXPECTED);
        // The last of them, or else who is here.
        waited_for.map(|write| write.expected).filter(is_near).max()
    }

    /// It is here no longer, and is forgotten unless it is expected again.
    fn leave(&mut self, place: usize, expected: Option<Instant>) {
        match self.write(place).filter(|_| expected.is_some()) {
            Some(write) => write.expected = expected,
            None => self.forget(place),
        }
    }

    fn forget(&mut self, place: usize) {
        let gone = self.writes.get_mut(place).and_then(Option::take);
        self.held.shrink(gone.map_or(0, |gone| Write::bytes(&gone.signs)));
        self.writes
            .iter_mut()
            .flatten()
            .for_each(|write| write.older &= !(1 << place));
    }

    fn write(&mut self, place: usize) -> Option<&mut Write> {
        self.writes.get_mut(place)?.as_mut()
    }
}

impl Write {
    fn bytes(signs: &[Sign]) -> u64 {
        (size_of::<Option<Self>>() + size_of_val(signs)) as u64
    }

    /// By the first series that both have. One that has none of these is neither older nor newer.
    fn compared_with(&self, series: &[Sign]) -> Ordering {
        let shared = self.signs.iter().find_map(|sign| {
            let at = series.binary_search_by_key(&sign.hash, |other| other.hash).ok()?;
            Some(sign.time.cmp(&series[at].time))
        });
        shared.unwrap_or(Equal)
    }
}

impl Drop for InOrder<'_> {
    fn drop(&mut self) {
        self.order.lock().leave(self.place, self.expected);
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
