//! `[notify]`: tells a webhook or a command when a finding of severity error begins or ends (design, section
//! 14).
//!
//! 1. It is in nobody's way: a thread of its own judges, waits and calls, and a call that hangs has a bound.
//! 2. A finding must stand for [`STANDS`] before its beginning is told, and be gone as long before its end is.
//! 3. What was told is kept in `notified.json`, so that a restart repeats nothing.

mod call;
mod ledger;
mod told;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use self::call::Caller;
use self::ledger::{Due, Ledger, Times};
use self::told::ToldFile;
use super::config::NotifyConfig;
use super::critical_thread;
use super::findings::Finding;
use crate::failure::Failure;
use crate::{clock, events};

/// How often the lab is judged.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// So long a finding must stand, and be gone.
const STANDS: Duration = Duration::from_secs(30);
/// The least time between two calls of one kind.
const PACE: Duration = Duration::from_secs(60);
/// The waits before a call that failed is tried again. After the last one it is given up.
const RETRIES: [Duration; 7] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(900),
    Duration::from_secs(900),
    Duration::from_secs(900),
];

/// Starts the thread, if the configuration names somebody to tell. `judge` is called on it.
///
/// Errors: an `https://` URL where this build speaks no TLS, or no CA; the system gave no thread.
pub(super) fn start(
    config: Option<&NotifyConfig>,
    data_dir: &Path,
    judge: impl Fn() -> Vec<Finding> + Send + 'static,
) -> Result<(), Failure> {
    let Some(config) = config else {
        return Ok(());
    };
    let caller = Caller::new(config)?;
    let file = ToldFile::open(data_dir);
    let haste = haste();
    let mut notifier = Notifier {
        ledger: Ledger::new(times(haste), file.read()),
        file,
        caller,
        look_every: LOOK_EVERY / haste,
    };
    // No critical thread: the receiver goes on without it.
    let started = thread::Builder::new()
        .name("notify".to_owned())
        .spawn(move || notifier.run(&judge));
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(critical_thread::cannot_start("notify", &error)),
    }
}

fn times(haste: u32) -> Times {
    Times {
        stands: STANDS / haste,
        pace: PACE / haste,
        retries: RETRIES.map(|wait| wait / haste).to_vec(),
    }
}

/// A test's way to shorter waits: `CIS490_NOTIFY_HASTE` divides them.
#[cfg(any(debug_assertions, feature = "faults"))]
fn haste() -> u32 {
    let haste = std::env::var("CIS490_NOTIFY_HASTE").ok();
    let haste = haste.and_then(|text| text.parse().ok());
    haste.unwrap_or(1).max(1)
}

/// The shipped program has its waits.
#[cfg(not(any(debug_assertions, feature = "faults")))]
fn haste() -> u32 {
    1
}

struct Notifier {
    ledger: Ledger,
    file: ToldFile,
    caller: Caller,
    look_every: Duration,
}

impl Notifier {
    fn run(&mut self, judge: &dyn Fn() -> Vec<Finding>) {
        loop {
            self.ledger.look(Instant::now(), &judge());
            // One call between two looks: many that hang must not keep the looks apart.
            if let Some(due) = self.ledger.due(Instant::now()) {
                self.call(&due);
            }
            thread::sleep(self.look_every);
        }
    }

    fn call(&mut self, due: &Due) {
        let at = clock::rfc3339(SystemTime::now());
        let called = self.caller.call(due, &at);
        let is_over = self.ledger.called(due, Instant::now(), called.is_ok());
        match called {
            Ok(()) => events::notified(&due.kind, due.state.name(), due.findings.len()),
            Err(why) => events::notify_failed(&due.kind, &why, is_over),
        }
        if is_over {
            self.file.write(self.ledger.told());
        }
    }
}
