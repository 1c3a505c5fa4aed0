//! The connections there are, one entry each: how many are open, which are to be watched, and which
//! makes room for another.
//!
//! When every place for a connection is taken, a newcomer gets the place of one that only waits (for a
//! request, for the rest of its head, for its peer to read a last answer): of the address that holds
//! the most, the one that has waited longest. An address that holds fewer connections than the newcomer's
//! own never makes room for it. Nor does a connection that goes on behind an answer which its peer is still
//! taking (`connection::unsettled`).
//!
//! Connections are counted by address and not by host: behind WireGuard an address is proof, a name is
//! a claim. A fixed limit for each address was not chosen: it is too low for hosts behind one address, or
//! too high.
//!
//! The lock is held for some microseconds: while a connection comes or goes, and while the watchdog
//! makes its list. A request takes it only where there was no place for its connection.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connection::{Connection, Phase};
use crate::events;
use crate::sync::lock;

/// How often the log says that connections make room for others.
const LOG_EVERY: Duration = Duration::from_secs(10);

pub(super) struct ConnectionTable {
    most: u32,
    members: Mutex<Members>,
    /// A connection came.
    arrived: Condvar,
}

struct Members {
    /// In the order they came. `None` for one that the system gave us no socket for: it is only counted.
    connections: BTreeMap<u64, Option<Arc<Connection>>>,
    next_number: u64,
    displaced: u64,
    logged: Option<Instant>,
    /// A line that is to be logged once the lock is free.
    due_line: Option<CrowdedLine>,
}

/// What the log says when a connection was closed for a newcomer.
struct CrowdedLine {
    peer: IpAddr,
    open: usize,
    displaced: u64,
}

/// A connection's entry in the table, for as long as this lives.
pub(super) struct Entry {
    table: Arc<ConnectionTable>,
    number: u64,
    has_place: bool,
}

impl ConnectionTable {
    pub(super) fn new(most: u32) -> Arc<ConnectionTable> {
        Arc::new(ConnectionTable {
            most,
            members: Mutex::new(Members {
                connections: BTreeMap::new(),
                next_number: 0,
                displaced: 0,
                logged: None,
                due_line: None,
            }),
            arrived: Condvar::new(),
        })
    }

    /// How many connections have a place at once.
    pub(super) fn most(&self) -> u32 {
        self.most
    }

    /// Connections that may_minihttp has not closed yet, those that are over among them.
    pub(super) fn open(&self) -> u32 {
        lock(&self.members).connections.len() as u32
    }

    /// Takes a newcomer in, in the place of another if need be. If there is no place for it now, it may
    /// have one later.
    pub(super) fn enter(table: &Arc<ConnectionTable>, newcomer: Option<Arc<Connection>>) -> Entry {
        let mut members = lock(&table.members);
        let number = members.next_number;
        members.next_number += 1;
        members.connections.insert(number, newcomer.clone());
        let has_place = newcomer.is_some_and(|newcomer| members.make_room(&newcomer, table.most));
        let crowded = members.due_line.take();
        drop(members);
        table.arrived.notify_one();
        // A log that nobody reads may hold this thread up, and with the lock every connection.
        if let Some(line) = crowded {
            events::crowded(line.peer, line.open, line.displaced);
        }
        Entry {
            table: Arc::clone(table),
            number,
            has_place,
        }
    }

    /// The connections that are not over. Waits while there is none: an idle receiver uses no CPU.
    pub(super) fn wait_for_connections(&self) -> Vec<Weak<Connection>> {
        let mut members = lock(&self.members);
        loop {
            let alive: Vec<_> = members
                .alive()
                .map(|(_, one)| Arc::downgrade(one))
                .collect();
            if !alive.is_empty() {
                return alive;
            }
            let woken = self.arrived.wait(members);
            members = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether there is a place for this connection, those that came before it being served first.
    fn has_place(&self, number: u64) -> bool {
        let members = lock(&self.members);
        let before = members.alive().position(|(one, _)| one == number);
        before.is_some_and(|before| before < self.most as usize)
    }
}

impl Entry {
    /// Whether the connection had a place when it was last asked for.
    pub(super) fn had_place(&self) -> bool {
        self.has_place
    }

    /// Whether the connection has a place by now. It keeps one that it has.
    pub(super) fn has_place(&mut self) -> bool {
        self.has_place = self.has_place || self.table.has_place(self.number);
        self.has_place
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Its socket is closed without the lock.
        let _connection = lock(&self.table.members).connections.remove(&self.number);
    }
}

impl Members {
    /// The connections that are not over, in the order they came.
    fn alive(&self) -> impl Iterator<Item = (u64, &Arc<Connection>)> {
        let known = self.connections.iter();
        let known = known.filter_map(|(number, one)| Some((*number, one.as_ref()?)));
        known.filter(|(_, one)| one.phase() != Phase::Over)
    }

    /// Ends connections until there is a place for the newcomer, which has its entry. False if none of
    /// them makes room.
    fn make_room(&mut self, newcomer: &Arc<Connection>, most: u32) -> bool {
        let most = most as usize;
        if self.connections.len() <= most {
            return true;
        }
        let mut alive: Vec<_> = self.alive().map(|(_, one)| Arc::clone(one)).collect();
        while alive.len() > most {
            let Some(victim) = victim(&alive, newcomer) else {
                return false;
            };
            victim.kill();
            self.count_displaced(victim.peer(), alive.len());
            alive.retain(|one| !Arc::ptr_eq(one, &victim));
        }
        true
    }

    /// Counts a displaced connection, and leaves a line to be logged without the lock, if one is due.
    fn count_displaced(&mut self, peer: IpAddr, open: usize) {
        self.displaced += 1;
        if self.logged.is_none_or(|when| when.elapsed() >= LOG_EVERY) {
            self.due_line = Some(CrowdedLine {
                peer,
                open,
                displaced: self.displaced,
            });
            self.displaced = 0;
            self.logged = Some(Instant::now());
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
    let waits = |one: &Connection| {
        matches!(one.phase(), Phase::Between | Phase::Closing) && !one.is_leaving()
    };
    alive
        .iter()
        .filter(|one| !Arc::ptr_eq(one, newcomer) && waits(one) && of(one) >= least)
        .max_by_key(|one| (of(one), one.phase_age()))
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Connections from one address: the oldest that waits makes room, the busy ones stay.
    #[test]
    fn the_one_that_has_waited_longest_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let table = ConnectionTable::new(2);
        let mut peers = Vec::new();
        let mut enter = || {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (socket, _) = listener.accept().unwrap();
            let connection = Arc::new(Connection::guard(socket).unwrap());
            let entry = ConnectionTable::enter(&table, Some(Arc::clone(&connection)));
            (connection, entry)
        };
        let (busy, _busy) = enter();
        busy.enter(Phase::Busy);
        let (older, _older) = enter();
        std::thread::sleep(Duration::from_millis(2)); // ages count in milliseconds
        let (newer, mut newer_entry) = enter();
        assert!(newer_entry.had_place());
        assert!(older.is_dead() && !busy.is_dead() && !newer.is_dead());
        newer.enter(Phase::Busy);
        let (beyond, mut beyond_entry) = enter();
        assert!(!beyond_entry.had_place());
        assert!(!beyond.is_dead() && !busy.is_dead() && !newer.is_dead());
        assert!(!beyond_entry.has_place() && newer_entry.has_place());
        newer.kill();
        assert!(beyond_entry.has_place());
        beyond.enter(Phase::Closing);
        assert!(enter().1.had_place() && beyond.is_dead());
    }

    /// The three that use the table see the same connections: the count, the watchdog, the places.
    #[test]
    fn a_connection_is_counted_until_it_is_gone_and_watched_until_it_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        let connection = Arc::new(Connection::guard(socket).unwrap());
        let table = ConnectionTable::new(1);
        let over = ConnectionTable::enter(&table, Some(Arc::clone(&connection)));
        assert_eq!(table.wait_for_connections().len(), 1);
        let alive = || lock(&table.members).alive().count();
        connection.end();
        assert_eq!((alive(), table.open()), (0, 1));
        let mut without_socket = ConnectionTable::enter(&table, None);
        assert!(!without_socket.has_place());
        assert_eq!((alive(), table.open()), (0, 2));
        drop((over, without_socket));
        assert_eq!((table.open(), Arc::strong_count(&connection)), (0, 1));
    }
}
