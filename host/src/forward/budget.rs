//! How much an upstream may be asked: requests in flight, and failovers.
//!
//! Takes nothing but counts, gives guards. Shared by an upstream's configurations, so that a reload forgets nothing. All
//! upstreams share what the writes that the process may serve at once send, so that those that wait for one that hangs leave room for
//! the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::limits::{Asking, Rule, Whole};

/// Of the requests under way to all upstreams. A receiver that is well answers in milliseconds: even a few are thousands of
/// writes a second.
const SHARE: Rule = Rule {
    kept_free: 12,
    little: 4,
};

/// A request earns a fifth of a failover: where everything fails, the receivers get 20 % more requests, not twice as
/// many.
const EARNED: u32 = 1;
const COST: u32 = 5;

/// Failovers saved up. A receiver that dies takes all that is in flight to it along at once; a hundred writes is what
/// two Prometheus servers have.
const MOST_SAVED: u32 = 100 * COST;

/// What is under way to all upstreams together.
#[derive(Debug)]
pub struct All {
    places: Whole,
    /// Upstreams with requests in flight.
    busy: AtomicUsize,
}

#[derive(Debug)]
pub struct Load {
    all: Arc<All>,
    in_flight: AtomicUsize,
    saved: AtomicU32,
}

/// A place among the requests in flight, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Load>);

impl All {
    /// `max` is what the writes that the process may serve at once send.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Whole::new(max as u64, SHARE),
            busy: AtomicUsize::new(0),
        })
    }

    pub fn set_max(&self, max: usize) {
        self.places.set_most(max as u64);
    }
}

impl Load {
    pub fn new(all: &Arc<All>) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::clone(all),
            in_flight: AtomicUsize::new(0),
            saved: AtomicU32::new(MOST_SAVED),
        })
    }

    /// `None` if `max` requests are in flight already, or as many as this upstream may have of those to all.
    pub fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        let more = |n: usize| (n < max).then_some(n + 1);
        let before = self
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        if before == 0 {
            self.all.busy.fetch_add(1, Ordering::Relaxed);
        }
        let asking = Asking {
            own: before as u64 + 1,
            sharers: self.all.busy.load(Ordering::Relaxed),
        };
        if self.all.places.take(1, asking).is_err() {
            self.leave();
            return None;
        }
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

    fn leave(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.all.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.all.places.give_back(1);
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_met_exactly_and_places_come_back() {
        let load = Load::new(&All::new(100));
        let places: Vec<Place> = (0..3).map(|_| load.enter(3).unwrap()).collect();
        assert!(load.enter(3).is_none());
        assert!(load.enter(4).is_some());
        drop(places);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn one_upstream_that_hangs_leaves_room_for_the_others() {
        let all = All::new(1024);
        let (hangs, well) = (Load::new(&all), Load::new(&all));
        let held: Vec<Place> = std::iter::from_fn(|| hangs.enter(usize::MAX)).collect();
        assert_eq!(held.len(), 904);
        let others: Vec<Place> = std::iter::from_fn(|| well.enter(usize::MAX)).collect();
        assert_eq!(others.len(), 64);
        // Where both are busy, each has a half of what is left of it at least.
        drop(held);
        let held: Vec<Place> = std::iter::from_fn(|| hangs.enter(usize::MAX)).collect();
        assert!(held.len() < 512, "{}", held.len());
        drop((held, others));
        assert_eq!((all.places.taken(), all.busy.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn where_everything_fails_one_request_in_five_is_sent_twice() {
        let load = Load::new(&All::new(100));
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
