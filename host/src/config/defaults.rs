//! What holds where the configuration says nothing, in one place.
//!
//! Takes nothing, gives constants: `resolve` fills in what was left out, and a tool without a main file has the same
//! bounds. `docs/configuration.md` writes each of them out, which a test compares.

use std::time::Duration;

use super::{DropExamples, Limits, OverRate, Sandbox};
use crate::model::Protocol;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The public listener, by the names of `remote_write`.
pub mod remote_write {
    use super::{Duration, KIB};

    pub const LISTEN_ADDRESS: &str = ":19291";
    pub const MAX_CONNECTIONS: usize = 10_000;
    pub const MAX_STRANGERS_PER_ADDRESS: usize = 256;
    pub const MAX_CONNECTIONS_PER_TENANT: usize = 2_500;
    pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
    pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
    pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
    pub const MIN_BODY_RATE: u64 = KIB;
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
    /// What `memory_limit` leaves room for.
    pub const MAX_IN_FLIGHT_SIZE: u64 = u64::MAX;
    pub const MAX_CONCURRENT_REQUESTS: usize = 1024;
}

/// The operators' listener.
pub mod admin {
    pub const LISTEN_ADDRESS: &str = "127.0.0.1:10902";
}

/// Each of `upstreams`.
pub mod upstream {
    use super::{Duration, Protocol};

    /// Where Thanos' receivers take remote write.
    pub const PATH: &str = "/api/v1/receive";
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// Less where the whole `timeout` is.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
    /// What every receiver takes; released Thanos takes nothing else.
    pub const REMOTE_WRITE_VERSION: Protocol = Protocol::V1;
    /// Thanos discards it.
    pub const METADATA: bool = false;
    pub const DNS_REFRESH_INTERVAL: Duration = Duration::from_secs(10);
    pub const MAX_IN_FLIGHT: usize = 1024;
}

pub const SANDBOX: Sandbox = Sandbox {
    threads: 2,
    call_timeout: Duration::from_millis(50),
    memory_limit: 32 << 20,
    wasi: true,
    cache_dir: None,
    // Three thousand plugins made of Rust, or seventeen of Python.
    max_cache_size: 1024 * MIB,
    compile_timeout: Duration::from_secs(60),
    compile_memory_limit: 2048 * MIB,
};

/// For a Prometheus that sends 2000 samples in 15-62 KB a request.
pub const LIMITS: Limits = Limits {
    max_body_size: 32 * MIB,
    max_decoded_size: 32 * MIB,
    max_in_flight_size: 128 * MIB,
    // Prometheus opens 50 connections by default and may be told to open 200.
    max_concurrent_requests: 256,
    max_active_series: 1_000_000,
    max_series_per_request: 100_000,
    max_labels_per_series: 64,
    max_label_name_length: 1024,
    max_label_value_length: 4096,
};

pub const OVER_RATE: OverRate = OverRate::Retry;

/// What a tenant sends is shown to nobody who was not told that he may see it.
pub const DROP_EXAMPLES: DropExamples = DropExamples::Off;

/// Somebody notices within it, and a credential that was taken away on purpose is refused the same day.
pub const CREDENTIAL_GRACE: Duration = Duration::from_secs(60 * 60);

/// The labels that Thanos receivers announce for themselves.
pub const RESERVED_LABELS: [&str; 2] = ["tenant_id", "receiver_replica"];
