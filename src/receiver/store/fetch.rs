//! The file of a stored episode, opened to be sent to a reader: only one that a row is of, that is on the
//! disk for good, and that has the row's size.
//!
//! An upload that is still being synced may yet lose its name: its file is not given away. The file that
//! was opened is the one that is sent, whatever its name comes to mean.

use std::collections::HashSet;
use std::fs::File;
use std::io;

use super::{Store, stored_file};
use crate::durable;
use crate::file_identity::{FileIdentity, is_absent};
use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};

/// What there is of an episode that a reader asks for.
pub(crate) enum Fetched {
    Stored(StoredFile),
    /// No row, or the file is not on the disk yet.
    Unknown,
    /// Rows, oldest first, and no regular file; in words.
    Missing(Vec<Receipt>, String),
    /// The file has another size than its row; in words.
    Odd(String),
}

/// An open file of the store, and what its row says of it.
pub(crate) struct StoredFile {
    pub file: File,
    pub bytes: u64,
    pub sha256: Sha256Digest,
}

impl Store {
    /// Opens the file of an episode. Where rows of one name differ, its bytes may have to be read, so this
    /// is for plain threads only.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn fetch(&self, slot: &Slot) -> io::Result<Fetched> {
        let rows = self.rows_of(slot)?;
        let path = self.layout.tarball(slot);
        // Before the file is looked at: one that settles in between is whole, and has its row.
        if rows.is_empty() || self.commit_queue.is_in_flight(slot) {
            return Ok(Fetched::Unknown);
        }
        let file = match durable::open_regular(&path) {
            Err(error) if is_absent(&error) => {
                let why = "there is no file under its name".to_owned();
                return Ok(Fetched::Missing(rows, why));
            }
            // A link, a folder, a pipe: the system has no number for that.
            Err(error) if error.raw_os_error().is_none() => {
                return Ok(Fetched::Missing(rows, error.to_string()));
            }
            opened => opened?,
        };
        // Held until the download ends, so that the file keeps its name meanwhile. A removal that is under
        // way is waited for; a filesystem without locks has none to wait for.
        let _ = file.lock_shared();
        let metadata = file.metadata()?;
        if !self.is_settled(slot, FileIdentity::of(&metadata))? {
            if FileIdentity::at(&path)?.is_none() {
                let why = "its file was removed just now".to_owned();
                return Ok(Fetched::Missing(rows, why));
            }
            return Ok(Fetched::Unknown);
        }
        let bytes = metadata.len();
        let digest = self.digest_of(slot, &file, bytes, &rows)?;
        Ok(match digest {
            Some(sha256) => Fetched::Stored(StoredFile {
                file,
                bytes,
                sha256,
            }),
            None => Fetched::Odd(odd_size(bytes, &rows)),
        })
    }

    /// The digest of the row that the file is of: of the rows of its size the only one; where those
    /// differ, the file's own receipt says which, or its bytes do.
    pub(super) fn digest_of(
        &self,
        slot: &Slot,
        file: &File,
        bytes: u64,
        rows: &[Receipt],
    ) -> io::Result<Option<Sha256Digest>> {
        // A row of an older version may not know its size.
        let fits = |row: &&Receipt| row.bytes.is_none_or(|known| known == bytes);
        let digests: HashSet<_> = rows.iter().filter(fits).map(|row| row.sha256).collect();
        if digests.len() <= 1 {
            return Ok(digests.into_iter().next());
        }
        if let Some(own) = stored_file::carried_receipt(file, slot)?
            && digests.contains(&own.sha256)
        {
            return Ok(Some(own.sha256));
        }
        let found = stored_file::examine(&self.layout.tarball(slot), |_| ())?;
        let same = FileIdentity::of(&file.metadata()?);
        let found = found.filter(|found| found.identity == same && digests.contains(&found.sha256));
        Ok(found.map(|found| found.sha256))
    }
}

fn odd_size(bytes: u64, rows: &[Receipt]) -> String {
    let known: Vec<_> = rows.iter().filter_map(|row| row.bytes).collect();
    match known.last() {
        Some(last) if known.iter().all(|one| *one != bytes) => {
            format!("it has {bytes} bytes, and {last} in its row")
        }
        _ => "its bytes are those of none of its rows".to_owned(),
    }
}
