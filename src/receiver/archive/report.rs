//! What `status` shows of the archive, and what the lab is judged by.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Archive;
use super::figures::{ArchiveError, ArchiveFailing, Place, Totals};
use super::object_troubles::ObjectTrouble;
use crate::clock;
use crate::human::{self, counted};

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
    /// What went wrong last; null if nothing has since this process began.
    #[serde(default)]
    pub last_error: Option<ArchiveError>,
}

impl ArchiveReport {
    /// In one sentence, of a store that has so many episodes in all. Words of the store may be in it.
    pub(crate) fn sentence(&self, episodes: u64) -> String {
        let span = |seconds| human::span(Duration::from_secs(seconds));
        let proven = self.archived_episodes + self.evicted_episodes;
        let mut words = format!(
            "{} of {} proven in bucket {}, {} evicted",
            human::count(proven),
            counted(episodes, "episode"),
            self.bucket,
            human::count(self.evicted_episodes)
        );
        if self.copied_episodes > 0 {
            words += &format!(", {} copied", human::count(self.copied_episodes));
        }
        words += &match (self.waiting_episodes, self.oldest_waiting_seconds) {
            (0, _) => ", none waiting".to_owned(),
            (count, oldest) => {
                let oldest = oldest.map_or(String::new(), |seconds| {
                    format!(", the oldest for {}", span(seconds))
                });
                let bytes = human::bytes(self.waiting_bytes);
                format!(", {} waiting ({bytes}{oldest})", human::count(count))
            }
        };
        match (&self.failing, &self.last_error) {
            (Some(failing), _) => {
                words += &format!("; failing for {}: {}", span(failing.seconds), failing.why);
            }
            (None, Some(error)) => {
                let ago = human::ago(Duration::from_secs(error.seconds));
                words += &format!("; the last error was {ago}: {}", error.why);
            }
            (None, None) => {}
        }
        words
    }
}

/// How the archive stands, as far as a judgement needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    pub bucket: String,
    pub waiting: Totals,
    /// When the oldest of them was received, in seconds since 1970.
    pub oldest_waiting_s: Option<u64>,
    /// For how long nothing was copied.
    pub idle_s: u64,
    /// `None` while the store does what is asked.
    pub failing: Option<ArchiveFailing>,
    /// Whether the store fails to store objects; it may show those that it has.
    pub stores_nothing: bool,
    pub mismatched: Vec<Arc<ObjectTrouble>>,
    pub refused: Vec<Arc<ObjectTrouble>>,
    /// The first of the lost ones.
    pub lost: Vec<Arc<ObjectTrouble>>,
    pub lost_episodes: u64,
}

impl Archive {
    /// Of a store that has so many episodes in all.
    pub(crate) fn report(&self, all: Totals) -> ArchiveReport {
        let figures = self.figures();
        let waiting = figures.waiting(all);
        let now_s = clock::unix_seconds(SystemTime::now());
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
            last_error: figures.last_error(),
        }
    }

    /// How it stands, of a store that has so many episodes in all.
    pub(crate) fn condition(&self, all: Totals) -> Condition {
        let figures = self.figures();
        Condition {
            bucket: self.bucket_name.clone(),
            waiting: figures.waiting(all),
            oldest_waiting_s: figures.oldest_waiting(),
            idle_s: figures.idle().as_secs(),
            failing: figures.failing(),
            stores_nothing: figures.stores_nothing(),
            mismatched: figures.mismatched.all(),
            refused: figures.refused.all(),
            lost: figures.lost.all(),
            lost_episodes: figures.of(Place::Lost).episodes,
        }
    }
}
