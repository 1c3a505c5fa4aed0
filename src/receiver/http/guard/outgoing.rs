//! An answer that a plain thread sends: a head, and bytes of a file behind it.

use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::Answer;
use super::connection::Connection;
use super::connection::unsettled::{Settle, Unsettled};
use crate::receiver::http::pace::TakingPace;
use crate::sys::{self, Direction};

/// The bytes of one write where the kernel does not copy by itself.
const COPY_BYTES_MAX: usize = 64 << 10;

/// An answer on its way to the peer: first the head, which is not sent before the answers to earlier
/// requests have left, and then the bytes behind it, one at least. While it is, the coroutine of the
/// connection waits, and answers with `Reply::Sent` when it has ended.
pub(crate) struct Outgoing {
    connection: Arc<Connection>,
    head: Vec<u8>,
    /// How much of the head the kernel has.
    head_given: usize,
    /// How many bytes of the file the kernel has.
    body_given: u64,
}

impl Outgoing {
    /// The head of `answer`, which states its length. If it ends the connection, nothing that comes from
    /// the peer is a request from here on.
    pub(super) fn new(connection: Arc<Connection>, answer: Answer, closes: bool) -> Outgoing {
        if closes {
            connection.mark_dead();
        }
        Outgoing {
            connection,
            head: answer.to_bytes(false, closes),
            head_given: 0,
            body_given: 0,
        }
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.connection.peer()
    }

    /// Gives the kernel what is left of the head. True if that was all.
    ///
    /// Errors: `WouldBlock` while the socket has no room; an earlier answer has not left; the peer is gone.
    pub(crate) fn send_head(&mut self) -> io::Result<bool> {
        let left = &self.head[self.head_given..];
        if !left.is_empty() {
            self.head_given += self.connection.write_ahead(left)?;
        }
        Ok(self.head_given == self.head.len())
    }

    /// Gives the kernel at most `most` bytes of `file`, from `offset` on, and moves `offset` behind them;
    /// how many bytes that was. 0 if the file has none there.
    ///
    /// Errors: `WouldBlock` while the socket has no room; the peer is gone; the file cannot be read.
    pub(crate) fn send_file(
        &mut self,
        file: &File,
        offset: &mut u64,
        most: usize,
    ) -> io::Result<usize> {
        let count = match sys::send_file(self.connection.socket(), file, offset, most) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.copy(file, offset, most)?
            }
            sent => sent?,
        };
        self.connection.note_written(count as u64);
        self.body_given += count as u64;
        Ok(count)
    }

    /// The same by hand: some filesystems know no `sendfile`.
    fn copy(&self, file: &File, offset: &mut u64, most: usize) -> io::Result<usize> {
        let mut block = vec![0; most.min(COPY_BYTES_MAX)];
        let count = file.read_at(&mut block, *offset)?;
        if count == 0 {
            return Ok(0);
        }
        let mut socket = self.connection.socket();
        let written = socket.write(&block[..count])?;
        *offset += written as u64;
        Ok(written)
    }

    /// Waits until the socket has room. False if `patience` is over before that.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<bool> {
        sys::wait_socket(self.connection.socket(), Direction::Writable, patience)
    }

    /// Whether the kernel has something of it.
    pub(crate) fn has_begun(&self) -> bool {
        self.head_given > 0
    }

    /// The kernel has all of it: nobody waits for the peer, which keeps its `pace`, and `settle` hears how it
    /// ended.
    pub(crate) fn leave(&self, pace: TakingPace, settle: Settle) {
        self.connection
            .leave_unsettled(Unsettled::new(self.body_given, pace, settle));
    }

    /// How many bytes of the file the peer's kernel has acknowledged; all that was given where this
    /// kernel does not count.
    pub(crate) fn taken(&self) -> u64 {
        let unacked = sys::unacked_bytes(self.connection.socket()).unwrap_or(0);
        self.body_given.saturating_sub(unacked)
    }

    /// Whether all that was given is acknowledged, the head too.
    pub(crate) fn is_taken(&self) -> bool {
        sys::unacked_bytes(self.connection.socket()).unwrap_or(0) == 0
    }

    /// Whether the connection is broken: its peer takes nothing any more.
    pub(crate) fn is_broken(&self) -> bool {
        !matches!(self.connection.socket().take_error(), Ok(None))
    }
}
