//! The thread that ends connections which take too long: idle ones, and heads that drip. may_minihttp
//! itself has no timeouts. (How large a head may be is the business of `intake`.)
//!
//! A body under way is not its business: the body thread enforces its own limits.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::connection::unsettled::Standing;
use super::connection::{Connection, Phase};
use super::connection_table::ConnectionTable;
use crate::events;
use crate::failure::Failure;
use crate::receiver::critical_thread::{self, ShutdownHandle};

const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub(super) struct Deadlines {
    /// Between two requests.
    pub idle: Duration,
    /// From a head's first byte, or from the connection's beginning, to the head's end.
    pub head: Duration,
}

/// Errors: the system gave no thread.
pub(super) fn start(
    table: &Arc<ConnectionTable>,
    deadlines: Deadlines,
    shutdown: &ShutdownHandle,
) -> Result<(), Failure> {
    let table = Arc::clone(table);
    critical_thread::spawn_critical("watchdog", shutdown, move || {
        loop {
            for connection in table.wait_for_connections() {
                if let Some(connection) = connection.upgrade() {
                    look(&connection, deadlines);
                }
            }
            thread::sleep(TICK);
        }
    })
}

/// Settles what the peer has by now, and ends the connection if it has waited for too long.
fn look(connection: &Connection, deadlines: Deadlines) {
    let standing = connection.settle_if_taken();
    // The phase first: read the other way round, the age of a long upload could be taken for
    // that of the wait which has just begun after it.
    let phase = connection.phase();
    let age = connection.phase_age();
    if phase == Phase::Between
        && let Some(why) = too_long(connection, age, standing, deadlines)
    {
        events::connection_ended(connection.peer(), why);
        connection.settle_at_its_end(true);
        connection.kill();
    }
}

/// Why a connection that has waited for so long must not go on waiting. `standing` is that of the answer
/// before: while the peer takes it, the connection is not idle.
fn too_long(
    connection: &Connection,
    age: Duration,
    standing: Standing,
    deadlines: Deadlines,
) -> Option<&'static str> {
    let request = connection.requests();
    let head_age = connection.head_age();
    // Between the looks a request may have begun: its connection does not wait any more.
    if connection.phase() != Phase::Between || connection.requests() != request {
        return None;
    }
    connection.look_again();
    if head_age.is_some_and(|age| age >= deadlines.head) {
        return Some("the head took too long");
    }
    if request == 0 && age >= deadlines.head {
        return Some("no request came");
    }
    match standing {
        Standing::TooSlow => Some("it took its answer too slowly"),
        Standing::Leaving => None,
        Standing::Settled => (age >= deadlines.idle && head_age.is_none()).then_some("idle"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// The watchdog saw the connection waiting; before it looked further, a request began.
    #[test]
    fn a_request_that_begins_under_its_eyes_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let connection = Connection::guard(socket).unwrap();
        let deadlines = Deadlines {
            idle: Duration::from_secs(60),
            head: Duration::from_secs(10),
        };
        let long = Duration::from_secs(3600);
        let settled = Standing::Settled;
        assert!(connection.begin_request());
        assert_eq!(too_long(&connection, long, settled, deadlines), None);
        // Answered, it may wait for the next one, and not for ever.
        connection.end_request(0);
        assert_eq!(
            too_long(&connection, Duration::ZERO, settled, deadlines),
            None
        );
        assert_eq!(
            too_long(&connection, long, settled, deadlines),
            Some("idle")
        );
        let none = Deadlines {
            idle: Duration::ZERO,
            head: Duration::ZERO,
        };
        look(&connection, none);
        assert!(connection.is_dead());
    }
}
