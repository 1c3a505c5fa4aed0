//! The plug is pulled. On a disk of our own under the receiver, its archive, the shipper or a pull, the power
//! is cut at random moments of its work; what was promised must be there when it is back.
//!
//! Short here, and hundreds of cuts in the campaign. `CIS490_SEED` repeats a run's choices; the
//! moment of a cut is in real time and comes out a little different. Disks need root.

pub mod archive;
mod disk;
mod fuse;
pub mod pull;
pub mod receiver;
pub mod shipper;
mod volatile;

use crate::dice;
pub use disk::{Disk, Kind, Loss};

/// The seed of this run: `CIS490_SEED`, else one that is always the same, so that a failure in CI
/// can be met again.
pub fn seed() -> u64 {
    dice::seed_or(490)
}

pub const fn kind(filesystem: &'static str, loss: Loss) -> Kind {
    Kind { filesystem, loss }
}

/// A disk. `None` where there is none, and a line that says so.
pub fn disk(what: &str, kind: Kind) -> Option<Disk> {
    match Disk::new(kind) {
        Ok(disk) => Some(disk),
        Err(lacks) => {
            skip!("{what} on {kind}: {lacks}");
            None
        }
    }
}
