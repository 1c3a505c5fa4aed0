//! Room on the disk: local files of proven episodes go, oldest proof first.
//!
//!     the last word on the object is a proof of a day or more    HEAD: it is there, with the row's length    unlink
//!
//! 1. Only below `evict_below_bytes`, until a tenth more than that is free.
//! 2. Nothing goes while the store does not answer, and nothing that is not proven.
//! 3. A file that an upload or a download has open stays until that has ended.

use std::time::{Duration, Instant, SystemTime};

use super::Archive;
use super::key;
use super::ledger::{Entry, State};
use super::shelf::Shelf;
use super::step::Trouble;
use crate::receiver::local_file::{LocalFile, Removal};
use crate::test_times::in_tests;
use crate::wire::Receipt;
use crate::{clock, events};

/// A younger proof does not count: a person who finds a fault of the store has a day to stop the eviction.
pub(super) const PROOF_AGE: Duration = Duration::from_secs(24 * 3600);
/// How many proofs one turn looks at, so that uploads are copied meanwhile.
const LOOKS_MAX: usize = 64;
/// Between two passes over the ledger that have not made enough room.
const PAUSE: Duration = Duration::from_secs(60);

/// How often the log repeats that there is no room.
const REPORT_AGAIN: Duration = Duration::from_secs(600);

/// Where the eviction is.
pub(super) struct Eviction {
    below_bytes: u64,
    proof_age: Duration,
    /// Whether room is being made.
    is_on: bool,
    /// Where in the ledger it goes on.
    offset: u64,
    /// The first proof that was passed over, and may go later.
    passed_over: Option<u64>,
    not_before: Option<Instant>,
    pause: Duration,
    /// When the log has said last that there is no room.
    reported: Option<Instant>,
}

/// What one turn has come to.
pub(super) enum Made {
    /// There is room, or nothing that may go.
    Enough,
    /// There is more to look at.
    NotYet,
    /// The local file of this row is gone, and there may be more.
    Removed(Box<Receipt>),
}

/// What is to be done with a proven episode.
enum Look {
    /// Its file is not here, or is not to be removed.
    Nothing,
    /// It may go later.
    Later,
    Removed(Box<Receipt>, u64),
}

impl Eviction {
    pub(super) fn new(below_bytes: u64) -> Eviction {
        Eviction {
            below_bytes,
            proof_age: in_tests("CIS490_ARCHIVE_PROOF_AGE_MS", PROOF_AGE),
            is_on: false,
            offset: 0,
            passed_over: None,
            not_before: None,
            pause: in_tests("CIS490_ARCHIVE_PAUSE_MS", PAUSE),
            reported: None,
        }
    }

    /// Another bound from now on.
    pub(super) fn set_below(&mut self, below_bytes: u64) {
        if self.below_bytes != below_bytes {
            self.below_bytes = below_bytes;
            self.is_on = false;
            self.not_before = None;
            self.reported = None;
        }
    }

    /// Removes a file if room is needed, or looks for one.
    ///
    /// Errors: the store does not answer, or the disk fails.
    pub(super) fn make_room(
        &mut self,
        archive: &Archive,
        shelf: &dyn Shelf,
    ) -> Result<Made, Trouble> {
        if self.below_bytes == 0 || self.not_before.is_some_and(|at| Instant::now() < at) {
            return Ok(Made::Enough);
        }
        let free = shelf.free_bytes()?;
        let enough = self.below_bytes + self.below_bytes / 10;
        self.is_on = free < if self.is_on { enough } else { self.below_bytes };
        if !self.is_on {
            return Ok(Made::Enough);
        }
        for _ in 0..LOOKS_MAX {
            let Some((entry, next)) = archive.ledger.next_proof(self.offset)? else {
                self.end_of_the_pass(free);
                return Ok(Made::Enough);
            };
            let at = self.offset;
            match self.look(archive, shelf, &entry)? {
                Look::Nothing => {}
                Look::Later => {
                    self.passed_over.get_or_insert(at);
                }
                Look::Removed(row, bytes) => {
                    self.offset = next;
                    events::archive_evicted(&entry.slot(), bytes);
                    return Ok(Made::Removed(row));
                }
            }
            self.offset = next;
        }
        Ok(Made::NotYet)
    }

    /// The ledger may be another file: its proofs are looked at from the first one on.
    pub(super) fn begin_anew(&mut self) {
        self.offset = 0;
        self.passed_over = None;
    }

    /// A file may be here whose proof was passed: the next pass begins with the first proof.
    pub(super) fn look_again(&mut self) {
        self.passed_over = Some(0);
    }

    /// Whether the disk had too few free bytes at the last look.
    pub(super) fn needs_room(&self) -> bool {
        self.is_on
    }

    /// How long it is until the next pass over the ledger; `None` if nothing is waited for. Its time may have
    /// come since `make_room` was asked: then it is no time, and not `None`.
    pub(super) fn left(&self) -> Option<Duration> {
        if !self.is_on {
            return None;
        }
        let not_before = self.not_before?;
        Some(not_before.saturating_duration_since(Instant::now()))
    }

    fn look(&self, archive: &Archive, shelf: &dyn Shelf, entry: &Entry) -> Result<Look, Trouble> {
        if !is_old(entry, self.proof_age) {
            return Ok(Look::Later);
        }
        // A file that cannot be looked at now may be later, and holds up no other.
        let row = match shelf.removable(&entry.slot(), &entry.sha256) {
            Ok(LocalFile::Whole(row)) => row,
            Ok(LocalFile::Nothing) => return Ok(Look::Nothing),
            Ok(LocalFile::InFlight) | Err(_) => return Ok(Look::Later),
        };
        if !is_there(archive, &row)? {
            return Ok(Look::Nothing);
        }
        Ok(match shelf.remove(&row) {
            Ok(Removal::Removed(bytes)) => Look::Removed(Box::new(row), bytes),
            Ok(Removal::InUse) | Err(_) => Look::Later,
            Ok(Removal::Nothing) => Look::Nothing,
        })
    }

    /// All proofs were looked at, and more room is needed.
    fn end_of_the_pass(&mut self, free: u64) {
        self.offset = self.passed_over.take().unwrap_or(self.offset);
        self.not_before = Some(Instant::now() + self.pause);
        let is_known = |at: Instant| at.elapsed() < REPORT_AGAIN;
        if !self.reported.is_some_and(is_known) {
            self.reported = Some(Instant::now());
            events::archive_no_room(free, self.below_bytes);
        }
    }
}

/// Whether a proof is of such an age. Of a proof of the future the clock says nothing.
pub(super) fn is_old(entry: &Entry, least: Duration) -> bool {
    let now_s = clock::unix_seconds(SystemTime::now());
    clock::parse_rfc3339(&entry.at)
        .is_some_and(|at_s| at_s <= now_s && now_s - at_s >= least.as_secs())
}

/// Whether the object is there with its length. One that is not is lost, and its episode is copied again.
fn is_there(archive: &Archive, row: &Receipt) -> Result<bool, Trouble> {
    let slot = row.slot();
    let key = key::of(&slot, &row.sha256);
    let object = archive.bucket.head(&key)?;
    let is_whole = object.is_some_and(|object| row.bytes.is_none_or(|bytes| object.bytes == bytes));
    if !is_whole {
        archive.bucket.look()?;
        archive.ledger.append(&Entry::now(row, State::Lost))?;
        events::archive_lost(&slot, &key);
    }
    Ok(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_came_due_meanwhile_is_not_slept_over() {
        let mut eviction = Eviction::new(1);
        assert_eq!(eviction.left(), None);
        eviction.is_on = true;
        assert_eq!(eviction.left(), None);
        eviction.not_before = Some(Instant::now());
        assert_eq!(eviction.left(), Some(Duration::ZERO));
        eviction.is_on = false;
        assert_eq!(eviction.left(), None);
    }
}
