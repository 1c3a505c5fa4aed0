//! The directory of an episode: what lies in it, in one order, and whether it may be packed.
//!
//! Symbolic links are not followed and nothing but regular files is opened, so that neither a link
//! to /etc nor a fifo that nobody writes to can do harm. A file swapped for one at work is noticed;
//! a directory swapped for a link between our look and our reading is not.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::META_NAME;
use super::meta::{BadMeta, META_BYTES_MAX, Meta};
use crate::durable::kind_words;
use crate::sys;

/// Reads the `meta.json` of the episode in `dir`, and looks whether all that lies in it can be
/// packed. Opens no other file.
pub fn inspect(dir: &Path) -> Result<Meta, Unfit> {
    Ok(survey(dir)?.meta.meta)
}

/// What the `meta.json` of the episode in `dir` says, whatever else lies there.
pub fn meta_of(dir: &Path) -> Result<Meta, Unfit> {
    Ok(MetaFile::read(dir)?.meta)
}

/// What is known of an episode before its first byte is packed.
pub(super) struct Survey {
    pub meta: MetaFile,
    /// All the files' sizes together, `meta.json` included.
    pub bytes: u64,
}

pub(super) fn survey(dir: &Path) -> Result<Survey, Unfit> {
    let meta = MetaFile::read(dir)?;
    let mut bytes = meta.json.len() as u64;
    for found in Walk::new(dir, Vec::new()) {
        let found = found?;
        if found.metadata.is_file() {
            bytes = bytes.saturating_add(found.metadata.len());
        }
    }
    Ok(Survey { meta, bytes })
}

/// The `meta.json` as it was read once: what is told and what is packed.
pub(super) struct MetaFile {
    pub meta: Meta,
    pub json: Vec<u8>,
    pub metadata: Metadata,
}

impl MetaFile {
    fn read(dir: &Path) -> Result<MetaFile, Unfit> {
        let path = dir.join(META_NAME);
        let (file, metadata) = open_regular(&path).map_err(|unfit| match unfit {
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

/// Opens what must be a regular file, without following a link and without waiting for anybody.
pub(super) fn open_regular(path: &Path) -> Result<(File, Metadata), Unfit> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(sys::open_flags())
        .open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(libc::ELOOP) => Unfit::special(path, "a symbolic link"),
        // What open says of a socket.
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

/// One file or directory of an episode.
pub(super) struct Found {
    pub path: PathBuf,
    /// The name in the tarball: bytes, since a file's name need not be UTF-8. Ends with `/` for a
    /// directory.
    pub name: Vec<u8>,
    pub metadata: Metadata,
}

/// The directory itself and all below it but its `meta.json`, depth first, each directory's
/// names in byte order. Holds the names of one directory for each level, no more.
pub(super) struct Walk {
    /// The directory itself, until it was looked at.
    root: Option<(PathBuf, Vec<u8>)>,
    /// From the outermost in.
    levels: Vec<Level>,
}

struct Level {
    path: PathBuf,
    /// Ends with `/`.
    name: Vec<u8>,
    /// The names not yet looked at, the next one last.
    children: Vec<Vec<u8>>,
}

impl Walk {
    /// `root_name` is the tarball's name of `dir`, without `/`.
    pub fn new(dir: &Path, root_name: Vec<u8>) -> Walk {
        Walk {
            root: Some((dir.to_owned(), root_name)),
            levels: Vec::new(),
        }
    }

    fn next_path(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        if let Some(root) = self.root.take() {
            return Some(root);
        }
        loop {
            let level = self.levels.last_mut()?;
            match level.children.pop() {
                None => drop(self.levels.pop()),
                Some(child) => {
                    let path = level.path.join(OsStr::from_bytes(&child));
                    return Some((path, [&level.name[..], &child].concat()));
                }
            }
        }
    }

    fn look_at(&mut self, path: PathBuf, mut name: Vec<u8>) -> Result<Found, Unfit> {
        let metadata = path
            .symlink_metadata()
            .map_err(|error| Unfit::io("look at", &path, error))?;
        if metadata.is_dir() {
            name.push(b'/');
            let mut children = list(&path)?;
            if self.levels.is_empty() {
                children.retain(|child| child != META_NAME.as_bytes());
            }
            self.levels.push(Level {
                path: path.clone(),
                name: name.clone(),
                children,
            });
        } else if !metadata.is_file() {
            return Err(Unfit::special(&path, kind_words(metadata.file_type())));
        }
        Ok(Found {
            path,
            name,
            metadata,
        })
    }
}

impl Iterator for Walk {
    type Item = Result<Found, Unfit>;

    fn next(&mut self) -> Option<Result<Found, Unfit>> {
        let (path, name) = self.next_path()?;
        Some(self.look_at(path, name))
    }
}

/// A directory's names, the last in byte order first.
fn list(dir: &Path) -> Result<Vec<Vec<u8>>, Unfit> {
    let to_unfit = |error| Unfit::io("list", dir, error);
    let mut names = Vec::new();
    for child in fs::read_dir(dir).map_err(to_unfit)? {
        names.push(child.map_err(to_unfit)?.file_name().into_vec());
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

/// Why an episode cannot be packed, now or ever.
#[derive(Debug)]
pub enum Unfit {
    /// There is no `meta.json` yet.
    Unfinished(PathBuf),
    /// Something that is neither file nor directory, or not the one that it must be.
    Special { path: PathBuf, kind: &'static str },
    /// The `meta.json` of this directory does not say which code made the episode.
    Meta(PathBuf, BadMeta),
    /// A file became another while it was being packed.
    Changed(PathBuf),
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl Unfit {
    /// Whether the same directory may be fit later. What is not passing wants a person.
    pub fn is_passing(&self) -> bool {
        match self {
            Unfit::Unfinished(_) | Unfit::Changed(_) => true,
            Unfit::Special { .. } | Unfit::Meta(..) => false,
            // A path that is too long stays so.
            Unfit::Io { error, .. } => error.kind() != io::ErrorKind::InvalidFilename,
        }
    }

    /// For programs: one word for what a person must fix in an episode that is never fit as it is.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Unfit::Unfinished(_) | Unfit::Changed(_) => None,
            Unfit::Special { .. } => Some("not-a-file"),
            Unfit::Meta(_, bad) => Some(bad.reason()),
            Unfit::Io { .. } if self.is_passing() => None,
            Unfit::Io { .. } => Some("path-too-long"),
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path, error: io::Error) -> Unfit {
        Unfit::Io {
            doing,
            path: path.to_owned(),
            error,
        }
    }

    fn special(path: &Path, kind: &'static str) -> Unfit {
        Unfit::Special {
            path: path.to_owned(),
            kind,
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // {:?} escapes control bytes, so a file's name cannot forge a log line.
        match self {
            Unfit::Unfinished(dir) => {
                write!(
                    f,
                    "{dir:?} has no meta.json: it is packed when there is one"
                )
            }
            Unfit::Special { path, kind } => write!(
                f,
                "{path:?} is {kind}, where only a file can be packed: remove it or put the file itself there"
            ),
            Unfit::Meta(dir, bad) => write!(f, "{dir:?}: {bad}: {}", bad.hint()),
            Unfit::Changed(path) => write!(
                f,
                "{path:?} changed while it was being packed: the recorder writes meta.json last, when nothing changes any more"
            ),
            Unfit::Io { doing, path, error } => {
                write!(f, "cannot {doing} {path:?}: {error}")?;
                match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str(": let the user that runs cis490 read it")
                    }
                    io::ErrorKind::InvalidFilename => {
                        f.write_str(": give it a shorter path, or less depth")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for Unfit {}
