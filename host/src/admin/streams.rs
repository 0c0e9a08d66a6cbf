//! Who listens to events.
//!
//! Takes events, gives them to those who listen; bounds how many they are and how far each may be behind. Never makes an event.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast};

/// Streams at once.
pub(super) const STREAMS: usize = 16;
/// Events that a listener may be behind by.
const BEHIND: usize = 16;

/// One per process.
pub struct Events {
    pub(super) listeners: broadcast::Sender<Bytes>,
    pub(super) places: Arc<Semaphore>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            listeners: broadcast::Sender::new(BEHIND),
            places: Arc::new(Semaphore::new(STREAMS)),
        }
    }
}
