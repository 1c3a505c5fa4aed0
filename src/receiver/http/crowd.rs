//! Who holds how many connections and uploads, so that no peer can take them all from the others.
//!
//! 1. When every place for a connection is taken, a newcomer gets the place of one that only waits
//!    (for a request, for the rest of its head, for its peer to read a last answer): of the address
//!    that holds the most, the one that has waited longest. Whoever holds less than the newcomer's
//!    own address never makes room for it.
//! 2. One address may have at most as many uploads under way, and requests that wait for the gate,
//!    as there are places left. So the first greedy address gets half of them, the next half of the
//!    rest; one that has none gets in as long as there is any. An upload under way is never ended
//!    for another's sake: it may be large, and would begin again from nothing.
//!
//! Both go by address and not by host: behind WireGuard an address is proof, a name is a claim.
//! The road not taken is a cap for each address: too low for hosts behind one address, or too high.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::connection::{Connection, Phase};
use crate::events;

/// How often it is told that connections make room for others.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The connections there are.
pub struct Crowd {
    most: usize,
    members: Mutex<Members>,
}

struct Members {
    connections: Vec<Weak<Connection>>,
    displaced: u64,
    told: Option<Instant>,
}

impl Crowd {
    pub fn new(most: u32) -> Crowd {
        Crowd {
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
    pub fn enter(&self, newcomer: &Arc<Connection>) -> bool {
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
    pub fn has_place(&self, connection: &Arc<Connection>) -> bool {
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

/// Places for what takes a while, and who has them.
pub struct Places {
    most: u32,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

/// One of them, given back when dropped.
pub struct Place {
    places: Arc<Places>,
    peer: IpAddr,
}

/// Why there is no place for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken.
    Full,
    /// The address has so many, and what is left is for others.
    OwnShare(u32),
}

impl Places {
    pub fn new(most: u32) -> Arc<Places> {
        Arc::new(Places {
            most,
            taken: Mutex::new(HashMap::new()),
        })
    }

    /// How many are taken.
    pub fn taken(&self) -> u32 {
        lock(&self.taken).values().sum()
    }

    pub fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Place, NoPlace> {
        let mut taken = lock(&self.taken);
        let left = self.most.saturating_sub(taken.values().sum());
        if left == 0 {
            return Err(NoPlace::Full);
        }
        let own = taken.get(&peer).copied().unwrap_or(0);
        if own > left {
            return Err(NoPlace::OwnShare(own));
        }
        taken.insert(peer, own + 1);
        Ok(Place {
            places: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        if let Some(own) = taken.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

/// A panic while it was held leaves nothing half done that matters: at worst a count too many.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn no_address_takes_the_last_places_from_the_others() {
        let places = Places::new(64);
        let greedy = |last| -> Vec<Place> {
            std::iter::from_fn(|| places.take(address(last)).ok()).collect()
        };
        let held = [greedy(1), greedy(2), greedy(3)];
        assert_eq!(held.each_ref().map(Vec::len), [33, 16, 8]);
        assert_eq!(places.take(address(1)).err(), Some(NoPlace::OwnShare(33)));
        let modest = (10..30).map_while(|last| places.take(address(last)).ok());
        let modest: Vec<Place> = modest.collect();
        assert_eq!((modest.len(), places.taken()), (7, 64));
        assert_eq!(places.take(address(99)).err(), Some(NoPlace::Full));
        let [_, mut second, _] = held;
        second.pop();
        assert_eq!(places.take(address(2)).err(), Some(NoPlace::OwnShare(15)));
        assert!(places.take(address(99)).is_ok());
    }

    #[test]
    fn a_single_place_is_for_anybody() {
        let places = Places::new(1);
        let place = places.take(address(1)).unwrap();
        assert_eq!(places.take(address(2)).err(), Some(NoPlace::Full));
        drop(place);
        drop(places.take(address(2)).unwrap());
        assert_eq!(places.taken(), 0);
    }

    /// Connections from one address: the oldest that waits makes room, the busy ones stay.
    #[test]
    fn the_one_that_has_waited_longest_makes_room() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let crowd = Crowd::new(2);
        let mut peers = Vec::new();
        let mut enter = || {
            peers.push(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (socket, _) = listener.accept().unwrap();
            let connection = Arc::new(Connection::guard(socket.as_raw_fd()).unwrap());
            let has_place = crowd.enter(&connection);
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
        assert!(!crowd.has_place(&beyond) && crowd.has_place(&newer));
        newer.kill();
        assert!(crowd.has_place(&beyond));
        beyond.enter(Phase::Closing);
        assert!(enter().1 && beyond.is_dead());
    }
}
