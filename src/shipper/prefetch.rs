//! Packing ahead: while the receiver takes one episode, the next in turn is packed beside it.
//!
//! 1. One at a time, and nothing but outbox/ is changed here, by the steps of packing. What follows
//!    from how it went is the loop's to do.
//! 2. The loop's beats stay the loop's own: this thread has no proof that the sending goes on.
//! 3. Whoever ends the process waits for this thread first, or ends it with the process: the lock
//!    of the root is held for as long as anything here writes.

use std::ops::ControlFlow;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::outbox::{self, PackFault, Seal, Sync};
use super::queue::{Identity, Root};
use super::socket::Stop;
use crate::episode::Meta;
use crate::names::EpisodeId;
use crate::service;

/// Between two looks at how far it is.
const SLICE: Duration = Duration::from_millis(200);

/// How packing went, and how long it took.
pub type Outcome = (Result<(Seal, Meta), PackFault>, Duration);

/// One episode that is being packed, or was.
pub struct Prefetch {
    pub id: EpisodeId,
    shared: Arc<Shared>,
    outcome: Receiver<Outcome>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Bytes of files that were read, and how many there are.
    read: AtomicU64,
    total: AtomicU64,
    /// Nobody wants it any more.
    cancelled: AtomicBool,
}

impl Prefetch {
    /// `None` if no thread can be had: the episode is packed when it is its turn.
    pub fn begin(
        root: &Root,
        id: &EpisodeId,
        made_from: Identity,
        stop: &Stop,
    ) -> Option<Prefetch> {
        let shared = Arc::new(Shared::default());
        let (tell, outcome) = mpsc::channel();
        let work = {
            let (root, id, stop, shared) = (root.clone(), id.clone(), stop.clone(), shared.clone());
            move || {
                let begun = Instant::now();
                let mut progress = |read, total| {
                    shared.total.store(total, Ordering::Relaxed);
                    shared.read.store(read, Ordering::Relaxed);
                    match stop.is_set() || shared.cancelled.load(Ordering::Relaxed) {
                        true => ControlFlow::Break(()),
                        false => ControlFlow::Continue(()),
                    }
                };
                let packed = outbox::pack(&root, &id, made_from, Sync::Unwatched, &mut progress);
                // Nobody listens if it was cancelled.
                let _ = tell.send((packed, begun.elapsed()));
            }
        };
        let thread = thread::Builder::new().name("ahead".to_owned()).spawn(work);
        Some(Prefetch {
            id: id.clone(),
            shared,
            outcome,
            thread: thread.ok()?,
        })
    }

    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits to the end of it. `progress` hears how many bytes were read, if any were since it was
    /// last told, and how many there are.
    pub fn wait(self, progress: &mut dyn FnMut(u64, u64)) -> Outcome {
        let mut told = 0;
        loop {
            let read = self.shared.read.load(Ordering::Relaxed);
            let total = self.shared.total.load(Ordering::Relaxed);
            if read > told {
                told = read;
                progress(read, total);
            }
            // All is read: what comes now is the sync, which cannot tell how far it is.
            let heard = match read > 0 && read >= total {
                true => service::long_step(outbox::slowest_sync(total), || {
                    self.outcome
                        .recv()
                        .map_err(|_| RecvTimeoutError::Disconnected)
                }),
                false => self.outcome.recv_timeout(SLICE),
            };
            match heard {
                Ok(outcome) => {
                    // It has said its last word, and ends.
                    let _ = self.thread.join();
                    return outcome;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // As a panic of the loop's own: the process ends, and the next one sweeps.
                Err(RecvTimeoutError::Disconnected) => match self.thread.join() {
                    Err(fault) => panic::resume_unwind(fault),
                    Ok(()) => unreachable!("it ends with a word or a panic"),
                },
            }
        }
    }

    /// Ends it as soon as it can be ended, and waits for that.
    pub fn cancel(self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}
