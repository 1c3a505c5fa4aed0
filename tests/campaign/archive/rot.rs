//! Objects whose bytes are gone or changed behind a HEAD that is right: found, copied again, and never
//! the reason why a local file goes.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use super::ceph::Gateway;
use super::garage::Garage;
use super::promises::{self, Kept};
use super::rights::Rights;
use super::stores::RealStore;
use super::{
    ALWAYS, bucket, episodes, prepared, start, start_that_proves_nothing, wait_while_it_moves,
    world,
};
use crate::dice;
use crate::world::{World, cis490};

const EPISODES: u64 = 12;

pub fn rotten_stores() {
    if !bucket::has_rclone() {
        return;
    }
    if let Some(garage) = Garage::start() {
        rotten(&garage, "block files deleted", 70_000, &|| {
            delete_blocks(&garage)
        });
    }
    if let Some(garage) = Garage::start() {
        rotten(&garage, "a bit of each block flipped", 70_000, &|| {
            flip_blocks(&garage)
        });
    }
    if let Some(ceph) = Gateway::start() {
        rotten(&ceph, "a bit of each object flipped", 1, &|| {
            flip_parts(&ceph)
        });
    }
    if let Some(ceph) = Gateway::start() {
        rotten(&ceph, "all but the first part gone", 5_000_000, &|| {
            remove_tails(&ceph)
        });
    }
}

/// `spoil` spoils all objects of at least so many bytes, and HEAD does not show it.
fn rotten<S: RealStore + Rights>(store: &S, how: &str, least: usize, spoil: &dyn Fn()) {
    let is_spoilt = |n: &u64| promises::size(*n) >= least;
    let spoilt: Vec<u64> = (0..EPISODES).filter(is_spoilt).collect();
    before_the_proof(store, &spoilt, spoil);
    bucket::empty(store);
    after_the_proof(store, &spoilt, spoil);
    println!(
        "archive, {}, {how}: {} of {EPISODES} found before and after the proof, none evicted, all copied again",
        store.name(),
        spoilt.len()
    );
}

/// While the bucket accepts nothing new, so that nothing is healed: no file of a spoilt object goes, however
/// much room is needed.
fn before_the_proof<S: RealStore + Rights>(store: &S, spoilt: &[u64], spoil: &dyn Fn()) {
    let kept = Mutex::new(Kept::new());
    let mut world = prepared(store, None, ALWAYS);
    start_that_proves_nothing(&mut world);
    promises::upload_all(&world, 0..EPISODES, &kept);
    world.wait_until("all are copied", |world| {
        episodes(world, "copied") == EPISODES
    });
    world.stop();
    spoil();
    store.set_read_only(store.keys().0, true);
    start(&mut world);
    let whole = (0..EPISODES).filter(|n| !spoilt.contains(n));
    let whole: Vec<u64> = whole.collect();
    wait_while_it_moves(
        &world,
        "the whole ones are evicted, and the others refused",
        |world| world.log().len(),
        |world| {
            // Garage answers before the body is sent, and the connection breaks: whether the 403 is seen is chance.
            let is_refused = world.log().contains(" kind=denied ");
            is_refused && whole.iter().all(|n| !promises::is_here(world, *n))
        },
    );
    let states = promises::ledger(&world);
    assert_eq!(states.len(), whole.len(), "{states:?}\n{world}");
    for n in spoilt {
        assert!(promises::is_here(&world, *n), "{n}\n{world}");
    }
    // A new process has no waits behind it.
    world.stop();
    store.set_read_only(store.keys().0, false);
    start(&mut world);
    wait_while_it_moves(
        &world,
        "all are copied again, proven and evicted",
        |world| world.log().len(),
        |world| episodes(world, "evicted") == EPISODES,
    );
    let found = promises::check(&world, store, &kept.into_inner().unwrap());
    assert_eq!(found.evicted as u64, EPISODES);
}

/// `scrub --archive` believes HEAD; with `--deep` it finds each of them, and the receiver beside it heals
/// them.
fn after_the_proof<S: RealStore + Rights>(store: &S, spoilt: &[u64], spoil: &dyn Fn()) {
    let kept = Mutex::new(Kept::new());
    let world = world(store, None, "");
    promises::upload_all(&world, 0..EPISODES, &kept);
    world.wait_until("all are proven", |world| {
        episodes(world, "archived") == EPISODES
    });
    spoil();
    let (code, text) = scrub(&world, &[]);
    assert_eq!(code, Some(0), "{text}\n{world}");
    let (code, text) = scrub(&world, &["--deep"]);
    assert_eq!(code, Some(2), "{text}\n{world}");
    for n in spoilt {
        let (slot, _) = promises::put(*n);
        assert!(text.contains(&format!(": {slot}: ")), "{slot}\n{text}");
    }
    wait_while_it_moves(
        &world,
        "all are proven again",
        |world| world.log().len(),
        |world| {
            let states = promises::ledger(world);
            states.values().all(|state| state == "proven")
        },
    );
    let (code, text) = scrub(&world, &["--deep"]);
    assert_eq!(code, Some(0), "{text}\n{world}");
    let found = promises::check(&world, store, &kept.into_inner().unwrap());
    assert_eq!(found.here as u64, EPISODES);
    assert!(!world.log().contains("event=archive_evicted"));
}

fn scrub(world: &World, more: &[&str]) -> (Option<i32>, String) {
    let config = world.config_path();
    let output = cis490()
        .args(["scrub", "--archive", "--config", &config])
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text + &errors)
}

fn delete_blocks(garage: &Garage) {
    for block in garage.blocks() {
        fs::remove_file(block).unwrap();
    }
}

fn flip_blocks(garage: &Garage) {
    garage.blocks().iter().for_each(flip);
}

fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let last = bytes.len() - 1;
    let at = dice::seed() as usize % bytes.len();
    bytes[at.min(last)] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// In the object server, below the gateway that has the lengths and the digests.
fn flip_parts(ceph: &Gateway) {
    let part = ceph.dir().join("part");
    for name in parts(ceph) {
        ceph.tell(&format!(
            "run rados -p {POOL} get {name} {}",
            part.display()
        ));
        if fs::metadata(&part).unwrap().len() > 0 {
            flip(&part);
            ceph.tell(&format!(
                "run rados -p {POOL} put {name} {}",
                part.display()
            ));
        }
    }
}

fn remove_tails(ceph: &Gateway) {
    for name in parts(ceph) {
        if name.contains("__shadow_") {
            ceph.tell(&format!("run rados -p {POOL} rm {name}"));
        }
    }
}

const POOL: &str = "default.rgw.buckets.data";

fn parts(ceph: &Gateway) -> Vec<String> {
    let printed = ceph.tell(&format!("run rados -p {POOL} ls"));
    let names = printed.lines().filter(|name| name.contains("episodes/"));
    names.map(str::to_owned).collect()
}
