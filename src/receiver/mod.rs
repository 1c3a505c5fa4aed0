//! `cis490 receive`: the Pi's side. Opens the store, recovers it, serves, drains.
//!
//! Three rooms that see each other only through the types of this file: `http` (who asks and what
//! they are told), `version_gate` (which commits get in), `store` (what is on the disk).

pub(crate) mod access;
pub mod config;
pub mod critical_thread;
mod data_dir;
pub(crate) mod doctor;
mod http;
mod liveness;
pub(crate) mod refusal;
pub(crate) mod refusal_log;
pub(crate) mod refused_upload;
pub(crate) mod stats;
pub(crate) mod store;
pub(crate) mod survey;
pub mod version_gate;

#[cfg(any(test, fuzzing))]
pub use self::http::fuzzed_head;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use self::config::Config;
use self::critical_thread::{ShutdownHandle, StopReason};
use self::stats::Stats;
use self::store::Store;
use self::version_gate::VersionGate;
use crate::events;
use crate::failure::Failure;
use crate::names::{CommitHash, Sha256Digest};
use crate::service;
use crate::sys::{self, Signal};
use crate::wire::Slot;

/// Descriptors beside connections and uploads: logs, locks, the index, git's pipes, Forgejo.
const OTHER_FILES: u64 = 64;
/// What a stop may take beyond the draining, until systemd thinks that it hangs.
const SPARE_TIME: Duration = Duration::from_secs(20);
/// Connections of a receiver that is short of descriptors, below which it is of no use.
const CONNECTIONS_MIN: u64 = 8;
/// How often a draining receiver looks whether it is done.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Opens, recovers, serves, and drains when it is asked to stop.
///
/// Errors: what kept it from starting, or the fault that ended it; a restart then recovers.
pub fn run(config: Config, config_path: &Path) -> Result<(), Failure> {
    let mut config = fit_file_limit(config)?;
    if config.hosts.is_empty() {
        events::open_to_all();
    }
    let (shutdown, stops) = ShutdownHandle::new();
    let stats = Stats::new(config.hosts.iter().map(|rule| rule.id.clone()));
    let store = Store::open(
        &config.data_dir,
        config.min_free_bytes,
        refusal_log::seq_seen(&config.data_dir),
        &shutdown,
        config_path,
        Arc::clone(&stats),
    )?;
    // Kept to the end: until then no other receiver listens there.
    let own_address = http::OwnAddress::take(config.listen)?;
    config.listen = own_address.address;
    let gate = VersionGate::start(&config.version_gate, &config.data_dir, &shutdown)?;
    let drain_s = config.drain_seconds;
    let data_dir = config.data_dir.clone();
    let refusals = refusal_log::start(&config.data_dir, Arc::clone(&stats), &shutdown)?;
    let server = http::start(config, store, gate, stats, refusals, &shutdown)?;
    listen_for_signals(&shutdown)?;
    liveness::start(server.clone(), &shutdown)?;
    events::listening(server.address, data_dir.display());
    service::ready(&server.status_line());
    let ended = match stops.recv() {
        Ok(StopReason::Asked) => {
            events::draining(server.uploads(), drain_s);
            let drain = Duration::from_secs(drain_s);
            service::stopping("stopping: uploads under way may finish", drain + SPARE_TIME);
            self::drain(&server, &stops, drain)
        }
        Ok(StopReason::Fatal(failure)) => Err(failure),
        Err(_) => Err(Failure::new(
            "nothing is left that could stop the receiver",
            "it restarts and recovers; please report this",
        )),
    };
    server.close();
    ended
}

/// Lets the uploads under way be answered, up to `time`. A fault that comes meanwhile is as fatal
/// as ever.
fn drain(
    server: &http::Server,
    stops: &mpsc::Receiver<StopReason>,
    time: Duration,
) -> Result<(), Failure> {
    server.begin_to_drain();
    let until = Instant::now() + time;
    loop {
        // The wait comes first, so that an answer given just before has left.
        if let Ok(StopReason::Fatal(failure)) = stops.recv_timeout(DRAIN_LOOK) {
            return Err(failure);
        }
        let unanswered = server.unanswered();
        if unanswered == 0 || until <= Instant::now() {
            events::stopped(unanswered);
            return Ok(());
        }
    }
}

/// Descriptors that so many connections and uploads need, with as many connections in hand: without
/// one left, the accept loop spins.
pub fn files_wanted(max_connections: u32, max_uploads: u32) -> u64 {
    let connections = u64::from(max_connections) + u64::from(http::TOLD_BEYOND_CAP);
    // An upload holds its file twice at most: buffered and, for large bodies, direct.
    connections * http::FILES_PER_CONNECTION * 2 + u64::from(max_uploads) * 2 + OTHER_FILES
}

/// Raises the limit on open files to what the configuration needs. Where the system does not let
/// us, fewer connections and uploads are served: without a descriptor for the next connection, the
/// accept loop would spin.
fn fit_file_limit(mut config: Config) -> Result<Config, Failure> {
    let wanted = files_wanted(config.max_connections, config.max_uploads);
    let limit = sys::raise_file_limit(wanted).unwrap_or(0);
    if limit >= wanted {
        return Ok(config);
    }
    let beyond_cap = u64::from(http::TOLD_BEYOND_CAP) * http::FILES_PER_CONNECTION;
    let spare = limit.saturating_sub(OTHER_FILES + beyond_cap);
    // Each with its descriptors, those of one that is just ending, and half an upload.
    let connections = spare / (http::FILES_PER_CONNECTION * 2 + 1);
    if connections < CONNECTIONS_MIN {
        return Err(Failure::new(
            format!(
                "the limit on open files is {limit}, too few for {CONNECTIONS_MIN} connections"
            ),
            format!("raise it: LimitNOFILE={wanted} in the unit, or ulimit -n {wanted} in a shell"),
        ));
    }
    let at_most = |most: u64, value: u32| u32::try_from(most).unwrap_or(u32::MAX).min(value);
    config.max_connections = at_most(connections, config.max_connections);
    config.max_uploads = at_most((connections / 2).max(1), config.max_uploads);
    events::few_files(limit, wanted, config.max_connections, config.max_uploads);
    Ok(config)
}

fn listen_for_signals(shutdown: &ShutdownHandle) -> Result<(), Failure> {
    let shutdown = shutdown.clone();
    let listen = move || {
        loop {
            match sys::wait_signal() {
                Signal::Stop => shutdown.asked(),
                Signal::Reload => {} // the window is refreshed by itself; nothing else is reread
            }
        }
    };
    let started = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen);
    match started {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(
            format!("cannot start the signals thread: {error}"),
            "raise the limit on threads (TasksMax, ulimit -u) or free memory",
        )),
    }
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
