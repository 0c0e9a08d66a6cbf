//! Accounting (I6): every sample received ends up forwarded, dropped or rejected, exactly once.
//!
//! Takes what each stage decided, gives counters. A [`Ledger`] is opened when the samples are known; whatever is not
//! settled when it goes (the sender hung up, a stage failed) is counted as rejected then, so the sum holds on every
//! path out of the pipeline.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::model::TenantId;
use crate::policy::judge::{Judge, Judged};
use crate::respond::{Failure, Stored};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{
    DropLabels, ForwardLabels, PolicyLabels, ReasonLabels, RejectLabels, RequestLabels, TenantLabels,
};
use crate::wire::scan::Scanned;

/// One write's samples.
pub(super) struct Ledger<'a> {
    metrics: &'a Metrics,
    tenant: &'a TenantId,
    unsettled: u64,
    stored: Stored,
}

impl<'a> Ledger<'a> {
    /// Counts what came, and at once as rejected what could not be a series.
    pub(super) fn open(metrics: &'a Metrics, tenant: &'a TenantId, scanned: &Scanned, compressed_bytes: usize) -> Self {
        let labels = TenantLabels { tenant: tenant.to_string() };
        let totals = scanned.totals();
        metrics.received_samples.get_or_create(&labels).inc_by(totals.all_samples());
        metrics.received_bytes.get_or_create(&labels).inc_by(compressed_bytes as u64);
        if scanned.metadata() > 0 {
            metrics.received_metadata.get_or_create(&labels).inc_by(scanned.metadata());
        }
        let stored = Stored { received_series: totals.series, rejected: Vec::new() };
        let mut ledger = Self { metrics, tenant, unsettled: totals.all_samples(), stored };
        for rejected in scanned.rejected() {
            ledger.rejected(rejected.reason.word(), rejected.totals.all_samples());
            ledger.stored.rejected.push((rejected.reason.to_string(), rejected.totals.series));
        }
        ledger
    }

    /// Settles what policies dropped and host checks refused. Called once the write is admitted.
    pub(super) fn judged(&mut self, judged: &Judged, judge: &Judge) {
        for (reason, totals) in &judged.tally.dropped {
            let (policy, reason) = judge.drop_words(*reason);
            let labels =
                DropLabels { tenant: self.tenant.to_string(), policy: policy.to_string(), reason: reason.to_string() };
            self.metrics.dropped_samples.get_or_create(&labels).inc_by(totals.all_samples());
            self.settle(totals.all_samples());
        }
        for (refusal, totals) in &judged.tally.refused {
            self.rejected(refusal.reason(), totals.all_samples());
            self.stored.rejected.push((refusal.text().to_owned(), totals.series));
        }
    }

    pub(super) fn forwarded(&mut self, upstream: &str, samples: u64) {
        let labels = ForwardLabels { tenant: self.tenant.to_string(), upstream: upstream.to_owned() };
        self.metrics.forwarded_samples.get_or_create(&labels).inc_by(samples);
        self.settle(samples);
    }

    pub(super) fn edited(&mut self, samples: u64) {
        if samples > 0 {
            let labels = TenantLabels { tenant: self.tenant.to_string() };
            self.metrics.edited_samples.get_or_create(&labels).inc_by(samples);
        }
    }

    pub(super) fn rejected(&mut self, reason: &'static str, samples: u64) {
        if samples > 0 {
            let labels = RejectLabels { tenant: self.tenant.to_string(), reason };
            self.metrics.rejected_samples.get_or_create(&labels).inc_by(samples);
        }
        self.settle(samples);
    }

    /// Counts all that is left as rejected for `failure`, and hands the failure on.
    pub(super) fn fail(&mut self, failure: Failure) -> Failure {
        self.rejected(failure.reason(), self.unsettled);
        failure
    }

    /// What the sender is told of a write that went through.
    pub(super) fn close(mut self) -> Stored {
        std::mem::take(&mut self.stored)
    }

    fn settle(&mut self, samples: u64) {
        debug_assert!(samples <= self.unsettled, "a sample was settled twice");
        self.unsettled = self.unsettled.saturating_sub(samples);
    }
}

impl Drop for Ledger<'_> {
    fn drop(&mut self) {
        // Only a write that was given up on the way has anything left: the sender closed its connection.
        self.rejected("abandoned", self.unsettled);
    }
}

pub(super) fn count_request(metrics: &Metrics, tenant: &str, status: StatusCode, took: Duration) {
    let labels = RequestLabels { tenant: tenant.to_owned(), code: status.as_u16() };
    metrics.requests.get_or_create(&labels).inc();
    metrics.request_duration.get_or_create(&TenantLabels { tenant: tenant.to_owned() }).observe(took.as_secs_f64());
}

pub(super) fn count_limited(metrics: &Arc<Metrics>, tenant: &TenantId, policy: &str) {
    let labels = PolicyLabels { tenant: tenant.to_string(), policy: policy.to_owned() };
    metrics.limited_requests.get_or_create(&labels).inc();
}

pub(super) fn count_unauthenticated(metrics: &Metrics, reason: &'static str) {
    metrics.authentication_failures.get_or_create(&ReasonLabels { reason }).inc();
}
