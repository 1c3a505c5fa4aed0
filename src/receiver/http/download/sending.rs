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

/// One answer on its way.
pub(super) struct Sending {
    outgoing: Outgoing,
    file: File,
    file_bytes: u64,
    part: Range<u64>,
    /// The next byte for the kernel.
    offset: u64,
    /// From here on the file may still be in the page cache on our account.
    kept_from: u64,
    pace: TakingPace,
}

impl Sending {
    /// `part` is what is sent of the file, which has `file_bytes`.
    pub(super) fn new(
        outgoing: Outgoing,
        file: File,
        file_bytes: u64,
        part: Range<u64>,
        limits: PaceLimits,
    ) -> Sending {
        Sending {
            outgoing,
            file,
            file_bytes,
            offset: part.start,
            kept_from: part.start,
            part,
            pace: TakingPace::new(limits),
        }
    }

    /// Sends all of it, and waits until the peer has it; how that ended.
    pub(super) fn run(&mut self) -> Outcome {
        let sent = self.send().and_then(|()| self.await_the_peer());
        self.forget_the_rest();
        sent.err().unwrap_or(Outcome::Complete)
    }

    /// How many bytes of the part the peer has.
    pub(super) fn taken(&self) -> u64 {
        self.outgoing.taken()
    }

    /// Whether the kernel has something of it already.
    pub(super) fn has_begun(&self) -> bool {
        self.outgoing.has_begun()
    }

    /// Nobody waits for the peer to have all of it: `settle` hears how that ended.
    pub(super) fn leave(self, settle: Settle) {
        self.outgoing.leave(self.pace, settle);
    }

    /// Gives the kernel what it has room for. True if that was all.
    ///
    /// Errors: what has ended it early.
    pub(super) fn send_at_once(&mut self) -> Result<bool, Outcome> {
        while self.offset < self.part.end {
            match self.write() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_the_files(&error) => return Err(Outcome::FileChanged),
                Err(_) => return Err(Outcome::PeerGone),
            }
        }
        Ok(true)
    }

    /// Writes once: what is left of the head, and then bytes of the file.
    fn write(&mut self) -> io::Result<()> {
        if !self.outgoing.send_head()? {
            return Ok(());
        }
        let most = (self.part.end - self.offset).min(CALL_BYTES_MAX);
        let sent = self
            .outgoing
            .send_file(&self.file, &mut self.offset, most as usize)?;
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
            self.await_room()?;
        }
        Ok(())
    }

    fn await_room(&mut self) -> Result<(), Outcome> {
        let began = Instant::now();
        let waited = self.outgoing.wait(LOOK);
        waited.map_err(|_| Outcome::PeerGone)?;
        self.judge(began.elapsed())
    }

    fn await_the_peer(&mut self) -> Result<(), Outcome> {
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

    fn forget_what_was_taken(&mut self) {
        if self.file_bytes <= SMALL {
            return;
        }
        let taken = self.part.start + self.outgoing.taken();
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

/// Whether an error is about the file (of its disk, or of its filesystem) and not about the socket.
fn is_the_files(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || matches!(
            error.raw_os_error(),
            Some(libc::EIO | libc::ESTALE | libc::EUCLEAN | libc::ENODATA)
        )
}
