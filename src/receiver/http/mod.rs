//! The HTTP room: who asks, in which order a request is judged, and what is answered. The only
//! folder that names may_minihttp.
//!
//! 1. A coroutine never blocks: disk questions go to `blocking_pool`, bodies to `upload`, closings to
//!    `lingering_close`, and it waits on a channel.
//! 2. Every request gets its answer from here and `call` returns `Ok`; may_minihttp never has anything
//!    to say by itself, since `intake` hands it whole heads that it can parse, and the peer's end only
//!    after they were answered. A panic is that request's 500.
//! 3. An answer that is given before the whole body was read closes the connection, so the rest
//!    of the body is never taken for a request.

// A connection, from its beginning to its end.
mod acceptor;
mod connection;
mod connection_table;
mod guards;
mod lingering_close;
mod service;
mod watchdog;

// A request, and its answer.
mod answer;
mod blocking_pool;
mod fair_limiter;
mod get;
mod head;
mod probe;
mod put;
mod target;
mod upload;

// What is seen of the server.
mod counters;
mod disk_watch;
mod liveness;
mod metrics;
mod page;

#[cfg(any(test, fuzzing))]
mod fuzzed;

#[cfg(any(test, fuzzing))]
pub use self::fuzzed::request_head as fuzzed_head;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix_net, UnixListener};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use may_minihttp::{HttpServiceFactory, Request};

use self::acceptor::Acceptor;
use self::answer::{Answer, PositionLines};
use self::blocking_pool::BlockingPool;
use self::connection::Connection;
use self::connection_table::ConnectionTable;
use self::counters::Counters;
use self::fair_limiter::FairLimiter;
use self::head::{Framing, Head, Route};
use self::lingering_close::LingeringClose;
use self::page::Kept;
use self::target::Target;
use self::upload::Uploads;
use super::access::Access;
use super::config::Config;
use super::critical_thread::ShutdownHandle;
use super::refusal::Refusal;
use super::refusals::{Ending, Teller};
use super::refused_upload::RefusedUpload;
use super::stats::Stats;
use super::store::{Space, Store};
use super::version_gate::{ASK_PATIENCE, Look, SecondLook, VersionGate};
use crate::clock;
use crate::events;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::wire::{Known, Slot};

/// A connection costs two descriptors: may_minihttp's and ours.
pub(super) const FILES_PER_CONNECTION: u64 = 2;
/// Ports that are tried where any will do.
const TAKE_TRIES: u32 = 100;
/// Connections above the cap that are told so; beyond them they are closed without a word.
pub(super) const TOLD_BEYOND_CAP: u32 = 64;

/// What all connections share.
struct Shared {
    config: Config,
    access: Access,
    store: Arc<Store>,
    gate: Arc<VersionGate>,
    positions: PositionLines,
    blocking: BlockingPool,
    lingering_close: LingeringClose,
    uploads: Arc<Uploads>,
    announce: watchdog::Announce,
    connection_table: ConnectionTable,
    /// Requests that wait for a refresh of the gate, each on a connection that others could have.
    asking: Arc<FairLimiter>,
    connections: AtomicU32,
    /// Uploads between their head and the end of their answer. Counted before `draining` is read,
    /// so that whoever drains sees every upload that was let in.
    answering: AtomicU32,
    draining: AtomicBool,
    disk_full: AtomicBool,
    /// As it was at the last look; `None` when that failed. Read by plain threads alone.
    space: Mutex<Option<Space>>,
    stats: Arc<Stats>,
    refusals: Teller,
    counters: Counters,
    /// When this process began, as the clock said.
    began: SystemTime,
    began_here: Instant,
    page: Kept,
    metrics: Kept,
}

/// The running server.
#[derive(Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
    pub address: SocketAddr,
}

/// Starts to serve on `config.listen`, which [`OwnAddress::take`] has found. Returns once the port is open.
pub(super) fn start(
    config: Config,
    store: Arc<Store>,
    gate: Arc<VersionGate>,
    stats: Arc<Stats>,
    refusals: Teller,
    shutdown: &ShutdownHandle,
) -> Result<Server, Failure> {
    let address = config.listen;
    let idle = Duration::from_secs(config.idle_timeout_seconds);
    let watch = watchdog::Limits {
        idle,
        head: Duration::from_secs(config.head_timeout_seconds),
    };
    let bodies = upload::Limits {
        uploads_max: config.max_uploads,
        idle,
        bytes_per_second_min: config.min_body_bytes_per_second,
    };
    let shared = Arc::new(Shared {
        access: Access::new(config.hosts.clone()),
        positions: PositionLines::new(gate.configured_window()),
        blocking: BlockingPool::start(shutdown)?,
        lingering_close: LingeringClose::start(config.min_body_bytes_per_second, shutdown)?,
        uploads: Uploads::new(Arc::clone(&store), bodies),
        announce: watchdog::start(watch, shutdown)?,
        connection_table: ConnectionTable::new(config.max_connections),
        asking: FairLimiter::new(config.max_connections),
        connections: AtomicU32::new(0),
        answering: AtomicU32::new(0),
        draining: AtomicBool::new(false),
        disk_full: AtomicBool::new(false),
        space: Mutex::new(None),
        counters: Counters::new(),
        began: SystemTime::now(),
        began_here: Instant::now(),
        page: Kept::default(),
        metrics: Kept::default(),
        stats,
        refusals,
        config,
        store,
        gate,
    });
    guards::start().map_err(|error| cannot_guard(&error))?;
    disk_watch::start(&shared, shutdown)?;
    configure_coroutines();
    accept(Acceptor(Arc::clone(&shared)), address)?;
    Ok(Server { shared, address })
}

/// Starts the accept loop, and with it may's scheduler: on a thread that ends at once. may makes its
/// scheduler in a frame of 144 KiB, and the main thread's stack would keep those pages.
fn accept(acceptor: Acceptor, address: SocketAddr) -> Result<(), Failure> {
    let start = thread::Builder::new()
        .spawn(move || acceptor.start(address))
        .map_err(|error| {
            Failure::new(
                format!("cannot start the thread that starts the coroutines: {error}"),
                "raise the limit on threads (TasksMax, ulimit -u) or free memory",
            )
        })?;
    let accepting = start.join().unwrap_or_else(|panic| resume_unwind(panic));
    // Dropping the handle leaves the accept loop running; it ends with the process.
    accepting.map_err(|error| cannot_listen(address, &error))?;
    Ok(())
}

/// An address that no other receiver of this machine may listen on, for as long as this is kept.
pub(super) struct OwnAddress {
    pub address: SocketAddr,
    _name: UnixListener,
}

impl OwnAddress {
    /// may sets SO_REUSEPORT, so a second instance would start silently and take every other
    /// connection. std's listener, which does not, finds out whether the port is free; a name of the
    /// address in the kernel's own space, which only one process can have, keeps it until may
    /// listens. To be asked before any program is started: one between its fork and its exec holds our
    /// descriptors too, this listener's among them, and may would be told that the port is taken.
    ///
    /// Errors: another program has the address, or this machine has none such.
    pub(super) fn take(listen: SocketAddr) -> Result<OwnAddress, Failure> {
        let mut tries_left = TAKE_TRIES;
        loop {
            tries_left -= 1;
            match OwnAddress::try_take(listen) {
                // Any port will do, and another receiver was about to listen on the one that came.
                Err(error) if listen.port() == 0 && is_taken(&error) && tries_left > 0 => {}
                taken => return taken.map_err(|error| cannot_listen(listen, &error)),
            }
        }
    }

    fn try_take(listen: SocketAddr) -> io::Result<OwnAddress> {
        let address = TcpListener::bind(listen)?.local_addr()?;
        let name = unix_net::SocketAddr::from_abstract_name(format!("cis490 receive {address}"))?;
        Ok(OwnAddress {
            address,
            _name: UnixListener::bind_addr(&name)?,
        })
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address, or not yet (is WireGuard up?): a service is started again until it has; else change listen"
        }
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs a right of root's, and root keeps none in a folder of another user: set a higher port in listen, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit"
        }
        _ => {
            "another program (or another cis490 receive) may hold the port; see `ss -ltnp`, or change listen"
        }
    };
    Failure::new(format!("cannot listen on {address}: {error}"), hint)
}

fn cannot_guard(error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot guard connections: {error}"),
        "this is a fault of the program's build: use one that is shipped, and please report this",
    )
}

fn configure_coroutines() {
    may::config()
        .set_workers(2)
        .set_pool_capacity(64)
        // In words of 8 bytes: 256 KiB. The default of 32 KiB overflows in silence.
        .set_stack_size(32 * 1024);
    may::config().set_worker_pin(false);
    may::config().set_timeout_ns(1_000_000_000);
}

impl Server {
    /// The end: nothing more is stored, and the next start can tell whether the index was touched.
    pub(super) fn close(&self) {
        self.shared.store.close();
    }

    /// Uploads under way.
    pub(super) fn uploads(&self) -> u32 {
        self.shared.uploads.running()
    }

    /// Refuses what is new from now on.
    pub(super) fn begin_to_drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.lingering_close.hurry();
    }

    /// Uploads that have not been answered yet. What may_minihttp was given in the instant before
    /// the draining began counts as answered: its coroutine writes it at once.
    pub(super) fn unanswered(&self) -> u32 {
        self.shared.answering.load(Ordering::SeqCst)
    }
}

/// An answer, and whether the connection ends with it.
struct Reply {
    answer: Answer,
    closes: bool,
    /// What the peer may still send of the body.
    unread_bytes: u64,
}

impl Reply {
    fn closing(answer: Answer) -> Reply {
        Reply {
            answer,
            closes: true,
            unread_bytes: 0,
        }
    }
}

/// A test's way to a panic in the middle of a request: `CIS490_PANIC_AT` is its path.
#[cfg(any(debug_assertions, feature = "faults"))]
fn panic_if_asked(path: &str) {
    let at = std::env::var("CIS490_PANIC_AT");
    assert!(at.as_deref() != Ok(path), "asked for by CIS490_PANIC_AT");
}

/// What is shipped has no such thing.
#[cfg(not(any(debug_assertions, feature = "faults")))]
fn panic_if_asked(_: &str) {}

/// The one place that knows which target is which. A query is for none of them: it is ignored.
fn asked_for(method: &str, target: &str) -> Result<Route, Refusal> {
    match Target::parse(method, target)? {
        Target::Path { path, query: _ } => Route::parse(method, path),
        Target::Asterisk => Ok(Route::Options {
            allow: head::UPLOAD,
        }),
    }
}

/// One request on one connection.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    connection: &'a Arc<Connection>,
    /// Nothing of it is to be kept (see `probe`). Known once its head is read.
    is_probe: bool,
}

impl Exchange<'_> {
    /// Judges a request in the order of design section 2.
    fn answer(mut self, request: Request, over_cap: bool) -> Reply {
        let method = request.method().to_owned();
        let path = request.path().to_owned();
        panic_if_asked(&path);
        let pairs = request
            .headers()
            .iter()
            .map(|header| (header.name, header.value));
        let head = Head::collect(&path, pairs);
        self.is_probe = head.is_probe();
        let framing = match head.framing(&method, request.version()) {
            Ok(framing) => framing,
            Err(refusal) => return self.refuse_closing(&method, &path, &refusal),
        };
        if over_cap {
            return self.refuse_closing(&method, &path, &Refusal::TooManyConnections);
        }
        match asked_for(&method, &path) {
            Ok(Route::Upload(slot)) => {
                let judged = self.judge_upload(slot, &head, &framing);
                self.upload(judged, framing)
            }
            Ok(route) => {
                let answer = self.read(route);
                self.reply_unread(answer, framing)
            }
            Err(refusal) => {
                self.log_refusal(&method, &path, &refusal);
                self.reply_unread(Answer::refusal(&refusal), framing)
            }
        }
    }

    /// An answer to a request whose body, if any, stays unread.
    fn reply_unread(self, answer: Answer, framing: Framing) -> Reply {
        Reply {
            answer,
            closes: framing.closes || framing.length > 0 || framing.expects_continue,
            unread_bytes: framing.length,
        }
    }

    fn refuse_closing(self, method: &str, path: &str, refusal: &Refusal) -> Reply {
        self.log_refusal(method, path, refusal);
        Reply::closing(Answer::refusal(refusal))
    }

    fn log_refusal(self, method: &str, path: &str, refusal: &Refusal) {
        if self.is_probe {
            return self.log_refused_probe(path, refusal);
        }
        events::refused_request(self.connection.peer(), method, path, &refusal.as_event());
        if method != "PUT" {
            return self.shared.counters.refused_request(refusal);
        }
        let slot = match asked_for("PUT", path) {
            Ok(Route::Upload(slot)) => Some(slot),
            _ => None,
        };
        self.note_refused_upload(slot.as_ref(), path, None, refusal, 0);
    }

    /// For the figures and for `refusals.jsonl`. `bytes` of its body had been taken.
    fn note_refused_upload(
        self,
        slot: Option<&Slot>,
        path: &str,
        commit: Option<CommitHash>,
        refusal: &Refusal,
        bytes: u64,
    ) {
        self.shared.counters.refused_upload(refusal);
        let refused = RefusedUpload {
            at: clock::rfc3339(SystemTime::now()),
            after_seq: self.shared.stats.last_seq(),
            peer: self.connection.peer(),
            host: slot.map(|slot| slot.host.clone()),
            episode: slot.map(|slot| slot.episode.clone()),
            path: slot.is_none().then(|| RefusedUpload::shortened(path)),
            commit,
            status: refusal.status(),
            reason: refusal.name().to_owned(),
            why: RefusedUpload::shortened(&refusal.to_string()),
            left_out: 0,
        };
        let ending = Ending::Refused { refused, bytes };
        self.shared.refusals.tell(ending);
    }

    /// The commit's place in the window. A commit that is not there may be newer than what we
    /// know: before it is refused, one refresh that begins after this moment is waited for, and
    /// what the source knows of it.
    fn look_twice(self, commit: &CommitHash) -> Result<u32, Refusal> {
        let gate = &self.shared.gate;
        match gate.look(commit) {
            Look::Admitted(position) => return Ok(position),
            // Disabled, the gate refuses nobody: there is nothing to wait for.
            Look::NotInWindow if gate.enabled() => {}
            Look::NotInWindow => return Err(self.not_in_window(commit, None)),
            Look::NotLoaded => return Err(Refusal::GateNotLoaded),
        }
        let place = self.shared.asking.take(self.connection.peer());
        let _place = place.map_err(|_| Refusal::GateBusy)?;
        let (sender, refreshed) = may::sync::mpsc::channel();
        let tell = move |heard| {
            let _ = sender.send(heard); // nobody waits any longer: too late
        };
        let asked = gate.ask(commit, Box::new(tell));
        match gate.look_again(commit, asked, refreshed.recv_timeout(ASK_PATIENCE).ok()) {
            SecondLook::Admitted(position) => Ok(position),
            SecondLook::NotInWindow(known) => Err(self.not_in_window(commit, Some(known))),
            SecondLook::Busy => Err(Refusal::GateBusy),
            SecondLook::NotLoaded => Err(Refusal::GateNotLoaded),
        }
    }

    fn not_in_window(self, commit: &CommitHash, known: Option<Known>) -> Refusal {
        Refusal::NotInWindow {
            commit: *commit,
            known,
            facts: Box::new(self.shared.gate.facts()),
        }
    }
}
