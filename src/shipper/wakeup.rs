//! Waking the loop: signals arrive on a thread of their own, which notifies the loop. The loop looks
//! for them between two moves.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::stop::Stop;
use crate::events;
use crate::failure::Failure;
use crate::owner;
use crate::service;
use crate::sync::lock;
use crate::sys::{self, Signal};

/// How long the loop may take to end by itself. Then the process ends in the middle of its work, as
/// in a crash, and as little is lost: packing a giant takes minutes.
const GRACE: Duration = Duration::from_secs(3);

/// Wakes the loop out of its rest. Clones are of the same loop.
#[derive(Clone, Default)]
pub(super) struct Wakeup {
    pub stop: Stop,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// SIGHUP came, and the loop has not handled it yet.
    reload: Mutex<bool>,
    /// How often SIGHUP came.
    reloads: AtomicU64,
    notified: Condvar,
}

impl Wakeup {
    /// Starts the thread that turns signals into wakeups. `status` is the exit status of a process
    /// that has to be ended in the middle.
    pub(super) fn listen(&self, status: i32) -> Result<(), Failure> {
        let wakeup = self.clone();
        let listener = move || loop {
            match sys::wait_signal() {
                Signal::Reload => wakeup.notify(true),
                Signal::Stop => wakeup.end(status),
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        if let Err(error) = thread.spawn(listener) {
            return Err(Failure::new(
                format!("cannot start the signal thread: {error}"),
                "raise the limit on threads (TasksMax, ulimit -u) or free memory",
            ));
        }
        owner::read_files_alone();
        Ok(())
    }

    fn end(&self, status: i32) {
        events::shipper_stopping();
        service::stopping("stopping", GRACE * 2);
        self.stop.set();
        self.notify(false);
        thread::sleep(GRACE);
        events::shipper_cut_short();
        process::exit(status);
    }

    fn notify(&self, reload: bool) {
        if reload {
            self.shared.reloads.fetch_add(1, Ordering::Relaxed);
        }
        *self.reload() |= reload;
        self.shared.notified.notify_all();
    }

    /// Sleeps until then, or until a signal. Wakes meanwhile to ping the watchdog.
    pub(super) fn wait_until(&self, deadline: Instant) {
        let mut reload = self.reload();
        while !*reload && !self.stop.is_set() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            service::alive();
            let nap = service::beat_interval().map_or(left, |interval| interval.min(left));
            let waited = self.shared.notified.wait_timeout(reload, nap);
            reload = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether SIGHUP came since this was last asked.
    pub(super) fn take_reload(&self) -> bool {
        std::mem::take(&mut *self.reload())
    }

    /// How often SIGHUP came, handled or not.
    pub(super) fn reloads(&self) -> u64 {
        self.shared.reloads.load(Ordering::Relaxed)
    }

    /// Whether a signal waits for the loop.
    pub(super) fn is_called(&self) -> bool {
        *self.reload() || self.stop.is_set()
    }

    fn reload(&self) -> MutexGuard<'_, bool> {
        lock(&self.shared.reload)
    }
}
