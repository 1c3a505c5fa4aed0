//! What the threads that fetch hand to the one that brings it to the disk.
//!
//! A wake-up costs as much as a small file does. So the one thread sleeps until there is a batch's worth,
//! or all that is under way, or its time is over; progress it reads from a counter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::end::End;
use super::pages::Task;
use super::transfer::Fetched;
use crate::sync::lock;
use crate::sys;

/// How many are handed over at once while more come.
const MANY: usize = 64;
/// How far the threads may be ahead of the disk, in files: while it writes one batch, the next one comes.
const WAITING_MAX: usize = 800;
/// The same where this process may not have that many open.
const WAITING_FEW: usize = 192;
/// The same in bytes, which wait in memory for the disk.
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// What a pull has open besides: its own files and connections.
const OTHER_FILES: usize = 200;

/// A task, and what it came to.
pub(super) type Ended = (Task, Result<Fetched, End>);

pub(super) struct Inbox {
    held: Mutex<Held>,
    /// There is something to take, or nothing more comes.
    is_due: Condvar,
    /// There is room, or nobody takes any more.
    has_room: Condvar,
    bytes: AtomicU64,
    waiting_max: usize,
}

struct Held {
    ended: Vec<Ended>,
    /// Of their files that are not on the disk.
    bytes: u64,
    /// So many are enough to wake the one that takes.
    enough: usize,
    threads: usize,
    is_closed: bool,
}

/// One of the threads that put into it. Dropping it says that the thread has ended.
pub(super) struct Sender<'a>(&'a Inbox);

/// The only one that takes. After its drop nothing waits for room.
pub(super) struct Taker<'a>(&'a Inbox);

impl Inbox {
    /// Each file that waits is open, besides those of the batch (`batch_files`) that the disk is at: what waits
    /// comes to the batch at once, and the room for it is filled again.
    pub(super) fn new(batch_files: usize) -> Inbox {
        let wanted = (2 * WAITING_MAX + batch_files + OTHER_FILES) as u64;
        let may_have = sys::raise_file_limit(wanted).is_ok_and(|limit| wanted <= limit);
        Inbox {
            waiting_max: if may_have { WAITING_MAX } else { WAITING_FEW },
            held: Mutex::new(Held {
                ended: Vec::new(),
                bytes: 0,
                enough: MANY,
                threads: 0,
                is_closed: false,
            }),
            is_due: Condvar::new(),
            has_room: Condvar::new(),
            bytes: AtomicU64::new(0),
        }
    }

    fn is_full(&self, held: &Held) -> bool {
        self.waiting_max <= held.ended.len() || WAITING_BYTES_MAX <= held.bytes
    }

    /// For one more thread.
    pub(super) fn sender(&self) -> Sender<'_> {
        lock(&self.held).threads += 1;
        Sender(self)
    }

    pub(super) fn taker(&self) -> Taker<'_> {
        Taker(self)
    }
}

impl Sender<'_> {
    /// So many bytes have come.
    pub(super) fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits while there is no room.
    pub(super) fn put(&self, ended: Ended) {
        let mut held = lock(&self.0.held);
        while self.0.is_full(&held) && !held.is_closed {
            held = wait(&self.0.has_room, held);
        }
        if let (task, Ok(Fetched::Whole(_))) = &ended {
            held.bytes += task.row.bytes.unwrap_or(0);
        }
        held.ended.push(ended);
        if held.ended.len() == held.enough {
            self.0.is_due.notify_one();
        }
    }
}

impl Drop for Sender<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.0.held);
        held.threads -= 1;
        if held.threads == 0 {
            self.0.is_due.notify_one();
        }
    }
}

impl Taker<'_> {
    /// Waits until many have ended, or the `most` that can, or `patience` is over, and takes what has. `None`
    /// once nothing more comes.
    pub(super) fn take(&self, most: usize, patience: Duration) -> Option<Vec<Ended>> {
        let until = Instant::now() + patience;
        let mut held = lock(&self.0.held);
        held.enough = MANY.min(most);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_over = held.threads == 0;
            if is_over && held.ended.is_empty() {
                return None;
            }
            if is_over || held.enough <= held.ended.len() || left.is_zero() {
                break;
            }
            let waited = self.0.is_due.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let ended = std::mem::take(&mut held.ended);
        held.bytes = 0;
        drop(held);
        self.0.has_room.notify_all();
        Some(ended)
    }

    /// How many threads have not ended.
    pub(super) fn threads(&self) -> usize {
        lock(&self.0.held).threads
    }

    /// How many bytes have come since the last look.
    pub(super) fn new_bytes(&self) -> u64 {
        self.0.bytes.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Taker<'_> {
    fn drop(&mut self) {
        lock(&self.0.held).is_closed = true;
        self.0.has_room.notify_all();
    }
}

fn wait<'a>(condition: &Condvar, held: MutexGuard<'a, Held>) -> MutexGuard<'a, Held> {
    condition.wait(held).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::names::Sha256Digest;
    use crate::pull::pages::{Pages, Work};
    use crate::pull::row::Row;
    use crate::wire::Slot;

    fn ended(n: usize) -> Ended {
        let line = format!(
            r#"{{"host":"lab","episode":"ep-{n}","bytes":{n},"sha256":"{}"}}"#,
            Sha256Digest::from_bytes([0; 32])
        );
        let row = Row::parse(line.as_bytes()).unwrap();
        let work = Work {
            row,
            is_there: false,
        };
        let task = Pages::default().begin(vec![work]).pop().unwrap();
        (task, Ok(Fetched::Here))
    }

    #[test]
    fn all_of_several_threads_comes_and_then_nothing_more() {
        let inbox = Inbox::new(400);
        let mut seen: Vec<Slot> = thread::scope(|scope| {
            for thread in 0..4 {
                let sender = inbox.sender();
                scope.spawn(move || {
                    for n in 0..500 {
                        sender.put(ended(thread * 500 + n));
                        sender.add_bytes(1);
                    }
                });
            }
            let taker = inbox.taker();
            let mut seen = Vec::new();
            while let Some(some) = taker.take(MANY, Duration::from_secs(60)) {
                assert!(!some.is_empty() && some.len() <= WAITING_MAX);
                seen.extend(some.into_iter().map(|(task, _)| task.row.slot));
            }
            assert_eq!(taker.new_bytes(), 2000);
            assert_eq!(taker.new_bytes(), 0);
            seen
        });
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 2000);
    }

    #[test]
    fn a_few_are_taken_at_once_when_no_others_are_to_come() {
        let inbox = Inbox::new(400);
        thread::scope(|scope| {
            let taker = inbox.taker();
            let (first, second) = (inbox.sender(), inbox.sender());
            scope.spawn(move || first.put(ended(1)));
            let begun = Instant::now();
            let some = taker.take(1, Duration::from_secs(60)).unwrap();
            assert_eq!(some.len(), 1);
            assert_eq!(taker.take(0, Duration::from_secs(60)).unwrap().len(), 0);
            assert!(begun.elapsed() < Duration::from_secs(30));
            drop(second);
        });
    }

    /// What is on the disk already needs no memory.
    #[test]
    fn there_is_no_room_for_more_bytes_than_may_wait() {
        let inbox = Inbox::new(400);
        let (sender, taker) = (inbox.sender(), inbox.taker());
        let is_full = || inbox.is_full(&lock(&inbox.held));
        let of_the_bytes = |fetched| (ended(WAITING_BYTES_MAX as usize).0, Ok(fetched));
        sender.put(of_the_bytes(Fetched::Here));
        assert!(!is_full());
        let file = std::fs::File::open("/dev/null").unwrap();
        sender.put(of_the_bytes(Fetched::Whole(file)));
        assert!(is_full());
        assert_eq!(
            taker.take(2, Duration::ZERO).map(|some| some.len()),
            Some(2)
        );
        assert!(!is_full());
    }

    #[test]
    fn nobody_waits_for_room_when_the_taker_has_gone() {
        let inbox = Inbox::new(400);
        thread::scope(|scope| {
            let sender = inbox.sender();
            scope.spawn(move || (0..3 * WAITING_MAX).for_each(|n| sender.put(ended(n))));
            drop(inbox.taker());
        });
    }

    #[test]
    fn a_few_are_taken_when_the_time_is_over() {
        let inbox = Inbox::new(400);
        let sender = inbox.sender();
        let taker = inbox.taker();
        assert_eq!(
            taker.take(MANY, Duration::ZERO).map(|some| some.len()),
            Some(0)
        );
        sender.put(ended(1));
        let some = taker.take(MANY, Duration::from_millis(1)).unwrap();
        assert_eq!(some.len(), 1);
        drop(sender);
        assert!(taker.take(MANY, Duration::from_secs(60)).is_none());
    }
}
