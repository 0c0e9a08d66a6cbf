//! What operators are answered from.
//!
//! Takes what the process is made of, gives it to every handler. Never answers anything itself.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Semaphore;

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
    /// True from the first accepted connection to the beginning of the drain.
    pub ready: Arc<AtomicBool>,
}
