//! Reading a tarball that any program may have made, to find its `meta.json`.
//!
//! 1. Nothing is unpacked, and a name in the archive names nothing on our disk.
//! 2. No number in the archive decides how much is allocated: the window, a long name and
//!    `meta.json` have their limits, and so has the number of bytes that are read in all.
//! 3. The first regular file called `meta.json` or `<directory>/meta.json` counts. A link or a
//!    device of that name, one deeper down, and one whose path is absolute or has `..` do not.
//!
//! The road not taken is the tar crate. Its `Archive` reads long names without a limit and parses sparse
//! maps, which are only skipped here; its `Header` rejects odd values in fields that nobody uses.

mod entries;
mod frames;

use std::fmt;
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};

use super::meta::{BadMeta, Meta};
use entries::Entries;
use frames::Frames;

/// The most that is decompressed, and the most that is read, in search of the `meta.json`. Ours
/// is the first entry; an archive by another hand may have it anywhere, and a bomb nowhere.
const LOOKED_AT_BYTES_MAX: u64 = 1 << 30;

/// Reads the `code_version` from the `meta.json` of a tar.zst.
///
/// Errors: there is no `meta.json` within the limits, or it does not name the commit.
pub fn read_meta(tarball: impl Read) -> Result<Meta, ReadError> {
    read_meta_within(tarball, LOOKED_AT_BYTES_MAX)
}

/// Reads the `meta.json` of a tar.zst as it stands there, whatever is in it.
///
/// Errors: there is no `meta.json` within the limits.
pub fn read_meta_json(tarball: impl Read) -> Result<Vec<u8>, ReadError> {
    find_within(tarball, LOOKED_AT_BYTES_MAX, |tar| {
        Entries::new(tar).find_meta()
    })
}

pub(super) fn read_meta_within(tarball: impl Read, bytes_max: u64) -> Result<Meta, ReadError> {
    find_within(tarball, bytes_max, |tar| meta_in_tar(tar))
}

/// What `find` finds in the archive, of which no more than so many bytes are read and unpacked.
fn find_within<T>(
    tarball: impl Read,
    bytes_max: u64,
    find: impl FnOnce(&mut dyn Read) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    // The decoder has assertions, and the bytes are from outside. A panic that is not caught here would
    // end every start of the receiver in its recovery.
    panic::catch_unwind(AssertUnwindSafe(|| {
        let mut frames = Frames::new(tarball.take(bytes_max));
        let mut tar = (&mut frames).take(bytes_max);
        let found = find(&mut tar);
        let has_seen_all = tar.limit() > 0 && frames.source().limit() > 0;
        match found {
            Err(ReadError::Io(_) | ReadError::NoMeta) if !has_seen_all => Err(ReadError::TooFar),
            found => found,
        }
    }))
    .unwrap_or(Err(ReadError::Damaged("the decoder failed")))
}

pub(super) fn meta_in_tar(tar: impl Read) -> Result<Meta, ReadError> {
    let json = Entries::new(tar).find_meta()?;
    Meta::parse(&json).map_err(ReadError::Meta)
}

const BAD_HEADER: ReadError = ReadError::Damaged("a tar header in it is damaged");

/// Why a tarball does not say which code made its episode.
#[derive(Debug)]
pub enum ReadError {
    /// It cannot be read, or is not a zstd file that this program can decode.
    Io(io::Error),
    Damaged(&'static str),
    /// The archive has no `meta.json`.
    NoMeta,
    /// The limit of bytes was reached before a `meta.json` was found.
    TooFar,
    Meta(BadMeta),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the tarball is cut short")
            }
            ReadError::Io(error) => write!(f, "the tarball cannot be read: {error}"),
            ReadError::Damaged(what) => write!(f, "the tarball is damaged: {what}"),
            ReadError::NoMeta => f.write_str("the tarball has no meta.json"),
            ReadError::TooFar => write!(
                f,
                "the tarball has no meta.json in its first {} MiB, and no more of it is read",
                LOOKED_AT_BYTES_MAX >> 20
            ),
            ReadError::Meta(bad) => write!(f, "the tarball's {bad}"),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests;
