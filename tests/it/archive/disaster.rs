//! The disk is dead: a new one from the bucket, as README says.

use std::fs;

use super::store::ScriptedStore;
use super::{archived, body, hurry, key, ledger, put, wait_for_metric, world};
use crate::world::World;

const READER: &str = "[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n";

fn store_id(world: &World) -> String {
    let marker = fs::read_to_string(world.data_dir().join("cis490-store")).unwrap();
    let line = marker.lines().find_map(|line| line.strip_prefix("id "));
    line.unwrap().to_owned()
}

#[test]
fn a_dead_disk_is_replaced_from_the_bucket() {
    let store = ScriptedStore::start();
    let mut world = world(&store, READER);
    world.start();
    for n in 0..4 {
        archived(&world, &format!("ep-{n}"));
    }
    let rows = world.rows();
    let id = store_id(&world);
    // Another receiver's objects are in the same bucket, and something that is no object of ours.
    let mut other = super::world(&store, "");
    other.start();
    archived(&other, "of-another");
    world.kill();
    fs::remove_dir_all(world.data_dir()).unwrap();

    let config = world.config_path();
    world.run(&["init", "--config", &config, "--store-id", &id]);
    let text = world.run(&[
        "backfill",
        "--from-archive",
        "--dry-run",
        "--config",
        &config,
    ]);
    assert!(text.contains("4 rows would be added"), "{text}");
    assert!(world.rows().is_empty() && ledger(&world).is_empty());
    let text = world.run(&["backfill", "--from-archive", "--config", &config]);
    assert!(
        text.contains(&format!(
            "4 episodes of the store {id} in the bucket, 1 of others; 4 rows added"
        )),
        "{text}"
    );
    assert_eq!(world.rows(), rows);
    assert_eq!(ledger(&world).len(), 4);
    // Again: nothing more.
    let text = world.run(&["backfill", "--from-archive", "--config", &config]);
    assert!(text.contains("0 rows added"), "{text}");
    assert_eq!((world.rows().len(), ledger(&world).len()), (4, 4));

    // Restored, and not read back yet.
    hurry(&mut world);
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    let receipt = world.get("/v1/episodes/lab-1/ep-1");
    assert_eq!(receipt.status, 200);
    assert_eq!(receipt.json()["archive"]["key"], key("ep-1", &body("ep-1")));
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1.tar.zst").status, 307);
    let other_bytes = world.good().episode("ep-1").body(b"other");
    assert_eq!(world.put(&other_bytes).status, 409);
    // Its lab host still has this one: a second copy is welcome until the object is proven.
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    assert_eq!(world.stored("lab-1", "ep-2"), Some(body("ep-2")));
    assert_eq!(world.rows().len(), 4);
    // A new one gets a number above all that were given.
    assert_eq!(world.put(&put(&world, "ep-new")).status, 201);
    let seqs: Vec<_> = world
        .rows()
        .iter()
        .map(|row| row["seq"].as_u64().unwrap())
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");

    // The objects are read back and proven, without any file.
    world.stop();
    hurry(&mut world);
    world.start();
    for episode in ["ep-0", "ep-1", "ep-3", "ep-new"] {
        super::wait_proven(&world, episode);
    }
    wait_for_metric(&world, "cis490_archive_episodes{state=\"evicted\"} 3\n");
    assert_eq!(world.put(&put(&world, "ep-1")).status, 200);
    assert!(world.stored("lab-1", "ep-1").is_none());
}

/// The README's commands, with this world's configuration and id.
#[test]
fn the_readmes_disaster_drill_brings_all_rows_back() {
    let store = ScriptedStore::start();
    let mut world = world(&store, READER);
    world.start();
    for n in 0..3 {
        archived(&world, &format!("ep-{n}"));
    }
    let (rows, id) = (world.rows(), store_id(&world));
    world.kill();
    fs::remove_dir_all(world.data_dir()).unwrap();
    let readme = include_str!("../../../README.md");
    let begin = "cis490 init --config /etc/cis490/receiver.toml --store-id";
    let drill = &readme[readme.find(begin).unwrap()..];
    let lines: Vec<&str> = drill.split("```").next().unwrap().lines().collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    let config = world.config_path();
    for line in lines {
        let line = line.replace("0123456789abcdef", &id);
        let line = line.replace("/etc/cis490/receiver.toml", &config);
        let mut words: Vec<&str> = line.split(' ').collect();
        if words.remove(0) == "systemctl" {
            assert_eq!(words, ["start", "cis490-receiver"]);
            hurry(&mut world);
            world.start();
            continue;
        }
        // The rest of them find the configuration of the service.
        if !words.contains(&"--config") {
            words.extend(["--config", &config]);
        }
        world.run(&words);
    }
    assert_eq!(world.rows(), rows);
    for n in 0..3 {
        let episode = format!("ep-{n}");
        super::wait_proven(&world, &episode);
        let path = format!("/v1/episodes/lab-1/{episode}.tar.zst");
        assert_eq!(world.get(&path).status, 307, "{world}");
    }
}

#[test]
fn objects_that_say_nothing_true_of_themselves_are_left_out() {
    let store = ScriptedStore::start();
    let mut first = world(&store, "");
    first.start();
    for episode in ["good", "no-receipt", "of-another", "short"] {
        archived(&first, episode);
    }
    let id = store_id(&first);
    first.kill();
    let receipt = "x-amz-meta-cis490-receipt";
    let good = key("good", &body("good"));
    let good = store.with(&good, |object| object.meta[receipt].clone());
    store.change(&key("no-receipt", &body("no-receipt")), |object| {
        object.meta.remove(receipt);
    });
    store.change(&key("of-another", &body("of-another")), |object| {
        object.meta.insert(receipt.to_owned(), good);
    });
    store.damage(&key("short", &body("short")), |bytes| bytes.truncate(1));

    let second = world(&store, "");
    let config = second.config_path();
    fs::remove_dir_all(second.data_dir()).unwrap();
    second.run(&["init", "--config", &config, "--store-id", &id]);
    let text = second.run(&["backfill", "--from-archive", "--config", &config]);
    assert!(text.contains("1 row added"), "{text}");
    assert_eq!(second.rows()[0]["episode"], "good");
}
