//! An answer that a plain thread sends: a head, and bytes of files behind it, with others between them.

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
    /// What is to be sent before the next bytes of a file: first the head.
    ahead: Vec<u8>,
    /// How much of that the kernel has.
    ahead_given: usize,
    /// How many bytes the kernel has of all that came before `ahead`, and of all files.
    given: u64,
    /// How many of those are a file's.
    body_given: u64,
}

impl Outgoing {
    /// The head of `answer`, which says how long it is, or how its end is known. If it ends the connection,
    /// nothing that comes from the peer is a request from here on.
    pub(super) fn new(connection: Arc<Connection>, answer: Answer, closes: bool) -> Outgoing {
        if closes {
            connection.mark_dead();
        }
        Outgoing {
            connection,
            ahead: answer.to_bytes(false, closes),
            ahead_given: 0,
            given: 0,
            body_given: 0,
        }
    }

    pub(crate) fn peer(&self) -> IpAddr {
        self.connection.peer()
    }

    /// These bytes come before the next ones of a file.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.ahead_given == self.ahead.len() {
            self.given += self.ahead_given as u64;
            self.ahead_given = 0;
            self.ahead.clear();
        }
        self.ahead.extend_from_slice(bytes);
    }

    /// Gives the kernel what is left of the bytes that come before those of a file: at first the head. True if
    /// that was all.
    ///
    /// Errors: `WouldBlock` while the socket has no room; an earlier answer has not left; the peer is gone.
    pub(crate) fn send_ahead(&mut self) -> io::Result<bool> {
        self.send_left(Connection::write_ahead)
    }

    /// The same for bytes that no others follow.
    pub(crate) fn send_last(&mut self) -> io::Result<bool> {
        self.send_left(Connection::write_directly)
    }

    fn send_left(
        &mut self,
        write: fn(&Connection, &[u8]) -> io::Result<usize>,
    ) -> io::Result<bool> {
        let left = &self.ahead[self.ahead_given..];
        if !left.is_empty() {
            self.ahead_given += write(&self.connection, left)?;
        }
        Ok(self.ahead_given == self.ahead.len())
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
        self.given += count as u64;
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
        self.all_given() > 0
    }

    /// The kernel has all of it: nobody waits for the peer, which keeps its `pace`, and `settle` hears how it
    /// ended.
    pub(crate) fn leave(&self, pace: TakingPace, settle: Settle) {
        self.connection
            .leave_unsettled(Unsettled::new(self.body_given, pace, settle));
    }

    /// How many bytes the peer's kernel has acknowledged of all that was given; all of them where this kernel does
    /// not count.
    pub(crate) fn taken(&self) -> u64 {
        self.all_given().saturating_sub(self.unacked())
    }

    /// How many bytes of files the peer's kernel has acknowledged. Whatever is not acknowledged is taken for a
    /// file's: until all is, it may be more than this.
    pub(crate) fn body_taken(&self) -> u64 {
        self.body_given.saturating_sub(self.unacked())
    }

    fn all_given(&self) -> u64 {
        self.given + self.ahead_given as u64
    }

    fn unacked(&self) -> u64 {
        sys::unacked_bytes(self.connection.socket()).unwrap_or(0)
    }

    /// Whether all that was given is acknowledged, the head too.
    pub(crate) fn is_taken(&self) -> bool {
        self.unacked() == 0
    }

    /// Whether the connection is broken: its peer takes nothing any more.
    pub(crate) fn is_broken(&self) -> bool {
        !matches!(self.connection.socket().take_error(), Ok(None))
    }
}
