//! What the receiver knows of the bucket is gone or wrong: the ledger torn, full of NULs, deleted, or objects
//! that are not what they were.

use std::fs;
use std::path::Path;

use super::store::{Mishap, ScriptedStore};
use super::{
    ALWAYS, archived, body, hurry, key, put, wait_evicted, wait_for_metric, wait_proven, world,
};
use crate::world::World;

/// A receiver that has both episodes in the bucket alone, stopped.
fn with_two_evicted(store: &ScriptedStore) -> World {
    let mut world = world(store, ALWAYS);
    world.start();
    for episode in ["ep-1", "ep-2"] {
        assert_eq!(world.put(&put(&world, episode)).status, 201);
        wait_evicted(&world, episode);
    }
    world.stop();
    world
}

/// Whether the last whole line about an episode says that it is proven.
fn is_proven(world: &World, episode: &str) -> bool {
    let bytes = fs::read(world.data_dir().join("archive.jsonl")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let word = format!("\"episode\":\"{episode}\"");
    let last = text.lines().rfind(|line| line.contains(&word));
    last.is_some_and(|line| line.ends_with("\"proven\"}"))
}

/// The bytes are in the bucket alone, and nothing here knows it: they are read back, and nothing is copied,
/// found lost or stored twice.
#[test]
fn evicted_episodes_are_known_again_from_the_bucket() {
    let torn = b"{\"host\":\"lab-1\",\"episode\":\"ep-1\",\"sha2".to_vec();
    for damage in [None, Some(Vec::new()), Some(torn), Some(vec![0; 700])] {
        let store = ScriptedStore::start();
        let mut world = with_two_evicted(&store);
        let path = world.data_dir().join("archive.jsonl");
        match &damage {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        let puts = store.count("PUT");
        hurry(&mut world);
        world.start();
        for episode in ["ep-1", "ep-2"] {
            world.wait_until("it is proven again", |world| is_proven(world, episode));
            assert_eq!(world.put(&put(&world, episode)).status, 200, "{damage:?}");
            let other = world.good().episode(episode).body(b"other");
            assert_eq!(world.put(&other).status, 409);
        }
        wait_for_metric(&world, "cis490_archive_episodes{state=\"evicted\"} 2\n");
        assert_eq!((store.count("PUT"), world.rows().len()), (puts, 2));
        assert!(!world.log().contains("event=archive_lost"), "{world}");
    }
}

/// The last line alone is torn, as a power cut does: the others count, and that one is proven again.
#[test]
fn a_line_that_a_power_cut_has_torn_is_proven_again_and_the_others_stay() {
    let store = ScriptedStore::start();
    let mut world = with_two_evicted(&store);
    let path = world.data_dir().join("archive.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let (first, second) = text.trim_end().split_once('\n').unwrap();
    for tail in [second[..60].to_owned(), "\0".repeat(second.len())] {
        fs::write(&path, format!("{first}\n{tail}")).unwrap();
        let gets = store.count("GET");
        hurry(&mut world);
        world.start();
        world.wait_until("it is proven again", |world| is_proven(world, "ep-2"));
        assert_eq!(store.count("GET"), gets + 1);
        assert_eq!(world.put(&put(&world, "ep-1")).status, 200);
        world.stop();
        // The line that follows stands on its own.
        let bytes = fs::read(&path).unwrap();
        assert!(
            bytes.starts_with(format!("{first}\n{tail}\n{{").as_bytes()),
            "{world}"
        );
    }
}

/// Deleted or emptied under the running receiver: it is made again, and all is read back.
#[test]
fn a_ledger_that_goes_under_a_running_receiver_is_made_again() {
    let ways: [fn(&Path); 2] = [
        |path| fs::remove_file(path).unwrap(),
        |path| fs::write(path, "").unwrap(),
    ];
    for goes in ways {
        let store = ScriptedStore::start();
        let mut world = with_two_evicted(&store);
        // Longer than the new one will be.
        let path = world.data_dir().join("archive.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, "\n".repeat(3000) + &text).unwrap();
        hurry(&mut world);
        world.start();
        world.wait_until("the old one was looked over", |world| {
            world.log().contains("event=archive_no_room")
        });
        goes(&path);
        for episode in ["ep-1", "ep-2"] {
            world.wait_until("it is proven again", |world| is_proven(world, episode));
            assert_eq!(world.put(&put(&world, episode)).status, 200);
        }
        assert!(!world.log().contains("event=archive_lost"), "{world}");
        // Room is made with the new one.
        assert_eq!(world.put(&put(&world, "ep-3")).status, 201);
        wait_evicted(&world, "ep-3");
    }
}

/// Between the copy and its proof an object became shorter, longer, empty: HEAD shows it, and it is copied
/// again.
#[test]
fn an_object_of_another_length_is_copied_again() {
    let store = ScriptedStore::start();
    let changes: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(3),
        |bytes| bytes.push(0),
        |bytes| bytes.clear(),
    ];
    let mut world = world(&store, "");
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    for n in 0..changes.len() {
        let episode = format!("ep-{n}");
        assert_eq!(world.put(&put(&world, &episode)).status, 201);
        let key = key(&episode, &body(&episode));
        world.wait_until("it is copied", |_| store.keys().contains(&key));
    }
    world.stop();
    for (n, change) in changes.into_iter().enumerate() {
        let episode = format!("ep-{n}");
        store.damage(&key(&episode, &body(&episode)), change);
    }
    hurry(&mut world);
    world.start();
    for n in 0..changes.len() {
        let episode = format!("ep-{n}");
        wait_proven(&world, &episode);
        store.with(&key(&episode, &body(&episode)), |object| {
            assert_eq!(object.bytes, body(&episode));
        });
    }
    wait_for_metric(&world, "cis490_archive_mismatches_total 3\n");
}

/// GET brings less or more than HEAD says, whole by its own length: that is no proof.
#[test]
fn bytes_that_get_has_less_or_more_than_head_are_no_proof() {
    let store = ScriptedStore::start();
    let world = {
        let mut world = world(&store, "");
        world.start();
        world
    };
    for (n, text) in ["", "short", "the bytes of ep-2 and more"]
        .into_iter()
        .enumerate()
    {
        let episode = format!("ep-{n}");
        store.once("GET", &episode, Mishap::Says(text));
        archived(&world, &episode);
        assert_eq!(store.count("PUT"), 2 * (n + 1), "{text:?}\n{world}");
    }
    wait_for_metric(&world, "cis490_archive_mismatches_total 3\n");
}

/// Both have the same bytes, and both remove them here: one object serves both.
#[test]
fn two_receivers_with_the_same_bytes_evict_them_to_one_object() {
    let store = ScriptedStore::start();
    let mut worlds = [world(&store, ALWAYS), world(&store, ALWAYS)];
    for world in &mut worlds {
        world.start();
        assert_eq!(world.put(&put(world, "ep-1")).status, 201);
    }
    for world in &worlds {
        wait_evicted(world, "ep-1");
        assert!(is_proven(world, "ep-1"));
        assert_eq!(world.put(&put(world, "ep-1")).status, 200);
    }
    // With other bytes under one name, each keeps its own.
    for (world, text) in worlds.iter().zip(["one", "another"]) {
        let put = world.good().episode("ep-2").body(text.as_bytes());
        assert_eq!(world.put(&put).status, 201);
        wait_evicted(world, "ep-2");
    }
    assert_eq!(store.keys(), {
        let mut keys = [
            key("ep-1", &body("ep-1")),
            key("ep-2", b"one"),
            key("ep-2", b"another"),
        ];
        keys.sort();
        keys
    });
    for (world, text) in worlds.iter().zip(["another", "one"]) {
        let put = world.good().episode("ep-2").body(text.as_bytes());
        assert_eq!(world.put(&put).status, 409);
    }
}
