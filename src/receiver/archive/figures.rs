//! What is seen of the archive: how many episodes are in which state. Atomic additions, no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};

use super::object_troubles::ObjectTroubles;
use super::s3::Fault;
use crate::test_times::in_tests;
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

/// What went wrong last, whether or not all is well since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveError {
    pub seconds: u64,
    pub why: String,
}

/// An episode may be counted before or after another thread looks: the sums are true within an instant.
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
    last_error: ArcSwapOption<(Instant, String)>,
    /// When an episode was copied last, or was found in the bucket; before the first one, when these figures
    /// began.
    copied_at: ArcSwap<Instant>,
    /// How long before that the ledger was written last; zero after the first one.
    idle_before: ArcSwap<Duration>,
    /// Objects that are not what was stored, until they are proven.
    pub(super) mismatched: ObjectTroubles,
    /// Episodes that are neither here nor in the bucket.
    pub(super) lost: ObjectTroubles,
    /// Episodes that the store refuses, or whose file cannot be read, until they are in the bucket.
    pub(super) refused: ObjectTroubles,
    /// A test's time machine: so much longer the store has failed, and nothing was copied.
    aged: Duration,
}

/// Since when the store fails, and how.
struct Failure {
    since: Instant,
    why: String,
    remedy: &'static str,
    /// Whether it has failed to store an object; it may show those that it has.
    is_of_put: bool,
}

impl Figures {
    /// Of a ledger that was written last at this time.
    pub(super) fn new(ledger_at: SystemTime) -> Figures {
        Figures {
            episodes: Default::default(),
            bytes: Default::default(),
            mismatches: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            oldest_waiting_s: AtomicU64::new(0),
            failing: ArcSwapOption::empty(),
            last_error: ArcSwapOption::empty(),
            copied_at: ArcSwap::from_pointee(Instant::now()),
            idle_before: ArcSwap::from_pointee(ledger_at.elapsed().unwrap_or_default()),
            mismatched: ObjectTroubles::default(),
            lost: ObjectTroubles::default(),
            refused: ObjectTroubles::default(),
            aged: in_tests("CIS490_ARCHIVE_AGED_MS", Duration::ZERO),
        }
    }

    /// An episode goes from one place to another; `None` is the line of those that wait.
    pub(super) fn moves(&self, row: &Receipt, from: Option<Place>, to: Option<Place>) {
        let bytes = row.bytes.unwrap_or(0) as i64;
        self.note_place(row, to);
        for (place, sign) in [(from, -1), (to, 1)] {
            if let Some(place) = place {
                self.episodes[place as usize].fetch_add(sign, Ordering::Relaxed);
                self.bytes[place as usize].fetch_add(sign * bytes, Ordering::Relaxed);
            }
        }
    }

    /// What was wrong with the object of a row ends where the row has come to.
    fn note_place(&self, row: &Receipt, to: Option<Place>) {
        match to {
            None => {}
            Some(Place::Copied) => self.refused.end(row),
            Some(Place::Archived | Place::Evicted) => {
                self.refused.end(row);
                self.mismatched.end(row);
            }
            Some(Place::Lost) => {
                self.refused.end(row);
                self.mismatched.end(row);
                self.lost
                    .begin(row, "neither its file nor its object is there", "");
            }
        }
    }

    /// All is counted again.
    pub(super) fn clear(&self) {
        self.lost.clear();
        for count in self.episodes.iter().chain(&self.bytes) {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// The object of a row is not what was stored.
    pub(super) fn mismatch(&self, row: &Receipt, why: &str) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
        self.mismatched.begin(row, why, "");
    }

    /// The store refuses this episode alone, or its file cannot be read.
    pub(super) fn refuse(&self, row: &Receipt, fault: &Fault) {
        self.refused.begin(row, &fault.what, fault.remedy());
        let why = format!("{}/{}: {}", row.host, row.episode, fault.what);
        self.last_error.store(Some(Arc::new((Instant::now(), why))));
    }

    /// An episode was copied, or was found in the bucket.
    pub(super) fn copied(&self) {
        self.copied_at.store(Arc::new(Instant::now()));
        self.idle_before.store(Arc::new(Duration::ZERO));
    }

    /// For how long nothing was copied.
    pub(super) fn idle(&self) -> Duration {
        self.copied_at.load().elapsed() + **self.idle_before.load() + self.aged
    }

    /// A local file was removed.
    pub(super) fn evict(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_oldest_waiting(&self, unix_s: Option<u64>) {
        let unix_s = unix_s.unwrap_or(0);
        self.oldest_waiting_s.store(unix_s, Ordering::Relaxed);
    }

    /// The store has failed, perhaps to store an object.
    pub(super) fn fails(&self, fault: &Fault, is_of_put: bool) {
        let before = self.failing.load_full();
        let now = Instant::now();
        self.failing.store(Some(Arc::new(Failure {
            since: before.as_ref().map_or(now, |failure| failure.since),
            why: fault.what.clone(),
            remedy: fault.remedy(),
            is_of_put: is_of_put || before.is_some_and(|failure| failure.is_of_put),
        })));
        let error = (now, fault.what.clone());
        self.last_error.store(Some(Arc::new(error)));
    }

    /// The store has done what was asked. That it shows objects is no sign that it stores any.
    pub(super) fn works(&self, has_put: bool) {
        if has_put || !self.stores_nothing() {
            self.failing.store(None);
        }
    }

    /// Whether it fails to store objects.
    pub(super) fn stores_nothing(&self) -> bool {
        let failing = self.failing.load();
        failing.as_ref().is_some_and(|failure| failure.is_of_put)
    }

    /// What went wrong last.
    pub(super) fn last_error(&self) -> Option<ArchiveError> {
        let error = self.last_error.load_full()?;
        let (at, why) = &*error;
        Some(ArchiveError {
            seconds: at.elapsed().as_secs(),
            why: why.clone(),
        })
    }

    /// Why the store does not do what is asked.
    pub(super) fn failing(&self) -> Option<ArchiveFailing> {
        let failure = self.failing.load_full()?;
        Some(ArchiveFailing {
            seconds: (failure.since.elapsed() + self.aged).as_secs(),
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
        let figures = Figures::new(SystemTime::now());
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
