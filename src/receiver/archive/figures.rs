//! What is seen of the archive: how many episodes are in which state. Atomic additions, no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use crate::wire::Receipt;

/// Where the bytes of an episode are, as far as the archive has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the bucket and here, and not proven yet.
    Copied,
    /// Proven, and here.
    Archived,
    /// Proven, and not here.
    Evicted,
    /// Neither here nor in the bucket.
    Lost,
}

impl Place {
    pub(crate) const ALL: [Place; 4] =
        [Place::Copied, Place::Archived, Place::Evicted, Place::Lost];

    /// As the figures name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Copied => "copied",
            Place::Archived => "archived",
            Place::Evicted => "evicted",
            Place::Lost => "lost",
        }
    }
}

/// So many episodes, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub episodes: u64,
    pub bytes: u64,
}

/// Why the store does not do what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveFailing {
    pub seconds: u64,
    pub why: String,
    /// What to do.
    pub remedy: String,
}

/// An episode may be counted before or after another thread looks: the sums are true within an instant.
#[derive(Default)]
pub(crate) struct Figures {
    /// In the order of [`Place::ALL`], which is that of the variants.
    episodes: [AtomicI64; Place::ALL.len()],
    bytes: [AtomicI64; Place::ALL.len()],
    mismatches: AtomicU64,
    evicted: AtomicU64,
    /// When the oldest episode that waits was received, in seconds since 1970; 0 if none waits.
    oldest_waiting_s: AtomicU64,
    /// `None` while the store does what is asked.
    failing: ArcSwapOption<Failure>,
}

/// Since when the store fails, and how.
struct Failure {
    since: Instant,
    why: String,
    remedy: &'static str,
}

impl Figures {
    /// An episode goes from one place to another; `None` is the line of those that wait.
    pub(super) fn moves(&self, row: &Receipt, from: Option<Place>, to: Option<Place>) {
        let bytes = row.bytes.unwrap_or(0) as i64;
        for (place, sign) in [(from, -1), (to, 1)] {
            if let Some(place) = place {
                self.episodes[place as usize].fetch_add(sign, Ordering::Relaxed);
                self.bytes[place as usize].fetch_add(sign * bytes, Ordering::Relaxed);
            }
        }
    }

    /// All is counted again.
    pub(super) fn clear(&self) {
        for count in self.episodes.iter().chain(&self.bytes) {
            count.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn mismatch(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
    }

    /// A local file was removed.
    pub(super) fn evict(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_oldest_waiting(&self, unix_s: Option<u64>) {
        let unix_s = unix_s.unwrap_or(0);
        self.oldest_waiting_s.store(unix_s, Ordering::Relaxed);
    }

    /// The store has failed.
    pub(super) fn fails(&self, why: &str, remedy: &'static str) {
        let before = self.failing.load_full();
        self.failing.store(Some(Arc::new(Failure {
            since: before.map_or_else(Instant::now, |failure| failure.since),
            why: why.to_owned(),
            remedy,
        })));
    }

    /// The store has done what was asked.
    pub(super) fn works(&self) {
        self.failing.store(None);
    }

    /// Why the store does not do what is asked.
    pub(super) fn failing(&self) -> Option<ArchiveFailing> {
        let failure = self.failing.load_full()?;
        Some(ArchiveFailing {
            seconds: failure.since.elapsed().as_secs(),
            why: failure.why.clone(),
            remedy: failure.remedy.to_owned(),
        })
    }

    /// Of a store that has so many in all: those that are in no place.
    pub(crate) fn waiting(&self, all: Totals) -> Totals {
        let mut waiting = all;
        for place in Place::ALL {
            let totals = self.of(place);
            waiting.episodes = waiting.episodes.saturating_sub(totals.episodes);
            waiting.bytes = waiting.bytes.saturating_sub(totals.bytes);
        }
        waiting
    }

    pub(crate) fn of(&self, place: Place) -> Totals {
        let count = |counts: &[AtomicI64]| {
            let count = counts[place as usize].load(Ordering::Relaxed);
            u64::try_from(count).unwrap_or(0)
        };
        Totals {
            episodes: count(&self.episodes),
            bytes: count(&self.bytes),
        }
    }

    /// Objects that were not what they should be, since this process began.
    pub(crate) fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }

    /// Local files that were removed, since this process began.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// When the oldest episode that waits was received, in seconds since 1970.
    pub(crate) fn oldest_waiting(&self) -> Option<u64> {
        let unix_s = self.oldest_waiting_s.load(Ordering::Relaxed);
        (unix_s != 0).then_some(unix_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_episode_is_in_one_place() {
        for (number, place) in Place::ALL.into_iter().enumerate() {
            assert_eq!(number, place as usize);
        }
        let digest = "0f".repeat(32);
        let row = format!(r#"{{"host":"a","episode":"b","bytes":3,"sha256":"{digest}"}}"#);
        let row: Receipt = serde_json::from_str(&row).unwrap();
        let figures = Figures::default();
        figures.moves(&row, None, Some(Place::Copied));
        figures.moves(&row, None, Some(Place::Copied));
        figures.moves(&row, Some(Place::Copied), Some(Place::Archived));
        let one = Totals {
            episodes: 1,
            bytes: 3,
        };
        assert_eq!(figures.of(Place::Copied), one);
        assert_eq!(figures.of(Place::Archived), one);
        assert_eq!(figures.of(Place::Evicted), Totals::default());
    }
}
