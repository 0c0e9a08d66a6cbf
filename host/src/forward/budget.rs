//! How much an upstream may be asked: requests in flight, and failovers.
//!
//! Takes nothing but counts, gives guards. Shared by an upstream's configurations, so that a reload forgets nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// A request earns a fifth of a failover: where everything fails, the receivers get 20 % more requests, not twice as
/// many.
const EARNED: u32 = 1;
const COST: u32 = 5;

/// Failovers saved up. A receiver that dies takes all that is in flight to it along at once; a hundred writes is what
/// two Prometheus servers have.
const MOST_SAVED: u32 = 100 * COST;

#[derive(Debug)]
pub struct Load {
    in_flight: AtomicUsize,
    saved: AtomicU32,
}

/// A place among the requests in flight, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Load>);

impl Default for Load {
    fn default() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            saved: AtomicU32::new(MOST_SAVED),
        }
    }
}

impl Load {
    /// `None` if `max` requests are in flight already.
    pub fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        let more = |n: usize| (n < max).then_some(n + 1);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        let earn = |saved: u32| (saved < MOST_SAVED).then(|| (saved + EARNED).min(MOST_SAVED));
        // An error says that nothing more can be saved.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earn);
        Some(Place(Arc::clone(self)))
    }

    /// Whether a failed request may be sent to another endpoint; counts it as sent.
    pub fn may_fail_over(&self) -> bool {
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(COST))
            .is_ok()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_met_exactly_and_places_come_back() {
        let load = Arc::new(Load::default());
        let places: Vec<Place> = (0..3).map(|_| load.enter(3).unwrap()).collect();
        assert!(load.enter(3).is_none());
        assert!(load.enter(4).is_some());
        drop(places);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn where_everything_fails_one_request_in_five_is_sent_twice() {
        let load = Arc::new(Load::default());
        let burst = (0..1000).filter(|_| load.may_fail_over()).count();
        assert_eq!(burst, 100);
        let after = (0..1000)
            .filter(|_| {
                drop(load.enter(1));
                load.may_fail_over()
            })
            .count();
        assert_eq!(after, 200);
    }
}
