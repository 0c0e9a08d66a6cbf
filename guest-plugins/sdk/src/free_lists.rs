//! An allocator for guests that want one: free lists for small blocks, the standard allocator for the rest.
//!
//! Takes layouts; gives memory. A series of ten labels is some forty small blocks that live for one call, and the
//! general allocator was a third of a call's cost. Small blocks are never given back to it: what a call needed,
//! the next will need, and the gateway bounds and recycles instances. Never made a plugin's allocator by the SDK: a
//! program has one, and which is its author's to say.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// Blocks are multiples of this. Bytes.
const GRAIN: usize = 16;
/// The largest block that is kept in a list. Bytes.
const SMALL: usize = 512;
/// What is taken from the standard allocator at a time, to be cut into blocks. Bytes.
const CHUNK: usize = 32 << 10;

struct Lists {
    /// Per size in grains: the first free block, whose first word is the next one.
    free: [*mut u8; SMALL / GRAIN + 1],
    /// What is left of the current chunk.
    cut: *mut u8,
    left: usize,
}

/// Memory for many small blocks that live for one call: the standard plugins' allocator. For wasm32 alone.
///
/// ```ignore
/// #[cfg(target_arch = "wasm32")]
/// #[global_allocator]
/// static ALLOCATOR: gauntlet_policy::FreeLists = gauntlet_policy::FreeLists::new();
/// ```
pub struct FreeLists(UnsafeCell<Lists>);

impl FreeLists {
    #[allow(clippy::new_without_default)] // It is for a static.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Lists {
            free: [null_mut(); SMALL / GRAIN + 1],
            cut: null_mut(),
            left: 0,
        }))
    }
}

// SAFETY: only for wasm32 without the threads proposal, where a guest has one thread and no signal handlers.
unsafe impl Sync for FreeLists {}

fn is_small(layout: Layout) -> bool {
    layout.size() <= SMALL && layout.align() <= GRAIN
}

fn grains(size: usize) -> usize {
    size.div_ceil(GRAIN)
}

impl Lists {
    /// A new block of that many grains, or null.
    #[cold]
    fn cut(&mut self, grains: usize) -> *mut u8 {
        let size = grains * GRAIN;
        if self.left < size {
            // SAFETY: the layout is not of size zero, and GRAIN is a power of two.
            self.cut = unsafe { System.alloc(Layout::from_size_align_unchecked(CHUNK, GRAIN)) };
            if self.cut.is_null() {
                self.left = 0;
                return null_mut();
            }
            self.left = CHUNK;
        }
        let block = self.cut;
        // SAFETY: `left` bytes from `cut` on are one allocation, and `size` is no more than that.
        self.cut = unsafe { block.add(size) };
        self.left -= size;
        block
    }
}

// SAFETY: a small block is cut once, is at least as large and as aligned as asked for, and is on a list only from
// `dealloc` to the next `alloc` of its size; everything else is the standard allocator's.
unsafe impl GlobalAlloc for FreeLists {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_small(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: one thread, and nothing below calls back into this allocator.
        let lists = unsafe { &mut *self.0.get() };
        let grains = grains(layout.size());
        let block = lists.free[grains];
        if block.is_null() {
            return lists.cut(grains);
        }
        // SAFETY: a listed block is GRAIN bytes or more, aligned, and begins with the next one's address.
        lists.free[grains] = unsafe { block.cast::<*mut u8>().read() };
        block
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_small(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: as in `alloc`.
        let lists = unsafe { &mut *self.0.get() };
        let grains = grains(layout.size());
        // SAFETY: the block came from `alloc` with this layout, so it has room for an address.
        unsafe { block.cast::<*mut u8>().write(lists.free[grains]) };
        lists.free[grains] = block;
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` is not zero and does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_small(layout), is_small(wanted)) {
            // SAFETY: the caller's promise.
            (false, false) => unsafe { System.realloc(block, layout, size) },
            (true, true) if grains(layout.size()) == grains(size) => block,
            _ => {
                // SAFETY: both layouts are sound, the blocks are apart, and the smaller size fits both.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        moved.copy_from_nonoverlapping(block, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}
