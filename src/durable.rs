//! Files that are still there after the plug is pulled: every fsync, link and rename of the crate.
//!
//! 1. A name is made by `link` (refuses to replace) or `rename` (replaces), never by writing to it.
//! 2. A name counts as made once its directory is synced; until then a power cut may take it back.
//! 3. A failed fsync is never retried on the same file: the kernel has dropped the pages it could
//!    not write, and a second fsync would say yes to data that is gone.
//! 4. A file under a name that somebody else may have made is opened here too (`regular`).
//! 5. Each effect is preceded by a named [`step`], at which tests crash the process or fail the effect
//!    (`steps`).

mod regular;
mod removal;
mod steps;
mod syncs;
mod together;

pub(crate) use self::regular::{
    kind_words, open_dir, open_regular, open_regular_flagged, open_regular_with, read_regular,
};
pub(crate) use self::steps::step;
pub(crate) use self::syncs::{SYNC_TIMES, sync_data, sync_dir, sync_file};
pub(crate) use self::together::{Filesystem, publish_all, same, sync_dirs};

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use self::regular::wrong_kind;
use self::steps::{name_of, name_of_open, names_of, step_on};
use crate::sys;

/// Makes `bytes` appear at `path` whole or not at all, replacing what was there, and still be
/// there after the plug is pulled.
///
///     create(tmp)  write(tmp)  fsync(tmp)  rename(tmp, path)  fsync(dir)
///
/// A crash can leave `<path>.tmp`, which the next call replaces.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> io::Result<()> {
    publish_as(path, bytes, |_| Ok(()))
}

/// As [`publish`], but `dress` changes the file before it has its name: its mode and owner, so that at
/// no instant anybody finds it with others.
pub(crate) fn publish_as(
    path: &Path,
    bytes: &[u8],
    dress: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let tmp = tmp_beside(path);
    let mut file = create(&tmp)?;
    dress(&file)?;
    step_on("write", || name_of(&tmp))?;
    file.write_all(bytes)?;
    sync_file(&file)?;
    rename(&tmp, path)?;
    sync_dir(parent(path))
}

/// Makes one directory whose name stays. One that exists is fine, and its name is synced too: the run
/// that made the directory may have been killed before its sync.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    mkdir(path)?;
    sync_dir(parent(path))
}

/// Makes one directory and leaves the sync of its parent to the caller, who may have more names
/// to make there. One that exists is fine: true if it was made.
pub(crate) fn mkdir(path: &Path) -> io::Result<bool> {
    step_on("mkdir", || name_of(path))?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = path.symlink_metadata()?;
            if found.is_dir() {
                return Ok(false);
            }
            Err(wrong_kind(found.file_type(), "a directory"))
        }
        other => other.map(|()| true),
    }
}

/// A new, empty file to write and read. `AlreadyExists` if the name is taken.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    step_on("create", || name_of(path))?;
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
}

/// A new, empty file to write, in place of any file that had the name: the old one is removed and not
/// written to, so that a link leads nowhere.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    step_on("create", || name_of(path))?;
    let create_new = || File::options().write(true).create_new(true).open(path);
    match create_new() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create_new()
        }
        made => made,
    }
}

/// Allocates `bytes` of disk for a file and leaves its size, so that a full disk is an error now and not
/// in the middle of a write.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    step_on("allocate", || name_of_open(file))?;
    sys::fallocate_keep_size(file, bytes)
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    step_on("write", || name_of_open(file))?;
    file.write_all_at(bytes, offset)
}

/// Sets an extended attribute. `Unsupported` where the filesystem has none.
pub(crate) fn set_attribute(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    step_on("attribute", || name_of_open(file))?;
    sys::set_xattr(file, name, value)
}

/// Whether an error says that the disk has no room left: the floor, inodes or a quota.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Gives a written file its blocks on the disk, so that the filesystem changes nothing of it any more:
/// a sync of its name then syncs all of it that the journal has. No proof that the bytes are on the disk.
///
/// Errors: the disk's. As after a failed sync, the file is of no use then.
pub(crate) fn write_out(file: &File) -> io::Result<()> {
    step_on("write out", || name_of_open(file))?;
    sys::write_out(file)
}

/// Cuts a file back to `bytes`.
pub(crate) fn truncate(file: &File, bytes: u64) -> io::Result<()> {
    step_on("truncate", || name_of_open(file))?;
    file.set_len(bytes)
}

/// Appends in one write. A crash or an error may leave an unterminated tail of it.
pub(crate) fn append(file: &File, bytes: &[u8]) -> io::Result<()> {
    let mut file = file;
    if let Err(error) = step_on("append", || name_of_open(file)) {
        // As on a disk that fills up in the middle of it.
        let _ = file.write_all(&bytes[..bytes.len() / 2]);
        return Err(error);
    }
    file.write_all(bytes)
}

/// A second name for a file. `AlreadyExists` if the name is taken: it never replaces.
pub(crate) fn link_new(from: &Path, to: &Path) -> io::Result<()> {
    step_on("link", || names_of(from, to))?;
    fs::hard_link(from, to)
}

/// Moves a file or directory over any file that has the name `to`.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step_on("rename", || names_of(from, to))?;
    fs::rename(from, to)
}

/// Moves a file or directory to a free name. `AlreadyExists` if it is taken.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    step_on("rename", || names_of(from, to))?;
    sys::rename_no_replace(from, to)
}

/// Removes a file's name. A name that is gone already is fine.
pub(crate) fn unlink(path: &Path) -> io::Result<()> {
    step_on("unlink", || name_of(path))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it, however deep it is: see `removal`. A crash may leave a
/// part of it, a power cut all of it.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    step_on("remove tree", || name_of(path))?;
    removal::remove_all(path)
}

/// The directory that holds `path`'s name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

fn tmp_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_replaces_and_leaves_no_temporary() {
        let dir = std::env::temp_dir().join(format!("cis490-durable-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("window.json");
        publish(&path, b"one").unwrap();
        publish(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert_eq!(
            link_new(&path, &path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        let other = dir.join("other");
        fs::write(&other, b"stays").unwrap();
        assert_eq!(
            rename_new(&path, &other).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&other).unwrap(), b"stays");
        fs::remove_dir_all(&dir).unwrap();
    }
}
