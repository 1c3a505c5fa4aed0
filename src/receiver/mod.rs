//! `cis490 receive`: the Pi's side. Opens the store, recovers it, serves, drains.
//!
//! Three rooms that see each other only through the types of this file: `http` (who asks and what
//! they are told), `version_gate` (which commits get in), `store` (what is on the disk).

pub mod access;
pub mod config;
pub mod figures;
mod http;
pub mod refusal;
pub mod refusals;
pub mod store;
pub mod version_gate;
pub mod vital;

pub use self::http::CRATE as SERVER_CRATE;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use self::config::Config;
use self::figures::Figures;
use self::store::Store;
use self::version_gate::VersionGate;
use self::vital::{Stop, Stopper};
use crate::events;
use crate::failure::Failure;
use crate::names::{CommitHash, Sha256Digest};
use crate::sys::{self, Signal};
use crate::wire::Slot;

/// Descriptors beside connections and uploads: logs, locks, the index, git's pipes, Forgejo.
const OTHER_FILES: u64 = 64;
/// How often a draining receiver looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Opens, recovers, serves, and drains when it is asked to stop.
///
/// Errors: what kept it from starting, or the fault that ended it; a restart then recovers.
pub fn run(config: Config, config_path: &Path) -> Result<(), Failure> {
    raise_file_limit(&config);
    if config.hosts.is_empty() {
        events::open_to_all();
    }
    let (stopper, stops) = Stopper::new();
    let figures = Figures::new(config.hosts.iter().map(|rule| rule.id.clone()));
    let store = Store::open(
        &config.data_dir,
        config.min_free_bytes,
        &stopper,
        config_path,
        Arc::clone(&figures),
    )?;
    let gate = VersionGate::start(&config.version_gate, &config.data_dir, &stopper)?;
    let (drain_s, data_dir) = (config.drain_seconds, config.data_dir.clone());
    let refusals = refusals::start(&config.data_dir, Arc::clone(&figures), &stopper)?;
    let server = http::start(config, store, gate, figures, refusals, &stopper)?;
    listen_for_signals(&stopper)?;
    events::listening(server.address, data_dir.display());
    match stops.recv() {
        Ok(Stop::Asked) => {
            events::draining(server.uploads(), drain_s);
            drain(&server, &stops, Duration::from_secs(drain_s))
        }
        Ok(Stop::Fatal(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            "nothing is left that could stop the receiver",
            "it restarts and recovers; please report this",
        )),
    }
}

/// Lets the uploads under way be answered, up to `time`. A fault that comes meanwhile is as fatal
/// as ever.
fn drain(
    server: &http::Server,
    stops: &mpsc::Receiver<Stop>,
    time: Duration,
) -> Result<(), Failure> {
    server.begin_to_drain();
    let until = Instant::now() + time;
    loop {
        // The wait comes first, so that an answer given just before has left.
        if let Ok(Stop::Fatal(failure)) = stops.recv_timeout(DRAIN_LOOK) {
            return Err(failure);
        }
        let unanswered = server.unanswered();
        if unanswered == 0 || until <= Instant::now() {
            events::stopped(unanswered);
            return Ok(());
        }
    }
}

fn raise_file_limit(config: &Config) {
    let connections = u64::from(config.max_connections) + u64::from(http::TOLD_BEYOND_CAP);
    // An upload holds its file twice at most: buffered and, for large bodies, direct.
    let wanted = connections * http::FILES_PER_CONNECTION * 2
        + u64::from(config.max_uploads) * 2
        + OTHER_FILES;
    match sys::raise_file_limit(wanted) {
        Ok(limit) if limit >= wanted => {}
        Ok(limit) => events::few_files(limit, wanted),
        Err(_) => events::few_files(0, wanted),
    }
}

fn listen_for_signals(stopper: &Stopper) -> Result<(), Failure> {
    let stopper = stopper.clone();
    let listen = move || {
        loop {
            match sys::wait_signal() {
                Signal::Stop => stopper.asked(),
                Signal::Reload => {} // the window is refreshed by itself; nothing else is reread
            }
        }
    };
    let started = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen);
    started.map(drop).map_err(|error| {
        Failure::new(
            format!("cannot start the signals thread: {error}"),
            "raise the limit on threads (TasksMax, ulimit -u) or free memory",
        )
    })
}

/// What the head of an upload states. Parsed, and not yet believed.
#[derive(Clone, Debug)]
pub struct Claim {
    pub slot: Slot,
    /// `None` only when the gate is disabled and the header missing or odd.
    pub commit: Option<CommitHash>,
    pub dirty: bool,
    pub sha256: Sha256Digest,
    /// The length of the body.
    pub bytes: u64,
}
