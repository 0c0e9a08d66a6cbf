//! Label sets that a tenant sent lately, for policies to be tried on before they serve.
//!
//! Takes canonical label bytes of series that policies were asked about anyway; keeps the newest one of each of [`PLACES`]
//! places, which the name of its metric leads to by a keyed hash: so metrics of all kinds are there, nobody can aim at a
//! place, and a flood of one metric takes one. Bounded for each tenant, for all together, and by the process's memory.
//! Never asks a policy.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::batch::Batch;
use crate::memory::{Held, Kind, Memory};
use crate::wire::labels::label_bytes;
use crate::wire::{HashKey, NoRandomness};

const PLACES: u64 = 256;
/// Longest label set kept, in bytes.
const MAX_SET: usize = 4 << 10;
/// Most bytes of one tenant.
const MOST_PER_TENANT: u64 = 64 << 10;
/// What every tenant has, however many there are.
const LEAST_PER_TENANT: u64 = 1 << 10;
/// Percent of the process's memory that one kind of what all tenants sent may take.
const PERCENT: u64 = 1;
/// What keeping a set takes beside its bytes.
const RECORD: u64 = 64;

/// What policies are watched with, and what may be kept for it of what tenants send. One per process.
pub struct PolicyWatch {
    memory: Arc<Memory>,
    tenants: AtomicUsize,
    key: HashKey,
    /// A policy is not to serve on: told once for each.
    alarm: Notify,
}

impl PolicyWatch {
    /// # Errors
    /// If the system has no randomness to give.
    pub fn new(memory: &Arc<Memory>) -> Result<Arc<Self>, NoRandomness> {
        Ok(Arc::new(Self {
            memory: Arc::clone(memory),
            tenants: AtomicUsize::new(0),
            key: HashKey::random()?,
            alarm: Notify::new(),
        }))
    }

    /// Ends when a policy was found not to be one that may serve on.
    pub async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    pub(super) fn alarm(&self) {
        self.alarm.notify_one();
    }

    /// Whether the series of these label bytes is among so many of 2^32, by a hash that no plugin can predict.
    pub(super) fn picks(&self, labels: &[u8], of_all: u64) -> bool {
        self.key.hash(labels).low() >> 32 < of_all
    }

    /// What one tenant may keep of what it sent, in bytes, if all of them have a percent of the process's memory for it; as
    /// many as are `within`.
    pub fn share(&self, within: RangeInclusive<u64>) -> u64 {
        let all = self.memory.limit() / 100 * PERCENT;
        let tenants = self.tenants.load(Ordering::Relaxed).max(1) as u64;
        (all / tenants).clamp(*within.start(), *within.end())
    }

    /// A hash that no sender can choose.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.key.hash(bytes).low()
    }

    /// Memory for what is kept of what a tenant sent; nothing is held yet.
    pub fn open(&self) -> Held {
        self.memory.open(Kind::Plugins)
    }
}

/// One tenant's, over all its generations.
pub struct Samples {
    watch: Arc<PolicyWatch>,
    kept: Mutex<Kept>,
}

struct Kept {
    sets: BTreeMap<u64, Box<[u8]>>,
    /// As many bytes as the sets take.
    held: Held,
}

impl Samples {
    pub fn new(watch: &Arc<PolicyWatch>) -> Self {
        watch.tenants.fetch_add(1, Ordering::Relaxed);
        Self {
            kept: Mutex::new(Kept {
                sets: BTreeMap::new(),
                held: watch.open(),
            }),
            watch: Arc::clone(watch),
        }
    }

    pub fn watch(&self) -> &Arc<PolicyWatch> {
        &self.watch
    }

    /// Keeps a label set if there is room for it.
    pub(super) fn note(&self, labels: &[u8]) {
        if labels.len() > MAX_SET {
            return;
        }
        let name = label_bytes(labels).find(|(name, _)| *name == b"__name__");
        let place = self.watch.key.hash(name.map_or(labels, |(_, value)| value)).low() % PLACES;
        let most = self.watch.share(LEAST_PER_TENANT..=MOST_PER_TENANT);
        self.lock().keep(place, labels, most);
    }

    /// All of them; none if nothing was sent yet.
    pub(super) fn batch(&self) -> Batch {
        let (mut body, mut ranges) = (Vec::new(), Vec::new());
        for set in self.lock().sets.values() {
            let start = body.len() as u32;
            body.extend_from_slice(set);
            ranges.push(start..body.len() as u32);
        }
        Batch {
            body: Bytes::from(body),
            labels: ranges,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        self.watch.tenants.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Kept {
    fn keep(&mut self, place: u64, labels: &[u8], most: u64) {
        self.remove(place);
        let bytes = labels.len() as u64 + RECORD;
        // There may be more tenants than when it was filled.
        while self.held.bytes() + bytes > most {
            let Some(first) = self.sets.keys().next().copied() else {
                return;
            };
            self.remove(first);
        }
        if self.held.grow(bytes).is_ok() {
            self.sets.insert(place, labels.into());
        }
    }

    fn remove(&mut self, place: u64) {
        if let Some(set) = self.sets.remove(&place) {
            self.held.shrink(set.len() as u64 + RECORD);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::NO_LIMIT;
    use crate::telemetry::Metrics;
    use crate::wire::labels::encode_labels;

    fn memory(limit: u64) -> Arc<Memory> {
        Memory::new(limit, Arc::new(Metrics::new()))
    }

    fn labels(metric: &str, value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_labels([("__name__", metric), ("value", value)].into_iter(), &mut bytes);
        bytes
    }

    #[test]
    fn a_flood_of_one_metric_takes_one_place_and_the_newest_is_there() {
        let samples = Samples::new(&PolicyWatch::new(&memory(NO_LIMIT)).unwrap());
        for n in 0..1000 {
            samples.note(&labels("up", &n.to_string()));
        }
        let batch = samples.batch();
        assert_eq!(batch.labels.len(), 1);
        assert_eq!(batch.series(0), labels("up", "999"));
    }

    #[test]
    fn what_is_kept_is_bounded_for_one_for_all_and_by_the_memory() {
        let memory = memory(1 << 30);
        let watch = PolicyWatch::new(&memory).unwrap();
        let fill = |samples: &Samples| {
            for n in 0..5000 {
                samples.note(&labels(&format!("metric_{n}"), &"v".repeat(2000)));
            }
        };
        let one = Samples::new(&watch);
        one.note(&labels("up", &"v".repeat(MAX_SET)));
        assert_eq!(memory.held(Kind::Plugins), 0, "too long");
        fill(&one);
        let alone = memory.held(Kind::Plugins);
        assert!(alone > MOST_PER_TENANT / 2 && alone <= MOST_PER_TENANT, "{alone}");
        let others: Vec<Samples> = (0..1000).map(|_| Samples::new(&watch)).collect();
        others.iter().take(20).for_each(fill);
        fill(&one);
        let all = memory.held(Kind::Plugins);
        assert!(all <= 21 * ((1 << 30) / 100 / 1000), "{all}");
        drop(others);
        drop(one);
        assert_eq!(memory.held(Kind::Plugins), 0);
    }
}
