//! Generations that were replaced and are still held by writes.
//!
//! Takes what was swapped out, frees it here, below the writes, and not where its last write ends: ten thousand tenants
//! take milliseconds that an I/O thread does not have. Whoever runs [`Retired::free_ended`] owns the work; nothing is
//! spawned.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// How often a generation that was replaced is asked whether its last write has ended.
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Retired<T> {
    held: Mutex<Vec<Arc<T>>>,
    more: Notify,
}

impl<T> Default for Retired<T> {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            more: Notify::new(),
        }
    }
}

impl<T> Retired<T> {
    pub(super) fn push(&self, old: Arc<T>) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(old);
        self.more.notify_one();
    }

    /// Frees each as its last holder lets go. Never ends.
    pub(super) async fn free_ended(&self) {
        loop {
            self.more.notified().await;
            while self.are_held() {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// Frees what nobody else holds; whether anything is left.
    fn are_held(&self) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, ended) = std::mem::take(&mut *held)
            .into_iter()
            .partition(|old| Arc::strong_count(old) > 1);
        *held = kept;
        let are_held = !held.is_empty();
        // Freeing takes its time; whoever retires the next one need not wait for it.
        drop(held);
        drop::<Vec<_>>(ended);
        are_held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_retired_goes_with_its_last_write() {
        let retired = Retired::default();
        let (held, ended) = (Arc::new(1), Arc::new(2));
        let seen = [Arc::downgrade(&held), Arc::downgrade(&ended)];
        retired.push(Arc::clone(&held));
        retired.push(ended);
        let gone = |which: usize| seen[which].upgrade().is_none();
        let freeing = retired.free_ended();
        tokio::pin!(freeing);
        let until = async |which: usize| {
            while !gone(which) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = &mut freeing => unreachable!("it never ends"),
            () = until(1) => {}
        }
        assert!(!gone(0));
        drop(held);
        tokio::select! {
            () = &mut freeing => unreachable!("it never ends"),
            () = until(0) => {}
        }
    }
}
