//! The shipper is to end: one flag, which the signal thread sets and everything that waits reads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::http_connection::Attendant;
use crate::service;

/// Set when the program is to end: the loop, the packing and everything that waits on a socket give
/// up. Clones share the flag, and it is never taken back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Attendant for Stop {
    fn attend(&self) -> io::Result<()> {
        if self.is_set() {
            return Err(io::Error::other("the shipper is stopping"));
        }
        // Each wait has a bound, so the watchdog is pinged however long the receiver's disk needs.
        service::alive();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_each_wait() {
        let stop = Stop::default();
        stop.attend().unwrap();
        stop.set();
        let stopped = stop.attend().unwrap_err();
        assert_eq!(stopped.to_string(), "the shipper is stopping");
    }
}
