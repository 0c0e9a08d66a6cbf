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
    received_before: u64,
    received_bytes: Counter,
    received_metadata: OnceLock<Counter>,
    refused_exemplars: OnceLock<Counter>,
    edited_samples: OnceLock<Word>,
    forwarded: ByWord<String>,
    dropped: ByWord<DropWords>,
    rejected: ByWord<&'static str>,
    /// Of these, what the sender keeps, by the same reasons; in the metrics as one number.
    waiting: ByWord<&'static str>,
    waiting_samples: OnceLock<Word>,
    limited: ByWord<String>,
    discarded: ByWord<(DiscardedKind, WhyDiscarded)>,
    stored: Counter,
    /// By status, other than that of nearly every write.
    answered: ByWord<u16>,
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
    /// Of the rejected ones, those that the sender keeps and sends again.
    pub waiting: Vec<(&'static str, u64)>,
    /// What went to no receiver of writes that were stored, by kind and reason.
    pub discarded: Vec<((&'static str, &'static str), u64)>,
    /// Requests, by status.
    pub answers: Vec<(u16, u64)>,
    /// Writes that found a policy's bucket empty, by policy.
    pub limited: Vec<(String, u64)>,
}

impl Counted {
    /// Stored by a receiver as they were sent, now or before.
    pub fn kept(&self) -> u64 {
        let forwarded = self.forwarded.iter().map(|(_, samples)| samples).sum::<u64>();
        let before = self.rejected.iter().filter(|(reason, _)| *reason == ALREADY_STORED);
        let before = before.map(|(_, samples)| samples).sum::<u64>();
        (forwarded + before).saturating_sub(self.edited)
    }

    /// Samples that were rejected for a reason and that the sender keeps.
    pub fn waiting_for(&self, reason: &str) -> u64 {
        let found = self.waiting.iter().find(|(waiting, _)| *waiting == reason);
        found.map_or(0, |(_, samples)| *samples)
    }
}

/// What became of the samples that came, as far as it was counted here: a tenant that left and came back goes on where the
/// metrics stand, and begins anew in this. Each sample is in one place, once its write is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flowed {
    pub received: u64,
    /// A receiver has them as they were sent.
    pub kept: u64,
    /// A receiver has them with other labels.
    pub edited: u64,
    pub dropped: u64,
    /// Lost: their sender was told not to send them again.
    pub rejected: u64,
    /// Their sender keeps them.
    pub waiting: u64,
}

/// The reason of samples that are rejected because a receiver has them already: nothing is lost.
const ALREADY_STORED: &str = "already_stored";

impl Counters {
    pub(super) fn new(tenant: &TenantId, metrics: &Arc<Metrics>) -> Self {
        let id = || tenant.to_string();
        let labels = TenantLabels { tenant: id() };
        let received_samples = metrics.received_samples.get_or_create(&labels);
        Self {
            received_before: received_samples.get(),
            received_samples,
            received_bytes: metrics.received_bytes.get_or_create(&labels),
            received_metadata: OnceLock::new(),
            refused_exemplars: OnceLock::new(),
            edited_samples: OnceLock::new(),
            forwarded: ByWord::default(),
            dropped: ByWord::default(),
            rejected: ByWord::default(),
            waiting: ByWord::default(),
            waiting_samples: OnceLock::new(),
            limited: ByWord::default(),
            discarded: ByWord::default(),
            stored: metrics.requests.get_or_create(&RequestLabels {
                tenant: id(),
                code: STORED.as_u16(),
            }),
            answered: ByWord::default(),
            duration: metrics.request_duration.get_or_create(&labels),
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
            let code = status.as_u16();
            self.answered.add(&code, 1, || {
                let tenant = self.tenant.to_string();
                let labels = RequestLabels { tenant, code };
                (code, self.metrics.requests.get_or_create(&labels))
            });
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
            let counter = || family.get_or_create(&self.labels());
            self.received_metadata.get_or_init(counter).inc_by(entries);
        }
    }

    pub fn refused_exemplars(&self, exemplars: u64) {
        if exemplars > 0 {
            let family = &self.metrics.refused_exemplars;
            let counter = || family.get_or_create(&self.labels());
            self.refused_exemplars.get_or_init(counter).inc_by(exemplars);
        }
    }

    /// A write waits for an older one with the same series.
    pub fn held(&self) {
        self.metrics.held_writes.get_or_create(&self.labels()).inc();
    }

    pub fn edited(&self, samples: u64) {
        if samples > 0 {
            let family = &self.metrics.edited_samples;
            let word = || Word::of(family.get_or_create(&self.labels()));
            self.edited_samples.get_or_init(word).counter.inc_by(samples);
        }
    }

    pub fn forwarded(&self, upstream: &str, samples: u64) {
        self.forwarded.add(upstream, samples, || {
            let (tenant, upstream) = (self.tenant.to_string(), upstream.to_owned());
            let labels = ForwardLabels { tenant, upstream };
            let counter = self.metrics.forwarded_samples.get_or_create(&labels);
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
            let counter = self.metrics.dropped_samples.get_or_create(&labels);
            (words.clone(), counter)
        });
    }

    /// `is_kept` says whether the sender keeps them and sends them again.
    pub fn rejected(&self, reason: &'static str, samples: u64, is_kept: bool) {
        if samples > 0 {
            // Before they are rejected, so that at no time more seem to be lost than are.
            if is_kept {
                self.waiting(reason, samples);
            }
            self.rejected.add(&reason, samples, || {
                let tenant = self.tenant.to_string();
                let labels = RejectLabels { tenant, reason };
                (reason, self.metrics.rejected_samples.get_or_create(&labels))
            });
        }
    }

    fn waiting(&self, reason: &'static str, samples: u64) {
        let family = &self.metrics.waiting_samples;
        let word = || Word::of(family.get_or_create(&self.labels()));
        self.waiting_samples.get_or_init(word).counter.inc_by(samples);
        self.waiting.add(&reason, samples, || (reason, Counter::default()));
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
                ((kind, why), self.metrics.discarded.get_or_create(&labels))
            });
        }
    }

    /// One write that found a bucket of `policy` empty.
    pub fn limited(&self, policy: &str) {
        self.limited.add(policy, 1, || {
            let (tenant, policy) = (self.tenant.to_string(), policy.to_owned());
            let labels = PolicyLabels { tenant, policy };
            let counter = self.metrics.limited_requests.get_or_create(&labels);
            (labels.policy, counter)
        });
    }

    pub fn counted(&self) -> Counted {
        Counted {
            received: self.received_samples.get(),
            edited: self.edited_samples.get().map_or(0, |word| word.counter.get()),
            forwarded: self.forwarded.counted(),
            dropped: self.dropped.counted(),
            rejected: self.rejected.counted(),
            waiting: self.waiting.counted(),
            discarded: self.discarded_by_words(),
            answers: self.answers(),
            limited: self.limited.counted(),
        }
    }

    fn discarded_by_words(&self) -> Vec<((&'static str, &'static str), u64)> {
        let counted = self.discarded.counted().into_iter();
        counted
            .map(|((kind, why), count)| ((kind.word(), why.word()), count))
            .collect()
    }

    fn answers(&self) -> Vec<(u16, u64)> {
        let mut answers = self.answered.counted();
        answers.push((STORED.as_u16(), self.stored.get()));
        answers.retain(|(_, count)| *count > 0);
        answers.sort_unstable();
        answers
    }

    /// Read one after the other while writes go on: what is counted meanwhile may be in one number and not yet in another.
    pub fn flowed(&self) -> Flowed {
        let [rejected, already_stored] = self.rejected.sums(|reason| *reason == ALREADY_STORED);
        let waiting = self.waiting_samples.get().map_or(0, Word::since);
        let [forwarded, _] = self.forwarded.sums(|_| false);
        let edited = self.edited_samples.get().map_or(0, Word::since);
        Flowed {
            received: self.received_samples.get() - self.received_before,
            kept: (forwarded + already_stored).saturating_sub(edited),
            edited,
            dropped: self.dropped.sums(|_| false)[0],
            rejected: rejected.saturating_sub(already_stored + waiting),
            waiting,
        }
    }

    /// Samples that each upstream acknowledged, as in [`Counters::flowed`].
    pub(super) fn each_forwarded(&self, mut see: impl FnMut(&str, u64)) {
        let all = self.forwarded.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().for_each(|(upstream, word)| see(upstream, word.since()));
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

/// A counter, and where it stood when it was first asked for here.
struct Word {
    counter: Counter,
    before: u64,
}

impl Word {
    fn of(counter: Counter) -> Self {
        Self {
            before: counter.get(),
            counter,
        }
    }

    fn since(&self) -> u64 {
        self.counter.get().saturating_sub(self.before)
    }
}

/// Counters under words that are not known before.
struct ByWord<K>(RwLock<BTreeMap<K, Word>>);

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
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(word) {
            known.counter.inc_by(more);
            return;
        }
        let (word, counter) = first();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Of two that come here together one is first.
        let known = all.entry(word).or_insert_with(|| Word::of(counter));
        known.counter.inc_by(more);
    }

    /// Of all, and of those that are `marked`, since they were first asked for.
    fn sums(&self, marked: impl Fn(&K) -> bool) -> [u64; 2] {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().fold([0, 0], |[sum, of_marked], (key, word)| {
            let count = word.since();
            [sum + count, of_marked + if marked(key) { count } else { 0 }]
        })
    }

    fn counted(&self) -> Vec<(K, u64)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(key, word)| (key.clone(), word.counter.get()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_has_already_is_kept_and_what_waits_is_not_lost() {
        let counters = Counters::new(&TenantId::new("kazusa").unwrap(), &Arc::new(Metrics::new()));
        counters.received(100, 1);
        counters.forwarded("soft", 40);
        counters.edited(10);
        counters.rejected("already_stored", 5, false);
        counters.rejected("upstream_timeout", 30, true);
        counters.rejected("malformed", 25, false);
        let flowed = Flowed {
            received: 100,
            kept: 35,
            edited: 10,
            dropped: 0,
            rejected: 25,
            waiting: 30,
        };
        assert_eq!(counters.flowed(), flowed);
    }

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
        counters.rejected("abandoned", 0, true);
        counters.rejected("over_rate", 2, true);
        counters.rejected("snappy", 1, false);
        counters.limited("limits");
        counters.request(StatusCode::NO_CONTENT, 0.1);
        counters.request(StatusCode::BAD_REQUEST, 0.1);
        let counted = Counted {
            received: 10,
            edited: 2,
            forwarded: vec![("other".into(), 0), ("soft".into(), 5)],
            dropped: vec![(words, 3)],
            rejected: vec![("over_rate", 2), ("snappy", 1)],
            waiting: vec![("over_rate", 2)],
            discarded: Vec::new(),
            answers: vec![(204, 1), (400, 1)],
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
            "gauntlet_waiting_samples_total{tenant=\"kazusa\"} 2",
            "gauntlet_requests_total{tenant=\"kazusa\",code=\"400\"} 1",
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
