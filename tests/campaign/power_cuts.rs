//! Power cuts by the hundred, of every filesystem and in both ways.

use crate::power::{self, Kind, Loss, kind, receiver, shipper};

/// Cuts of each kind: over 200 in all.
const CUTS: u32 = 60;
/// Of one disk: each check reads all that is stored.
const CUTS_OF_A_DISK: u32 = 15;

/// Every way that the power can go here.
const KINDS: [Kind; 6] = [
    kind("ext4", Loss::Shutdown),
    kind("xfs", Loss::Shutdown),
    kind("ext4", Loss::Cache),
    kind("xfs", Loss::Cache),
    kind("btrfs", Loss::Cache),
    // Without extents it has no fallocate.
    kind("ext3", Loss::Shutdown),
];

pub fn of_the_receiver() {
    each_kind("the receiver's power", receiver::receiver_without_power);
}

pub fn of_the_shipper() {
    each_kind("the shipper's power", shipper::shipper_without_power);
}

/// `CIS490_POWER="xfs, shut down"` picks the kinds with that in their name.
fn each_kind<T: std::fmt::Debug>(what: &str, run: impl Fn(Kind, u32, u64) -> Option<T>) {
    let first = power::seed();
    let wanted = std::env::var("CIS490_POWER").unwrap_or_default();
    for kind in KINDS {
        if !kind.to_string().contains(&wanted) {
            continue;
        }
        for n in 0..CUTS / CUTS_OF_A_DISK {
            let seed = first + u64::from(n);
            if let Some(told) = run(kind, CUTS_OF_A_DISK, seed) {
                println!("{what}: {kind}, seed {seed}: {told:?}");
            }
        }
    }
}
