//! Waiting, always under a deadline.
//!
//! Takes something to wait for, gives its value or a panic that names it; never waits for a fixed time.

use std::time::{Duration, Instant};

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
