//! Proofs that share a sync of the ledger: objects that were read back and had the receipt's digest, and
//! whose lines are not written yet.
//!
//! 1. None of them counts for anybody before its line is on the disk; a process that is killed reads the
//!    objects back again.
//! 2. They are few, small, and wait a moment at most while the thread works.

use std::time::{Duration, Instant, SystemTime};

use super::figures::Place;
use super::ledger::{Entry, State};
use crate::wire::Receipt;

/// So many share a sync.
const PROOFS_MAX: usize = 32;
/// A larger object took so long to read that a sync of its own is nothing beside it.
const SMALL_BYTES: u64 = 1 << 20;
const WAIT_MAX: Duration = Duration::from_millis(300);

/// An object that was read back.
pub(super) struct Proof {
    pub row: Receipt,
    /// Where the row is counted until its line is written.
    pub place: Option<Place>,
    pub bytes: u64,
    pub entry: Entry,
}

impl Proof {
    /// Of an object that was read back at this time.
    pub(super) fn at(row: Receipt, place: Option<Place>, bytes: u64, time: SystemTime) -> Proof {
        Proof {
            entry: Entry::at(&row, State::Proven, time),
            row,
            place,
            bytes,
        }
    }
}

#[derive(Default)]
pub(super) struct Proofs {
    waiting: Vec<Proof>,
    since: Option<Instant>,
}

impl Proofs {
    pub(super) fn push(&mut self, proof: Proof) {
        self.since.get_or_insert_with(Instant::now);
        self.waiting.push(proof);
    }

    pub(super) fn has(&self, row: &Receipt) -> bool {
        let is_it = |proof: &Proof| {
            let other = &proof.row;
            other.sha256 == row.sha256 && other.host == row.host && other.episode == row.episode
        };
        self.waiting.iter().any(is_it)
    }

    /// Whether their lines are to be written now.
    pub(super) fn are_due(&self) -> bool {
        let has_waited = self.since.is_some_and(|since| since.elapsed() >= WAIT_MAX);
        let is_large = |proof: &Proof| !is_small(proof.bytes);
        self.waiting.len() >= PROOFS_MAX || has_waited || self.waiting.iter().any(is_large)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All of them, which wait here no longer.
    pub(super) fn take(&mut self) -> Vec<Proof> {
        self.since = None;
        std::mem::take(&mut self.waiting)
    }
}

/// Whether a step of an episode of this size is so short that proofs may wait for its end.
pub(super) fn is_small(bytes: u64) -> bool {
    bytes <= SMALL_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(episode: &str, bytes: u64) -> Proof {
        let text = format!(
            "{{\"host\":\"lab-1\",\"episode\":\"{episode}\",\"sha256\":\"{}\"}}",
            "ab".repeat(32)
        );
        let row = serde_json::from_str(&text).unwrap();
        Proof::at(row, Some(Place::Copied), bytes, SystemTime::now())
    }

    #[test]
    fn many_or_a_large_one_or_one_that_has_waited_are_due() {
        let mut proofs = Proofs::default();
        assert!(!proofs.are_due());
        proofs.push(proof("ep-0", 1));
        assert!(proofs.has(&proof("ep-0", 1).row) && !proofs.has(&proof("ep-1", 1).row));
        proofs.since = Some(Instant::now() + Duration::from_secs(60));
        assert!(!proofs.are_due());
        proofs.push(proof("ep-1", SMALL_BYTES + 1));
        assert!(proofs.are_due());
        assert_eq!(proofs.take().len(), 2);
        assert!(proofs.is_empty() && !proofs.are_due());
        for n in 0..PROOFS_MAX {
            proofs.push(proof(&format!("ep-{n}"), 1));
        }
        assert!(proofs.are_due());
        proofs.take();
        proofs.push(proof("ep-0", 1));
        proofs.since = Some(Instant::now() - WAIT_MAX);
        assert!(proofs.are_due());
    }
}
