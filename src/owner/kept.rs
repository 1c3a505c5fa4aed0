//! What root read before it became a user who may not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::events;
use crate::sync::lock;

/// A secret that only root can read is told of so often at most, however often it is asked for.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// A file that was read by root, for the user whom root has become.
pub(super) struct Kept {
    path: PathBuf,
    bytes: Vec<u8>,
    /// When it was used, or that was last told.
    used_at: Option<Instant>,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

impl Kept {
    pub(super) fn read(files: &[&Path]) {
        let mut kept = lock(&KEPT);
        for file in files {
            // A file that cannot be read is reported where it is needed.
            if let Ok(bytes) = fs::read(file) {
                kept.push(Kept {
                    path: file.to_path_buf(),
                    bytes,
                    used_at: None,
                });
            }
        }
    }
}

/// A configuration's bytes: the file's; or, if root read it before it became a user who may not,
/// what root read.
pub(crate) fn read_kept(path: &Path) -> io::Result<Vec<u8>> {
    read_or(path, |_| ())
}

/// The same of a secret: that a new one is not read is told when it is asked for again.
pub(crate) fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    read_or(path, |kept| {
        let is_told = |at: &Instant| at.elapsed() < TELL_AGAIN;
        if kept.used_at.as_ref().is_some_and(is_told) {
            return;
        }
        if kept.used_at.is_some() {
            events::secret_of_root(path);
        }
        kept.used_at = Some(Instant::now());
    })
}

fn read_or(path: &Path, use_kept: impl FnOnce(&mut Kept)) -> io::Result<Vec<u8>> {
    let error = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    let mut kept = lock(&KEPT);
    let found = kept.iter_mut().find(|kept| kept.path == path);
    found.map_or(Err(error), |kept| {
        use_kept(kept);
        Ok(kept.bytes.clone())
    })
}
