//! The operators' listener: metrics, health, reload, and what is configured and why.
//!
//! Takes HTTP on the admin address, gives text and JSON in Prometheus' envelope. Never on the public address, never a
//! secret, and never a change but `/-/reload`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::forward::Upstreams;
use crate::reload::Generations;
use crate::telemetry::Metrics;

mod routes;
mod views;

pub use routes::router;

/// What the handlers read.
#[derive(Clone)]
pub struct Admin {
    pub generations: Arc<Generations>,
    pub upstreams: Arc<Upstreams>,
    pub metrics: Arc<Metrics>,
    /// True from the first accepted connection to the beginning of the drain.
    pub ready: Arc<AtomicBool>,
}
