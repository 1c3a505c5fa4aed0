//! The end of all commits into recovery: why it comes, and which rows are cut from the index first.

use std::io;

use super::Committer;
use crate::failure::Failure;
use crate::receiver::store::StoreError;

/// Why the commits end before the process is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receiver::store) enum EndCause {
    Fault,
    /// The sync of a directory or of the index; or what could not be synced or appended could not be
    /// taken back.
    FailedSync,
    /// A thread that may have left the committer half changed.
    Panic,
}

/// A fault after which this process may acknowledge nothing more.
#[derive(Debug)]
pub(in crate::receiver::store) struct Fatal {
    pub cause: EndCause,
    pub failure: Failure,
}

impl Fatal {
    pub(in crate::receiver::store) fn failed_sync(doing: &str, error: &io::Error) -> Fatal {
        Fatal {
            cause: EndCause::FailedSync,
            failure: fatal(doing, error),
        }
    }
}

impl From<Failure> for Fatal {
    fn from(failure: Failure) -> Fatal {
        Fatal {
            cause: EndCause::Fault,
            failure,
        }
    }
}

/// Why a file has not got its name.
pub(super) enum NotPlaced {
    Refused(StoreError),
    Fatal(Fatal),
}

impl From<StoreError> for NotPlaced {
    fn from(why: StoreError) -> NotPlaced {
        NotPlaced::Refused(why)
    }
}

impl From<Fatal> for NotPlaced {
    fn from(fatal: Fatal) -> NotPlaced {
        NotPlaced::Fatal(fatal)
    }
}

impl Committer {
    /// An end into recovery: no thread is answered any more. Returns false if that was so before. Does
    /// no I/O.
    pub(in crate::receiver::store) fn give_up(&mut self, cause: EndCause) -> bool {
        let is_first = self.ended.is_none();
        self.ended.get_or_insert(cause);
        self.is_closing = true;
        self.in_flight.clear();
        is_first
    }

    /// Makes the index ready for recovery, after [`Committer::give_up`]. Also for a later cause: a sync may
    /// fail after another fault.
    pub(in crate::receiver::store) fn leave_to_recovery(&mut self, cause: EndCause) {
        if self.ended != Some(EndCause::Panic) && cause != EndCause::Panic {
            self.cut_uncertain(cause);
            self.note_end();
        }
    }

    /// Cuts the rows that are not known to be on the disk: recovery writes new ones. After a failed
    /// sync, be it one that this thread has not heard of, the kernel may call written the bytes that it
    /// could not write. Only where another process wrote behind our rows, and no sync is known to have
    /// failed, all rows stay.
    fn cut_uncertain(&mut self, cause: EndCause) {
        let is_of_others = cause == EndCause::Fault && self.tail.has_bytes_of_others();
        if !is_of_others {
            // A cut that fails leaves the rows to recovery, which can do no more than that.
            let _ = self.tail.cut_to_synced();
        }
    }

    /// Writes down the exact end before the process ends, be it by a stop or into recovery.
    pub(in crate::receiver::store) fn note_end(&mut self) {
        self.sequence.note_end(&self.tail);
    }
}

/// A fault after which nothing may be acknowledged.
pub(in crate::receiver::store) fn fatal(doing: &str, error: &io::Error) -> Failure {
    Failure::new(
        format!("the store could not {doing}: {error}"),
        "nothing was acknowledged; the receiver ends and recovers at its next start; look at the disk (dmesg)",
    )
}
