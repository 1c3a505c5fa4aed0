//! New connections: each gets its guard, its entry in the table and, if there is one, its place.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use may_minihttp::HttpServiceFactory;

use super::connection::Connection;
use super::connection_table::ConnectionTable;
use super::descriptors::Guarded;
use super::service::Service;
use super::{Answers, Guard};
use crate::sys;

/// How long the accept loop waits, at most, for connections that are ending to be gone. It bounds
/// the descriptors in use: without one, accepting would fail at once, again and again.
const ENDING_PATIENCE: Duration = Duration::from_secs(1);

/// Makes the service of each connection. Runs in the accept coroutine: never panics, never blocks.
pub(super) struct Acceptor<A> {
    pub guard: Arc<Guard>,
    pub answers: Arc<A>,
}

impl<A: Answers> HttpServiceFactory for Acceptor<A> {
    type Service = Service<A>;

    fn new_service(&self, id: usize) -> Service<A> {
        let fd = RawFd::try_from(id).unwrap_or(-1);
        let socket = sys::dup_socket(fd);
        let connection = socket.and_then(Connection::guard).ok().map(Arc::new);
        let guarded = connection
            .as_ref()
            .and_then(|connection| Guarded::new(fd, connection));
        if guarded.is_none() {
            // No descriptor for a guard: unwatched, the connection could last for ever.
            sys::shut_down(fd);
        }
        let entry = ConnectionTable::enter(&self.guard.connection_table, connection.clone());
        if self.guard.connections() > self.guard.open_max() {
            if let Some(connection) = &connection
                && !entry.had_place()
            {
                connection.kill();
            }
            self.guard.wait_for_ending_ones();
        }
        Service {
            guard: Arc::clone(&self.guard),
            answers: Arc::clone(&self.answers),
            guarded,
            entry,
            connection,
        }
    }
}

impl Guard {
    /// Holds the accept loop up while there are more connections than the one just accepted above
    /// the limit; its worker goes on with other coroutines.
    fn wait_for_ending_ones(&self) {
        let until = Instant::now() + ENDING_PATIENCE;
        let too_many = || self.connections() > self.open_max() + 1;
        while too_many() && Instant::now() < until {
            may::coroutine::sleep(Duration::from_millis(1));
        }
    }
}
