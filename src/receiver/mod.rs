//! `cis490 receive`: the Pi's side. Opens the store, recovers it, serves, drains.
//!
//! The rooms are `http` (the requests and their answers), `version_gate` (which commits get in), `store`
//! (the disk) and `archive` (the bucket past the disk). `http` sees the others; they see neither `http`
//! nor each other.

pub(crate) mod access;
pub(crate) mod archive;
mod base64;
pub mod config;
pub mod critical_thread;
mod data_dir;
pub(crate) mod doctor;
pub(crate) mod findings;
mod hash_sort;
mod http;
pub(crate) mod lab_states;
mod liveness;
mod local_file;
mod name_map;
mod notify;
pub(crate) mod observed;
pub(crate) mod refusal;
pub(crate) mod refusal_log;
pub(crate) mod refused_upload;
mod reload;
mod shelf;
pub(crate) mod stats;
pub(crate) mod store;
pub(crate) mod survey;
pub mod version_gate;

#[cfg(any(test, fuzzing))]
pub use self::http::{fuzzed_head, fuzzed_list_query, fuzzed_range};

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use self::archive::Archive;
use self::config::Config;
use self::critical_thread::{ShutdownHandle, StopReason};
use self::observed::Observed;
use self::reload::Reload;
use self::shelf::StoreShelf;
use self::stats::Stats;
use self::store::Store;
use self::version_gate::VersionGate;
use crate::events;
use crate::failure::Failure;
use crate::names::{CommitHash, Sha256Digest};
use crate::owner;
use crate::service;
use crate::sys::{self, Signal};
use crate::wire::Slot;

/// Descriptors for everything except connections and uploads: logs, locks, the index, git, Forgejo.
const OTHER_FILES: u64 = 64;
/// How much longer than the draining a stop may take before systemd kills the process.
const SPARE_TIME: Duration = Duration::from_secs(20);
/// With descriptors for fewer connections than this, the receiver does not start.
const CONNECTIONS_MIN: u64 = 8;
/// How often a draining receiver checks whether all uploads are answered.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Opens the store, recovers it, serves, and drains when the process is asked to stop.
///
/// `as_read` is the configuration as its file has it, without the flags that `config` has.
///
/// Errors: what kept the receiver from starting, or the fault that ended it. After a fault a restart
/// recovers the store.
pub fn run(config: Config, as_read: Config, config_path: &Path) -> Result<(), Failure> {
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
    let observed = Arc::new(Observed::begin(&config.data_dir));
    // Kept until this function ends, so that no other receiver can listen on the address.
    let own_address = http::OwnAddress::take(config.listen)?;
    config.listen = own_address.address;
    let gate = VersionGate::start(&config.version_gate, &config.data_dir, &shutdown)?;
    let data_dir = config.data_dir.clone();
    let refusals = refusal_log::start(&config.data_dir, Arc::clone(&stats), &shutdown)?;
    let archive = start_archive(&config, &store, &shutdown)?;
    let parts = http::Parts {
        store: Arc::clone(&store),
        gate,
        stats,
        refusals,
        observed: Arc::clone(&observed),
        archive,
    };
    let server = http::start(config, parts, &shutdown)?;
    let reload = Reload {
        server: server.clone(),
        path: config_path.to_owned(),
        at_start: as_read,
        fit: fit_file_limit,
    };
    listen_for_signals(&shutdown, reload)?;
    notify::start(server.clone(), &data_dir)?;
    liveness::start(server.clone(), &shutdown)?;
    store.note_address(server.address);
    drop(store);
    events::listening(server.address, data_dir.display());
    service::ready(&server.status_line());
    let ended = match stops.recv() {
        Ok(StopReason::Asked) => {
            let drain_s = server.config().drain_seconds;
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
    if ended.is_ok() {
        observed.end();
    }
    ended
}

fn start_archive(
    config: &Config,
    store: &Arc<Store>,
    shutdown: &ShutdownHandle,
) -> Result<Option<Arc<Archive>>, Failure> {
    let Some(archive) = &config.archive else {
        return Ok(None);
    };
    let shelf = Arc::new(StoreShelf(Arc::clone(store)));
    Archive::start(archive, &config.data_dir, store.id(), shelf, shutdown).map(Some)
}

/// Waits until the uploads under way are answered, for `time` at most.
///
/// Errors: the fault that a critical thread reported meanwhile.
fn drain(
    server: &http::Server,
    stops: &mpsc::Receiver<StopReason>,
    time: Duration,
) -> Result<(), Failure> {
    server.begin_to_drain();
    let until = Instant::now() + time;
    loop {
        // The wait comes first, so that an answer that was just counted has left the socket.
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

/// The descriptors that so many connections, uploads and downloads need. Each connection is counted twice, as a
/// reserve: when no descriptor is left, the accept loop spins.
pub fn files_wanted(max_connections: u32, max_uploads: u32, max_downloads: u32) -> u64 {
    let connections = u64::from(max_connections) + u64::from(http::ANSWERED_BEYOND_CAP);
    // An upload opens its file twice at most: once buffered and, for a large body, once for direct writes.
    let files = u64::from(max_uploads) * 2 + u64::from(max_downloads);
    connections * http::FILES_PER_CONNECTION * 2 + files + OTHER_FILES
}

/// Raises the limit on open files to the number that the configuration needs. Where the system does
/// not allow that, the limits of the configuration are lowered instead: without a descriptor for
/// the next connection, the accept loop would spin.
///
/// Errors: the limit is too low to be of use.
fn fit_file_limit(mut config: Config) -> Result<Config, Failure> {
    let wanted = files_wanted(
        config.max_connections,
        config.max_uploads,
        config.max_downloads,
    );
    let limit = sys::raise_file_limit(wanted).unwrap_or(0);
    if limit >= wanted {
        return Ok(config);
    }
    let beyond_cap = u64::from(http::ANSWERED_BEYOND_CAP) * http::FILES_PER_CONNECTION;
    let spare = limit.saturating_sub(OTHER_FILES + beyond_cap);
    // Per connection: its descriptors, as many for one that is just closing, one for half an upload, and
    // one for a download.
    let connections = spare / (http::FILES_PER_CONNECTION * 2 + 2);
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
    config.max_downloads = at_most(connections, config.max_downloads);
    events::few_files(limit, wanted, config.max_connections, config.max_uploads);
    Ok(config)
}

fn listen_for_signals(shutdown: &ShutdownHandle, reload: Reload) -> Result<(), Failure> {
    let shutdown = shutdown.clone();
    let listen = move || {
        loop {
            match sys::wait_signal() {
                Signal::Stop => shutdown.asked(),
                Signal::Reload => reload.reload(),
            }
        }
    };
    let started = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen);
    match started {
        Ok(_) => {
            owner::read_files_alone();
            Ok(())
        }
        Err(error) => Err(critical_thread::cannot_start("signals", &error)),
    }
}

/// What the request head of an upload states. It is parsed, and nothing of it is checked yet.
#[derive(Clone, Debug)]
pub struct Claim {
    pub slot: Slot,
    /// `None` only where the gate is disabled and the header is missing or malformed.
    pub commit: Option<CommitHash>,
    pub dirty: bool,
    pub sha256: Sha256Digest,
    /// The length of the body.
    pub bytes: u64,
}
