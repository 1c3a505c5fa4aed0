//! Body threads: plain threads that take an upload's body from the socket to the store, or an episode's
//! bytes from the store to the socket. There are as many as uploads and downloads run at once, and a few that
//! unlink the partial file of an upload that has its answer; one that has had nothing to do for a while ends.
//!
//! A coroutine that read bodies would stall every connection of its worker while the disk is slow;
//! a thread of its own stalls nobody (design, section 7, has the measurements).

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use crate::sync::lock;
use crate::sys::{self, KeptBlocks};

/// A thread that has waited this long for its next job ends.
const THREAD_IDLE_MAX: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct BodyThreads {
    /// Of each thread.
    name: &'static str,
    /// How far each thread gives way to those that coroutines run on, in steps of niceness.
    gives_way: i32,
    /// Threads that wait for a job, the one that waited least on top. The caller that takes one out of
    /// here gives it a job: a thread ends only after taking itself out.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    thread: thread::ThreadId,
    jobs: mpsc::Sender<Job>,
}

impl BodyThreads {
    pub(super) fn new(name: &'static str, gives_way: i32) -> Arc<BodyThreads> {
        Arc::new(BodyThreads {
            name,
            gives_way,
            waiting: Mutex::default(),
        })
    }

    /// Gives `job` to a thread that waits, or to a new one. A panic of the job ends nothing else.
    ///
    /// Errors: the system gives no thread.
    pub(super) fn run(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let waiting = self.lock_waiting().pop();
        let Some(waiting) = waiting else {
            return self.start_thread(job);
        };
        // An error would be a thread that ended without taking itself out: it panicked, and the
        // dropped job is that request's 500.
        let _ = waiting.jobs.send(job);
        Ok(())
    }

    fn start_thread(self: &Arc<Self>, first: Job) -> io::Result<()> {
        let threads = Arc::clone(self);
        let work = move || {
            // To the threads of the coroutines. The thread that writes a large body is started from here, and
            // gives way as well.
            sys::give_way(threads.gives_way);
            let _kept = KeptBlocks::keep();
            let channel = mpsc::channel();
            let mut next = Some(first);
            while let Some(job) = next {
                // A panic is that request's 500: dropping the job drops its end of the channel.
                let _ = panic::catch_unwind(AssertUnwindSafe(job));
                next = threads.next_job(&channel);
            }
        };
        let thread = thread::Builder::new().name(self.name.to_owned());
        thread.spawn(work)?;
        Ok(())
    }

    /// Waits for this thread's next job; `None` if it is to end.
    fn next_job(&self, (jobs, received): &(mpsc::Sender<Job>, mpsc::Receiver<Job>)) -> Option<Job> {
        let thread = thread::current().id();
        let jobs = jobs.clone();
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
        // Taken out by `run` in this instant: the job is on its way.
        received.recv().ok()
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        lock(&self.waiting)
    }
}
