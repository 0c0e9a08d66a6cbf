//! Memory for decoded bodies, used again.
//!
//! Takes a length, gives that much room with bytes of anybody's in it: whoever takes it writes all of it before anyone
//! reads. A fresh buffer of a usual body (300 KB) costs its zeros, and the page faults behind them, for every write.
//! Never keeps more than [`KEPT`] buffers of at most [`KEPT_BYTES`], and never gives much more memory than was asked for, which is
//! what is accounted. One pool for all threads: where series are new, the
//! last to let go of a body is a plugin's thread, which never takes one. But a thread takes what it had before, if that
//! is there: its processor may still have it, and need not fetch 300 KB from another's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// Writes that are between their body and their receivers at one moment; the others wait for a network.
const KEPT: usize = 16;
/// Larger bodies are rare enough to pay for theirs.
const KEPT_BYTES: usize = 1 << 20;
/// A buffer that was written as far as this is one for the least body, and else for one of a quarter of that or more.
const SMALL_BYTES: usize = 64 << 10;

static POOL: Pool = Pool(Mutex::new(Vec::new()));

struct Pool(Mutex<Vec<Free>>);

struct Free {
    bytes: Vec<u8>,
    /// How far it was written at most: behind that the system has given no memory for it.
    written: usize,
    /// Who wrote into it last.
    home: ThreadId,
}

/// Room of a fixed length. Goes back when it is dropped.
pub(in crate::wire) struct Buffer {
    /// As long as the longest body it held, so that nothing is zeroed twice.
    bytes: Vec<u8>,
    length: usize,
    /// As far as this it was written by others.
    written: usize,
    home: ThreadId,
    pool: &'static Pool,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Free>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, length: usize) -> Buffer {
        let home = thread::current().id();
        let (mut bytes, mut written) = match length {
            0..=KEPT_BYTES => self.take_any(home, length).unwrap_or_default(),
            _ => Default::default(),
        };
        if bytes.len() < length {
            // Growing would copy what is about to be overwritten; zeroed memory from the system costs less.
            (bytes, written) = (vec![0; length], 0);
        }
        Buffer {
            bytes,
            length,
            written,
            home,
            pool: self,
        }
    }

    /// The last one of `home`, or else the first of all: the one that its own thread would take last. With how far it was
    /// written.
    fn take_any(&self, home: ThreadId, length: usize) -> Option<(Vec<u8>, usize)> {
        let mut free = self.lock();
        let is_fit = |one: &Free| one.written <= SMALL_BYTES.max(4 * length);
        let own = free.iter().rposition(|one| one.home == home && is_fit(one));
        let at = own.or_else(|| free.iter().position(is_fit))?;
        let Free { bytes, written, .. } = free.remove(at);
        Some((bytes, written))
    }
}

impl Buffer {
    /// Room for `length` bytes. They hold whatever was there.
    pub(in crate::wire) fn take(length: usize) -> Self {
        POOL.take(length)
    }

    /// Leaves it the first `length` bytes, if it has more.
    pub(in crate::wire) fn cut(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Bytes of memory that it takes once so much of it was written.
    pub(in crate::wire) fn size(&self, written: usize) -> usize {
        self.written.max(written)
    }

    pub(in crate::wire) fn room_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.bytes.len() > KEPT_BYTES {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let written = self.size(self.length);
        let mut free = self.pool.lock();
        if free.len() < KEPT {
            free.push(Free {
                bytes,
                written,
                home: self.home,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool(Mutex::default())))
    }

    #[test]
    fn a_buffer_is_used_again_by_any_thread_and_is_as_long_as_asked_for() {
        let pool = pool();
        let mut first = pool.take(1000);
        first.room_mut().fill(7);
        let place = first.as_ref().as_ptr();
        std::thread::spawn(move || drop(first)).join().unwrap();
        let second = pool.take(10);
        assert_eq!((second.as_ref().as_ptr(), second.as_ref().len()), (place, 10));
        assert_eq!(pool.take(2000).as_ref().len(), 2000);
    }

    #[test]
    fn a_small_body_is_given_no_memory_that_a_large_one_wrote() {
        let pool = pool();
        let written = |length| {
            let taken = pool.take(length);
            taken.size(0)
        };
        drop(pool.take(KEPT_BYTES));
        assert_eq!(written(KEPT_BYTES / 4), KEPT_BYTES);
        assert_eq!(written(KEPT_BYTES / 4 - 1), 0);
        // Of room that was given back in part only that part was written.
        let pool = self::pool();
        let mut first = pool.take(KEPT_BYTES);
        assert_eq!(first.size(7), 7);
        first.cut(100);
        drop(first);
        assert_eq!(pool.take(10).size(7), 100);
        assert_eq!(pool.take(KEPT_BYTES).size(0), 100);
    }

    #[test]
    fn a_thread_takes_its_own_before_anothers() {
        let pool = pool();
        let (own, younger) = (pool.take(100), pool.take(100));
        let place = |buffer: &Buffer| buffer.as_ref().as_ptr().addr();
        let (own_place, younger_place) = (place(&own), place(&younger));
        drop((own, younger));
        thread::scope(|scope| {
            // Each takes one of this thread's, since it has none, and makes it its own.
            let other = scope.spawn(|| assert_eq!(place(&pool.take(100)), own_place));
            other.join().unwrap();
        });
        let (first, second) = (pool.take(100), pool.take(100));
        assert_eq!((place(&first), place(&second)), (younger_place, own_place));
    }

    #[test]
    fn few_buffers_are_kept_and_no_large_one() {
        let pool = pool();
        let many: Vec<Buffer> = (0..3 * KEPT).map(|_| pool.take(100)).collect();
        drop(many);
        drop(pool.take(KEPT_BYTES + 1));
        let free = pool.lock();
        assert_eq!(free.len(), KEPT);
        assert!(free.iter().all(|one| one.bytes.len() <= KEPT_BYTES));
    }
}
