//! The directory of an episode, its `meta.json`, and whether all that lies in it may be packed.
//!
//! 1. No symbolic link is followed, and only regular files are opened. So neither a link to /etc nor
//!    a fifo that nobody writes to can do harm.
//! 2. Below the episode's own directory nothing is opened by its path: each directory is opened in
//!    the one above it. So a file or directory that somebody replaces by a link during the packing
//!    does not lead out of the episode.

mod walk;

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::META_NAME;
use super::meta::{BadMeta, META_BYTES_MAX, Meta};
use super::unfit::Unfit;
use crate::durable::kind_words;
use crate::sys::{self, Open};

pub(super) use self::walk::{Found, Walk};

/// An episode that can be packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub meta: Meta,
    /// All the files' sizes together, `meta.json` included.
    pub bytes: u64,
}

/// Reads the `meta.json` of the episode in `dir`, and checks that everything in the directory can be
/// packed. Opens no other file, and walks the tree once.
///
/// Errors: why the episode cannot be packed.
pub fn inspect(dir: &Path) -> Result<Inspected, Unfit> {
    let tree = inspect_open(&Episode::open(dir)?)?;
    Ok(Inspected {
        meta: tree.meta_file.meta,
        bytes: tree.bytes,
    })
}

/// What the `meta.json` of the episode in `dir` says. The other files are not looked at.
///
/// Errors: there is no `meta.json`, or it does not say which code made the episode.
pub fn meta_of(dir: &Path) -> Result<Meta, Unfit> {
    Ok(MetaFile::read(&Episode::open(dir)?)?.meta)
}

/// An episode's own directory, held open.
pub(super) struct Episode {
    path: PathBuf,
    dir: File,
}

impl Episode {
    pub(super) fn open(path: &Path) -> Result<Episode, Unfit> {
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        match options.open(path) {
            Ok(dir) => Ok(Episode {
                path: path.to_owned(),
                dir,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Unfit::Unfinished(path.to_owned()))
            }
            Err(error) => Err(match path.symlink_metadata() {
                Ok(found) if !found.is_dir() => Unfit::special(path, kind_words(found.file_type())),
                _ => Unfit::io("open", path, error),
            }),
        }
    }

    /// The metadata of `meta.json`, which is not read.
    pub(super) fn look_at_meta(&self) -> Result<Metadata, Unfit> {
        look_at(&self.dir, OsStr::new(META_NAME), &self.path.join(META_NAME))
    }
}

/// What is known of an episode before its first byte is packed.
pub(super) struct InspectedTree {
    pub meta_file: MetaFile,
    /// All the files' sizes together, `meta.json` included.
    pub bytes: u64,
}

/// As [`inspect`], for a directory that is held open.
pub(super) fn inspect_open(episode: &Episode) -> Result<InspectedTree, Unfit> {
    let meta_file = MetaFile::read(episode)?;
    let mut bytes = meta_file.json.len() as u64;
    for found in Walk::new(episode, Vec::new())? {
        let found = found?;
        if found.metadata.is_file() {
            bytes = bytes.saturating_add(found.metadata.len());
        }
    }
    Ok(InspectedTree { meta_file, bytes })
}

/// The `meta.json` of one reading. The header states this `meta`, and the tarball gets this `json`.
pub(super) struct MetaFile {
    pub meta: Meta,
    pub json: Vec<u8>,
    pub metadata: Metadata,
}

impl MetaFile {
    fn read(episode: &Episode) -> Result<MetaFile, Unfit> {
        let dir = &episode.path;
        let path = dir.join(META_NAME);
        let opened = open_regular(&episode.dir, OsStr::new(META_NAME), &path);
        let (file, metadata) = opened.map_err(|unfit| match unfit {
            Unfit::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
                Unfit::Unfinished(dir.to_owned())
            }
            other => other,
        })?;
        let mut json = Vec::new();
        file.take(META_BYTES_MAX + 1)
            .read_to_end(&mut json)
            .map_err(|error| Unfit::io("read", &path, error))?;
        if json.len() as u64 > META_BYTES_MAX {
            return Err(Unfit::Meta(dir.to_owned(), BadMeta::TooLarge));
        }
        let meta = Meta::parse(&json).map_err(|bad| Unfit::Meta(dir.to_owned(), bad))?;
        Ok(MetaFile {
            meta,
            json,
            metadata,
        })
    }
}

/// The metadata of one name in an open directory. What has the name is not opened for reading.
/// `path` is for the words of an error.
fn look_at(dir: &File, name: &OsStr, path: &Path) -> Result<Metadata, Unfit> {
    let looked = sys::open_at(dir, name, Open::Itself).and_then(|itself| itself.metadata());
    looked.map_err(|error| Unfit::io("look at", path, error))
}

/// Opens what must be a regular file in an open directory. Follows no link, and does not wait for
/// the other end of a fifo.
fn open_regular(dir: &File, name: &OsStr, path: &Path) -> Result<(File, Metadata), Unfit> {
    let opened = sys::open_at(dir, name, Open::ToRead);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Unfit::special(path, "a symbolic link"),
        // The error of an open of a socket.
        Some(libc::ENXIO) => Unfit::special(path, "a socket"),
        _ => Unfit::io("open", path, error),
    })?;
    let metadata = file
        .metadata()
        .map_err(|error| Unfit::io("look at", path, error))?;
    if !metadata.is_file() {
        return Err(Unfit::special(path, kind_words(metadata.file_type())));
    }
    Ok((file, metadata))
}
