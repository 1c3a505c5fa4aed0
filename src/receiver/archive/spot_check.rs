//! One look an hour at an object that should be in the bucket, and at one that is lost: so a bucket that was
//! emptied or deleted is noticed, and so is one that was brought back.
//!
//! 1. HEAD is no proof; it is enough to notice that an object is gone.
//! 2. While objects are found gone, the next ones are looked at without a wait.

use std::time::{Duration, Instant};

use super::Archive;
use super::key;
use super::ledger::{Entry, State};
use super::step::Trouble;
use crate::events;
use crate::test_times::in_tests;

const EVERY: Duration = Duration::from_secs(3600);
/// So many at once, which have one sync of the ledger.
const LOOKS_MAX: usize = 1000;

pub(super) struct SpotCheck {
    every: Duration,
    not_before: Instant,
    /// Where in the ledger it goes on.
    offset: u64,
    /// Which of the lost ones is looked at next.
    lost_next: usize,
}

/// What a look has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// There is nothing to do until the next one.
    Nothing,
    /// Objects are gone, and the ledger says so.
    Gone,
    /// One that was lost is there.
    Back,
}

impl SpotCheck {
    pub(super) fn new() -> SpotCheck {
        let every = in_tests("CIS490_ARCHIVE_SPOT_MS", EVERY);
        SpotCheck {
            every,
            not_before: Instant::now() + every,
            offset: 0,
            lost_next: 0,
        }
    }

    /// How long it is until the next look.
    pub(super) fn left(&self) -> Duration {
        self.not_before.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time.
    ///
    /// Errors: the store does not answer or has no such bucket, or the disk fails.
    pub(super) fn look(&mut self, archive: &Archive) -> Result<Looked, Trouble> {
        if !self.left().is_zero() {
            return Ok(Looked::Nothing);
        }
        if self.is_one_back(archive)? {
            // Its bytes may be others: then it is lost again, and is not looked at without a wait.
            self.not_before = Instant::now() + self.every;
            return Ok(Looked::Back);
        }
        let gone = self.gone(archive)?;
        if gone.is_empty() {
            self.not_before = Instant::now() + self.every;
            return Ok(Looked::Nothing);
        }
        archive.ledger.append_all(&gone)?;
        for entry in &gone {
            let slot = entry.slot();
            events::archive_lost(&slot, &key::of(&slot, &entry.sha256));
        }
        Ok(Looked::Gone)
    }

    /// Looks at one of the lost ones.
    fn is_one_back(&mut self, archive: &Archive) -> Result<bool, Trouble> {
        let lost = archive.figures.lost.all();
        let Some(at) = self.lost_next.checked_rem(lost.len()) else {
            return Ok(false);
        };
        self.lost_next = at + 1;
        let object = archive.bucket.head(&lost[at].key())?;
        Ok(object.is_some())
    }

    /// Lines for the proven objects from here on that are gone, up to the first one that is there.
    fn gone(&mut self, archive: &Archive) -> Result<Vec<Entry>, Trouble> {
        let mut gone = Vec::new();
        while gone.len() < LOOKS_MAX {
            let Some((entry, next)) = archive.ledger.next_proof(self.offset)? else {
                self.offset = 0;
                break;
            };
            let key = key::of(&entry.slot(), &entry.sha256);
            let is_there = archive.bucket.head(&key)?.is_some();
            if !is_there && gone.is_empty() {
                archive.bucket.look()?;
            }
            self.offset = next;
            if is_there {
                break;
            }
            gone.push(entry.at_now(State::Lost));
        }
        Ok(gone)
    }
}
