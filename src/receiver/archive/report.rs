//! What `status` shows of the archive.

use serde::{Deserialize, Serialize};

use super::Archive;
use super::figures::{ArchiveFailing, Place, Totals};
use crate::clock;

/// Members are added, never renamed or removed: programs read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveReport {
    pub bucket: String,
    pub waiting_episodes: u64,
    pub waiting_bytes: u64,
    /// How long ago the oldest of them was received.
    pub oldest_waiting_seconds: Option<u64>,
    /// In the bucket, and not proven yet.
    pub copied_episodes: u64,
    /// Proven, and here too.
    pub archived_episodes: u64,
    /// Proven, and in the bucket alone.
    pub evicted_episodes: u64,
    pub lost_episodes: u64,
    /// Null while the store does what is asked.
    pub failing: Option<ArchiveFailing>,
}

impl Archive {
    /// Of a store that has so many episodes in all.
    pub(crate) fn report(&self, all: Totals) -> ArchiveReport {
        let figures = self.figures();
        let waiting = figures.waiting(all);
        let now_s = clock::unix_seconds(std::time::SystemTime::now());
        let oldest = figures.oldest_waiting();
        ArchiveReport {
            bucket: self.bucket_name.clone(),
            waiting_episodes: waiting.episodes,
            waiting_bytes: waiting.bytes,
            oldest_waiting_seconds: oldest.map(|at_s| now_s.saturating_sub(at_s)),
            copied_episodes: figures.of(Place::Copied).episodes,
            archived_episodes: figures.of(Place::Archived).episodes,
            evicted_episodes: figures.of(Place::Evicted).episodes,
            lost_episodes: figures.of(Place::Lost).episodes,
            failing: figures.failing(),
        }
    }
}
