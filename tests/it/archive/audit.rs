//! `cis490 scrub --archive`: what the bucket has lost, or has with other bytes.

use super::store::{Mishap, ScriptedStore};
use super::{archived, body, hurry, key, ledger, wait_proven, world};
use crate::world::{World, cis490};

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

#[test]
fn what_the_bucket_has_lost_is_found_and_copied_again() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.env("CIS490_ARCHIVE_LOOK_MS", 100);
    world.start();
    for n in 0..5 {
        archived(&world, &format!("ep-{n}"));
    }
    let (code, text) = scrub(&world, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains(
            "5 objects in the bucket, 5 episodes of this store looked for: all are there"
        ),
        "{text}"
    );

    store.remove(&key("ep-1", &body("ep-1")));
    store.damage(&key("ep-3", &body("ep-3")), |bytes| bytes.truncate(3));
    let (code, text) = scrub(&world, &[]);
    assert_eq!(code, Some(2), "{text}");
    for words in [
        "lost: lab-1/ep-1: ",
        "lost: lab-1/ep-3: ",
        "2 lost, 0 with other bytes",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    // The receiver beside it heals them without being asked to.
    for episode in ["ep-1", "ep-3"] {
        world.wait_until("it is proven again", |world| {
            let lines = ledger(world);
            let last = lines.iter().rfind(|line| line.starts_with(episode));
            last.is_some_and(|line| line.ends_with("proven"))
        });
        store.with(&key(episode, &body(episode)), |object| {
            assert_eq!(object.bytes, body(episode));
        });
    }
    assert_eq!(scrub(&world, &[]).0, Some(0));

    // Only all bytes show what has the right length.
    store.damage(&key("ep-2", &body("ep-2")), |bytes| bytes[0] ^= 1);
    assert_eq!(scrub(&world, &[]).0, Some(0));
    let (code, text) = scrub(&world, &["--deep"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("other bytes: lab-1/ep-2: "), "{text}");
}

/// Their bytes are gone behind a HEAD that is right.
#[test]
fn objects_that_cannot_be_read_are_found_and_hide_no_other() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    for n in 0..4 {
        archived(&world, &format!("ep-{n}"));
    }
    world.stop();
    store.always("GET", "/ep-1", Mishap::SendsHalf);
    store.always("GET", "/ep-2", Mishap::Refuses(500, "InternalError"));
    store.remove(&key("ep-3", &body("ep-3")));
    let (code, text) = scrub(&world, &["--deep"]);
    assert_eq!(code, Some(2), "{text}");
    for n in 1..4 {
        assert!(text.contains(&format!("lost: lab-1/ep-{n}: ")), "{text}");
    }
    assert!(text.contains("3 lost"), "{text}");
    // A store that is away is no finding.
    store.always("HEAD", "", Mishap::LosesTheAnswer);
    let before = ledger(&world);
    let (code, text) = scrub(&world, &["--deep"]);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(ledger(&world), before);
}

#[test]
fn two_objects_of_one_name_are_a_finding_until_one_is_proven() {
    let store = ScriptedStore::start();
    let mut first = world(&store, "");
    first.start();
    archived(&first, "ep-1");
    // Another receiver was sent other bytes under the name, and this one's proof is gone.
    let mut second = world(&store, "");
    second.start();
    let other = second.good().episode("ep-1").body(b"other bytes");
    assert_eq!(second.put(&other).status, 201);
    wait_proven(&second, "ep-1");
    assert_eq!(scrub(&first, &[]).0, Some(0));
    first.stop();
    std::fs::write(first.data_dir().join("archive.jsonl"), "").unwrap();
    let (code, text) = scrub(&first, &[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("archive-mismatch: lab-1/ep-1: "), "{text}");
    hurry(&mut first);
    first.start();
    wait_proven(&first, "ep-1");
    assert_eq!(scrub(&first, &[]).0, Some(0));
}

#[test]
fn a_dry_run_says_what_would_be_copied_and_evicted() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    archived(&world, "ep-2");
    store.always("HEAD", "ep-3", Mishap::Refuses(503, "SlowDown"));
    assert_eq!(world.put(&super::put(&world, "ep-3")).status, 201);
    world.stop();
    store.calm();
    let config = world.config_path();
    let ledger_before = std::fs::read(world.data_dir().join("archive.jsonl")).unwrap();
    let text = world.run(&["archive", "--dry-run", "--config", &config]);
    assert!(text.contains("would copy lab-1/ep-3, 17"), "{text}");
    assert!(
        text.contains("1 episode to be copied") && text.contains("0 episodes to be evicted"),
        "{text}"
    );
    // Proofs of today stay; those of last year go.
    let evicting = "[archive]\nevict_below_bytes = 1000000000000000\n";
    world.replace_in_config("[archive]\n", evicting);
    let text = world.run(&["archive", "--dry-run", "--config", &config]);
    assert!(
        text.contains("0 episodes to be evicted") && text.contains("cannot be made"),
        "{text}"
    );
    let path = world.data_dir().join("archive.jsonl");
    let old = String::from_utf8(ledger_before).unwrap();
    let year = old.split("\"at\":\"").nth(1).unwrap()[..4].to_owned();
    let old = old.replace(&format!("\"at\":\"{year}"), "\"at\":\"1999");
    std::fs::write(&path, &old).unwrap();
    let text = world.run(&["archive", "--dry-run", "--config", &config]);
    for words in [
        "would evict lab-1/ep-1, 17",
        "would evict lab-1/ep-2, 17",
        "2 episodes to be evicted",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), old);
    assert_eq!(world.names("episodes/lab-1").len(), 3);
    let output = cis490().arg("archive").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--dry-run"));
}

#[test]
fn without_an_archive_or_its_store_it_says_what_to_do() {
    let store = ScriptedStore::start();
    let world = world(&store, "");
    store.always("GET", "", Mishap::Refuses(403, "AccessDenied"));
    let (code, text) = scrub(&world, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("403 AccessDenied") && text.contains("secret_file"),
        "{text}"
    );
    let plain = World::prepared("");
    let (code, text) = scrub(&plain, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("has no [archive]"), "{text}");
    let output = cis490().args(["scrub", "--deep"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
