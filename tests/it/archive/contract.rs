//! What an episode whose bytes are in the bucket alone is answered with (design, sections 11 and 12).

use std::fs;

use super::store::{Mishap, ScriptedStore};
use super::{
    ALWAYS, archived, body, hurry, key, ledger, put, wait_alone_there, wait_for_metric,
    wait_proven, world,
};
use crate::client::{Client, sha256};
use crate::resume::{self, Episode, kind, least, least_kept};
use crate::world::{World, cis490};

const READER: &str = "[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n";

/// A receiver that has one episode, `ep-1`, in the bucket alone.
fn evicted(store: &ScriptedStore) -> World {
    let mut world = world(store, READER);
    world.start();
    archived(&world, "ep-1");
    evict_all(&mut world);
    world
}

/// Restarts the receiver short of room, until nothing is here.
fn evict_all(world: &mut World) {
    world.stop();
    world.replace_in_config(
        "[archive]\n",
        "[archive]\nevict_below_bytes = 1000000000000000\n",
    );
    hurry(world);
    world.start();
    world.wait_until("it is evicted", |world| {
        world.names("episodes/lab-1").is_empty()
    });
}

#[test]
fn an_evicted_episode_is_answered_as_a_stored_one() {
    let store = ScriptedStore::start();
    let world = evicted(&store);
    let row = world.rows().remove(0);
    // Nothing here asks the store.
    store.always("HEAD", "", Mishap::Refuses(503, "SlowDown"));
    store.always("GET", "", Mishap::Refuses(503, "SlowDown"));

    let again = world.put(&put(&world, "ep-1"));
    assert_eq!((again.status, again.json()), (200, row.clone()));
    let outdated = put(&world, "ep-1").commit(world.too_old());
    assert_eq!(world.put(&outdated).status, 200);
    let other = world.good().episode("ep-1").body(b"other bytes");
    assert_eq!(world.put(&other).status, 409);
    let same_length = world.good().episode("ep-1").body(&[0; 17]);
    assert_eq!(world.put(&same_length).status, 409);
    assert!(world.stored("lab-1", "ep-1").is_none());

    let receipt = world.get("/v1/episodes/lab-1/ep-1");
    assert_eq!(receipt.status, 200);
    let mut shown = receipt.json();
    let place = shown.as_object_mut().unwrap().remove("archive").unwrap();
    assert_eq!(shown, row);
    assert_eq!(place["bucket"], "lab");
    assert_eq!(place["key"], key("ep-1", &body("ep-1")));

    let list = world.get("/v1/episodes");
    assert!(list.body.contains("\"episode\":\"ep-1\""), "{list:?}");
    // One that is here has no such member.
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    let receipt = world.get("/v1/episodes/lab-1/ep-2").json();
    assert!(receipt.get("archive").is_none(), "{receipt}");
}

#[test]
fn a_reader_is_sent_to_the_bucket_for_the_bytes() {
    let store = ScriptedStore::start();
    let world = evicted(&store);
    let path = "/v1/episodes/lab-1/ep-1.tar.zst";
    let tag = format!("\"{}\"", sha256(&body("ep-1")));

    let head = world.ask("HEAD", path);
    assert_eq!(head.status, 200);
    assert_eq!(head.header("Content-Length"), Some("17"));
    assert_eq!(head.header("ETag"), Some(&*tag));
    let ask = |lines: &str| {
        let mut client = world.client();
        let request = format!("GET {path} HTTP/1.1\r\nHost: pi\r\n{lines}\r\n");
        client.send(request.as_bytes()).unwrap();
        client.answer().unwrap()
    };
    assert_eq!(ask(&format!("If-None-Match: {tag}\r\n")).status, 304);
    assert_eq!(ask("If-Match: \"other\"\r\n").status, 412);
    let got = ask("Range: bytes=4-\r\n");
    assert_eq!(got.status, 307, "{got:?}");
    assert_eq!(got.header("Cache-Control"), Some("no-store"));
    let location = got.header("Location").unwrap();
    for part in [
        "X-Amz-Expires=900",
        "X-Amz-SignedHeaders=host",
        "X-Amz-Signature=",
    ] {
        assert!(location.contains(part), "{location}");
    }
    let target = location
        .strip_prefix(&format!("http://{}", store.address))
        .unwrap();
    let mut client = Client::connect(store.address);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", store.address);
    client.send(request.as_bytes()).unwrap();
    let bytes = client.answer().unwrap();
    assert_eq!((bytes.status, bytes.body.as_bytes()), (200, &*body("ep-1")));
    wait_for_metric(&world, "cis490_downloads_total{outcome=\"redirected\"} 1\n");
    assert!(
        !world.log().contains("X-Amz"),
        "an address that anybody can use is in the log"
    );
    // Only a reader hears of it.
    let mut elsewhere = Client::connect_from(world.address(), "127.0.0.7".parse().unwrap());
    let request = format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n");
    elsewhere.send(request.as_bytes()).unwrap();
    assert_eq!(elsewhere.answer().unwrap().status, 403);
}

#[test]
fn a_pull_brings_what_the_bucket_alone_has() {
    let store = ScriptedStore::start();
    let world = evicted(&store);
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    let dir = world.dir().join("pulled");
    let url = format!("http://{}", world.address());
    world.run(&["pull", "--url", &url, "--to", dir.to_str().unwrap()]);
    for episode in ["ep-1", "ep-2"] {
        let path = dir.join(format!("lab-1/{episode}.tar.zst"));
        assert_eq!(fs::read(path).unwrap(), body(episode));
    }
}

#[test]
fn scrub_knows_what_is_in_the_archive_from_what_is_missing() {
    let store = ScriptedStore::start();
    let mut world = evicted(&store);
    let report = world.run(&["scrub", "--config", &world.config_path()]);
    assert!(
        report.contains("1 more in the archive alone: everything matches the index"),
        "{report}"
    );
    // By the ledger alone: the same row without its proof is missing. A receiver would prove it again at once.
    world.stop();
    let path = world.data_dir().join("archive.jsonl");
    let listed = fs::read_to_string(&path).unwrap().replace("proven", "lost");
    fs::write(&path, listed).unwrap();
    let output = cis490()
        .args(["scrub", "--restart", "--config", &world.config_path()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        report.contains("missing: episodes/lab-1/ep-1.tar.zst"),
        "{report}"
    );
}

/// What the bucket has lost for good comes back when its lab host sends it again.
#[test]
fn a_lost_episode_is_stored_again_when_it_is_sent_again() {
    let store = ScriptedStore::start();
    let mut world = evicted(&store);
    store.remove(&key("ep-1", &body("ep-1")));
    // Found when all is looked at again: without its ledger the receiver knows nothing.
    world.stop();
    let path = world.data_dir().join("archive.jsonl");
    let lost = fs::read_to_string(&path).unwrap().replace("proven", "lost");
    fs::write(&path, lost).unwrap();
    hurry(&mut world);
    world.start();
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1").status, 404);
    wait_for_metric(&world, "cis490_archive_episodes{state=\"lost\"} 1\n");
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    assert_eq!(world.rows().len(), 1, "{world}");
    world.wait_until("it is proven again, and evicted", |world| {
        ledger(world)
            .last()
            .is_some_and(|line| line == "ep-1 proven")
            && world.names("episodes/lab-1").is_empty()
    });
    assert_eq!(store.keys(), [key("ep-1", &body("ep-1"))]);
    assert_eq!(world.put(&put(&world, "ep-1")).status, 200);
}

/// What another process has found lost is stored again at once: the receiver's own look at the ledger may be
/// a minute away.
#[test]
fn an_episode_that_scrub_has_just_found_lost_is_not_answered_200() {
    let store = ScriptedStore::start();
    let mut world = world(&store, READER);
    world.start();
    archived(&world, "ep-1");
    world.stop();
    world.replace_in_config(
        "[archive]\n",
        "[archive]\nevict_below_bytes = 1000000000000000\n",
    );
    hurry(&mut world);
    world.env("CIS490_ARCHIVE_PAUSE_MS", 60_000);
    world.start();
    world.wait_until("it is evicted and looked over", |world| {
        world.names("episodes/lab-1").is_empty() && world.log().contains("event=archive_no_room")
    });
    store.remove(&key("ep-1", &body("ep-1")));
    let scrub = cis490()
        .args(["scrub", "--archive", "--config", &world.config_path()])
        .output()
        .unwrap();
    assert_eq!(scrub.status.code(), Some(2), "{scrub:?}");
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1").status, 404);
    assert_eq!(
        world.ask("HEAD", "/v1/episodes/lab-1/ep-1.tar.zst").status,
        404
    );
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201, "{world}");
    world.wait_until("it is proven again", |world| {
        ledger(world)
            .last()
            .is_some_and(|line| line == "ep-1 proven")
    });
}

#[test]
fn without_the_archive_in_its_configuration_an_evicted_episode_is_as_one_that_is_gone() {
    let store = ScriptedStore::start();
    let mut world = evicted(&store);
    world.stop();
    let text = fs::read_to_string(world.config_path()).unwrap();
    let (without, _) = text.split_once("[archive]").unwrap();
    fs::write(world.config_path(), without).unwrap();
    world.start();
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1").status, 404);
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    assert!(!world.get("/metrics").body.contains("cis490_archive"));
}

/// Of two rows with different digests the one whose object is proven is answered for, and neither file
/// is removed.
#[test]
fn a_name_with_two_digests_keeps_its_file() {
    let store = ScriptedStore::start();
    let mut world = world(&store, READER);
    world.start();
    archived(&world, "ep-1");
    world.stop();
    let index = world.data_dir().join("index.jsonl");
    let row = fs::read_to_string(&index).unwrap();
    let other = row.replace(&sha256(&body("ep-1")), &"0f".repeat(32));
    fs::write(&index, format!("{other}{row}")).unwrap();
    world.replace_in_config(
        "[archive]\n",
        "[archive]\nevict_below_bytes = 1000000000000000\n",
    );
    hurry(&mut world);
    world.start();
    world.wait_until("there is no room", |world| {
        world.log().contains("event=archive_no_room")
    });
    assert_eq!(world.stored("lab-1", "ep-1"), Some(body("ep-1")));
    wait_proven(&world, "ep-1");
}

/// A receiver that always needs room and keeps broken uploads, with `sent` stored and in the bucket alone.
/// The upload of `broken`, an episode of the same name, was broken before.
fn evicted_beside_a_broken_upload(
    store: &ScriptedStore,
    sent: impl FnOnce(&Episode) -> Episode,
) -> (World, Episode, usize) {
    let mut world = world(store, ALWAYS);
    resume::start(&mut world);
    let broken = Episode::new(&world, "ep-1");
    let offset = broken.break_at(&world, least_kept() + 3 * resume::MIB);
    let offset = offset.unwrap_or_else(|| panic!("nothing is kept\n{world}"));
    let sent = sent(&broken);
    assert_eq!(sent.put(&world).status, 201, "{world}");
    wait_alone_there(&world, "ep-1");
    (world, broken, offset)
}

#[test]
fn the_rest_of_an_evicted_episode_is_answered_as_the_whole() {
    let store = ScriptedStore::start();
    let (world, broken, offset) = evicted_beside_a_broken_upload(&store, Episode::clone);
    // Nothing here asks the store.
    let asked = store.requests().len();
    let answer = broken.patch(&world, offset);
    assert_eq!(
        (answer.status, answer.json()),
        (200, world.rows().remove(0))
    );
    assert_eq!(broken.offset(&world), None);
    // The same by a sender that knows of no offset, and by one with another.
    assert_eq!(broken.put(&world).status, 200);
    assert_eq!(broken.patch(&world, 1).status, 200);
    assert_eq!(store.requests().len(), asked);
    assert_eq!(world.rows().len(), 1);
    assert!(world.stored("lab-1", "ep-1").is_none() && world.names("incoming").is_empty());
}

#[test]
fn the_rest_of_other_bytes_than_the_archive_has_is_refused() {
    let store = ScriptedStore::start();
    let (world, broken, offset) = evicted_beside_a_broken_upload(&store, |broken| {
        let mut body = broken.body.clone();
        body[7] ^= 1;
        Episode {
            sha256: sha256(&body),
            body,
            ..broken.clone()
        }
    });
    let objects = store.keys();
    for offset in [offset, 1] {
        let answer = broken.patch(&world, offset);
        assert_eq!(answer.status, 409, "{answer:?}\n{world}");
        assert_eq!(kind(&answer), "taken");
    }
    assert_eq!(broken.offset(&world), None);
    assert_eq!(broken.put(&world).status, 409);
    assert_eq!((world.rows().len(), store.keys()), (1, objects));
    world.wait_until("nothing of it is kept", |world| {
        world.names("incoming").is_empty()
    });
}

/// The object is gone and so is the file: the bytes come again, over a break, and get the row that they had.
#[test]
fn a_lost_episode_is_stored_again_by_the_rest_of_its_upload() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "evict_below_bytes = 1000000000000000\n");
    resume::start(&mut world);
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.put(&world).status, 201);
    wait_alone_there(&world, "ep-1");
    let row = world.rows().remove(0);
    store.remove(&key("ep-1", &episode.body));
    let scrub = cis490()
        .args(["scrub", "--archive", "--config", &world.config_path()])
        .output()
        .unwrap();
    assert_eq!(scrub.status.code(), Some(2), "{scrub:?}");
    assert_eq!(ledger(&world).last().unwrap(), "ep-1 lost");

    let offset = episode.break_at(&world, least_kept() + 3 * resume::MIB);
    let offset = offset.unwrap_or_else(|| panic!("nothing is kept\n{world}"));
    assert!(offset < least());
    let answer = episode.patch(&world, offset);
    assert_eq!((answer.status, answer.json()), (201, row.clone()));
    wait_alone_there(&world, "ep-1");
    assert_eq!(world.rows(), [row]);
    store.with(&key("ep-1", &episode.body), |object| {
        assert!(object.bytes == episode.body);
    });
    assert_eq!(episode.put(&world).status, 200);
}
