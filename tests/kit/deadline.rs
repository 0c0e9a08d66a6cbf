//! Waiting, always under a deadline.
//!
//! Takes something to wait for, gives its value, or a panic or an error that names it; never waits for a fixed time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// Long enough for a plugin's compilation on a busy two-core machine, short enough to notice a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits `future`, or fails the test by the name of what it waited for.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Polls until `attempt` gives a value: for conditions that send no event, such as another process' state.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks until the answer is `Some`, on this thread; errors are taken for "not yet".
///
/// # Errors
/// At the deadline, with the last error and what was waited for.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    pause: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let last = match ask() {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => anyhow!("the answer was still no"),
            Err(error) => error,
        };
        if Instant::now() >= end {
            return Err(last).with_context(|| format!("waited {} s until {what}", deadline.as_secs()));
        }
        std::thread::sleep(pause);
    }
}
