//! What std lacks for files: space, attributes, names that are not replaced, and advice to the page cache.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{self, Access, Advice, CWD, FallocateFlags, RenameFlags, XattrFlags};
use rustix::io::{Errno, retry_on_intr};

/// The largest value of an extended attribute that is read.
const XATTR_BYTES_MAX: usize = 4096;

/// Allocates `bytes` of disk for a file without changing its size, so that a full disk says so now.
///
/// Errors: `ENOSPC` and `EDQUOT` when there is no room; `EOPNOTSUPP` (`Unsupported`) where the
/// filesystem cannot; `EFBIG` for more than a file can have.
pub(crate) fn fallocate_keep_size(file: &File, bytes: u64) -> io::Result<()> {
    if i64::try_from(bytes).is_err() {
        return Err(Errno::FBIG.into());
    }
    retry_on_intr(|| fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes))?;
    Ok(())
}

/// Lets the kernel begin to write what a file has in memory, which gives the file its blocks, and waits only
/// where the disk's queue is full. Nothing happens where the filesystem cannot do this, or a sandbox forbids
/// it.
///
/// Errors: the disk's, or the kernel has found no blocks for the bytes. Then the kernel drops the bytes, no
/// later sync reports the loss, and the file is of no use.
pub(crate) fn begin_writeback(file: &File) -> io::Result<()> {
    sync_range(file, libc::SYNC_FILE_RANGE_WRITE)
}

/// Hands what a file has in memory to the disk, and waits until the disk has taken it: the file has its
/// blocks then. The disk may still hold it in a cache of its own, which only an `fsync` empties. Nothing
/// happens where the filesystem cannot do this, or a sandbox forbids it.
///
/// Errors: the disk's, which the next `fsync` does not report again.
pub(crate) fn write_out(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, flags)
}

fn sync_range(file: &File, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: plain integers, and a descriptor that `file` keeps open over the call.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::ESPIPE | libc::EOPNOTSUPP) => Ok(()),
        _ => Err(error),
    }
}

/// Syncs all of the filesystem that `file` is on: the data and the names of every file.
///
/// Errors: some file of the filesystem could not be written since `file` was opened, whichever it is.
pub(crate) fn sync_filesystem(file: &File) -> io::Result<()> {
    fs::syncfs(file)?;
    Ok(())
}

/// Whether a [`sync_filesystem`] that says yes is as good as an `fsync` of each file: the kernel reports
/// the errors (from Linux 5.8 on), and the filesystem is of a kind that waits for its disk. FUSE, for one,
/// asks nobody.
pub(crate) fn syncs_as_a_whole(file: &File) -> bool {
    const KINDS: [u64; 3] = [0xef53, 0x5846_5342, 0x9123_683e]; // ext2 to ext4, xfs, btrfs
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut part = || parts.next()?.parse::<u32>().ok();
    let reports = part().zip(part()).is_some_and(|version| (5, 8) <= version);
    reports && fs::fstatfs(file).is_ok_and(|stat| KINDS.contains(&(stat.f_type as u64)))
}

/// Asks the kernel to drop what it has of a file in memory, so that the disk is read. The pages that it
/// cannot drop stay, which is no fault.
pub(crate) fn forget_cached(file: &File) {
    let _ = fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// As [`forget_cached`], of so many bytes from `offset` on; 0 bytes are all that follow.
pub(crate) fn forget_cached_part(file: &File, offset: u64, bytes: u64) {
    let _ = fs::fadvise(file, offset, NonZeroU64::new(bytes), Advice::DontNeed);
}

/// Tells the kernel that a file is read from its beginning to its end: it reads further ahead.
pub(crate) fn read_in_order(file: &File) {
    let _ = fs::fadvise(file, 0, None, Advice::Sequential);
}

/// The room of a filesystem, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskBytes {
    /// The bytes that an unprivileged user may still allocate (`f_bavail`).
    pub free: u64,
    pub total: u64,
}

/// Bytes that an unprivileged user may still allocate on the filesystem of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    Ok(disk_bytes(path)?.free)
}

/// The room of the filesystem of `path`.
pub(crate) fn disk_bytes(path: &Path) -> io::Result<DiskBytes> {
    let stat = fs::statvfs(path)?;
    Ok(DiskBytes {
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

/// How many files an unprivileged user may still make on the filesystem of `path`; `None` where the
/// filesystem does not count them (btrfs).
pub(crate) fn free_inodes(path: &Path) -> io::Result<Option<u64>> {
    let stat = fs::statvfs(path)?;
    Ok((stat.f_files > 0).then_some(stat.f_favail))
}

/// Whether this process may make files in a directory, as far as its mode and the mount say. Errors
/// say why not: `PermissionDenied`, `ReadOnlyFilesystem`, `NotFound`, ...
pub(crate) fn may_write_in(dir: &Path) -> io::Result<()> {
    fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?;
    Ok(())
}

/// Whether this process may read a file, as far as its mode and those of the folders above it say.
/// Nothing is opened, and so no pipe's writer is waited for.
pub(crate) fn may_read(file: &Path) -> io::Result<()> {
    fs::access(file, Access::READ_OK)?;
    Ok(())
}

/// Sets an extended attribute. `Unsupported` where the filesystem has none.
pub(crate) fn set_xattr(file: &File, name: &CStr, value: &[u8]) -> io::Result<()> {
    fs::fsetxattr(file, name, value, XattrFlags::empty())?;
    Ok(())
}

/// Reads an extended attribute of at most 4 KiB; `None` if the attribute is absent or larger, or the
/// filesystem has none.
pub(crate) fn get_xattr(file: &File, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(XATTR_BYTES_MAX);
    match fs::fgetxattr(file, name, spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a file has an extended attribute, however large; false where the filesystem has none.
pub(crate) fn has_xattr(file: &File, name: &CStr) -> io::Result<bool> {
    match fs::fgetxattr_query(file, name) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Renames without replacing: `AlreadyExists` if `to` is taken. On filesystems that do not know the
/// flag `RENAME_NOREPLACE`, `to` is looked at before the rename. A name that another process makes
/// between the two can be missed; rename itself still refuses to replace a directory that is not empty.
pub(crate) fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    match fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match to.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => std::fs::rename(from, to),
            Err(other) => Err(other),
        },
        Err(error) => Err(error.into()),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_is_absent_is_none() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(get_xattr(&file, c"user.cis490.absent").unwrap(), None);
        assert!(!has_xattr(&file, c"user.cis490.absent").unwrap());
    }

    #[test]
    fn a_disk_has_no_more_free_bytes_than_bytes() {
        let disk = disk_bytes(&std::env::current_exe().unwrap()).unwrap();
        assert!(0 < disk.free && disk.free <= disk.total, "{disk:?}");
    }

    #[test]
    fn more_bytes_than_a_file_can_have_are_too_large() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let error = fallocate_keep_size(&file, u64::MAX).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
    }
}
