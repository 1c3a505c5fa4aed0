//! SIGHUP and `[archive]`: keys that were rotated, when room is made, what proves an object.

use std::fs;

use super::store::ScriptedStore;
use super::{
    ALWAYS, archived, body, hurry, is_here, key, put, wait_evicted, wait_proven, world,
    write_secret,
};
use crate::condition::reload::{edit, reload};
use crate::world::World;

/// A running receiver that a refusal of the keys stops for ten minutes.
fn patient(store: &ScriptedStore) -> World {
    let mut world = world(store, "");
    world.env("CIS490_ARCHIVE_LONG_WAIT_MS", 600_000);
    world.start();
    world
}

/// The store refuses the keys, and everything waits.
fn wait_stopped(world: &World) {
    world.wait_until("the keys are refused", |world| {
        world.log().contains("event=archive_stopped kind=denied")
    });
}

fn signed_by(store: &ScriptedStore, episode: &str) -> String {
    store.with(&key(episode, &body(episode)), |object| {
        object.meta["authorization"].clone()
    })
}

#[test]
fn new_keys_are_used_at_once_after_a_reload() {
    let store = ScriptedStore::start();
    store.accept(&["KEY"]);
    let world = patient(&store);
    archived(&world, "ep-1");
    // Rotated: the file is another one.
    store.accept(&["KEY-2"]);
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    wait_stopped(&world);
    write_secret(&world.dir().join("new-keys"), "KEY-2\nSECRET-2\n");
    edit(&world, "s3-keys", "new-keys");
    reload(&world, "reloaded");
    wait_proven(&world, "ep-2");
    assert!(signed_by(&store, "ep-2").contains("Credential=KEY-2/"));
    let log = world.log();
    assert!(
        log.contains("event=reloaded changed=\"archive.secret_file\""),
        "{log}"
    );
    assert!(log.contains("event=archive_back"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
    // Rotated again: the content is another one, and the old keys work beside the new ones.
    write_secret(&world.dir().join("new-keys"), "KEY-3\nSECRET-3\n");
    store.accept(&["KEY-2", "KEY-3"]);
    reload(&world, "reloaded");
    archived(&world, "ep-3");
    assert!(signed_by(&store, "ep-3").contains("Credential=KEY-3/"));
}

#[test]
fn keys_that_cannot_be_read_change_nothing() {
    let store = ScriptedStore::start();
    store.accept(&["KEY"]);
    let world = patient(&store);
    archived(&world, "ep-1");
    let text = fs::read_to_string(world.config_path()).unwrap();
    let bad = world.dir().join("bad-keys");
    for make_bad in [
        (|_: &std::path::Path| {}) as fn(&std::path::Path),
        |bad| write_secret(bad, "one line\n"),
        |bad| {
            use std::os::unix::fs::PermissionsExt;
            fs::write(bad, "OTHER\nSECRET\n").unwrap();
            fs::set_permissions(bad, fs::Permissions::from_mode(0o644)).unwrap();
        },
    ] {
        make_bad(&bad);
        edit(&world, "s3-keys", "bad-keys");
        edit(&world, "[archive]\n", &format!("[archive]\n{ALWAYS}"));
        edit(&world, "min_free_bytes = 0", "min_free_bytes = 1");
        reload(&world, "reload_failed");
        fs::write(world.config_path(), &text).unwrap();
    }
    let log = world.log();
    assert_eq!(log.matches("event=reload_failed").count(), 3, "{log}");
    assert!(log.contains("archive.secret_file"), "{log}");
    // Neither the keys nor the bound have changed.
    archived(&world, "ep-2");
    archived(&world, "ep-3");
    assert!(is_here(&world, "ep-1") && is_here(&world, "ep-2"));
    assert!(!world.log().contains("event=archive_stopped"), "{world}");
}

#[test]
fn room_is_made_by_the_bound_of_now() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    archived(&world, "ep-2");
    assert!(is_here(&world, "ep-1"));
    edit(&world, "[archive]\n", &format!("[archive]\n{ALWAYS}"));
    reload(&world, "reloaded");
    for episode in ["ep-1", "ep-2"] {
        wait_evicted(&world, episode);
    }
    edit(&world, ALWAYS, "");
    reload(&world, "reloaded");
    for episode in ["ep-3", "ep-4", "ep-5"] {
        archived(&world, episode);
    }
    assert!(is_here(&world, "ep-3") && is_here(&world, "ep-4"));
}

#[test]
fn an_object_is_proven_as_the_configuration_of_now_says() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "verify = \"head\"\n");
    world.start();
    archived(&world, "ep-1");
    assert_eq!(store.count("GET"), 0);
    edit(&world, "verify = \"head\"", "verify = \"read\"");
    reload(&world, "reloaded");
    archived(&world, "ep-2");
    assert_eq!(store.count("GET"), 1);
    edit(&world, "verify = \"read\"", "verify = \"head\"");
    reload(&world, "reloaded");
    archived(&world, "ep-3");
    assert_eq!(store.count("GET"), 1);
}

/// The proofs are about the objects of one bucket.
#[test]
fn another_store_or_bucket_waits_for_a_restart() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    edit(&world, "bucket = \"lab\"", "bucket = \"other\"");
    reload(&world, "config_waiting");
    let waiting = world.get("/v1/status").json()["config_waiting"].to_string();
    assert_eq!(waiting, "[\"archive.bucket\"]");
    archived(&world, "ep-2");
    assert!(store.requests().iter().all(|one| !one.contains("/other")));
}

/// Keys and proofs change again and again while episodes are copied, read back and evicted.
#[test]
fn reloads_in_the_middle_of_everything_tear_nothing() {
    let store = ScriptedStore::start();
    store.accept(&["KEY", "KEY-2"]);
    let mut world = world(&store, &format!("verify = \"read\"\n{ALWAYS}"));
    write_secret(&world.dir().join("s3-keyz"), "KEY-2\nSECRET\n");
    world.start();
    for n in 0..12 {
        assert_eq!(world.put(&put(&world, &format!("ep-{n}"))).status, 201);
        let (is, becomes) = if n % 2 == 0 {
            (["s3-keys", "\"read\""], ["s3-keyz", "\"head\""])
        } else {
            (["s3-keyz", "\"head\""], ["s3-keys", "\"read\""])
        };
        for (from, to) in is.into_iter().zip(becomes) {
            edit(&world, from, to);
        }
        reload(&world, "reloaded");
    }
    for n in 0..12 {
        let episode = format!("ep-{n}");
        world.wait_until("it is evicted", |world| !is_here(world, &episode));
        wait_proven(&world, &episode);
        store.with(&key(&episode, &body(&episode)), |object| {
            assert_eq!(object.bytes, body(&episode));
        });
    }
    let log = world.log();
    assert!(!log.contains("event=archive_failing"), "{log}");
}

/// A stopped archive of a receiver whose keys were corrected without a reload goes on too.
#[test]
fn revoked_keys_are_a_finding_until_they_are_given_back() {
    let store = ScriptedStore::start();
    store.accept(&["KEY"]);
    let mut world = world(&store, "");
    hurry(&mut world);
    world.env("CIS490_ARCHIVE_AGED_MS", 15 * 60_000);
    world.start();
    archived(&world, "ep-1");
    store.accept(&[]);
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    let found = super::findings::wait_found(&world, "archive-away");
    assert!(found["words"].as_str().unwrap().contains("403"), "{found}");
    assert!(
        found["remedy"].as_str().unwrap().contains("secret_file"),
        "{found}"
    );
    assert!(is_here(&world, "ep-2"));
    store.accept(&["KEY"]);
    wait_proven(&world, "ep-2");
    super::findings::wait_none(&world);
}
