//! `[notify]`: calls a webhook or a command when a finding of severity error begins or ends (design, section
//! 14).
//!
//! 1. It is in nobody's way: a thread of its own judges, waits and calls, and a call that hangs has a bound.
//! 2. A finding must stand for [`STANDS`] before its beginning is reported, and be gone as long before its end is.
//! 3. What was reported is kept in `notified.json`, so that a restart repeats nothing.

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
use super::http::Server;
use crate::failure::Failure;
use crate::wire::LAB_STATE_OLD_S;
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

/// How long after a start the receiver has the reports of all lab hosts that send any.
const REPORTS_AFTER: Duration = Duration::from_secs(LAB_STATE_OLD_S);
/// How long after a start the receiver can say of a queue that it stands.
const QUEUES_AFTER: Duration = Duration::from_secs(3600);

/// Starts the thread. It does nothing while the configuration has no `[notify]`.
///
/// Errors: an `https://` URL where this build speaks no TLS, or no CA; the system gave no thread.
pub(super) fn start(server: Server, data_dir: &Path) -> Result<(), Failure> {
    let config = server.config().notify.clone();
    let haste = haste();
    let to = |config| Caller::new(config, haste);
    let caller = config.as_ref().map(to).transpose()?;
    let file = ToldFile::open(data_dir);
    let mut notifier = Notifier {
        ledger: Ledger::new(times(haste), file.read()),
        file,
        server,
        config,
        caller,
        haste,
    };
    // No critical thread: the receiver goes on without it.
    let started = thread::Builder::new()
        .name("notify".to_owned())
        .spawn(move || notifier.run());
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
        reports: REPORTS_AFTER / haste,
        queues: QUEUES_AFTER / haste,
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
    server: Server,
    /// What the caller was made of.
    config: Option<NotifyConfig>,
    caller: Option<Caller>,
    /// What the waits are divided by: 1, except in a test.
    haste: u32,
}

impl Notifier {
    fn run(&mut self) {
        loop {
            self.follow_configuration();
            if let Some(caller) = self.caller.take() {
                self.look(&caller);
                self.caller = Some(caller);
            }
            thread::sleep(LOOK_EVERY / self.haste);
        }
    }

    /// A reload may have brought another `[notify]`, or removed it.
    fn follow_configuration(&mut self) {
        let now = self.server.config();
        if now.notify == self.config {
            return;
        }
        self.config.clone_from(&now.notify);
        let to = |config| Caller::new(config, self.haste);
        self.caller = match self.config.as_ref().map(to).transpose() {
            Ok(caller) => caller,
            Err(failure) => {
                events::notify_failed("any", &failure.to_string(), true);
                None
            }
        };
    }

    fn look(&mut self, caller: &Caller) {
        self.ledger.look(Instant::now(), &self.server.findings());
        // One call between two looks: many that hang must not keep the looks apart.
        if let Some(due) = self.ledger.due(Instant::now()) {
            self.call(caller, &due);
        }
    }

    fn call(&mut self, caller: &Caller, due: &Due) {
        let at = clock::rfc3339(SystemTime::now());
        let called = caller.call(due, &at);
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
