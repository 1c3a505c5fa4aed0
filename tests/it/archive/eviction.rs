//! Room on the disk: which local files go, and when.

use std::fs;

use super::store::{Mishap, ScriptedStore};
use super::{
    ALWAYS, archived, body, hurry, is_here, key, ledger, put, wait_evicted, wait_for_metric,
    wait_proven, world,
};
use crate::client::Client;

#[test]
fn proven_episodes_go_when_room_is_needed_oldest_proof_first() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    for n in 0..4 {
        archived(&world, &format!("ep-{n}"));
    }
    world.stop();
    world.replace_in_config("[archive]\n", &format!("[archive]\n{ALWAYS}"));
    hurry(&mut world);
    world.start();
    for n in 0..4 {
        wait_evicted(&world, &format!("ep-{n}"));
    }
    world.wait_until("all are in the log", |world| {
        world.log().matches("event=archive_evicted").count() == 4
    });
    let log = world.log();
    let order: Vec<usize> = (0..4)
        .map(|n| {
            log.find(&format!("event=archive_evicted host=lab-1 episode=ep-{n}"))
                .unwrap()
        })
        .collect();
    assert!(order.is_sorted(), "{log}");
    for line in [
        "cis490_archive_evicted_total 4\n",
        "cis490_archive_episodes{state=\"evicted\"} 4\n",
        "cis490_archive_episodes{state=\"archived\"} 0\n",
    ] {
        wait_for_metric(&world, line);
    }
    // Each was asked for just before.
    let heads = store.requests();
    for n in 0..4 {
        let last = heads
            .iter()
            .rfind(|one| one.contains(&format!("ep-{n}~")))
            .unwrap();
        assert!(last.starts_with("HEAD"), "{last}");
    }
}

#[test]
fn nothing_goes_while_there_is_room_or_before_a_day_has_passed_or_without_a_proof() {
    let store = ScriptedStore::start();
    let mut roomy = world(&store, "evict_below_bytes = 1\n");
    roomy.start();
    archived(&roomy, "ep-1");
    archived(&roomy, "ep-2");
    assert!(is_here(&roomy, "ep-1") && is_here(&roomy, "ep-2"));

    let mut young = world(&store, ALWAYS);
    young.env("CIS490_ARCHIVE_PROOF_AGE_MS", 86_400_000);
    young.start();
    archived(&young, "ep-3");
    young.wait_until("it is said that there is no room", |world| {
        world.log().contains("event=archive_no_room")
    });
    archived(&young, "ep-4");
    assert!(is_here(&young, "ep-3") && is_here(&young, "ep-4"));

    let mut unproven = world(&store, ALWAYS);
    unproven.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    unproven.start();
    assert_eq!(unproven.put(&put(&unproven, "ep-5")).status, 201);
    unproven.wait_until("it is copied", |_| {
        store.keys().contains(&key("ep-5", &body("ep-5")))
    });
    unproven.wait_until("it is looked at again", |world| {
        world.log().contains("event=archive_no_room")
    });
    assert!(is_here(&unproven, "ep-5") && ledger(&unproven).is_empty());
}

/// The eviction has passed the episode's proof long before: a file that comes back makes it look again.
#[test]
fn bytes_that_take_the_place_of_a_damaged_file_go_again() {
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    world.start();
    archived(&world, "ep-1");
    wait_evicted(&world, "ep-1");
    let path = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    fs::write(path, "something").unwrap();
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201, "{world}");
    wait_evicted(&world, "ep-1");
    assert_eq!(ledger(&world), ["ep-1 proven"]);
}

/// Without its index the receiver has forgotten the row, and not the proof, which the eviction passes at the
/// start.
#[test]
fn an_episode_that_has_a_row_again_behind_its_proof_goes_again() {
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    world.start();
    archived(&world, "ep-1");
    wait_evicted(&world, "ep-1");
    world.stop();
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
    hurry(&mut world);
    world.start();
    world.wait_until("its proof was passed", |world| {
        world.log().contains("event=archive_no_room")
    });
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201, "{world}");
    wait_evicted(&world, "ep-1");
    assert_eq!(ledger(&world), ["ep-1 proven"]);
}

#[test]
fn with_the_store_away_nothing_goes() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    world.stop();
    store.always("HEAD", "", Mishap::Refuses(503, "SlowDown"));
    world.replace_in_config("[archive]\n", &format!("[archive]\n{ALWAYS}"));
    hurry(&mut world);
    world.start();
    world.wait_until("the store fails", |world| {
        world.log().contains("event=archive_failing kind=busy")
    });
    assert!(is_here(&world, "ep-1"));
    store.calm();
    wait_evicted(&world, "ep-1");
}

/// What the bucket has lost is found before the local file goes, and is copied again.
#[test]
fn an_object_that_is_gone_keeps_its_file_and_is_healed() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "gone");
    archived(&world, "short");
    world.stop();
    store.remove(&key("gone", &body("gone")));
    store.damage(&key("short", &body("short")), |bytes| {
        bytes.pop();
    });
    world.replace_in_config("[archive]\n", &format!("[archive]\n{ALWAYS}"));
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.env("CIS490_ARCHIVE_PROOF_AGE_MS", 0);
    world.start();
    for episode in ["gone", "short"] {
        let key = key(episode, &body(episode));
        world.wait_until("it is copied again", |_| {
            store.keys().contains(&key) && store.with(&key, |object| object.bytes == body(episode))
        });
        assert!(is_here(&world, episode));
        assert!(ledger(&world).contains(&format!("{episode} lost")));
        let line = format!("event=archive_lost host=lab-1 episode={episode}");
        assert!(world.log().contains(&line), "{world}");
    }
    assert!(!world.log().contains("event=archive_evicted"));
}

/// A download holds its file until it ends.
#[test]
fn a_file_that_is_being_downloaded_stays_until_the_end() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n");
    world.start();
    // More than the sockets on the way hold.
    let large = vec![7; 64 << 20];
    let put = world.good().episode("large").body(&large);
    assert_eq!(world.put(&put).status, 201);
    wait_proven(&world, "large");
    world.stop();
    world.replace_in_config("[archive]\n", &format!("[archive]\n{ALWAYS}"));
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 0);
    world.env("CIS490_ARCHIVE_PROOF_AGE_MS", 86_400_000);
    world.start();
    let mut client = Client::connect(world.address());
    let request =
        "GET /v1/episodes/lab-1/large.tar.zst HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n";
    client.send(request.as_bytes()).unwrap();
    // The download has begun once its first bytes are here.
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut client.0, &mut first).unwrap();
    let path = world.data_dir().join("episodes/lab-1/large.tar.zst");
    let file = fs::File::open(&path).unwrap();
    assert!(
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)),
        "the download does not hold its file"
    );
    let rest = client.rest();
    assert!(rest.ends_with(&large[..1000]) && rest.len() > large.len());
    world.wait_until("the lock is given back", |_| file.try_lock().is_ok());
    file.unlock().unwrap();

    // With such a lock it stays, however much room is needed, and without it goes.
    file.lock_shared().unwrap();
    world.stop();
    hurry(&mut world);
    world.start();
    world.wait_until("there is no room", |world| {
        world.log().contains("event=archive_no_room")
    });
    assert!(is_here(&world, "large"));
    file.unlock().unwrap();
    wait_evicted(&world, "large");
}
