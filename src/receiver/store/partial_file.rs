//! A file's name in incoming/: the record that an upload is under way.

use std::path::{Path, PathBuf};

use crate::{durable, events};

/// Owning it is owning the name, which is removed when this is dropped: after the upload's answer.
#[derive(Default)]
pub(crate) struct PartialFile {
    /// `None` for an upload that needed no file.
    path: Option<PathBuf>,
    /// Whether nobody knows that the episode is stored or not. Then recovery needs the name.
    is_in_doubt: bool,
}

impl PartialFile {
    pub(super) fn new(path: PathBuf) -> PartialFile {
        PartialFile {
            path: Some(path),
            is_in_doubt: false,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The file may get its final name from now on. Until [`PartialFile::settled`] the name outlives
    /// this value, also in a panic.
    pub(super) fn in_doubt(&mut self) {
        self.is_in_doubt = true;
    }

    pub(super) fn settled(&mut self) {
        self.is_in_doubt = false;
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.is_in_doubt {
            return;
        }
        let Some(path) = &self.path else { return };
        if let Err(error) = durable::unlink(path) {
            events::store_untidy(path, error);
        }
    }
}
