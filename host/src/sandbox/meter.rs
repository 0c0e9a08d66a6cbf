//! What one policy takes, counted where it takes it.
//!
//! Takes what each call took of the processor, how large an instance is and what was logged; gives the sums to the metrics,
//! which go on over configurations, and to whoever shows the policy, of the one configuration that the meter was made for.
//! Never bounds anything: who runs next and what a call may take is decided by `queue` and `deadline`, from the same clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Late, PolicyLabels, signed};

/// One policy's, for all its instances.
#[derive(Debug)]
pub struct Meter {
    cpu_nanoseconds: AtomicU64,
    memory_peak: AtomicU64,
    log_lines: AtomicU64,
    log_bytes: AtomicU64,
    metrics: Handles,
}

/// What a policy took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: Duration,
    /// Linear memory of its largest instance, in bytes.
    pub memory_peak: u64,
    pub log_lines: u64,
    pub log_bytes: u64,
}

#[derive(Debug)]
struct Handles {
    cpu: Counter<f64, AtomicU64>,
    memory_peak: Gauge,
    log_lines: Late<PolicyLabels, Counter>,
    log_bytes: Late<PolicyLabels, Counter>,
    log_lines_dropped: Late<PolicyLabels, Counter>,
}

impl Meter {
    pub fn new(metrics: &Metrics, policy: &PolicyLabels) -> Self {
        Self {
            cpu_nanoseconds: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            log_lines: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            metrics: Handles {
                cpu: metrics.policy_cpu_seconds.get_or_create(policy),
                memory_peak: metrics.policy_memory_peak.get_or_create(policy),
                log_lines: Late::new(&metrics.policy_log_lines, policy),
                log_bytes: Late::new(&metrics.policy_log_bytes, policy),
                log_lines_dropped: Late::new(&metrics.policy_log_lines_dropped, policy),
            },
        }
    }

    /// A call took so much of the processor, and left its instance with so many bytes of memory.
    pub fn called(&self, cpu: Duration, memory: usize) {
        let nanoseconds = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.metrics.cpu.inc_by(cpu.as_secs_f64());
        let memory = memory as u64;
        if self.memory_peak.fetch_max(memory, Ordering::Relaxed) < memory {
            self.metrics
                .memory_peak
                .inner()
                .fetch_max(signed(memory), Ordering::Relaxed);
        }
    }

    pub fn logged(&self, bytes: usize) {
        self.log_lines.fetch_add(1, Ordering::Relaxed);
        self.log_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.metrics.log_lines.needed().inc();
        self.metrics.log_bytes.needed().inc_by(bytes as u64);
    }

    pub fn log_line_dropped(&self) {
        self.metrics.log_lines_dropped.needed().inc();
    }

    pub fn usage(&self) -> Usage {
        Usage {
            cpu: Duration::from_nanos(self.cpu_nanoseconds.load(Ordering::Relaxed)),
            memory_peak: self.memory_peak.load(Ordering::Relaxed),
            log_lines: self.log_lines.load(Ordering::Relaxed),
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
        }
    }
}

impl std::ops::AddAssign for Usage {
    /// Of several policies; the largest instance is the largest of all of theirs.
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory_peak = self.memory_peak.max(other.memory_peak);
        self.log_lines += other.log_lines;
        self.log_bytes += other.log_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_go_on_over_configurations_and_a_meter_begins_with_each() {
        let (metrics, policy) = (Metrics::new(), PolicyLabels::default());
        let millisecond = Duration::from_millis(1);
        let old = Meter::new(&metrics, &policy);
        old.called(millisecond, 3 << 16);
        old.called(millisecond, 1 << 16);
        old.logged(10);
        let new = Meter::new(&metrics, &policy);
        new.called(millisecond, 2 << 16);
        let usage = Usage {
            cpu: millisecond,
            memory_peak: 2 << 16,
            ..Usage::default()
        };
        assert_eq!(new.usage(), usage);
        let mut both = old.usage();
        both += new.usage();
        assert_eq!((both.cpu, both.memory_peak), (3 * millisecond, 3 << 16));
        assert_eq!((both.log_lines, both.log_bytes), (1, 10));
        let cpu = metrics.policy_cpu_seconds.get_or_create(&policy).get();
        assert!((cpu - 0.003).abs() < 1e-9, "{cpu}");
        assert_eq!(metrics.policy_memory_peak.get_or_create(&policy).get(), 3 << 16);
        assert_eq!(metrics.policy_log_bytes.get_or_create(&policy).get(), 10);
    }
}
