//! Threads that all requests share: the process must not live on without one of them.
//!
//! A vital thread that panics or reports a fault ends the process with a non-zero status, and
//! systemd restarts it into recovery. Nothing may hang on a dead thread.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc;
use std::thread;

use crate::failure::Failure;

/// What a thread calls from its loop when it was asked for a sign of life. Must not block.
pub type Pong = Box<dyn FnOnce() + Send>;

/// Why the receiver stops serving.
#[derive(Debug)]
pub enum Stop {
    /// SIGTERM or SIGINT: drain, then exit 0.
    Asked,
    /// A fault that only a restart into recovery mends: exit 1 now.
    Fatal(Failure),
}

/// The one way to end the receiver, held by whoever may have to. `receiver::run` listens.
#[derive(Clone)]
pub struct Stopper(mpsc::Sender<Stop>);

impl Stopper {
    pub fn new() -> (Stopper, mpsc::Receiver<Stop>) {
        let (sender, receiver) = mpsc::channel();
        (Stopper(sender), receiver)
    }

    pub fn asked(&self) {
        self.send(Stop::Asked);
    }

    pub fn fatal(&self, failure: Failure) {
        self.send(Stop::Fatal(failure));
    }

    fn send(&self, stop: Stop) {
        // Nobody listens only when the process is ending already.
        let _ = self.0.send(stop);
    }
}

/// Starts a thread whose panic is the end of the process.
///
/// Errors: the system gave no thread.
pub fn spawn_vital(
    name: &'static str,
    stopper: &Stopper,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Failure> {
    let stopper = stopper.clone();
    let guarded = move || {
        if panic::catch_unwind(AssertUnwindSafe(body)).is_err() {
            stopper.fatal(Failure::new(
                format!("the {name} thread panicked"),
                "the receiver restarts and recovers; please report the lines above",
            ));
        }
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(guarded)
        .map(drop)
        .map_err(|error| {
            Failure::new(
                format!("cannot start the {name} thread: {error}"),
                "raise the limit on threads (TasksMax, ulimit -u) or free memory",
            )
        })
}
