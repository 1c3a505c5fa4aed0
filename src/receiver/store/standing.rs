//! Whether an episode is stored under its name, judged by row and file: for a claim before its body comes,
//! and for a receipt that is asked for.
//!
//! 1. As a rule the file's size settles it: a row vouches for the rest, and a file without a row is
//!    read once the body is here.
//! 2. Rows of different digests are no work of ours: two indexes were merged by hand. Then the file is
//!    read, and its digest decides which of them is stored.

use std::collections::HashSet;
use std::fs;
use std::io;

use super::{Store, stored_file};
use crate::durable;
use crate::file_identity::{FileIdentity, is_absent};
use crate::receiver::Claim;
use crate::wire::{Receipt, Slot};

/// What row and file say of a claim's name.
#[derive(Debug)]
pub(crate) enum Standing {
    /// These bytes: row and file are there, and the file has the row's size.
    Stored(Box<Receipt>),
    /// Other bytes: by the row, by the file where rows differ, or by the size of a file without a row.
    Taken,
    /// These bytes by the row, and there is no file: they are in the archive, or lost.
    Absent(Box<Receipt>),
    /// Nothing that settles it before the bytes are here.
    Free,
}

/// A file at one look.
#[derive(Clone, Copy)]
struct FoundFile {
    identity: FileIdentity,
    bytes: u64,
}

impl Store {
    /// Compares the claim with row and file of its name. Reads the file where rows differ, so for plain
    /// threads only.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn standing(&self, claim: &Claim) -> io::Result<Standing> {
        let rows = self.rows_of(&claim.slot)?;
        let file = self.file_at(&claim.slot)?;
        let file_bytes = file.map(|found| found.bytes);
        if rows.is_empty() {
            return self.standing_without_row(claim, file_bytes);
        }
        if differ(&rows) && file.is_some() {
            return self.standing_by_bytes(claim, rows);
        }
        let ours = rows.into_iter().rfind(|row| row.sha256 == claim.sha256);
        let Some(row) = ours else {
            return Ok(Standing::Taken);
        };
        let bytes = row.bytes.unwrap_or(claim.bytes);
        if let Some(found) = file
            && found.bytes == bytes
            && claim.bytes == bytes
            && self.is_settled(&claim.slot, found.identity)?
        {
            return Ok(Standing::Stored(Box::new(row)));
        }
        if file.is_none() && claim.bytes == bytes {
            return Ok(Standing::Absent(Box::new(row)));
        }
        Ok(Standing::Free)
    }

    /// The receipt of a slot: its newest row. `None` if its file is gone, or is not on the disk yet.
    ///
    /// Errors: index or file cannot be read.
    pub(crate) fn receipt(&self, slot: &Slot) -> io::Result<Option<Receipt>> {
        let Some(row) = self.rows_of(slot)?.pop() else {
            return Ok(None);
        };
        let Some(found) = self.file_at(slot)? else {
            return Ok(None);
        };
        let is_stored = self.is_settled(slot, found.identity)?;
        Ok(is_stored.then_some(row))
    }

    /// Whether the file that was seen under the name is on the disk, and not one that another upload
    /// has linked again for an old row and is still syncing: that may be gone in an instant. Then the
    /// bytes are received, and share that upload's fate.
    pub(super) fn is_settled(&self, slot: &Slot, seen: FileIdentity) -> io::Result<bool> {
        if self.commit_queue.is_in_flight(slot) {
            return Ok(false);
        }
        // Another file than the one that was seen may have come in flight and settled, or failed.
        let now = self.file_at(slot)?;
        Ok(now.is_some_and(|found| found.identity == seen))
    }

    /// A file of another size holds the name, unless its own receipt says that it is a damaged copy of
    /// the very bytes that are offered, or it is in flight.
    fn standing_without_row(&self, claim: &Claim, file_bytes: Option<u64>) -> io::Result<Standing> {
        if file_bytes.is_none_or(|bytes| bytes == claim.bytes) {
            return Ok(Standing::Free);
        }
        let file = match durable::open_regular(&self.layout.tarball(&claim.slot)) {
            // Gone since the first look: the committer looks again.
            Err(error) if is_absent(&error) => return Ok(Standing::Free),
            opened => opened?,
        };
        let own = stored_file::own_receipt(&file, &claim.slot)?;
        let is_ours = own.is_some_and(|own| own.sha256 == claim.sha256);
        // A file in flight may yet lose its name: the bytes are received, and share its fate.
        Ok(if is_ours || self.commit_queue.is_in_flight(&claim.slot) {
            Standing::Free
        } else {
            Standing::Taken
        })
    }

    fn standing_by_bytes(&self, claim: &Claim, rows: Vec<Receipt>) -> io::Result<Standing> {
        let tarball = self.layout.tarball(&claim.slot);
        let Some(found) = stored_file::examine(&tarball, |_| ())? else {
            return Ok(Standing::Free); // gone in this instant: the committer looks again
        };
        let is_of_a_row = rows.iter().any(|row| row.sha256 == found.sha256);
        let ours = rows.into_iter().rfind(|row| row.sha256 == claim.sha256);
        Ok(match ours {
            Some(row) if found.sha256 == claim.sha256 => {
                if self.is_settled(&claim.slot, found.identity)? {
                    Standing::Stored(Box::new(row))
                } else {
                    Standing::Free
                }
            }
            // A file that no row is of is damaged, and gives way to bytes that a row is of.
            Some(_) if !is_of_a_row => Standing::Free,
            _ => Standing::Taken,
        })
    }

    /// The regular file under the name of a slot.
    fn file_at(&self, slot: &Slot) -> io::Result<Option<FoundFile>> {
        match fs::symlink_metadata(self.layout.tarball(slot)) {
            Ok(metadata) => Ok(metadata.is_file().then(|| FoundFile {
                identity: FileIdentity::of(&metadata),
                bytes: metadata.len(),
            })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The rows of a slot, oldest first. An index that cannot be read is a fault of the whole store.
    pub(crate) fn rows_of(&self, slot: &Slot) -> io::Result<Vec<Receipt>> {
        self.index
            .rows_of(slot)
            .inspect_err(|error| self.condition.failed("read the index", error))
    }
}

fn differ(rows: &[Receipt]) -> bool {
    let digests: HashSet<_> = rows.iter().map(|row| row.sha256).collect();
    1 < digests.len()
}
