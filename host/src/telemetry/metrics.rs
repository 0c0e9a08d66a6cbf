//! Every metric there is, with its labels, in one place.
//!
//! Takes counts, gives the text format. Looking a family up by its labels takes a lock and names to build: whoever counts
//! often keeps the handle. A metric is one line of the table below; docs/metrics.md is made from it by the test at the
//! end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::runtime::RuntimeMetrics;

pub use super::durations::Durations;
pub use super::family::{Family, Late};
pub use super::labels::*;
use super::presence::Presence;
pub use super::presence::Present;
use super::process::Process;
use super::runtimes::Runtimes;
pub use super::signed;

type Counters<L> = Family<L, Counter>;
type Gauges<L> = Family<L, Gauge>;
type Seconds<L> = Family<L, Counter<f64, AtomicU64>>;
type Histograms<L> = Family<L, Histogram>;

/// 16 us to 65 ms: a standard plugin's call is 5-50 us, the deadline 50 ms. Few, because each policy of each tenant has them.
fn micros() -> Histogram {
    Histogram::new((0..7).map(|i| 0.000_016 * f64::from(1 << (2 * i))))
}

/// Makes [`Metrics`] of a table with one line per metric: field, type, (buckets,) name without prefix, unit and
/// `_total`, (unit,) HELP without the full stop, which the encoder adds.
macro_rules! metrics {
    ($($field:ident: $type:ty, $(by $buckets:ident,)? $name:literal $(in $unit:ident)?, $help:literal;)*) => {
        /// The registry and a handle to each family. One per process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            process: Process,
            runtimes: Runtimes,
            presence: Arc<Presence>,
            $(#[doc = $help] pub $field: $type,)*
        }

        impl Metrics {
            /// A registry with every family in it and nothing counted yet.
            pub fn new() -> Self {
                let mut registry = Registry::with_prefix("gauntlet");
                $(
                    let $field: $type = metrics!(@make $($buckets)?);
                    metrics!(@register registry, $name, $($unit)?, $help, $field);
                )*
                register_build(&mut registry);
                Self {
                    registry,
                    process: Process::new(),
                    runtimes: Runtimes::default(),
                    presence: Arc::default(),
                    $($field,)*
                }
            }

            fn forget(&self, is_gone: &dyn Fn(&str) -> bool) {
                $(Forget::forget(&self.$field, is_gone);)*
            }

            /// One value in every family, so that all are exported.
            #[cfg(test)]
            fn touch(&self) {
                $(tests::Touch::touch(&self.$field);)*
            }
        }
    };
    (@make) => { Default::default() };
    (@make $buckets:ident) => { Family::made_by($buckets) };
    (@register $registry:ident, $name:literal, , $help:literal, $field:ident) => {
        $registry.register($name, $help, $field.clone())
    };
    (@register $registry:ident, $name:literal, $unit:ident, $help:literal, $field:ident) => {
        $registry.register_with_unit($name, $help, Unit::$unit, $field.clone())
    };
}

metrics! {
    requests: Counters<RequestLabels>, "requests",
        "Requests answered, by the tenant that was proved (empty if none was) and the status code";
    request_duration: Family<TenantLabels, Durations>, "request_duration" in Seconds,
        "Time from the end of a request's head to its answer";
    received_samples: Counters<TenantLabels>, "received_samples",
        "Samples, floats and native histograms, in bodies that could be read, each time they were sent; each is then forwarded, \
         dropped or rejected";
    received_bytes: Counters<TenantLabels>, "received" in Bytes,
        "Bytes of compressed bodies received";
    received_metadata: Counters<TenantLabels>, "received_metadata",
        "Metadata entries received; they are acknowledged, and forwarded to upstreams that have metadata: forward";
    discarded: Counters<DiscardLabels>, "discarded",
        "What went to no receiver of writes that were stored, because none takes it, by kind; no samples are among it";
    forwarded_samples: Counters<ForwardLabels>, "forwarded_samples",
        "Samples that a receiver of the upstream acknowledged";
    edited_samples: Counters<TenantLabels>, "edited_samples",
        "Samples forwarded with labels that a policy or the gateway changed";
    dropped_samples: Counters<DropLabels>, "dropped_samples",
        "Samples that a policy dropped on purpose, by the policy and the reason it gave";
    rejected_samples: Counters<RejectLabels>, "rejected_samples",
        "Samples that were not forwarded, by reason, each time they were sent: after a 5xx the sender sends them again; \
         already_stored ones are not lost, and of upstream_unknown ones the receiver did not say";
    waiting_samples: Counters<TenantLabels>, "waiting_samples",
        "Samples among the rejected ones that the sender keeps and sends again, because their write was answered 5xx or not at all";
    held_writes: Counters<TenantLabels>, "held_writes",
        "Writes that waited for an older one with the same series, which had been told to come again, so that no receiver refuses the older";
    refused_exemplars: Counters<TenantLabels>, "refused_exemplars",
        "Exemplars that receivers refused, as far as they counted them; the samples beside them are forwarded or rejected";
    limited_requests: Counters<PolicyLabels>, "limited_requests",
        "Writes refused because a rate limit of the policy was used up";
    in_flight_requests: Gauge, "in_flight_requests",
        "Writes being served now, of which the whole body has come";
    in_flight_bytes: Gauge, "in_flight" in Bytes,
        "Bytes of memory held now for request bodies, compressed, decoded, and what is made of them on the way to receivers";
    memory: Gauges<MemoryLabels>, "memory" in Bytes,
        "Memory held now, by what it is held for";
    memory_limit: Gauge, "memory_limit" in Bytes,
        "Memory that the process keeps what it holds within";
    memory_refused: Counters<MemoryLabels>, "memory_refused",
        "Times there was no memory for something, by what it was for; for memos that is usual, for all else it is pressure";
    memory_resident: Gauge, "memory_resident" in Bytes,
        "Memory of the process as the system counts it, its program included";
    memory_excess: Gauge, "memory_excess" in Bytes,
        "Memory that nothing is held for, beyond the quarter of the limit that it may have; the limit is smaller by as much";
    memory_group: Gauge, "memory_group" in Bytes,
        "Memory of the control group that bounds the process, without what the system can drop; 0 if there is none";
    runtime_workers: Gauges<RuntimeLabels>, "runtime_workers",
        "Threads of a runtime: io serves senders, control serves operators and reloads";
    runtime_tasks: Gauges<RuntimeLabels>, "runtime_tasks",
        "Tasks of a runtime that have not ended; a connection is one, or a few";
    runtime_queue: Gauges<RuntimeLabels>, "runtime_queue_depth",
        "Tasks that wait for a thread of a runtime and have none yet; more than a few for long mean too little processor";
    runtime_busy: Seconds<RuntimeLabels>, "runtime_busy" in Seconds,
        "Time that the threads of a runtime were not waiting for something to do";
    connections: Gauge, "connections",
        "Connections of senders open now";
    refused_connections: Counters<ReasonLabels>, "refused_connections",
        "Connections closed before their sender was done, by reason";
    accept_errors: Counter, "accept_errors",
        "Errors of accept(2) on the listener for senders, which goes on";
    authentication_failures: Counters<FailureLabels>, "authentication_failures",
        "Requests refused before a tenant was proved, by reason and by the kind of credential that they came with";
    credential_last_used: Gauges<CredentialUse>, "credential_last_used_timestamp_seconds",
        "Unix time at which a credential last proved its tenant, of those that did since the process began; of a tenant's bearer \
         tokens together, and of its first 16 names";
    credential_expires: Gauges<CredentialUse>, "credential_expires_timestamp_seconds",
        "Unix time at which the client certificate ends with which a credential last proved its tenant; of the same credentials as \
         gauntlet_credential_last_used_timestamp_seconds";
    removed_credential_requests: Counters<CredentialLabels>, "removed_credential_requests",
        "Requests told to wait because their credential was in use and is not configured any more (credential_grace); after \
         that time such requests are refused and their data is lost";
    limits: Gauges<LimitLabels>, "limits",
        "Most of something that a tenant may have at a time, by the limit of its configuration; gauntlet_limit_use says how much it has";
    limit_use: Gauges<LimitLabels>, "limit_use",
        "What a tenant has now of what gauntlet_limits bounds";
    active_series: Gauges<TenantLabels>, "active_series",
        "Series accepted in the last 20 minutes";
    budget_active_series: Gauges<BudgetLabels>, "budget_active_series",
        "Series of a budget that were accepted in the last 20 minutes; of the budgets in the tenant's shown_budgets";
    budget_limit: Gauges<BudgetLabels>, "budget_limit",
        "Most active series of a budget, as a policy named it last; of the budgets in the tenant's shown_budgets";
    unbudgeted_series: Counters<TenantLabels>, "unbudgeted_series",
        "New series that were not counted against the budget a policy named, because the tenant has no place or no memory for \
         one more budget";
    policy_calls: Counters<PolicyCallLabels>, "policy_calls",
        "Calls into plugins; a verdict that is remembered needs none";
    policy_duration: Histograms<PolicyCallLabels>, by micros, "policy_duration" in Seconds,
        "Time of one call into a plugin";
    policy_cpu_seconds: Seconds<PolicyLabels>, "policy_cpu" in Seconds,
        "Processor time of calls into the plugin, of what it calls, and of starting its instances";
    policy_memory_peak: Gauges<PolicyLabels>, "policy_memory_peak" in Bytes,
        "Linear memory of the largest instance that the policy has had";
    policy_halved_batches: Counters<PolicyLabels>, "policy_halved_batches",
        "Times that a policy was asked about series again in smaller batches, because it took longer for them than one call may";
    work_seconds: Seconds<TenantLabels>, "work" in Seconds,
        "Processor time of the threads that run policies and what of bodies is too much for the threads that serve connections";
    policy_traps: Counters<TrapLabels>, "policy_traps",
        "Calls into plugins that failed, by the kind of failure";
    policy_quarantined: Gauges<PolicyLabels>, "policy_quarantined",
        "1 while a policy is not called because it keeps failing, otherwise 0";
    policy_bypassed: Counters<PolicyLabels>, "policy_bypassed",
        "Times a failing policy was left out because its on_failure is bypass";
    policy_asked_again: Counters<PolicyLabels>, "policy_asked_again",
        "New series about which a policy was asked again, on another instance, to see whether it says the same";
    policy_impure: Counters<PolicyLabels>, "policy_impure",
        "Times a policy gave two answers about one series or write; it is not asked any more under this configuration";
    policy_shadow_differences: Counters<DifferenceLabels>, "policy_shadow_differences",
        "New series, and writes, that a policy in shadow would have had otherwise, by kind";
    policy_log_lines: Counters<PolicyLabels>, "policy_log_lines",
        "Log lines of plugins that were written";
    policy_log_bytes: Counters<PolicyLabels>, "policy_log" in Bytes,
        "Bytes of the log lines of plugins that were written, after they were cut";
    policy_log_lines_dropped: Counters<PolicyLabels>, "policy_log_lines_dropped",
        "Log lines of plugins that were not written because there were too many";
    memo_hits: Counters<TenantLabels>, "policy_memo_hits",
        "Series received whose verdict was remembered";
    memo_misses: Counters<TenantLabels>, "policy_memo_misses",
        "Series received that policies had to judge";
    memo_entries: Gauges<TenantLabels>, "policy_memo_entries",
        "Series whose verdict is remembered now";
    memo_bytes: Gauges<TenantLabels>, "policy_memo" in Bytes,
        "Bytes of memory that the remembered verdicts take";
    memo_evicted: Counters<TenantLabels>, "policy_memo_evicted",
        "Series or their edited labels that were forgotten before their time, because there was no memory for more";
    upstream_requests: Counters<UpstreamLabels>, "upstream_requests",
        "Requests sent to receivers, by outcome";
    upstream_duration: Family<UpstreamName, Durations>, "upstream_duration" in Seconds,
        "Time of one request to a receiver";
    upstream_healthy: Gauges<EndpointLabels>, "upstream_healthy",
        "1 if requests are sent to the endpoint, 0 if it is passed over because it failed or was slow";
    access_log_lines: Counter, "access_log_lines",
        "Lines of the access log that were written";
    access_log_dropped: Counters<ReasonLabels>, "access_log_dropped",
        "Lines of the access log that were not written, by reason; no write waits for it, and no data is lost";
    trace_spans: Counter, "trace_spans",
        "Spans of writes that the OpenTelemetry collector took";
    trace_spans_dropped: Counters<ReasonLabels>, "trace_spans_dropped",
        "Spans of writes that no OpenTelemetry collector got, by reason; no write waits for one, and no data is lost";
    reload_successful: Gauge, "config_last_reload_successful",
        "1 if the newest configuration is in use as a whole, 0 if any part of it could not be used";
    reload_timestamp: Gauge, "config_last_reload_success_timestamp_seconds",
        "Unix time at which a configuration was last taken into use as a whole";
    tenant_generation: Gauges<ConfiguredTenant>, "tenant_generation",
        "Number of the tenant's configuration in use; it grows when the configuration changes";
    tenant_broken: Gauges<ConfiguredTenant>, "tenant_broken",
        "1 if the tenant's newest configuration could not be used and an older one, or none, is in use, otherwise 0";
    tenant_went_back: Gauges<ConfiguredTenant>, "tenant_went_back",
        "1 if the tenant's policies are not those of its newest configuration, because a policy failed or an operator asked for it, otherwise 0";
    tenants_restored: Gauge, "tenants_restored",
        "Tenants that serve as state_dir has kept them, because what is configured could not be used since the start";
    credentials_unknown: Gauge, "tenant_credentials_unknown",
        "Broken tenant files with credentials that cannot be read or are not in use; while there are any, a credential that \
         nobody has is answered 503 and not 401";
    certificate_expiry: Gauges<CertificateLabels>, "tls_certificate_expiry_timestamp_seconds",
        "Unix time at which a certificate that is presented to senders expires";
}

fn register_build(registry: &mut Registry) {
    let build = Family::<BuildLabels, Gauge>::default();
    let version = env!("CARGO_PKG_VERSION");
    build.get_or_create(&BuildLabels { version }).set(1);
    registry.register(
        "build_info",
        "Always 1; the label tells the version of the program",
        build,
    );
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The text that `/metrics` answers, in the OpenMetrics format.
    pub fn text(&self) -> String {
        self.forget_gone(Instant::now());
        self.process.look();
        self.publish_runtimes();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &self.process.registry);
        let _ = encode_eof(&mut text);
        text
    }

    /// Keeps what is counted of `tenant` until the last of these is dropped.
    pub fn keep(&self, tenant: &str) -> Present {
        self.presence.begin(tenant)
    }

    /// Forgets what was counted of tenants that left.
    pub fn forget_gone(&self, now: Instant) {
        self.presence.forget(now, |is_gone| self.forget(is_gone));
    }

    fn publish_runtimes(&self) {
        for (runtime, sum) in self.runtimes.sums() {
            let labels = RuntimeLabels { runtime };
            for (family, number) in [
                (&self.runtime_workers, sum.workers),
                (&self.runtime_tasks, sum.tasks),
                (&self.runtime_queue, sum.queue),
            ] {
                family.get_or_create(&labels).set(signed(number as u64));
            }
            let busy = self.runtime_busy.get_or_create(&labels);
            busy.inner().store(sum.busy_seconds.to_bits(), Ordering::Relaxed);
        }
    }

    /// Shows `runtime` from now on, together with others of that name.
    pub fn watch_runtime(&self, name: &'static str, runtime: RuntimeMetrics) {
        self.runtimes.watch(name, runtime);
    }
}

/// What can be asked of each metric of the table when tenants leave.
trait Forget {
    fn forget(&self, _is_gone: &dyn Fn(&str) -> bool) {}
}

impl Forget for Counter {}
impl Forget for Gauge {}

impl<L: MetricLabels, M: Clone> Forget for Family<L, M> {
    fn forget(&self, is_gone: &dyn Fn(&str) -> bool) {
        Family::forget(self, is_gone);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::telemetry::page;

    /// A value, whatever the kind of metric.
    pub(super) trait Touch {
        fn touch(&self);
    }

    impl Touch for Counter {
        fn touch(&self) {
            self.inc();
        }
    }

    impl Touch for Gauge {
        fn touch(&self) {
            self.inc();
        }
    }

    impl<L: MetricLabels + Default, M: Clone> Touch for Family<L, M> {
        fn touch(&self) {
            drop(self.get_or_create(&L::default()));
        }
    }

    fn exported() -> String {
        let metrics = Metrics::new();
        metrics.touch();
        metrics.text()
    }

    /// The names of the labels in a metric's first value, less a histogram's own `le`. Before it comes the HELP text.
    fn labels(values: &str) -> Vec<&str> {
        let line = values.lines().skip(1).find(|line| !line.starts_with('#')).unwrap();
        let Some((_, labels)) = line.split_once('{') else {
            return Vec::new();
        };
        let names = labels.split("=\"").map(|part| part.rsplit(['"', ',']).next().unwrap());
        let names = names.filter(|name| !name.is_empty() && *name != "le" && !name.contains('}'));
        names.collect()
    }

    /// A row per family of the text format.
    fn table(text: &str) -> String {
        let mut rows = "| metric | type | labels | unit | meaning |\n|---|---|---|---|---|\n".to_owned();
        for family in text.trim_end().trim_end_matches("# EOF").split("# HELP ").skip(1) {
            let (name, rest) = family.split_once(' ').unwrap();
            let help = rest.lines().next().unwrap();
            let field = |keyword: &str| {
                let mut lines = rest.lines();
                lines.find_map(|line| line.strip_prefix(&format!("# {keyword} {name} ")))
            };
            let kind = field("TYPE").unwrap();
            let total = if kind == "counter" { "_total" } else { "" };
            let labels: Vec<String> = labels(rest).iter().map(|label| format!("`{label}`")).collect();
            writeln!(
                rows,
                "| `{name}{total}` | {kind} | {} | {} | {help} |",
                labels.join(", "),
                field("UNIT").unwrap_or(""),
            )
            .unwrap();
        }
        rows
    }

    #[test]
    fn the_page_of_metrics_is_what_is_exported() {
        let table = table(&exported());
        assert!(
            table.contains("| `gauntlet_requests_total` | counter | `tenant`, `code` |"),
            "{table}"
        );
        page::hold("metrics.md", &table);
    }

    #[test]
    fn a_help_text_is_a_sentence_with_one_full_stop() {
        let text = exported();
        let helps: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        assert!(helps.len() > 30, "{text}");
        for help in helps {
            let (_, sentence) = help.split_once(' ').unwrap();
            assert!(sentence.ends_with('.') && !sentence.ends_with(".."), "{help}");
            assert!(sentence.starts_with(|c: char| c.is_uppercase() || c == '1'), "{help}");
        }
    }
}
