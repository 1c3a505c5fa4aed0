//! Several files or folders at once: their syncs run at the same time, and the filesystem commits them
//! together, where one after the other each would wait for a flush of its own.
//!
//! Each has its own result: the failure of one is not the failure of the others.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use super::steps::{name_of, step_on};
use super::syncs::sync_filesystem;
use super::{create, open_dir, parent, rename, sync_dir, sync_file, tmp_beside};
use crate::sys;

/// More syncs at a time gain nothing, and each has a thread for as long as it runs.
const AT_ONCE_MAX: usize = 16;
/// A sync needs little more than its system call.
const STACK_BYTES: usize = 128 << 10;
/// For so many files, one sync of their whole filesystem costs less than theirs.
const MANY_FILES: usize = 16;

/// As [`super::publish`] for each pair of a path and its bytes, and each directory is synced once. The
/// results are in the order of `files`.
pub(crate) fn publish_all(files: &[(PathBuf, Vec<u8>)]) -> Vec<io::Result<()>> {
    let mut made = Vec::new();
    let mut results = Vec::new();
    for (number, (path, bytes)) in files.iter().enumerate() {
        let written = write_tmp(path, bytes);
        results.push(written.map(|file| made.push((number, file))));
    }
    let synced = at_once(&made, |(_, file)| sync_file(file));
    for ((number, _), synced) in made.iter().zip(synced) {
        let path = &files[*number].0;
        results[*number] = synced.and_then(|()| rename(&tmp_beside(path), path));
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
    at_once(dirs, |dir| sync_dir(dir))
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
        at_once(files, |file| sync_file(file))
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

/// Another error of the same kind and words, for the second of those that share a fault.
pub(crate) fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// Runs `work` on all of `things`, at the same time as far as threads can be had.
fn at_once<T: Sync>(
    things: &[T],
    work: impl Fn(&T) -> io::Result<()> + Sync,
) -> Vec<io::Result<()>> {
    let mut results = Vec::with_capacity(things.len());
    for part in things.chunks(AT_ONCE_MAX) {
        results.extend(part_at_once(part, &work));
    }
    results
}

fn part_at_once<T: Sync>(
    things: &[T],
    work: &(impl Fn(&T) -> io::Result<()> + Sync),
) -> Vec<io::Result<()>> {
    let Some((first, others)) = things.split_first() else {
        return Vec::new();
    };
    thread::scope(|scope| {
        let begin = |thing| {
            let thread = thread::Builder::new().name("sync".to_owned());
            thread
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || work(thing))
        };
        let begun: Vec<io::Result<ScopedJoinHandle<'_, io::Result<()>>>> =
            others.iter().map(begin).collect();
        let mut results = vec![work(first)];
        for (thing, thread) in others.iter().zip(begun) {
            results.push(match thread {
                Ok(thread) => thread
                    .join()
                    .unwrap_or_else(|fault| std::panic::resume_unwind(fault)),
                // No thread can be had: it is synced here, after the first.
                Err(_) => work(thing),
            });
        }
        results
    })
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
