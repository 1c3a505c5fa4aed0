//! A crash at each step on the disk, from the start of the receiver to an episode that is in the bucket alone;
//! and a store that ends in the middle of anything.

use std::fs;
use std::time::{Duration, Instant};

use super::store::{Mishap, ScriptedStore};
use super::{ALWAYS, body, hurry, key, put, world};
use crate::client::{Client, PATIENCE, Put};
use crate::world::{World, has_steps};

const ENOSPC: i32 = 28;

/// The promise: a whole local file, or an object that a line of the ledger says is proven, and is.
fn is_safe(world: &World, store: &ScriptedStore, episode: &str) -> bool {
    if world.stored("lab-1", episode) == Some(body(episode)) {
        return true;
    }
    let path = world.data_dir().join("archive.jsonl");
    let ledger = fs::read_to_string(path).unwrap_or_default();
    let word = format!("\"episode\":\"{episode}\"");
    let is_proof = |line: &str| line.contains(&word) && line.ends_with("\"proven\"}");
    let key = key(episode, &body(episode));
    ledger.lines().any(is_proof)
        && store.keys().contains(&key)
        && store.with(&key, |object| object.bytes == body(episode))
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    if !has_steps("a crash at each step of the archive") {
        return;
    }
    for step in 1..=80 {
        let store = ScriptedStore::start();
        let mut world = world(&store, ALWAYS);
        // The upload must not be refused while the gate has no window yet.
        world.replace_in_config("[version_gate]\n", "[version_gate]\nenabled = false\n");
        world.env("CIS490_CRASH_AT", step);
        let mut acknowledged = false;
        let mut died = true;
        if world.try_start() {
            acknowledged = is_acknowledged(&world, &put(&world, "ep-1"));
            died = dies_before_eviction(&mut world);
        }
        assert!(
            !acknowledged || is_safe(&world, &store, "ep-1"),
            "step {step}\n{world}"
        );
        world.kill();
        hurry(&mut world);
        world.start();
        assert!(
            !acknowledged || is_safe(&world, &store, "ep-1"),
            "step {step}\n{world}"
        );
        let again = world.put(&put(&world, "ep-1")).status;
        assert!(matches!(again, 200 | 201), "step {step}: {again}\n{world}");
        world.wait_until("it is in the bucket alone", |world| {
            world.names("episodes/lab-1").is_empty()
        });
        assert!(is_safe(&world, &store, "ep-1"), "step {step}\n{world}");
        assert_eq!(world.rows().len(), 1, "step {step}\n{world}");
        assert_eq!(world.put(&put(&world, "ep-1")).status, 200, "step {step}");
        if !died {
            assert!(
                20 < step,
                "only {step} steps: the archive's are not among them"
            );
            return;
        }
    }
    panic!("more steps than the bound: raise it knowingly");
}

/// Whether an upload is answered 201; the process may die at any moment.
fn is_acknowledged(world: &World, put: &Put) -> bool {
    let Some(mut client) = Client::try_connect(world.address()) else {
        return false;
    };
    let _ = client.send(&put.bytes());
    client.answer().is_some_and(|answer| answer.status == 201)
}

/// What a power cut would show: the proof is on the disk before the file goes, and the name of the ledger
/// before the first proof.
#[test]
fn a_proof_is_on_the_disk_before_the_local_file_goes() {
    if !has_steps("the order of proof and eviction") {
        return;
    }
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    let steps = world.dir().join("steps");
    world.env("CIS490_STEPS", steps.display());
    world.start();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    world.wait_until("it is in the bucket alone", |world| {
        world.names("episodes/lab-1").is_empty()
    });
    let text = fs::read_to_string(steps).unwrap();
    let steps: Vec<&str> = text.lines().collect();
    let data = world.data_dir().display().to_string();
    let place = |line: String| {
        let found = steps.iter().position(|step| **step == line);
        found.unwrap_or_else(|| panic!("no {line} in\n{text}"))
    };
    let last = |line: String| steps.iter().rposition(|step| **step == line).unwrap();
    let appended = place(format!("append {data}/archive.jsonl"));
    let removed = place(format!("unlink {data}/episodes/lab-1/ep-1.tar.zst"));
    let proven = last(format!("synced {data}/archive.jsonl"));
    let named = place(format!("synced {data}"));
    assert!(
        named < appended && appended < proven && proven < removed,
        "{text}"
    );
}

/// Waits until the process has died, or has evicted its one episode; true if it died.
fn dies_before_eviction(world: &mut World) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "neither dead nor evicted\n{world}");
        if world.ends_within(Duration::from_millis(20)) {
            return true;
        }
        if world.log().contains("event=archive_evicted") {
            return false;
        }
    }
}

/// Killed while the store does each thing, and with the answer lost.
#[test]
fn a_kill_in_the_middle_of_any_request_loses_nothing() {
    for (method, count) in [
        ("HEAD", 1),
        ("PUT", 1),
        ("HEAD", 2),
        ("GET", 1),
        ("HEAD", 3),
    ] {
        let store = ScriptedStore::start();
        let mut world = world(&store, ALWAYS);
        world.start();
        let silence = Mishap::IsSilent(Duration::from_secs(2));
        store.nth(method, "ep-1", count, silence);
        assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
        world.wait_until("the request is under way", |_| store.count(method) >= count);
        world.kill();
        assert!(is_safe(&world, &store, "ep-1"), "{method} {count}\n{world}");
        hurry(&mut world);
        world.start();
        world.wait_until("it is in the bucket alone", |world| {
            world.names("episodes/lab-1").is_empty()
        });
        assert!(is_safe(&world, &store, "ep-1"), "{method} {count}\n{world}");
    }
}

/// A full disk under the ledger: nothing is proven and nothing evicted, and uploads go on.
#[test]
fn a_ledger_that_cannot_be_written_proves_nothing() {
    if !has_steps("a ledger that cannot be written") {
        return;
    }
    for (text, errno) in [("append", ENOSPC), ("fdatasync", 5)] {
        let store = ScriptedStore::start();
        let mut world = world(&store, ALWAYS);
        // The first such step of the ledger is a sync at the start.
        let nth = if text == "append" { 1 } else { 2 };
        let path = world.data_dir().join("archive.jsonl");
        world.env("CIS490_FAIL_ON", format!("{nth}:{text} {}", path.display()));
        world.env("CIS490_FAIL_ERRNO", errno);
        world.start();
        assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
        world.wait_until("the log says so", |world| {
            world.log().contains("event=archive_disk")
        });
        assert_eq!(world.stored("lab-1", "ep-1"), Some(body("ep-1")));
        assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
        world.kill();
        hurry(&mut world);
        world.start();
        for episode in ["ep-1", "ep-2"] {
            world.wait_until("it is in the bucket alone", |world| {
                world.stored("lab-1", episode).is_none()
            });
            assert!(is_safe(&world, &store, episode), "{text}\n{world}");
        }
    }
}
