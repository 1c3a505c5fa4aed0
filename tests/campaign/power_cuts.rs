//! Hundreds of power cuts, on every filesystem, with the loss of the disk's cache and without.

use crate::power::{self, Kind, Loss, archive, kind, pull, receiver, shipper};

/// Cuts of each kind: over 200 in all.
const CUTS: u32 = 60;
/// Cuts of each kind under a pull.
const CUTS_OF_A_PULL: u32 = 20;
/// Cuts of one disk, which are few since each check reads all that is stored.
const CUTS_OF_A_DISK: u32 = 10;

/// What the senders of the receiver's disks upload, in turn.
const BODIES: [(&str, receiver::Sizes); 3] = [
    ("small bodies", receiver::SMALL),
    ("large bodies", receiver::LARGE),
    ("small and large bodies", receiver::MIXED),
];

/// Every filesystem and loss that this machine can simulate.
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
    each_kind("the receiver's power", CUTS, |kind, cuts, n, seed| {
        let (what, sizes) = BODIES[n as usize % BODIES.len()];
        let told = receiver::receiver_without_power(kind, sizes, cuts, seed);
        told.map(|told| (what, told))
    });
}

pub fn of_the_shipper() {
    each_kind("the shipper's power", CUTS, |kind, cuts, _, seed| {
        shipper::shipper_without_power(kind, cuts, seed)
    });
}

pub fn of_the_pull() {
    each_kind("the pull's power", CUTS_OF_A_PULL, |kind, cuts, _, seed| {
        pull::pull_without_power(kind, cuts, seed)
    });
}

pub fn of_the_archive() {
    each_kind("the archive's power", CUTS, |kind, cuts, _, seed| {
        archive::archive_without_power(kind, cuts, seed)
    });
}

/// `CIS490_POWER="xfs, shut down"` picks the kinds with that text in their names.
fn each_kind<T: std::fmt::Debug>(
    what: &str,
    cuts: u32,
    run: impl Fn(Kind, u32, u32, u64) -> Option<T>,
) {
    let first = power::seed();
    let wanted = std::env::var("CIS490_POWER").unwrap_or_default();
    for kind in KINDS {
        if !kind.to_string().contains(&wanted) {
            continue;
        }
        for n in 0..cuts / CUTS_OF_A_DISK {
            let seed = first + u64::from(n);
            if let Some(report) = run(kind, CUTS_OF_A_DISK, n, seed) {
                println!("{what}: {kind}, seed {seed}: {report:?}");
            }
        }
    }
}
