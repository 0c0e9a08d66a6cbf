//! Decisions about writes, remembered.
//!
//! Takes a write as one generation of a chain was told it, with what the whole chain decided; gives the decision back
//! for a write that is the same in every field. Holds [`PLACES`] decisions of at most [`MAX_WEIGHT`] each, 1 MiB if
//! a policy makes the worst of it, whatever senders send. Never asks a policy, and never knows which fields count:
//! those that do not are zero by the time they come here.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::write::{Decision, Write};

/// A tenant's senders times the few sizes of their usual writes. They are searched one after the other.
const PLACES: usize = 128;
/// Longest write and decision kept, in bytes: some forty routed streams.
const MAX_WEIGHT: usize = 8 << 10;
/// What the records around the text of one stream, route or charge take, in bytes.
const RECORD: usize = 64;

#[derive(Default)]
pub struct Decisions {
    /// Keyed, so that no sender can aim at a place.
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Apart from the rest, so that looking through them touches little memory.
    hashes: Vec<u64>,
    entries: Vec<Entry>,
    stored: usize,
}

struct Entry {
    write: Write,
    decision: Decision,
}

impl Decisions {
    pub fn find(&self, write: &Write) -> Option<Decision> {
        let hash = self.hasher.hash_one(write);
        let known = self.lock();
        let at = known.find(hash, write)?;
        Some(known.entries[at].decision.clone())
    }

    pub fn store(&self, write: Write, decision: &Decision) {
        if weight(&write, decision) > MAX_WEIGHT {
            return;
        }
        let hash = self.hasher.hash_one(&write);
        let entry = Entry {
            write,
            decision: decision.clone(),
        };
        // Freed after the lock is.
        let _replaced = self.lock().store(hash, entry);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&self, hash: u64, write: &Write) -> Option<usize> {
        let same = |at: &usize| self.hashes[*at] == hash && self.entries[*at].write == *write;
        (0..self.hashes.len()).find(same)
    }

    fn store(&mut self, hash: u64, entry: Entry) -> Option<Entry> {
        // Two writes that were decided at the same time.
        if self.find(hash, &entry.write).is_some() {
            return Some(entry);
        }
        if self.entries.len() < PLACES {
            self.hashes.push(hash);
            self.entries.push(entry);
            return None;
        }
        // Which one makes room is left to chance: of more senders than places, taking turns, the oldest one's decision
        // would always be gone just before it is wanted.
        self.stored = self.stored.wrapping_add(1);
        let at = (hash as usize).wrapping_add(self.stored) % PLACES;
        self.hashes[at] = hash;
        Some(std::mem::replace(&mut self.entries[at], entry))
    }
}

/// About how many bytes an entry takes.
fn weight(write: &Write, decision: &Decision) -> usize {
    let streams = write.streams.iter().map(|(name, _)| RECORD + name.len());
    let decided = match decision {
        Decision::Reject { reason, .. } => reason.len(),
        Decision::Admit(terms) => {
            let charges = terms.charges.iter().map(|charge| RECORD + charge.bucket.len());
            let routes = terms.routes.iter();
            let routes = routes.map(|(stream, upstream)| RECORD + stream.len() + upstream.len());
            charges.chain(routes).sum()
        }
    };
    write.subject.len() + streams.sum::<usize>() + decided
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::chain::Terms;

    fn write(subject: &str) -> Write {
        Write {
            subject: subject.to_owned(),
            protocol: crate::model::Protocol::V1,
            ..Write::default()
        }
    }

    fn rejection(reason: &str) -> Decision {
        Decision::Reject {
            policy: Arc::from("limits"),
            reason: Arc::from(reason),
        }
    }

    #[test]
    fn a_decision_is_found_for_the_same_write_and_no_other() {
        let totals = |samples| crate::model::Totals {
            samples,
            ..Default::default()
        };
        let written = Write {
            streams: vec![(Arc::from(""), totals(1)), (Arc::from("kube"), totals(2))],
            new_series: 3,
            ..write("a")
        };
        let decisions = Decisions::default();
        decisions.store(written.clone(), &rejection("no"));
        assert_eq!(decisions.find(&written.clone()), Some(rejection("no")));
        let others: [fn(&mut Write); 9] = [
            |w| w.subject = "b".to_owned(),
            |w| w.protocol = crate::model::Protocol::V2,
            |w| w.compressed_bytes = 1,
            |w| w.decoded_bytes = 1,
            |w| w.active_series = 1,
            |w| w.new_series = 4,
            |w| w.streams[1].0 = Arc::from("kubes"),
            |w| w.streams[1].1.samples = 3,
            |w| w.streams.swap(0, 1),
        ];
        for (at, change) in others.into_iter().enumerate() {
            let mut other = written.clone();
            change(&mut other);
            assert_eq!(decisions.find(&other), None, "{at}");
        }
    }

    #[test]
    fn however_many_writes_come_only_so_many_decisions_are_held() {
        let decisions = Decisions::default();
        for n in 0..PLACES * 20 {
            decisions.store(write(&n.to_string()), &rejection(""));
            assert!(decisions.find(&write(&n.to_string())).is_some(), "{n}");
        }
        let known = decisions.lock();
        assert_eq!((known.hashes.len(), known.entries.len()), (PLACES, PLACES));
        drop(known);
        let left = (0..PLACES * 20).filter(|n| decisions.find(&write(&n.to_string())).is_some());
        assert_eq!(left.count(), PLACES);
    }

    #[test]
    fn the_same_write_takes_one_place() {
        let decisions = Decisions::default();
        decisions.store(write("a"), &rejection("no"));
        decisions.store(write("a"), &rejection("no"));
        assert_eq!(decisions.lock().entries.len(), 1);
    }

    #[test]
    fn what_is_too_long_is_not_held() {
        let decisions = Decisions::default();
        let held = |write: Write, decision| {
            decisions.store(write.clone(), &decision);
            decisions.find(&write).is_some()
        };
        assert!(held(write(&"a".repeat(MAX_WEIGHT)), rejection("")));
        assert!(!held(write(&"b".repeat(MAX_WEIGHT)), rejection("c")));
        let streams = |n: usize| Write {
            streams: (0..n)
                .map(|n| (Arc::from(format!("{n:064}")), crate::model::Totals::default()))
                .collect(),
            ..write("")
        };
        assert!(held(streams(MAX_WEIGHT / (RECORD + 64)), rejection("")));
        assert!(!held(streams(MAX_WEIGHT / (RECORD + 64) + 1), rejection("")));
        let routes = |n: usize| {
            let routes = vec![(Arc::from("s"), Arc::from("u")); n];
            let charges = vec![];
            Decision::Admit(Arc::new(Terms { charges, routes }))
        };
        assert!(held(write("few"), routes(40)));
        assert!(!held(write("many"), routes(400)));
    }
}
