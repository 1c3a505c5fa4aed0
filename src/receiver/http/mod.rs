//! The HTTP room: in which order a request is judged, and how it is answered.
//!
//! 1. A coroutine never blocks: disk questions go to `blocking_pool`, bodies to `body_threads`, and it waits
//!    on a channel.
//! 2. The HTTP crate is the business of `guard` alone: every other file here sees its requests, bodies
//!    and answers.

// Connections, and the crate that reads and writes them.
mod guard;

// A request, and its answer.
mod answer;
mod blocking_pool;
mod body_threads;
mod download;
mod fair_limiter;
mod get;
mod head;
mod kept_uploads;
mod lab_state;
mod list;
mod list_query;
mod pace;
mod pour;
mod probe;
mod put;
mod reply_channel;
mod resume;
mod route;
mod running;
mod target;
mod upload;
mod upload_answer;

// What is seen of the server.
mod counters;
mod disk_watch;
mod liveness;
mod metrics;
mod page;

#[cfg(any(test, fuzzing))]
mod fuzzed;

#[cfg(any(test, fuzzing))]
pub use self::download::fuzzed_range;
#[cfg(any(test, fuzzing))]
pub use self::fuzzed::{list_query as fuzzed_list_query, request_head as fuzzed_head};

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as unix_net, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};

use self::answer::PositionLines;
use self::blocking_pool::BlockingPool;
use self::body_threads::BodyThreads;
use self::counters::Counters;
use self::download::Downloads;
use self::fair_limiter::FairLimiter;
pub(super) use self::guard::{ANSWERED_BEYOND_CAP, FILES_PER_CONNECTION};
use self::guard::{Answer, Answers, Guard, Reply, Request, Unreadable};
use self::head::{Framing, Head};
use self::lab_state::LabReports;
use self::list::Lists;
pub(crate) use self::liveness::CONNECTIONS;
use self::pace::PaceLimits;
use self::page::{Kept, KeptScene};
use self::route::Route;
use self::target::Target;
use self::upload::Uploads;
use self::upload_answer::Refused;
use super::access::{Access, Readers};
use super::archive::{Archive, ReadyTerms};
use super::config::Config;
use super::critical_thread::ShutdownHandle;
use super::findings::Finding;
use super::lab_states::LabStates;
use super::observed::Observed;
use super::refusal::Refusal;
use super::refusal_log::RefusalSender;
use super::stats::Stats;
use super::store::{Space, Store};
use super::version_gate::{ASK_PATIENCE, Look, ReadyChange, SecondLook, VersionGate};
use crate::events;
use crate::failure::Failure;
use crate::names::{CommitHash, HostId, ReaderId};
use crate::wire::{self, Known};

/// Enough that one look at a slow disk does not hold up the rest.
const CLERKS: usize = 4;

/// Ports that are tried where any will do.
const TAKE_TRIES: u32 = 100;

/// What all connections share.
struct Shared {
    /// What holds now.
    config: ArcSwap<Config>,
    /// Keys of the configuration that were changed and wait for a restart.
    config_waiting: ArcSwap<Vec<&'static str>>,
    access: Access,
    readers: Readers,
    lists: Lists,
    lab_reports: LabReports,
    observed: Arc<Observed>,
    store: Arc<Store>,
    gate: Arc<VersionGate>,
    /// `None` without `[archive]`.
    archive: Option<Arc<Archive>>,
    positions: ArcSwap<PositionLines>,
    blocking: BlockingPool,
    guard: Arc<Guard>,
    uploads: Arc<Uploads>,
    body_threads: Arc<BodyThreads>,
    downloads: Arc<Downloads>,
    /// Requests that wait for a refresh of the gate, each on a connection that others could have.
    asking: Arc<FairLimiter>,
    draining: AtomicBool,
    /// As it was at the last look; `None` when that failed.
    space: ArcSwapOption<Space>,
    stats: Arc<Stats>,
    refusals: RefusalSender,
    counters: Counters,
    /// When this process began, as the clock said.
    began: SystemTime,
    began_here: Instant,
    page: Kept,
    scene: KeptScene,
    metrics: Kept,
}

/// The running server.
#[derive(Clone)]
pub(super) struct Server {
    shared: Arc<Shared>,
    pub address: SocketAddr,
}

/// What the server works with: the other rooms, and what is counted.
pub(super) struct Parts {
    pub store: Arc<Store>,
    pub gate: Arc<VersionGate>,
    pub stats: Arc<Stats>,
    pub refusals: RefusalSender,
    pub observed: Arc<Observed>,
    pub archive: Option<Arc<Archive>>,
}

/// Starts to serve on `config.listen`, which [`OwnAddress::take`] has found. Returns once the port is open.
pub(super) fn start(
    config: Config,
    parts: Parts,
    shutdown: &ShutdownHandle,
) -> Result<Server, Failure> {
    let Parts {
        store,
        gate,
        stats,
        refusals,
        observed,
        archive,
    } = parts;
    let address = config.listen;
    let idle = Duration::from_secs(config.idle_timeout_seconds);
    let connections = guard::Limits {
        connections_max: config.max_connections,
        idle,
        head: Duration::from_secs(config.head_timeout_seconds),
        body_bytes_per_second_min: config.min_body_bytes_per_second,
    };
    let pace = PaceLimits {
        idle,
        bytes_per_second_min: config.min_body_bytes_per_second,
    };
    let configured = config.hosts.iter().map(|rule| rule.id.clone());
    let uploads = Uploads::new(
        Arc::clone(&store),
        archive.clone(),
        config.max_uploads,
        pace,
    );
    let shared = Arc::new(Shared {
        access: Access::new(config.hosts.clone()),
        readers: Readers::new(config.readers.clone()),
        lists: Lists::start(shutdown)?,
        observed,
        lab_reports: LabReports::new(LabStates::new(configured), Arc::clone(&stats), pace),
        positions: ArcSwap::from_pointee(PositionLines::new(gate.configured_window())),
        blocking: BlockingPool::start("clerk", CLERKS, 0, shutdown)?,
        guard: Guard::start(&connections, shutdown)?,
        body_threads: BodyThreads::new(Arc::clone(&store), Arc::clone(&uploads)),
        uploads,
        downloads: Downloads::start(config.max_downloads, pace, shutdown)?,
        asking: FairLimiter::new(config.max_connections),
        draining: AtomicBool::new(false),
        space: ArcSwapOption::empty(),
        counters: Counters::new(),
        began: SystemTime::now(),
        began_here: Instant::now(),
        page: Kept::default(),
        scene: KeptScene::default(),
        metrics: Kept::default(),
        stats,
        refusals,
        config: ArcSwap::from_pointee(config),
        config_waiting: ArcSwap::default(),
        store,
        gate,
        archive,
    });
    disk_watch::start(&shared, shutdown)?;
    let answers = Arc::clone(&shared);
    let listening = shared.guard.listen(address, answers)?;
    listening.map_err(|error| cannot_listen(address, &error))?;
    Ok(Server { shared, address })
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
    /// descriptors too, this listener's among them, and the kernel would refuse the port to may.
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

impl Server {
    /// Closes the store: nothing more is stored, and the next start can see whether the index was touched.
    /// Broken uploads are not kept any more.
    pub(super) fn close(&self) {
        self.shared.uploads.kept.close();
        self.shared.store.close();
    }

    /// What holds now.
    pub(super) fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }

    /// From here on this holds, as far as it takes effect on a reload; `gate` was read of it, and `waiting` are the
    /// keys that wait for a restart. Each request is judged by the values of one moment, and an upload under way
    /// ends by those that it began with.
    pub(super) fn reload(
        &self,
        config: Config,
        gate: ReadyChange,
        archive: Option<ReadyTerms>,
        waiting: Vec<&'static str>,
    ) {
        let shared = &self.shared;
        let configured = || config.hosts.iter().map(|rule| rule.id.clone());
        shared.stats.configure(configured());
        shared.access.replace(config.hosts.clone());
        let has_uploads = |host: &HostId| shared.stats.has_uploads(host);
        let states = &shared.lab_reports.states;
        states.configure(configured(), has_uploads);
        shared.readers.replace(config.readers.clone());
        shared.uploads.set_max(config.max_uploads);
        shared.downloads.set_max(config.max_downloads);
        shared.store.keep_free(config.min_free_bytes);
        if config.version_gate.window != shared.gate.configured_window() {
            let lines = PositionLines::new(config.version_gate.window);
            shared.positions.store(Arc::new(lines));
        }
        shared.gate.apply(gate);
        if let (Some(archive), Some(ready)) = (&shared.archive, archive) {
            archive.apply(ready);
        }
        shared.config.store(Arc::new(config));
        shared.config_waiting.store(Arc::new(waiting));
    }

    /// What a person should know or do. For plain threads.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.shared.findings()
    }

    /// Uploads under way.
    pub(super) fn uploads(&self) -> u32 {
        self.shared.uploads.running()
    }

    /// From now on new uploads are refused.
    pub(super) fn begin_to_drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.guard.hurry();
    }

    /// Connections with an upload that has not been answered yet, or whose thread has not reported yet, and downloads
    /// that have not ended. Each one that was judged before the draining began is among them.
    pub(super) fn unanswered(&self) -> u32 {
        self.shared.guard.unanswered() + self.shared.downloads.not_ended()
    }
}

impl Shared {
    /// Whether the disk has room for one more byte, as it was at the last look.
    fn has_room(&self) -> bool {
        self.space
            .load()
            .as_ref()
            .is_some_and(|space| space.holds(0))
    }

    /// Errors: no more is begun, since the receiver is stopping.
    fn is_no_stop(&self) -> Result<(), Refusal> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        Ok(())
    }
}

impl Answers for Shared {
    fn answer(self: &Arc<Self>, request: &Request) -> Reply {
        let exchange = Exchange {
            shared: self,
            request,
            is_probe: false,
        };
        exchange.answer()
    }

    fn failed(&self) -> Answer {
        Answer::refusal(&Refusal::Internal)
    }

    fn unreadable(&self, peer: IpAddr, unreadable: &Unreadable) -> Answer {
        let Unreadable { refusal, begins } = unreadable;
        events::unreadable_request(peer, &refusal.as_event(), begins);
        self.counters.refused_request(refusal);
        Answer::refusal(refusal)
    }
}

/// A test's way to a panic in the middle of a request: `CIS490_PANIC_AT` is its path.
#[cfg(any(debug_assertions, feature = "faults"))]
fn panic_if_asked(path: &str) {
    let at = std::env::var("CIS490_PANIC_AT");
    assert!(at.as_deref() != Ok(path), "asked for by CIS490_PANIC_AT");
}

/// The shipped program cannot be made to panic in this way.
#[cfg(not(any(debug_assertions, feature = "faults")))]
fn panic_if_asked(_: &str) {}

/// The one place that knows which target is which. A query is for none of them: it is ignored.
fn asked_for(method: &str, target: &str) -> Result<Route, Refusal> {
    match Target::parse(method, target)? {
        Target::Path { path, query: _ } => Route::parse(method, path),
        Target::Asterisk => Ok(Route::Options {
            allow: route::UPLOAD,
        }),
    }
}

/// The target as the log shows it. Of what readers ask for the query is left out: somebody may have put a
/// token there.
fn logged_target(target: &str) -> &str {
    let of_readers = [wire::EPISODES_PATH, wire::BUNDLE_PATH, wire::TARBALL_ENDING];
    match target.split_once('?') {
        Some((path, _)) if of_readers.iter().any(|end| path.ends_with(end)) => path,
        _ => target,
    }
}

/// One request, and what all requests share.
#[derive(Clone, Copy)]
struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    request: &'a Request<'a>,
    /// Nothing of it is to be kept (see `probe`). Known once its head is read.
    is_probe: bool,
}

impl Exchange<'_> {
    /// Judges a request in the order of design section 2.
    fn answer(mut self) -> Reply {
        let method = self.request.method;
        let target = self.request.target;
        panic_if_asked(target);
        let head = Head::collect(target, self.request.fields());
        self.is_probe = head.is_probe();
        let framing = match head.framing(method, self.request.version) {
            Ok(framing) => framing,
            Err(refusal) => return self.refuse_closing(&refusal),
        };
        if self.request.is_over_cap {
            return self.refuse_closing(&Refusal::TooManyConnections);
        }
        match asked_for(method, target) {
            Ok(Route::Upload(slot)) => {
                let judged = self.judge_upload(slot, &head, &framing);
                self.upload(judged, framing)
            }
            Ok(Route::LabState(host)) => self.report(host, &head, framing),
            Ok(Route::Tarball(slot)) => self.fetch(slot, &head, framing),
            Ok(Route::Resume(slot)) => self.resume(slot, &head, framing),
            Ok(Route::List) => self.list(&head, framing),
            Ok(Route::Bundle) => self.bundle(&head, framing),
            Ok(route) => {
                let answer = self.read(route);
                self.reply_unread(answer, framing)
            }
            // A target that has none of the forms is a fault of the request line: another reader on the
            // way may see the request end elsewhere, so nothing behind it is trusted. A method that
            // nobody knows (501), another scheme's URL (421) and a path that is none of ours stand in
            // a request that is framed well, and the connection stays open.
            Err(refusal @ Refusal::BadHead(_)) => self.refuse_closing(&refusal),
            Err(refusal) => {
                self.log_refusal(&refusal);
                self.reply_unread(Answer::refusal(&refusal), framing)
            }
        }
    }

    fn peer(self) -> IpAddr {
        self.request.peer()
    }

    /// The reader that the request comes from, for the list and for the bytes of episodes.
    ///
    /// Errors: 403 or 401 (see [`Readers::judge`]); 403 for a request of a web page's script, which a
    /// reader's own browser may run.
    fn reader(self, head: &Head) -> Result<ReaderId, Refusal> {
        head.is_no_web_pages_read()?;
        let readers = &self.shared.readers;
        readers.judge(self.peer(), head.authorization())
    }

    /// An answer to a request whose body, if any, stays unread.
    fn reply_unread(self, answer: Answer, framing: Framing) -> Reply {
        Reply::Answer {
            answer,
            closes: framing.closes || framing.length > 0 || framing.expects_continue,
            unread_bytes: framing.length,
            held: None,
        }
    }

    fn refuse_closing(self, refusal: &Refusal) -> Reply {
        self.log_refusal(refusal);
        Reply::closing(Answer::refusal(refusal))
    }

    fn log_refusal(self, refusal: &Refusal) {
        let method = self.request.method;
        let path = logged_target(self.request.target);
        if self.is_probe {
            return self.log_refused_probe(path, refusal);
        }
        events::refused_request(self.peer(), method, path, &refusal.as_event());
        if !matches!(method, "PUT" | "PATCH") || path.starts_with(wire::HOSTS_PATH) {
            return self.shared.counters.refused_request(refusal);
        }
        let slot = match asked_for(method, path) {
            Ok(Route::Upload(slot) | Route::Resume(slot)) => Some(slot),
            _ => None,
        };
        let target = slot.as_ref().map_or(Refused::Path(path), Refused::Slot);
        let peer = self.peer();
        self.shared
            .note_refused_upload(peer, target, None, refusal, 0);
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
        let place = self.shared.asking.take(self.peer());
        let _place = place.map_err(|_| Refusal::GateBusy)?;
        let (sender, refreshed) = reply_channel::channel();
        let report = move |heard| {
            let _ = sender.send(heard); // an error: the coroutine has given up waiting
        };
        let asked = gate.ask(commit, Box::new(report));
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
