//! How requests for bytes end, and how many have ended so. Atomic additions, no lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a request for bytes ended: those that began to send, and those whose file could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The peer has all that it asked for.
    Complete,
    PeerGone,
    TooSlow,
    /// The file ended early while it was sent, or could not be read.
    FileChanged,
    /// Our own fault.
    Failed,
    /// A row without a file: nothing was sent.
    FileMissing,
    /// A file of another size than its row: nothing was sent.
    FileOdd,
    /// The bytes are in the archive alone, and the reader was sent there.
    Redirected,
}

impl Outcome {
    pub(super) const ALL: [Outcome; 8] = [
        Outcome::Complete,
        Outcome::PeerGone,
        Outcome::TooSlow,
        Outcome::FileChanged,
        Outcome::Failed,
        Outcome::FileMissing,
        Outcome::FileOdd,
        Outcome::Redirected,
    ];

    /// As the log and the figures name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::PeerGone => "peer-gone",
            Outcome::TooSlow => "too-slow",
            Outcome::FileChanged => "file-changed",
            Outcome::Failed => "failed",
            Outcome::FileMissing => "file-missing",
            Outcome::FileOdd => "file-odd",
            Outcome::Redirected => "redirected",
        }
    }
}

#[derive(Default)]
pub(super) struct Outcomes {
    /// In the order of [`Outcome::ALL`], which is that of the variants.
    counts: [AtomicU64; Outcome::ALL.len()],
    bytes: AtomicU64,
}

impl Outcomes {
    pub(super) fn count(&self, outcome: Outcome) {
        self.counts[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes of an episode were taken by a reader.
    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_count() {
        let outcomes = Outcomes::default();
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(place, outcome as usize);
            outcomes.count(outcome);
            assert_eq!(outcomes.of(outcome), 1, "{}", outcome.name());
        }
    }
}
