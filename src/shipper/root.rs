//! The folder of the queue: where each state of an episode lies, and who may move it.
//!
//! 1. The four folders lie on one filesystem, so each move between them is one rename.
//! 2. One shipper a root, by `flock`. `status`, `requeue` and `set-aside` work beside it, by
//!    single renames.
//! 3. Nothing but `cis490 init` makes a root: neither a typo nor a disk that is not mounted may
//!    begin an empty queue.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::durable;
use crate::failure::Failure;
use crate::folder_lock::{FolderLock, NoLock, holder};
use crate::owner;

/// What `cis490 init` makes in a root.
pub(crate) const FOLDERS: [&str; 4] = ["episodes", "outbox", "shipped", "refused"];

/// How long a starting shipper waits for the lock: `status` holds it for an instant when it looks
/// whether a shipper runs.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A root that is there, with its folders.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    dir: PathBuf,
}

impl Root {
    /// Errors: a part of it is missing, or lies on another filesystem; or this is root, and somebody else
    /// could exchange a part.
    pub(crate) fn open(dir: &Path) -> Result<Root, Failure> {
        for path in std::iter::once(dir.to_owned()).chain(FOLDERS.map(|folder| dir.join(folder))) {
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(no_queue(dir, &path, "is not a folder")),
                Err(error) if is_missing(&error) => {
                    return Err(no_queue(dir, &path, "is not there"));
                }
                Err(error) => return Err(cannot_look(&path, &error)),
            }
        }
        let root = Root {
            dir: dir.to_owned(),
        };
        root.check_one_filesystem()?;
        owner::check_inner(&FOLDERS.map(|folder| dir.join(folder)), "shipper")?;
        Ok(root)
    }

    fn check_one_filesystem(&self) -> Result<(), Failure> {
        let device = |path: PathBuf| {
            let found = fs::metadata(&path).map_err(|error| cannot_look(&path, &error))?;
            Ok(found.dev())
        };
        let outbox = device(self.outbox())?;
        for folder in FOLDERS {
            let path = self.dir.join(folder);
            if device(path.clone())? != outbox {
                return Err(Failure::new(
                    format!(
                        "{} is on another filesystem than {}",
                        path.display(),
                        self.outbox().display()
                    ),
                    "an episode moves by rename, so mount one filesystem at the root and none below it",
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
    pub(crate) fn episodes(&self) -> PathBuf {
        self.dir.join("episodes")
    }
    pub(crate) fn outbox(&self) -> PathBuf {
        self.dir.join("outbox")
    }
    pub(crate) fn shipped(&self) -> PathBuf {
        self.dir.join("shipped")
    }
    pub(crate) fn refused(&self) -> PathBuf {
        self.dir.join("refused")
    }
    pub(crate) fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }
    fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Locks the root: one process at a time packs, sends and sweeps, for as long as it keeps the lock.
    pub(crate) fn lock(&self) -> Result<FolderLock, Failure> {
        let path = self.lock_file();
        FolderLock::take(&self.dir, &path, LOCK_PATIENCE).map_err(|no_lock| match no_lock {
            NoLock::Taken => holder::refused(&self.dir, &path),
            NoLock::Io(error) => {
                let hint = if durable::is_full(&error) {
                    "make room on that disk, or free inodes (df -i); nothing is lost".to_owned()
                } else {
                    owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)")
                };
                Failure::new(format!("cannot lock {}: {error}", path.display()), hint)
            }
        })
    }

    /// Whether a shipper works on this root now; `None` if that cannot be seen.
    pub(crate) fn is_locked(&self) -> Option<bool> {
        FolderLock::is_taken(&self.dir, &self.lock_file())
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn no_queue(dir: &Path, part: &Path, why: &str) -> Failure {
    Failure::new(
        format!("{} is not a queue: {} {why}", dir.display(), part.display()),
        "if its disk is not mounted, mount it; if this is a new lab host, run: cis490 init --config FILE",
    )
}

fn cannot_look(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot look at {}: {error}", path.display()),
        owner::hint(error, "look at the folder and at its disk (ls -l, dmesg)"),
    )
}
