//! How long everything waits after the store has failed.
//!
//! 1. A store that is away or busy is asked again by the shipper's backoff, and as its `Retry-After` says.
//! 2. What only a person can change (keys, rights, the bucket) is tried three times, since stores refuse a
//!    good request now and then. After that everything waits five minutes at a time, loudly.

use std::time::{Duration, Instant};

use super::s3::{Fault, FaultKind};
use crate::backoff::Backoff;
use crate::events;
use crate::test_times::in_tests;

/// Tries before a fault that a person must change is believed.
const TRIES: u32 = 3;
const LONG_WAIT: Duration = Duration::from_secs(300);
/// How often the log repeats that the store fails.
const REPORT_AGAIN: Duration = Duration::from_secs(600);

pub(super) struct Patience {
    backoff: Backoff,
    long_wait: Duration,
    /// Faults that a person must change, since the store last did what was asked.
    persons: u32,
    not_before: Option<Instant>,
    /// What the log has said last, and when: loudly or not.
    reported: Option<(FaultKind, bool, Instant)>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience {
            backoff: Backoff::default(),
            long_wait: in_tests("CIS490_ARCHIVE_LONG_WAIT_MS", LONG_WAIT),
            persons: 0,
            not_before: None,
            reported: None,
        }
    }

    /// How long it is until the store may be asked; `None` if it may be now.
    pub(super) fn left(&self) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The store may be asked now, and what it refuses is news: the keys are others.
    pub(super) fn ask_now(&mut self) {
        self.backoff.reset();
        self.persons = 0;
        self.not_before = None;
    }

    /// The store has done what was asked, or refused one episode alone.
    pub(super) fn reset(&mut self) {
        self.ask_now();
        if self.reported.take().is_some() {
            events::archive_back();
        }
    }

    /// The store was too busy for one episode, and has answered for it before: a wait that does not grow.
    pub(super) fn pause(&mut self, fault: &Fault) {
        let wait = Backoff::default().fail(fault.retry_after);
        self.not_before = Some(Instant::now() + wait);
        self.report(fault, false, wait);
    }

    pub(super) fn fail(&mut self, fault: &Fault) {
        let is_persons = !fault.passes();
        // A store that refuses in the middle of a body may break the connection: that is no better news.
        self.persons += u32::from(is_persons);
        let is_loud = is_persons && self.persons >= TRIES;
        let wait = if is_loud {
            self.long_wait
        } else {
            self.backoff.fail(fault.retry_after)
        };
        self.not_before = Some(Instant::now() + wait);
        self.report(fault, is_loud, wait);
    }

    fn report(&mut self, fault: &Fault, is_loud: bool, wait: Duration) {
        let is_known = self.reported.is_some_and(|(kind, was_loud, at)| {
            kind == fault.kind && was_loud == is_loud && at.elapsed() < REPORT_AGAIN
        });
        if is_known {
            return;
        }
        let kind = fault.kind.name();
        if is_loud {
            events::archive_stopped(kind, &fault.what, fault.remedy(), wait);
        } else {
            events::archive_failing(kind, &fault.what, fault.remedy(), wait);
        }
        self.reported = Some((fault.kind, is_loud, Instant::now()));
    }
}
