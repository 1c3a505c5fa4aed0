//! What the store leaves on the disk, seen from outside: a folder, a process, and what is in it.
//!
//! The gate is off in most of these worlds, so that no other thread takes durable steps.

mod as_json;
mod backfill;
mod bodies;
mod disk;
mod found;
mod index_watch;
mod odd_files;
mod scrub;
mod steps;
mod syncs;
mod torn;

use std::path::PathBuf;

use crate::client::{Put, sha256};
use crate::dice::noise;
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn prepared() -> World {
    World::prepared(GATE_OFF)
}

fn running() -> World {
    World::with(GATE_OFF)
}

fn sample() -> Put {
    Put::sample(COMMIT)
}

/// Bytes that differ from block to block, so that one in the wrong place is seen.
fn body(bytes: usize) -> Vec<u8> {
    noise(490, bytes)
}

/// One file, one row that names it, and nothing else.
fn check_one_episode(world: &World, put: &Put, what: &str) {
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    let stored = world.stored("lab-1", "ep-1");
    assert_eq!(stored.as_ref(), Some(&put.body), "{what}\n{world}");
    let rows = world.rows();
    assert_eq!(rows.len(), 1, "{what}\n{world}");
    assert_eq!(rows[0]["sha256"], sha256(&put.body), "{what}\n{world}");
    assert_eq!(world.names("episodes/lab-1"), ["ep-1.tar.zst"], "{what}");
}

/// A store with one episode, stopped; its tarball's path.
fn with_one_episode() -> (World, PathBuf) {
    let mut world = running();
    assert_eq!(world.put(&sample()).status, 201);
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    let tarball = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    (world, tarball)
}
