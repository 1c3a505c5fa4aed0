//! The threads that send in a burst, [`SENDERS_MAX`] or fewer, each with one kept connection. They are begun
//! when they are needed and end with the burst, so that a shipper at rest has none of them.
//!
//! A sender knows nothing of the queue: it sends one parcel, hands the answer to the loop and waits for the
//! next parcel. So what may be sent is decided by the loop alone, each time that a sender is free.

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use super::client::{Answer, NoAnswer, ReceiverClient};
use super::parcel::{Parcel, SMALL_BYTES_MAX};
use crate::names::EpisodeId;
use crate::sync::lock;

/// How many small episodes are under way at once (design, section 5).
pub(super) const SENDERS_MAX: usize = 4;

/// An upload that is over.
pub(super) struct Answered {
    pub parcel: Parcel,
    pub heard: Result<Answer, NoAnswer>,
    pub took: Duration,
}

/// An upload under way.
pub(super) struct UnderWay {
    pub id: EpisodeId,
    pub bytes: u64,
    pub begun: Instant,
    sent: Arc<AtomicU64>,
}

impl UnderWay {
    /// How many bytes of its tarball have left.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The threads, and what they are doing. They end when this is dropped.
pub(super) struct Senders<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    receiver: &'env ReceiverClient,
    tell: Tell,
    give: Sender<Job>,
    jobs: Arc<Mutex<Receiver<Job>>>,
    threads: usize,
    under_way: Vec<UnderWay>,
}

/// Takes what a thread has heard; `None` from a thread that panicked.
pub(super) type Tell = Arc<dyn Fn(Option<Answered>) + Send + Sync>;

struct Job {
    parcel: Parcel,
    sent: Arc<AtomicU64>,
}

impl<'scope, 'env> Senders<'scope, 'env> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        receiver: &'env ReceiverClient,
        tell: Tell,
    ) -> Senders<'scope, 'env> {
        let (give, jobs) = mpsc::channel();
        Senders {
            scope,
            receiver,
            tell,
            give,
            jobs: Arc::new(Mutex::new(jobs)),
            threads: 0,
            under_way: Vec::new(),
        }
    }

    /// The uploads under way, the oldest first.
    pub(super) fn under_way(&self) -> &[UnderWay] {
        &self.under_way
    }

    /// Sends a parcel. It is returned if no thread can be had for it.
    pub(super) fn send(&mut self, parcel: Parcel) -> Option<Parcel> {
        if self.under_way.len() == self.threads && !self.begin_thread() {
            return Some(parcel);
        }
        let sent = Arc::new(AtomicU64::new(0));
        self.under_way.push(UnderWay {
            id: parcel.entry.id.clone(),
            bytes: parcel.content.seal.bytes,
            begun: Instant::now(),
            sent: sent.clone(),
        });
        match self.give.send(Job { parcel, sent }) {
            Ok(()) => None,
            Err(_) => unreachable!("the jobs are kept here too"),
        }
    }

    /// An upload is over, and its sender is free.
    pub(super) fn is_over(&mut self, id: &EpisodeId) {
        self.under_way.retain(|one| one.id != *id);
    }

    fn begin_thread(&mut self) -> bool {
        let receiver = self.receiver;
        let jobs = self.jobs.clone();
        let tell = self.tell.clone();
        let work = move || {
            let sending = || send_all(receiver, &jobs, &*tell);
            if let Err(fault) = panic::catch_unwind(panic::AssertUnwindSafe(sending)) {
                tell(None);
                panic::resume_unwind(fault);
            }
        };
        let thread = thread::Builder::new().name("sender".to_owned());
        let has_begun = thread.spawn_scoped(self.scope, work).is_ok();
        self.threads += usize::from(has_begun);
        has_begun
    }
}

/// Sends the parcels that come, until no more can come.
fn send_all(
    receiver: &ReceiverClient,
    jobs: &Mutex<Receiver<Job>>,
    tell: &dyn Fn(Option<Answered>),
) {
    let line = receiver.line(SMALL_BYTES_MAX);
    loop {
        // The lock is held while this thread waits: the others have a parcel, or wait for the lock.
        let job = lock(jobs).recv();
        let Ok(Job { parcel, sent }) = job else {
            return;
        };
        let begun = Instant::now();
        let mut progress = |bytes| sent.store(bytes, Ordering::Relaxed);
        let heard = line.put(&parcel.content.upload(), &mut progress);
        tell(Some(Answered {
            parcel,
            heard,
            took: begun.elapsed(),
        }));
    }
}
