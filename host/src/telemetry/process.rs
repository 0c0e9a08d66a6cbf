//! What the system says of the process, under the names that every exporter gives it.
//!
//! Takes nothing, gives metrics without the prefix of all others, read when somebody asks. Never fails: what the system
//! does not tell is what it was.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::signed;
use crate::model::seconds_since_1970;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) registry: Registry,
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    size: Gauge,
    threads: Gauge,
    open_files: Gauge,
    max_open_files: Gauge,
}

impl Process {
    /// The time at which the process began is that of this call.
    pub(super) fn new() -> Self {
        let mut it = Self {
            registry: Registry::with_prefix("process"),
            cpu: Counter::default(),
            resident: Gauge::default(),
            size: Gauge::default(),
            threads: Gauge::default(),
            open_files: Gauge::default(),
            max_open_files: Gauge::default(),
        };
        let start = Gauge::<i64>::default();
        start.set(seconds_since_1970());
        let to = &mut it.registry;
        let cpu = "Processor time of the process, of all its threads";
        to.register_with_unit("cpu", cpu, Unit::Seconds, it.cpu.clone());
        for (name, help, bytes) in [
            (
                "resident_memory",
                "Memory of the process that is in RAM, its program included",
                &it.resident,
            ),
            (
                "virtual_memory",
                "Addresses that the process has reserved; most of them, those of plugins above all, cost nothing",
                &it.size,
            ),
        ] {
            to.register_with_unit(name, help, Unit::Bytes, bytes.clone());
        }
        to.register_with_unit(
            "start_time",
            "Unix time at which the process began",
            Unit::Seconds,
            start,
        );
        for (name, help, number) in [
            ("threads", "Threads of the process", &it.threads),
            (
                "open_fds",
                "Open files of the process, sockets above all",
                &it.open_files,
            ),
            ("max_fds", "Open files that the process may have", &it.max_open_files),
        ] {
            to.register(name, help, number.clone());
        }
        it
    }

    /// Reads it all anew.
    pub(super) fn look(&self) {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (key, unit, gauge) in [
            ("VmRSS:", 1024, &self.resident),
            ("VmSize:", 1024, &self.size),
            ("Threads:", 1, &self.threads),
        ] {
            if let Some(number) = field(&status, key) {
                gauge.set(signed(number * unit));
            }
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is that of the folder itself.
            self.open_files.set(signed((open.count() as u64).saturating_sub(1)));
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        self.max_open_files.set(signed(most));
    }
}

/// The number of a line of `/proc/self/status`.
fn field(status: &str, key: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_what_the_process_takes() {
        let process = Process::new();
        process.look();
        let before = process.cpu.get();
        // Until the clock, which counts nanoseconds, has moved on.
        while process.cpu.get() <= before {
            process.look();
        }
        let open = process.open_files.get();
        assert!(open >= 3 && open < process.max_open_files.get(), "{open}");
        assert!(process.resident.get() > 1 << 20 && process.resident.get() < process.size.get());
        assert!(process.threads.get() >= 1);
    }
}
