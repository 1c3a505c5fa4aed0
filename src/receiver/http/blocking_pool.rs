//! A few plain threads that look things up on the disk for coroutines, which must not block.
//!
//! Each connection has at most one question under way, so the queue is bounded by the connections.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::reply_channel;
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, Pong, ShutdownHandle};
use crate::sync::lock;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct BlockingPool(mpsc::Sender<Job>);

impl BlockingPool {
    /// Starts `count` threads of this name.
    ///
    /// Errors: the system gave no thread.
    pub(super) fn start(
        name: &'static str,
        count: usize,
        shutdown: &ShutdownHandle,
    ) -> Result<BlockingPool, Failure> {
        let (sender, receiver) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(receiver));
        for _ in 0..count {
            let jobs = Arc::clone(&jobs);
            critical_thread::spawn_critical(name, shutdown, move || work(&jobs))?;
        }
        Ok(BlockingPool(sender))
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
        self.0.send(Box::new(job)).ok()?;
        answer.recv().ok()
    }
}

impl BlockingPool {
    /// A clerk that is free calls it.
    pub(super) fn ping(&self, pong: Pong) {
        // Without clerks the process is ending.
        let _ = self.0.send(pong);
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // The lock is held while waiting: the clerks queue for the queue.
        let received = lock(jobs).recv();
        let Ok(job) = received else { return };
        // A panic is that question's own: its coroutine gets no answer.
        let _ = panic::catch_unwind(AssertUnwindSafe(job));
    }
}
