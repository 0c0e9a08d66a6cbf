//! Freed memory, given back to the system.
//!
//! Takes nothing, gives nothing back but memory. The allocator keeps what was freed for ten seconds, and for ever where
//! nobody frees more: after a flood of large bodies 600 MB of 800 stayed, which no account knows of. That it gives them
//! back at once for every body would cost every body two calls of the kernel; so it is told to where memory is short.
#![allow(unsafe_code)]

// Brings the library whose function is called.
use mimalloc as _;

unsafe extern "C" {
    /// mimalloc.h: `void mi_collect(bool force)`.
    fn mi_collect(force: bool);
}

/// What was freed ten seconds ago, or `at_once` all that was freed. Takes milliseconds for each gigabyte, and locks nobody out.
pub fn give_back(at_once: bool) {
    // SAFETY: `mi_collect` wants nothing: it may be called by any thread at any time, also where another allocator is the
    // program's.
    unsafe { mi_collect(at_once) }
}
