//! Opening, listing and removing below an open directory, under names that somebody else may have made.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir};

/// How much one listing asks the kernel for.
const LISTING_BYTES: usize = 32 << 10;

/// Flags against the traps that a name can be: no link is followed at the end of the path, no FIFO's
/// other end is waited for, no terminal becomes ours.
const NO_TRAP: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// The flags against such traps for `OpenOptions::custom_flags`. std adds `O_CLOEXEC` itself.
pub(crate) const fn open_flags() -> libc::c_int {
    NO_TRAP.bits().cast_signed()
}

/// Which kind of open [`open_at`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// A directory, to be listed and gone on from. `ENOTDIR` for anything else, a link too.
    Directory,
    /// To be read, of whatever kind the file is; see [`open_flags`].
    ToRead,
    /// Anything, a link itself too: only to look at it and to give it away. Nothing is read, and no
    /// device takes notice.
    Itself,
}

/// Opens `name`, which is a name (or `..`) and no path, in an open directory. No link is followed.
pub(crate) fn open_at(dir: &File, name: &OsStr, open: Open) -> io::Result<File> {
    let flags = match open {
        Open::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
        Open::ToRead => OFlags::RDONLY | NO_TRAP,
        Open::Itself => OFlags::PATH,
    };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(dir, name, flags, Mode::empty())?))
}

/// Removes a name that is of no directory from an open directory. `IsADirectory` for one.
pub(crate) fn unlink_at(dir: &File, name: &OsStr) -> io::Result<()> {
    fs::unlinkat(dir, name, AtFlags::empty())?;
    Ok(())
}

/// Removes an empty directory from an open one.
pub(crate) fn remove_dir_at(dir: &File, name: &OsStr) -> io::Result<()> {
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Names in an open directory, from where it was last listed to: as many as fit [`LISTING_BYTES`], and
/// none at its end. `.` and `..` are left out. For plain threads: what a coroutine has of stack is too little.
pub(crate) fn list_some(dir: &File) -> io::Result<Vec<OsString>> {
    let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
    let mut entries = RawDir::new(dir, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
        // One more entry would be of the next listing.
        if entries.is_buffer_empty() && !names.is_empty() {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_those_of_the_c_library() {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        assert_eq!(open_flags(), flags);
    }
}
