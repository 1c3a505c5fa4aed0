//! The connections there are, and which of them makes room for another.
//!
//! When every place for a connection is taken, a newcomer gets the place of one that only waits (for a
//! request, for the rest of its head, for its peer to read a last answer): of the address that holds
//! the most, the one that has waited longest. An address that holds fewer connections than the newcomer's
//! own never makes room for it.
//!
//! Connections are counted by address and not by host: behind WireGuard an address is proof, a name is
//! a claim. A fixed cap for each address was not chosen: it is too low for hosts behind one address, or
//! too high.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::connection::{Connection, Phase};
use crate::events;
use crate::sync::lock;

/// How often it is told that connections make room for others.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The connections there are.
pub(super) struct ConnectionTable {
    most: usize,
    members: Mutex<Members>,
}

struct Members {
    connections: Vec<Weak<Connection>>,
    displaced: u64,
    told: Option<Instant>,
}

impl ConnectionTable {
    pub(super) fn new(most: u32) -> ConnectionTable {
        ConnectionTable {
            most: most as usize,
            members: Mutex::new(Members {
                connections: Vec::new(),
                displaced: 0,
                told: None,
            }),
        }
    }

    /// Takes a newcomer in, in the place of another if need be. False if there is no place for it
    /// now; it may have one later.
    ///
    /// The lock is held for some microseconds, and a request waits for it only where there was no
    /// place for its connection.
    pub(super) fn enter(&self, newcomer: &Arc<Connection>) -> bool {
        let mut members = lock(&self.members);
        members.connections.push(Arc::downgrade(newcomer));
        if members.connections.len() <= self.most {
            return true;
        }
        let mut alive = members.alive();
        while alive.len() > self.most {
            let Some(victim) = victim(&alive, newcomer) else {
                return false;
            };
            victim.kill();
            members.tell(victim.peer(), alive.len());
            alive.retain(|one| !Arc::ptr_eq(one, &victim));
        }
        true
    }

    /// Whether there is a place for this connection, those that came before it being served first.
    pub(super) fn has_place(&self, connection: &Arc<Connection>) -> bool {
        let alive = lock(&self.members).alive();
        let before = alive.iter().position(|one| Arc::ptr_eq(one, connection));
        before.is_some_and(|before| before < self.most)
    }
}

impl Members {
    /// Forgets the connections that are over; the others, in the order they came.
    fn alive(&mut self) -> Vec<Arc<Connection>> {
        let known = self.connections.iter().filter_map(Weak::upgrade);
        let alive: Vec<_> = known.filter(|one| one.phase() != Phase::Over).collect();
        self.connections = alive.iter().map(Arc::downgrade).collect();
        alive
    }

    fn tell(&mut self, peer: IpAddr, open: usize) {
        self.displaced += 1;
        if self.told.is_none_or(|when| when.elapsed() >= TELL_EVERY) {
            events::crowded(peer, open, self.displaced);
            self.displaced = 0;
            self.told = Some(Instant::now());
        }
    }
}

/// The connection that makes room for the newcomer.
fn victim(alive: &[Arc<Connection>], newcomer: &Arc<Connection>) -> Option<Arc<Connection>> {
    let mut held = HashMap::new();
    for connection in alive {
        *held.entry(connection.peer()).or_insert(0u32) += 1;
    }
    let of = |connection: &Connection| held.get(&connection.peer()).copied().unwrap_or(0);
    let least = of(newcomer);
    let waits = |one: &Connection| matches!(one.phase(), Phase::Between | Phase::Closing);
    alive
        .iter()
        .filter(|one| !Arc::ptr_eq(one, newcomer) && waits(one) && of(one) >= least)
        .max_by_key(|one| (of(one), one.phase_age()))
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    /// Connections from one address: the oldest that waits makes room, the busy ones stay.
    #[test]
    fn the_one_that_has_waited_longest_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection_table = ConnectionTable::new(2);
        let mut peers = Vec::new();
        let mut enter = || {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (socket, _) = listener.accept().unwrap();
            let connection = Arc::new(Connection::guard(socket.as_raw_fd()).unwrap());
            let has_place = connection_table.enter(&connection);
            (connection, has_place)
        };
        let (busy, _) = enter();
        busy.enter(Phase::Busy);
        let (older, _) = enter();
        std::thread::sleep(Duration::from_millis(2)); // ages are told in milliseconds
        let (newer, has_place) = enter();
        assert!(has_place && older.is_dead() && !busy.is_dead() && !newer.is_dead());
        newer.enter(Phase::Busy);
        let (beyond, has_place) = enter();
        assert!(!has_place && !beyond.is_dead() && !busy.is_dead() && !newer.is_dead());
        assert!(!connection_table.has_place(&beyond) && connection_table.has_place(&newer));
        newer.kill();
        assert!(connection_table.has_place(&beyond));
        beyond.enter(Phase::Closing);
        assert!(enter().1 && beyond.is_dead());
    }
}
