//! Memory for direct writes: aligned, and in one piece where the system has huge pages.

#![allow(unsafe_code)]

use std::io;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

/// The size of a huge page where pages are of 4 KiB: [`huge_halves`] gives one in two parts.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Half of a huge page: zeroed memory that begins at a multiple of its size. The page goes back to
/// the system with the second half.
pub(crate) struct HugeHalf {
    page: Arc<HugePage>,
    offset: usize,
}

/// A mapping of our own, twice as long as the page in it, so that the page can be aligned. The rest of
/// the mapping is never touched, and so takes no memory.
struct HugePage {
    mapping: NonNull<u8>,
    page: NonNull<u8>,
}

// SAFETY: a HugePage owns its mapping, which is bound to no thread, and gives out no reference.
unsafe impl Send for HugePage {}
// SAFETY: as above; the halves that share it reach disjoint parts of it.
unsafe impl Sync for HugePage {}

/// Memory that lies in one piece for the disk too, where the system has a huge page of this size: a
/// direct write from it is one request to the disk, where scattered pages are hundreds of pieces in
/// several. Elsewhere (pages of 16 or 64 KiB, none free, switched off) the memory is aligned and no more.
///
/// Errors: `ENOMEM`.
pub(crate) fn huge_halves() -> io::Result<[HugeHalf; 2]> {
    let bytes = 2 * HUGE_PAGE_BYTES;
    // SAFETY: a new private mapping, at a place of the system's choice.
    let mapping = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if mapping == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mapping = NonNull::new(mapping.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let offset = mapping.align_offset(HUGE_PAGE_BYTES).min(HUGE_PAGE_BYTES);
    // SAFETY: `offset` is at most half of the mapping, and the page is the other half.
    let page = unsafe { mapping.add(offset) };
    // SAFETY: the page lies in our mapping. Only advice: a system that does not take it goes
    // on with small pages.
    unsafe { libc::madvise(page.as_ptr().cast(), HUGE_PAGE_BYTES, libc::MADV_HUGEPAGE) };
    let page = Arc::new(HugePage { mapping, page });
    let half = |offset| HugeHalf {
        page: Arc::clone(&page),
        offset,
    };
    Ok([half(0), half(HugeHalf::BYTES)])
}

impl HugeHalf {
    /// The length of each half.
    pub(crate) const BYTES: usize = HUGE_PAGE_BYTES / 2;

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: this half of the page is mapped as long as `page` lives, is initialised (zeroed by
        // the system), and is reached through this value alone, which is borrowed.
        unsafe { slice::from_raw_parts(self.page.page.add(self.offset).as_ptr(), Self::BYTES) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.page.page.add(self.offset).as_ptr(), Self::BYTES) }
    }
}

impl Drop for HugePage {
    fn drop(&mut self) {
        // SAFETY: our whole mapping, and both halves are gone.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), 2 * HUGE_PAGE_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_of_a_huge_page_are_aligned_and_apart() {
        let [mut one, mut other] = huge_halves().unwrap();
        one.as_mut_slice().fill(1);
        other.as_mut_slice().fill(2);
        for (half, byte) in [(&one, 1), (&other, 2)] {
            assert_eq!(half.as_slice().len(), HugeHalf::BYTES);
            assert_eq!(half.as_slice().as_ptr() as usize % HugeHalf::BYTES, 0);
            assert!(half.as_slice().iter().all(|&found| found == byte));
        }
        drop(one);
        assert_eq!(other.as_slice()[HugeHalf::BYTES - 1], 2);
    }
}
