//! A few plain threads that look things up on the disk for coroutines, which must not block.
//!
//! Each connection has at most one question under way, so the queue is bounded by the connections.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use super::reply_channel;
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, Pong, ShutdownHandle};
use crate::sync::JobQueue;
use crate::sys::{self, KeptBlocks};

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct BlockingPool(Arc<JobQueue<Job>>);

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
        let pool = BlockingPool(Arc::new(JobQueue::new()));
        for _ in 0..count {
            let queue = Arc::clone(&pool.0);
            critical_thread::spawn_critical(name, shutdown, move || {
                if gives_way > 0 {
                    sys::give_way(gives_way);
                }
                let _kept = KeptBlocks::keep();
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
        self.0.close();
    }
}

fn work(queue: &JobQueue<Job>) {
    while let Some(job) = queue.take() {
        // A panic is that question's own: its coroutine gets no answer.
        let _ = panic::catch_unwind(AssertUnwindSafe(job));
    }
}
