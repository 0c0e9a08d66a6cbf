//! Accounting (I6): every sample received ends up forwarded, dropped or rejected, exactly once.
//!
//! Takes what each stage decided, gives counters. A [`Ledger`] is opened when the samples are known; whatever is not
//! settled when it goes (the sender hung up, a stage failed) is counted as rejected then, so the sum holds on every
//! path out of the pipeline.

use http::StatusCode;

use crate::config::OverRate;
use crate::forward::Amounts;
use crate::forward::delivery::Part;
use crate::judge::Judged;
use crate::model::{Discarded, TenantId, Totals};
use crate::respond::{Context, Failure, RefusedSeries, Stored, reason_of};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{CredentialLabels, FailureLabels, RequestLabels, TenantLabels};
use crate::tenant::Counters;
use crate::traces::SampleSums;
use crate::wire::Scanned;

/// One write's samples.
pub(super) struct Ledger<'g> {
    counters: &'g Counters,
    /// Floats and histograms together: the unit of all accounting. By kind it is in `stored`.
    unsettled: u64,
    /// By reason. Counted at the end, when it is known whether the sender keeps the write.
    rejected: Vec<(&'static str, u64)>,
    /// Whether it does, as far as is known now: who is not answered keeps it.
    is_kept: bool,
    over_rate: OverRate,
    unwanted: Option<Discarded>,
    stored: Stored,
}

impl<'g> Ledger<'g> {
    /// Counts what came, and settles as rejected what could not be a series.
    pub(super) fn open(
        counters: &'g Counters,
        scanned: &Scanned,
        compressed_bytes: usize,
        over_rate: OverRate,
    ) -> Self {
        let received = scanned.totals();
        counters.received(received.all_samples(), compressed_bytes as u64);
        counters.received_metadata(scanned.metadata());
        let mut ledger = Self {
            counters,
            unsettled: received.all_samples(),
            rejected: Vec::new(),
            is_kept: true,
            over_rate,
            unwanted: None,
            stored: Stored {
                protocol: scanned.protocol(),
                received,
                ..Stored::default()
            },
        };
        for rejected in scanned.rejected() {
            let told = RefusedSeries {
                reason: rejected.reason.word(),
                series: rejected.totals.series,
                why: rejected.reason.to_string(),
                first: rejected.first.clone(),
            };
            ledger.refused(&rejected.totals, told);
        }
        ledger
    }

    /// Settles what policies dropped and host checks refused. Called once the write is admitted.
    pub(super) fn judged(&mut self, judged: &Judged) {
        for dropped in &judged.tally.dropped {
            let samples = dropped.totals.all_samples();
            self.counters.dropped(&dropped.words, samples);
            self.stored.dropped += dropped.totals;
            self.settle(samples);
        }
        for refused in &judged.tally.refused {
            let scanned = judged.scanned();
            let first = scanned.label_bytes(&scanned.series()[refused.first]);
            let told = RefusedSeries::of(
                refused.refusal,
                &refused.blame,
                refused.budget.as_ref(),
                first,
                refused.totals.series,
            );
            self.refused(&refused.totals, told);
        }
    }

    fn refused(&mut self, totals: &Totals, told: RefusedSeries) {
        self.rejected(told.reason, totals.all_samples());
        self.stored.refused.push(told);
    }

    /// What was refused so far, to be told in the log.
    pub(super) fn refusals(&self) -> &[RefusedSeries] {
        &self.stored.refused
    }

    /// What of a part is stored, by its receiver's word. What the part left out is counted with it.
    pub(super) fn forwarded(&mut self, upstream: &str, part: &Part, totals: &Totals) {
        self.forwarded_samples(upstream, totals.all_samples());
        part.discarded.iter().for_each(|left| self.counters.discarded(left));
        self.stored.forwarded += *totals;
    }

    /// A receiver refused some of a part. What it did not say became of it is nobody's to guess.
    pub(super) fn refused_by_receiver(&mut self, upstream: &str, amounts: &Amounts) {
        self.forwarded_samples(upstream, amounts.stored);
        for (class, samples) in &amounts.refused {
            self.rejected(reason_of(*class), *samples);
        }
        self.rejected("upstream_unknown", amounts.unknown);
    }

    /// A receiver refused what it has: all of the part is stored.
    pub(super) fn already_stored(&mut self, upstream: &str, totals: &Totals, amounts: &Amounts) {
        self.forwarded_samples(upstream, amounts.stored);
        self.rejected("already_stored", totals.all_samples() - amounts.stored);
        self.stored.forwarded += *totals;
    }

    fn forwarded_samples(&mut self, upstream: &str, samples: u64) {
        self.counters.forwarded(upstream, samples);
        self.settle(samples);
    }

    /// What no upstream of the tenant wants, to be counted if the write goes through.
    pub(super) fn unwanted(&mut self, unwanted: Option<Discarded>) {
        self.unwanted = unwanted;
    }

    /// Samples, once for each time they were sent.
    pub(super) fn received(&self) -> u64 {
        self.stored.received.all_samples()
    }

    /// What receivers have acknowledged so far.
    pub(super) fn stored(&self) -> Totals {
        self.stored.forwarded
    }

    /// For a span.
    pub(super) fn sums(&self) -> SampleSums {
        SampleSums {
            received: self.received(),
            forwarded: self.stored.forwarded.all_samples(),
            dropped: self.stored.dropped.all_samples(),
        }
    }

    pub(super) fn edited(&mut self, samples: u64) {
        self.counters.edited(samples);
    }

    pub(super) fn rejected(&mut self, reason: &'static str, samples: u64) {
        match self.rejected.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += samples,
            None if samples > 0 => self.rejected.push((reason, samples)),
            None => {}
        }
        self.settle(samples);
    }

    /// Settles all that is left as rejected for `failure`, which is what the sender is told, and hands the failure on.
    pub(super) fn fail(&mut self, failure: Failure) -> Failure {
        let answer = failure.answer(&Context::plain(self.over_rate));
        self.rejected(answer.reason, self.unsettled);
        self.is_kept = !is_dropped(answer.status);
        failure
    }

    /// What the sender is told of a write that went through.
    ///
    /// # Errors
    /// If a sample is not accounted for: what became of it nobody knows, so it must not pass for stored (I1).
    pub(super) fn close(mut self) -> Result<Stored, Failure> {
        self.unwanted
            .iter()
            .for_each(|unwanted| self.counters.discarded(unwanted));
        match self.unsettled {
            0 => {
                self.is_kept = false;
                Ok(std::mem::take(&mut self.stored))
            }
            _ => Err(self.fail(Failure::Bug("a sample that was received and nothing became of"))),
        }
    }

    fn settle(&mut self, samples: u64) {
        debug_assert!(samples <= self.unsettled, "a sample was settled twice");
        self.unsettled = self.unsettled.saturating_sub(samples);
    }
}

impl Drop for Ledger<'_> {
    fn drop(&mut self) {
        // Only a write that was given up on the way has anything left: its sender closed the connection, most often.
        self.rejected("abandoned", self.unsettled);
        for (reason, samples) in &self.rejected {
            self.counters.rejected(reason, *samples, self.is_kept);
        }
    }
}

/// Whether senders drop what they are answered so: a decision about data, as Prometheus takes it.
pub(super) fn is_dropped(status: StatusCode) -> bool {
    status.is_client_error()
}

/// A request that proved no tenant.
pub(super) fn count_stranger(metrics: &Metrics, status: StatusCode, seconds: f64) {
    let (tenant, code) = (String::new(), status.as_u16());
    metrics.requests.get_or_create(&RequestLabels { tenant, code }).inc();
    let tenant = String::new();
    metrics
        .request_duration
        .get_or_create(&TenantLabels { tenant })
        .observe(seconds);
}

/// `kind` is that of the credential that was given.
pub(super) fn count_unauthenticated(metrics: &Metrics, reason: &'static str, kind: &'static str) {
    metrics
        .authentication_failures
        .get_or_create(&FailureLabels { reason, kind })
        .inc();
}

pub(super) fn count_removed(metrics: &Metrics, tenant: &TenantId, credential: &str) {
    let (tenant, credential) = (tenant.to_string(), credential.to_owned());
    metrics
        .removed_credential_requests
        .get_or_create(&CredentialLabels { tenant, credential })
        .inc();
}
