//! The local file of an episode as the archive needs it: opened to be copied, and removed when there is a
//! proven object in its place.
//!
//! 1. Only a file that is on the disk for good and is of the row that is asked about.
//! 2. A file of a name that has rows of different digests is never removed: which of them it is may change.
//! 3. Each download holds a shared lock on its file (`fetch`); a removal needs the lock alone.

use std::fs::{File, TryLockError};
use std::io;

use super::Store;
use crate::durable;
use crate::file_identity::{FileIdentity, is_absent};
use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};

/// What came of removing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LocalRemoval {
    /// So many bytes went.
    Removed(u64),
    /// An upload or a download has it.
    InUse,
    /// There is no such file, or it is not to be removed.
    Nothing,
}

impl Store {
    /// The stored file of a row, and its size; `None` if it is not there, not settled, or not of this row.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn whole_file(&self, row: &Receipt) -> io::Result<Option<(File, u64)>> {
        let slot = row.slot();
        let file = match durable::open_regular(&self.layout.tarball(&slot)) {
            Err(error) if is_absent(&error) => return Ok(None),
            // A link, a folder, a pipe: the system has no number for that.
            Err(error) if error.raw_os_error().is_none() => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let bytes = metadata.len();
        if !self.is_settled(&slot, FileIdentity::of(&metadata))? {
            return Ok(None);
        }
        let rows = self.rows_of(&slot)?;
        let digest = self.digest_of(&slot, &file, bytes, &rows)?;
        Ok((digest == Some(row.sha256)).then_some((file, bytes)))
    }

    /// The newest row of a name, if all of its rows have this digest and its whole file is there.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn removable(
        &self,
        slot: &Slot,
        sha256: &Sha256Digest,
    ) -> io::Result<Option<Receipt>> {
        let mut rows = self.rows_of(slot)?;
        if rows.iter().any(|row| row.sha256 != *sha256) {
            return Ok(None);
        }
        let Some(row) = rows.pop() else {
            return Ok(None);
        };
        let is_here = self.whole_file(&row)?.is_some();
        Ok(is_here.then_some(row))
    }

    /// Removes the file of a row whose object is proven. A crash may bring it back; then it goes again.
    ///
    /// Errors: the disk's.
    pub(crate) fn remove_file(&self, row: &Receipt) -> io::Result<LocalRemoval> {
        let slot = row.slot();
        if self.removable(&slot, &row.sha256)?.is_none() {
            return Ok(LocalRemoval::Nothing);
        }
        let Some((file, bytes)) = self.whole_file(row)? else {
            return Ok(LocalRemoval::Nothing);
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(LocalRemoval::InUse),
            // A filesystem without locks: the open file of a download outlives its name.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let identity = FileIdentity::of(&file.metadata()?);
        if !self.is_settled(&slot, identity)? {
            return Ok(LocalRemoval::InUse);
        }
        durable::unlink(&self.layout.tarball(&slot))?;
        Ok(LocalRemoval::Removed(bytes))
    }
}
