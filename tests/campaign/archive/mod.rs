//! The archive against real stores (design, section 12): Ceph's gateway, Garage, and the gateway of JuiceFS
//! as a store with the S3 front of 2021. Each is a program of its own that the runs start, kill and damage;
//! one that is not there is skipped, and a line says how to get it.

mod behind;
mod bucket;
#[path = "../../it/archive/ceph.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod ceph;
mod fire;
mod garage;
mod juicefs;
mod promises;
mod readme;
mod rights;
mod rot;
#[path = "../../it/archive/settings.rs"]
pub mod settings;
#[path = "../../it/archive/store.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
pub mod store;
mod stores;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

pub use self::behind::at_its_floor;
pub use self::fire::under_fire;
pub use self::readme::buckets_by_hand;
pub use self::rights::rights_and_buckets;
pub use self::rot::rotten_stores;
use self::settings::write_secret;
use self::stores::RealStore;
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// More than any disk has: room is always needed.
const ALWAYS: &str = "evict_below_bytes = 1000000000000000\n";

/// A running receiver that archives into this store. `more` are further keys of `[archive]`, then tables.
fn world(store: &dyn RealStore, data: Option<&Path>, more: &str) -> World {
    let mut world = prepared(store, data, more);
    start(&mut world);
    world
}

/// The same, not started.
fn prepared(store: &dyn RealStore, data: Option<&Path>, more: &str) -> World {
    let mut world = World::prepared_on(data, GATE_OFF);
    let secret = world.dir().join("s3-keys");
    let (access, key) = store.keys();
    write_secret(&secret, &format!("{access}\n{key}\n"));
    world.add_tables(&format!(
        "[archive]\nendpoint = {:?}\nregion = {:?}\nbucket = \"lab\"\nsecret_file = {secret:?}\n{more}",
        store.endpoint(),
        store.region(),
    ));
    world
}

/// Starts it with the waits of hours and minutes shortened, and looks at the ledger often.
fn start(world: &mut World) {
    settings::hurry(world);
    world.env("CIS490_ARCHIVE_LOOK_MS", 200);
    world.start();
}

/// The same, and nothing is read back for an hour.
fn start_that_proves_nothing(world: &mut World) {
    world.env("CIS490_ARCHIVE_LOOK_MS", 200);
    settings::hurry(world);
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
}

/// The figures of `cis490_archive_episodes` by state.
fn episodes(world: &World, state: &str) -> u64 {
    metric(
        world,
        &format!("cis490_archive_episodes{{state=\"{state}\"}}"),
    )
}

fn metric(world: &World, name: &str) -> u64 {
    let text = world.get("/metrics").body;
    let line = text.lines().find(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(' '))
    });
    let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until `done`, for as long as `progress` shows another value now and then.
fn wait_while_it_moves<T: PartialEq>(
    world: &World,
    what: &str,
    progress: impl Fn(&World) -> T,
    done: impl Fn(&World) -> bool,
) {
    const WITHOUT_PROGRESS: Duration = Duration::from_secs(90);
    let mut last = progress(world);
    let mut until = Instant::now() + WITHOUT_PROGRESS;
    while !done(world) {
        let now = progress(world);
        if now != last {
            last = now;
            until = Instant::now() + WITHOUT_PROGRESS;
        }
        assert!(
            Instant::now() < until,
            "nothing moves any more, and not yet: {what}\n{world}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}
