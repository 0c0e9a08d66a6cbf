//! How long something took, by the bound it stayed under.
//!
//! Takes seconds, gives a histogram for `/metrics` and its buckets for whoever shows them. Of these `/metrics` has every other
//! one: each tenant has them, and half of them are half of what a Prometheus keeps. Never locks: the library's own histogram
//! holds a lock for each observation and does not give its buckets out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// 1 ms to 32 s by doubling: one call to an upstream is 2-20 ms, the longest timeout 30 s.
const BOUNDS: usize = 16;
const LEAST: f64 = 0.001;
/// The finite bounds, and what took longer than any.
pub(super) const BUCKETS: usize = BOUNDS + 1;

/// The finite bounds, in seconds.
fn bounds() -> impl Iterator<Item = f64> {
    (0..BOUNDS).map(bound)
}

/// A histogram of seconds. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Durations(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    nanoseconds: AtomicU64,
    /// The last one is of what took longer than any bound.
    within: [AtomicU64; BUCKETS],
}

impl Durations {
    pub fn observe(&self, seconds: f64) {
        let at = bounds().position(|bound| seconds <= bound).unwrap_or(BOUNDS);
        if let Some(count) = self.0.within.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.nanoseconds.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }

    /// Upper bounds in seconds, the last one infinite, each with how many stayed under it and over the one before.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        (0..BUCKETS).map(bound).zip(self.counts()).collect()
    }

    /// The same without the bounds.
    pub(super) fn counts(&self) -> [u64; BUCKETS] {
        std::array::from_fn(|at| self.0.within[at].load(Ordering::Relaxed))
    }
}

/// The seconds under which a `share` of all stayed, as PromQL's `histogram_quantile` has it. None of none.
pub(super) fn quantile(counts: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let wanted = counts.iter().sum::<u64>() as f64 * share;
    let mut below = 0.0;
    for (at, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let from = if at == 0 { 0.0 } else { bound(at - 1) };
            let width = if at < BOUNDS { bound(at) - from } else { 0.0 };
            return Some(from + width * ((wanted - below) / count));
        }
        below += count;
    }
    None
}

/// How many were within each bound and over the one before, of every other bound, the last finite one among them.
fn halved(buckets: &[(f64, u64)]) -> Vec<(f64, u64)> {
    let pairs = buckets.chunks(2).filter_map(|pair| {
        let (bound, _) = *pair.last()?;
        Some((bound, pair.iter().map(|(_, count)| count).sum()))
    });
    pairs.collect()
}

fn bound(at: usize) -> f64 {
    match at {
        0..BOUNDS => LEAST * f64::from(1_u32 << at),
        _ => f64::INFINITY,
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let buckets = halved(&self.buckets());
        let sum = self.0.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn the_text_is_the_one_that_the_librarys_histogram_gives() {
        let texts = [true, false].map(|ours| {
            let mut registry = Registry::default();
            let (durations, theirs) = (
                Durations::default(),
                prometheus_client::metrics::histogram::Histogram::new((1..BOUNDS).step_by(2).map(bound)),
            );
            for seconds in [0.0, 0.001, 0.0015, 0.25, 32.768, 33.0] {
                durations.observe(seconds);
                theirs.observe(seconds);
            }
            match ours {
                true => registry.register("took", "Help.", durations),
                false => registry.register("took", "Help.", theirs),
            }
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        });
        assert_eq!(texts[0], texts[1]);
        assert!(texts[0].contains("took_bucket{le=\"0.002\"} 3"), "{}", texts[0]);
        assert_eq!(texts[0].matches("took_bucket").count(), BOUNDS / 2 + 1);
    }
}
