//! The archive: episodes copied to a bucket, read back, and evicted (design, section 12).

mod audit;
#[expect(dead_code, reason = "the campaign uses the rest")]
mod ceph;
mod clocks;
mod contract;
mod copying;
mod crashes;
mod crossing;
mod disaster;
mod doctor;
mod early_answers;
mod eviction;
mod findings;
#[cfg(feature = "tls")]
mod https;
mod known_again;
mod multipart;
mod real;
mod reload;
pub mod settings;
mod silence;
pub mod store;

use std::fs;

use self::settings::{hurry, write_secret};
use self::store::ScriptedStore;
use crate::client::{Put, sha256};
use crate::world::World;

/// More than any disk has: room is always needed.
const ALWAYS: &str = "evict_below_bytes = 1000000000000000\n";

/// A world whose receiver archives into this store, not started. `more` are further keys of `[archive]`.
fn world(store: &ScriptedStore, more: &str) -> World {
    let mut world = World::prepared("");
    archive_into(&mut world, store, more);
    world
}

/// From its next start on this receiver archives into this store.
pub fn archive_into(world: &mut World, store: &ScriptedStore, more: &str) {
    let secret = world.dir().join("s3-keys");
    write_secret(&secret, "KEY\nSECRET\n");
    world.add_tables(&format!("{}{more}", store.config(&secret)));
    hurry(world);
}

fn key(episode: &str, body: &[u8]) -> String {
    format!("episodes/lab-1/{episode}~{}.tar.zst", sha256(body))
}

/// The lines of the ledger, `episode state` each.
fn ledger(world: &World) -> Vec<String> {
    let text = fs::read_to_string(world.data_dir().join("archive.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |name: &str| line[name].as_str().unwrap().to_owned();
        format!("{} {}", word("episode"), word("state"))
    });
    lines.collect()
}

/// An upload of an episode with bytes of its own.
fn put(world: &World, episode: &str) -> Put {
    world.good().episode(episode).body(&body(episode))
}

fn body(episode: &str) -> Vec<u8> {
    format!("the bytes of {episode}").into_bytes()
}

/// Uploads an episode, and waits until it is proven.
fn archived(world: &World, episode: &str) {
    assert_eq!(world.put(&put(world, episode)).status, 201, "{world}");
    wait_proven(world, episode);
}

fn wait_proven(world: &World, episode: &str) {
    let line = format!("{episode} proven");
    world.wait_until(&line, |world| ledger(world).contains(&line));
}

/// Whether the episode's local file is here.
fn is_here(world: &World, episode: &str) -> bool {
    world.stored("lab-1", episode).is_some()
}

fn wait_evicted(world: &World, episode: &str) {
    world.wait_until("it is evicted", |world| !is_here(world, episode));
}

/// Waits until the episode, whose proof is the ledger's last word, is in the bucket alone.
fn wait_alone_there(world: &World, episode: &str) {
    let proof = format!("{episode} proven");
    world.wait_until("it is in the bucket alone", |world| {
        ledger(world).last() == Some(&proof) && !is_here(world, episode)
    });
}

fn wait_for_metric(world: &World, line: &str) {
    world.wait_until(line, |world| world.get("/metrics").body.contains(line));
}
