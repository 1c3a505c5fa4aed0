//! Permits for uploads, for downloads, and for requests that wait for the gate, so that no peer takes them
//! all.
//!
//! One address may have at most as many permits as are left. So the first greedy address gets half of
//! them, the next half of the rest; an address without one gets in as long as any is left. An
//! upload under way is never ended to make room: it may be large, and would begin again at its first byte.
//! Of downloads one address may have half of the permits (at least one) instead.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Permits for uploads, downloads or waits, and the addresses that have them.
pub(super) struct FairLimiter {
    most: AtomicU32,
    /// One address has half of the permits at most; else as many as are left.
    is_of_halves: bool,
    taken: Mutex<HashMap<IpAddr, u32>>,
}

/// The right to one upload, download or wait, given back when dropped.
pub(super) struct Permit {
    limiter: Arc<FairLimiter>,
    peer: IpAddr,
}

/// Why there is no permit for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPermit {
    /// All are taken.
    Full,
    /// The address has so many, and those left are for other addresses.
    OwnShare(u32),
}

impl FairLimiter {
    pub(super) fn new(most: u32) -> Arc<FairLimiter> {
        FairLimiter::with(most, false)
    }

    /// One address has half of the permits at most, and at least one.
    pub(super) fn of_halves(most: u32) -> Arc<FairLimiter> {
        FairLimiter::with(most, true)
    }

    fn with(most: u32, is_of_halves: bool) -> Arc<FairLimiter> {
        Arc::new(FairLimiter {
            most: AtomicU32::new(most),
            is_of_halves,
            taken: Mutex::new(HashMap::new()),
        })
    }

    /// How many there are.
    pub(super) fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// From here on there are so many. Those that are taken stay taken.
    pub(super) fn set_most(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> u32 {
        lock(&self.taken).values().sum()
    }

    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Result<Permit, NoPermit> {
        let mut taken = lock(&self.taken);
        let most = self.most();
        let left = most.saturating_sub(taken.values().sum());
        if left == 0 {
            return Err(NoPermit::Full);
        }
        let own = taken.get(&peer).copied().unwrap_or(0);
        let has_its_share = if self.is_of_halves {
            own >= (most / 2).max(1)
        } else {
            own > left
        };
        if has_its_share {
            return Err(NoPermit::OwnShare(own));
        }
        taken.insert(peer, own + 1);
        Ok(Permit {
            limiter: Arc::clone(self),
            peer,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = lock(&self.limiter.taken);
        if let Some(own) = taken.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn no_address_takes_the_last_permits_from_the_others() {
        let limiter = FairLimiter::new(64);
        let greedy = |last| -> Vec<Permit> {
            std::iter::from_fn(|| limiter.take(address(last)).ok()).collect()
        };
        let held = [greedy(1), greedy(2), greedy(3)];
        assert_eq!(held.each_ref().map(Vec::len), [33, 16, 8]);
        assert_eq!(limiter.take(address(1)).err(), Some(NoPermit::OwnShare(33)));
        let modest = (10..30).map_while(|last| limiter.take(address(last)).ok());
        let modest: Vec<Permit> = modest.collect();
        assert_eq!((modest.len(), limiter.taken()), (7, 64));
        assert_eq!(limiter.take(address(99)).err(), Some(NoPermit::Full));
        let [_, mut second, _] = held;
        second.pop();
        assert_eq!(limiter.take(address(2)).err(), Some(NoPermit::OwnShare(15)));
        assert!(limiter.take(address(99)).is_ok());
    }

    #[test]
    fn of_halves_one_address_has_half_and_never_none() {
        for (most, half, others) in [(8, 4, 4), (3, 1, 1), (2, 1, 1), (1, 1, 0)] {
            let limiter = FairLimiter::of_halves(most);
            let take = |last| -> Vec<Permit> {
                std::iter::from_fn(|| limiter.take(address(last)).ok()).collect()
            };
            let held = [take(1), take(2)];
            let counts = held.each_ref().map(Vec::len);
            assert_eq!(counts, [half, others], "{most}");
        }
    }

    #[test]
    fn with_fewer_permits_those_that_are_taken_stay() {
        let limiter = FairLimiter::new(4);
        let held: Vec<Permit> = (1..4).map(|n| limiter.take(address(n)).unwrap()).collect();
        limiter.set_most(2);
        assert_eq!(limiter.take(address(9)).err(), Some(NoPermit::Full));
        assert_eq!(limiter.taken(), 3);
        drop(held);
        limiter.set_most(1);
        let last = limiter.take(address(9)).unwrap();
        assert_eq!(limiter.take(address(8)).err(), Some(NoPermit::Full));
        limiter.set_most(2);
        drop(limiter.take(address(8)).unwrap());
        drop(last);
    }

    #[test]
    fn a_single_permit_is_for_anybody() {
        let limiter = FairLimiter::new(1);
        let permit = limiter.take(address(1)).unwrap();
        assert_eq!(limiter.take(address(2)).err(), Some(NoPermit::Full));
        drop(permit);
        drop(limiter.take(address(2)).unwrap());
        assert_eq!(limiter.taken(), 0);
    }
}
