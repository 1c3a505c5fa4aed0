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
use crate::receiver::local_file::{LocalFile, Removal};
use crate::wire::{Receipt, Slot};

impl Store {
    /// The stored file of a row, and its size.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn whole_file(&self, row: &Receipt) -> io::Result<LocalFile<(File, u64)>> {
        let slot = row.slot();
        let file = match durable::open_regular(&self.layout.tarball(&slot)) {
            Err(error) if is_absent(&error) => return Ok(LocalFile::Nothing),
            // A link, a folder, a pipe: the system has no number for that.
            Err(error) if error.raw_os_error().is_none() => return Ok(LocalFile::Nothing),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let bytes = metadata.len();
        if !self.is_settled(&slot, FileIdentity::of(&metadata))? {
            return Ok(LocalFile::InFlight);
        }
        let rows = self.rows_of(&slot)?;
        let digest = self.digest_of(&slot, &file, bytes, &rows)?;
        Ok(if digest == Some(row.sha256) {
            LocalFile::Whole((file, bytes))
        } else {
            LocalFile::Nothing
        })
    }

    /// The newest row of a name, if its file may be removed: all of its rows have this digest.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn removable(
        &self,
        slot: &Slot,
        sha256: &Sha256Digest,
    ) -> io::Result<LocalFile<Receipt>> {
        Ok(self.removable_file(slot, sha256)?.map(|(row, ..)| row))
    }

    fn removable_file(
        &self,
        slot: &Slot,
        sha256: &Sha256Digest,
    ) -> io::Result<LocalFile<(Receipt, File, u64)>> {
        let mut rows = self.rows_of(slot)?;
        if rows.iter().any(|row| row.sha256 != *sha256) {
            return Ok(LocalFile::Nothing);
        }
        let Some(row) = rows.pop() else {
            return Ok(LocalFile::Nothing);
        };
        let whole = self.whole_file(&row)?;
        Ok(whole.map(|(file, bytes)| (row, file, bytes)))
    }

    /// Removes the file of a row whose object is proven. A crash may bring it back; then it goes again.
    ///
    /// Errors: the disk's.
    pub(crate) fn remove_file(&self, row: &Receipt) -> io::Result<Removal> {
        let slot = row.slot();
        let (file, bytes) = match self.removable_file(&slot, &row.sha256)? {
            LocalFile::Whole((_, file, bytes)) => (file, bytes),
            LocalFile::InFlight => return Ok(Removal::InUse),
            LocalFile::Nothing => return Ok(Removal::Nothing),
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(Removal::InUse),
            // A filesystem without locks: the open file of a download outlives its name.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        let identity = FileIdentity::of(&file.metadata()?);
        if !self.is_settled(&slot, identity)? {
            return Ok(Removal::InUse);
        }
        durable::unlink(&self.layout.tarball(&slot))?;
        Ok(Removal::Removed(bytes))
    }
}
