//! All spans that have ended, to the collector, in batches.
//!
//! Takes the queue and whichever collector is configured at the time; gives nothing but counts. A batch that is not taken is
//! tried again for a minute, longer apart each time, while the queue fills and what finds no room there goes. Told to stop, it
//! sends what is left, as long as it is taken at once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, NotTaken};
use super::otlp;
use super::tracer::Tracer;
use crate::model::plain;
use crate::telemetry::Throttle;

/// How long a span waits for others to be sent with.
const EVERY: Duration = Duration::from_secs(1);
/// Between tries of one batch.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(16);
/// After which a batch makes room for newer ones.
const PATIENCE: Duration = Duration::from_secs(60);
/// One line in this time about a collector.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Of a collector's text, in the log.
const SHOWN: usize = 200;

struct Exporter<'a, C> {
    tracer: &'a Tracer,
    collector: C,
    stop: &'a CancellationToken,
    told: Throttle,
}

/// Sends until it is told to stop, and then what is left. `collector` is asked for each try: a reload may have changed it.
pub async fn export(tracer: &Tracer, collector: impl Fn() -> Option<Arc<Collector>>, stop: &CancellationToken) {
    let exporter = Exporter {
        tracer,
        collector,
        stop,
        told: Throttle::new(1, TELL_EVERY),
    };
    let queue = &tracer.queue;
    loop {
        // What comes before the end is known finds a last round.
        let is_last = stop.is_cancelled();
        if !is_last {
            exporter.wait().await;
        }
        while let Some(spans) = queue.take() {
            exporter.deliver(spans).await;
        }
        if is_last {
            return;
        }
    }
}

impl<C: Fn() -> Option<Arc<Collector>>> Exporter<'_, C> {
    /// For a first span, and then for others that come with it.
    async fn wait(&self) {
        let queue = &self.tracer.queue;
        let batch = async {
            queue.more().await;
            tokio::select! {
                () = queue.more() => {}
                () = sleep(EVERY) => {}
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = batch => {}
        }
    }

    async fn deliver(&self, spans: Vec<Bytes>) {
        let queue = &self.tracer.queue;
        let count = spans.len() as u64;
        let body = otlp::request(&self.tracer.resource, spans);
        let until = Instant::now() + PATIENCE;
        let mut rest = FIRST_REST;
        loop {
            let Some(collector) = (self.collector)() else {
                return queue.lost("off", count);
            };
            let not_taken = match collector.send(&body).await {
                Ok(None) => return queue.sent(count),
                Ok(Some((refused, why))) => {
                    let refused = refused.min(count);
                    self.tell(&collector, &plain(&why, SHOWN), refused);
                    queue.sent(count - refused);
                    return queue.lost("refused", refused);
                }
                Err(not_taken) => not_taken,
            };
            self.tell(&collector, &not_taken.why, count);
            let NotTaken {
                may_be_later, after, ..
            } = not_taken;
            if !may_be_later {
                return queue.lost("refused", count);
            }
            let pause = after.unwrap_or(rest);
            if self.stop.is_cancelled() || Instant::now() + pause > until {
                queue.lost("failed", count);
                return self.give_up_if_stopped();
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(pause) => {}
            }
            rest = (rest * 2).min(LONGEST_REST);
        }
    }

    /// What is not taken now will not be, at the end of the process.
    fn give_up_if_stopped(&self) {
        if self.stop.is_cancelled() {
            let left = std::iter::from_fn(|| self.tracer.queue.take());
            left.for_each(|spans| self.tracer.queue.lost("failed", spans.len() as u64));
        }
    }

    fn tell(&self, collector: &Collector, error: &str, spans: u64) {
        if let Some(untold) = self.told.due(std::time::Instant::now()) {
            let url = collector.settings.url();
            tracing::warn!(
                url,
                error,
                spans,
                look_at = "traces",
                untold,
                "spans were not taken by the collector; no write waits for them"
            );
        }
    }
}
