//! Spans that have ended and wait for the collector.
//!
//! Takes spans as they end, gives them in batches in the order they came. Bounded in number and in bytes: what finds no room
//! is counted and gone, whoever's it is, and nobody waits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::ReasonLabels;

/// As many as SDKs keep, and what they have at most.
const MOST_SPANS: usize = 2048;
const MOST_BYTES: usize = 4 << 20;
/// Of one request to the collector.
const BATCH_SPANS: usize = 512;
const BATCH_BYTES: usize = 512 << 10;

pub(super) struct SpanQueue {
    waiting: Mutex<Waiting>,
    /// There is a first span, or a whole batch.
    more: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<Bytes>,
    bytes: usize,
}

impl SpanQueue {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            waiting: Mutex::default(),
            more: Notify::new(),
            metrics,
        }
    }

    pub(super) fn push(&self, span: Bytes) {
        let mut waiting = self.locked();
        if waiting.spans.len() >= MOST_SPANS || waiting.bytes + span.len() > MOST_BYTES {
            drop(waiting);
            return self.lost("full", 1);
        }
        waiting.bytes += span.len();
        waiting.spans.push_back(span);
        let is_first = waiting.spans.len() == 1;
        if is_first || waiting.spans.len() >= BATCH_SPANS || waiting.bytes >= BATCH_BYTES {
            drop(waiting);
            self.more.notify_one();
        }
    }

    /// What has waited longest, as far as it is one batch. One span is one, whatever its size.
    pub(super) fn take(&self) -> Option<Vec<Bytes>> {
        let mut waiting = self.locked();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.spans.front() {
            bytes += next.len();
            if batch.len() == BATCH_SPANS || (bytes > BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            waiting.bytes -= next.len();
            batch.extend(waiting.spans.pop_front());
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Waits until there is a first span, and after that until there is a whole batch. It may be told of what was taken
    /// already.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    /// Counts spans that no collector got.
    pub(super) fn lost(&self, reason: &'static str, spans: u64) {
        let lost = self.metrics.trace_spans_dropped.get_or_create(&ReasonLabels { reason });
        lost.inc_by(spans);
    }

    /// Counts spans that a collector took.
    pub(super) fn sent(&self, spans: u64) {
        self.metrics.trace_spans.inc_by(spans);
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn queue() -> SpanQueue {
        SpanQueue::new(Arc::new(Metrics::new()))
    }

    fn full(queue: &SpanQueue) -> u64 {
        let labels = ReasonLabels { reason: "full" };
        queue.metrics.trace_spans_dropped.get_or_create(&labels).get()
    }

    #[test]
    fn what_finds_no_room_by_number_is_counted_and_the_others_go_in_their_order() {
        let queue = queue();
        for number in 0..MOST_SPANS as u32 + 3 {
            queue.push(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        assert_eq!(full(&queue), 3);
        let batches: Vec<_> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(batches.len(), MOST_SPANS / BATCH_SPANS);
        let all: Vec<_> = batches.concat();
        let expected = (0..MOST_SPANS as u32).map(|number| Bytes::copy_from_slice(&number.to_be_bytes()));
        assert_eq!(all, expected.collect::<Vec<_>>());
        queue.push(Bytes::new());
        assert_eq!((queue.take().map(|batch| batch.len()), full(&queue)), (Some(1), 3));
    }

    #[test]
    fn what_finds_no_room_by_bytes_is_counted_and_a_batch_is_no_larger_than_it_may_be() {
        let queue = queue();
        let large = Bytes::from(vec![0; MOST_BYTES / 20]);
        (0..22).for_each(|_| queue.push(large.clone()));
        assert_eq!(full(&queue), 2);
        let batches: Vec<_> = std::iter::from_fn(|| queue.take()).map(|batch| batch.len()).collect();
        assert_eq!(batches, [2; 10]);
        // A span that is larger than a batch goes all the same.
        queue.push(Bytes::from(vec![0; BATCH_BYTES + 1]));
        queue.push(Bytes::new());
        assert_eq!(queue.take().map(|batch| batch.len()), Some(1));
        assert_eq!(queue.take().map(|batch| batch.len()), Some(1));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn who_sends_is_woken_for_the_first_span_and_for_a_whole_batch() {
        let queue = queue();
        assert!(queue.more().now_or_never().is_none());
        queue.push(Bytes::new());
        assert!(queue.more().now_or_never().is_some());
        (2..BATCH_SPANS).for_each(|_| queue.push(Bytes::new()));
        assert!(queue.more().now_or_never().is_none());
        queue.push(Bytes::new());
        assert!(queue.more().now_or_never().is_some());
        assert_eq!(queue.take().map(|batch| batch.len()), Some(BATCH_SPANS));
        queue.push(Bytes::new());
        assert!(queue.more().now_or_never().is_some());
    }
}
