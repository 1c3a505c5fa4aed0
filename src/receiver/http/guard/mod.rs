//! The guard: everything that tames may_minihttp, behind [`Guard`]. No other folder names the crate, but
//! for the logger, which drops its lines.
//!
//! The rest of the room sees a [`Request`] with its [`Body`], answers it with a [`Reply`], and never
//! meets the crate, its socket or its descriptors. What the guard adds to the crate:
//!
//! 1. It answers every request, and `call` returns `Ok`: the crate never has anything to say by
//!    itself. `intake` hands it whole heads that it can parse, and the peer's end only after they were
//!    answered. A panic is that request's 500.
//! 2. An answer that is given before the whole body was read closes the connection
//!    (`lingering_close`), so the rest of the body is never taken for a request.
//! 3. A request may also be answered on our own socket by a plain thread, and its connection go on
//!    (`outgoing`, and `Responder::send`): what the crate writes for such a request is not sent. That thread
//!    may also take the next request (`next_request`).
//! 4. Every connection has one entry in `connection_table`: it counts there, it may have to make room
//!    there for another, and the watchdog finds it there.

// A connection, from its beginning to its end.
mod acceptor;
mod connection;
mod connection_table;
mod descriptors;
mod lingering_close;
mod service;
mod watchdog;

// What the rest of the room sees.
mod answer;
mod next_request;
mod outgoing;
mod request;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use may_minihttp::HttpServiceFactory;

use self::acceptor::Acceptor;
pub(super) use self::answer::{Answer, Length, Reply, static_line};
pub(super) use self::connection::unsettled::{Settle, Settled};
use self::connection_table::ConnectionTable;
use self::lingering_close::LingeringClose;
pub(super) use self::outgoing::Outgoing;
pub(super) use self::request::{Body, Cutter, Request, Responder};
use crate::failure::Failure;
use crate::receiver::critical_thread::{Pong, ShutdownHandle, cannot_start};
use crate::receiver::refusal::Refusal;

/// A connection costs two descriptors: may_minihttp's and ours.
pub(in crate::receiver) const FILES_PER_CONNECTION: u64 = 2;
/// Connections above the limit that get an answer which says so; those beyond them are closed without
/// one.
pub(in crate::receiver) const ANSWERED_BEYOND_CAP: u32 = 64;
/// The most that a request line and its headers may take together.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// As many header fields as may_minihttp accepts.
pub(super) const FIELDS_MAX: usize = 16;

/// What answers the requests that come through the guard. Called in the coroutine of the connection:
/// it never blocks.
pub(super) trait Answers: Send + Sync + 'static {
    /// Judges one request and answers it. Those that a plain thread takes (`next_request`) do not come here.
    fn answer(self: &Arc<Self>, request: &Request) -> Reply;

    /// The answer to a request in which [`Answers::answer`] panicked.
    fn failed(&self) -> Answer;

    /// The answer to bytes of `peer` that are no request, the last ones of their connection.
    fn unreadable(&self, peer: IpAddr, unreadable: &Unreadable) -> Answer;
}

/// Why what came is no request.
pub(super) struct Unreadable {
    pub refusal: Refusal,
    /// How it begins, for the log.
    pub begins: String,
}

pub(super) struct Limits {
    pub connections_max: u32,
    /// Between two requests.
    pub idle: Duration,
    /// From a head's first byte, or from the connection's beginning, to the head's end.
    pub head: Duration,
    /// How fast a body must come that is read to its end after its answer.
    pub body_bytes_per_second_min: u64,
}

/// What all guarded connections share.
pub(super) struct Guard {
    connection_table: Arc<ConnectionTable>,
    lingering_close: LingeringClose,
    /// PUT and PATCH requests between their head and the end of their answer. Those that one thread takes one after
    /// the other (`next_request`) are one.
    answering: AtomicU32,
}

impl Guard {
    /// Starts the threads that guard connections.
    ///
    /// Errors: the system gave no thread, or it reads sockets past us.
    pub(super) fn start(limits: &Limits, shutdown: &ShutdownHandle) -> Result<Arc<Guard>, Failure> {
        descriptors::start().map_err(|error| cannot_guard(&error))?;
        let connection_table = ConnectionTable::new(limits.connections_max);
        let deadlines = watchdog::Deadlines {
            idle: limits.idle,
            head: limits.head,
        };
        watchdog::start(&connection_table, deadlines, shutdown)?;
        Ok(Arc::new(Guard {
            connection_table,
            lingering_close: LingeringClose::start(
                limits.body_bytes_per_second_min,
                limits.idle,
                shutdown,
            )?,
            answering: AtomicU32::new(0),
        }))
    }

    /// Opens the port; `answers` answers what comes. It stays open until the process ends.
    ///
    /// Errors: the system gave no thread; or, in the result within, it does not let us listen on
    /// `address`.
    pub(super) fn listen(
        self: &Arc<Self>,
        address: SocketAddr,
        answers: Arc<impl Answers>,
    ) -> Result<io::Result<()>, Failure> {
        configure_coroutines();
        let acceptor = Acceptor {
            guard: Arc::clone(self),
            answers,
        };
        // may makes its scheduler here, in a frame of 144 KiB. On a thread that ends at once the pages of
        // that frame are given back; the main thread's stack would keep them. The thread has no name,
        // since may's workers would inherit it.
        let start = thread::Builder::new()
            .spawn(move || acceptor.start(address))
            .map_err(|error| cannot_start("accept", &error))?;
        let started = start.join().unwrap_or_else(|panic| resume_unwind(panic));
        // Without its handle the accept loop runs on.
        Ok(started.map(|_accept_loop| ()))
    }

    /// Connections that have not been closed yet.
    pub(super) fn connections(&self) -> u32 {
        self.connection_table.open()
    }

    /// Whether there are so many connections that a new one is closed without an answer.
    pub(super) fn is_crowded(&self) -> bool {
        self.connections() >= self.open_max()
    }

    fn open_max(&self) -> u32 {
        self.connection_table
            .most()
            .saturating_add(ANSWERED_BEYOND_CAP)
    }

    /// Connections with an upload that has not been answered yet, or whose coroutine still waits for the thread that
    /// has answered. An answer that may_minihttp was given counts as written: its coroutine writes it at once. A
    /// request is counted before it is judged: a caller that has made [`Answers::answer`] refuse uploads, and the
    /// threads that take more of them, sees here every upload that was admitted before.
    pub(super) fn unanswered(&self) -> u32 {
        self.answering.load(Ordering::SeqCst)
    }

    /// From here on no body is read to its end after its answer: a stop does not wait for those.
    pub(super) fn hurry(&self) {
        self.lingering_close.hurry();
    }
}

fn cannot_guard(error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot guard connections: {error}"),
        "this is a fault of the program's build: use one that is shipped, and please report this",
    )
}

/// How many threads run the coroutines of all connections. A coroutine stays on its own.
pub(super) const WORKERS: usize = 2;

/// Each of these threads calls what `pong` makes for it, once it looks for work.
pub(super) fn ping_workers(pong: impl Fn() -> Pong) {
    for worker in 0..WORKERS {
        let pong = pong();
        // Without memory for a coroutine there is no answer.
        let _ = may::go!(may::coroutine::Builder::new().id(worker), pong);
    }
}

fn configure_coroutines() {
    may::config()
        .set_workers(WORKERS)
        .set_pool_capacity(64)
        // In words of 8 bytes: 256 KiB. The default of 32 KiB overflows in silence.
        .set_stack_size(32 * 1024);
    may::config().set_worker_pin(false);
    may::config().set_timeout_ns(1_000_000_000);
}
