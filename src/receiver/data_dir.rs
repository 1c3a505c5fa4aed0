//! The folder of a store as it was when it was opened. Whoever writes a file of its own into it asks
//! first whether it still is that one: a path leads to the disk below when the store's is unmounted.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::durable;
use crate::file_identity::{FileIdentity, is_absent};

/// The name of the file that marks the folder as a store, with its format version.
pub(super) const MARKER: &str = "cis490-store";

#[derive(Clone, Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    marker: Option<FileIdentity>,
    /// Kept open, so that no other file gets its number.
    _held: Option<Arc<File>>,
}

impl DataDir {
    /// A folder without a marker stays a folder without one.
    ///
    /// Errors: the marker cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<DataDir> {
        let held = match durable::open_regular(&path.join(MARKER)) {
            Err(error) if is_absent(&error) => None,
            opened => Some(Arc::new(opened?)),
        };
        let metadata = held.as_ref().map(|held| held.metadata()).transpose()?;
        Ok(DataDir {
            path: path.to_owned(),
            marker: metadata.as_ref().map(FileIdentity::of),
            _held: held,
        })
    }

    /// What the marker was when the folder was opened; `None` if it had none.
    pub(crate) fn marker(&self) -> Option<FileIdentity> {
        self.marker
    }

    /// Errors: another folder is there now, or none.
    pub(crate) fn check(&self) -> io::Result<()> {
        if FileIdentity::at(&self.path.join(MARKER))? == self.marker {
            return Ok(());
        }
        let path = self.path.display();
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{path} is not the store any more that was opened: unmounted, or moved away"),
        ))
    }
}
