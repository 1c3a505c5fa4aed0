//! The lock of a store, and of a lab host's queue: only one process works in a folder.
//!
//! Both the file `lock` in the folder and the folder itself are locked (`flock`). People and earlier
//! versions know the file. But the file can be removed while a process holds its lock; the folder
//! cannot, so that no second process gets in. Where a filesystem cannot lock a folder (NFS), the file
//! alone counts.

pub(crate) mod holder;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::durable;

/// The pause between two tries for a lock that another process holds.
const TRY_AGAIN: Duration = Duration::from_millis(10);
/// How long a lock is waited for whose holder has ended: a child that it was about to start has the lock, too, until
/// the child's exec, which takes a while on a busy machine.
const ENDED_HOLDER_PATIENCE: Duration = Duration::from_secs(10);

/// A longer note is not one of ours.
const NOTE_BYTES_MAX: u64 = 256;

/// The right to work in a folder. Dropping it gives the right back.
#[derive(Debug)]
pub(crate) struct FolderLock {
    /// `None` if there was no such file and none was to be made.
    file: Option<File>,
    _folder: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum NoLock {
    /// Another process held the lock for longer than `patience`; [`holder::refused`] names that process.
    Taken,
    Io(io::Error),
}

impl From<io::Error> for NoLock {
    fn from(error: io::Error) -> NoLock {
        NoLock::Io(error)
    }
}

impl FolderLock {
    /// Locks `folder`, and makes its lock file if there is none. Waits for another holder at most
    /// `patience`, since `status` and `doctor` hold the lock for an instant.
    ///
    /// Errors: see [`NoLock`].
    pub(crate) fn take(
        folder: &Path,
        lock: &Path,
        patience: Duration,
    ) -> Result<FolderLock, NoLock> {
        let taken = FolderLock::lock(folder, Some(open_or_make(lock)?), patience)?;
        // The note of an earlier holder. If it stays, it is out of date, and its readers look.
        let _ = taken.note("");
        Ok(taken)
    }

    /// Writes a line into the lock's file, in place of what is there, for [`noted`]. It is not synced:
    /// after a power cut nobody holds the lock.
    ///
    /// Errors: the file cannot be written; a reader then finds nothing, or a part.
    pub(crate) fn note(&self, line: &str) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        file.write_all_at(line.as_bytes(), 0)
    }

    /// As [`FolderLock::take`], for a caller that changes nothing: no lock file is made.
    pub(crate) fn take_as_it_is(
        folder: &Path,
        lock: &Path,
        patience: Duration,
    ) -> Result<FolderLock, NoLock> {
        FolderLock::lock(folder, open_if_there(lock)?, patience)
    }

    fn lock(folder: &Path, file: Option<File>, patience: Duration) -> Result<FolderLock, NoLock> {
        let folder = durable::open_dir(folder)?;
        let began = Instant::now();
        if let Some(file) = &file {
            wait_for(file, began, patience)?;
        }
        match wait_for(&folder, began, patience) {
            Err(NoLock::Taken) => return Err(NoLock::Taken),
            // The filesystem has no locks on folders; if there is a file, its lock is held by now.
            Err(NoLock::Io(error)) if file.is_none() => return Err(NoLock::Io(error)),
            Ok(()) | Err(NoLock::Io(_)) => {}
        }
        Ok(FolderLock {
            file,
            _folder: folder,
        })
    }

    /// Whether a process holds the lock now; `None` if this user cannot see that.
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

/// The line that the holder of a lock has noted in the lock's file; `None` if there is none. Every
/// user who can write the folder can have written it.
pub(crate) fn noted(lock: &Path) -> Option<String> {
    let bytes = durable::read_regular(lock, NOTE_BYTES_MAX).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.strip_suffix('\n').map(str::to_owned)
}

fn wait_for(file: &File, began: Instant, patience: Duration) -> Result<(), NoLock> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(NoLock::Io(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = began.elapsed();
        if patience <= waited && (ENDED_HOLDER_PATIENCE <= waited || !holder::has_ended(file)) {
            return Err(NoLock::Taken);
        }
        thread::sleep(TRY_AGAIN);
    }
}

/// A lock file that root has left may be readable only. That is enough for flock.
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
    use std::process::Command;

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
        // The folder's own lock still shows the holder.
        let words = holder::refused(folder.path(), &lock).to_string();
        let holder = format!("process {}", std::process::id());
        assert!(words.contains(&holder), "{words}");
        drop(ours);
        let free_by = Instant::now() + until_exec;
        while is_taken() != Some(false) {
            assert!(Instant::now() < free_by, "the lock stays taken");
            thread::sleep(TRY_AGAIN);
        }
        fs::write(&lock, "of an earlier holder\n").unwrap();
        let ours = FolderLock::take(folder.path(), &lock, until_exec).unwrap();
        assert_eq!(noted(&lock), None);
        for line in ["127.0.0.1:8490\n", "[::1]:1\n"] {
            ours.note(line).unwrap();
            assert_eq!(noted(&lock).as_deref(), line.strip_suffix('\n'));
        }
        for odd in ["no end", "x".repeat(300).as_str()] {
            ours.note(odd).unwrap();
            assert_eq!(noted(&lock), None);
        }
        drop(ours);
        fs::remove_file(&lock).unwrap();
        FolderLock::take_as_it_is(folder.path(), &lock, until_exec).unwrap();
        assert!(!lock.exists());
    }

    /// As the child of one that was killed does, which is forked and has not come to its exec.
    #[test]
    fn a_lock_whose_holder_has_ended_is_waited_for() {
        let folder = Folder::new("ended-holder");
        let lock = folder.path().join("lock");
        let script = "exec 9>lock; flock 9; sleep 1 &";
        let holder = Command::new("sh")
            .args(["-c", script])
            .current_dir(folder.path())
            .status();
        assert!(holder.unwrap().success());
        assert_eq!(FolderLock::is_taken(folder.path(), &lock), Some(true));
        FolderLock::take(folder.path(), &lock, Duration::ZERO).unwrap();
    }
}
