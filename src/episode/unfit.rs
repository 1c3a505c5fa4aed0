//! Why the directory of an episode cannot be packed: for a person in words, for programs in one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::meta::BadMeta;

/// Why an episode cannot be packed now, or never can be.
#[derive(Debug)]
pub enum Unfit {
    /// There is no `meta.json` yet.
    Unfinished(PathBuf),
    /// Something that is neither file nor directory, or one of them where the other must be.
    Special { path: PathBuf, kind: &'static str },
    /// The `meta.json` of this directory does not say which code made the episode.
    Meta(PathBuf, BadMeta),
    /// A file or directory changed while it was being packed.
    Changed(PathBuf),
    Io {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl Unfit {
    /// Whether the same directory may be fit later. Otherwise a person must change it.
    pub fn is_passing(&self) -> bool {
        match self {
            Unfit::Unfinished(_) | Unfit::Changed(_) => true,
            Unfit::Special { .. } | Unfit::Meta(..) => false,
            // A path that is too long stays so.
            Unfit::Io { error, .. } => error.kind() != io::ErrorKind::InvalidFilename,
        }
    }

    /// For programs: the name of what a person must fix; `None` if the fault may pass by itself.
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

    pub(super) fn special(path: &Path, kind: &'static str) -> Unfit {
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
