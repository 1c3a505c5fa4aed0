//! The end of `index.jsonl`: where the committer appends rows, and what a crash may leave there.
//!
//! 1. An appended row counts once a sync has covered it and [`Tail::accept`] was called; until then it
//!    may be cut off again.
//! 2. A torn end is copied to quarantine/ and synced before it is cut.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::Layout;
use super::watch;
use crate::wire::Slot;
use crate::{durable, events};

/// The committer's side of the index: where the next row goes. There is one in a process.
pub(crate) struct Tail {
    file: Arc<File>,
    /// Bytes of whole rows that are on the disk.
    pub length: u64,
    /// Bytes of whole rows that a reader of the list may see: each is on the disk, and so is its file.
    shown: Arc<AtomicU64>,
    /// Bytes of whole rows, those included that are not synced yet.
    pub end: u64,
    pub next_seq: u64,
    /// The largest number in a row that is on the disk.
    pub last_seq: u64,
}

impl Tail {
    /// The end of an index that has `length` bytes of whole rows, all on the disk, `last_seq` being the
    /// largest number.
    pub(super) fn new(file: File, length: u64, last_seq: u64) -> Tail {
        Tail {
            file: Arc::new(file),
            length,
            shown: Arc::new(AtomicU64::new(length)),
            end: length,
            next_seq: last_seq.saturating_add(1),
            last_seq,
        }
    }

    /// The open index, for a thread that syncs it.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Where the length of what is shown can be read while rows are appended. It never becomes less.
    pub(super) fn shown(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shown)
    }

    /// Whether the name of the index is still this file, and as long as the rows that were appended.
    ///
    /// Errors say what was done to the file or to its name.
    pub(crate) fn watch(&self, path: &Path) -> Result<(), String> {
        watch::compare(&self.file, self.end, path)
    }

    /// Appends whole rows. `next_seq` is behind all of their numbers.
    ///
    /// Errors: a part of them may be there; see [`Tail::cut_to_end`].
    pub(crate) fn append(&mut self, rows: &[u8], next_seq: u64) -> io::Result<()> {
        durable::append(&self.file, rows)?;
        self.end += rows.len() as u64;
        self.next_seq = self.next_seq.max(next_seq);
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        durable::sync_data(&self.file)
    }

    /// A sync has covered a row that ends at `end` and has this number, and so all rows before it. The
    /// file of the row at `first_unsettled`, if there is one, may still be lost: that row is not shown.
    pub(crate) fn accept(&mut self, end: u64, seq: u64, first_unsettled: Option<u64>) {
        self.length = self.length.max(end);
        self.last_seq = self.last_seq.max(seq);
        let shown = first_unsettled.map_or(self.length, |offset| offset.min(self.length));
        self.shown.store(shown, Ordering::Release);
    }

    /// Cuts what a failed append has left.
    pub(crate) fn cut_to_end(&self) -> io::Result<()> {
        durable::truncate(&self.file, self.end)
    }

    /// Whether the file is longer than our rows, or cannot be looked at.
    pub(crate) fn has_bytes_of_others(&self) -> bool {
        self.file
            .metadata()
            .map_or(true, |found| self.end < found.len())
    }

    /// Cuts every row that is not known to be on the disk, for an end into recovery. A file that is
    /// shorter stays so.
    pub(crate) fn cut_to_synced(&mut self) -> io::Result<()> {
        if self.length < self.file.metadata()?.len() {
            durable::truncate(&self.file, self.length)?;
        }
        self.end = self.length;
        Ok(())
    }
}

/// Cuts the index back to its whole rows, keeping a copy of the rest.
///
///     create(quarantine)  write  fsync file  fsync dir  truncate(index)
pub(super) fn cut_torn(
    layout: &Layout,
    index: &File,
    sound_length: u64,
    length: u64,
    torn_row: Option<&Slot>,
) -> io::Result<()> {
    let (kept_as, kept) = layout.new_in_quarantine("index.jsonl.tail")?;
    if let Err(error) = copy(index, sound_length..length, &kept) {
        // A disk without room is tried again and again, and each copy begun would stay.
        let _ = durable::unlink(&kept_as);
        return Err(error);
    }
    durable::sync_dir(&layout.quarantine())?;
    durable::truncate(index, sound_length)?;
    events::index_tail_cut(length - sound_length, &kept_as, torn_row);
    Ok(())
}

/// Copies a part of the index to a file, and that to the disk.
fn copy(index: &File, part: Range<u64>, to: &File) -> io::Result<()> {
    let mut block = vec![0; 64 << 10];
    let mut offset = part.start;
    while offset < part.end {
        let count = index.read_at(&mut block, offset)?;
        if count == 0 {
            break;
        }
        durable::write_at(to, &block[..count], offset - part.start)?;
        offset += count as u64;
    }
    durable::sync_file(to)
}
