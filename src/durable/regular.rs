//! Opening under a name that somebody else may have made: no link is followed at its end, nothing is
//! waited for, and it must be a regular file. A FIFO, a folder or a device in its place is an error in
//! words, and holds nobody up.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::sys;

/// Opens a regular file to read.
///
/// Errors: as `File::open`; or there is no regular file under the name.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    open_regular_with(path, File::options().read(true))
}

/// As [`open_regular`], with options of the caller's: to write, to append, to make the file if it is not
/// there. It is never truncated.
pub(crate) fn open_regular_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open_regular_flagged(path, options, 0)
}

/// As [`open_regular_with`], with more of `open`'s flags.
pub(crate) fn open_regular_flagged(
    path: &Path,
    options: &mut OpenOptions,
    flags: libc::c_int,
) -> io::Result<File> {
    let file = options
        .custom_flags(sys::open_flags() | flags)
        .open(path)
        .map_err(|error| why_not_regular(path, error))?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() {
        return Err(wrong_kind(kind, "a regular file"));
    }
    Ok(file)
}

/// The whole of a file of at most `bytes_max` bytes.
///
/// Errors: as [`open_regular`]; or the file is longer.
pub(crate) fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// Opens a directory, whose own name may be a link: to sync or to lock it.
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NONBLOCK);
    options.open(path)
}

/// The error of opening a link, a socket, or a FIFO that nobody reads, in words.
fn why_not_regular(path: &Path, error: io::Error) -> io::Error {
    let may_be_of_its_kind = matches!(
        error.raw_os_error(),
        Some(libc::ELOOP | libc::ENXIO | libc::EISDIR)
    );
    match path.symlink_metadata() {
        Ok(found) if may_be_of_its_kind && !found.is_file() => {
            wrong_kind(found.file_type(), "a regular file")
        }
        _ => error,
    }
}

pub(super) fn wrong_kind(found: FileType, wanted: &str) -> io::Error {
    let what = kind_words(found);
    io::Error::other(format!(
        "it is {what} and not {wanted}: look who made it, and remove it"
    ))
}

/// The words for a kind of file, with their article.
pub(crate) fn kind_words(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a fifo"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{mkdir, publish};
    use super::*;

    /// The error names the kind in words, comes at once, and nothing is followed or written.
    #[test]
    fn a_name_of_no_regular_file_is_neither_read_nor_written() {
        let dir = std::env::temp_dir().join(format!("cis490-regular-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        fs::write(at("victim"), b"stays").unwrap();
        std::os::unix::fs::symlink(at("victim"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("dangling")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(made.unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, words) in [
            ("link", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("folder", "a directory"),
            ("fifo", "a fifo"),
            ("socket", "a socket"),
        ] {
            let path = at(name);
            let writes = || open_regular_with(&path, File::options().write(true).create(true));
            let appends = || open_regular_with(&path, File::options().read(true).append(true));
            for opened in [open_regular(&path), writes(), appends()] {
                let said = opened.unwrap_err().to_string();
                assert!(said.contains(words), "{name}: {said}");
            }
            if name != "folder" {
                let said = mkdir(&path).unwrap_err().to_string();
                assert!(said.contains("and not a directory"), "{name}: {said}");
            }
            let replaced = publish(&path, b"new");
            assert_eq!(replaced.is_ok(), name != "folder", "{name}");
        }
        // Under its temporary name too.
        std::os::unix::fs::symlink(at("victim"), at("state.tmp")).unwrap();
        publish(&at("state"), b"new").unwrap();
        assert_eq!(fs::read(at("victim")).unwrap(), b"stays");
        assert_eq!(read_regular(&at("victim"), 5).unwrap(), b"stays");
        assert!(read_regular(&at("victim"), 4).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
