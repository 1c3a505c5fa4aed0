//! The thread that ends connections which take too long: idle ones, and heads that drip. may_minihttp
//! itself has no timeouts. (How large a head may be is the business of `intake`.)
//!
//! A body under way is not its business: the body thread enforces its own limits.

use std::sync::Weak;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Phase};
use crate::events;
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, ShutdownHandle};

const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Between two requests.
    pub idle: Duration,
    /// From a head's first byte, or from the connection's beginning, to the head's end.
    pub head: Duration,
}

/// Where new connections are announced. Sending never blocks.
pub(super) type Announce = mpsc::Sender<Weak<Connection>>;

pub(super) fn start(limits: Limits, shutdown: &ShutdownHandle) -> Result<Announce, Failure> {
    let (announce, arrivals) = mpsc::channel();
    critical_thread::spawn_critical("watchdog", shutdown, move || watch(&arrivals, limits))?;
    Ok(announce)
}

fn watch(arrivals: &mpsc::Receiver<Weak<Connection>>, limits: Limits) {
    let mut watched: Vec<Weak<Connection>> = Vec::new();
    let mut next_look = Instant::now();
    loop {
        // With nothing to watch it sleeps for good: an idle receiver uses no CPU.
        let upload = match watched.is_empty() {
            true => arrivals.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => arrivals.recv_timeout(next_look.saturating_duration_since(Instant::now())),
        };
        match upload {
            Ok(connection) => watched.push(connection),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // By the clock and not by the timeout: a stream of arrivals must not put the look off.
        if next_look <= Instant::now() {
            watched.retain(|one| one.upgrade().is_some_and(|one| goes_on(&one, limits)));
            next_look = Instant::now() + TICK;
        }
    }
}

/// False once there is nothing left to watch.
fn goes_on(connection: &Connection, limits: Limits) -> bool {
    // The phase first: read the other way round, the age of a long upload could be taken for
    // that of the wait which has just begun after it.
    let phase = connection.phase();
    let age = connection.phase_age();
    match phase {
        Phase::Busy | Phase::Closing => true,
        Phase::Over => false,
        Phase::Between => may_go_on_waiting(connection, age, limits),
    }
}

fn may_go_on_waiting(connection: &Connection, age: Duration, limits: Limits) -> bool {
    let request = connection.requests();
    let head_age = connection.head_age();
    // Between the looks a request may have begun, and is no longer our business.
    if connection.phase() != Phase::Between || connection.requests() != request {
        return true;
    }
    connection.look_again();
    if head_age.is_some_and(|age| age >= limits.head) {
        return ended(connection, "the head took too long");
    }
    if request == 0 && age >= limits.head {
        return ended(connection, "no request came");
    }
    age < limits.idle || head_age.is_some() || ended(connection, "idle")
}

fn ended(connection: &Connection, why: &'static str) -> bool {
    events::connection_ended(connection.peer(), why);
    connection.kill();
    false
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    /// The watchdog saw the connection waiting; before it looked further, a request began.
    #[test]
    fn a_request_that_begins_under_its_eyes_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let connection = Connection::guard(socket.as_raw_fd()).unwrap();
        let limits = Limits {
            idle: Duration::from_secs(60),
            head: Duration::from_secs(10),
        };
        let long = Duration::from_secs(3600);
        assert!(connection.begin_request());
        assert!(may_go_on_waiting(&connection, long, limits));
        assert!(!connection.is_dead());
        // Answered, it may wait for the next one, and not for ever.
        connection.end_request(0);
        assert!(may_go_on_waiting(&connection, Duration::ZERO, limits));
        assert!(!may_go_on_waiting(&connection, long, limits));
        assert!(connection.is_dead());
    }
}
