//! The demo's tenants: how they prove themselves, what they write, what their policies say.

/// One sample tenant.
pub(super) struct Sample {
    pub(super) name: &'static str,
    pub(super) certificate_uri: Option<&'static str>,
    pub(super) bearer_token: Option<&'static str>,
    /// Its tenant file.
    pub(super) config: &'static str,
    /// Nodes that it has; every node writes every metric.
    pub(super) nodes: usize,
}

/// The token that `local` writes with; good for nothing but a process on this machine.
pub(super) const LOCAL_TOKEN: &str = "gauntlet-dev-local";

pub(super) const TENANTS: [Sample; 3] = [
    Sample {
        name: "local",
        certificate_uri: None,
        bearer_token: Some(LOCAL_TOKEN),
        config: include_str!("tenants/local.yaml"),
        nodes: 2,
    },
    Sample {
        name: "kazusa",
        certificate_uri: Some("spiffe://kazusa/prometheus"),
        bearer_token: None,
        config: include_str!("tenants/kazusa.yaml"),
        nodes: 5,
    },
    Sample {
        name: "setsuna",
        certificate_uri: Some("spiffe://setsuna/prometheus"),
        bearer_token: None,
        config: include_str!("tenants/setsuna.yaml"),
        nodes: 3,
    },
];

/// The tenant of a plugin that is tried, which the command line writes the file of.
pub(super) const OWN: Sample = Sample {
    name: "own",
    certificate_uri: None,
    bearer_token: Some("gauntlet-dev-own"),
    config: "",
    nodes: 3,
};

/// One series of a node: name, other labels, and how it moves.
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) label: Option<(&'static str, &'static [&'static str])>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// Grows by about this per second.
    Counter(f64),
    /// Swings around this.
    Gauge(f64),
}

/// What a node exporter, a Go program and a kubelet write, in small.
pub(super) const METRICS: [Metric; 14] = [
    Metric {
        name: "up",
        label: None,
        kind: Kind::Gauge(1.0),
    },
    Metric {
        name: "node_cpu_seconds_total",
        label: Some((
            "mode",
            &["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"],
        )),
        kind: Kind::Counter(0.9),
    },
    Metric {
        name: "node_memory_MemAvailable_bytes",
        label: None,
        kind: Kind::Gauge(8.0e9),
    },
    Metric {
        name: "node_load1",
        label: None,
        kind: Kind::Gauge(1.4),
    },
    Metric {
        name: "node_network_receive_bytes_total",
        label: Some(("device", &["eth0", "eth1", "lo"])),
        kind: Kind::Counter(120_000.0),
    },
    Metric {
        name: "node_filesystem_avail_bytes",
        label: Some(("mountpoint", &["/", "/boot", "/var", "/data"])),
        kind: Kind::Gauge(4.0e10),
    },
    Metric {
        name: "node_disk_io_time_seconds_total",
        label: Some(("device", &["nvme0n1", "nvme1n1"])),
        kind: Kind::Counter(0.2),
    },
    Metric {
        name: "go_goroutines",
        label: None,
        kind: Kind::Gauge(42.0),
    },
    Metric {
        name: "go_gc_duration_seconds",
        label: Some(("quantile", &["0", "0.25", "0.5", "0.75", "1"])),
        kind: Kind::Gauge(0.0004),
    },
    Metric {
        name: "go_memstats_alloc_bytes",
        label: None,
        kind: Kind::Gauge(3.0e7),
    },
    Metric {
        name: "http_requests_total",
        label: Some(("code", &["200", "204", "400", "404", "500", "503"])),
        kind: Kind::Counter(35.0),
    },
    Metric {
        name: "kube_pod_status_phase",
        label: Some(("phase", &["Failed", "Pending", "Running", "Succeeded", "Unknown"])),
        kind: Kind::Gauge(1.0),
    },
    Metric {
        name: "kube_deployment_status_replicas",
        label: Some(("deployment", &["api", "checkout", "ingress", "web"])),
        kind: Kind::Gauge(3.0),
    },
    Metric {
        name: "process_resident_memory_bytes",
        label: None,
        kind: Kind::Gauge(9.0e7),
    },
];
