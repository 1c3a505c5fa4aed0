//! Packing ahead: while one episode is sent, the next one is packed on a thread of its own.
//!
//! 1. One episode at a time, and only outbox/ is changed here, by the steps of packing. The loop
//!    handles the result.
//! 2. This thread never pings the service manager's watchdog: it cannot know that the loop goes on.
//! 3. The loop waits for this thread before it ends, or the thread ends with the process: the lock
//!    of the root is held for as long as this thread writes.

use std::ops::ControlFlow;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::outbox::{self, PackFault, Seal, Sync};
use super::queue::{Identity, Root};
use super::stop::Stop;
use crate::episode::Meta;
use crate::names::EpisodeId;
use crate::service;

/// Between two looks at how far the packing is.
const SLICE: Duration = Duration::from_millis(200);

/// How the packing of an episode went.
pub(super) struct Packing {
    /// Of the `meta.json` that the episode had when its packing began.
    pub made_from: Identity,
    pub result: Result<(Seal, Meta), PackFault>,
    pub took: Duration,
}

/// One episode that is being packed, or was.
pub(super) struct Prefetch {
    pub id: EpisodeId,
    shared: Arc<Shared>,
    packing: Receiver<Packing>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Bytes of files that were read, and how many there are.
    read: AtomicU64,
    total: AtomicU64,
    /// Set by [`Prefetch::cancel`]: the packing is to stop.
    cancelled: AtomicBool,
}

impl Prefetch {
    /// `None` if no thread can be had: the episode is packed when it is its turn.
    pub(super) fn begin(
        root: &Root,
        id: &EpisodeId,
        made_from: Identity,
        stop: &Stop,
    ) -> Option<Prefetch> {
        let shared = Arc::new(Shared::default());
        let (tell, packing) = mpsc::channel();
        let work = {
            let root = root.clone();
            let id = id.clone();
            let stop = stop.clone();
            let shared = shared.clone();
            move || {
                let begun = Instant::now();
                let mut progress = |read, total| {
                    shared.total.store(total, Ordering::Relaxed);
                    shared.read.store(read, Ordering::Relaxed);
                    if stop.is_set() || shared.cancelled.load(Ordering::Relaxed) {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                let result = outbox::pack(&root, &id, made_from, Sync::Unwatched, &mut progress);
                let took = begun.elapsed();
                // After a cancel the receiving end may be gone.
                let _ = tell.send(Packing {
                    made_from,
                    result,
                    took,
                });
            }
        };
        let thread = thread::Builder::new().name("ahead".to_owned()).spawn(work);
        Some(Prefetch {
            id: id.clone(),
            shared,
            packing,
            thread: thread.ok()?,
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the packing ends. `progress` is called with the bytes read so far and the total,
    /// each time that more were read.
    pub(super) fn wait(self, progress: &mut dyn FnMut(u64, u64)) -> Packing {
        let mut told = 0;
        loop {
            let read = self.shared.read.load(Ordering::Relaxed);
            let total = self.shared.total.load(Ordering::Relaxed);
            if read > told {
                told = read;
                progress(read, total);
            }
            // All is read: what comes now is the sync, which cannot tell how far it is.
            let heard = if read > 0 && read >= total {
                service::long_step(outbox::slowest_sync(total), || {
                    self.packing
                        .recv()
                        .map_err(|_| RecvTimeoutError::Disconnected)
                })
            } else {
                self.packing.recv_timeout(SLICE)
            };
            match heard {
                Ok(packing) => {
                    // The result is the last thing that the thread sends.
                    let _ = self.thread.join();
                    return packing;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The thread panicked: pass the panic on. The process ends, and the next one sweeps.
                Err(RecvTimeoutError::Disconnected) => match self.thread.join() {
                    Err(fault) => panic::resume_unwind(fault),
                    Ok(()) => unreachable!("it ends with a word or a panic"),
                },
            }
        }
    }

    /// Stops the packing as soon as possible, and waits for its thread to end.
    pub(super) fn cancel(self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}
