//! The shipper is to end: one flag, which the signal thread sets and everything that waits reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
