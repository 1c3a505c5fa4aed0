//! One program a folder: the lock of a store, and of a lab host's queue.
//!
//! Both the file `lock` in the folder and the folder itself are locked (`flock`). The file is what
//! people and earlier versions know; the folder cannot be unlinked while somebody works in it, so
//! that a `lock` that was removed lets nobody in beside the one who has it. Where a filesystem cannot
//! lock a folder (NFS), the file alone counts.

pub(crate) mod holder;

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::durable;

/// Between two tries for a lock that somebody has.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// The right to work in a folder, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// `None` where there was no such file and none was to be made.
    _file: Option<File>,
    _folder: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum NoLock {
    /// Another process has it, and kept it longer than the patience; [`holder::refused`] names it.
    Taken,
    Io(io::Error),
}

impl From<io::Error> for NoLock {
    fn from(error: io::Error) -> NoLock {
        NoLock::Io(error)
    }
}

impl FolderLock {
    /// Locks `folder`, whose lock file is made if it is not there; waits for somebody who has it only
    /// as long as `patience`: `status` and `doctor` have it for an instant, when they look.
    pub(crate) fn take(
        folder: &Path,
        lock: &Path,
        patience: Duration,
    ) -> Result<FolderLock, NoLock> {
        FolderLock::lock(folder, Some(open_or_make(lock)?), patience)
    }

    /// The same for one who changes nothing: a lock file that is not there stays so.
    pub(crate) fn take_as_it_is(
        folder: &Path,
        lock: &Path,
        patience: Duration,
    ) -> Result<FolderLock, NoLock> {
        FolderLock::lock(folder, open_if_there(lock)?, patience)
    }

    fn lock(folder: &Path, file: Option<File>, patience: Duration) -> Result<FolderLock, NoLock> {
        let folder = durable::open_dir(folder)?;
        let give_up_at = Instant::now() + patience;
        if let Some(file) = &file {
            wait_for(file, give_up_at)?;
        }
        match wait_for(&folder, give_up_at) {
            Err(NoLock::Taken) => return Err(NoLock::Taken),
            // A filesystem without locks on folders. The file's lock is had by now.
            Err(NoLock::Io(error)) if file.is_none() => return Err(NoLock::Io(error)),
            Ok(()) | Err(NoLock::Io(_)) => {}
        }
        Ok(FolderLock {
            _file: file,
            _folder: folder,
        })
    }

    /// Whether somebody has it now; `None` if that cannot be seen.
    pub(crate) fn is_taken(folder: &Path, lock: &Path) -> Option<bool> {
        let file = open_if_there(lock).ok()?;
        let folder = durable::open_dir(folder).ok()?;
        for (place, is_file) in file
            .iter()
            .map(|file| (file, true))
            .chain([(&folder, false)])
        {
            match place.try_lock_shared() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Some(true),
                Err(TryLockError::Error(_)) if is_file => return None,
                Err(TryLockError::Error(_)) => {}
            }
        }
        Some(false)
    }
}

fn wait_for(file: &File, give_up_at: Instant) -> Result<(), NoLock> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(NoLock::Io(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < give_up_at => {
                thread::sleep(TRY_AGAIN);
            }
            Err(TryLockError::WouldBlock) => return Err(NoLock::Taken),
        }
    }
}

/// A lock file that root has left can be read and not written: flock needs no more.
fn open_or_make(lock: &Path) -> io::Result<File> {
    let made = durable::open_regular_with(lock, File::options().write(true).create(true));
    match made {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            durable::open_regular(lock).map_err(|_| error)
        }
        made => made,
    }
}

fn open_if_there(lock: &Path) -> io::Result<Option<File>> {
    match durable::open_regular(lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::store::testing::Folder;

    #[test]
    fn an_unlinked_lock_file_lets_nobody_in() {
        let folder = Folder::new("folder-lock");
        let lock = folder.path().join("lock");
        let take = || FolderLock::take(folder.path(), &lock, Duration::ZERO);
        let is_taken = || FolderLock::is_taken(folder.path(), &lock);
        // A child of another test has our descriptors too, and so the lock, until its exec.
        let until_exec = Duration::from_secs(10);
        assert_eq!(is_taken(), Some(false));
        let ours = FolderLock::take(folder.path(), &lock, until_exec).unwrap();
        assert!(matches!(take(), Err(NoLock::Taken)));
        fs::remove_file(&lock).unwrap();
        assert_eq!(is_taken(), Some(true));
        assert!(matches!(take(), Err(NoLock::Taken)));
        // The folder's lock still says who has it.
        let words = holder::refused(folder.path(), &lock).to_string();
        let holder = format!("process {}", std::process::id());
        assert!(words.contains(&holder), "{words}");
        drop(ours);
        let free_by = Instant::now() + until_exec;
        while is_taken() != Some(false) {
            assert!(Instant::now() < free_by, "the lock stays taken");
            thread::sleep(TRY_AGAIN);
        }
        FolderLock::take(folder.path(), &lock, until_exec).unwrap();
        fs::remove_file(&lock).unwrap();
        FolderLock::take_as_it_is(folder.path(), &lock, until_exec).unwrap();
        assert!(!lock.exists());
    }
}
