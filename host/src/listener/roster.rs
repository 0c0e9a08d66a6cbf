//! Who is connected, and who goes so that somebody else can come.
//!
//! Takes who comes, from where, and which tenant each proved; gives seats, and tells others to leave theirs. Whoever proved
//! no tenant goes first, the one that came first of them; then whoever is idle the longest. Nobody with a request in work is
//! told to go. Never ends a connection itself, and never waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::clock::Clock;
use crate::memory::{Held, Kind, Memory};
use crate::model::TenantId;

/// What a connection takes that says nothing: its task, its TLS session, its seat. Bytes, as measured.
const AT_REST: u64 = 24 * 1024;
/// What comes on top while it speaks: buffers of HTTP, of TLS, and of what is read; in the handshake, up to 64 KiB of a message
/// in pieces. Bytes, as measured.
const IN_USE: u64 = 56 * 1024;
/// Whoever proved no tenant yet has at least this part of all seats, so that tenants cannot lock out tenants.
const PART_OF_STRANGERS: usize = 16;
/// Where there was no room: until the next look, unless a seat is left before.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long nobody else is told after one was, unless a seat is left: it goes as soon as its thread gets to it.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// Why somebody is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    Full,
    Memory,
    Address,
    Tenant,
}

impl Leave {
    pub(super) const ALL: [Self; 4] = [Self::Full, Self::Memory, Self::Address, Self::Tenant];

    /// As the metric and the log call it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Full => "max_connections",
            Self::Memory => "memory_limit",
            Self::Address => "max_strangers_per_address",
            Self::Tenant => "max_connections_per_tenant",
        }
    }
}

/// How many may be connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct MostSeats {
    pub connections: usize,
    pub strangers_per_address: usize,
    pub per_tenant: usize,
}

pub(super) struct Roster {
    bounds: MostSeats,
    memory: Arc<Memory>,
    book: Mutex<Book>,
    /// Whose turn it is to wait for a seat to be left.
    turn: tokio::sync::Mutex<()>,
    /// A seat was left.
    freed: Notify,
}

#[derive(Default)]
struct Book {
    next: u64,
    /// By number, which is the order of coming. Those that were told to leave are still here, and nowhere else.
    seats: BTreeMap<u64, Entry>,
    strangers: BTreeSet<u64>,
    by_network: HashMap<IpAddr, BTreeSet<u64>>,
    by_tenant: HashMap<TenantId, BTreeSet<u64>>,
}

struct Entry {
    clock: Arc<Clock>,
    /// None once it was told.
    notice: Option<oneshot::Sender<Leave>>,
    network: Option<IpAddr>,
    tenant: Option<TenantId>,
}

/// A connection's place, left when it is dropped.
pub(super) struct Seat {
    roster: Arc<Roster>,
    number: u64,
    clock: Arc<Clock>,
    /// Until it is dropped.
    held: Option<Held>,
}

/// Comes when the connection is to end.
pub(super) struct Notice {
    told: oneshot::Receiver<Leave>,
    clock: Arc<Clock>,
}

impl Roster {
    pub(super) fn new(bounds: MostSeats, memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            memory,
            book: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            freed: Notify::new(),
        })
    }

    /// A seat for who was accepted just now.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn seat(self: &Arc<Self>, clock: Arc<Clock>) -> Result<(Seat, Notice), Leave> {
        // Before the lock: others may have to give way.
        let held = self.memory.hold(Kind::Connections, AT_REST);
        let held = held.map_err(|_| Leave::Memory)?;
        let mut book = self.book();
        if book.seats.len() >= self.bounds.connections {
            return Err(Leave::Full);
        }
        let number = book.next;
        book.next += 1;
        let (notice, told) = oneshot::channel();
        book.seats.insert(number, Entry::new(&clock, notice));
        book.strangers.insert(number);
        let seat = Seat {
            roster: Arc::clone(self),
            number,
            clock: Arc::clone(&clock),
            held: Some(held),
        };
        Ok((seat, Notice { told, clock }))
    }

    /// What `attempt` gives once there is room: one after the other tells one to go, if there is one that may be told, and
    /// waits until it left.
    pub(super) async fn make_room<T>(&self, but: Option<u64>, attempt: impl Fn() -> Result<T, Leave>) -> T {
        let _turn = self.turn.lock().await;
        let mut told: Option<Instant> = None;
        loop {
            let why = match attempt() {
                Ok(made) => return made,
                Err(why) => why,
            };
            // Somebody left before the attempt, or since.
            if self.freed.notified().now_or_never().is_some() {
                told = None;
                continue;
            }
            // Whoever was told may have a request by now.
            if told.is_none_or(|told| told.elapsed() >= LEAVES_WITHIN) {
                told = self.tell_one(why, but).map(|_| Instant::now());
            }
            if timeout(LOOK_AGAIN, self.freed.notified()).await.is_ok() {
                told = None;
            }
        }
    }

    fn tell_one(&self, why: Leave, but: Option<u64>) -> Option<u64> {
        let mut book = self.book();
        let reserved = self.bounds.connections / PART_OF_STRANGERS;
        let goes = match book.strangers.len() > reserved {
            true => book.first_stranger(but).or_else(|| book.longest_idle(but)),
            false => book.longest_idle(but).or_else(|| book.first_stranger(but)),
        };
        goes.inspect(|number| book.tell(*number, why))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn first_stranger(&self, but: Option<u64>) -> Option<u64> {
        self.first_that_may_go(&self.strangers, but)
    }

    fn first_that_may_go(&self, of: &BTreeSet<u64>, but: Option<u64>) -> Option<u64> {
        let is_free = |entry: &Entry| !entry.clock.is_busy();
        let may_go = |number: &&u64| but != Some(**number) && self.seats.get(number).is_some_and(is_free);
        of.iter().find(may_go).copied()
    }

    /// Of those that proved a tenant.
    fn longest_idle(&self, but: Option<u64>) -> Option<u64> {
        self.longest_idle_of(self.by_tenant.values().flatten(), but)
    }

    fn longest_idle_of<'a>(&self, of: impl Iterator<Item = &'a u64>, but: Option<u64>) -> Option<u64> {
        let idle = of
            .filter(|number| but != Some(**number))
            .filter_map(|number| Some((self.seats.get(number)?.clock.idle_since()?, *number)));
        idle.min().map(|(_, number)| number)
    }

    fn tell(&mut self, number: u64, why: Leave) {
        self.forget(number);
        let notice = self.seats.get_mut(&number).and_then(|entry| entry.notice.take());
        if let Some(notice) = notice {
            // Whoever left meanwhile needs not be told.
            let _ = notice.send(why);
        }
    }

    /// It stands for nobody any more, and has its seat until it leaves.
    fn forget(&mut self, number: u64) {
        self.strangers.remove(&number);
        let Some(entry) = self.seats.get_mut(&number) else {
            return;
        };
        if let Some(network) = entry.network.take() {
            remove(&mut self.by_network, &network, number);
        }
        if let Some(tenant) = entry.tenant.take() {
            remove(&mut self.by_tenant, &tenant, number);
        }
    }
}

fn remove<K: Hash + Eq>(sets: &mut HashMap<K, BTreeSet<u64>>, key: &K, number: u64) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&number);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

impl Entry {
    fn new(clock: &Arc<Clock>, notice: oneshot::Sender<Leave>) -> Self {
        Self {
            clock: Arc::clone(clock),
            notice: Some(notice),
            network: None,
            tenant: None,
        }
    }
}

impl Seat {
    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Where it comes from, as far as `network_of` tells apart. Of too many strangers from there the first one goes.
    pub(super) fn comes_from(&self, network: IpAddr) {
        let mut book = self.roster.book();
        let Some(entry) = book.seats.get_mut(&self.number).filter(|entry| entry.notice.is_some()) else {
            return;
        };
        entry.network = Some(network);
        book.by_network.entry(network).or_default().insert(self.number);
        let most = self.roster.bounds.strangers_per_address;
        let too_many = book.by_network.get(&network);
        let too_many = too_many.filter(|strangers| strangers.len() > most);
        let first = too_many.and_then(|strangers| book.first_that_may_go(strangers, Some(self.number)));
        first.inspect(|first| book.tell(*first, Leave::Address));
    }

    /// It proved a tenant. False if it may not stay longer than for this request, because its tenant has as many as it may
    /// have, all of them at work.
    pub(super) fn proved(&self, tenant: &TenantId) -> bool {
        let mut book = self.roster.book();
        if !book.strangers.contains(&self.number) {
            return false;
        }
        let most = self.roster.bounds.per_tenant;
        let others = book.by_tenant.get(tenant);
        if let Some(others) = others.filter(|others| others.len() >= most) {
            let Some(idle) = book.longest_idle_of(others.iter(), None) else {
                return false;
            };
            book.tell(idle, Leave::Tenant);
        }
        book.forget(self.number);
        book.by_tenant.entry(tenant.clone()).or_default().insert(self.number);
        if let Some(entry) = book.seats.get_mut(&self.number) {
            entry.tenant = Some(tenant.clone());
        }
        true
    }

    /// Memory to speak with; waits until somebody else goes if there is none. The caller sets the deadline.
    pub(super) async fn speak(&self) -> Held {
        let hold = || {
            self.roster
                .memory
                .hold(Kind::Connections, IN_USE)
                .map_err(|_| Leave::Memory)
        };
        match hold() {
            Ok(held) => held,
            Err(_) => self.roster.make_room(Some(self.number), hold).await,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Before whoever waits for it looks.
        drop(self.held.take());
        let mut book = self.roster.book();
        book.forget(self.number);
        book.seats.remove(&self.number);
        drop(book);
        self.roster.freed.notify_one();
    }
}

impl Notice {
    /// Whoever has a request meanwhile stays for its answer.
    pub(super) async fn comes(self) -> Leave {
        let Ok(why) = self.told.await else {
            return std::future::pending().await;
        };
        while self.clock.is_busy() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        why
    }
}

#[cfg(test)]
mod tests;
