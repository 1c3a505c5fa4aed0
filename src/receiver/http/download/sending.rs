//! The bytes of a file on their way to a reader, on a plain thread: the kernel copies them from the page
//! cache into the socket (`sendfile`).
//!
//! 1. A file that ends early ends the answer early: nothing is made up for its bytes.
//! 2. A peer is judged by what its kernel has acknowledged, not by what ours holds for it: megabytes may
//!    lie in the socket. So a download ends only when all was acknowledged, and the log says what the reader
//!    has. A thread waits for that; but the last bytes of a small file are left to the connection
//!    (`guard`), which finds out.
//! 3. What a large file leaves in the page cache is given back behind the sending. Pages in the socket
//!    cannot be given back, so this too goes by what was acknowledged.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::outcome::Outcome;
use crate::receiver::http::guard::{Outgoing, Settle};
use crate::receiver::http::pace::{PaceLimits, TakingPace};
use crate::sys;

/// The most that one call sends, so that a fast peer and a fast disk are looked at now and then.
const CALL_BYTES_MAX: u64 = 2 << 20;
/// How much is sent before its pages are given back.
const FORGET_EVERY: u64 = 8 << 20;
/// Whole pages, however large they are on the machine: 4 to 64 KiB.
const PAGES: u64 = 64 << 10;
/// A file of at most so many bytes stays in the page cache: it is as soon read again, and no burden.
const SMALL: u64 = 1 << 20;
/// How long one wait for the peer may be: so often its pace is judged.
const LOOK: Duration = Duration::from_millis(250);
/// The waits for the last bytes to be acknowledged, of which no call tells: from the first to the longest.
const LAST_WAIT: Duration = Duration::from_micros(200);
const LAST_WAIT_MAX: Duration = Duration::from_millis(50);

/// The bytes of one file on their way.
pub(super) struct Sending {
    to: ToPeer,
    file: File,
    file_bytes: u64,
    part: Range<u64>,
    /// The next byte for the kernel.
    offset: u64,
    /// From here on the file may still be in the page cache on our account.
    kept_from: u64,
}

/// An answer on its way, and how fast its peer takes it.
pub(super) struct ToPeer {
    pub outgoing: Outgoing,
    pace: TakingPace,
}

impl ToPeer {
    pub(super) fn new(outgoing: Outgoing, limits: PaceLimits) -> ToPeer {
        ToPeer {
            outgoing,
            pace: TakingPace::new(limits),
        }
    }

    /// Waits until the socket has room, for a while.
    ///
    /// Errors: what ends the answer early.
    pub(super) fn await_room(&mut self) -> Result<(), Outcome> {
        let began = Instant::now();
        let waited = self.outgoing.wait(LOOK);
        waited.map_err(|_| Outcome::PeerGone)?;
        self.judge(began.elapsed())
    }

    /// Waits until the peer has all that was sent.
    ///
    /// Errors: what ends the answer early.
    pub(super) fn await_the_peer(&mut self) -> Result<(), Outcome> {
        let mut wait = LAST_WAIT;
        while !self.outgoing.is_taken() {
            if self.outgoing.is_broken() {
                return Err(Outcome::PeerGone);
            }
            thread::sleep(wait);
            self.judge(wait)?;
            wait = (wait * 2).min(LAST_WAIT_MAX);
        }
        Ok(())
    }

    /// The peer was waited for.
    fn judge(&mut self, waited: Duration) -> Result<(), Outcome> {
        if self.pace.is_kept(waited, self.outgoing.taken()) {
            Ok(())
        } else {
            Err(Outcome::TooSlow)
        }
    }
}

impl Sending {
    /// `part` is what is sent of the file, which has `file_bytes`.
    pub(super) fn new(to: ToPeer, file: File, file_bytes: u64, part: Range<u64>) -> Sending {
        Sending {
            to,
            file,
            file_bytes,
            offset: part.start,
            kept_from: part.start,
            part,
        }
    }

    /// Sends all of it, and waits until the peer has it; how that ended.
    pub(super) fn run(&mut self) -> Outcome {
        let sent = self.send().and_then(|()| self.to.await_the_peer());
        self.forget_the_rest();
        sent.err().unwrap_or(Outcome::Complete)
    }

    /// How many bytes of the part the peer has.
    pub(super) fn taken(&self) -> u64 {
        self.to.outgoing.body_taken()
    }

    /// Whether the kernel has something of it already.
    pub(super) fn has_begun(&self) -> bool {
        self.to.outgoing.has_begun()
    }

    /// Nobody waits for the peer to have all of it: `settle` hears how that ended.
    pub(super) fn leave(self, settle: Settle) {
        self.to.outgoing.leave(self.to.pace, settle);
    }

    /// Gives the kernel what it has room for. True if that was all.
    ///
    /// Errors: what has ended it early.
    pub(super) fn send_at_once(&mut self) -> Result<bool, Outcome> {
        while self.offset < self.part.end {
            match self.write() {
                Ok(()) => {}
                Err(error) if has_no_room(&error)? => return Ok(false),
                Err(_) => {}
            }
        }
        Ok(true)
    }

    /// Writes once: what is left of the head, and then bytes of the file.
    fn write(&mut self) -> io::Result<()> {
        let outgoing = &mut self.to.outgoing;
        if !outgoing.send_ahead()? {
            return Ok(());
        }
        let most = (self.part.end - self.offset).min(CALL_BYTES_MAX);
        let sent = outgoing.send_file(&self.file, &mut self.offset, most as usize)?;
        if sent == 0 {
            // The file ends before its row does.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.forget_what_was_taken();
        Ok(())
    }

    fn send(&mut self) -> Result<(), Outcome> {
        sys::read_in_order(&self.file);
        while !self.send_at_once()? {
            self.to.await_room()?;
        }
        Ok(())
    }

    fn forget_what_was_taken(&mut self) {
        if self.file_bytes <= SMALL {
            return;
        }
        let taken = self.part.start + self.to.outgoing.body_taken();
        if taken - self.kept_from >= FORGET_EVERY {
            // Only whole pages are given back, and the last one may be half taken.
            let end = taken - taken % PAGES;
            sys::forget_cached_part(&self.file, self.kept_from, end - self.kept_from);
            self.kept_from = end;
        }
    }

    /// What was read ahead too.
    fn forget_the_rest(&self) {
        if self.file_bytes > SMALL {
            sys::forget_cached_part(&self.file, self.kept_from, 0);
        }
    }
}

/// Whether a call that failed has to wait for room in the socket. False: it may be made again at once.
///
/// Errors: what ends the answer early.
pub(super) fn has_no_room(error: &io::Error) -> Result<bool, Outcome> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(true),
        io::ErrorKind::Interrupted => Ok(false),
        _ if is_the_files(error) => Err(Outcome::FileChanged),
        _ => Err(Outcome::PeerGone),
    }
}

/// Whether an error is about the file (of its disk, or of its filesystem) and not about the socket.
fn is_the_files(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || matches!(
            error.raw_os_error(),
            Some(libc::EIO | libc::ESTALE | libc::EUCLEAN | libc::ENODATA)
        )
}
