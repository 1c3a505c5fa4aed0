//! The folder of a store as it was when it was opened. Code that writes a file of its own into the
//! folder first checks that the path still leads to the same folder: after an unmount of the store's
//! disk, the path leads to the disk below the mount point.

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
    /// The marker is kept open, so that no other file can get its inode number.
    _held: Option<Arc<File>>,
}

impl DataDir {
    /// Opens the folder at `path`. A folder without a marker is the same folder only as long as it has
    /// none.
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

    /// The marker's identity when the folder was opened; `None` if there was no marker.
    pub(crate) fn marker(&self) -> Option<FileIdentity> {
        self.marker
    }

    /// Checks that the path still leads to the folder that was opened.
    ///
    /// Errors: another folder or none is at the path now.
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
