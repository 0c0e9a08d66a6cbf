//! Work that reads files, where it holds nobody up.
//!
//! Takes the work, gives what came of it. Never hides a panic.

/// Runs what reads files, away from the I/O threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
