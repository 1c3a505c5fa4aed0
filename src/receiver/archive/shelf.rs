//! What the archive needs of the store: the receiver lends it, so that the two rooms do not see each other.

use std::fs::File;
use std::io;

use crate::names::Sha256Digest;
use crate::receiver::local_file::{LocalFile, Removal};
use crate::wire::{Receipt, Slot};

/// A part of the index.
pub(crate) struct Rows {
    /// In the index's order.
    pub rows: Vec<Receipt>,
    /// Where the next part begins.
    pub next: u64,
}

/// The store as the archive sees it. All of it asks the disk.
pub(crate) trait Shelf: Send + Sync {
    /// Rows from a cursor on, none behind the last one; `None` if the cursor is none any more. Zero is the
    /// first row.
    fn rows(&self, cursor: u64) -> io::Result<Option<Rows>>;

    /// The stored file of a row, and its size.
    fn whole_file(&self, row: &Receipt) -> io::Result<LocalFile<(File, u64)>>;

    /// The row of this name and digest, if its file may be removed: it is the only digest of its name.
    fn removable(&self, slot: &Slot, sha256: &Sha256Digest) -> io::Result<LocalFile<Receipt>>;

    /// Removes the local file of a row.
    fn remove(&self, row: &Receipt) -> io::Result<Removal>;

    fn free_bytes(&self) -> io::Result<u64>;
}
