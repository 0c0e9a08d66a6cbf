//! What is counted of one tenant.
//!
//! Takes numbers and the words they are counted under, gives them to the process' metrics and back to whoever shows the
//! tenant. Each counter is looked up by its labels once: for each write that would be ten names to build and to find, and
//! among ten thousand tenants as many waits for memory.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;

use crate::judge::DropWords;
use crate::model::{Discarded, DiscardedKind, TenantId, WhyDiscarded};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{
    DiscardLabels, DropLabels, Durations, ForwardLabels, PolicyLabels, RejectLabels, RequestLabels, TenantLabels,
};

/// What nearly every write is answered with.
const STORED: StatusCode = StatusCode::NO_CONTENT;

/// One tenant's counters. Those that few tenants need are made when they are first needed.
pub struct Counters {
    tenant: TenantId,
    metrics: Arc<Metrics>,
    received_samples: Counter,
    received_bytes: Counter,
    received_metadata: OnceLock<Counter>,
    refused_exemplars: OnceLock<Counter>,
    edited_samples: OnceLock<Counter>,
    forwarded: ByWord<String>,
    dropped: ByWord<DropWords>,
    rejected: ByWord<&'static str>,
    limited: ByWord<String>,
    discarded: ByWord<(DiscardedKind, WhyDiscarded)>,
    stored: Counter,
    duration: Durations,
}

/// What was counted since the process began. Samples are floats and histograms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    pub received: u64,
    pub edited: u64,
    /// By upstream.
    pub forwarded: Vec<(String, u64)>,
    pub dropped: Vec<(DropWords, u64)>,
    /// By reason.
    pub rejected: Vec<(&'static str, u64)>,
    /// Writes that found a policy's bucket empty, by policy.
    pub limited: Vec<(String, u64)>,
}

impl Counters {
    pub(super) fn new(tenant: &TenantId, metrics: &Arc<Metrics>) -> Self {
        let id = || tenant.to_string();
        let labels = TenantLabels { tenant: id() };
        Self {
            received_samples: metrics.received_samples.get_or_create_owned(&labels),
            received_bytes: metrics.received_bytes.get_or_create_owned(&labels),
            received_metadata: OnceLock::new(),
            refused_exemplars: OnceLock::new(),
            edited_samples: OnceLock::new(),
            forwarded: ByWord::default(),
            dropped: ByWord::default(),
            rejected: ByWord::default(),
            limited: ByWord::default(),
            discarded: ByWord::default(),
            stored: metrics.requests.get_or_create_owned(&RequestLabels {
                tenant: id(),
                code: STORED.as_u16(),
            }),
            duration: metrics.request_duration.get_or_create_owned(&labels),
            metrics: Arc::clone(metrics),
            tenant: tenant.clone(),
        }
    }

    /// Counts nothing yet for `upstreams`, so that they are seen before they get something.
    pub(super) fn expect_upstreams(&self, upstreams: &[String]) {
        upstreams.iter().for_each(|upstream| self.forwarded(upstream, 0));
    }

    pub fn request(&self, status: StatusCode, seconds: f64) {
        if status == STORED {
            self.stored.inc();
        } else {
            let (tenant, code) = (self.tenant.to_string(), status.as_u16());
            let labels = RequestLabels { tenant, code };
            self.metrics.requests.get_or_create(&labels).inc();
        }
        self.duration.observe(seconds);
    }

    pub fn received(&self, samples: u64, compressed_bytes: u64) {
        self.received_samples.inc_by(samples);
        self.received_bytes.inc_by(compressed_bytes);
    }

    pub fn received_metadata(&self, entries: u64) {
        if entries > 0 {
            let family = &self.metrics.received_metadata;
            let counter = || family.get_or_create_owned(&self.labels());
            self.received_metadata.get_or_init(counter).inc_by(entries);
        }
    }

    pub fn refused_exemplars(&self, exemplars: u64) {
        if exemplars > 0 {
            let family = &self.metrics.refused_exemplars;
            let counter = || family.get_or_create_owned(&self.labels());
            self.refused_exemplars.get_or_init(counter).inc_by(exemplars);
        }
    }

    pub fn edited(&self, samples: u64) {
        if samples > 0 {
            let family = &self.metrics.edited_samples;
            let counter = || family.get_or_create_owned(&self.labels());
            self.edited_samples.get_or_init(counter).inc_by(samples);
        }
    }

    pub fn forwarded(&self, upstream: &str, samples: u64) {
        self.forwarded.add(upstream, samples, || {
            let (tenant, upstream) = (self.tenant.to_string(), upstream.to_owned());
            let labels = ForwardLabels { tenant, upstream };
            let counter = self.metrics.forwarded_samples.get_or_create_owned(&labels);
            (labels.upstream, counter)
        });
    }

    pub fn dropped(&self, words: &DropWords, samples: u64) {
        self.dropped.add(words, samples, || {
            let labels = DropLabels {
                tenant: self.tenant.to_string(),
                policy: words.policy.to_string(),
                reason: words.reason.to_string(),
            };
            let counter = self.metrics.dropped_samples.get_or_create_owned(&labels);
            (words.clone(), counter)
        });
    }

    pub fn rejected(&self, reason: &'static str, samples: u64) {
        if samples > 0 {
            self.rejected.add(&reason, samples, || {
                let tenant = self.tenant.to_string();
                let labels = RejectLabels { tenant, reason };
                (reason, self.metrics.rejected_samples.get_or_create_owned(&labels))
            });
        }
    }

    pub fn discarded(&self, discarded: &Discarded) {
        let Discarded { kind, why, count } = *discarded;
        if count > 0 {
            self.discarded.add(&(kind, why), count, || {
                let (kind_word, reason, tenant) = (kind.word(), why.word(), self.tenant.to_string());
                let labels = DiscardLabels {
                    tenant,
                    kind: kind_word,
                    reason,
                };
                ((kind, why), self.metrics.discarded.get_or_create_owned(&labels))
            });
        }
    }

    /// One write that found a bucket of `policy` empty.
    pub fn limited(&self, policy: &str) {
        self.limited.add(policy, 1, || {
            let (tenant, policy) = (self.tenant.to_string(), policy.to_owned());
            let labels = PolicyLabels { tenant, policy };
            let counter = self.metrics.limited_requests.get_or_create_owned(&labels);
            (labels.policy, counter)
        });
    }

    pub fn counted(&self) -> Counted {
        Counted {
            received: self.received_samples.get(),
            edited: self.edited_samples.get().map_or(0, Counter::get),
            forwarded: self.forwarded.counted(),
            dropped: self.dropped.counted(),
            rejected: self.rejected.counted(),
            limited: self.limited.counted(),
        }
    }

    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    pub fn durations(&self) -> &Durations {
        &self.duration
    }

    fn labels(&self) -> TenantLabels {
        TenantLabels {
            tenant: self.tenant.to_string(),
        }
    }
}

/// Counters under words that are not known before.
struct ByWord<K>(RwLock<BTreeMap<K, Counter>>);

impl<K> Default for ByWord<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Ord + Clone> ByWord<K> {
    fn add<Q: Ord + ?Sized>(&self, word: &Q, more: u64, first: impl FnOnce() -> (K, Counter))
    where
        K: Borrow<Q>,
    {
        if let Some(counter) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(word) {
            counter.inc_by(more);
            return;
        }
        // Two that come here together are given the same counter.
        let (word, counter) = first();
        counter.inc_by(more);
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(word, counter);
    }

    fn counted(&self) -> Vec<(K, u64)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(word, counter)| (word.clone(), counter.get()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_in_the_metrics_and_in_what_is_shown() {
        let metrics = Arc::new(Metrics::new());
        let tenant = TenantId::new("kazusa").unwrap();
        let counters = Counters::new(&tenant, &metrics);
        let words = DropWords {
            policy: Arc::from("relabel"),
            reason: Arc::from("go"),
        };
        counters.expect_upstreams(&["soft".into(), "other".into()]);
        counters.received(10, 100);
        counters.edited(0);
        counters.edited(2);
        counters.forwarded("soft", 5);
        for samples in [1, 2] {
            counters.dropped(&words, samples);
        }
        counters.rejected("abandoned", 0);
        counters.rejected("over_rate", 2);
        counters.limited("limits");
        let counted = Counted {
            received: 10,
            edited: 2,
            forwarded: vec![("other".into(), 0), ("soft".into(), 5)],
            dropped: vec![(words, 3)],
            rejected: vec![("over_rate", 2)],
            limited: vec![("limits".into(), 1)],
        };
        assert_eq!(counters.counted(), counted);
        let text = metrics.text();
        for line in [
            "gauntlet_received_samples_total{tenant=\"kazusa\"} 10",
            "gauntlet_edited_samples_total{tenant=\"kazusa\"} 2",
            "gauntlet_forwarded_samples_total{tenant=\"kazusa\",upstream=\"soft\"} 5",
            "gauntlet_dropped_samples_total{tenant=\"kazusa\",policy=\"relabel\",reason=\"go\"} 3",
            "gauntlet_rejected_samples_total{tenant=\"kazusa\",reason=\"over_rate\"} 2",
            "gauntlet_limited_requests_total{tenant=\"kazusa\",policy=\"limits\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        // Who comes back goes on where the metrics stand.
        let again = Counters::new(&tenant, &metrics);
        again.received(1, 1);
        assert_eq!(again.counted().received, 11);
    }
}
