//! What operators are answered from.
//!
//! Takes what the process is made of, gives it to every handler. Never answers anything itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::streams::Events;
use crate::flow::Flow;
use crate::forward::Upstreams;
use crate::memory::Memory;
use crate::reload::Generations;
use crate::telemetry::Metrics;

/// Questions that policies are asked for at once; others are told to come again.
pub const QUESTIONS_AT_ONCE: usize = 2;

/// What the handlers read.
#[derive(Clone)]
pub struct Gateway {
    pub generations: Arc<Generations>,
    pub upstreams: Arc<Upstreams>,
    pub metrics: Arc<Metrics>,
    pub memory: Arc<Memory>,
    /// Places for questions that ask policies.
    pub questions: Arc<Semaphore>,
    pub flow: Arc<Flow>,
    pub events: Arc<Events>,
    /// Where senders are listened for.
    pub remote_write: SocketAddr,
    /// True from the first accepted connection to the beginning of the drain.
    pub ready: Arc<AtomicBool>,
    /// Told when all ends.
    pub stop: CancellationToken,
}

impl Gateway {
    /// Has what flows read now.
    pub(super) fn look(&self, now: Instant) {
        self.flow.look(&self.generations.current().tenants, now);
    }
}
