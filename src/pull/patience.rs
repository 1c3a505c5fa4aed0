//! How long a pull waits for a receiver that gives nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::end::End;
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::sync::lock;
use crate::test_times::in_tests;

/// How long the receiver may give no byte before a pull without `--watch` ends.
const WITHOUT_BYTE_MAX: Duration = Duration::from_secs(300);
/// Between two looks at whether the pull ends.
const SLICE: Duration = Duration::from_millis(50);

pub(super) struct Patience {
    last_byte: Mutex<Instant>,
    /// `None` with `--watch`.
    limit: Option<Duration>,
    is_over: AtomicBool,
}

impl Patience {
    pub(super) fn new(is_endless: bool) -> Patience {
        Patience {
            last_byte: Mutex::new(Instant::now()),
            limit: (!is_endless).then(|| in_tests("CIS490_PULL_PATIENCE_MS", WITHOUT_BYTE_MAX)),
            is_over: AtomicBool::new(false),
        }
    }

    /// The receiver gave something that was not here.
    pub(super) fn heard(&self) {
        *lock(&self.last_byte) = Instant::now();
    }

    /// Ends all waits: another part of the pull has failed.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// When the next try is due, as the backoff says. `asked` is the peer's `Retry-After`. `None` if the
    /// receiver has given nothing for too long.
    pub(super) fn next_try(
        &self,
        backoff: &mut Backoff,
        asked: Option<Duration>,
    ) -> Option<Instant> {
        let mut wait = backoff.fail(asked);
        if let Some(limit) = self.limit {
            let left = limit.saturating_sub(lock(&self.last_byte).elapsed());
            if left.is_zero() {
                return None;
            }
            // One last try comes when the time is over.
            wait = wait.min(left);
        }
        Some(Instant::now() + wait)
    }

    /// False if the pull ends before that.
    pub(super) fn wait_until(&self, until: Instant) -> bool {
        while !self.is_over() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(SLICE));
        }
        false
    }

    /// Waits for the next try ([`Patience::next_try`]).
    ///
    /// Errors: the receiver has given nothing for too long, or the pull ends.
    pub(super) fn wait(
        &self,
        backoff: &mut Backoff,
        asked: Option<Duration>,
        why: Failure,
    ) -> Result<(), End> {
        match self.next_try(backoff, asked) {
            Some(until) if self.wait_until(until) => Ok(()),
            _ => Err(End::Waits(why)),
        }
    }
}
