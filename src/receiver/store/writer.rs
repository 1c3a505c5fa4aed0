//! Bytes on their way into `incoming/X`, in order.
//!
//! A small body is written by the thread that receives it, which lets the kernel begin to write each
//! whole block to the disk; only the fsync says that it is there. For a large one a second thread writes
//! behind, so that the socket and the hash never wait for the disk, and past the page cache where
//! the filesystem lets us: the copy into it is what binds large bodies, and it would push
//! everything else out of a Pi's memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use super::buffers::{Block, LARGE_BYTES};
use super::space::Promise;
use crate::{durable, sys};

/// From here on a thread of its own is worth its start.
const LARGE_BODY_BYTES: u64 = 4 << 20;

/// Blocks that wait for the writing thread, besides the one that it writes and the one that is filled.
const WAITING_BLOCKS: usize = 1;

/// Whether a body of this length is written behind, in large blocks.
pub fn is_large(body_bytes: u64) -> bool {
    body_bytes >= LARGE_BODY_BYTES
}

/// Where blocks go.
pub enum Writer {
    Here(Sink),
    Behind {
        blocks: SyncSender<Filled>,
        thread: JoinHandle<io::Result<()>>,
    },
    /// It failed, and the error was handed out.
    Broken,
}

/// A block and the part of it that counts.
pub struct Filled {
    pub block: Block,
    pub length: usize,
}

impl Filled {
    pub fn bytes(&self) -> &[u8] {
        &self.block.as_slice()[..self.length]
    }
}

impl Writer {
    /// For a body of `body_bytes` into the new, empty `file` at `path`.
    ///
    /// Errors: the system gave no thread.
    pub fn new(
        file: Arc<File>,
        path: &Path,
        body_bytes: u64,
        promise: Promise,
    ) -> io::Result<Writer> {
        let mut sink = Sink {
            file,
            direct: None,
            offset: 0,
            promise,
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
    pub fn write(&mut self, filled: Filled) -> io::Result<Option<Filled>> {
        match self {
            Writer::Here(sink) => {
                sink.write(&filled)?;
                // The disk writes it while it is hashed. Not what a slow sender leaves of a block:
                // that is rather written with the rest.
                if filled.length == filled.block.bytes() {
                    sys::begin_writeback(&sink.file);
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
    pub fn finish(&mut self) -> io::Result<()> {
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
    File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
}

/// The file, and how far it is written.
pub struct Sink {
    file: Arc<File>,
    /// The same file, past the page cache; `None` where that does not work.
    direct: Option<File>,
    offset: u64,
    promise: Promise,
}

impl Sink {
    fn write(&mut self, filled: &Filled) -> io::Result<()> {
        let bytes = filled.bytes();
        if !self.write_direct(bytes)? {
            durable::write_at(&self.file, bytes, self.offset)?;
        }
        self.offset += bytes.len() as u64;
        self.promise.keep(bytes.len() as u64);
        Ok(())
    }

    /// False if these bytes must be written the ordinary way: not a whole block in its place, as the
    /// tail, or a filesystem that cannot.
    fn write_direct(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let whole = bytes.len() == LARGE_BYTES && self.offset.is_multiple_of(LARGE_BYTES as u64);
        let Some(direct) = self.direct.as_ref().filter(|_| whole) else {
            return Ok(false);
        };
        match durable::write_at(direct, bytes, self.offset) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.direct = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
