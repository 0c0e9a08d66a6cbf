//! Bytes and requests held at once, for the whole process and per tenant.
//!
//! Takes a tenant's count and its limits with every request, so that a reload changes them while requests are in
//! flight; gives permits that return what they hold when dropped. A place is taken once a body is in, so that bodies that
//! dribble in hold none. Never waits: that is for [`turns`](super::turns).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::whole::{Asking, Closed, Rule, Whole};
use crate::config::Limits;
use crate::memory::{Full, Held, Kind, Memory};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::signed;

/// Of the requests of all tenants together. A usual sender has a few at once.
const PLACES: Rule = Rule {
    kept_free: 12,
    little: 4,
};

/// Of the bytes of all tenants together: a usual write has 400 KB. What is kept free is what a turn needs, a third, and an
/// eighth for those who hold little.
const BYTES: Rule = Rule {
    kept_free: 46,
    little: 1 << 20,
};

/// Which bound was met. All of them pass by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BoundMet {
    #[error("too many requests in flight")]
    Requests,
    #[error("too many body bytes in flight")]
    Bytes,
    #[error("too many requests of this tenant in flight")]
    TenantRequests,
    #[error("too many body bytes of this tenant in flight")]
    TenantBytes,
    #[error("this tenant has its share of the requests in flight")]
    ShareOfRequests,
    #[error("this tenant has its share of the body bytes in flight")]
    ShareOfBytes,
    #[error(transparent)]
    Memory(#[from] Full),
}

/// The counts of the process. One per process; outlives reloads.
pub struct InFlight {
    metrics: Arc<Metrics>,
    memory: Arc<Memory>,
    places: Whole,
    bytes: Whole,
    /// Tenants with a permit.
    tenants: AtomicUsize,
    pub(super) freed: Freed,
}

/// That bytes were given back, for those who wait for them.
#[derive(Default)]
pub(super) struct Freed {
    /// As a rule nobody: then nobody is told.
    waiting: AtomicUsize,
    told: Notify,
}

/// What a write needs in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The body as it comes and as it is decoded.
    pub bytes: u64,
    /// What is made of it on the way to its receivers, at most.
    pub work: u64,
}

/// What one tenant holds.
#[derive(Debug, Default)]
pub struct Count {
    permits: AtomicUsize,
    requests: AtomicUsize,
    bytes: AtomicU64,
}

/// One request: its place, once it has one, and the bytes it holds. Returns both when dropped.
pub struct Permit {
    room: Space,
    has_place: bool,
}

/// Bytes held for one request.
pub(super) struct Space {
    in_flight: Arc<InFlight>,
    pub(super) tenant: Arc<Count>,
    max_tenant_bytes: u64,
    /// Of the body, as it came and as it is decoded; of its parts, once all else is gone.
    bytes: u64,
    /// Of what is made of it on the way there.
    work: u64,
    memory: Held,
}

impl InFlight {
    /// `max_bytes` and `max_requests` bound all tenants together, `memory` all that the process holds.
    pub fn new(metrics: Arc<Metrics>, memory: Arc<Memory>, max_bytes: u64, max_requests: usize) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            memory,
            places: Whole::new(max_requests as u64, PLACES),
            bytes: Whole::new(max_bytes, BYTES),
            tenants: AtomicUsize::new(0),
            freed: Freed::default(),
        })
    }

    /// Changes the bounds for all tenants together. Permits already given stay.
    pub fn set_limits(&self, max_bytes: u64, max_requests: usize) {
        self.bytes.set_most(max_bytes);
        self.places.set_most(max_requests as u64);
    }

    /// A permit for one request of the tenant that `count` counts for. It holds nothing yet.
    ///
    /// # Errors
    /// If there is no place for it now, the tenant's own bound first: a tenant over its limit is told so even when the
    /// process is full. So nobody sends a body in vain as far as that can be known.
    pub fn enter(self: &Arc<Self>, count: &Arc<Count>, limits: &Limits) -> Result<Permit, BoundMet> {
        let permit = Permit::new(Space::empty(self, count, limits.max_in_flight_size));
        let requests = count.requests();
        if requests >= limits.max_concurrent_requests {
            return Err(BoundMet::TenantRequests);
        }
        let asking = self.asking(requests as u64 + 1);
        self.places.has_room(asking).map_err(BoundMet::of_requests)?;
        Ok(permit)
    }

    /// Body bytes held by all tenants together.
    pub fn bytes(&self) -> u64 {
        self.bytes.taken()
    }

    /// Requests of all tenants together that have a place.
    pub fn requests(&self) -> u64 {
        self.places.taken()
    }

    /// How much is taken of the bound that is nearest, of all tenants together.
    pub fn percent(&self) -> u64 {
        self.places.percent().max(self.bytes.percent())
    }

    fn asking(&self, own: u64) -> Asking {
        let sharers = self.tenants.load(Ordering::Relaxed);
        Asking { own, sharers }
    }
}

impl Permit {
    fn new(room: Space) -> Self {
        if room.tenant.permits.fetch_add(1, Ordering::Relaxed) == 0 {
            room.in_flight.tenants.fetch_add(1, Ordering::Relaxed);
        }
        Self { room, has_place: false }
    }

    /// Takes a place among the tenant's and the process' requests, once the body is in.
    ///
    /// # Errors
    /// The bound that is met; no place is taken then.
    pub fn take_place(&mut self, max_tenant_requests: usize) -> Result<(), BoundMet> {
        let Space { in_flight, tenant, .. } = &self.room;
        let more = |n: usize| (n < max_tenant_requests).then_some(n + 1);
        let before = tenant
            .requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| BoundMet::TenantRequests)?;
        if let Err(met) = in_flight.places.take(1, in_flight.asking(before as u64 + 1)) {
            tenant.requests.fetch_sub(1, Ordering::Relaxed);
            return Err(BoundMet::of_requests(met));
        }
        in_flight.metrics.in_flight_requests.inc();
        self.has_place = true;
        Ok(())
    }

    /// Holds `bytes` in all, of which it may hold some already.
    ///
    /// # Errors
    /// The bound that is met; the permit then holds what it held before.
    pub fn hold(&mut self, bytes: u64) -> Result<(), BoundMet> {
        match bytes.saturating_sub(self.room.bytes) {
            0 => Ok(()),
            more => self.room.grow(more),
        }
    }

    /// Holds `bytes` in all for what is made of the body, of which it may hold some already. They are no matter of the
    /// tenant's bound: a body that may be sent can be worked on.
    ///
    /// # Errors
    /// The bound that is met; the permit then holds what it held before.
    pub fn hold_work(&mut self, bytes: u64) -> Result<(), BoundMet> {
        match bytes.saturating_sub(self.room.work) {
            0 => Ok(()),
            more => self.room.grow_work(more),
        }
    }

    /// # Errors
    /// The bound that so many bytes of one body would meet whatever anybody gives back.
    pub(super) fn may_ever_hold(&self, bytes: u64) -> Result<(), BoundMet> {
        let Space {
            in_flight,
            max_tenant_bytes,
            ..
        } = &self.room;
        match bytes {
            _ if bytes > *max_tenant_bytes => Err(BoundMet::TenantBytes),
            _ if bytes > in_flight.bytes.most() => Err(BoundMet::Bytes),
            _ => Ok(()),
        }
    }

    /// Empty room for what it lacks of all that is needed.
    pub(super) fn lacks(&self, need: Need) -> (Space, Need) {
        let Space {
            in_flight,
            tenant,
            max_tenant_bytes,
            ..
        } = &self.room;
        let bytes = need.bytes.saturating_sub(self.room.bytes);
        // No write has so much that others wait for it alone, or waits for what may never be there.
        let most = in_flight
            .memory
            .guaranteed(Kind::Bodies)
            .min(in_flight.bytes.most() / 3);
        let lacking = Need {
            bytes,
            work: need
                .work
                .min(most.saturating_sub(need.bytes))
                .saturating_sub(self.room.work),
        };
        (Space::empty(in_flight, tenant, *max_tenant_bytes), lacking)
    }

    /// Holds what `room` held as well.
    pub(super) fn absorb(&mut self, mut room: Space) {
        let own = &mut self.room;
        own.bytes += std::mem::take(&mut room.bytes);
        own.work += std::mem::take(&mut room.work);
        own.memory.absorb(&mut room.memory);
    }

    /// Gives back all but `bytes`.
    pub fn keep(&mut self, bytes: u64) {
        let room = &mut self.room;
        room.give_back(room.bytes.saturating_sub(bytes), room.work);
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.room.bytes + self.room.work
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Space { in_flight, tenant, .. } = &self.room;
        if self.has_place {
            tenant.requests.fetch_sub(1, Ordering::Relaxed);
            in_flight.places.give_back(1);
            in_flight.metrics.in_flight_requests.dec();
        }
        if tenant.permits.fetch_sub(1, Ordering::Relaxed) == 1 {
            in_flight.tenants.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Space {
    fn empty(in_flight: &Arc<InFlight>, tenant: &Arc<Count>, max_tenant_bytes: u64) -> Self {
        Self {
            memory: in_flight.memory.open(Kind::Bodies),
            in_flight: Arc::clone(in_flight),
            tenant: Arc::clone(tenant),
            max_tenant_bytes,
            bytes: 0,
            work: 0,
        }
    }

    fn grow(&mut self, more: u64) -> Result<(), BoundMet> {
        self.take(more, 0, |in_flight, own| {
            in_flight.bytes.take(more, in_flight.asking(own))
        })
    }

    fn grow_work(&mut self, more: u64) -> Result<(), BoundMet> {
        let held = self.bytes + self.work;
        self.take(0, more, |in_flight, own| {
            in_flight.bytes.take_alone_or(more, held, in_flight.asking(own + more))
        })
    }

    /// All that it needs, whatever the tenant's part of the whole. Of memory an eighth of the whole is left to small writes,
    /// unless nobody holds anything.
    pub(super) fn grow_in_turn(&mut self, need: Need) -> Result<(), BoundMet> {
        let Need { bytes, work } = need;
        let InFlight { memory, bytes: all, .. } = &*self.in_flight;
        let spare = (bytes + work).saturating_add(all.most() / 8);
        if memory.held(Kind::Bodies) > 0 && memory.room(Kind::Bodies) < spare {
            return Err(Full(Kind::Bodies).into());
        }
        self.take(bytes, work, |in_flight, _| in_flight.bytes.take_in_turn(bytes + work))
    }

    fn take(
        &mut self,
        bytes: u64,
        work: u64,
        of_whole: impl FnOnce(&InFlight, u64) -> Result<(), Closed>,
    ) -> Result<(), BoundMet> {
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= self.max_tenant_bytes);
        let tenant = &self.tenant.bytes;
        let before = tenant.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let before = before.map_err(|_| BoundMet::TenantBytes)?;
        if let Err(met) = of_whole(&self.in_flight, before + bytes) {
            tenant.fetch_sub(bytes, Ordering::Relaxed);
            return Err(BoundMet::of_bytes(met));
        }
        if let Err(full) = self.memory.grow(bytes + work) {
            tenant.fetch_sub(bytes, Ordering::Relaxed);
            self.in_flight.bytes.give_back(bytes + work);
            return Err(full.into());
        }
        self.bytes += bytes;
        self.work += work;
        self.in_flight.metrics.in_flight_bytes.inc_by(signed(bytes + work));
        Ok(())
    }

    fn give_back(&mut self, bytes: u64, work: u64) {
        if bytes + work == 0 {
            return;
        }
        self.bytes -= bytes;
        self.work -= work;
        self.memory.shrink(bytes + work);
        self.tenant.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.in_flight.bytes.give_back(bytes + work);
        self.in_flight.metrics.in_flight_bytes.dec_by(signed(bytes + work));
        self.in_flight.freed.tell();
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.give_back(self.bytes, self.work);
    }
}

impl Freed {
    pub(super) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Tells one of those who wait, who asks for all.
    pub(super) fn tell(&self) {
        if self.is_waited_for() {
            self.told.notify_one();
        }
    }

    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

impl Count {
    /// Body bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Requests that have a place.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl BoundMet {
    fn of_requests(met: Closed) -> Self {
        match met {
            Closed::Whole => Self::Requests,
            Closed::Share => Self::ShareOfRequests,
        }
    }

    fn of_bytes(met: Closed) -> Self {
        match met {
            Closed::Whole => Self::Bytes,
            Closed::Share => Self::ShareOfBytes,
        }
    }
}

#[cfg(test)]
mod tests;
