//! The program's allocator: the system's, with a few freed blocks kept by each thread that asks for it.
//!
//! It is for the static program. musl's allocator has one lock, and gives memory back at once: uploads
//! waited for that lock, and mapped and unmapped pages for small things, for a tenth of their processor
//! time. glibc keeps freed blocks by itself; there it is the same code, so that the tests have it too.
//!
//! 1. Every thread allocates a block of at most [`BYTES_MAX`] bytes, aligned to 128 at most, with the size and the
//!    alignment of its class. So every thread may keep such a block for a later allocation of that class.
//! 2. What looks for the thread's cache is not inlined. A coroutine may go on in another thread, and a function
//!    that it runs must not keep the address of the first one's.
//! 3. A thread keeps at most [`KEPT_BYTES`], and none once its [`KeptBlocks`] is dropped.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

/// The largest block that is kept.
const BYTES_MAX: usize = 4096;

/// The most that one thread keeps.
const KEPT_BYTES: usize = 16 << 10;

/// The most bytes of one class that a thread keeps; of a large class it keeps two blocks. Without this limit a body
/// thread would keep nothing but small blocks that the coroutines' threads allocate and body threads free, and
/// would map and unmap a page for each answer.
const KEPT_OF_CLASS_BYTES: usize = 1 << 10;

/// Blocks begin at multiples of these: as musl's do, or as a channel of the standard library does, of which each
/// upload makes one. Each size is a class of its own for either.
const ALIGNED_BYTES: [usize; 2] = [16, 128];

/// Up to 128 bytes a size each 16 bytes, and beyond that four for each doubling.
const SIZES: usize = class_of(BYTES_MAX) + 1;

const CLASSES: usize = SIZES * ALIGNED_BYTES.len();

/// The allocator. Its blocks are the system's.
pub struct ThreadCache;

/// The freed blocks of one thread, each with the address of the next in its first bytes.
struct Cache {
    first: [Cell<*mut u8>; CLASSES],
    /// How many blocks each class has.
    kept: [Cell<u16>; CLASSES],
    kept_bytes: Cell<usize>,
    is_on: Cell<bool>,
}

thread_local! {
    // Without a destructor and made at compile time, so that it may be used inside an allocation.
    static CACHE: Cache = const {
        Cache {
            first: [const { Cell::new(ptr::null_mut()) }; CLASSES],
            kept: [const { Cell::new(0) }; CLASSES],
            kept_bytes: Cell::new(0),
            is_on: Cell::new(false),
        }
    };
}

/// While it is held, the thread keeps freed blocks.
pub(crate) struct KeptBlocks {
    /// It is this thread's: it must not be sent to another.
    _thread: PhantomData<*const ()>,
}

impl KeptBlocks {
    pub(crate) fn keep() -> KeptBlocks {
        keep_freed_blocks();
        KeptBlocks {
            _thread: PhantomData,
        }
    }
}

impl Drop for KeptBlocks {
    fn drop(&mut self) {
        CACHE.with(|cache| cache.is_on.set(false));
        for class in 0..CLASSES {
            while let Some(block) = take(class) {
                // SAFETY: a kept block has the size of its class, and came from `System`.
                unsafe { System.dealloc(block, layout_of(class)) };
            }
        }
    }
}

/// From here on the thread keeps freed blocks. For a thread that lives as long as the process.
#[inline(never)]
pub(crate) fn keep_freed_blocks() {
    CACHE.with(|cache| cache.is_on.set(true));
}

#[inline(never)]
fn take(class: usize) -> Option<*mut u8> {
    CACHE.with(|cache| {
        let block = cache.first[class].get();
        if block.is_null() {
            return None;
        }
        // SAFETY: a kept block is at least a pointer large and aligned for one; `keep` has written the
        // next one's address there, and nobody else has the block.
        let next = unsafe { block.cast::<*mut u8>().read() };
        cache.first[class].set(next);
        cache.kept[class].set(cache.kept[class].get() - 1);
        cache
            .kept_bytes
            .set(cache.kept_bytes.get() - bytes_of(class));
        Some(block)
    })
}

/// False if there is no room for a freed block.
#[inline(never)]
fn keep(block: *mut u8, class: usize) -> bool {
    CACHE.with(|cache| {
        let kept_bytes = cache.kept_bytes.get() + bytes_of(class);
        let kept = cache.kept[class].get();
        if !cache.is_on.get() || KEPT_BYTES < kept_bytes || kept_max(class) <= kept {
            return false;
        }
        // SAFETY: the block was freed, is at least a pointer large and aligned for one.
        unsafe { block.cast::<*mut u8>().write(cache.first[class].get()) };
        cache.first[class].set(block);
        cache.kept[class].set(kept + 1);
        cache.kept_bytes.set(kept_bytes);
        true
    })
}

// SAFETY: a block comes from `System`, with the layout of its class or its own; `dealloc` receives the
// layout that `alloc` did, so it finds the same class or none. A block is in one thread's cache at most
// while it is free, and `take` gives it to one caller.
unsafe impl GlobalAlloc for ThreadCache {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_for(layout) else {
            // SAFETY: the caller's promise is the same.
            return unsafe { System.alloc(layout) };
        };
        if let Some(block) = take(class) {
            return block;
        }
        // SAFETY: the size of a class is not zero.
        unsafe { System.alloc(layout_of(class)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class_for(layout) else {
            // SAFETY: the caller's promise is the same.
            return unsafe { System.dealloc(block, layout) };
        };
        if !keep(block, class) {
            // SAFETY: a block of this class was allocated with this layout.
            unsafe { System.dealloc(block, layout_of(class)) };
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class_for(layout).is_none() {
            // SAFETY: the caller's promise is the same.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as above; the block is at least as large as the layout.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller promises that `bytes` is a size that fits the alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        match (class_for(layout), class_for(wanted)) {
            (Some(class), Some(other)) if class == other => return block,
            // SAFETY: the block has its own layout, and so will the new one.
            (None, None) => return unsafe { System.realloc(block, layout, bytes) },
            _ => {}
        }
        // SAFETY: two blocks that do not overlap, each as large as its layout at least.
        unsafe {
            let other = self.alloc(wanted);
            if !other.is_null() {
                ptr::copy_nonoverlapping(block, other, layout.size().min(bytes));
                self.dealloc(block, layout);
            }
            other
        }
    }
}

/// `None` for a block that is not kept.
fn class_for(layout: Layout) -> Option<usize> {
    let aligned = ALIGNED_BYTES
        .iter()
        .position(|&bytes| layout.align() <= bytes)?;
    let is_kept = 0 < layout.size() && layout.size() <= BYTES_MAX;
    is_kept.then(|| SIZES * aligned + class_of(layout.size()))
}

/// The class of blocks of this size that begin where musl's do.
const fn class_of(bytes: usize) -> usize {
    if bytes <= 128 {
        return (bytes - 1) / 16;
    }
    // Of the quarters of a doubling, the one in which it ends.
    let doubling = (bytes - 1).ilog2() as usize;
    8 + 4 * (doubling - 7) + ((bytes - 1) >> (doubling - 2)) % 4
}

const fn bytes_of(class: usize) -> usize {
    let class = class % SIZES;
    if class < 8 {
        return 16 * (class + 1);
    }
    let (doubling, quarter) = ((class - 8) / 4 + 7, (class - 8) % 4);
    (1 << doubling) + ((quarter + 1) << (doubling - 2))
}

/// The most blocks of a class that a thread keeps.
const fn kept_max(class: usize) -> u16 {
    let blocks = KEPT_OF_CLASS_BYTES / bytes_of(class);
    if blocks < 2 { 2 } else { blocks as u16 }
}

fn layout_of(class: usize) -> Layout {
    const _: () = {
        assert!(ALIGNED_BYTES[0].is_power_of_two() && ALIGNED_BYTES[1].is_power_of_two());
        assert!(0 < bytes_of(0));
    };
    // SAFETY: the alignment is a power of two, and the size far below `isize::MAX`.
    unsafe { Layout::from_size_align_unchecked(bytes_of(class), ALIGNED_BYTES[class / SIZES]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_the_smallest_that_fits() {
        for bytes in 1..=BYTES_MAX {
            let class = class_of(bytes);
            assert!(bytes <= bytes_of(class), "{bytes}");
            assert!(class == 0 || bytes_of(class - 1) < bytes, "{bytes}");
        }
        assert_eq!(bytes_of(SIZES - 1), BYTES_MAX);
    }

    /// Blocks of all sizes, allocated, grown, shrunk and freed in no order, keep their bytes.
    #[test]
    fn blocks_keep_their_bytes() {
        let kept = KeptBlocks::keep();
        let mut dice = 7u32;
        let mut roll = |below: usize| {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (dice >> 8) as usize % below
        };
        let mut blocks: Vec<(*mut u8, Layout, u8)> = Vec::new();
        for round in 0..if cfg!(miri) { 500 } else { 20_000 } {
            let layout = Layout::from_size_align(1 + roll(3000), 1 << roll(9)).unwrap();
            let mark = round as u8;
            // SAFETY: sizes are not zero, blocks are freed once, with the layout that they have.
            unsafe {
                let block = match roll(2) {
                    0 => ThreadCache.alloc(layout),
                    _ => ThreadCache.alloc_zeroed(layout),
                };
                assert_eq!(block as usize % layout.align(), 0);
                block.write_bytes(mark, layout.size());
                blocks.push((block, layout, mark));
                let place = roll(blocks.len());
                let (block, layout, mark) = blocks[place];
                let bytes = 1 + roll(3000);
                let grown = ThreadCache.realloc(block, layout, bytes);
                let both = layout.size().min(bytes);
                assert!((0..both).all(|n| grown.add(n).read() == mark));
                let layout = Layout::from_size_align(bytes, layout.align()).unwrap();
                grown.write_bytes(mark, bytes);
                blocks[place] = (grown, layout, mark);
                if blocks.len() > 40 {
                    let (block, layout, mark) = blocks.swap_remove(roll(40));
                    assert!((0..layout.size()).all(|n| block.add(n).read() == mark));
                    ThreadCache.dealloc(block, layout);
                }
            }
            CACHE.with(|cache| assert!(cache.kept_bytes.get() <= KEPT_BYTES));
        }
        for (block, layout, _) in blocks {
            // SAFETY: as above.
            unsafe { ThreadCache.dealloc(block, layout) };
        }
        drop(kept);
        CACHE.with(|cache| assert_eq!(cache.kept_bytes.get(), 0));
    }

    /// Small blocks that other threads have allocated, and this one frees without end, leave room for its own.
    #[test]
    fn one_class_does_not_fill_the_cache() {
        let _kept = KeptBlocks::keep();
        let kept = |class: usize| CACHE.with(|cache| cache.kept[class].get());
        let small = Layout::new::<[u8; 32]>();
        // SAFETY: as above.
        unsafe {
            let blocks: Vec<_> = (0..2 * KEPT_BYTES / 32)
                .map(|_| ThreadCache.alloc(small))
                .collect();
            for block in blocks {
                ThreadCache.dealloc(block, small);
            }
            for aligned in ALIGNED_BYTES {
                let own = Layout::from_size_align(640, aligned).unwrap();
                ThreadCache.dealloc(ThreadCache.alloc(own), own);
                assert_eq!(kept(class_for(own).unwrap()), 1, "{aligned}");
            }
        }
        let class = class_for(small).unwrap();
        assert_eq!(kept(class), kept_max(class));
    }

    #[test]
    fn a_zeroed_block_is_zero_after_another_use() {
        let _kept = KeptBlocks::keep();
        let layout = Layout::new::<[u8; 100]>();
        // SAFETY: as above.
        unsafe {
            let block = ThreadCache.alloc(layout);
            block.write_bytes(0xff, 100);
            ThreadCache.dealloc(block, layout);
            let again = ThreadCache.alloc_zeroed(layout);
            assert_eq!(again, block);
            assert!((0..100).all(|n| again.add(n).read() == 0));
            ThreadCache.dealloc(again, layout);
        }
    }
}
