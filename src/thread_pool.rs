//! A pool of plain threads that grows as jobs come: a job has a thread that waits for one, or else a new one, and
//! a thread that has had nothing to do for a while ends. The pool has no limit of its own: its users bound how many
//! jobs there are.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use crate::sync::lock;
use crate::sys::{self, KeptBlocks};

/// How long a thread waits for its next job, where nothing else matters.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct ThreadPool {
    /// Of each thread.
    name: &'static str,
    /// How far each thread gives way to others of the process, in steps of niceness.
    gives_way: i32,
    /// A thread that has waited this long for its next job ends.
    idle_max: Duration,
    /// Threads that wait for a job, the one that waited least on top. The caller that takes one out of
    /// here gives it a job: a thread ends only after taking itself out.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    thread: thread::ThreadId,
    jobs: mpsc::Sender<Job>,
}

impl ThreadPool {
    pub(crate) fn new(name: &'static str, gives_way: i32, idle_max: Duration) -> Arc<ThreadPool> {
        Arc::new(ThreadPool {
            name,
            gives_way,
            idle_max,
            waiting: Mutex::default(),
        })
    }

    /// Gives `job` to a thread that waits, or to a new one. A panic of the job ends nothing else.
    ///
    /// Errors: the system gives no thread.
    pub(crate) fn run(self: &Arc<Self>, job: Job) -> io::Result<()> {
        let waiting = self.lock_waiting().pop();
        let Some(waiting) = waiting else {
            return self.start_thread(job);
        };
        // An error would be a thread that panicked before it took itself out. The job is dropped, and with it the
        // sending end of the channel on which its caller waits.
        let _ = waiting.jobs.send(job);
        Ok(())
    }

    fn start_thread(self: &Arc<Self>, first: Job) -> io::Result<()> {
        let threads = Arc::clone(self);
        let work = move || {
            // What a job starts gives way as well, as the thread that writes a large body does.
            sys::give_way(threads.gives_way);
            let _kept = KeptBlocks::keep();
            let channel = mpsc::channel();
            let mut next = Some(first);
            while let Some(job) = next {
                // A panic drops the job, and with it the sending end of the channel on which its caller waits.
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
        if let Ok(job) = received.recv_timeout(self.idle_max) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The thread that ran it.
    fn run(pool: &Arc<ThreadPool>) -> thread::ThreadId {
        let (tell, told) = mpsc::channel();
        let job = move || tell.send(thread::current().id()).unwrap();
        pool.run(Box::new(job)).unwrap();
        told.recv().unwrap()
    }

    fn wait_until_waiting(pool: &ThreadPool, threads: usize) {
        while pool.lock_waiting().len() != threads {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_thread_that_waits_has_the_next_job_also_after_a_panic() {
        let pool = ThreadPool::new("pool", 0, Duration::from_secs(60));
        let first = run(&pool);
        wait_until_waiting(&pool, 1);
        pool.run(Box::new(|| panic!("a job's own"))).unwrap();
        wait_until_waiting(&pool, 1);
        assert_eq!(run(&pool), first);
    }

    #[test]
    fn a_thread_without_a_job_ends() {
        let pool = ThreadPool::new("pool", 0, Duration::from_millis(1));
        let first = run(&pool);
        // It holds the pool for as long as it lives.
        while Arc::strong_count(&pool) > 1 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(run(&pool), first);
    }
}
