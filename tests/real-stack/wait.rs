//! Waiting for a state of the stack, by asking for it until a deadline.
//!
//! Takes a question; gives its answer or, at the deadline, an error that names what was waited for and what was
//! seen last. Never waits for a length of time and hopes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use gauntlet_tests::deadline;

/// Pause between two questions: short beside a scrape interval, long beside the cost of asking.
const PAUSE: Duration = Duration::from_millis(200);

/// Asks until the answer is `Some`; errors are taken for "not yet" and the last one is told at the deadline.
pub fn until<T>(what: &str, deadline: Duration, ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    deadline::until(what, deadline, PAUSE, ask)
}

/// Unix time in seconds.
pub fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
