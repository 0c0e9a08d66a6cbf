//! Memory for decoded bodies, used again.
//!
//! Takes a length, gives that much room with bytes of anybody's in it: whoever takes it writes all of it before anyone
//! reads. A fresh buffer of a usual body (300 KB) costs its zeros, and the page faults behind them, for every write.
//! Never keeps more than [`KEPT`] buffers and [`KEPT_BYTES`], and never gives one of more than about twice what was asked for:
//! what is accounted is [`Buffer::size`], so that all those given may take [`KEPT_BYTES`] more than that. One pool for all
//! threads: where series are new, the last to let go of a body is a plugin's thread, which never takes one. But a thread takes
//! what it had before, if that is there: its processor may still have it, and need not fetch 300 KB from another's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// Writes that are between their body and their receivers at one moment; the others wait for a network.
const KEPT: usize = 16;
const KEPT_BYTES: usize = 16 << 20;
/// Larger bodies are rare enough to pay for theirs. The labels of containers make one of 2000 series 1.7 MB.
const LARGEST: usize = 2 << 20;

static POOL: Pool = Pool(Mutex::new(Vec::new()));

struct Pool(Mutex<Vec<Free>>);

struct Free {
    bytes: Vec<u8>,
    /// Who wrote into it last.
    home: ThreadId,
}

/// Room of a fixed length. Goes back when it is dropped.
pub(in crate::wire) struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    home: ThreadId,
    pool: &'static Pool,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Free>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&'static self, length: usize) -> Buffer {
        let home = thread::current().id();
        let bytes = match length {
            0..=LARGEST => self
                .take_any(home, length)
                .unwrap_or_else(|| vec![0; Buffer::size(length)]),
            _ => vec![0; length],
        };
        Buffer {
            bytes,
            length,
            home,
            pool: self,
        }
    }

    /// The last one of `home`, or else the first of all: the one that its own thread would take last.
    fn take_any(&self, home: ThreadId, length: usize) -> Option<Vec<u8>> {
        let mut free = self.lock();
        let is_fit = |one: &Free| (length..=2 * length).contains(&one.bytes.len());
        let own = free.iter().rposition(|one| one.home == home && is_fit(one));
        let at = own.or_else(|| free.iter().position(is_fit))?;
        Some(free.remove(at).bytes)
    }

    /// Keeps it, and forgets the oldest ones that there is no room for then.
    fn give_back(&self, one: Free) {
        let mut free = self.lock();
        free.push(one);
        let mut bytes: usize = free.iter().map(|one| one.bytes.len()).sum();
        while free.len() > KEPT || bytes > KEPT_BYTES {
            bytes -= free.remove(0).bytes.len();
        }
    }
}

impl Buffer {
    /// Bytes of memory for room of `length`, if it is made for it: a little longer, so that it serves the next ones too, none
    /// of which is quite as long.
    pub(in crate::wire) fn size(length: usize) -> usize {
        match length {
            0..=LARGEST => length + length / 8,
            _ => length,
        }
    }

    /// Room for `length` bytes. They hold whatever was there.
    pub(in crate::wire) fn take(length: usize) -> Self {
        POOL.take(length)
    }

    /// Leaves it the first `length` bytes, if it has more.
    pub(in crate::wire) fn cut(&mut self, length: usize) {
        self.length = self.length.min(length);
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
        if self.length <= LARGEST {
            let bytes = std::mem::take(&mut self.bytes);
            self.pool.give_back(Free { bytes, home: self.home });
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
        let second = pool.take(900);
        assert_eq!((second.as_ref().as_ptr(), second.as_ref().len()), (place, 900));
        assert_eq!(pool.take(2000).as_ref().len(), 2000);
    }

    #[test]
    fn a_body_is_given_no_more_than_about_twice_its_length() {
        let pool = pool();
        drop(pool.take(8000));
        let given = |length| pool.take(length).bytes.len();
        assert_eq!([given(9001), given(4500), given(4499)], [10_126, 9000, 5061]);
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
        assert_eq!(pool.lock().len(), KEPT);
        // The small ones are the oldest.
        let large: Vec<Buffer> = (0..KEPT).map(|_| pool.take(LARGEST)).collect();
        drop(large);
        drop(pool.take(LARGEST + 1));
        let lengths: Vec<usize> = pool.lock().iter().map(|one| one.bytes.len()).collect();
        assert_eq!(lengths, [LARGEST + LARGEST / 8; 7]);
    }
}
