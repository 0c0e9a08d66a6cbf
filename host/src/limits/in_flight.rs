//! Bytes and requests held at once, for the whole process and per tenant.
//!
//! Takes a tenant's count and its limits with every request, so that a reload changes them while requests are in
//! flight; gives permits that return what they hold when dropped. Never queues: see `limits`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::Limits;
use crate::telemetry::Metrics;

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
}

/// The counts of the process. One per process; outlives reloads.
#[derive(Debug)]
pub struct InFlight {
    metrics: Arc<Metrics>,
    total: Count,
    max_requests: AtomicUsize,
    max_bytes: AtomicU64,
}

/// What one tenant holds, or all of them together.
#[derive(Debug, Default)]
pub struct Count {
    requests: AtomicUsize,
    bytes: AtomicU64,
}

/// One request and the body bytes it holds. Returns both when dropped.
#[derive(Debug)]
pub struct Permit {
    in_flight: Arc<InFlight>,
    tenant: Arc<Count>,
    max_tenant_bytes: u64,
    bytes: u64,
}

impl InFlight {
    /// `max_bytes` and `max_requests` bound all tenants together.
    pub fn new(metrics: Arc<Metrics>, max_bytes: u64, max_requests: usize) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            total: Count::default(),
            max_requests: AtomicUsize::new(max_requests),
            max_bytes: AtomicU64::new(max_bytes),
        })
    }

    /// Changes the bounds for all tenants together. Permits already given stay.
    pub fn set_limits(&self, max_bytes: u64, max_requests: usize) {
        self.max_bytes.store(max_bytes, Ordering::Relaxed);
        self.max_requests.store(max_requests, Ordering::Relaxed);
    }

    /// A permit for one request of the tenant that `count` counts for, which holds `bytes` for now.
    ///
    /// # Errors
    /// The first bound that is met, the tenant's own first: a tenant over its share is told so even when the process
    /// is full. Nothing is held then.
    pub fn try_acquire(self: &Arc<Self>, count: &Arc<Count>, limits: &Limits, bytes: u64) -> Result<Permit, BoundMet> {
        if !count.add_request(limits.max_concurrent_requests) {
            return Err(BoundMet::TenantRequests);
        }
        if !self.total.add_request(self.max_requests.load(Ordering::Relaxed)) {
            count.requests.fetch_sub(1, Ordering::Relaxed);
            return Err(BoundMet::Requests);
        }
        self.metrics.in_flight_requests.inc();
        // From here on dropping the permit gives everything back.
        let mut permit = Permit {
            in_flight: Arc::clone(self),
            tenant: Arc::clone(count),
            max_tenant_bytes: limits.max_in_flight_size,
            bytes: 0,
        };
        permit.grow(bytes)?;
        Ok(permit)
    }

    /// Of all tenants together.
    pub fn total(&self) -> &Count {
        &self.total
    }
}

impl Permit {
    /// Holds `more` bytes on top, the decoded body for instance.
    ///
    /// # Errors
    /// The bound that is met; the permit then holds what it held before.
    pub fn grow(&mut self, more: u64) -> Result<(), BoundMet> {
        if !self.tenant.add_bytes(more, self.max_tenant_bytes) {
            return Err(BoundMet::TenantBytes);
        }
        let max = self.in_flight.max_bytes.load(Ordering::Relaxed);
        if !self.in_flight.total.add_bytes(more, max) {
            self.tenant.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(BoundMet::Bytes);
        }
        self.bytes += more;
        self.in_flight.metrics.in_flight_bytes.inc_by(signed(more));
        Ok(())
    }

    /// Gives `less` of the held bytes back.
    pub fn shrink(&mut self, less: u64) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.tenant.bytes.fetch_sub(less, Ordering::Relaxed);
        self.in_flight.total.bytes.fetch_sub(less, Ordering::Relaxed);
        self.in_flight.metrics.in_flight_bytes.dec_by(signed(less));
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink(self.bytes);
        self.tenant.requests.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.total.requests.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.metrics.in_flight_requests.dec();
    }
}

impl Count {
    /// Body bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn add_request(&self, max: usize) -> bool {
        self.requests
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1))
            .is_ok()
    }

    fn add_bytes(&self, more: u64, max: u64) -> bool {
        let fits = |held: u64| held.checked_add(more).filter(|sum| *sum <= max);
        // Nothing more is always held, also where a reload put the bound below what is in flight.
        more == 0
            || self
                .bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
                .is_ok()
    }
}

/// The gauge is signed; a count beyond 2^63 bytes cannot be held by any machine.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    fn limits(bytes: u64, requests: usize) -> Limits {
        Limits {
            max_in_flight_size: bytes,
            max_concurrent_requests: requests,
            ..defaults::LIMITS
        }
    }

    fn tenant() -> Arc<Count> {
        Arc::default()
    }

    fn in_flight(bytes: u64, requests: usize) -> Arc<InFlight> {
        InFlight::new(Arc::new(Metrics::new()), bytes, requests)
    }

    fn held(all: &InFlight) -> (usize, u64, i64, i64) {
        let metrics = &all.metrics;
        (
            all.total().requests(),
            all.total().bytes(),
            metrics.in_flight_requests.get(),
            metrics.in_flight_bytes.get(),
        )
    }

    #[test]
    fn each_bound_is_met_exactly_and_told_by_its_name() {
        let all = in_flight(100, 3);
        let (a, b) = (tenant(), tenant());
        let small = limits(60, 2);
        let refused = |tenant: &Arc<Count>, limits: &Limits, bytes| all.try_acquire(tenant, limits, bytes).err();

        let _one = all.try_acquire(&a, &small, 60).unwrap();
        assert_eq!(refused(&a, &small, 1), Some(BoundMet::TenantBytes));
        let _two = all.try_acquire(&a, &small, 0).unwrap();
        assert_eq!(refused(&a, &small, 0), Some(BoundMet::TenantRequests));
        assert_eq!(refused(&b, &small, 41), Some(BoundMet::Bytes));
        let _three = all.try_acquire(&b, &small, 40).unwrap();
        assert_eq!(refused(&b, &small, 0), Some(BoundMet::Requests));
        // What was refused holds nothing.
        assert_eq!(held(&all), (3, 100, 3, 100));
    }

    #[test]
    fn dropping_permits_returns_everything() {
        let all = in_flight(100, 10);
        let permits: Vec<Permit> = (0..10)
            .map(|_| all.try_acquire(&tenant(), &limits(10, 1), 10).unwrap())
            .collect();
        assert_eq!(held(&all), (10, 100, 10, 100));
        drop(permits);
        assert_eq!(held(&all), (0, 0, 0, 0));
    }

    #[test]
    fn a_permit_grows_up_to_the_bounds_and_keeps_what_it_has_when_refused() {
        let all = in_flight(100, 10);
        let (a, b) = (tenant(), tenant());
        let mut permit = all.try_acquire(&a, &limits(50, 1), 10).unwrap();
        assert_eq!(permit.grow(40), Ok(()));
        assert_eq!(permit.grow(1), Err(BoundMet::TenantBytes));
        assert_eq!(permit.grow(u64::MAX), Err(BoundMet::TenantBytes));
        assert_eq!(permit.bytes(), 50);
        let mut other = all.try_acquire(&b, &limits(100, 1), 0).unwrap();
        assert_eq!(other.grow(51), Err(BoundMet::Bytes));
        assert_eq!(other.grow(50), Ok(()));
        permit.shrink(20);
        assert_eq!(all.total().bytes(), 80);
        assert_eq!(other.grow(20), Ok(()));
        // No more comes back than was taken.
        permit.shrink(1000);
        assert_eq!((permit.bytes(), all.total().bytes()), (0, 70));
    }

    #[test]
    fn changed_limits_hold_at_once_and_end_nothing() {
        let all = in_flight(100, 10);
        let a = tenant();
        let mut old = all.try_acquire(&a, &limits(80, 5), 80).unwrap();
        assert_eq!(
            all.try_acquire(&a, &limits(10, 1), 0).err(),
            Some(BoundMet::TenantRequests)
        );
        assert_eq!(
            all.try_acquire(&a, &limits(10, 5), 1).err(),
            Some(BoundMet::TenantBytes)
        );
        let _new = all.try_acquire(&a, &limits(90, 5), 10).unwrap();
        all.set_limits(50, 10);
        assert_eq!(old.grow(0), Ok(()));
        old.shrink(70);
        assert_eq!(all.try_acquire(&a, &limits(90, 5), 31).err(), Some(BoundMet::Bytes));
        assert!(all.try_acquire(&a, &limits(90, 5), 30).is_ok());
    }
}
