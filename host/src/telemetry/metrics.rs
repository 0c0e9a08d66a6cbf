//! Every metric there is, with its labels, in one place.
//!
//! Takes counts, gives the text format. Per-tenant handles are looked up when a pipeline is built, not per
//! request, so that the data path only adds to atomics.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use super::durations::Durations;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Empty where no tenant was proved.
    pub tenant: String,
    pub code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TenantLabels {
    pub tenant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ForwardLabels {
    pub tenant: String,
    pub upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DropLabels {
    pub tenant: String,
    pub policy: String,
    /// A plugin's word: bounded in length and number before it gets here.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RejectLabels {
    pub tenant: String,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyLabels {
    pub tenant: String,
    pub policy: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyCallLabels {
    pub tenant: String,
    pub policy: String,
    pub function: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TrapLabels {
    pub tenant: String,
    pub policy: String,
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UpstreamLabels {
    pub upstream: String,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UpstreamName {
    pub upstream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndpointLabels {
    pub upstream: String,
    pub endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CertificateLabels {
    pub file: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabels {
    pub version: &'static str,
}

type Counters<L> = Family<L, Counter<u64, AtomicU64>>;
type Gauges<L> = Family<L, Gauge<i64, AtomicI64>>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The registry and a handle to each family. One per process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub requests: Counters<RequestLabels>,
    pub request_duration: Family<TenantLabels, Durations>,
    pub received_samples: Counters<TenantLabels>,
    pub received_bytes: Counters<TenantLabels>,
    pub received_metadata: Counters<TenantLabels>,
    pub forwarded_samples: Counters<ForwardLabels>,
    pub edited_samples: Counters<TenantLabels>,
    pub dropped_samples: Counters<DropLabels>,
    pub rejected_samples: Counters<RejectLabels>,
    pub limited_requests: Counters<PolicyLabels>,
    pub in_flight_requests: Gauge,
    pub in_flight_bytes: Gauge,
    pub connections: Gauge,
    pub refused_connections: Counters<ReasonLabels>,
    pub accept_errors: Counter,
    pub authentication_failures: Counters<ReasonLabels>,
    pub active_series: Gauges<TenantLabels>,
    pub policy_calls: Counters<PolicyCallLabels>,
    pub policy_duration: Histograms<PolicyCallLabels>,
    pub policy_traps: Counters<TrapLabels>,
    pub policy_quarantined: Gauges<PolicyLabels>,
    pub policy_bypassed: Counters<PolicyLabels>,
    pub policy_log_lines_dropped: Counters<PolicyLabels>,
    pub memo_hits: Counters<TenantLabels>,
    pub memo_misses: Counters<TenantLabels>,
    pub memo_entries: Gauges<TenantLabels>,
    pub memo_bytes: Gauges<TenantLabels>,
    pub upstream_requests: Counters<UpstreamLabels>,
    pub upstream_duration: Histograms<UpstreamName>,
    /// 1 or 0 per endpoint.
    pub upstream_healthy: Gauges<EndpointLabels>,
    pub reload_successful: Gauge,
    pub reload_timestamp: Gauge,
    pub tenant_generation: Gauges<TenantLabels>,
    /// 1 where the tenant's newest configuration could not be used and an older one, or none, serves.
    pub tenant_broken: Gauges<TenantLabels>,
    pub certificate_expiry: Gauges<CertificateLabels>,
}

/// Tokens for [`Family::new_with_constructor`]: a plain function, so that the type can be named.
fn seconds() -> Histogram {
    // 1 ms to 32 s by doubling: one call to an upstream is 2-20 ms, the longest timeout 30 s.
    Histogram::new((0..16).map(|i| 0.001 * f64::from(1 << i)))
}

fn microseconds() -> Histogram {
    // 4 us to 131 ms by doubling: a standard plugin's call is 5-50 us, the deadline 50 ms.
    Histogram::new((0..16).map(|i| 0.000_004 * f64::from(1 << i)))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every family in it and nothing counted yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("gauntlet"),
            requests: Family::default(),
            request_duration: Family::default(),
            received_samples: Family::default(),
            received_bytes: Family::default(),
            received_metadata: Family::default(),
            forwarded_samples: Family::default(),
            edited_samples: Family::default(),
            dropped_samples: Family::default(),
            rejected_samples: Family::default(),
            limited_requests: Family::default(),
            in_flight_requests: Gauge::default(),
            in_flight_bytes: Gauge::default(),
            connections: Gauge::default(),
            refused_connections: Family::default(),
            accept_errors: Counter::default(),
            authentication_failures: Family::default(),
            active_series: Family::default(),
            policy_calls: Family::default(),
            policy_duration: Family::new_with_constructor(microseconds),
            policy_traps: Family::default(),
            policy_quarantined: Family::default(),
            policy_bypassed: Family::default(),
            policy_log_lines_dropped: Family::default(),
            memo_hits: Family::default(),
            memo_misses: Family::default(),
            memo_entries: Family::default(),
            memo_bytes: Family::default(),
            upstream_requests: Family::default(),
            upstream_duration: Family::new_with_constructor(seconds),
            upstream_healthy: Family::default(),
            reload_successful: Gauge::default(),
            reload_timestamp: Gauge::default(),
            tenant_generation: Family::default(),
            tenant_broken: Family::default(),
            certificate_expiry: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("requests", "Answers given to senders.", self.requests.clone());
        r.register_with_unit(
            "request_duration",
            "From the request's head to the answer's.",
            Unit::Seconds,
            self.request_duration.clone(),
        );
        r.register(
            "received_samples",
            "Samples (float and histogram) in bodies that could be read: forwarded + dropped + rejected.",
            self.received_samples.clone(),
        );
        r.register_with_unit(
            "received",
            "Compressed body bytes received.",
            Unit::Bytes,
            self.received_bytes.clone(),
        );
        r.register(
            "received_metadata",
            "Metadata entries received; receivers take none, so they end here.",
            self.received_metadata.clone(),
        );
        r.register(
            "forwarded_samples",
            "Samples that a receiver acknowledged.",
            self.forwarded_samples.clone(),
        );
        r.register(
            "edited_samples",
            "Samples forwarded under labels that a policy changed.",
            self.edited_samples.clone(),
        );
        r.register(
            "dropped_samples",
            "Samples that a policy dropped on purpose.",
            self.dropped_samples.clone(),
        );
        r.register(
            "rejected_samples",
            "Samples that were refused or could not be forwarded; a sender may send them again.",
            self.rejected_samples.clone(),
        );
        r.register(
            "limited_requests",
            "Writes refused because a policy's bucket was empty.",
            self.limited_requests.clone(),
        );
        r.register(
            "in_flight_requests",
            "Requests being served.",
            self.in_flight_requests.clone(),
        );
        r.register_with_unit(
            "in_flight",
            "Body bytes held in memory.",
            Unit::Bytes,
            self.in_flight_bytes.clone(),
        );
        r.register("connections", "Open connections of senders.", self.connections.clone());
        r.register(
            "refused_connections",
            "Connections that ended before a request.",
            self.refused_connections.clone(),
        );
        r.register(
            "accept_errors",
            "Errors of accept(2); the listener goes on.",
            self.accept_errors.clone(),
        );
        r.register(
            "authentication_failures",
            "Requests without a tenant.",
            self.authentication_failures.clone(),
        );
        r.register(
            "active_series",
            "Series seen lately and let through.",
            self.active_series.clone(),
        );
        r.register(
            "policy_calls",
            "Calls into plugins; what is remembered is not asked.",
            self.policy_calls.clone(),
        );
        r.register_with_unit(
            "policy_duration",
            "Time inside plugins.",
            Unit::Seconds,
            self.policy_duration.clone(),
        );
        r.register(
            "policy_traps",
            "Calls that ended in a trap, a timeout or nonsense.",
            self.policy_traps.clone(),
        );
        r.register(
            "policy_quarantined",
            "1 while a policy is kept from running because it keeps failing.",
            self.policy_quarantined.clone(),
        );
        r.register(
            "policy_bypassed",
            "Calls left out because a policy failed and `on_failure` is `bypass`.",
            self.policy_bypassed.clone(),
        );
        r.register(
            "policy_log_lines_dropped",
            "Log lines of plugins over their bound.",
            self.policy_log_lines_dropped.clone(),
        );
        r.register(
            "policy_memo_hits",
            "Series whose verdict was known.",
            self.memo_hits.clone(),
        );
        r.register(
            "policy_memo_misses",
            "Series that policies had to judge.",
            self.memo_misses.clone(),
        );
        r.register("policy_memo_entries", "Verdicts remembered.", self.memo_entries.clone());
        r.register_with_unit(
            "policy_memo",
            "Memory of the remembered verdicts.",
            Unit::Bytes,
            self.memo_bytes.clone(),
        );
        r.register(
            "upstream_requests",
            "Requests to receivers by outcome.",
            self.upstream_requests.clone(),
        );
        r.register_with_unit(
            "upstream_duration",
            "One request to a receiver.",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
        r.register(
            "upstream_healthy",
            "1 where an endpoint is picked, 0 where it is passed over.",
            self.upstream_healthy.clone(),
        );
        r.register(
            "config_last_reload_successful",
            "1 where the newest configuration is wholly in use.",
            self.reload_successful.clone(),
        );
        r.register(
            "config_last_reload_success_timestamp_seconds",
            "When a configuration was last taken into use.",
            self.reload_timestamp.clone(),
        );
        r.register(
            "tenant_generation",
            "Number of the tenant's configuration in use.",
            self.tenant_generation.clone(),
        );
        r.register(
            "tenant_broken",
            "1 where the tenant's newest configuration could not be used.",
            self.tenant_broken.clone(),
        );
        r.register(
            "tls_certificate_expiry_timestamp_seconds",
            "End of the validity of a certificate that is served or presented.",
            self.certificate_expiry.clone(),
        );
        let build = Family::<BuildLabels, Gauge>::default();
        build
            .get_or_create(&BuildLabels {
                version: env!("CARGO_PKG_VERSION"),
            })
            .set(1);
        r.register("build_info", "1, labelled by version.", build);
    }

    /// The text that `/metrics` answers, in the OpenMetrics format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
