//! The threads that take bodies.
//!
//! The coroutine of a connection judges the head of an upload and waits; the thread stores the body
//! (`upload`) and answers (`upload_answer`). A coroutine that read bodies would stall every connection of its
//! worker while the disk is slow; a thread of its own stalls nobody (design, section 7, has the measurements).
//!
//! For a small body each hand-over from thread to thread counts. So a thread that has answered stays with its
//! connection for a moment, while the coroutine still waits for it:
//!
//! 1. If the next upload comes, and all that is in memory admits it, the thread takes it at once. It is
//!    judged by the same rules as by the coroutine (`put`), and counts as any other.
//! 2. Any other request, and the peer's end, stays in the socket for the coroutine, which then goes on.
//! 3. As many threads take bodies as uploads may run, at most as many stay, and one or a few remove the names of
//!    answered uploads. A thread removes that of its own upload before it looks for the next request, which thus may
//!    wait for the disk.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::fair_limiter::Permit;
use super::guard::{Body, Reply};
use super::pour;
use super::reply_channel::{self, Receiver, Sender};
use super::upload::{BodyTask, Uploads};
use super::upload_answer::UploadAnswer;
use crate::receiver::store::{PartialFile, Store};
use crate::thread_pool::{IDLE_MAX, ThreadPool};

/// How far a body thread gives way, in steps of niceness.
const GIVES_WAY: i32 = 5;
/// How long a thread stays with its connection. A peer that sends one upload after the other is faster.
const STAYS: Duration = Duration::from_millis(20);

pub(super) struct BodyThreads {
    pool: Arc<ThreadPool>,
    store: Arc<Store>,
    uploads: Arc<Uploads>,
    /// Threads that have answered and wait for the next upload.
    staying: AtomicU32,
}

/// One admitted upload: its body may come.
pub(super) struct BodyJob {
    pub permit: Permit,
    pub body: Body,
    pub task: BodyTask,
    pub answer: Arc<UploadAnswer>,
}

/// The coroutine's end of an upload under way.
pub(super) struct Running(Receiver<Reply>);

impl Running {
    /// What the thread has left of the answer to the last upload that it took. `None` if the thread could not say.
    pub(super) fn wait(&self) -> Option<Reply> {
        self.0.recv().ok()
    }
}

impl BodyThreads {
    pub(super) fn new(store: Arc<Store>, uploads: Arc<Uploads>) -> Arc<BodyThreads> {
        Arc::new(BodyThreads {
            pool: ThreadPool::new("body", GIVES_WAY, IDLE_MAX),
            store,
            uploads,
            staying: AtomicU32::new(0),
        })
    }

    /// Starts the upload on a body thread.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn start(self: &Arc<Self>, job: BodyJob) -> io::Result<Running> {
        let (report, reports) = reply_channel::channel();
        let threads = Arc::clone(self);
        let work = move || threads.take_one_after_the_other(job, &report);
        self.pool.run(Box::new(work))?;
        Ok(Running(reports))
    }

    /// Reads a body and forgets it, on a body thread, which sends how many bytes came.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn drain(&self, permit: Permit, body: Body) -> io::Result<Receiver<u64>> {
        let (report, drained) = reply_channel::channel();
        self.pool.run(Box::new(move || {
            let _permit = permit;
            // A coroutine that has gone needs no report.
            let _ = report.send(pour::read_and_forget(body));
        }))?;
        Ok(drained)
    }

    /// Takes the upload, and those that follow it at once.
    fn take_one_after_the_other(&self, mut job: BodyJob, report: &Sender<Reply>) {
        loop {
            let answer = Arc::clone(&job.answer);
            let taken = panic::catch_unwind(AssertUnwindSafe(|| self.take(job)));
            let (reply, partial) =
                taken.unwrap_or_else(|_| (answer.of_panic(), PartialFile::default()));
            if !reply.goes_on() {
                let _ = report.send(reply);
                drop(self.store.forget(partial)); // after the report, since the answer is still to be sent
                return;
            }
            let others = self.store.forget(partial);
            // A thread that has the names of others to remove does not stay.
            let next = others.is_none().then(|| self.next(&answer)).flatten();
            let Some(next) = next else {
                let _ = report.send(reply);
                return;
            };
            job = next;
        }
    }

    /// Stores the body and answers. The log line is written while the upload has its place, since a log that nobody
    /// reads may hold that up.
    fn take(&self, job: BodyJob) -> (Reply, PartialFile) {
        let BodyJob {
            permit,
            body,
            task,
            answer,
        } = job;
        let mut ticket = None;
        let (end, partial) = self.uploads.take(body, task, &mut ticket);
        let outcome = answer.end(end);
        drop(permit); // before the answer: its reader may send the next upload at once
        drop(ticket); // after the permit: the request that waits for this needs one
        (answer.send(outcome), partial)
    }

    /// Waits for the next upload of the connection. `None` if it is the coroutine's turn to go on.
    fn next(&self, answer: &UploadAnswer) -> Option<BodyJob> {
        let may_stay = self.staying.fetch_add(1, Ordering::Relaxed) < self.uploads.most();
        let wait = || answer.next(STAYS, |exchange| exchange.admit_at_once());
        // A request at which this panics is left in the socket, and its coroutine answers it.
        let next = panic::catch_unwind(AssertUnwindSafe(|| may_stay.then(wait)?));
        self.staying.fetch_sub(1, Ordering::Relaxed);
        next.ok()?
    }
}
