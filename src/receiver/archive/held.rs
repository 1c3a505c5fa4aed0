//! Episodes at the end of the line: the store refused them or failed on them, they were copied again, or an
//! upload of their name was in flight. Each waits on its own and holds up no other.

use std::time::{Duration, Instant};

use super::figures::Place;
use crate::backoff::Backoff;
use crate::wire::Receipt;

/// With so many, no new row is looked at: then it is not a matter of single episodes.
const ROWS_MAX: usize = 1000;

/// One episode, and how often it has failed.
pub(super) struct HeldRow {
    pub row: Receipt,
    /// Where it is counted.
    pub place: Option<Place>,
    backoff: Backoff,
    not_before: Instant,
    /// Reads of the object in a row that broke off or were refused, though HEAD shows the object.
    pub failed_reads: u32,
}

impl HeldRow {
    pub(super) fn new(row: Receipt, place: Option<Place>) -> HeldRow {
        HeldRow {
            row,
            place,
            backoff: Backoff::default(),
            not_before: Instant::now(),
            failed_reads: 0,
        }
    }

    /// Waits as long as its failures say.
    pub(super) fn fail(&mut self) {
        self.not_before = Instant::now() + self.backoff.fail(None);
    }

    /// Waits for the time at which its object can be read back. That is no failure.
    pub(super) fn wait(&mut self, time: Duration) {
        self.failed_reads = 0;
        self.backoff.reset();
        self.not_before = Instant::now() + time;
    }
}

#[derive(Default)]
pub(super) struct Held(Vec<HeldRow>);

impl Held {
    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= ROWS_MAX
    }

    pub(super) fn has(&self, row: &Receipt) -> bool {
        let is_it = |held: &HeldRow| {
            held.row.sha256 == row.sha256
                && held.row.host == row.host
                && held.row.episode == row.episode
        };
        self.0.iter().any(is_it)
    }

    /// Those that are not in the bucket yet are tried at once.
    pub(super) fn ask_now(&mut self) {
        let now = Instant::now();
        for held in self.0.iter_mut().filter(|held| held.place.is_none()) {
            held.not_before = held.not_before.min(now);
        }
    }

    pub(super) fn push(&mut self, held: HeldRow) {
        self.0.push(held);
    }

    /// The one that is due first, if it is due.
    pub(super) fn take_due(&mut self) -> Option<HeldRow> {
        let now = Instant::now();
        let first = (0..self.0.len()).min_by_key(|at| self.0[*at].not_before)?;
        (self.0[first].not_before <= now).then(|| self.0.swap_remove(first))
    }

    /// How long it is until one is due.
    pub(super) fn left(&self) -> Option<Duration> {
        let first = self.0.iter().map(|held| held.not_before).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Those that are not in the bucket yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Receipt> {
        let waiting = self.0.iter().filter(|held| held.place.is_none());
        waiting.map(|held| &held.row)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
