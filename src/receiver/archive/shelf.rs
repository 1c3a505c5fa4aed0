//! What the archive needs of the store: the receiver lends it, so that the two rooms do not see each other.

use std::fs::File;
use std::io;

use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};

/// A part of the index.
pub(crate) struct Rows {
    /// In the index's order.
    pub rows: Vec<Receipt>,
    /// Where the next part begins.
    pub next: u64,
}

/// What came of removing a local file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is gone, and so many bytes are free.
    Removed(u64),
    /// An upload or a download has it: later.
    InUse,
    /// There is no such file, or one that is not to be removed.
    Nothing,
}

/// The store as the archive sees it. All of it asks the disk.
pub(crate) trait Shelf: Send + Sync {
    /// Rows from a cursor on, none behind the last one; `None` if the cursor is none any more. Zero is the
    /// first row.
    fn rows(&self, cursor: u64) -> io::Result<Option<Rows>>;

    /// The whole stored file of a row, and its size; `None` if it is not there, or not settled yet.
    fn whole_file(&self, row: &Receipt) -> io::Result<Option<(File, u64)>>;

    /// The row of this name and digest, if it is the only digest of its name and its whole file is there.
    fn removable(&self, slot: &Slot, sha256: &Sha256Digest) -> io::Result<Option<Receipt>>;

    /// Removes the local file of a row.
    fn remove(&self, row: &Receipt) -> io::Result<Removal>;

    fn free_bytes(&self) -> io::Result<u64>;
}
