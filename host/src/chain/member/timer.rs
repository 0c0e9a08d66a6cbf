//! How often a policy is called, and how long that takes, by the function of the contract.
//!
//! Takes calls as they end, gives them to the metrics. Made with the first call: as a rule a plugin has only one of the two
//! functions, and each is eleven series.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::PolicyCallLabels;

/// Of one function that a policy was called with.
pub(super) struct Timer {
    calls: Counter,
    duration: Histogram,
}

impl Timer {
    pub(super) fn new(metrics: &Metrics, tenant: &str, policy: &str, function: &'static str) -> Self {
        let labels = PolicyCallLabels {
            tenant: tenant.to_owned(),
            policy: policy.to_owned(),
            function,
        };
        Self {
            calls: metrics.policy_calls.get_or_create(&labels),
            duration: metrics.policy_duration.get_or_create(&labels),
        }
    }

    /// One call, which took so long.
    pub(super) fn called(&self, took: Duration) {
        self.calls.inc();
        self.duration.observe(took.as_secs_f64());
    }
}
