//! Instances that wait for their policy's next call.
//!
//! Takes instances that did well, gives the one used last, which is the warmest. Bounded in number, and in bytes by what
//! others need; the one that waited longest makes room. Never hands an instance to another policy than its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names a policy of a chain, for as long as the process runs.
pub type PolicyId = u64;

/// An instance nobody called for this long is dropped.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub instances: usize,
    pub per_policy: usize,
}

pub struct Warm<T> {
    room: Room,
    shelf: Mutex<Shelf<T>>,
}

struct Shelf<T> {
    policies: HashMap<PolicyId, Vec<Kept<T>>>,
    instances: usize,
}

struct Kept<T> {
    instance: T,
    bytes: u64,
    since: Instant,
}

impl<T> Warm<T> {
    pub fn new(room: Room) -> Self {
        Self {
            room,
            shelf: Mutex::new(Shelf {
                policies: HashMap::new(),
                instances: 0,
            }),
        }
    }

    pub fn take(&self, policy: PolicyId) -> Option<T> {
        let mut shelf = self.lock();
        let kept = shelf.policies.get_mut(&policy)?.pop()?;
        shelf.removed(policy);
        Some(kept.instance)
    }

    pub fn put(&self, policy: PolicyId, instance: T, bytes: u64, now: Instant) {
        let mut over = Vec::new();
        let mut shelf = self.lock();
        shelf.policies.entry(policy).or_default().push(Kept {
            instance,
            bytes,
            since: now,
        });
        shelf.instances += 1;
        if shelf
            .policies
            .get(&policy)
            .is_some_and(|kept| kept.len() > self.room.per_policy)
        {
            over.extend(shelf.take_oldest_of(policy).map(|oldest| oldest.instance));
        }
        while shelf.instances > self.room.instances {
            match shelf.take_oldest() {
                Some(oldest) => over.push(oldest.instance),
                None => break,
            }
        }
        // Dropping unmaps memory: not under the lock.
        drop(shelf);
        drop(over);
    }

    /// Drops the instance that waited longest; false where none waits.
    pub fn make_room(&self) -> bool {
        let oldest = self.lock().take_oldest();
        oldest.is_some()
    }

    /// Drops those that waited longest, until they had as many bytes or none waits.
    pub fn give_way(&self, wanted: u64) {
        let mut given = 0;
        while given < wanted {
            let oldest = self.lock().take_oldest();
            let Some(oldest) = oldest else { return };
            given += oldest.bytes;
        }
    }

    /// Drops what a policy that is no more has left.
    pub fn forget(&self, policy: PolicyId) {
        let mut shelf = self.lock();
        let kept = shelf.policies.remove(&policy).unwrap_or_default();
        shelf.instances -= kept.len();
        drop(shelf);
        drop(kept);
    }

    /// Drops what has waited too long.
    pub fn sweep(&self, now: Instant) {
        let mut idle = Vec::new();
        let mut shelf = self.lock();
        let stale = |kept: &Kept<T>| now.saturating_duration_since(kept.since) >= IDLE;
        let policies: Vec<PolicyId> = shelf.policies.keys().copied().collect();
        for policy in policies {
            while shelf
                .policies
                .get(&policy)
                .and_then(|kept| kept.first())
                .is_some_and(stale)
            {
                idle.extend(shelf.take_oldest_of(policy));
            }
        }
        drop(shelf);
        drop(idle);
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lock().instances
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelf<T>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shelf<T> {
    fn take_oldest(&mut self) -> Option<Kept<T>> {
        let oldest = self
            .policies
            .iter()
            .filter_map(|(policy, kept)| Some((kept.first()?.since, *policy)))
            .min()?;
        self.take_oldest_of(oldest.1)
    }

    /// The first is the oldest: instances are taken from and put at the end.
    fn take_oldest_of(&mut self, policy: PolicyId) -> Option<Kept<T>> {
        let kept = self.policies.get_mut(&policy)?;
        if kept.is_empty() {
            return None;
        }
        let kept = kept.remove(0);
        self.removed(policy);
        Some(kept)
    }

    fn removed(&mut self, policy: PolicyId) {
        self.instances -= 1;
        if self.policies.get(&policy).is_some_and(Vec::is_empty) {
            self.policies.remove(&policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm() -> Warm<&'static str> {
        Warm::new(Room {
            instances: 3,
            per_policy: 2,
        })
    }

    #[test]
    fn the_instance_used_last_is_given_first_and_only_to_its_policy() {
        let (warm, now) = (warm(), Instant::now());
        warm.put(1, "a", 1, now);
        warm.put(1, "b", 1, now + IDLE);
        assert_eq!(warm.take(2), None);
        assert_eq!(warm.take(1), Some("b"));
        assert_eq!(warm.take(1), Some("a"));
        assert_eq!(warm.take(1), None);
        assert_eq!(warm.len(), 0);
    }

    #[test]
    fn the_one_that_waited_longest_makes_room() {
        let (warm, now) = (warm(), Instant::now());
        let second = Duration::from_secs(1);
        warm.put(1, "a", 1, now);
        warm.put(2, "b", 1, now + second);
        warm.put(3, "c", 1, now + second * 2);
        warm.put(4, "d", 1, now + second * 3);
        assert_eq!((warm.len(), warm.take(1)), (3, None));
        assert!(warm.make_room());
        assert_eq!((warm.len(), warm.take(2)), (2, None));
        assert!(warm.make_room() && warm.make_room() && !warm.make_room());
    }

    #[test]
    fn those_that_waited_longest_give_way_to_who_needs_their_memory() {
        let (warm, now) = (warm(), Instant::now());
        for (n, name) in [(1, "a"), (2, "b"), (3, "c")] {
            warm.put(n, name, 10, now + Duration::from_secs(n));
        }
        warm.give_way(0);
        assert_eq!(warm.len(), 3);
        warm.give_way(11);
        assert_eq!((warm.len(), warm.take(3)), (1, Some("c")));
        warm.give_way(u64::MAX);
        assert_eq!(warm.len(), 0);
    }

    #[test]
    fn a_policy_keeps_only_as_many_as_can_run_at_once() {
        let (warm, now) = (warm(), Instant::now());
        for name in ["a", "b", "c"] {
            warm.put(1, name, 1, now);
        }
        assert_eq!((warm.take(1), warm.take(1), warm.take(1)), (Some("c"), Some("b"), None));
    }

    #[test]
    fn idle_ones_and_those_of_a_gone_policy_are_dropped() {
        let (warm, now) = (warm(), Instant::now());
        warm.put(1, "a", 1, now);
        warm.put(1, "b", 1, now + Duration::from_secs(1));
        warm.put(2, "c", 1, now);
        warm.sweep(now + IDLE - Duration::from_nanos(1));
        assert_eq!(warm.len(), 3);
        warm.sweep(now + IDLE);
        assert_eq!(warm.len(), 1);
        warm.forget(1);
        assert_eq!((warm.len(), warm.take(1)), (0, None));
    }
}
