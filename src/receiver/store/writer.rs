//! Bytes on their way into `incoming/X`, in order.
//!
//!     in one block   by the thread that receives it, which lets the kernel begin to write them to the disk
//!     small          by that thread, which does the same with each whole block
//!     large          by a second thread behind it, past the page cache, so that the socket and the
//!                    hash never wait for the disk
//!
//! Only the fsync proves that the bytes are on the disk. Where the filesystem has no direct I/O, large
//! bodies go through the page cache, too. The copy into it binds them, and pushes everything else out of
//! a Pi's memory.
//!
//! A body in one block is written out before its file is linked (by `Upload`). Otherwise ext4 gives the file
//! its blocks at the fsync, in another commit of its journal than that of the name, which the sync of the
//! directory may have begun by then: one sender got through half as many on a disk with an SD card's flush.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use super::buffers::{Block, LARGE_BYTES, SMALL_BYTES};
use super::space::Reservation;
use crate::{durable, sys};

/// From this length on a body is worth the start of a writing thread.
const LARGE_BODY_BYTES: u64 = 4 << 20;

/// Blocks that wait for the writing thread, besides the one that it writes and the one that is filled.
const WAITING_BLOCKS: usize = 1;

/// Whether a body of this length is written behind, in large blocks.
pub(super) fn is_large(body_bytes: u64) -> bool {
    body_bytes >= LARGE_BODY_BYTES
}

/// Whether a body of this length fits one block. It is written when all of it is here, unless its
/// sender is slow, and it is linked before it is synced: see `committer`.
pub(super) fn is_small(body_bytes: u64) -> bool {
    body_bytes <= SMALL_BYTES as u64
}

/// Whether bytes of such a body, of which `received` are here with them, are hashed as they come.
///
/// The others are hashed once they are written. In a body that fits one block these are its last bytes:
/// before them the thread waits for the peer, and has time to hash.
pub(super) fn is_hashed_as_it_comes(body_bytes: u64, received: u64) -> bool {
    is_large(body_bytes) || (is_small(body_bytes) && received < body_bytes)
}

const _: () = assert!((SMALL_BYTES as u64) < LARGE_BODY_BYTES);

/// Where blocks go.
pub(super) enum Writer {
    Here(Sink),
    Behind {
        blocks: SyncSender<Filled>,
        thread: JoinHandle<io::Result<()>>,
    },
    /// It failed, and the error was handed out.
    Broken,
}

/// A block and the part of it that counts.
pub(super) struct Filled {
    pub block: Block,
    pub length: usize,
}

impl Filled {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.block.as_slice()[..self.length]
    }
}

impl Writer {
    /// For a body of `body_bytes` into the `file` at `path`, which has its first `offset` bytes already.
    ///
    /// Errors: the system gave no thread.
    pub(super) fn new(
        file: Arc<File>,
        path: &Path,
        body_bytes: u64,
        offset: u64,
        reservation: Reservation,
    ) -> io::Result<Writer> {
        let mut sink = Sink {
            file,
            direct: None,
            offset,
            body_bytes,
            reservation,
        };
        if !is_large(body_bytes) {
            return Ok(Writer::Here(sink));
        }
        // Not every filesystem has direct I/O; buffered writing does the same, more slowly.
        sink.direct = open_direct(path).ok();
        let (blocks, received) = mpsc::sync_channel::<Filled>(WAITING_BLOCKS);
        let body = move || {
            received
                .into_iter()
                .try_for_each(|filled| sink.write(&filled))
        };
        let thread = thread::Builder::new()
            .name("writer".to_owned())
            .spawn(body)?;
        Ok(Writer::Behind { blocks, thread })
    }

    /// Writes a block and gives it back, or hands it over to be written. An error may be of an
    /// earlier one.
    pub(super) fn write(&mut self, filled: Filled) -> io::Result<Option<Filled>> {
        match self {
            Writer::Here(sink) => {
                sink.write(&filled)?;
                // A part of a block of a body that has several is left to the final fsync.
                let is_whole = if is_small(sink.body_bytes) {
                    sink.offset == sink.body_bytes
                } else {
                    filled.length == filled.block.bytes()
                };
                if is_whole {
                    sys::begin_writeback(&sink.file)?;
                }
                Ok(Some(filled))
            }
            Writer::Behind { blocks, .. } => match blocks.send(filled) {
                Ok(()) => Ok(None),
                // The thread has ended, which before the end means that it failed.
                Err(_) => self.finish().and(Err(broken())),
            },
            Writer::Broken => Err(broken()),
        }
    }

    /// Waits until all that was handed over is written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(self, Writer::Broken) {
            Writer::Behind { blocks, thread } => {
                drop(blocks);
                thread.join().unwrap_or_else(|_| Err(broken()))
            }
            Writer::Here(_) => Ok(()),
            Writer::Broken => Err(broken()),
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the writing thread failed")
}

fn open_direct(path: &Path) -> io::Result<File> {
    durable::open_regular_flagged(path, File::options().write(true), libc::O_DIRECT)
}

/// The file, and how far it is written.
pub(super) struct Sink {
    file: Arc<File>,
    /// The same file, past the page cache; `None` where that does not work.
    direct: Option<File>,
    offset: u64,
    /// The length of the whole body.
    body_bytes: u64,
    reservation: Reservation,
}

/// Whether the filesystem has no direct I/O, or not for such a piece.
fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

impl Sink {
    fn write(&mut self, filled: &Filled) -> io::Result<()> {
        let bytes = filled.bytes();
        if !self.write_direct(bytes)? {
            durable::write_at(&self.file, bytes, self.offset)?;
        }
        self.written(bytes.len() as u64);
        Ok(())
    }

    fn written(&mut self, bytes: u64) {
        self.offset += bytes;
        self.reservation.keep(bytes);
    }

    /// False if these bytes must be written the ordinary way: not a whole block in its place, as the
    /// tail, or a filesystem that cannot.
    fn write_direct(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let is_whole = bytes.len() == LARGE_BYTES && self.offset.is_multiple_of(LARGE_BYTES as u64);
        if !is_whole {
            return Ok(false);
        }
        let Some(direct) = &self.direct else {
            return Ok(false);
        };
        match durable::write_at(direct, bytes, self.offset) {
            Ok(()) => Ok(true),
            Err(error) if is_refused(&error) => {
                self.direct = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
