//! Downloads under way: how many there may be, and what happens to one on its thread.
//!
//! The coroutine waits; a finder looks for the file, and sends it if it is small (`Downloads::send_at_once`): its
//! place is free when the kernel has all of it, so what lies there is bounded by the connections. A
//! large one is sent by a thread of its own. How that ended is logged and counted; the log's time has what
//! passed until the peer was seen to have all of it, a tenth of a second at most for a small one. The threads give
//! way to those of uploads: what comes in has nowhere else to go.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::outcome::{Outcome, Outcomes};
use super::sending::{Sending, ToPeer};
use crate::events::{self, DownloadEnd};
use crate::failure::Failure;
use crate::names::ReaderId;
use crate::receiver::critical_thread::{Pong, ShutdownHandle};
use crate::receiver::http::blocking_pool::BlockingPool;
use crate::receiver::http::fair_limiter::{FairLimiter, NoPermit, Permit};
use crate::receiver::http::guard::{Outgoing, Settled};
use crate::receiver::http::pace::PaceLimits;
use crate::receiver::http::reply_channel;
use crate::receiver::refusal::Refusal;
use crate::thread_pool::{IDLE_MAX, ThreadPool};
use crate::wire::Slot;

/// How far a thread that sends gives way, in steps of niceness: as far as there are any, and so further than
/// one that receives. On a machine whose two cores were busy `GET /v1/health` waited 10 ms at its 99th
/// percentile beside eight downloads with 10 steps, and 2 ms with 19; downloads were as fast
/// (`just bench fetch`).
const GIVES_WAY: i32 = 19;

/// Threads that find what a reader asks for, and send small files.
const FINDERS: usize = 4;
/// They do little at a time, and a reader of many small files waits for each.
const FINDERS_GIVE_WAY: i32 = 10;

/// What is to be sent to whom.
pub(super) struct Download {
    pub slot: Slot,
    pub reader: ReaderId,
    pub file: File,
    pub file_bytes: u64,
    pub part: Range<u64>,
    /// Its place.
    pub permit: Permit,
}

/// A download on its way.
pub(super) struct Transfer {
    account: Account,
    sending: Sending,
    permit: Permit,
}

/// What the log says of a download.
struct Account {
    slot: Slot,
    reader: ReaderId,
    peer: IpAddr,
    part: Range<u64>,
    began: Instant,
}

/// What sending at once came to.
pub(super) enum AtOnce {
    /// The kernel has all of it.
    Sent,
    /// The peer is gone, or the file is not what it was.
    Broken,
    /// The kernel had no room for all of it.
    Part(Box<Transfer>),
}

pub(in crate::receiver::http) struct Downloads {
    limits: PaceLimits,
    permits: Arc<FairLimiter>,
    finders: BlockingPool,
    threads: Arc<ThreadPool>,
    outcomes: Outcomes,
    /// Those that have given up their place, and whose end is not logged yet.
    unsettled: AtomicU32,
}

/// The coroutine's end of a download under way.
pub(super) struct Running(reply_channel::Receiver<Outcome>);

impl Running {
    /// Waits until the download has ended; whether the peer has all of it.
    pub(super) fn wait(self, downloads: &Downloads) -> bool {
        match self.0.recv() {
            Ok(outcome) => outcome == Outcome::Complete,
            Err(_) => {
                // The thread panicked.
                downloads.outcomes.count(Outcome::Failed);
                false
            }
        }
    }
}

impl Transfer {
    /// Whether the kernel has something of it already.
    pub(super) fn has_begun(&self) -> bool {
        self.sending.has_begun()
    }
}

impl Downloads {
    /// Errors: the system gave no thread.
    pub(in crate::receiver::http) fn start(
        downloads_max: u32,
        limits: PaceLimits,
        shutdown: &ShutdownHandle,
    ) -> Result<Arc<Downloads>, Failure> {
        Ok(Arc::new(Downloads {
            limits,
            permits: FairLimiter::of_halves(downloads_max),
            finders: BlockingPool::start("finder", FINDERS, FINDERS_GIVE_WAY, shutdown)?,
            threads: ThreadPool::new("download", GIVES_WAY, IDLE_MAX),
            outcomes: Outcomes::default(),
            unsettled: AtomicU32::new(0),
        }))
    }

    /// A finder that is free calls it.
    pub(in crate::receiver::http) fn ping(&self, pong: Pong) {
        self.finders.ping(pong);
    }

    /// What a finder makes of this, while the coroutine waits. `None` if it panicked.
    pub(super) fn find<T: Send + 'static>(
        &self,
        find: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.finders.ask(find)
    }

    /// From here on there are so many places.
    pub(in crate::receiver::http) fn set_max(&self, downloads_max: u32) {
        self.permits.set_most(downloads_max);
    }

    /// Places that are taken.
    pub(in crate::receiver::http) fn running(&self) -> u32 {
        self.permits.taken()
    }

    /// Downloads whose end is not known yet.
    pub(in crate::receiver::http) fn not_ended(&self) -> u32 {
        self.running() + self.unsettled.load(Ordering::SeqCst)
    }

    /// Bytes of episodes that readers have taken.
    pub(in crate::receiver::http) fn bytes(&self) -> u64 {
        self.outcomes.bytes()
    }

    /// How many ended in each way, by its name.
    pub(in crate::receiver::http) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Outcome::ALL.into_iter();
        all.map(|outcome| (outcome.name(), self.outcomes.of(outcome)))
    }

    /// Counts a request whose file could not be sent.
    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes.count(outcome);
    }

    /// A place for one more download of this peer, if there is any.
    pub(super) fn permit(&self, peer: IpAddr) -> Result<Permit, Refusal> {
        self.permits.take(peer).map_err(|why| match why {
            NoPermit::Full => self.full(),
            NoPermit::OwnShare(under_way) => Refusal::TooManyDownloadsOfYours { under_way },
        })
    }

    pub(super) fn full(&self) -> Refusal {
        Refusal::TooManyDownloads {
            downloads_max: self.permits.most(),
        }
    }

    /// The download on its way through `outgoing`.
    pub(super) fn begin(&self, download: Download, outgoing: Outgoing) -> Box<Transfer> {
        let Download {
            slot,
            reader,
            file,
            file_bytes,
            part,
            permit,
        } = download;
        let account = Account {
            slot,
            reader,
            peer: outgoing.peer(),
            part: part.clone(),
            began: Instant::now(),
        };
        Box::new(Transfer {
            account,
            sending: Sending::new(self.to_peer(outgoing), file, file_bytes, part),
            permit,
        })
    }

    /// An answer on its way, whose peer keeps the pace of a reader.
    pub(super) fn to_peer(&self, outgoing: Outgoing) -> ToPeer {
        ToPeer::new(outgoing, self.limits)
    }

    /// Sends what the kernel has room for. If that is all, the connection finds out whether the peer gets
    /// it, and the place is free.
    pub(super) fn send_at_once(self: &Arc<Self>, mut transfer: Box<Transfer>) -> AtOnce {
        match transfer.sending.send_at_once() {
            Ok(true) => {}
            Ok(false) => return AtOnce::Part(transfer),
            Err(outcome) => {
                self.end(*transfer, outcome);
                return AtOnce::Broken;
            }
        }
        let Transfer {
            account, sending, ..
        } = *transfer;
        self.unsettled.fetch_add(1, Ordering::SeqCst);
        let downloads = Arc::clone(self);
        sending.leave(Box::new(move |settled| downloads.settle(&account, settled)));
        AtOnce::Sent
    }

    fn settle(&self, account: &Account, settled: Settled) {
        let (unacked, outcome) = match settled {
            Settled::Taken => (0, Outcome::Complete),
            Settled::Gone { unacked } => (unacked, Outcome::PeerGone),
            Settled::TooSlow { unacked } => (unacked, Outcome::TooSlow),
        };
        let bytes = account.part.end - account.part.start;
        self.note(account, bytes.saturating_sub(unacked), outcome);
        self.unsettled.fetch_sub(1, Ordering::SeqCst);
    }

    /// Sends on a thread, which waits for the peer.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn send_on_thread(self: &Arc<Self>, transfer: Box<Transfer>) -> io::Result<Running> {
        self.run_on_thread(move |downloads| {
            let mut transfer = *transfer;
            let outcome = transfer.sending.run();
            downloads.end(transfer, outcome);
            outcome
        })
    }

    /// Has a thread send an answer, and hears how that ended.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn run_on_thread(
        self: &Arc<Self>,
        send: impl FnOnce(&Downloads) -> Outcome + Send + 'static,
    ) -> io::Result<Running> {
        let (report, reports) = reply_channel::channel();
        let downloads = Arc::clone(self);
        self.threads.run(Box::new(move || {
            let outcome = send(&downloads);
            // A coroutine that has gone needs no report.
            let _ = report.send(outcome);
        }))?;
        Ok(Running(reports))
    }

    /// The download has ended, and its place is free.
    fn end(&self, transfer: Transfer, outcome: Outcome) {
        let Transfer {
            account,
            sending,
            permit,
        } = transfer;
        self.free(permit, || self.note(&account, sending.taken(), outcome));
    }

    /// Frees a place, and then notes how its download ended: before the end of the answer is seen, since its
    /// reader may ask for the next episode at once.
    pub(super) fn free(&self, permit: Permit, note: impl FnOnce()) {
        // A stop waits for the line in the log.
        self.unsettled.fetch_add(1, Ordering::SeqCst);
        drop(permit);
        note();
        self.unsettled.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts the end of an answer of which the peer has so many bytes of episodes.
    pub(super) fn count_end(&self, bytes: u64, outcome: Outcome) {
        self.outcomes.add_bytes(bytes);
        self.outcomes.count(outcome);
    }

    /// Counts and logs the end of a download of which the peer has so many bytes.
    fn note(&self, account: &Account, bytes: u64, outcome: Outcome) {
        self.count_end(bytes, outcome);
        events::download_ended(&DownloadEnd {
            slot: &account.slot,
            reader: &account.reader,
            peer: account.peer,
            from: account.part.start,
            of: account.part.end - account.part.start,
            bytes,
            seconds: account.began.elapsed().as_secs_f64(),
            outcome: outcome.name(),
        });
    }
}
