//! Wrong clocks: the store's and the receiver's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use cis490::clock::{parse_rfc3339, unix_seconds};

use super::store::{Mishap, ScriptedStore};
use super::{archived, hurry, put, wait_proven, world};
use crate::world::{World, is_release_build};

const DAY_S: u64 = 86_400;

/// At 1970, 20 minutes behind, two hours ahead.
fn wrong_by() -> [i64; 3] {
    [86_400 - i64::try_from(now_s()).unwrap(), -1200, 7200]
}

fn now_s() -> u64 {
    unix_seconds(SystemTime::now())
}

/// When each line of the ledger was written, by the line itself.
fn proofs_at(world: &World) -> Vec<u64> {
    let text = fs::read_to_string(world.data_dir().join("archive.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        parse_rfc3339(line["at"].as_str().unwrap()).unwrap()
    });
    lines.collect()
}

fn difference_s(world: &World) -> i64 {
    let metrics = world.get("/metrics").body;
    let name = "cis490_archive_clock_difference_seconds ";
    let found = metrics.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap().parse().unwrap()
}

/// What makes another time of day for the next process.
struct WrongClock {
    library: PathBuf,
}

impl WrongClock {
    /// `None`, reported, where no library can be loaded into the program.
    fn build(dir: &Path) -> Option<WrongClock> {
        if is_release_build() {
            skip!("a shipped program loads no library that changes its clock");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/archive/clock_ahead.c");
        let library = dir.join("clock_ahead.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .status();
        assert!(built.unwrap().success(), "cc is what Rust links with");
        Some(WrongClock { library })
    }

    fn set(&self, world: &mut World, ahead_s: i64) {
        world.env("LD_PRELOAD", self.library.display());
        world.env("CLOCK_AHEAD_S", ahead_s);
    }
}

#[test]
fn a_wrong_clock_of_the_store_is_signed_for() {
    for ahead_s in wrong_by() {
        // Stores refuse it with either status.
        for status in [400, 403] {
            let store = ScriptedStore::start();
            store.set_clock(ahead_s);
            store.once("HEAD", "", Mishap::Refuses(status, "InvalidRequest"));
            let mut world = world(&store, "");
            world.start();
            archived(&world, "ep-1");
            assert!((difference_s(&world) - ahead_s).abs() <= 2, "{ahead_s}");
            // The refusal that the clock explains is sent again at once, and is no failure.
            assert!(!world.log().contains("event=archive_failing"), "{world}");
        }
    }
}

/// The hour before an object is read back is the store's own.
#[test]
fn the_hour_before_an_object_is_read_back_is_by_the_stores_own_dates() {
    for ahead_s in wrong_by() {
        let store = ScriptedStore::start();
        store.set_clock(ahead_s);
        let mut world = world(&store, "");
        world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
        world.start();
        assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
        world.wait_until("it is copied and looked at again", |_| {
            store.count("HEAD") >= 2 && store.keys().len() == 1
        });
        assert_eq!(store.count("GET"), 0, "{ahead_s}");
        world.stop();
        store.age(Duration::from_secs(3600));
        world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
        world.start();
        wait_proven(&world, "ep-1");
        assert_eq!(store.count("PUT"), 1);
    }
}

#[test]
fn with_a_wrong_clock_of_its_own_the_receiver_archives_all_the_same() {
    for ahead_s in wrong_by() {
        let store = ScriptedStore::start();
        let mut world = world(&store, "");
        let Some(clock) = WrongClock::build(world.dir()) else {
            return;
        };
        clock.set(&mut world, ahead_s);
        world.start();
        archived(&world, "ep-1");
        assert!((difference_s(&world) + ahead_s).abs() <= 2, "{ahead_s}");
        assert!(!world.log().contains("event=archive_failing"), "{world}");
    }
}

/// A Pi without a clock begins in 1970, or when it was last switched off. What it proves then is not taken
/// for an old proof once its time is right.
#[test]
fn a_proof_of_a_time_when_the_clock_was_wrong_is_not_an_old_one() {
    for behind_s in [wrong_by()[0], -30 * i64::try_from(DAY_S).unwrap()] {
        let store = ScriptedStore::start();
        let mut world = world(&store, "evict_below_bytes = 1000000000000000\n");
        let Some(clock) = WrongClock::build(world.dir()) else {
            return;
        };
        clock.set(&mut world, behind_s);
        world.env("CIS490_ARCHIVE_PROOF_AGE_MS", DAY_S * 1000);
        world.start();
        archived(&world, "ep-1");
        let at = proofs_at(&world)[0];
        assert!(at.abs_diff(now_s()) < 60, "{at} {}", now_s());
        world.stop();
        hurry(&mut world);
        world.env("CIS490_ARCHIVE_PROOF_AGE_MS", DAY_S * 1000);
        world.start();
        archived(&world, "ep-2");
        world.wait_until("there is no room", |world| {
            world.log().contains("event=archive_no_room")
        });
        assert!(world.stored("lab-1", "ep-1").is_some(), "{world}");
        // A day later.
        world.stop();
        clock.set(&mut world, i64::try_from(DAY_S).unwrap() + 60);
        hurry(&mut world);
        world.env("CIS490_ARCHIVE_PROOF_AGE_MS", DAY_S * 1000);
        world.start();
        world.wait_until("both are evicted", |world| {
            world.names("episodes/lab-1").is_empty()
        });
    }
}
