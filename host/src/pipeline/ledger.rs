//! Accounting (I6): every sample received ends up forwarded, dropped or rejected, exactly once.
//!
//! Takes what each stage decided, gives counters. A [`Ledger`] is opened when the samples are known; whatever is not
//! settled when it goes (the sender hung up, a stage failed) is counted as rejected then, so the sum holds on every
//! path out of the pipeline.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::config;
use crate::judge::Judged;
use crate::model::TenantId;
use crate::respond::{Failure, Stored};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{
    DropLabels, ForwardLabels, PolicyLabels, ReasonLabels, RejectLabels, RequestLabels, TenantLabels,
};
use crate::wire::Scanned;

/// What every write of a tenant counts, looked up by its labels once. For each write that would be ten names to build
/// and to find, and among ten thousand tenants as many waits for memory.
pub struct Meter {
    received_samples: Counter,
    received_bytes: Counter,
    /// In the order of the tenant's upstreams.
    forwarded_samples: Vec<Counter>,
    stored: Counter,
    duration: Histogram,
}

impl Meter {
    pub fn new(metrics: &Metrics, tenant: &config::Tenant) -> Self {
        let id = || tenant.id.to_string();
        let labels = TenantLabels { tenant: id() };
        let forwarded = |upstream: &String| {
            let upstream = upstream.clone();
            metrics
                .forwarded_samples
                .get_or_create_owned(&ForwardLabels { tenant: id(), upstream })
        };
        Self {
            received_samples: metrics.received_samples.get_or_create_owned(&labels),
            received_bytes: metrics.received_bytes.get_or_create_owned(&labels),
            forwarded_samples: tenant.upstreams.iter().map(forwarded).collect(),
            stored: metrics.requests.get_or_create_owned(&RequestLabels {
                tenant: id(),
                code: STORED.as_u16(),
            }),
            duration: metrics.request_duration.get_or_create_owned(&labels),
        }
    }
}

/// What nearly every write is answered with.
const STORED: StatusCode = StatusCode::NO_CONTENT;

/// One write's samples.
pub(super) struct Ledger<'a> {
    metrics: &'a Metrics,
    meter: &'a Meter,
    tenant: &'a TenantId,
    unsettled: u64,
    stored: Stored,
}

impl<'a> Ledger<'a> {
    /// Counts what came, and at once as rejected what could not be a series.
    pub(super) fn open(
        metrics: &'a Metrics,
        meter: &'a Meter,
        tenant: &'a TenantId,
        scanned: &Scanned,
        compressed_bytes: usize,
    ) -> Self {
        let totals = scanned.totals();
        meter.received_samples.inc_by(totals.all_samples());
        meter.received_bytes.inc_by(compressed_bytes as u64);
        if scanned.metadata() > 0 {
            let tenant = tenant.to_string();
            metrics
                .received_metadata
                .get_or_create(&TenantLabels { tenant })
                .inc_by(scanned.metadata());
        }
        let stored = Stored {
            received_series: totals.series,
            rejected: Vec::new(),
        };
        let mut ledger = Self {
            metrics,
            meter,
            tenant,
            unsettled: totals.all_samples(),
            stored,
        };
        for rejected in scanned.rejected() {
            ledger.rejected(rejected.reason.word(), rejected.totals.all_samples());
            ledger
                .stored
                .rejected
                .push((rejected.reason.to_string(), rejected.totals.series));
        }
        ledger
    }

    /// Settles what policies dropped and host checks refused. Called once the write is admitted.
    pub(super) fn judged(&mut self, judged: &Judged) {
        for dropped in &judged.tally.dropped {
            let labels = DropLabels {
                tenant: self.tenant.to_string(),
                policy: dropped.words.policy.to_string(),
                reason: dropped.words.reason.to_string(),
            };
            let samples = dropped.totals.all_samples();
            self.metrics.dropped_samples.get_or_create(&labels).inc_by(samples);
            self.settle(samples);
        }
        for (refusal, totals) in &judged.tally.refused {
            self.rejected(refusal.reason(), totals.all_samples());
            self.stored.rejected.push((refusal.text().to_owned(), totals.series));
        }
    }

    /// `upstream` is an index into the tenant's list.
    pub(super) fn forwarded(&mut self, upstream: usize, samples: u64) {
        self.meter.forwarded_samples[upstream].inc_by(samples);
        self.settle(samples);
    }

    pub(super) fn edited(&mut self, samples: u64) {
        if samples > 0 {
            let labels = TenantLabels {
                tenant: self.tenant.to_string(),
            };
            self.metrics.edited_samples.get_or_create(&labels).inc_by(samples);
        }
    }

    pub(super) fn rejected(&mut self, reason: &'static str, samples: u64) {
        if samples > 0 {
            let labels = RejectLabels {
                tenant: self.tenant.to_string(),
                reason,
            };
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

/// Without a meter where the tenant is unknown, or has no generation that serves.
pub(super) fn count_request(
    metrics: &Metrics,
    meter: Option<&Meter>,
    tenant: &str,
    status: StatusCode,
    took: Duration,
) {
    let requests = || {
        let (tenant, code) = (tenant.to_owned(), status.as_u16());
        metrics.requests.get_or_create_owned(&RequestLabels { tenant, code })
    };
    let duration = || {
        let tenant = tenant.to_owned();
        metrics.request_duration.get_or_create_owned(&TenantLabels { tenant })
    };
    match meter {
        Some(meter) if status == STORED => meter.stored.inc(),
        _ => requests().inc(),
    };
    let took = took.as_secs_f64();
    match meter {
        Some(meter) => meter.duration.observe(took),
        None => duration().observe(took),
    }
}

pub(super) fn count_limited(metrics: &Arc<Metrics>, tenant: &TenantId, policy: &str) {
    let labels = PolicyLabels {
        tenant: tenant.to_string(),
        policy: policy.to_owned(),
    };
    metrics.limited_requests.get_or_create(&labels).inc();
}

pub(super) fn count_unauthenticated(metrics: &Metrics, reason: &'static str) {
    metrics
        .authentication_failures
        .get_or_create(&ReasonLabels { reason })
        .inc();
}
