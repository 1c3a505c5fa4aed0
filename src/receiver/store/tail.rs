//! The end of `index.jsonl`: where the committer appends rows, and what a crash may leave there.
//!
//! 1. A row counts once [`Tail::sync`] and [`Tail::accept`] were called; until then it may be taken back.
//! 2. A torn end is copied to quarantine/ and synced before it is cut.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use super::layout::Layout;
use super::watch;
use crate::wire::Slot;
use crate::{durable, events};

/// The committer's side: where the next row goes. There is one in a process.
pub(crate) struct Tail {
    file: Arc<File>,
    /// Bytes of whole rows.
    pub length: u64,
    pub next_seq: u64,
    /// The largest number in it.
    pub last_seq: u64,
    syncer: Option<Syncer>,
}

/// A thread that syncs the index while the committer syncs directories. It is kept between batches, so
/// that no batch waits for a thread to start and to end.
struct Syncer {
    asks: SyncSender<()>,
    synced: Receiver<io::Result<()>>,
}

impl Tail {
    /// The end of an index that has `length` bytes of whole rows, `last_seq` being the largest number.
    pub(super) fn new(file: File, length: u64, last_seq: u64) -> Tail {
        Tail {
            file: Arc::new(file),
            length,
            next_seq: last_seq.saturating_add(1),
            last_seq,
            syncer: None,
        }
    }

    /// Whether the name of the index is still this file, as long as it was left, `appended` bytes being
    /// in it that were not accepted yet.
    ///
    /// Errors say what was done to the file or to its name.
    pub(crate) fn watch(&self, path: &Path, appended: u64) -> Result<(), String> {
        watch::compare(&self.file, self.length.saturating_add(appended), path)
    }

    /// Appends whole rows; they count once [`Tail::sync`] and [`Tail::accept`] were called.
    pub(crate) fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        durable::append(&self.file, rows)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        durable::sync_data(&self.file)
    }

    /// Starts the thread that syncs, whose priority is its starter's.
    pub(crate) fn start_syncer(&mut self) {
        self.syncer = Syncer::start(&self.file).ok();
    }

    /// [`Tail::sync`] side by side with `other`. Both are done, even if one fails.
    pub(crate) fn sync_beside(&mut self, other: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.syncer.is_none() {
            self.start_syncer();
        }
        let Some(syncer) = &self.syncer else {
            // The system has no thread for us now: one after the other does as well.
            return other().and_then(|()| self.sync());
        };
        let ended = |_| io::Error::other("the thread that syncs the index has ended");
        let asked = syncer.asks.send(()).map_err(|_| ended(mpsc::RecvError));
        let done = other();
        asked?;
        let synced = syncer.synced.recv().map_err(ended)?;
        done.and(synced)
    }

    /// `bytes` more at the end are rows on the disk.
    pub(crate) fn accept(&mut self, bytes: u64) {
        self.length += bytes;
    }

    /// All numbers before `next` are in rows on the disk, or will never be.
    pub(crate) fn number_on(&mut self, next: u64) {
        if self.next_seq < next {
            self.next_seq = next;
            self.last_seq = next - 1;
        }
    }

    /// Cuts what was appended since the last [`Tail::accept`].
    pub(crate) fn take_back(&self) -> io::Result<()> {
        durable::truncate(&self.file, self.length)
    }
}

impl Syncer {
    fn start(file: &Arc<File>) -> io::Result<Syncer> {
        let (asks, asked) = mpsc::sync_channel(1);
        let (tell, synced) = mpsc::sync_channel(1);
        let file = Arc::clone(file);
        let work = move || {
            while let Ok(()) = asked.recv() {
                if tell.send(durable::sync_data(&file)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("index sync".to_owned())
            .spawn(work)?;
        Ok(Syncer { asks, synced })
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
