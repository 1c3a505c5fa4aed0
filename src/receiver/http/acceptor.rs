//! New connections: each gets its guard, its watch and its place, or is told that there is none.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use may_minihttp::HttpServiceFactory;

use super::connection::Connection;
use super::guards::Guarded;
use super::service::Service;
use super::{Shared, TOLD_BEYOND_CAP};
use crate::sys;

/// How long the accept loop waits, at most, for connections that are ending to be gone. It bounds
/// the descriptors in use: without one, accepting would fail at once, again and again.
const ENDING_PATIENCE: Duration = Duration::from_secs(1);

/// Makes the service of each connection. Runs in the accept coroutine: never panics, never blocks.
pub(super) struct Acceptor(pub Arc<Shared>);

impl HttpServiceFactory for Acceptor {
    type Service = Service;

    fn new_service(&self, id: usize) -> Service {
        let shared = &self.0;
        let fd = RawFd::try_from(id).unwrap_or(-1);
        let connection = Connection::guard(fd).ok().map(Arc::new);
        let guarded = connection
            .as_ref()
            .and_then(|connection| Guarded::new(fd, connection));
        if guarded.is_none() {
            // No descriptor for a guard: unwatched, the connection could last for ever.
            sys::shut_down(fd);
        }
        let mut has_place = false;
        if let Some(connection) = &connection {
            let _ = shared.announce.send(Arc::downgrade(connection));
            has_place = shared.connection_table.enter(connection);
        }
        let open = shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
        if open > shared.open_max() {
            if let Some(connection) = connection.as_ref().filter(|_| !has_place) {
                connection.kill();
            }
            shared.wait_for_ending_ones();
        }
        Service {
            shared: Arc::clone(shared),
            connection,
            guarded,
            has_place,
        }
    }
}

impl Shared {
    fn open_max(&self) -> u32 {
        self.config.max_connections.saturating_add(TOLD_BEYOND_CAP)
    }

    /// Holds the accept loop up while there are more connections than the one just accepted above
    /// the limit; its worker goes on with other coroutines.
    fn wait_for_ending_ones(&self) {
        let until = Instant::now() + ENDING_PATIENCE;
        let too_many = || self.connections.load(Ordering::Acquire) > self.open_max() + 1;
        while too_many() && Instant::now() < until {
            may::coroutine::sleep(Duration::from_millis(1));
        }
    }
}
