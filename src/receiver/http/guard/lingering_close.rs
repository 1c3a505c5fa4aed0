//! Closing answers: every answer that is given before the whole body was read, or on a connection
//! that ends with it.
//!
//! Closing a socket with unread bytes resets the connection and can destroy an answer that the
//! peer has not read yet. So: write it whole, `shutdown(Write)`, take what the peer still sends (up
//! to a bound), `shutdown(Both)`. A client in the middle of a large body still reads its 412.
//!
//! The bound is [`DRAIN_BYTES_MAX`] and [`DRAIN_TIME_MAX`]. Many clients (http.client, urllib, wget)
//! look for an answer only after they have sent the whole body: a body that comes on steadily is
//! drained to its end, if its connection has one of the few places for that.
//!
//! The coroutine writes what the kernel has room for at once, which is all of a small answer. The
//! rest of a large one, and the draining of all such connections, is one plain thread's; the
//! coroutine waits on a channel.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Phase};
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, ShutdownHandle};
use crate::receiver::http::fair_limiter::{FairLimiter, Permit};
use crate::receiver::http::reply_channel;
use crate::sys::{self, Direction};

const DRAIN_BYTES_MAX: u64 = 64 << 20;
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// Connections that are drained for longer. One address has no more of them than are left: five at most.
const LONG_DRAINS: u32 = 8;
const LONG_DRAIN_TIME_MAX: Duration = Duration::from_secs(1800);
/// The minimum rate of a long drain is judged over this much time.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// How much one connection is given before the next has its turn.
const TURN_BYTES_MAX: u64 = 1 << 20;
/// How long a poll may last, and so how long a new closing waits for its first turn.
const POLL: Duration = Duration::from_millis(10);

struct Closing {
    connection: Arc<Connection>,
    /// The rest of the answer, for which the kernel had no room yet.
    unwritten: Vec<u8>,
    drained_bytes: u64,
    /// How much of a body was still to come when the closing began.
    body_bytes: u64,
    /// The peer sends no more. It may still be reading.
    peer_has_ended: bool,
    until: Instant,
    long: Option<Long>,
    /// Of the answer that is not all written yet.
    held: Option<Permit>,
    /// When the peer last took a part of the answer.
    taken_at: Instant,
    /// When the peer must have taken all of it.
    written_until: Instant,
    /// Dropped when the closing is over; the coroutine waits for that.
    _done: reply_channel::Sender<()>,
}

/// A body that is drained to its end.
struct Long {
    _permit: Permit,
    until: Instant,
    /// When the present window of the minimum rate ends, and what had been drained when it began.
    window_end: Instant,
    drained_before: u64,
}

/// The bounds that all closings share.
struct Bounds {
    bytes_per_second_min: u64,
    /// A peer that takes nothing of an answer for so long is not waited for.
    idle: Duration,
    limiter: Arc<FairLimiter>,
    /// The receiver stops: no body is worth a wait.
    stops: AtomicBool,
}

pub(super) struct LingeringClose {
    closings: mpsc::Sender<Closing>,
    bounds: Arc<Bounds>,
}

impl LingeringClose {
    /// `bytes_per_second_min` is how fast a body must come that is drained to its end, and how fast an
    /// answer must be taken; `idle` how long a peer may take nothing of one.
    pub(super) fn start(
        bytes_per_second_min: u64,
        idle: Duration,
        shutdown: &ShutdownHandle,
    ) -> Result<LingeringClose, Failure> {
        let (sender, arrivals) = mpsc::channel();
        let bounds = Arc::new(Bounds {
            bytes_per_second_min: bytes_per_second_min.max(1),
            idle,
            limiter: FairLimiter::new(LONG_DRAINS),
            stops: AtomicBool::new(false),
        });
        let lingering_close = LingeringClose {
            closings: sender,
            bounds: Arc::clone(&bounds),
        };
        critical_thread::spawn_critical("closer", shutdown, move || drain_all(&arrivals, &bounds))?;
        Ok(lingering_close)
    }

    /// From here on no body is drained to its end: a stop does not wait for those.
    pub(super) fn hurry(&self) {
        self.bounds.stops.store(true, Ordering::Relaxed);
    }

    /// Sends `answer` as the last thing on this connection, on which the peer may be sending a body
    /// of so many bytes. Called in the connection's coroutine, which waits here until the peer has
    /// had the time to read it.
    pub(super) fn close(&self, connection: &Arc<Connection>, answer: Vec<u8>, body_bytes: u64) {
        self.close_holding(connection, answer, body_bytes, None);
    }

    /// As [`LingeringClose::close`]. `held` is given back when the kernel has all of the answer.
    pub(super) fn close_holding(
        &self,
        connection: &Arc<Connection>,
        mut answer: Vec<u8>,
        body_bytes: u64,
        held: Option<Permit>,
    ) {
        connection.mark_dead();
        connection.enter(Phase::Closing);
        let Ok(written) = connection.write_directly(&answer) else {
            return connection.kill();
        };
        answer.drain(..written);
        let least_s = answer.len() as u64 / self.bounds.bytes_per_second_min;
        let now = Instant::now();
        let (done, over) = reply_channel::channel();
        let mut closing = Closing {
            connection: Arc::clone(connection),
            unwritten: answer,
            held,
            drained_bytes: 0,
            body_bytes,
            peer_has_ended: false,
            until: now + DRAIN_TIME_MAX,
            long: None,
            taken_at: now,
            written_until: now + DRAIN_TIME_MAX + Duration::from_secs(least_s),
            _done: done,
        };
        if closing.unwritten.is_empty() {
            closing.end_of_answer();
        }
        if self.closings.send(closing).is_ok() {
            let _ = over.recv();
        }
        connection.end();
    }
}

impl Bounds {
    fn least_in(&self, time: Duration) -> u64 {
        self.bytes_per_second_min.saturating_mul(time.as_secs())
    }

    fn stop(&self) -> bool {
        self.stops.load(Ordering::Relaxed)
    }
}

fn drain_all(arrivals: &mpsc::Receiver<Closing>, bounds: &Bounds) {
    let mut closings: Vec<Closing> = Vec::new();
    let mut scratch = vec![0; 64 * 1024];
    loop {
        if closings.is_empty() {
            match arrivals.recv() {
                Ok(closing) => closings.push(closing),
                Err(_) => return,
            }
        }
        closings.extend(arrivals.try_iter());
        // One whose end was read is readable for ever: polled, it would keep this thread busy.
        let sockets = closings
            .iter()
            .filter(|closing| !closing.peer_has_ended)
            .map(|closing| closing.connection.socket());
        if sys::wait_any(sockets, Direction::Readable, POLL).is_err() {
            // Out of kernel memory, say. Slower, and still bounded by each closing's deadline.
            std::thread::sleep(POLL);
        }
        closings.retain_mut(|closing| closing.goes_on(&mut scratch, bounds));
    }
}

impl Closing {
    /// All of the answer is with the kernel.
    fn end_of_answer(&mut self) {
        self.held = None;
        let _ = self.connection.socket().shutdown(Shutdown::Write);
    }

    /// Writes on where a large answer had no room. False if the peer is gone.
    fn writes_on(&mut self) -> bool {
        if self.unwritten.is_empty() {
            return true;
        }
        match self.connection.socket().write(&self.unwritten) {
            Ok(written) => {
                self.unwritten.drain(..written);
                self.taken_at = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        if self.unwritten.is_empty() {
            self.end_of_answer();
            // From here on the peer has the time to read what is in the kernel.
            self.until = Instant::now() + DRAIN_TIME_MAX;
        }
        true
    }

    /// Whether the rest of a large answer is still being taken, fast enough to be worth the wait.
    fn is_taken(&self, now: Instant, bounds: &Bounds) -> bool {
        !self.unwritten.is_empty()
            && now < self.written_until
            && now < self.taken_at + bounds.idle
            && !bounds.stop()
    }

    /// Takes what has come. False once all is written and the peer has ended, or it has had its
    /// share of bytes or time.
    fn goes_on(&mut self, scratch: &mut [u8], bounds: &Bounds) -> bool {
        if !self.writes_on() || !self.drains(scratch) {
            return false;
        }
        if self.peer_has_ended && self.unwritten.is_empty() {
            return false;
        }
        let now = Instant::now();
        if self.long.is_some() {
            return self.stays_long(now, bounds);
        }
        let has_time = now < self.until || self.is_taken(now, bounds);
        let is_within = self.drained_bytes < DRAIN_BYTES_MAX && has_time;
        is_within || self.becomes_long(now, bounds)
    }

    /// Whether the body is worth a place until it ends: it has come fast enough so far, and not all.
    fn becomes_long(&mut self, now: Instant, bounds: &Bounds) -> bool {
        let least = bounds.least_in(DRAIN_TIME_MAX);
        if self.drained_bytes < least || self.drained_bytes >= self.body_bytes || bounds.stop() {
            return false;
        }
        let Ok(permit) = bounds.limiter.take(self.connection.peer()) else {
            return false;
        };
        self.long = Some(Long {
            _permit: permit,
            until: now + LONG_DRAIN_TIME_MAX,
            window_end: now + RATE_WINDOW,
            drained_before: self.drained_bytes,
        });
        true
    }

    /// Whether the body still comes, at the minimum rate or faster. Behind its end the peer has time to
    /// read.
    fn stays_long(&mut self, now: Instant, bounds: &Bounds) -> bool {
        let Some(long) = &mut self.long else {
            return false;
        };
        if self.drained_bytes >= self.body_bytes {
            self.long = None;
            self.until = now + DRAIN_TIME_MAX;
            // Bytes behind the body are not part of it.
            self.drained_bytes = 0;
            self.body_bytes = 0;
            return true;
        }
        if now >= long.window_end {
            let came = self.drained_bytes - long.drained_before;
            if came < bounds.least_in(RATE_WINDOW) {
                return false;
            }
            long.drained_before = self.drained_bytes;
            long.window_end = now + RATE_WINDOW;
        }
        now < long.until && !bounds.stop()
    }

    /// False if the connection is broken.
    fn drains(&mut self, scratch: &mut [u8]) -> bool {
        let turn_end = self.drained_bytes + TURN_BYTES_MAX;
        while self.drained_bytes < turn_end && !self.peer_has_ended {
            let mut socket = self.connection.socket();
            match socket.read(scratch) {
                Ok(0) => self.peer_has_ended = true,
                Ok(n) => self.drained_bytes += n as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}
