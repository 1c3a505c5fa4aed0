//! Threads that all requests share: the process must not live on without one of them.
//!
//! A critical thread that panics or reports a fault ends the process with a non-zero status, and
//! systemd restarts it into recovery. So no request waits for a thread that is dead.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::thread;

use crate::failure::Failure;

/// A thread that was pinged calls this from its loop, to show that it is alive. Must not block.
pub type Pong = Box<dyn FnOnce() + Send>;

/// Why the receiver stops serving.
#[derive(Debug)]
pub enum StopReason {
    /// SIGTERM or SIGINT: drain, then exit 0.
    Asked,
    /// A fault that only a restart into recovery can repair: exit 1 now.
    Fatal(Failure),
}

/// The one way to end the receiver, held by each thread that may have to. `receiver::run` receives the
/// reason.
#[derive(Clone)]
pub struct ShutdownHandle(mpsc::Sender<StopReason>);

impl ShutdownHandle {
    pub fn new() -> (ShutdownHandle, mpsc::Receiver<StopReason>) {
        let (sender, receiver) = mpsc::channel();
        (ShutdownHandle(sender), receiver)
    }

    pub fn asked(&self) {
        self.send(StopReason::Asked);
    }

    pub fn fatal(&self, failure: Failure) {
        self.send(StopReason::Fatal(failure));
    }

    fn send(&self, stop: StopReason) {
        // Sending fails only when `receiver::run` has returned, and then the process is ending.
        let _ = self.0.send(stop);
    }
}

/// Starts a thread whose panic ends the process.
///
/// Errors: the system could not start a thread.
pub fn spawn_critical(
    name: &'static str,
    shutdown: &ShutdownHandle,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    let shutdown = shutdown.clone();
    let guarded = move || {
        if panic::catch_unwind(AssertUnwindSafe(body)).is_err() {
            shutdown.fatal(Failure::new(
                format!("the {name} thread panicked"),
                "the receiver restarts and recovers; please report the lines above",
            ));
        }
    };
    let started = thread::Builder::new().name(name.to_owned()).spawn(guarded);
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(cannot_start(name, &error)),
    }
}

/// The system gave no thread of that name.
pub(in crate::receiver) fn cannot_start(name: &str, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot start the {name} thread: {error}"),
        "raise the limit on threads (TasksMax, ulimit -u) or free memory",
    )
}
