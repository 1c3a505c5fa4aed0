//! How much may still come in. The floor `min_free_bytes` is kept: the free bytes, minus those that
//! running uploads have reserved and not yet allocated, minus the request, stay above it.
//!
//! 1. Bytes are counted twice for an instant at most, and never forgotten: those that `fallocate` gave
//!    or a write took are no longer reserved, since `statvfs` does not call them free any more.
//! 2. Only one upload at a time takes space, so that no two reserve the same bytes.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::lock;
use crate::{durable, sys};

/// The disk as an operator sees it, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    /// What an unprivileged user may still allocate.
    pub free: u64,
    /// The whole filesystem.
    pub total: u64,
    /// `min_free_bytes`.
    pub floor: u64,
    /// Reserved by running uploads and not yet allocated.
    pub reserved: u64,
}

impl Space {
    /// Whether `bytes` more leave the floor as it is.
    pub(crate) fn holds(&self, bytes: u64) -> bool {
        let taken = self.reserved.saturating_add(bytes);
        self.free.saturating_sub(taken) > self.floor
    }

    /// The same disk once `bytes` that lie on it are removed.
    pub(crate) fn with_freed(self, bytes: u64) -> Space {
        Space {
            free: self.free.saturating_add(bytes),
            ..self
        }
    }
}

/// Shared by all uploads of one store.
#[derive(Debug)]
pub(super) struct SpaceBudget {
    dir: PathBuf,
    floor: AtomicU64,
    reserved: AtomicU64,
    turn: Mutex<()>,
}

impl SpaceBudget {
    pub(super) fn new(dir: &Path, floor: u64) -> SpaceBudget {
        SpaceBudget {
            dir: dir.to_owned(),
            floor: AtomicU64::new(floor),
            reserved: AtomicU64::new(0),
            turn: Mutex::new(()),
        }
    }

    pub(super) fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    pub(super) fn look(&self) -> io::Result<Space> {
        // Read first: bytes written between the two reads are counted twice for an instant, and never missed.
        let reserved = self.reserved.load(Ordering::SeqCst);
        let sys::DiskBytes { free, total } = sys::disk_bytes(&self.dir)?;
        Ok(Space {
            free,
            total,
            floor: self.floor.load(Ordering::Relaxed),
            reserved,
        })
    }

    /// Takes `bytes` for a file that allocates them when it is written.
    ///
    /// Errors: `StorageFull` when the floor would be crossed.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> io::Result<Reservation> {
        let _turn = lock(&self.turn);
        if !self.look()?.holds(bytes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.reservation(bytes))
    }

    fn reservation(self: &Arc<Self>, bytes: u64) -> Reservation {
        self.reserved.fetch_add(bytes, Ordering::SeqCst);
        Reservation {
            space_budget: self.clone(),
            bytes,
        }
    }

    /// Takes `bytes`, at least one, for the file that `make` makes, and allocates them where the
    /// filesystem can.
    ///
    /// Errors: `StorageFull` when the floor would be crossed, before `make` is called; else those
    /// of the calls. A file that was made is the caller's to remove.
    pub(super) fn take<F>(self: &Arc<Self>, bytes: u64, make: F) -> io::Result<(File, Reservation)>
    where
        F: FnOnce() -> io::Result<File>,
    {
        let _turn = lock(&self.turn);
        if !self.look()?.holds(bytes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = make()?;
        let reservation = self.allocate(&file, 0, bytes)?;
        Ok((file, reservation))
    }

    /// As [`SpaceBudget::take`], for a file that has the first `from` of its `bytes` bytes. They are on the
    /// filesystem, which counts them itself: only the rest is taken.
    pub(super) fn take_rest(
        self: &Arc<Self>,
        file: &File,
        from: u64,
        bytes: u64,
    ) -> io::Result<Reservation> {
        let _turn = lock(&self.turn);
        if !self.look()?.holds(bytes - from) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.allocate(file, from, bytes)
    }

    /// Allocates all of a file that has its first `from` bytes. Where the filesystem cannot, the rest is
    /// reserved.
    fn allocate(self: &Arc<Self>, file: &File, from: u64, bytes: u64) -> io::Result<Reservation> {
        let reserved = match durable::allocate(file, bytes) {
            Ok(()) => 0,
            Err(error) if is_unsupported(&error) => bytes - from,
            Err(error) => return Err(error),
        };
        Ok(self.reservation(reserved))
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)
    )
}

/// The bytes that one upload will still write and has not allocated: of a body in one block, or of any
/// body where the filesystem allocates only when written to. Dropping it gives the rest back.
#[derive(Debug)]
pub(super) struct Reservation {
    space_budget: Arc<SpaceBudget>,
    bytes: u64,
}

impl Reservation {
    /// `written` more bytes are on the filesystem, which counts them itself now.
    pub(super) fn keep(&mut self, written: u64) {
        let kept = written.min(self.bytes);
        self.bytes -= kept;
        self.space_budget.reserved.fetch_sub(kept, Ordering::SeqCst);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.keep(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::store::testing::Folder;

    #[test]
    fn the_floor_is_never_touched() {
        let space = |free, reserved| Space {
            free,
            total: u64::MAX,
            floor: 100,
            reserved,
        };
        for (space, bytes, fits) in [
            (space(200, 0), 99, true),
            (space(200, 0), 100, false),
            (space(200, 50), 49, true),
            (space(200, 50), 50, false),
            (space(100, 0), 0, false),
            (space(u64::MAX, 0), u64::MAX, false),
            (space(200, u64::MAX), 1, false),
        ] {
            assert_eq!(space.holds(bytes), fits, "{space:?} {bytes}");
        }
    }

    #[test]
    fn a_promise_shrinks_as_it_is_kept_and_ends_with_the_upload() {
        let space_budget = Arc::new(SpaceBudget::new(&std::env::temp_dir(), 0));
        space_budget.reserved.store(100, Ordering::SeqCst);
        let mut reservation = Reservation {
            space_budget: space_budget.clone(),
            bytes: 100,
        };
        reservation.keep(30);
        assert_eq!(space_budget.look().unwrap().reserved, 70);
        reservation.keep(1000);
        assert_eq!(space_budget.look().unwrap().reserved, 0);
        drop(reservation);
        assert_eq!(space_budget.look().unwrap().reserved, 0);
    }

    #[test]
    fn a_promise_that_is_given_counts_for_the_next() {
        let folder = Folder::new("space");
        let space_budget = Arc::new(SpaceBudget::new(folder.path(), 0));
        assert!(durable::is_full(
            &space_budget.reserve(u64::MAX / 4).unwrap_err()
        ));
        let free = space_budget.look().unwrap().free;
        // Two of which each alone fits.
        let reservation = space_budget.reserve(free / 3 * 2).unwrap();
        assert_eq!(space_budget.look().unwrap().reserved, free / 3 * 2);
        assert!(durable::is_full(
            &space_budget.reserve(free / 3 * 2).unwrap_err()
        ));
        drop(reservation);
        assert_eq!(space_budget.look().unwrap().reserved, 0);
        drop(space_budget.reserve(free / 3 * 2).unwrap());
    }

    #[test]
    fn what_is_too_much_makes_no_file() {
        let folder = Folder::new("space");
        let space_budget = Arc::new(SpaceBudget::new(folder.path(), 0));
        let taken = space_budget.take(u64::MAX / 4, || panic!("no file must be made"));
        assert!(durable::is_full(&taken.unwrap_err()));
        let path = folder.path().join("file");
        let (file, reservation) = space_budget
            .take(1 << 20, || durable::create_new(&path))
            .unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        drop(reservation);
        assert_eq!(space_budget.look().unwrap().reserved, 0);
    }
}
