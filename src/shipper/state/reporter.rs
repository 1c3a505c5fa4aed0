//! `state.json` while an upload runs, so that `cis490 status` is never an upload behind: a thread beside
//! the one that sends writes how far the upload is, soon after it began and then every ten seconds.
//!
//! 1. The thread that sends adds to one counter and waits for nothing; only if a write is under way at the
//!    very end of the upload does it wait for that one.
//! 2. The state is the loop's. The reporter writes a copy of it, and ends before the loop goes on, so
//!    an old state never comes after a newer one.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{State, Uploading};
use crate::sync::lock;

/// An upload that ends sooner is not written to the file: no person could read it in time.
pub(super) const FIRST_AFTER: Duration = Duration::from_millis(500);

/// How far an upload is: what the sending thread adds to.
#[derive(Default)]
pub(crate) struct Sent {
    bytes: AtomicU64,
    is_over: Mutex<bool>,
    ended: Condvar,
}

impl Sent {
    pub(crate) fn set(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    fn end(&self) {
        *lock(&self.is_over) = true;
        self.ended.notify_all();
    }

    /// Waits until `deadline` or the end of the upload. True if the upload ended.
    fn is_over_by(&self, deadline: Instant) -> bool {
        let mut is_over = lock(&self.is_over);
        while !*is_over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.ended.wait_timeout(is_over, left);
            is_over = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Ends the reporter, also where sending panics.
struct EndsWith<'a>(&'a Sent);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Writes `state.json` at an interval while an upload runs.
pub(crate) struct Reporter<W> {
    /// The rest of the file.
    pub state: State,
    pub uploading: Uploading,
    pub write: W,
    pub every: Duration,
    /// The last time that the file was written before.
    pub last_written: Option<Instant>,
}

impl<W: FnMut(&State) -> io::Result<()> + Send> Reporter<W> {
    /// Runs `send`, and writes the file from a thread beside it. Also returns when the file was last
    /// written, if it was.
    pub(crate) fn beside<T>(
        mut self,
        sent: &Sent,
        send: impl FnOnce() -> T,
    ) -> (T, Option<Instant>) {
        thread::scope(|scope| {
            let report = move || self.report(sent);
            // If no thread can be had, the upload runs all the same, without reports.
            let thread = thread::Builder::new()
                .name("state".to_owned())
                .spawn_scoped(scope, report);
            let end = EndsWith(sent);
            let done = send();
            drop(end);
            let written = thread.ok().and_then(|thread| thread.join().ok().flatten());
            (done, written)
        })
    }

    fn report(&mut self, sent: &Sent) -> Option<Instant> {
        let mut written = None;
        let begun = Instant::now();
        let mut seen = (begun, 0);
        let not_before = self.last_written.map_or(begun, |last| last + self.every);
        let mut next = not_before.max(begun + FIRST_AFTER.min(self.every));
        while !sent.is_over_by(next) {
            let now = Instant::now();
            let bytes = sent.bytes.load(Ordering::Relaxed);
            self.uploading.bytes_sent = bytes;
            self.uploading.bytes_per_second =
                per_second(bytes.saturating_sub(seen.1), now.duration_since(seen.0));
            self.state.uploading = Some(self.uploading.clone());
            if (self.write)(&self.state).is_ok() {
                written = Some(now);
            }
            seen = (now, bytes);
            next = now + self.every;
        }
        written
    }
}

/// A rate; `time` counts as a millisecond at least.
pub(super) fn per_second(bytes: u64, time: Duration) -> u64 {
    let per_second = u128::from(bytes) * 1000 / time.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::names::EpisodeId;

    fn reporter<W: FnMut(&State) -> io::Result<()> + Send>(
        write: W,
        last_written: Option<Instant>,
    ) -> Reporter<W> {
        Reporter {
            state: State::default(),
            uploading: Uploading {
                episode: EpisodeId::parse("ep-1").unwrap(),
                since: String::new(),
                bytes_sent: 0,
                resumed_at: None,
                bytes: 100,
                bytes_per_second: 0,
            },
            write,
            every: Duration::from_millis(5),
            last_written,
        }
    }

    #[test]
    fn it_writes_over_and_over_how_far_the_upload_is() {
        let (tell, heard) = mpsc::channel();
        let write = move |state: &State| {
            tell.send(state.uploading.clone().unwrap()).unwrap();
            Ok(())
        };
        let sent = Sent::default();
        let (done, written) = reporter(write, None).beside(&sent, || {
            assert_eq!(heard.recv().unwrap().bytes_sent, 0);
            sent.set(40);
            let first = heard
                .iter()
                .find(|uploading| uploading.bytes_sent == 40)
                .unwrap();
            assert!(first.bytes_per_second > 0);
            // It stands still: that is a rate too.
            assert_eq!(heard.recv().unwrap().bytes_per_second, 0);
            7
        });
        assert_eq!(done, 7);
        assert!(written.is_some());
    }

    #[test]
    fn it_does_not_write_again_too_soon_and_ends_at_once() {
        let soon = |_: &State| panic!("it was written a moment ago");
        let future = Instant::now() + Duration::from_secs(3600);
        let begun = Instant::now();
        let (_, written) = reporter(soon, Some(future)).beside(&Sent::default(), || ());
        assert_eq!(written, None);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_panic_of_the_sender_ends_it_too() {
        let sent = Sent::default();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reporter(|_: &State| Ok(()), None)
                .beside(&sent, || std::panic::resume_unwind(Box::new(1)))
        }));
        assert!(ended.is_err());
    }
}
