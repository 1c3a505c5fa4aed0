//! The thread that ends connections which take too long: idle ones, heads that drip or never end,
//! uploads whose first byte does not come. may_minihttp itself has no timeouts and no bounds.
//!
//! A body under way is not its business: the body thread enforces its own limits.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::connection::{Connection, Phase};
use crate::events;
use crate::failure::Failure;
use crate::receiver::refusal::Refusal;
use crate::receiver::vital::{self, Stopper};

const TICK: Duration = Duration::from_millis(100);

/// Where an unfinished head is cut off. Larger than the limit that is told, because may_minihttp
/// reads up to 32 KiB at once and the bytes after a short head may be a body.
const UNFINISHED_HEAD_BYTES_MAX: u64 = 64 * 1024;

const _: () = assert!(super::head::HEAD_BYTES_MAX as u64 + 32 * 1024 < UNFINISHED_HEAD_BYTES_MAX);

#[derive(Clone, Copy)]
pub struct Limits {
    /// Between two requests.
    pub idle: Duration,
    /// From a head's first byte, or from the connection's beginning, to the head's end.
    pub head: Duration,
}

/// Where new connections are announced. Sending never blocks.
pub type Announce = mpsc::Sender<Weak<Connection>>;

pub fn start(limits: Limits, stopper: &Stopper) -> Result<Announce, Failure> {
    let (announce, arrivals) = mpsc::channel();
    vital::spawn_vital("watchdog", stopper, move || watch(&arrivals, limits))?;
    Ok(announce)
}

/// One connection as it was seen at the last tick.
struct Watched {
    connection: Weak<Connection>,
    /// The head that is under way: the number of requests before it, and when it was first seen.
    head: Option<(u64, Instant)>,
}

fn watch(arrivals: &mpsc::Receiver<Weak<Connection>>, limits: Limits) {
    let mut watched: Vec<Watched> = Vec::new();
    let mut next_look = Instant::now();
    loop {
        // With nothing to watch it sleeps for good: an idle receiver uses no CPU.
        let arrival = match watched.is_empty() {
            true => arrivals.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => arrivals.recv_timeout(next_look.saturating_duration_since(Instant::now())),
        };
        match arrival {
            Ok(connection) => watched.push(Watched {
                connection,
                head: None,
            }),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // By the clock and not by the timeout: a stream of arrivals must not put the look off.
        if next_look <= Instant::now() {
            watched.retain_mut(|one| one.is_alive_after_look(limits));
            next_look = Instant::now() + TICK;
        }
    }
}

impl Watched {
    /// False once there is nothing left to watch.
    fn is_alive_after_look(&mut self, limits: Limits) -> bool {
        let Some(connection) = self.connection.upgrade() else {
            return false;
        };
        // The phase first: read the other way round, the age of a long upload could be taken for
        // that of the wait which has just begun after it.
        let phase = connection.phase();
        let age = connection.phase_age();
        match phase {
            Phase::Busy | Phase::Closing => true,
            Phase::Over => false,
            Phase::FirstBytes => age < limits.idle || ended(&connection, "no body came"),
            Phase::Between => self.may_go_on_waiting(&connection, age, limits),
        }
    }

    fn may_go_on_waiting(
        &mut self,
        connection: &Arc<Connection>,
        age: Duration,
        limits: Limits,
    ) -> bool {
        let request = connection.requests();
        let bytes = connection.head_bytes().unwrap_or(0);
        // Between the looks a request may have begun: then these are bytes of its body, or its
        // end's, and no longer our business.
        if connection.phase() != Phase::Between || connection.requests() != request {
            return true;
        }
        if request == 0 && age >= limits.head {
            return ended(connection, "no request came");
        }
        if bytes == 0 {
            self.head = None;
            return age < limits.idle || ended(connection, "idle");
        }
        let since = match self.head {
            Some((same, since)) if same == request => since,
            _ => self.head.insert((request, Instant::now())).1,
        };
        if bytes > UNFINISHED_HEAD_BYTES_MAX {
            let answer = Answer::refusal(&Refusal::HeadTooLarge).into_closing_bytes(true);
            // The peer may be told; whether it reads it is its own affair.
            let _ = connection.write_directly(&answer);
            return ended(connection, "the head is too large");
        }
        since.elapsed() < limits.head || ended(connection, "the head took too long")
    }
}

fn ended(connection: &Connection, why: &'static str) -> bool {
    events::connection_ended(connection.peer(), why);
    connection.kill();
    false
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    /// The watchdog saw the connection waiting; before it looked further, a request began whose
    /// body is larger than any head may be.
    #[test]
    fn an_upload_that_begins_under_its_eyes_is_no_endless_head() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        let connection = Arc::new(Connection::guard(socket.as_raw_fd()).unwrap());
        let limits = Limits {
            idle: Duration::from_secs(60),
            head: Duration::from_secs(10),
        };
        let mut watched = Watched {
            connection: Arc::downgrade(&connection),
            head: None,
        };
        let mut body = vec![0; UNFINISHED_HEAD_BYTES_MAX as usize + 1];
        peer.write_all(&body).unwrap();
        assert!(connection.begin_request());
        socket.read_exact(&mut body).unwrap();
        assert!(watched.may_go_on_waiting(&connection, Duration::ZERO, limits));
        assert!(!connection.is_dead());
        // Answered, the same bytes are its past; what comes then and is no request is cut off.
        connection.end_request(0);
        assert!(watched.may_go_on_waiting(&connection, Duration::ZERO, limits));
        peer.write_all(&body).unwrap();
        socket.read_exact(&mut body).unwrap();
        assert!(!watched.may_go_on_waiting(&connection, Duration::ZERO, limits));
        assert!(connection.is_dead());
    }
}
