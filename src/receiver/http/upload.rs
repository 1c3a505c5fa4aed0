//! Body threads: plain threads that take an upload's body from the socket to the store, as many
//! as uploads are allowed at once.
//!
//! A coroutine that read bodies would stall every connection of its worker while the disk is slow;
//! a thread of its own stalls nobody (design, section 7, has the measurements). The coroutine
//! judges the head and waits; the thread begins the upload in the store, takes the body from the
//! socket, publishes, and tells how it went. For a small body each hand-over from thread to thread
//! counts: there is one there and one back, and the thread looks at the store for itself.
//!
//! Where the bytes of a body are copied:
//!
//! 1. by the kernel, from the socket into the block that is being filled (`Upload::buffer`): the
//!    only copy that a large body's bytes go through here. They are hashed where they lie, and a
//!    whole block of a large body, or the whole pages of one that fits one block, go to the disk from
//!    there, past the page cache;
//! 2. by the kernel, from the block into the page cache: bodies between these, what a slow sender
//!    leaves of a block, and what is no whole block or page in its place.

use std::io::{self, Read};
use std::net::{IpAddr, TcpStream};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::fair_limiter::{FairLimiter, NoPermit, Permit};
use crate::events;
use crate::receiver::Claim;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{PartialFile, Published, Standing, Store, StoreError, Upload};
use crate::sync::lock;
use crate::sys::{self, Direction};
use crate::wire::{GatePlace, Slot};

/// A thread that has waited this long for its next upload ends.
const THREAD_IDLE_MAX: Duration = Duration::from_secs(10);
/// How long an upload keeps its buffer while nothing comes: a gap between two packets is no stall.
const BUFFER_PATIENCE: Duration = Duration::from_millis(20);
/// How long, over many such gaps, a peer may keep us waiting with one buffer: peers that trickle
/// would else hold all the memory that fast ones wait for.
const BUFFER_WAITED_MAX: Duration = Duration::from_millis(250);
/// How long a body that is read and forgotten may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// The minimum rate is judged over this much time spent waiting for the peer.
const RATE_WINDOW: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub uploads_max: u32,
    /// The longest silence of a peer.
    pub idle: Duration,
    pub bytes_per_second_min: u64,
}

/// What a body thread tells its coroutine.
pub(super) enum BodyEvent {
    /// Space is reserved and the file is there: the peer may send.
    Ready,
    UploadEnd(Box<UploadEnd>),
}

/// What a body thread is to do.
pub(super) struct BodyTask {
    pub claim: Claim,
    pub place: Option<GatePlace>,
    /// Whether it is known that the name is free.
    pub store_was_asked: bool,
    /// The peer sends unasked. Else it waits for what the coroutine says upon `BodyEvent::Ready`.
    pub may_come: bool,
}

/// How an upload ended.
pub(super) struct UploadEnd {
    pub result: Result<Published, Refusal>,
    /// How much of the body was taken from the connection.
    pub taken_bytes: u64,
    /// Whether every byte of the body was taken from the connection, so that it can go on.
    pub body_taken: bool,
}

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Uploads {
    store: Arc<Store>,
    limits: Limits,
    places: Arc<FairLimiter>,
    /// Threads that wait for a job, the one that waited least on top. Whoever takes one out of
    /// here gives it a job: a thread ends only after taking itself out.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    thread: thread::ThreadId,
    jobs: mpsc::Sender<Job>,
}

/// The coroutine's end of an upload under way.
pub(super) struct Running(may::sync::mpsc::Receiver<BodyEvent>);

impl Running {
    /// What the thread tells next. `None` if it panicked.
    pub(super) fn next(&self) -> Option<BodyEvent> {
        self.0.recv().ok()
    }
}

impl Uploads {
    pub(super) fn new(store: Arc<Store>, limits: Limits) -> Arc<Uploads> {
        Arc::new(Uploads {
            store,
            limits,
            places: FairLimiter::new(limits.uploads_max),
            waiting: Mutex::new(Vec::new()),
        })
    }

    pub(super) fn running(&self) -> u32 {
        self.places.taken()
    }

    /// Room for one more upload of this peer, if there is any.
    pub(super) fn permit(&self, peer: IpAddr) -> Result<Permit, Refusal> {
        self.places.take(peer).map_err(|no_place| match no_place {
            NoPermit::Full => Refusal::TooManyUploads {
                uploads_max: self.limits.uploads_max,
            },
            NoPermit::OwnShare(under_way) => Refusal::TooManyUploadsOfYours { under_way },
        })
    }

    /// Starts the upload on a body thread. An error if the system gives no thread.
    pub(super) fn start(
        self: &Arc<Self>,
        permit: Permit,
        connection: Arc<Connection>,
        task: BodyTask,
    ) -> io::Result<Running> {
        let (tell, told) = may::sync::mpsc::channel();
        let uploads = Arc::clone(self);
        self.run(Box::new(move || {
            let (done, partial) = uploads.take(&connection, task, &tell);
            drop(permit); // before the answer: whoever reads it may send the next at once
            let _ = tell.send(BodyEvent::UploadEnd(Box::new(done)));
            drop(partial); // after it: nobody need wait for that
        }))?;
        Ok(Running(told))
    }

    /// Reads `bytes` of a body at most and forgets them, on a body thread: how many came is sent.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn drain(
        self: &Arc<Self>,
        permit: Permit,
        connection: Arc<Connection>,
        bytes: u64,
    ) -> io::Result<may::sync::mpsc::Receiver<u64>> {
        let (tell, drained) = may::sync::mpsc::channel();
        self.run(Box::new(move || {
            let _permit = permit;
            // A coroutine that has gone needs no answer.
            let _ = tell.send(read_and_forget(connection.socket(), bytes));
        }))?;
        Ok(drained)
    }

    fn run(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let waiting = self.lock_waiting().pop();
        match waiting {
            // An error would be a thread that ended without taking itself out: it panicked, and
            // the dropped job is that upload's 500.
            Some(waiting) => drop(waiting.jobs.send(job)),
            None => self.start_thread(job)?,
        }
        Ok(())
    }

    fn start_thread(self: &Arc<Self>, first: Job) -> io::Result<()> {
        let uploads = Arc::clone(self);
        let work = move || {
            // To the threads that answer. A large body's writing thread is started here, and alike.
            sys::give_way();
            let mut next = Some(first);
            while let Some(job) = next {
                // A panic is that upload's 500: dropping the job drops its end of the channel.
                drop(panic::catch_unwind(AssertUnwindSafe(job)));
                next = uploads.next_job();
            }
        };
        thread::Builder::new()
            .name("body".to_owned())
            .spawn(work)
            .map(drop)
    }

    /// Waits for this thread's next job; `None` if it is to end.
    fn next_job(&self) -> Option<Job> {
        let thread = thread::current().id();
        let (jobs, received) = mpsc::channel();
        self.lock_waiting().push(Waiting { thread, jobs });
        if let Ok(job) = received.recv_timeout(THREAD_IDLE_MAX) {
            return Some(job);
        }
        let mut waiting = self.lock_waiting();
        let place = waiting.iter().position(|one| one.thread == thread);
        if let Some(place) = place {
            waiting.remove(place);
            return None;
        }
        drop(waiting);
        // Taken out by somebody in this instant: the job is on its way.
        received.recv().ok()
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        lock(&self.waiting)
    }

    fn take(
        &self,
        connection: &Connection,
        task: BodyTask,
        tell: &may::sync::mpsc::Sender<BodyEvent>,
    ) -> (UploadEnd, PartialFile) {
        let BodyTask {
            claim,
            place,
            store_was_asked,
            may_come,
        } = task;
        let mut body = Body {
            socket: connection.socket(),
            limits: self.limits,
            left: claim.bytes,
            stated: claim.bytes,
        };
        let receive = || {
            if let Some(published) = self.standing(&claim, connection.peer(), store_was_asked)? {
                return Ok((published, PartialFile::default()));
            }
            let upload = self.store.begin(claim.clone(), place);
            let upload = upload.map_err(|error| self.refusal_of(error, &claim))?;
            if !may_come {
                let _ = tell.send(BodyEvent::Ready);
            }
            body.pour(upload, &claim)
                .map_err(|refusal| self.explained(refusal))
        };
        let (result, partial) = match receive() {
            Ok((published, partial)) => (Ok(published), partial),
            Err(refusal) => (Err(refusal), PartialFile::default()),
        };
        let done = UploadEnd {
            result,
            taken_bytes: body.stated - body.left,
            body_taken: body.left == 0,
        };
        (done, partial)
    }
}

impl Uploads {
    /// What is stored under the name already, if that settles it.
    fn standing(
        &self,
        claim: &Claim,
        peer: IpAddr,
        was_asked: bool,
    ) -> Result<Option<Published>, Refusal> {
        if was_asked {
            return Ok(None);
        }
        match self.store.standing(claim) {
            Ok(Standing::Free) => Ok(None),
            Ok(Standing::Taken) => Err(Refusal::Taken(claim.slot.clone())),
            Ok(Standing::Stored(receipt)) => Ok(Some(Published {
                receipt: *receipt,
                fresh: false,
            })),
            Err(error) => Err(lookup_failed(&self.store, &claim.slot, peer, &error)),
        }
    }

    fn refusal_of(&self, error: StoreError, claim: &Claim) -> Refusal {
        self.explained(refusal_of(error, claim))
    }

    /// A fault of the store's own, or a disk without room that has bytes left, has a better name where
    /// a look at the disk finds the cause.
    fn explained(&self, refusal: Refusal) -> Refusal {
        if !matches!(refusal, Refusal::Internal | Refusal::DiskFull) {
            return refusal;
        }
        let found = self.store.why_unwritable();
        found.map_or(refusal, |found| Refusal::from(&*found))
    }
}

/// The disk could not be asked about an episode: why, as far as a look tells. For plain threads only.
pub(super) fn lookup_failed(
    store: &Store,
    slot: &Slot,
    peer: IpAddr,
    error: &io::Error,
) -> Refusal {
    events::lookup_failed(slot, peer, error);
    fault(store)
}

fn fault(store: &Store) -> Refusal {
    match store.why_unwritable() {
        Some(unwritable) => Refusal::from(&*unwritable),
        None => Refusal::Internal,
    }
}

/// Reads until `bytes` have come, the peer is done, or it has been silent or slow for too long.
fn read_and_forget(socket: &TcpStream, bytes: u64) -> u64 {
    let give_up = Instant::now() + DRAIN_TIME_MAX;
    let mut block = [0; 16 << 10];
    let mut socket = socket;
    let mut taken = 0;
    while taken < bytes {
        let left = usize::try_from(bytes - taken).unwrap_or(usize::MAX);
        let end = block.len().min(left);
        match socket.read(&mut block[..end]) {
            Ok(0) => break,
            Ok(count) => taken += count as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patience = give_up.saturating_duration_since(Instant::now());
                let waited = sys::wait_socket(socket, Direction::Readable, patience);
                if !matches!(waited, Ok(true)) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    taken
}

/// What the store's error means for the sender.
fn refusal_of(error: StoreError, claim: &Claim) -> Refusal {
    match error {
        StoreError::Full => Refusal::DiskFull,
        StoreError::Taken => Refusal::Taken(claim.slot.clone()),
        StoreError::DigestMismatch { found } => Refusal::DigestMismatch {
            stated: claim.sha256.to_string(),
            found: found.to_string(),
        },
        StoreError::CutShort { found } => Refusal::BodyCutShort {
            stated: claim.bytes,
            found,
        },
        StoreError::Io(_) => Refusal::Internal,
    }
}

/// What is still to come of one upload's body.
struct Body<'a> {
    socket: &'a TcpStream,
    limits: Limits,
    left: u64,
    stated: u64,
}

impl Body<'_> {
    /// The whole body into the store, and the store's word that it is there to stay.
    fn pour(
        &mut self,
        mut upload: Upload,
        claim: &Claim,
    ) -> Result<(Published, PartialFile), Refusal> {
        self.fill(&mut upload, claim)?;
        upload.publish().map_err(|error| refusal_of(error, claim))
    }

    fn fill(&mut self, upload: &mut Upload, claim: &Claim) -> Result<(), Refusal> {
        let of_store = |error| refusal_of(error, claim);
        let mut pace = Pace::new(self.limits);
        while self.left > 0 {
            let buffer = upload.buffer().map_err(of_store)?;
            match self.socket.read(buffer) {
                Ok(0) => return Err(self.cut_short()),
                Ok(n) => {
                    self.left -= n as u64;
                    pace.bytes += n as u64;
                    upload.advance(n).map_err(of_store)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(upload, &mut pace, claim)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(self.cut_short()),
            }
        }
        Ok(())
    }

    /// Waits for more of the body, giving the buffer back when it takes a while.
    fn wait(&self, upload: &mut Upload, pace: &mut Pace, claim: &Claim) -> Result<(), Refusal> {
        let mut silence = Duration::ZERO;
        let mut patience = BUFFER_PATIENCE;
        loop {
            let began = Instant::now();
            let ready = sys::wait_socket(self.socket, Direction::Readable, patience);
            let waited = began.elapsed();
            silence += waited;
            pace.judge(waited, silence)?;
            pace.waited_with_buffer += waited;
            let is_here = ready.map_err(|_| self.cut_short())?;
            if !is_here || pace.waited_with_buffer >= BUFFER_WAITED_MAX {
                pace.waited_with_buffer = Duration::ZERO;
                upload.rest().map_err(|error| refusal_of(error, claim))?;
            }
            if is_here {
                return Ok(());
            }
            patience = Duration::from_millis(250);
        }
    }

    fn cut_short(&self) -> Refusal {
        Refusal::BodyCutShort {
            stated: self.stated,
            found: self.stated - self.left,
        }
    }
}

/// How fast the peer sends. Only time spent waiting for it counts: a slow disk is our own fault.
struct Pace {
    limits: Limits,
    waited: Duration,
    /// Since the buffer was given up last.
    waited_with_buffer: Duration,
    /// Bytes in the present window.
    bytes: u64,
}

impl Pace {
    fn new(limits: Limits) -> Pace {
        Pace {
            limits,
            waited: Duration::ZERO,
            waited_with_buffer: Duration::ZERO,
            bytes: 0,
        }
    }

    fn judge(&mut self, waited: Duration, silence: Duration) -> Result<(), Refusal> {
        let idle = self.limits.idle;
        if silence >= idle {
            let why = format!("nothing came for {} s", idle.as_secs());
            return Err(Refusal::BodyTooSlow(why));
        }
        self.waited += waited;
        if self.waited < RATE_WINDOW {
            return Ok(());
        }
        let least = self.limits.bytes_per_second_min;
        let wanted = least.saturating_mul(self.waited.as_secs());
        if self.bytes < wanted {
            let why = format!("fewer than {least} bytes a second came (min_body_bytes_per_second)");
            return Err(Refusal::BodyTooSlow(why));
        }
        self.waited = Duration::ZERO;
        self.bytes = 0;
        Ok(())
    }
}
