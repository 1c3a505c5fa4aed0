//! Opening files under names that somebody else may have made.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use super::{c_path, check};

/// For `OpenOptions::custom_flags`: no link is followed at the end of the path, no FIFO's other end
/// is waited for, no terminal becomes ours. std adds `O_CLOEXEC` itself.
pub(crate) const fn open_flags() -> libc::c_int {
    libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY
}

/// Which kind of open [`open_at`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// A directory, to be listed and gone on from. `ENOTDIR` for anything else, a link too.
    Directory,
    /// To be read, whatever it is; see [`open_flags`].
    ToRead,
    /// Whatever it is, a link itself too: only to look at it and to give it away. Nothing is read,
    /// and no device hears of it.
    Itself,
}

/// Opens `name`, which is a name and no path, in an open directory. No link is followed.
pub(crate) fn open_at(dir: &File, name: &OsStr, open: Open) -> io::Result<File> {
    let path = c_path(Path::new(name))?;
    let flags = match open {
        Open::Directory => libc::O_RDONLY | libc::O_DIRECTORY,
        Open::ToRead => libc::O_RDONLY | open_flags(),
        Open::Itself => libc::O_PATH,
    };
    let flags = flags | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: a NUL-terminated path that lives over the call, and a descriptor that `dir` keeps open.
    let fd = check(unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags) })?;
    // SAFETY: openat gave us this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}
