//! How far the uploads are whose bodies are on their way: their body threads note it, and the pages show it.
//!
//! A body thread locks the list twice, when it first waits for its upload and at the end, and coroutines never do. The
//! list is bounded by the permits for uploads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sync::lock;
use crate::wire::Slot;

/// The rate is that of this much time, or of up to twice as much.
const RATE_OVER: Duration = Duration::from_secs(5);

/// All uploads whose bodies are on their way.
#[derive(Default)]
pub(super) struct RunningUploads {
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    numbers: AtomicU64,
}

struct Entry {
    slot: Slot,
    /// Bytes of the whole body.
    bytes: u64,
    /// Bytes of it that are here.
    received: AtomicU64,
    /// From which point on the rate is measured.
    mark: Mutex<Mark>,
}

/// How many bytes were here at an instant.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub at: Instant,
    pub received: u64,
}

/// An upload's place in the list. Dropping it says that the upload has ended.
pub(super) struct Place {
    uploads: Arc<RunningUploads>,
    number: u64,
    entry: Arc<Entry>,
    /// The mark that is next.
    newest: Mark,
}

/// How far an upload is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunningUpload {
    pub slot: Slot,
    /// Bytes of the whole body.
    pub bytes: u64,
    /// Bytes of it that are here.
    pub received: u64,
    /// Of the last seconds.
    pub bytes_per_second: u64,
}

impl RunningUploads {
    /// An upload of `bytes`, which began there, or goes on from there.
    pub(super) fn enter(self: &Arc<Self>, slot: Slot, bytes: u64, begin: Mark) -> Place {
        let entry = Arc::new(Entry {
            slot,
            bytes,
            received: AtomicU64::new(begin.received),
            mark: Mutex::new(begin),
        });
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        lock(&self.entries).insert(number, Arc::clone(&entry));
        Place {
            uploads: Arc::clone(self),
            number,
            entry,
            newest: begin,
        }
    }

    /// All of them, in the order in which they began. For plain threads only.
    pub(super) fn look(&self) -> Vec<RunningUpload> {
        let entries = lock(&self.entries);
        let mut all: Vec<(u64, Arc<Entry>)> = entries
            .iter()
            .map(|(number, entry)| (*number, Arc::clone(entry)))
            .collect();
        drop(entries);
        all.sort_by_key(|(number, _)| *number);
        let now = Instant::now();
        all.iter().map(|(_, entry)| entry.look(now)).collect()
    }
}

impl Entry {
    fn look(&self, now: Instant) -> RunningUpload {
        let mark = *lock(&self.mark);
        let received = self.received.load(Ordering::Relaxed);
        let since_mark = received.saturating_sub(mark.received);
        let milliseconds = now.saturating_duration_since(mark.at).as_millis().max(1);
        let rate = u128::from(since_mark) * 1000 / milliseconds;
        RunningUpload {
            slot: self.slot.clone(),
            bytes: self.bytes,
            received,
            bytes_per_second: u64::try_from(rate).unwrap_or(u64::MAX),
        }
    }
}

impl Place {
    /// So many bytes of the body are here at `now`.
    pub(super) fn note(&mut self, received: u64, now: Instant) {
        self.entry.received.store(received, Ordering::Relaxed);
        if now.saturating_duration_since(self.newest.at) >= RATE_OVER {
            *lock(&self.entry.mark) = self.newest;
            self.newest = Mark { at: now, received };
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.uploads.entries).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(received: u64) -> Mark {
        let at = Instant::now();
        Mark { at, received }
    }

    #[test]
    fn an_upload_is_listed_from_its_beginning_to_its_end() {
        let uploads = Arc::new(RunningUploads::default());
        let mut one = uploads.enter(Slot::parse("lab-1/a").unwrap(), 1000, from(0));
        let two = uploads.enter(Slot::parse("lab-2/b").unwrap(), 1000, from(700));
        one.note(250, Instant::now());
        let received = |uploads: &RunningUploads| -> Vec<u64> {
            uploads.look().iter().map(|one| one.received).collect()
        };
        assert_eq!(received(&uploads), [250, 700]);
        drop(one);
        assert_eq!(received(&uploads), [700]);
        drop(two);
        assert_eq!(uploads.look(), []);
    }

    /// An upload that was fast for an hour and has stopped is not shown as fast.
    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let uploads = Arc::new(RunningUploads::default());
        let mut place = uploads.enter(Slot::parse("lab-1/a").unwrap(), 1 << 30, from(0));
        let began = place.newest.at;
        let after = |seconds| began + Duration::from_secs(seconds);
        for second in 1..=60 {
            place.note(second * 1_000_000, after(second));
        }
        let entry = Arc::clone(&place.entry);
        let rate = |second| entry.look(after(second)).bytes_per_second;
        assert_eq!(rate(60), 1_000_000);
        for second in 61..=80 {
            place.note(60_000_000 + (second - 60) * 1000, after(second));
        }
        assert_eq!(rate(80), 1000);
        assert_eq!(rate(85), 500);
    }
}
