//! What is wrong with the bucket is a finding that says what to do, loses nothing, and ends by itself when it
//! is put right.

use serde_json::Value;

use super::store::{Mishap, ScriptedStore};
use super::{ALWAYS, archived, body, is_here, key, ledger, put, wait_evicted, wait_proven, world};
use crate::world::World;

/// A receiver for which each failure is 15 minutes old, and that looks for its objects all the time.
fn started(store: &ScriptedStore, more: &str) -> World {
    let mut world = world(store, more);
    world.env("CIS490_ARCHIVE_AGED_MS", 15 * 60_000);
    world.env("CIS490_ARCHIVE_SPOT_MS", 50);
    world.start();
    world
}

fn findings(world: &World) -> Vec<Value> {
    let status = world.get("/v1/status").json();
    status["findings"].as_array().unwrap().clone()
}

/// The first finding of a kind, once there is one.
pub fn wait_found(world: &World, kind: &str) -> Value {
    let found = |world: &World| {
        let all = findings(world);
        all.into_iter().find(|finding| finding["kind"] == kind)
    };
    world.wait_until(kind, |world| found(world).is_some());
    found(world).unwrap()
}

/// Nothing is wrong with the archive any more.
pub fn wait_none(world: &World) {
    world.wait_until("nothing is wrong", |world| {
        let all = findings(world);
        let kind = |finding: &Value| finding["kind"].as_str().unwrap().to_owned();
        all.iter()
            .all(|finding| !kind(finding).starts_with("archive"))
    });
}

fn assert_says(finding: &Value, words: &str, remedy: &str) {
    assert_eq!(finding["subject"], "archive");
    let text = |member: &str| finding[member].as_str().unwrap();
    assert!(text("words").contains(words), "{finding}");
    assert!(text("remedy").contains(remedy), "{finding}");
}

#[test]
fn a_bucket_that_is_read_only() {
    let store = ScriptedStore::start();
    let world = started(&store, ALWAYS);
    archived(&world, "ep-1");
    wait_evicted(&world, "ep-1");
    store.always("PUT", "", Mishap::Refuses(403, "AccessDenied"));
    for episode in ["ep-2", "ep-3"] {
        assert_eq!(world.put(&put(&world, episode)).status, 201);
    }
    let finding = wait_found(&world, "archive-away");
    let words =
        "nothing can be stored in bucket lab for 15 min: the store answered 403 AccessDenied";
    assert_says(
        &finding,
        words,
        "their rights on the bucket: put, get, list, abort",
    );
    assert!(is_here(&world, "ep-2") && is_here(&world, "ep-3"));
    store.calm();
    for episode in ["ep-2", "ep-3"] {
        wait_proven(&world, episode);
    }
    wait_none(&world);
}

/// With nothing to copy too, and no object counts as lost.
#[test]
fn a_bucket_that_was_deleted() {
    let store = ScriptedStore::start();
    let world = started(&store, "");
    archived(&world, "ep-1");
    archived(&world, "ep-2");
    for method in ["GET", "PUT", "HEAD"] {
        store.always(method, "", Mishap::Refuses(404, "NoSuchBucket"));
    }
    let objects = store.empty();
    assert_eq!(objects.len(), 2);
    let finding = wait_found(&world, "archive-away");
    let words = "bucket lab cannot be used for 15 min: the store answered 404 NoSuchBucket";
    assert_says(&finding, words, "make the bucket");
    assert_eq!(world.put(&put(&world, "ep-3")).status, 201);
    assert!(!ledger(&world).iter().any(|line| line.ends_with("lost")));
    // It is made again, empty: all is copied again.
    store.calm();
    let wanted: Vec<String> = ["ep-1", "ep-2", "ep-3"]
        .map(|episode| key(episode, &body(episode)))
        .into();
    world.wait_until("all are there again", |_| store.keys() == wanted);
    for episode in ["ep-1", "ep-2", "ep-3"] {
        let proven = format!("{episode} proven");
        world.wait_until(&proven, |world| {
            let lines = ledger(world);
            let of_it = lines.iter().rfind(|line| line.starts_with(episode));
            of_it == Some(&proven)
        });
        assert!(is_here(&world, episode));
    }
    wait_none(&world);
}

/// What is here is copied again; what was evicted is named, and goes on when it is back.
#[test]
fn a_bucket_that_was_emptied() {
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    world.start();
    archived(&world, "ep-1");
    wait_evicted(&world, "ep-1");
    world.stop();
    world.replace_in_config(ALWAYS, "");
    super::hurry(&mut world);
    world.env("CIS490_ARCHIVE_SPOT_MS", 50);
    world.start();
    archived(&world, "ep-2");
    let objects = store.empty();
    let finding = wait_found(&world, "archive-lost");
    assert_eq!(finding["subject"], "episode/lab-1/ep-1");
    assert!(
        finding["remedy"]
            .as_str()
            .unwrap()
            .contains("cis490 resend")
    );
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1").status, 404);
    let again = key("ep-2", &body("ep-2"));
    world.wait_until("the other is copied again", |_| {
        store.keys() == [again.as_str()]
    });
    // The bucket is brought back from somewhere.
    store.fill(objects);
    world.wait_until("it is proven again", |world| {
        let lines = ledger(world);
        let of_it = lines.iter().rfind(|line| line.starts_with("ep-1"));
        of_it.is_some_and(|line| line == "ep-1 proven")
    });
    wait_none(&world);
    assert_eq!(world.get("/v1/episodes/lab-1/ep-1").status, 200);
    // Or its lab host sends it again.
    store.remove(&key("ep-1", &body("ep-1")));
    wait_found(&world, "archive-lost");
    assert_eq!(world.put(&put(&world, "ep-1")).status, 201);
    wait_none(&world);
    assert!(is_here(&world, "ep-1"));
}

/// The page links to the bytes as ever: a browser follows from there to the store.
#[test]
fn the_page_leads_a_reader_to_the_bytes_of_an_evicted_episode() {
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    world.add_tables("[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n");
    world.start();
    archived(&world, "ep-1");
    wait_evicted(&world, "ep-1");
    let path = "v1/episodes/lab-1/ep-1.tar.zst";
    world.wait_until("the page has the link and the line", |world| {
        let page = world.get("/").body;
        page.contains(&format!("<a href={path}>"))
            && page.contains(
                "<p class=m>Archive: 1 of 1 episode proven in bucket lab, 1 evicted, none waiting.",
            )
    });
    let answer = world.get(&format!("/{path}"));
    assert_eq!(answer.status, 307);
    let location = answer.header("Location").unwrap().to_owned();
    let rest = location
        .strip_prefix(&format!("http://{}/", store.address))
        .expect("it is the store's");
    let mut client = crate::client::Client::connect(store.address);
    client
        .send(format!("GET /{rest} HTTP/1.1\r\nHost: s3\r\n\r\n").as_bytes())
        .unwrap();
    assert_eq!(client.answer().unwrap().body.as_bytes(), body("ep-1"));
}
