//! When something is tried again, as far as more than one episode waits for it. The waits of a single
//! episode are in its `entry`, those of a held commit in `holds`.

use std::time::{Duration, Instant};

use super::Mode;
use super::entry::Entry;
use super::holds::Holds;
use super::send_hours::SendHours;
use crate::backoff::Backoff;

/// This many garbled heads in a row, of one episode or of several, are the fault of the way to the
/// receiver and not of an episode.
const GARBLED_IN_ROW_MAX: u32 = 3;

/// What all episodes wait for, or all large ones, or all that are not packed.
pub(super) struct Pace {
    mode: Mode,
    /// The part of the day in which something is begun.
    hours: Option<SendHours>,
    /// The receiver cannot be reached, or accepts no upload.
    away: Backoff,
    /// Why the receiver was away the last time.
    away_why: String,
    /// Our own disk is full: nothing is packed, and tarballs that are ready are still sent.
    packing: Backoff,
    no_room: Option<NoRoom>,
    /// Answers in a row which say that our head did not arrive as it was sent.
    garbled_in_row: u32,
    next_scan: Instant,
}

/// After a 507, or a proxy's 413: episodes of at least `bytes` are not sent before `until`.
#[derive(Clone, Copy)]
struct NoRoom {
    bytes: u64,
    until: Instant,
}

impl Pace {
    /// Everything is due.
    pub(super) fn new(mode: Mode, hours: Option<SendHours>) -> Pace {
        Pace {
            mode,
            hours,
            away: Backoff::default(),
            away_why: String::new(),
            packing: Backoff::default(),
            no_room: None,
            garbled_in_row: 0,
            next_scan: Instant::now(),
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Makes everything due now.
    pub(super) fn retry_now(&mut self) {
        self.away.retry_now();
        self.packing.retry_now();
        self.no_room = None;
        self.scan_now();
    }

    /// With --once, everything that has failed waits for the next run.
    pub(super) fn is_due(&self, backoff: &Backoff, now: Instant) -> bool {
        match self.mode {
            Mode::Forever => backoff.is_due(now),
            Mode::Once => backoff.not_before().is_none(),
        }
    }

    /// Whether the receiver may be asked anything.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.is_due(&self.away, now)
    }

    /// From here on these are the hours.
    pub(super) fn set_hours(&mut self, hours: Option<SendHours>) {
        self.hours = hours;
    }

    /// Outside `send_hours` nothing is begun: how long that lasts, and the hours.
    pub(super) fn closed_for(&self) -> Option<(Duration, SendHours)> {
        let hours = self.hours?;
        Some((hours.until_open()?, hours))
    }

    /// Whether an episode may be packed or sent, once the receiver may be asked.
    pub(super) fn may_move(&self, entry: &Entry, holds: &Holds, now: Instant) -> bool {
        let can_pack = entry.is_packed() || self.is_due(&self.packing, now);
        let has_room = match self.no_room {
            Some(no_room) if now < no_room.until => entry.bytes_to_send() < no_room.bytes,
            _ => true,
        };
        !holds.is_held(entry) && can_pack && has_room && self.is_due(entry.backoff(), now)
    }

    /// When each of the waits is over.
    pub(super) fn waits(&self) -> impl Iterator<Item = Instant> {
        let no_room = self.no_room.map(|no_room| no_room.until);
        let waits = [self.away.not_before(), self.packing.not_before(), no_room];
        waits.into_iter().flatten()
    }

    pub(super) fn scan_now(&mut self) {
        self.scan_after(Duration::ZERO);
    }

    pub(super) fn scan_after(&mut self, wait: Duration) {
        self.next_scan = Instant::now() + wait;
    }

    pub(super) fn next_scan(&self) -> Instant {
        self.next_scan
    }

    /// The receiver answered for itself: the waits of all begin anew at its next failure.
    pub(super) fn receiver_is_there(&mut self) {
        self.away.reset();
    }

    /// Notes that the receiver cannot be reached or accepts nothing; the wait that follows.
    pub(super) fn receiver_is_away(&mut self, asked: Option<Duration>, why: &str) -> Duration {
        why.clone_into(&mut self.away_why);
        self.away.fail(asked)
    }

    /// The receiver is away already, and another upload that was under way got its answer.
    pub(super) fn receiver_asks_for(&mut self, asked: Duration) {
        self.away.wait_at_least(asked);
    }

    pub(super) fn away(&self) -> &Backoff {
        &self.away
    }

    /// Why the receiver was away the last time.
    pub(super) fn away_why(&self) -> &str {
        &self.away_why
    }

    /// Notes that a head did not arrive as it was sent; how many did not in a row.
    pub(super) fn head_was_garbled(&mut self) -> u32 {
        self.garbled_in_row += 1;
        self.garbled_in_row
    }

    pub(super) fn head_arrived(&mut self) {
        self.garbled_in_row = 0;
    }

    /// Whether the heads are garbled by rule and not by chance.
    pub(super) fn heads_are_garbled(&self) -> bool {
        self.garbled_in_row >= GARBLED_IN_ROW_MAX
    }

    /// No body of this episode's size gets in: larger ones wait with it, and smaller ones may still fit.
    pub(super) fn has_no_room_for(&mut self, entry: &Entry) {
        // Of several that were under way at once, the smallest is the bound.
        let now = Instant::now();
        let before = self.no_room.filter(|no_room| now < no_room.until);
        let bytes = entry.bytes_to_send();
        self.no_room = entry.backoff().not_before().map(|until| NoRoom {
            bytes: before.map_or(bytes, |before| bytes.min(before.bytes)),
            until,
        });
    }

    pub(super) fn disk_has_room(&mut self) {
        self.packing.reset();
    }

    /// Notes that our own disk is full; the wait that follows.
    pub(super) fn disk_is_full(&mut self) -> Duration {
        self.packing.fail(None)
    }

    /// Of packing, while our own disk is full.
    pub(super) fn packing(&self) -> &Backoff {
        &self.packing
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::Identity;
    use super::*;
    use crate::episode::{Inspected, Meta};
    use crate::names::{CommitHash, EpisodeId};

    fn entry(bytes: u64) -> Entry {
        let identity = Identity {
            inode: 1,
            modified_ns: 2,
            bytes: 3,
        };
        let commit = CommitHash::parse(&"a".repeat(40)).unwrap();
        let meta = Meta {
            commit,
            dirty: None,
        };
        let id = EpisodeId::parse("ep-1").unwrap();
        let mut entry = Entry::new(id, identity, Instant::now());
        entry.set_inspected(Inspected { meta, bytes }, None);
        entry
    }

    #[test]
    fn where_one_does_not_fit_smaller_ones_may() {
        let mut pace = Pace::new(Mode::Forever, None);
        let holds = Holds::default();
        let now = Instant::now();
        let mut large = entry(500);
        assert!(pace.may_move(&large, &holds, now));
        large.fail(Some(Duration::from_secs(60)), "507");
        pace.has_no_room_for(&large);
        let may_move = |pace: &Pace, bytes, now| pace.may_move(&entry(bytes), &holds, now);
        assert!(may_move(&pace, 499, now) && !may_move(&pace, 500, now));
        let later = now + Duration::from_secs(120);
        assert!(may_move(&pace, 500, later));
        assert!(pace.waits().all(|at| now < at && at < later));
        pace.retry_now();
        assert!(may_move(&pace, 500, now));
    }

    #[test]
    fn a_full_disk_stops_packing_until_it_has_room() {
        let mut pace = Pace::new(Mode::Once, None);
        let holds = Holds::default();
        pace.disk_is_full();
        // With --once it waits for the next run, however long this one takes.
        let later = Instant::now() + Duration::from_secs(3600);
        assert!(!pace.may_move(&entry(1), &holds, later) && pace.may_ask(later));
        pace.disk_has_room();
        assert!(pace.may_move(&entry(1), &holds, later));
    }

    #[test]
    fn three_garbled_heads_in_a_row_are_a_rule() {
        let mut pace = Pace::new(Mode::Forever, None);
        for in_row in [1, 2] {
            assert_eq!(pace.head_was_garbled(), in_row);
            assert!(!pace.heads_are_garbled());
        }
        pace.head_arrived();
        for in_row in [1, 2, 3] {
            assert_eq!(pace.head_was_garbled(), in_row);
        }
        assert!(pace.heads_are_garbled());
    }
}
