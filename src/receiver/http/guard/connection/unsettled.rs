//! An answer of a connection that goes on, when this kernel has all of it and the peer's may not yet.
//!
//! Nobody waits for the peer then: the coroutine goes on to the next request. The answer is settled, and
//! its sender hears how it ended, when the next request has come, at the watchdog's next look, or at the
//! connection's end, whichever is first and finds that the peer has all. Until then the peer must take it
//! as fast as from a thread that waits, and the connection makes room for no other.

use std::time::Instant;

use super::Connection;
use crate::receiver::http::pace::TakingPace;
use crate::sync::lock;
use crate::sys;

/// How an answer that was left unsettled has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The peer's kernel has acknowledged all of it.
    Taken,
    /// The connection has ended before that, and so many of its last bytes were not acknowledged.
    Gone { unacked: u64 },
    /// The peer took too little for too long: the same, and the connection was ended here.
    TooSlow { unacked: u64 },
}

/// Hears how the answer has ended. It logs, and waits for nothing else.
pub(crate) type Settle = Box<dyn FnOnce(Settled) + Send>;

/// What is known of such an answer.
pub(crate) struct Unsettled {
    /// Bytes of it that the kernel was given, but for the head.
    given: u64,
    pace: TakingPace,
    /// When the pace was last looked at.
    looked: Instant,
    settle: Settle,
}

/// How far the answer before is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is settled.
    Settled,
    /// The peer is taking it.
    Leaving,
    /// The peer takes too little of it.
    TooSlow,
}

impl Unsettled {
    pub(crate) fn new(given: u64, pace: TakingPace, settle: Settle) -> Unsettled {
        Unsettled {
            given,
            pace,
            looked: Instant::now(),
            settle,
        }
    }

    fn is_fast_enough(&mut self, unacked: u64) -> bool {
        let waited = self.looked.elapsed();
        self.looked += waited;
        self.pace
            .is_kept(waited, self.given.saturating_sub(unacked))
    }
}

impl Connection {
    /// All bytes so far are with the kernel, and nobody waits for the peer.
    pub(crate) fn leave_unsettled(&self, unsettled: Unsettled) {
        *lock(&self.unsettled) = Some(unsettled);
    }

    /// Settles what was left unsettled if the peer has all of it.
    pub(crate) fn settle_if_taken(&self) -> Standing {
        let mut held = lock(&self.unsettled);
        let Some(unsettled) = &mut *held else {
            return Standing::Settled;
        };
        let unacked = self.unacked();
        if unacked > 0 {
            return if unsettled.is_fast_enough(unacked) {
                Standing::Leaving
            } else {
                Standing::TooSlow
            };
        }
        let settled = held.take();
        drop(held);
        // A peer that was slow to take the answer has as long for its next request as any other.
        self.wait_anew();
        if let Some(Unsettled { settle, .. }) = settled {
            settle(Settled::Taken);
        }
        Standing::Settled
    }

    /// Whether the peer has not taken all of an answer yet.
    pub(crate) fn is_leaving(&self) -> bool {
        lock(&self.unsettled).is_some() && self.unacked() > 0
    }

    /// Settles what was left unsettled, however it stands: the connection ends, since its peer took too
    /// little if it `was_too_slow`.
    pub(crate) fn settle_at_its_end(&self, was_too_slow: bool) {
        let Some(Unsettled { settle, .. }) = lock(&self.unsettled).take() else {
            return;
        };
        settle(match self.unacked() {
            0 => Settled::Taken,
            unacked if was_too_slow => Settled::TooSlow { unacked },
            unacked => Settled::Gone { unacked },
        });
    }

    /// Bytes that the peer's kernel has not acknowledged; none where this kernel does not count.
    fn unacked(&self) -> u64 {
        sys::unacked_bytes(self.socket()).unwrap_or(0)
    }
}
