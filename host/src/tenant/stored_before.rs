//! What receivers may have stored of writes that the sender was told to send again.
//!
//! Takes what became of the parts of a write that was answered 503; says of a part that a receiver refuses now what became
//! of the same bytes before. Asked and told after failures alone. Never holds a body, and forgets after some minutes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::memory::{Held, Kind, Memory};
use crate::wire::BodyHash;

/// Senders come again within a minute, unless a receiver asked them to wait longer. Whoever comes later hears what the
/// receiver says.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Parts of one tenant: as many as ten Prometheus servers with 50 connections have under way. The oldest go first.
const MOST: usize = 512;
/// A write has few parts, and most tenants' writes fail seldom.
const FIRST: usize = 8;

/// What became of a part when it was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Before {
    /// No receiver said so, but it may be.
    MayBeStored,
    /// A receiver acknowledged every sample of it.
    Stored,
}

/// One tenant's.
#[derive(Default)]
pub struct StoredBefore(Mutex<Option<Table>>);

struct Table {
    parts: Vec<Part>,
    held: Held,
}

#[derive(Clone, Copy)]
struct Part {
    hash: BodyHash,
    before: Before,
    told: Instant,
}

impl StoredBefore {
    /// Remembers a part that the sender is told to send again. Where there is no memory for it, nothing is remembered,
    /// and a second time is told as what the receiver says.
    pub fn note(&self, hash: BodyHash, before: Before, memory: &Arc<Memory>, now: Instant) {
        let mut table = self.locked();
        let table = table.get_or_insert_with(|| Table {
            parts: Vec::new(),
            held: memory.open(Kind::Bodies),
        });
        table.note(Part {
            hash,
            before,
            told: now,
        });
    }

    /// Hashes nothing where nothing is remembered.
    pub fn find(&self, hash: impl FnOnce() -> BodyHash, now: Instant) -> Option<Before> {
        let table = self.locked();
        let (parts, hash) = (&table.as_ref()?.parts, hash());
        let part = parts.iter().find(|part| part.hash == hash)?;
        part.is_remembered(now).then_some(part.before)
    }

    pub(super) fn forget_old(&self, now: Instant) {
        let mut table = self.locked();
        if table
            .as_ref()
            .is_some_and(|table| !table.parts.iter().any(|part| part.is_remembered(now)))
        {
            *table = None;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Table>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// What was stored once is stored, whatever becomes of it the next time.
    fn note(&mut self, part: Part) {
        if let Some(known) = self.parts.iter_mut().find(|known| known.hash == part.hash) {
            let before = match known.is_remembered(part.told) {
                true => known.before.max(part.before),
                false => part.before,
            };
            *known = Part { before, ..part };
        } else if self.has_room() {
            self.parts.push(part);
        } else if let Some(oldest) = self.parts.iter_mut().min_by_key(|known| known.told) {
            *oldest = part;
        }
    }

    /// Makes room for twice as many, if it may.
    fn has_room(&mut self) -> bool {
        let more = self.parts.len().max(FIRST);
        if self.parts.len() < self.parts.capacity() {
            return true;
        }
        let may_grow = self.parts.len() < MOST && self.held.grow((more * size_of::<Part>()) as u64).is_ok();
        if may_grow {
            self.parts.reserve_exact(more);
        }
        may_grow
    }
}

impl Part {
    fn is_remembered(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.told) < REMEMBERED
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::NO_LIMIT;
    use crate::telemetry::Metrics;
    use crate::wire::HashKey;

    fn memory(limit: u64) -> Arc<Memory> {
        Memory::new(limit, Arc::new(Metrics::new()))
    }

    struct Bodies(HashKey);

    impl Bodies {
        fn hash(&self, n: usize) -> BodyHash {
            self.0.hash_body(&n.to_le_bytes(), "soft")
        }
    }

    fn bodies() -> Bodies {
        Bodies(HashKey::random().unwrap())
    }

    #[test]
    fn what_was_stored_once_stays_stored_until_it_is_forgotten() {
        let (bodies, memory, parts) = (bodies(), memory(NO_LIMIT), StoredBefore::default());
        let (one, other, start) = (bodies.hash(1), bodies.hash(2), Instant::now());
        assert_eq!(parts.find(|| one, start), None);
        parts.note(one, Before::MayBeStored, &memory, start);
        assert_eq!(parts.find(|| one, start), Some(Before::MayBeStored));
        parts.note(one, Before::Stored, &memory, start);
        parts.note(one, Before::MayBeStored, &memory, start);
        assert_eq!(
            (parts.find(|| one, start), parts.find(|| other, start)),
            (Some(Before::Stored), None)
        );
        let last = start + REMEMBERED - Duration::from_nanos(1);
        assert_eq!(parts.find(|| one, last), Some(Before::Stored));
        let late = start + REMEMBERED;
        assert_eq!(parts.find(|| one, late), None);
        parts.note(one, Before::MayBeStored, &memory, late);
        assert_eq!(parts.find(|| one, late), Some(Before::MayBeStored));
    }

    #[test]
    fn the_same_bytes_for_another_upstream_are_another_part() {
        let key = HashKey::random().unwrap();
        assert_eq!(key.hash_body(b"a", "soft"), key.hash_body(b"a", "soft"));
        assert_ne!(key.hash_body(b"a", "soft"), key.hash_body(b"a", "other"));
        assert_ne!(key.hash_body(b"a", "soft"), key.hash_body(b"b", "soft"));
    }

    #[test]
    fn the_oldest_of_many_go_first_and_no_more_memory_is_taken() {
        let (bodies, memory, parts) = (bodies(), memory(NO_LIMIT), StoredBefore::default());
        let start = Instant::now();
        let note = |n: usize| {
            let later = start + Duration::from_millis(n as u64);
            parts.note(bodies.hash(n), Before::Stored, &memory, later);
            memory.held(Kind::Bodies)
        };
        assert!(note(0) <= 512);
        let held = (1..MOST).map(note).max().unwrap_or(0);
        assert_eq!(note(MOST), held);
        let now = start + Duration::from_secs(1);
        assert_eq!(parts.find(|| bodies.hash(0), now), None);
        assert!((1..=MOST).all(|n| parts.find(|| bodies.hash(n), now).is_some()));
        assert_eq!(memory.held(Kind::Bodies), held);
        assert!(held <= 32 << 10, "{held}");
        parts.forget_old(now + REMEMBERED / 2);
        assert_eq!(memory.held(Kind::Bodies), held);
        parts.forget_old(now + REMEMBERED);
        assert_eq!(memory.held(Kind::Bodies), 0);
    }

    #[test]
    fn without_memory_nothing_is_remembered_and_nothing_fails() {
        let (bodies, parts, start) = (bodies(), StoredBefore::default(), Instant::now());
        parts.note(bodies.hash(1), Before::Stored, &memory(100), start);
        assert_eq!(parts.find(|| bodies.hash(1), start), None);
    }
}
