//! The guard of one connection: a socket of our own beside the one that may_minihttp holds, and
//! the account of what happens on it.
//!
//! 1. While a request is being answered (`Busy`, `Closing`) the watchdog leaves the connection to
//!    the coroutine or thread that answers; in every other phase a deadline runs. `Busy` ends before
//!    the answer leaves, but for an answer with bytes of a file (`outgoing`): who has an answer may count
//!    on it that the connection waits.
//! 2. Bytes are written on our socket only when nothing that may_minihttp was given is still
//!    waiting to leave: answers never overtake each other. What may_minihttp reads goes through
//!    `intake`, which hands over one request at a time, so that this is so for every request. While a thread takes
//!    requests of its own (`next_request`), may_minihttp is given nothing.
//! 3. Once the connection is `dead`, nothing that is still parsed from it is a request.

pub(super) mod intake;
pub(super) mod unsettled;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use self::intake::Intake;
use self::unsettled::Unsettled;
use crate::sys::{self, TcpCounters};

/// What a connection is doing, as far as its deadlines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Waiting for a request, or in the middle of a head.
    Between,
    /// A request is being answered.
    Busy,
    /// The last answer was given; the peer is given time to read it.
    Closing,
    /// Nothing comes any more: only descriptors are left to be closed.
    Over,
}

pub(super) struct Connection {
    socket: TcpStream,
    peer: IpAddr,
    phase: AtomicU8,
    /// When the phase began, in milliseconds since the first connection.
    phase_since_ms: AtomicU64,
    /// Bytes of answers so far, whether they have left or not.
    answered_bytes: AtomicU64,
    /// Those of them that may_minihttp was given to write.
    crate_bytes: AtomicU64,
    requests: AtomicU64,
    dead: AtomicBool,
    unsettled: Mutex<Option<Unsettled>>,
    pub(super) intake: Intake,
}

impl Connection {
    /// The guard of the connection that `socket` is a handle of, beside may_minihttp's own.
    ///
    /// Errors: the socket takes no options, so it is no TCP connection.
    pub(super) fn guard(socket: TcpStream) -> io::Result<Connection> {
        socket.set_nodelay(true)?;
        let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let peer = socket.peer_addr().unwrap_or(unknown).ip().to_canonical();
        Ok(Connection {
            socket,
            peer,
            phase: AtomicU8::new(Phase::Between as u8),
            phase_since_ms: AtomicU64::new(now_ms()),
            answered_bytes: AtomicU64::new(0),
            crate_bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            unsettled: Mutex::new(None),
            intake: Intake::new(),
        })
    }

    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// A request was parsed. False if the connection must not be answered any more: it is ended then,
    /// since may_minihttp has an answer of its own for a request that got none.
    pub(super) fn begin_request(&self) -> bool {
        self.enter(Phase::Busy);
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.is_dead() {
            self.kill();
            return false;
        }
        true
    }

    /// The request was answered with `bytes` that may_minihttp is about to write.
    pub(super) fn end_request(&self, bytes: u64) {
        self.answered_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.crate_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.enter_if_alive(Phase::Between);
        self.expect_a_head();
    }

    /// The answer is about to leave on our own socket, by a plain thread, and the connection goes on behind it.
    /// The peer may have the answer before that thread goes on: so the connection waits for its next request
    /// from here on, and may make room for another, although its coroutine has not heard of the answer yet. It
    /// may do so even when the next request has come and is not read: its sender asks again, as after any reset.
    pub(super) fn begin_to_wait(&self) {
        self.enter_if_alive(Phase::Between);
    }

    /// The answer could not leave after all: the coroutine of the connection is to give it.
    pub(super) fn be_busy_again(&self) {
        self.enter_if_alive(Phase::Busy);
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase_since_ms.store(now_ms(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// The same, but not for a connection that is over: it may have made room for another meanwhile.
    fn enter_if_alive(&self, phase: Phase) {
        self.phase_since_ms.store(now_ms(), Ordering::Relaxed);
        let over = Phase::Over as u8;
        let enter = |now| (now != over).then_some(phase as u8);
        let _ = self
            .phase
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter);
    }

    /// The wait for the next request begins now.
    fn wait_anew(&self) {
        self.phase_since_ms.store(now_ms(), Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Between,
            1 => Phase::Busy,
            2 => Phase::Closing,
            _ => Phase::Over,
        }
    }

    pub(super) fn phase_age(&self) -> Duration {
        let since_ms = self.phase_since_ms.load(Ordering::Relaxed);
        Duration::from_millis(now_ms().saturating_sub(since_ms))
    }

    /// How many requests have been parsed so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Bytes of answers so far, whether they have left or not.
    pub(super) fn answered_bytes(&self) -> u64 {
        self.answered_bytes.load(Ordering::Relaxed)
    }

    /// Writes as much of `bytes` on our own socket as the kernel has room for, which is all of a small
    /// answer; how much that was.
    ///
    /// Errors: an earlier answer has not left yet, the kernel has no room, or the peer is gone. Nothing was
    /// written then: the bytes can only be given to may_minihttp, or the connection be killed.
    pub(super) fn write_directly(&self, bytes: &[u8]) -> io::Result<usize> {
        if !self.earlier_answers_have_left(sys::tcp_counters) {
            return Err(io::Error::other("an earlier answer has not left yet"));
        }
        // The socket does not block, so this is at most one copy into the kernel's buffer.
        let written = (&self.socket).write(bytes)?;
        self.note_written(written as u64);
        Ok(written)
    }

    /// The same for bytes that others follow at once: the kernel sends them in one packet where it can.
    pub(super) fn write_ahead(&self, bytes: &[u8]) -> io::Result<usize> {
        if !self.earlier_answers_have_left(sys::tcp_counters) {
            return Err(io::Error::other("an earlier answer has not left yet"));
        }
        let written = sys::send_ahead(&self.socket, bytes)?;
        self.note_written(written as u64);
        Ok(written)
    }

    /// So many bytes of an answer were given to the kernel on our own socket.
    pub(super) fn note_written(&self, bytes: u64) {
        self.answered_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether all answers so far are with the kernel; `count` asks the kernel for its counters.
    fn earlier_answers_have_left(&self, count: impl Fn(&TcpStream) -> Option<TcpCounters>) -> bool {
        // What we write ourselves is the kernel's at once.
        let crate_has_none = self.crate_bytes.load(Ordering::Relaxed) == 0;
        if self.answers_had_left() || crate_has_none {
            return true;
        }
        // Where the kernel does not count (qemu-user), nothing is written behind an answer of the crate.
        count(&self.socket).is_some_and(|counters| counters.written == self.answered_bytes())
    }

    /// From here on nothing that comes from this connection is a request.
    pub(super) fn mark_dead(&self) {
        self.dead.store(true, Ordering::Release);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Ends the connection with a reset and without an answer. After an orderly close, a peer that goes
    /// on sending would be left with a closed window, and might notice only a minute later.
    pub(super) fn kill(&self) {
        sys::reset_on_close(&self.socket);
        self.end();
    }

    /// Ends the connection after its last answer. may_minihttp's coroutine reads the end and closes.
    pub(super) fn end(&self) {
        self.mark_dead();
        self.enter(Phase::Over);
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Milliseconds on a monotonic clock; only differences mean something.
pub(super) fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn connection() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        (client, Connection::guard(socket).unwrap())
    }

    /// Our own `100 Continue` was once taken for an answer that may_minihttp still has to write.
    #[test]
    fn what_we_wrote_ourselves_has_left_even_where_the_kernel_does_not_count() {
        let (_client, connection) = connection();
        let does_not_count = |_: &TcpStream| None;
        assert!(connection.begin_request());
        connection
            .write_directly(b"HTTP/1.1 100 Continue\r\n\r\n")
            .unwrap();
        assert!(connection.earlier_answers_have_left(does_not_count));
        connection.end_request(5);
        assert!(!connection.earlier_answers_have_left(does_not_count));
    }

    /// A thread answers, and before the coroutine has heard of it the connection makes room for another.
    #[test]
    fn what_is_over_stays_over_when_its_coroutine_wakes() {
        let (_client, connection) = connection();
        assert!(connection.begin_request());
        connection.begin_to_wait();
        assert_eq!(connection.phase(), Phase::Between);
        connection.kill();
        connection.end_request_answered_elsewhere();
        assert_eq!(connection.phase(), Phase::Over);
        connection.be_busy_again();
        assert_eq!(connection.phase(), Phase::Over);
    }

    /// may_minihttp writes a bare 200 of its own for a request that nobody answered.
    #[test]
    fn nothing_leaves_for_a_request_that_is_not_answered() {
        let (_client, connection) = connection();
        connection.mark_dead();
        assert!(!connection.begin_request());
        let written = connection.socket().write(b"HTTP/1.1 200 Ok\r\n\r\n");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(connection.phase(), Phase::Over);
    }
}
