//! An allocator that counts allocations, for code that promises to make none.

#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

pub struct Counting;

/// The allocations of all threads that are not excluded.
static ALL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static OWN: Cell<u64> = const { Cell::new(0) };
    static IS_COUNTED: Cell<bool> = const { Cell::new(true) };
}

fn count() {
    // A thread that is ending has no thread-locals any more.
    let _ = OWN.try_with(|own| own.set(own.get() + 1));
    if IS_COUNTED.try_with(Cell::get).unwrap_or(true) {
        ALL.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: each call is passed on to the system's allocator; counting touches none of its memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// The allocations of this thread so far.
pub fn by_this_thread() -> u64 {
    OWN.get()
}

/// The allocations so far of all threads that are not excluded.
pub fn by_all_threads() -> u64 {
    ALL.load(Ordering::Relaxed)
}

/// Excludes the allocations of this thread, from now on, from [`by_all_threads`].
pub fn exclude_this_thread() {
    IS_COUNTED.set(false);
}
