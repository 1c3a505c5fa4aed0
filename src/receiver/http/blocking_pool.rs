//! A few plain threads that look things up on the disk for coroutines, which must not block.
//!
//! Each connection has at most one question under way, so the queue is bounded by the connections.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::reply_channel;
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, Pong, ShutdownHandle};
use crate::sync::lock;
use crate::sys;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct BlockingPool(Arc<Queue>);

/// The questions that no thread has taken yet, the oldest first. Each wakes one thread and no more: a
/// wake-up costs as much as a small question does.
#[derive(Default)]
struct Queue {
    held: Mutex<Held>,
    has_more: Condvar,
}

#[derive(Default)]
struct Held {
    jobs: VecDeque<Job>,
    /// The pool is gone: its threads end.
    is_closed: bool,
}

impl BlockingPool {
    /// Starts `count` threads of this name, which give way to others by so many steps of niceness.
    ///
    /// Errors: the system gave no thread.
    pub(super) fn start(
        name: &'static str,
        count: usize,
        gives_way: i32,
        shutdown: &ShutdownHandle,
    ) -> Result<BlockingPool, Failure> {
        let pool = BlockingPool(Arc::default());
        for _ in 0..count {
            let queue = Arc::clone(&pool.0);
            critical_thread::spawn_critical(name, shutdown, move || {
                if gives_way > 0 {
                    sys::give_way(gives_way);
                }
                work(&queue);
            })?;
        }
        Ok(pool)
    }

    /// The answer of `question`, found on a plain thread while this coroutine waits. `None` if it
    /// panicked, which is the request's own misfortune.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, answer) = reply_channel::channel();
        let job = move || {
            let _ = sender.send(question());
        };
        self.0.put(Box::new(job));
        answer.recv().ok()
    }

    /// A thread that is free calls it.
    pub(super) fn ping(&self, pong: Pong) {
        self.0.put(pong);
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        lock(&self.0.held).is_closed = true;
        self.0.has_more.notify_all();
    }
}

impl Queue {
    fn put(&self, job: Job) {
        lock(&self.held).jobs.push_back(job);
        self.has_more.notify_one();
    }

    /// Waits for the next job; `None` if there will be none.
    fn take(&self) -> Option<Job> {
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
}

fn work(queue: &Queue) {
    while let Some(job) = queue.take() {
        // A panic is that question's own: its coroutine gets no answer.
        let _ = panic::catch_unwind(AssertUnwindSafe(job));
    }
}
