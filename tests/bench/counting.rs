//! An allocator that counts, for what promises to allocate nothing.

#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Counting;

/// By all threads that have not said otherwise.
static ALL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
    static IS_COUNTED: Cell<bool> = const { Cell::new(true) };
}

fn note() {
    // A thread that is ending has no counters any more.
    let _ = OWN.try_with(|own| own.set(own.get() + 1));
    if IS_COUNTED.try_with(Cell::get).unwrap_or(true) {
        ALL.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: all of it is the system's allocator; counting touches no memory of anybody's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// So many allocations has this thread made.
pub fn of_this_thread() -> u64 {
    OWN.get()
}

/// So many have all threads that are counted.
pub fn of_all() -> u64 {
    ALL.load(Ordering::Relaxed)
}

/// From now on this thread's do not count for [`of_all`].
pub fn leave_me_out() {
    IS_COUNTED.set(false);
}
