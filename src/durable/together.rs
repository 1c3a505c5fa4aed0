//! Several files or folders at once: their syncs run at the same time, and the filesystem commits them
//! together, where one after the other each would wait for a flush of its own.
//!
//! Each has its own result: the failure of one is not the failure of the others.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use super::steps::{name_of, step_on};
use super::syncs::sync_filesystem;
use super::{create, open_dir, parent, rename, sync_dir, sync_file, tmp_beside};
use crate::sync::lock;
use crate::sys;
use crate::thread_pool::ThreadPool;

/// More syncs at a time gain nothing, and each has a thread for as long as it runs.
const AT_ONCE_MAX: usize = 16;
/// For so many files, one sync of their whole filesystem costs less than theirs.
const MANY_FILES: usize = 16;

/// A sync thread that has had nothing to do for so long ends. The batches of a backlog follow each other faster.
const IDLE_MAX: Duration = Duration::from_millis(250);

/// The threads that sync. A backlog drained 6 % more slowly when each sync started a thread (`just bench drain`).
static SYNC_THREADS: LazyLock<Arc<ThreadPool>> =
    LazyLock::new(|| ThreadPool::new("sync", 0, IDLE_MAX));

/// What is synced.
enum Target {
    File(File),
    Dir(PathBuf),
}

impl Target {
    fn sync(&self) -> io::Result<()> {
        match self {
            Target::File(file) => sync_file(file),
            Target::Dir(path) => sync_dir(path),
        }
    }
}

/// As [`super::publish`] for each pair of a path and its bytes, and each directory is synced once. The
/// results are in the order of `files`.
pub(crate) fn publish_all(files: &[(PathBuf, Vec<u8>)]) -> Vec<io::Result<()>> {
    let (mut numbers, mut made) = (Vec::new(), Vec::new());
    let mut results = Vec::new();
    for (number, (path, bytes)) in files.iter().enumerate() {
        let written = write_tmp(path, bytes);
        results.push(written.map(|file| {
            numbers.push(number);
            made.push(Target::File(file));
        }));
    }
    for (number, synced) in numbers.into_iter().zip(at_once(made)) {
        let path = &files[number].0;
        results[number] = synced.and_then(|()| rename(&tmp_beside(path), path));
    }
    sync_parents(files, &mut results);
    results
}

fn write_tmp(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let tmp = tmp_beside(path);
    let mut file = create(&tmp)?;
    step_on("write", || name_of(&tmp))?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Syncs the directory of each file that has its name. Where that fails, so do its files.
fn sync_parents(files: &[(PathBuf, Vec<u8>)], results: &mut [io::Result<()>]) {
    let named = files.iter().zip(results.iter());
    let named = named.filter(|(_, result)| result.is_ok());
    let mut dirs: Vec<&Path> = named.map(|((path, _), _)| parent(path)).collect();
    dirs.sort_unstable();
    dirs.dedup();
    for (dir, synced) in dirs.iter().zip(sync_dirs(&dirs)) {
        let Err(error) = synced else {
            continue;
        };
        for ((path, _), result) in files.iter().zip(results.iter_mut()) {
            if result.is_ok() && parent(path) == *dir {
                *result = Err(same(&error));
            }
        }
    }
}

/// Syncs several directories. The results are in their order.
pub(crate) fn sync_dirs(dirs: &[&Path]) -> Vec<io::Result<()>> {
    let dirs = dirs.iter().map(|dir| Target::Dir(dir.to_path_buf()));
    at_once(dirs.collect())
}

/// The filesystem of a folder in which many files are made.
pub(crate) struct Filesystem {
    dir: File,
    device: u64,
    syncs_as_a_whole: bool,
}

impl Filesystem {
    /// Of this folder.
    ///
    /// Errors: the folder cannot be opened.
    pub(crate) fn of(dir: &Path) -> io::Result<Filesystem> {
        let dir = open_dir(dir)?;
        Ok(Filesystem {
            device: dir.metadata()?.dev(),
            syncs_as_a_whole: sys::syncs_as_a_whole(&dir),
            dir,
        })
    }

    /// As [`sync_file`] for each. The results are in their order.
    ///
    /// Many files are synced by one sync of the filesystem, where that proves as much. If it fails, the
    /// fault may be of another program's file: then each file of ours says for itself how it is. The
    /// files must be open since before they were written, so that the kernel has kept their errors.
    pub(crate) fn sync_files(&self, files: &[&File]) -> Vec<io::Result<()>> {
        let is_worth_it = self.syncs_as_a_whole && MANY_FILES <= files.len();
        if is_worth_it && self.has_all(files) && sync_filesystem(&self.dir).is_ok() {
            return files.iter().map(|_| Ok(())).collect();
        }
        let parts = files.chunks(AT_ONCE_MAX);
        parts.flat_map(sync_part).collect()
    }

    /// Whether all of the files are on it: a disk may be mounted in a folder of the folder.
    fn has_all(&self, files: &[&File]) -> bool {
        let is_on_it = |file: &&File| {
            let found = file.metadata();
            found.is_ok_and(|found| found.dev() == self.device)
        };
        files.iter().all(is_on_it)
    }
}

/// As [`sync_file`] for each of a few files, at the same time if there are descriptors for that.
fn sync_part(files: &[&File]) -> Vec<io::Result<()>> {
    let second = |file: &&File| file.try_clone().map(Target::File);
    match files.iter().map(second).collect() {
        Ok(targets) => at_once(targets),
        Err(_) => files.iter().map(|file| sync_file(file)).collect(),
    }
}

/// Another error of the same kind and words, for the second of those that share a fault.
pub(crate) fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Syncs all of them, at the same time as far as threads can be had. The results are in their order.
fn at_once(targets: Vec<Target>) -> Vec<io::Result<()>> {
    let syncs: Vec<Arc<OneSync>> = targets.into_iter().map(OneSync::of).collect();
    let parts = syncs.chunks(AT_ONCE_MAX);
    parts.flat_map(part_at_once).collect()
}

fn part_at_once(syncs: &[Arc<OneSync>]) -> Vec<io::Result<()>> {
    let Some((last, others)) = syncs.split_last() else {
        return Vec::new();
    };
    let (working, all_done) = mpsc::channel();
    for sync in others {
        sync.begin(working.clone());
    }
    drop(working);
    let last = last.target.sync();
    // Nothing is ever sent: this returns when each thread has dropped its end.
    let _ = all_done.recv();
    let others = others.iter().map(|sync| sync.result());
    others.chain([last]).collect()
}

/// One sync, and what came of it on a thread of the pool: its result, or what it panicked with.
struct OneSync {
    target: Target,
    ended: Mutex<Option<thread::Result<io::Result<()>>>>,
}

impl OneSync {
    fn of(target: Target) -> Arc<OneSync> {
        Arc::new(OneSync {
            target,
            ended: Mutex::default(),
        })
    }

    /// Syncs the target on a thread of the pool, which drops `working` when the result is there and the thread has
    /// let go of the target. Without a thread nothing is synced, and `working` is dropped at once.
    fn begin(self: &Arc<Self>, working: Sender<()>) {
        let sync = Arc::clone(self);
        let job = move || {
            let ended = panic::catch_unwind(AssertUnwindSafe(|| sync.target.sync()));
            *lock(&sync.ended) = Some(ended);
            drop(sync);
            drop(working);
        };
        // An error means that there is no thread: then `result` syncs.
        let _ = SYNC_THREADS.run(Box::new(job));
    }

    /// To be called when `working` is dropped. Syncs the target here if no thread has.
    fn result(&self) -> io::Result<()> {
        match lock(&self.ended).take() {
            Some(ended) => ended.unwrap_or_else(|fault| panic::resume_unwind(fault)),
            None => self.target.sync(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_can_be_published_is_and_the_rest_has_its_own_error() {
        let dir = std::env::temp_dir().join(format!("cis490-together-{}", std::process::id()));
        let other = dir.join("other");
        fs::create_dir_all(&other).unwrap();
        let mut files: Vec<(PathBuf, Vec<u8>)> = (0..40)
            .map(|n| (dir.join(format!("{n}.json")), vec![b'a'; n]))
            .collect();
        files[7].0 = dir.join("missing/7.json");
        files[9].0 = other.join("9.json");
        let results = publish_all(&files);
        assert_eq!(results.len(), files.len());
        for (number, ((path, bytes), result)) in files.iter().zip(&results).enumerate() {
            if number == 7 {
                let kind = result.as_ref().unwrap_err().kind();
                assert_eq!(kind, io::ErrorKind::NotFound);
            } else {
                assert!(result.is_ok(), "{path:?}: {result:?}");
                assert_eq!(&fs::read(path).unwrap(), bytes);
            }
        }
        // No temporary file is left: 38 files and one folder.
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 39);
        assert!(publish_all(&[]).is_empty());
        let found = sync_dirs(&[&dir, Path::new("/nowhere/at/all"), &other]);
        assert_eq!(
            found.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, false, true]
        );
        fs::remove_dir_all(&dir).unwrap();
    }
}
