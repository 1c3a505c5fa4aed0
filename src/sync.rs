//! Locking a mutex that a panic of another thread may have poisoned, and a queue of jobs for plain threads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Locks the mutex, even if a thread has panicked while it held the lock. That is safe here: either a
/// panic cannot leave the data half changed, or the process ends with the panic
/// (`receiver::critical_thread`).
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Jobs that no thread has taken yet, the oldest first. It is as long as its users let it become.
pub(crate) struct JobQueue<T> {
    held: Mutex<Held<T>>,
    /// There is a job to take, or no more come.
    has_more: Condvar,
}

struct Held<T> {
    jobs: VecDeque<T>,
    is_closed: bool,
}

impl<T> JobQueue<T> {
    pub(crate) fn new() -> JobQueue<T> {
        JobQueue {
            held: Mutex::new(Held {
                jobs: VecDeque::new(),
                is_closed: false,
            }),
            has_more: Condvar::new(),
        }
    }

    /// Wakes one thread and no more: a wake-up costs as much as a small job does.
    pub(crate) fn put(&self, job: T) {
        lock(&self.held).jobs.push_back(job);
        self.has_more.notify_one();
    }

    pub(crate) fn put_all(&self, jobs: impl IntoIterator<Item = T>) {
        lock(&self.held).jobs.extend(jobs);
        self.has_more.notify_all();
    }

    /// Waits for the next job; `None` once the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<T> {
        let mut held = lock(&self.held);
        loop {
            if let Some(job) = held.jobs.pop_front() {
                return Some(job);
            }
            if held.is_closed {
                return None;
            }
            let waited = self.has_more.wait(held);
            held = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.held).jobs.len()
    }

    /// No more jobs come.
    pub(crate) fn close(&self) {
        lock(&self.held).is_closed = true;
        self.has_more.notify_all();
    }

    /// Forgets the jobs that wait.
    pub(crate) fn clear(&self) {
        lock(&self.held).jobs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_job_is_taken_once_and_the_threads_end_when_the_queue_is_closed() {
        let queue = JobQueue::new();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| std::iter::from_fn(|| queue.take()).collect::<Vec<_>>()))
                .collect();
            queue.put_all(0..500);
            (500..1000).for_each(|job| queue.put(job));
            queue.close();
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            let mut taken: Vec<i32> = taken.flatten().collect();
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..1000));
        });
    }

    #[test]
    fn what_was_forgotten_is_not_taken() {
        let queue = JobQueue::new();
        queue.put_all([1, 2]);
        assert_eq!(queue.waiting(), 2);
        queue.clear();
        queue.close();
        assert_eq!((queue.waiting(), queue.take()), (0, None));
    }
}
