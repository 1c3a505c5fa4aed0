//! Episodes that are too large for one PUT. In a debug build `CIS490_ARCHIVE_PARTS` moves the bounds of 5 GiB
//! and 64 MiB.

use std::fs;
use std::time::Duration;

use super::store::{Mishap, ScriptedStore};
use super::{archived, hurry, key, ledger, wait_for_metric, wait_proven, world};
use crate::client::Put;
use crate::world::{World, is_release_build};

/// The most of one PUT, and the bytes of a part.
const BOUNDS: &str = "99,40";
/// Parts of a large episode.
const PARTS: usize = 3;
const ERROR: &str = "<?xml version=\"1.0\"?>\n  <Error><Code>InternalError</Code></Error>";

fn large(episode: &str) -> Vec<u8> {
    let mut bytes = episode.repeat(100).into_bytes();
    bytes.truncate(100);
    bytes
}

fn put_large(world: &World, episode: &str) -> Put {
    world.good().episode(episode).body(&large(episode))
}

/// As `hurry`, with the bounds of these tests.
fn hurry_in_parts(world: &mut World) {
    hurry(world);
    world.env("CIS490_ARCHIVE_PARTS", BOUNDS);
}

fn started(store: &ScriptedStore, more: &str) -> World {
    let mut world = world(store, more);
    hurry_in_parts(&mut world);
    world.start();
    world
}

/// Whether the tests of parts can be run: a release build has no such variable.
fn has_bounds() -> bool {
    let has = !is_release_build();
    if !has {
        skip!("a release build sends 5 GiB in one PUT");
    }
    has
}

fn is_whole(store: &ScriptedStore, episode: &str) -> bool {
    let key = key(episode, &large(episode));
    store.keys().contains(&key) && store.with(&key, |object| object.bytes == large(episode))
}

/// The requests about an episode so far, each by its method and what it is about.
fn steps(store: &ScriptedStore, episode: &str) -> Vec<&'static str> {
    let requests = store.requests();
    let of_episode = requests.iter().filter(|one| one.contains(episode));
    let kinds = of_episode.map(|one| match one.split_once(' ').unwrap().0 {
        "POST" if one.contains("uploadId=") => "complete",
        "POST" => "begin",
        "PUT" if one.contains("partNumber=") => "part",
        "PUT" => "put",
        "GET" if one.contains("uploads=") => "uploads",
        "GET" => "get",
        "HEAD" => "head",
        "DELETE" => "abort",
        other => panic!("{other}"),
    });
    kinds.collect()
}

fn count(store: &ScriptedStore, episode: &str, step: &str) -> usize {
    let steps = steps(store, episode);
    steps.iter().filter(|one| **one == step).count()
}

#[test]
fn what_is_too_large_for_one_put_goes_up_in_parts_and_is_read_back() {
    if !has_bounds() {
        return;
    }
    let store = ScriptedStore::start();
    // A digest of parts is not that of the whole: it is read back all the same.
    let world = started(&store, "verify = \"head\"\n");
    assert_eq!(world.put(&put_large(&world, "ep-1")).status, 201);
    wait_proven(&world, "ep-1");
    assert_eq!(
        steps(&store, "ep-1"),
        [
            "head", "uploads", "begin", "part", "part", "part", "complete", "head", "get"
        ]
    );
    assert!(is_whole(&store, "ep-1") && store.uploads().is_empty());
    let row = world.rows().remove(0);
    store.with(&key("ep-1", &large("ep-1")), |object| {
        let receipt = &object.meta["x-amz-meta-cis490-receipt"];
        let receipt: serde_json::Value = serde_json::from_str(receipt).unwrap();
        assert_eq!(receipt, row);
        assert_eq!(object.meta["x-amz-meta-cis490-store"].len(), 16);
        assert_eq!(object.meta["content-type"], "application/zstd");
    });
    for line in [
        "cis490_archive_requests_total{op=\"part\",outcome=\"ok\"} 3\n",
        "cis490_archive_requests_total{op=\"multipart\",outcome=\"ok\"} 2\n",
        "cis490_archive_requests_total{op=\"put\",outcome=\"ok\"} 0\n",
    ] {
        wait_for_metric(&world, line);
    }
    // One byte less goes in one PUT.
    let fits = world.good().episode("ep-2").body(&large("ep-2")[..99]);
    assert_eq!(world.put(&fits).status, 201);
    wait_proven(&world, "ep-2");
    assert_eq!(steps(&store, "ep-2"), ["head", "put", "head"]);
}

/// Each mishap comes once: the episode is proven, nothing is left over, and what went up before stays.
#[test]
fn each_mishap_in_the_middle_of_the_parts_is_got_over() {
    if !has_bounds() {
        return;
    }
    let cases = [
        ("GET", "uploads=", Mishap::Refuses(503, "SlowDown"), PARTS),
        (
            "GET",
            "uploads=",
            Mishap::Refuses(403, "AccessDenied"),
            PARTS,
        ),
        (
            "GET",
            "uploads=",
            Mishap::Refuses(501, "NotImplemented"),
            PARTS,
        ),
        ("GET", "uploads=", Mishap::Says("<html></html>"), PARTS),
        ("POST", "uploads=", Mishap::Refuses(503, "SlowDown"), PARTS),
        ("POST", "uploads=", Mishap::LosesTheAnswer, PARTS),
        (
            "PUT",
            "partNumber=2",
            Mishap::Refuses(500, "InternalError"),
            PARTS + 1,
        ),
        (
            "PUT",
            "partNumber=3",
            Mishap::RefusesWith(503, "SlowDown", "Retry-After: 1\r\n".to_owned()),
            PARTS + 1,
        ),
        ("PUT", "partNumber=2", Mishap::HangsUpInTheBody, PARTS + 1),
        ("PUT", "partNumber=1", Mishap::LosesTheAnswer, PARTS + 1),
        (
            "PUT",
            "partNumber=3",
            Mishap::IsSilent(Duration::from_millis(1500)),
            PARTS + 1,
        ),
        // These end the upload, and it begins anew.
        (
            "PUT",
            "partNumber=2",
            Mishap::Refuses(400, "XAmzContentSHA256Mismatch"),
            PARTS + 2,
        ),
        (
            "PUT",
            "partNumber=2",
            Mishap::Refuses(403, "AccessDenied"),
            PARTS + 2,
        ),
        (
            "PUT",
            "partNumber=2",
            Mishap::Refuses(404, "NoSuchUpload"),
            PARTS + 2,
        ),
        ("PUT", "partNumber=2", Mishap::Pretends, PARTS + 2),
        (
            "POST",
            "uploadId=",
            Mishap::Refuses(404, "NoSuchUpload"),
            PARTS * 2,
        ),
        (
            "POST",
            "uploadId=",
            Mishap::Refuses(400, "InvalidPart"),
            PARTS * 2,
        ),
        // Nothing that was sent is sent again.
        ("POST", "uploadId=", Mishap::Refuses(503, "SlowDown"), PARTS),
        ("POST", "uploadId=", Mishap::LosesTheAnswer, PARTS),
        ("POST", "uploadId=", Mishap::HangsUpInTheBody, PARTS),
        ("POST", "uploadId=", Mishap::Says(ERROR), PARTS),
        ("POST", "uploadId=", Mishap::Pretends, PARTS),
        ("POST", "uploadId=", Mishap::SendsHalf, PARTS),
        (
            "POST",
            "uploadId=",
            Mishap::IsSilent(Duration::from_millis(1500)),
            PARTS,
        ),
    ];
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    hurry_in_parts(&mut world);
    world.env("CIS490_ARCHIVE_SILENCE_MS", 700);
    world.start();
    for (n, (method, part, mishap, parts)) in cases.into_iter().enumerate() {
        let episode = format!("ep-{n}");
        store.once(method, part, mishap.clone());
        assert_eq!(world.put(&put_large(&world, &episode)).status, 201);
        wait_proven(&world, &episode);
        assert!(is_whole(&store, &episode), "{part} {mishap:?}");
        let left = store.uploads();
        assert!(left.is_empty(), "{part} {mishap:?} {left:?}\n{world}");
        let sent = count(&store, &episode, "part");
        assert_eq!(sent, parts, "{part} {mishap:?}\n{world}");
    }
    let log = world.log();
    assert!(!log.contains("event=archive_lost") && !log.contains("event=archive_mismatch"));
}

/// What the store refuses for good is aborted each time, and holds up no other.
#[test]
fn an_upload_in_parts_that_is_given_up_is_aborted() {
    if !has_bounds() {
        return;
    }
    for (method, part, mishap) in [
        ("PUT", "partNumber=2", Mishap::Refuses(400, "InvalidDigest")),
        ("PUT", "partNumber=2", Mishap::Refuses(403, "AccessDenied")),
        ("POST", "uploadId=", Mishap::Refuses(400, "InvalidPart")),
    ] {
        let store = ScriptedStore::start();
        let world = started(&store, "");
        store.always(method, part, mishap.clone());
        assert_eq!(world.put(&put_large(&world, "bad")).status, 201);
        archived(&world, "ep-1");
        archived(&world, "ep-2");
        world.wait_until("it was tried twice", |_| count(&store, "bad", "abort") >= 2);
        assert!(!ledger(&world).contains(&"bad proven".to_owned()));
        store.calm();
        wait_proven(&world, "bad");
        assert!(
            is_whole(&store, "bad") && store.uploads().is_empty(),
            "{mishap:?}"
        );
    }
}

/// The abort itself may fail: it is made up for when the episode is tried again.
#[test]
fn an_abort_that_failed_is_made_up_for() {
    if !has_bounds() {
        return;
    }
    for mishap in [Mishap::Refuses(503, "SlowDown"), Mishap::LosesTheAnswer] {
        let store = ScriptedStore::start();
        let world = started(&store, "");
        store.always("PUT", "partNumber=3", Mishap::Refuses(400, "InvalidDigest"));
        store.always("DELETE", "", mishap.clone());
        assert_eq!(world.put(&put_large(&world, "ep-1")).status, 201);
        world.wait_until("it was tried twice", |_| {
            count(&store, "ep-1", "begin") >= 2
        });
        store.calm();
        wait_proven(&world, "ep-1");
        assert!(store.uploads().is_empty(), "{mishap:?}");
    }
}

/// Killed in a part, and between the last part and the end: the next run finds what is left, aborts it and
/// begins anew. Another receiver's upload of another key is not touched.
#[test]
fn what_a_killed_run_left_is_aborted_by_the_next_one() {
    if !has_bounds() {
        return;
    }
    for (method, part, step) in [
        ("POST", "uploads=", "begin"),
        ("PUT", "partNumber=1", "part"),
        ("PUT", "partNumber=3", "part"),
        ("POST", "uploadId=", "complete"),
    ] {
        let store = ScriptedStore::start();
        let mut world = started(&store, "evict_below_bytes = 1000000000000000\n");
        let other = format!("{}x", key("ep-1", &large("ep-1")));
        store.begin_upload(&other);
        let done_before = if part == "partNumber=3" { 3 } else { 1 };
        store.once(method, part, Mishap::IsSilent(Duration::from_secs(2)));
        assert_eq!(world.put(&put_large(&world, "ep-1")).status, 201);
        world.wait_until("the request is under way", |_| {
            count(&store, "ep-1", step) >= done_before
        });
        world.kill();
        let left = store.uploads().len();
        assert_eq!(left, if step == "begin" { 1 } else { 2 }, "{part}");
        assert!(store.keys().is_empty());
        assert_eq!(world.stored("lab-1", "ep-1"), Some(large("ep-1")));
        hurry_in_parts(&mut world);
        world.start();
        world.wait_until("it is in the bucket alone", |world| {
            world.names("episodes/lab-1").is_empty()
        });
        assert!(is_whole(&store, "ep-1"), "{part}");
        assert_eq!(store.uploads(), [other], "{part}");
    }
}

/// Killed when the store has made the object and nobody has heard of it: HEAD finds it.
#[test]
fn an_end_that_nobody_heard_of_is_found_by_the_next_run() {
    if !has_bounds() {
        return;
    }
    let store = ScriptedStore::start();
    let mut world = started(&store, "");
    store.once("POST", "uploadId=", Mishap::LosesTheAnswer);
    store.nth("HEAD", "ep-1", 2, Mishap::IsSilent(Duration::from_secs(2)));
    assert_eq!(world.put(&put_large(&world, "ep-1")).status, 201);
    world.wait_until("HEAD is under way", |_| count(&store, "ep-1", "head") == 2);
    world.kill();
    assert!(is_whole(&store, "ep-1"));
    hurry_in_parts(&mut world);
    world.start();
    wait_proven(&world, "ep-1");
    assert_eq!(count(&store, "ep-1", "part"), PARTS);
    assert!(store.uploads().is_empty());
}

#[test]
fn a_store_without_multipart_keeps_the_large_ones_here_and_has_the_others() {
    if !has_bounds() {
        return;
    }
    for mishap in [
        Mishap::Refuses(501, "NotImplemented"),
        Mishap::Refuses(405, "MethodNotAllowed"),
        Mishap::Refuses(400, "InvalidRequest"),
        Mishap::Refuses(404, "NoSuchKey"),
        Mishap::Says("<html>a page</html>"),
        Mishap::Says("<R><UploadId></UploadId></R>"),
    ] {
        let store = ScriptedStore::start();
        let world = started(&store, "");
        store.always("POST", "", mishap.clone());
        assert_eq!(world.put(&put_large(&world, "large")).status, 201);
        archived(&world, "ep-1");
        world.wait_until("it is named", |world| {
            let line = "event=archive_refused host=lab-1 episode=large kind=no-multipart";
            world.log().contains(line)
        });
        let log = world.log();
        assert!(!log.contains("event=archive_failing"), "{mishap:?}\n{log}");
        assert_eq!(store.keys().len(), 1);
        // Another version of the store knows it.
        store.calm();
        wait_proven(&world, "large");
    }
    let store = ScriptedStore::start();
    store.set_multipart(false);
    let world = started(&store, "");
    assert_eq!(world.put(&put_large(&world, "large")).status, 201);
    archived(&world, "ep-1");
    assert_eq!(world.stored("lab-1", "large"), Some(large("large")));
    store.set_multipart(true);
    wait_proven(&world, "large");
}

/// No digest of the whole goes with the parts, so the file is read before anything is sent.
#[test]
fn a_large_file_that_has_rotted_here_is_not_sent() {
    if !has_bounds() {
        return;
    }
    let store = ScriptedStore::start();
    store.always("HEAD", "", Mishap::Refuses(503, "SlowDown"));
    let world = started(&store, "");
    assert_eq!(world.put(&put_large(&world, "ep-1")).status, 201);
    let path = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    let mut rotten = large("ep-1");
    rotten[50] ^= 1;
    fs::write(&path, &rotten).unwrap();
    store.calm();
    world.wait_until("it is named", |world| {
        world
            .log()
            .contains("event=archive_refused host=lab-1 episode=ep-1 kind=own-file")
    });
    assert!(store.count("POST") == 0 && store.count("PUT") == 0 && ledger(&world).is_empty());
    fs::write(&path, large("ep-1")).unwrap();
    wait_proven(&world, "ep-1");
}

/// Bytes that the store has changed in one of the parts are found by reading them back.
#[test]
fn a_part_with_other_bytes_is_found_and_all_is_sent_again() {
    if !has_bounds() {
        return;
    }
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    hurry_in_parts(&mut world);
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 3_600_000);
    world.start();
    assert_eq!(world.put(&put_large(&world, "ep-1")).status, 201);
    world.wait_until("it is copied", |_| is_whole(&store, "ep-1"));
    world.stop();
    store.damage(&key("ep-1", &large("ep-1")), |bytes| bytes[45] ^= 1);
    store.age(Duration::from_secs(3600));
    hurry_in_parts(&mut world);
    world.start();
    wait_proven(&world, "ep-1");
    assert!(is_whole(&store, "ep-1") && count(&store, "ep-1", "part") == PARTS * 2);
    wait_for_metric(&world, "cis490_archive_mismatches_total 1\n");
}

/// Two receivers that send the same bytes at the same time: the second one begins by ending the first one's
/// upload, once, and both come to an end.
#[test]
fn two_receivers_with_the_same_large_episode_both_come_to_an_end() {
    if !has_bounds() {
        return;
    }
    let store = ScriptedStore::start();
    let first = started(&store, "");
    let second = started(&store, "");
    store.once(
        "PUT",
        "partNumber=2",
        Mishap::IsSilent(Duration::from_secs(1)),
    );
    assert_eq!(first.put(&put_large(&first, "ep-1")).status, 201);
    first.wait_until("it is in the middle", |_| {
        count(&store, "ep-1", "part") == 2
    });
    assert_eq!(second.put(&put_large(&second, "ep-1")).status, 201);
    wait_proven(&second, "ep-1");
    wait_proven(&first, "ep-1");
    assert!(is_whole(&store, "ep-1") && store.uploads().is_empty());
    assert!(count(&store, "ep-1", "abort") <= 3);
}

/// A large episode needs no more memory than a small one.
#[test]
fn memory_stays_flat_over_many_parts() {
    if !has_bounds() {
        return;
    }
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    hurry(&mut world);
    world.env("CIS490_ARCHIVE_PARTS", format!("{},{}", 1 << 20, 8 << 20));
    world.start();
    let body = vec![7; 96 << 20];
    let put = world.good().episode("large").body(&body);
    // What the thread needs at all.
    archived(&world, "small");
    store.always("HEAD", "large", Mishap::Refuses(503, "SlowDown"));
    assert_eq!(world.put(&put).status, 201);
    let before_kib = world.memory_kib("VmHWM:");
    store.calm();
    wait_proven(&world, "large");
    assert_eq!(count(&store, "large", "part"), 12);
    let after_kib = world.memory_kib("VmHWM:");
    assert!(
        after_kib < before_kib + 4096,
        "{before_kib} KiB before and {after_kib} KiB after"
    );
}
