//! An answer of a connection that goes on, when this kernel has all of it and the peer's may not yet.
//!
//! Nobody waits for the peer then: the coroutine goes on to the next request. The answer is settled, and
//! its sender hears how it ended, when the next request has come, at the watchdog's next look, or at the
//! connection's end, whichever is first and finds that the peer has all.

use super::Connection;
use crate::sync::lock;
use crate::sys;

/// How an answer that was left unsettled has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The peer's kernel has acknowledged all of it.
    Taken,
    /// The connection has ended before that, and so many of its last bytes were not acknowledged.
    Gone { unacked: u64 },
    /// The peer took nothing for too long: the same, and the connection was ended here.
    Silent { unacked: u64 },
}

/// Hears how the answer has ended. It must not block.
pub(crate) type Settle = Box<dyn FnOnce(Settled) + Send>;

impl Connection {
    /// All bytes so far are with the kernel, and `settle` hears whether the peer gets them.
    pub(crate) fn leave_unsettled(&self, settle: Settle) {
        *lock(&self.unsettled) = Some(settle);
    }

    /// Settles what was left unsettled if the peer has all of it. False if it has not.
    pub(crate) fn is_settled(&self) -> bool {
        let mut unsettled = lock(&self.unsettled);
        if unsettled.is_none() {
            return true;
        }
        if self.unacked() > 0 {
            return false;
        }
        let settle = unsettled.take();
        drop(unsettled);
        if let Some(settle) = settle {
            settle(Settled::Taken);
        }
        true
    }

    /// Settles what was left unsettled, however it stands: the connection ends, since its peer took
    /// nothing for too long if `is_silent`.
    pub(crate) fn settle_at_its_end(&self, is_silent: bool) {
        let Some(settle) = lock(&self.unsettled).take() else {
            return;
        };
        settle(match self.unacked() {
            0 => Settled::Taken,
            unacked if is_silent => Settled::Silent { unacked },
            unacked => Settled::Gone { unacked },
        });
    }

    /// Bytes that the peer's kernel has not acknowledged; none where this kernel does not count.
    fn unacked(&self) -> u64 {
        sys::unacked_bytes(self.socket()).unwrap_or(0)
    }
}
