//! The plug is pulled. On a disk of our own under the receiver, then under the shipper, the power
//! is cut at random moments of its work; what was promised must be there when it is back.
//!
//! Short here, and hundreds of cuts in the campaign. `CIS490_SEED` repeats a run's choices; the
//! moment of a cut is in real time and comes out a little different. Disks need root.

mod disk;
mod fuse;
pub mod receiver;
pub mod shipper;
mod volatile;

pub use disk::{Disk, Kind, Loss};

/// A choice after the other, the same from the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Bytes that do not compress, others for each number.
pub fn noise(number: u64, bytes: usize) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&dice.below(u64::MAX).to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

/// The seed of this run: `CIS490_SEED`, else one that is always the same, so that a failure in CI
/// can be met again.
pub fn seed() -> u64 {
    let text = std::env::var("CIS490_SEED").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(490)
}

pub const fn kind(filesystem: &'static str, loss: Loss) -> Kind {
    Kind { filesystem, loss }
}

/// A disk, or a word that there is none here.
pub fn disk(what: &str, kind: Kind) -> Option<Disk> {
    match Disk::new(kind) {
        Ok(disk) => Some(disk),
        Err(lacks) => {
            skip!("{what} on {kind}: {lacks}");
            None
        }
    }
}
