//! Configurations and secrets that are needed again after they were read.
//!
//! 1. Root reads a secret before the process becomes a user who may not read it.
//! 2. A pipe, such as the shell's `<(...)`, gives its bytes once. Its first reader keeps them for the
//!    others. SIGTERM and SIGINT end a process that waits for the pipe's writer. A service that runs waits for
//!    no writer: it could not act on a signal meanwhile.
//! 3. No file is read beyond [`BYTES_MAX`].

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::events;
use crate::sync::lock;
use crate::sys;

/// That a secret cannot be read again is logged at most this often, however often it is needed.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// No configuration and no secret is nearly as long.
const BYTES_MAX: u64 = 16 << 20;

/// The bytes of a file that root has read for the user whom root has become, or of a pipe.
pub(super) struct Kept {
    path: PathBuf,
    bytes: Vec<u8>,
    /// When the bytes were first used, or when the log last said that they may be old.
    used_at: Option<Instant>,
}

static KEPT: Mutex<Vec<Kept>> = Mutex::new(Vec::new());

impl Kept {
    pub(super) fn read(files: &[&Path]) {
        for file in files {
            // A file that cannot be read is reported where it is needed.
            if is_pipe(file) {
                let _ = read_pipe(file);
            } else if let Ok(bytes) = read_file(file) {
                Kept::keep(file, bytes);
            }
        }
    }

    fn keep(path: &Path, bytes: Vec<u8>) {
        lock(&KEPT).push(Kept {
            path: path.to_owned(),
            bytes,
            used_at: None,
        });
    }
}

/// The bytes of a configuration: those of the file; or, if this user may not read it, those that root
/// has read before. Those of a pipe are read once, and kept.
///
/// Errors: the file cannot be read, and root has not read it.
pub(crate) fn read_kept(path: &Path) -> io::Result<Vec<u8>> {
    read_or(path, |_| ())
}

/// As [`read_kept`], for a secret. When an old one is used again, the log says that a new one would not
/// be read.
pub(crate) fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    read_or(path, |kept| {
        let is_recent = |at: &Instant| at.elapsed() < LOG_AGAIN;
        if kept.used_at.as_ref().is_some_and(is_recent) {
            return;
        }
        if kept.used_at.is_some() {
            events::secret_of_root(path);
        }
        kept.used_at = Some(Instant::now());
    })
}

fn read_or(path: &Path, use_kept: impl FnOnce(&mut Kept)) -> io::Result<Vec<u8>> {
    if is_pipe(path) {
        return read_pipe(path);
    }
    let error = match read_file(path) {
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

/// Whether the file is a pipe, or something else that may let its reader wait: a terminal, a device.
fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Whether [`read_files_alone`] was called.
static FILES_ALONE: AtomicBool = AtomicBool::new(false);

/// A service calls this when it has started. A pipe that stands in the place of a file at a reload would be
/// waited for by the thread that has to hear SIGTERM: from here on only those that were read before count.
pub(crate) fn read_files_alone() {
    FILES_ALONE.store(true, Ordering::Relaxed);
}

fn read_pipe(path: &Path) -> io::Result<Vec<u8>> {
    if let Some(kept) = lock(&KEPT).iter().find(|kept| kept.path == path) {
        return Ok(kept.bytes.clone());
    }
    if FILES_ALONE.load(Ordering::Relaxed) {
        let why = "it is no file: a service that runs reads files alone";
        return Err(io::Error::other(why));
    }
    let bytes = sys::ended_by_signals(|| read_file(path))?;
    Kept::keep(path, bytes.clone());
    Ok(bytes)
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if BYTES_MAX < bytes.len() as u64 {
        return Err(io::Error::other("it has more than 16 MiB"));
    }
    Ok(bytes)
}
