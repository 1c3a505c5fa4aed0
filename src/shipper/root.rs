//! The folder of the queue: where each state of an episode lies, and who may move it.
//!
//! 1. The four folders lie on one filesystem, so each move between them is one rename.
//! 2. One shipper a root, by `flock`. `status`, `requeue` and `set-aside` work beside it, by
//!    single renames.
//! 3. Nothing but `cis490 init` makes a root: neither a typo nor a disk that is not mounted may
//!    begin an empty queue.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::outbox;
use crate::failure::Failure;
use crate::lock;

/// What `cis490 init` makes in a root.
pub const FOLDERS: [&str; 4] = ["episodes", "outbox", "shipped", "refused"];

/// How long a starting shipper waits for the lock: `status` holds it for an instant when it looks
/// whether a shipper runs.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// A root that is there, with its folders.
#[derive(Clone, Debug)]
pub struct Root {
    dir: PathBuf,
}

impl Root {
    /// Errors: a part of it is missing, or lies on another filesystem.
    pub fn open(dir: &Path) -> Result<Root, Failure> {
        for path in std::iter::once(dir.to_owned()).chain(FOLDERS.map(|folder| dir.join(folder))) {
            if !path.is_dir() {
                return Err(Failure::new(
                    format!(
                        "{} is no queue: {} is not there",
                        dir.display(),
                        path.display()
                    ),
                    "if its disk is not mounted, mount it; if this is a new lab host, run: cis490 init --config FILE",
                ));
            }
        }
        let root = Root {
            dir: dir.to_owned(),
        };
        root.check_one_filesystem()?;
        Ok(root)
    }

    fn check_one_filesystem(&self) -> Result<(), Failure> {
        let device = |path: PathBuf| {
            fs::metadata(&path)
                .map(|found| found.dev())
                .map_err(|error| {
                    Failure::new(
                        format!("cannot look at {}: {error}", path.display()),
                        "fix its permissions",
                    )
                })
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

    pub fn dir(&self) -> &Path {
        &self.dir
    }
    pub fn episodes(&self) -> PathBuf {
        self.dir.join("episodes")
    }
    pub fn outbox(&self) -> PathBuf {
        self.dir.join("outbox")
    }
    pub fn shipped(&self) -> PathBuf {
        self.dir.join("shipped")
    }
    pub fn refused(&self) -> PathBuf {
        self.dir.join("refused")
    }
    pub fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }
    fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The right to pack, send and sweep, for as long as the file is held open.
    pub fn lock(&self) -> Result<File, Failure> {
        let path = self.lock_file();
        let failed = |error: io::Error| {
            let hint = match outbox::is_full(&error) {
                true => "make room on that disk, or free inodes (df -i); nothing is lost",
                false => "the root must be writable for the user that runs cis490",
            };
            Failure::new(format!("cannot lock {}: {error}", path.display()), hint)
        };
        let file = open_lock(&path).map_err(failed)?;
        let give_up = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(lock::refused(&self.dir, &path));
                }
            }
        }
    }

    /// Whether a shipper works on this root now; `None` if that cannot be seen.
    pub fn is_locked(&self) -> Option<bool> {
        let file = match File::open(self.lock_file()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(false),
            file => file.ok()?,
        };
        match file.try_lock_shared() {
            Ok(()) => Some(false),
            Err(fs::TryLockError::WouldBlock) => Some(true),
            Err(fs::TryLockError::Error(_)) => None,
        }
    }
}

/// A lock that root made, by `sudo cis490 ship --once` say, can be read and not written by the
/// service: flock needs no more.
fn open_lock(path: &Path) -> io::Result<File> {
    let made = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        made => made,
    }
}
