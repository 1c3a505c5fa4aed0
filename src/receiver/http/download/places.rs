//! Downloads under way: how many there may be, and what happens to one on its thread.
//!
//! The coroutine judges the head and waits; the thread sends the answer (`sending`), and logs and counts
//! how that ended. The threads give way to those of uploads: what comes in has nowhere else to go.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::outcome::{Outcome, Outcomes};
use super::sending::Sending;
use crate::events::{self, DownloadEnd};
use crate::names::ReaderId;
use crate::receiver::http::body_threads::BodyThreads;
use crate::receiver::http::fair_limiter::{FairLimiter, NoPermit, Permit};
use crate::receiver::http::guard::Outgoing;
use crate::receiver::http::pour::PaceLimits;
use crate::receiver::http::reply_channel;
use crate::receiver::refusal::Refusal;
use crate::wire::Slot;

/// How far a thread that sends gives way, in steps of niceness: as far as there are any, and so further than
/// one that receives. On a machine whose two cores were busy `GET /v1/health` waited 10 ms at its 99th
/// percentile beside eight downloads with 10 steps, and 2 ms with 19; downloads were as fast
/// (`just bench fetch`).
const GIVES_WAY: i32 = 19;

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

pub(in crate::receiver::http) struct Downloads {
    limits: PaceLimits,
    permits: Arc<FairLimiter>,
    threads: Arc<BodyThreads>,
    outcomes: Outcomes,
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

impl Downloads {
    pub(in crate::receiver::http) fn new(downloads_max: u32, limits: PaceLimits) -> Arc<Downloads> {
        Arc::new(Downloads {
            limits,
            permits: FairLimiter::of_halves(downloads_max),
            threads: BodyThreads::new("download", GIVES_WAY),
            outcomes: Outcomes::default(),
        })
    }

    /// From here on there are so many places.
    pub(in crate::receiver::http) fn set_max(&self, downloads_max: u32) {
        self.permits.set_most(downloads_max);
    }

    /// Places that are taken.
    pub(in crate::receiver::http) fn running(&self) -> u32 {
        self.permits.taken()
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

    /// Starts to send the download's answer on a thread.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn start(
        self: &Arc<Self>,
        download: Download,
        outgoing: Outgoing,
    ) -> io::Result<Running> {
        let (report, reports) = reply_channel::channel();
        let downloads = Arc::clone(self);
        self.threads.run(Box::new(move || {
            let outcome = downloads.send(download, outgoing);
            // A coroutine that has gone needs no report.
            let _ = report.send(outcome);
        }))?;
        Ok(Running(reports))
    }

    /// The whole way of one download, on its thread.
    fn send(&self, download: Download, outgoing: Outgoing) -> Outcome {
        let Download {
            slot,
            reader,
            file,
            file_bytes,
            part,
            permit,
        } = download;
        let began = Instant::now();
        let peer = outgoing.peer();
        let mut sending = Sending::new(outgoing, file, file_bytes, part.clone(), self.limits);
        let outcome = sending.run();
        // Before the end of the answer is seen: its reader may ask for the next episode at once.
        drop(permit);
        let bytes = sending.taken();
        self.outcomes.add_bytes(bytes);
        self.outcomes.count(outcome);
        events::download_ended(&DownloadEnd {
            slot: &slot,
            reader: &reader,
            peer,
            from: part.start,
            of: part.end - part.start,
            bytes,
            seconds: began.elapsed().as_secs_f64(),
            outcome: outcome.name(),
        });
        outcome
    }
}
