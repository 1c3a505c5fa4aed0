//! What a plain thread reports to the coroutine that waits for it.
//!
//! may's own channels (0.3.51) let a coroutine go on, and end, while the worker that has parked it still
//! writes into the coroutine's data: `Park::subscribe` gives the coroutine away first, and registers it
//! for its cancellation afterwards. A worker that lost its processor in between wrote into memory that
//! was freed by then, and the receiver aborted in its allocator. So here:
//!
//! 1. A coroutine goes on only when that worker has let go of it. The last owner of a `Blocker` waits for
//!    that when it drops it, and the coroutine is the last one.
//! 2. A sender has no `Blocker` of its own: it wakes the coroutine's under the lock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use may::sync::Blocker;

use crate::sync::lock;

/// The shortest wait that ends by itself.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// The sending end, of a plain thread. Its drop is the end of the reports.
pub(super) struct Sender<T>(Arc<Mutex<Held<T>>>);

/// The receiving end, of a coroutine.
pub(super) struct Receiver<T>(Arc<Mutex<Held<T>>>);

/// Nothing more comes, or nothing came in time; or nobody receives any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

struct Held<T> {
    reports: VecDeque<T>,
    /// Of the coroutine that waits.
    waiting: Option<Arc<Blocker>>,
    sender_is_gone: bool,
    receiver_is_gone: bool,
}

pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let held = Arc::new(Mutex::new(Held {
        reports: VecDeque::new(),
        waiting: None,
        sender_is_gone: false,
        receiver_is_gone: false,
    }));
    (Sender(Arc::clone(&held)), Receiver(held))
}

impl<T> Held<T> {
    fn wake(&self) {
        if let Some(blocker) = &self.waiting {
            blocker.unpark();
        }
    }
}

impl<T> Sender<T> {
    /// Errors: nobody receives it.
    pub(super) fn send(&self, report: T) -> Result<(), Gone> {
        let mut held = lock(&self.0);
        if held.receiver_is_gone {
            return Err(Gone);
        }
        held.reports.push_back(report);
        held.wake();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut held = lock(&self.0);
        held.sender_is_gone = true;
        held.wake();
    }
}

impl<T> Receiver<T> {
    /// Waits for the next report.
    ///
    /// Errors: no more come.
    pub(super) fn recv(&self) -> Result<T, Gone> {
        self.recv_until(None)
    }

    /// The same, and waits no longer than this.
    pub(super) fn recv_timeout(&self, patience: Duration) -> Result<T, Gone> {
        self.recv_until(Some(Instant::now() + patience))
    }

    fn recv_until(&self, until: Option<Instant>) -> Result<T, Gone> {
        loop {
            let blocker = Blocker::current();
            {
                let mut held = lock(&self.0);
                if let Some(report) = held.reports.pop_front() {
                    return Ok(report);
                }
                if held.sender_is_gone {
                    return Err(Gone);
                }
                held.waiting = Some(Arc::clone(&blocker));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let is_over = left.is_some_and(|left| left.is_zero());
            if !is_over {
                // may counts whole milliseconds, and waits for ever if there is none.
                let wait = left.map(|left| left.max(LEAST_WAIT));
                // Woken, or the time is over: the next look shows which.
                let _ = blocker.park(wait);
            }
            lock(&self.0).waiting = None;
            // The last one: its drop waits until the worker that has parked us is done with us.
            drop(blocker);
            if is_over {
                return Err(Gone);
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        lock(&self.0).receiver_is_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_report_comes_and_then_the_end() {
        let (sender, receiver) = channel();
        let thread = thread::spawn(move || (0..3).for_each(|n| sender.send(n).unwrap()));
        assert_eq!(
            [receiver.recv(), receiver.recv(), receiver.recv()],
            [Ok(0), Ok(1), Ok(2)]
        );
        assert_eq!(receiver.recv(), Err(Gone));
        thread.join().unwrap();
    }

    #[test]
    fn a_wait_has_its_end_and_a_sender_hears_that_nobody_receives() {
        let (sender, receiver) = channel();
        let short = Duration::from_millis(1);
        assert_eq!(receiver.recv_timeout(short), Err(Gone));
        assert_eq!(sender.send(7), Ok(()));
        assert_eq!(receiver.recv_timeout(short), Ok(7));
        drop(receiver);
        assert_eq!(sender.send(8), Err(Gone));
    }

    /// However little time is left when the wait begins.
    #[test]
    fn a_coroutines_wait_has_its_end() {
        for micros in [1, 100, 900, 1100, 2999] {
            let (ends, ended) = std::sync::mpsc::channel();
            let work = move || {
                let (_sender, receiver) = channel::<u64>();
                let _ = ends.send(receiver.recv_timeout(Duration::from_micros(micros)));
            };
            drop(may::go!(work));
            let end = ended.recv_timeout(Duration::from_secs(60));
            assert_eq!(end, Ok(Err(Gone)), "{micros}");
        }
    }

    /// Coroutines that end as soon as they have their report, which comes as soon as they wait. Nobody has
    /// a handle of theirs, so that what they had is freed.
    #[test]
    fn a_coroutine_may_end_at_once() {
        const COROUTINES: u64 = 20_000;
        // Each has a stack of its own: not too many at the same time.
        const WAVE: u64 = 100;
        let (asks, asked) = std::sync::mpsc::channel::<(u64, Sender<u64>)>();
        let (ends, ended) = std::sync::mpsc::channel();
        let asked = Arc::new(Mutex::new(asked));
        for _ in 0..4 {
            let asked = Arc::clone(&asked);
            thread::spawn(move || {
                loop {
                    let next = lock(&asked).recv();
                    let Ok((n, sender)) = next else { return };
                    let _ = sender.send(n);
                }
            });
        }
        for wave in 0..COROUTINES / WAVE {
            for n in wave * WAVE..(wave + 1) * WAVE {
                let (asks, ends) = (asks.clone(), ends.clone());
                let work = move || {
                    let (sender, receiver) = channel();
                    asks.send((n, sender)).unwrap();
                    let _ = ends.send(receiver.recv() == Ok(n));
                };
                drop(may::go!(work));
            }
            for _ in 0..WAVE {
                assert_eq!(ended.recv(), Ok(true));
            }
        }
    }
}
