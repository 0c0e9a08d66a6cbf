//! Memory for decoded bodies, used again.
//!
//! Takes a length, gives that much room with bytes of anybody's in it: whoever takes it writes all of it before anyone
//! reads. A fresh buffer of a usual body (300 KB) costs its zeros, and the page faults behind them, for every write.
//! Never keeps more than [`KEPT`] buffers of at most [`KEPT_BYTES`] per thread.

use std::cell::RefCell;

/// A thread serves one write at a time between two awaits; a few more may wait for a policy.
const KEPT: usize = 4;
/// Larger bodies are rare enough to pay for theirs.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Room of a fixed length. Goes back to the thread that drops it.
pub(super) struct Buffer {
    /// As long as the longest body it held, so that nothing is zeroed twice.
    bytes: Vec<u8>,
    length: usize,
}

impl Buffer {
    /// Room for `length` bytes. They hold whatever was there.
    pub(super) fn take(length: usize) -> Self {
        let mut bytes = match length {
            0..=KEPT_BYTES => FREE.with_borrow_mut(Vec::pop).unwrap_or_default(),
            _ => Vec::new(),
        };
        if bytes.len() < length {
            if bytes.capacity() < length {
                // Growing would copy what is about to be overwritten; zeroed memory from the system costs less.
                bytes = vec![0; length];
            } else {
                bytes.resize(length, 0);
            }
        }
        Self { bytes, length }
    }

    pub(super) fn room_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() > KEPT_BYTES {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that is ending has no list any more.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_and_is_as_long_as_asked_for() {
        let mut first = Buffer::take(1000);
        first.room_mut().fill(7);
        let place = first.as_ref().as_ptr();
        drop(first);
        let second = Buffer::take(10);
        assert_eq!((second.as_ref().as_ptr(), second.as_ref().len()), (place, 10));
        assert_eq!(Buffer::take(2000).as_ref().len(), 2000);
    }

    #[test]
    fn few_buffers_are_kept_and_no_large_one() {
        let many: Vec<Buffer> = (0..3 * KEPT).map(|_| Buffer::take(100)).collect();
        drop(many);
        drop(Buffer::take(KEPT_BYTES + 1));
        FREE.with_borrow(|free| {
            assert_eq!(free.len(), KEPT);
            assert!(free.iter().all(|bytes| bytes.len() <= KEPT_BYTES));
        });
    }
}
