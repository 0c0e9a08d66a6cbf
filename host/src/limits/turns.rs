//! Whose turn it is to hold a large body.
//!
//! Takes what a write needs in all before any of it is held, gives it at once or lets it wait: first come, first served
//! among a tenant's, one after the other among tenants. So no two bodies fill the memory by half and wait for each other,
//! and no tenant's hundred bodies stand before another's one. Bounded in number and time; who waits holds nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::in_flight::{BoundMet, Count, InFlight, Need, Permit, Space};

/// How long a write waits. Prometheus gives up after 30 s, in which the body has to come and be stored as well.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often somebody who waits looks whether there is room without anybody having said so: memory may have been given
/// back by what is no body, and limits may have been raised.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Prometheus opens 50 connections by default. What waits has a connection's read buffer, no more.
const MAX_WAITING_OF_TENANT: usize = 64;
/// And one of each other tenant.
const MAX_WAITING: usize = 512;

/// Of all tenants. One per process.
pub struct Turns {
    in_flight: Arc<InFlight>,
    patience: Duration,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    /// In the order in which it is the tenants' turn.
    of_tenants: VecDeque<Line>,
    waiting: usize,
    tickets: u64,
}

/// Of one tenant; never empty.
struct Line {
    tenant: Arc<Count>,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    ticket: u64,
    /// Empty.
    room: Space,
    need: Need,
    granted: oneshot::Sender<Space>,
}

impl Waiting {
    fn waits_for_others(&self) -> bool {
        self.room.tenant.bytes() < self.need.bytes
    }
}

/// A place in a line. Dropped, it leaves the line.
struct Ticket<'t> {
    turns: &'t Turns,
    number: u64,
}

impl Turns {
    pub fn new(in_flight: Arc<InFlight>) -> Self {
        Self {
            in_flight,
            patience: PATIENCE,
            lines: Mutex::default(),
        }
    }

    /// Lets `permit` hold all that is needed, of which it may hold some already.
    ///
    /// # Errors
    /// The bound that is met for too long, or at once if too many wait already or it can never be met. The permit then holds what it held before.
    pub async fn wait(&self, permit: &mut Permit, need: Need) -> Result<(), BoundMet> {
        permit.may_ever_hold(need.bytes)?;
        let (mut room, need) = permit.lacks(need);
        if !self.in_flight.freed.is_waited_for() && room.grow_in_turn(need).is_ok() {
            permit.absorb(room);
            return Ok(());
        }
        permit.absorb(self.wait_in_line(room, need).await?);
        Ok(())
    }

    async fn wait_in_line(&self, room: Space, need: Need) -> Result<Space, BoundMet> {
        let (granted, mut turn) = oneshot::channel();
        let ticket = Ticket {
            number: self.with_lines(|lines| lines.join(room, need, granted))?,
            turns: self,
        };
        let end = Instant::now() + self.patience;
        while Instant::now() < end {
            self.with_lines(Lines::advance);
            let look_again = timeout_at(end.min(Instant::now() + LOOK_AGAIN), self.in_flight.freed.told());
            tokio::select! {
                biased;
                room = &mut turn => return room.map_err(|_| BoundMet::Bytes),
                _ = look_again => {}
            }
        }
        match ticket.leave() {
            // Out of turn, to learn which bound it is; what has been given back in this moment is taken.
            Some(Waiting { mut room, .. }) => room.grow_in_turn(need).map(|()| room),
            None => turn.try_recv().map_err(|_| BoundMet::Bytes),
        }
    }

    fn with_lines<T>(&self, change: impl FnOnce(&mut Lines) -> T) -> T {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut lines);
        self.in_flight.freed.set_waiting(lines.waiting);
        result
    }
}

impl Lines {
    fn join(&mut self, room: Space, need: Need, granted: oneshot::Sender<Space>) -> Result<u64, BoundMet> {
        let own = self
            .of_tenants
            .iter()
            .position(|line| Arc::ptr_eq(&line.tenant, &room.tenant));
        // However many others wait: a tenant that has nobody in the line may join it.
        if self.waiting >= MAX_WAITING && own.is_some() {
            return Err(BoundMet::Bytes);
        }
        let own = own.unwrap_or_else(|| {
            self.of_tenants.push_back(Line {
                tenant: Arc::clone(&room.tenant),
                waiting: VecDeque::new(),
            });
            self.of_tenants.len() - 1
        });
        let line = &mut self.of_tenants[own].waiting;
        if line.len() >= MAX_WAITING_OF_TENANT {
            return Err(BoundMet::TenantBytes);
        }
        self.waiting += 1;
        self.tickets += 1;
        line.push_back(Waiting {
            ticket: self.tickets,
            room,
            need,
            granted,
        });
        Ok(self.tickets)
    }

    /// Who has had his turn goes behind the other tenants. For the bound of all bodies the others wait with the first one, or
    /// a large body would never find room among smaller ones. Nobody waits with him for a bound that others may not meet, or
    /// while what his own tenant holds would do.
    fn advance(&mut self) {
        let mut at = 0;
        while let Some(next) = self.of_tenants.get_mut(at).and_then(|line| line.waiting.front_mut()) {
            match next.room.grow_in_turn(next.need) {
                Ok(()) => self.grant(at),
                Err(BoundMet::Bytes | BoundMet::Memory(_)) if next.waits_for_others() => return,
                Err(_) => at += 1,
            }
        }
    }

    fn grant(&mut self, at: usize) {
        let Some(mut line) = self.of_tenants.remove(at) else {
            return;
        };
        if let Some(Waiting { room, granted, .. }) = line.waiting.pop_front() {
            self.waiting -= 1;
            // If he has just gone away, what he was given goes back at once.
            let _ = granted.send(room);
        }
        if !line.waiting.is_empty() {
            self.of_tenants.push_back(line);
        }
    }

    fn leave(&mut self, ticket: u64) -> Option<Waiting> {
        let place = |line: &Line| line.waiting.iter().position(|waiting| waiting.ticket == ticket);
        let mut places = self.of_tenants.iter().enumerate();
        let (at, place) = places.find_map(|(at, line)| Some((at, place(line)?)))?;
        let left = self.of_tenants[at].waiting.remove(place);
        self.waiting -= 1;
        if self.of_tenants[at].waiting.is_empty() {
            self.of_tenants.remove(at);
        }
        left
    }
}

impl Ticket<'_> {
    /// `None` if it was granted already.
    fn leave(&self) -> Option<Waiting> {
        let left = self.turns.with_lines(|lines| lines.leave(self.number));
        // The others may have waited for this one alone.
        if left.is_some() {
            self.turns.in_flight.freed.tell();
        }
        left
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

#[cfg(test)]
mod tests;
