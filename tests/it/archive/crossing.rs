//! Requests for an episode at the very time of its eviction: each is answered as at any other time, and the
//! episode is whole here or proven there throughout.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::store::{Mishap, ScriptedStore};
use super::{
    ALWAYS, is_here, key, ledger, put, wait_alone_there, wait_evicted, wait_for_metric,
    wait_proven, world,
};
use crate::client::{Answer, Client, PATIENCE, Put, sha256};
use crate::condition::reload::{edit, reload};
use crate::holds::Holds;
use crate::lab::noise;
use crate::order::Steps;
use crate::resume::{self, Episode, least, least_kept};
use crate::world::{World, cis490, has_steps};

const READER: &str = "[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n";
const ROUNDS: usize = 12;

fn started(store: &ScriptedStore) -> World {
    let mut world = world(store, &format!("{ALWAYS}{READER}"));
    world.start();
    world
}

/// Asks the same again and again, from before the episode's eviction until after it; how often that was.
fn ask_across_eviction(
    world: &World,
    episode: &str,
    ask: impl Fn() -> Answer + Sync,
    check: impl Fn(&Answer) + Sync,
) -> usize {
    let is_over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    check(&ask());
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let until = Instant::now() + PATIENCE;
        while is_here(world, episode) && Instant::now() < until {
            thread::yield_now();
        }
        // Once more, with the file gone.
        let before = asked.load(Ordering::SeqCst);
        while asked.load(Ordering::SeqCst) < before + 3 && Instant::now() < until {
            thread::yield_now();
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(!is_here(world, episode), "it is not evicted\n{world}");
    asked.load(Ordering::SeqCst)
}

fn check_safe(world: &World, store: &ScriptedStore, episode: &str, bytes: &[u8]) {
    let last = format!("{episode} proven");
    let lines = ledger(world);
    let own = lines
        .iter()
        .rfind(|line| line.starts_with(&format!("{episode} ")));
    assert_eq!(own, Some(&last), "{world}");
    store.with(&key(episode, bytes), |object| {
        assert!(object.bytes == bytes)
    });
    let rows = world.rows();
    let own = rows.iter().filter(|row| row["episode"] == episode);
    assert_eq!(own.count(), 1, "{world}");
}

#[test]
fn the_same_upload_beside_its_eviction_is_answered_200() {
    let store = ScriptedStore::start();
    let world = started(&store);
    for n in 0..ROUNDS {
        let episode = format!("ep-{n}");
        let bytes = noise(100_000 + n);
        let put = world.good().episode(&episode).body(&bytes);
        let first = world.put(&put);
        assert_eq!(first.status, 201, "{world}");
        let receipt = first.json();
        ask_across_eviction(
            &world,
            &episode,
            || world.put(&put),
            |answer| assert_eq!((answer.status, answer.json()), (200, receipt.clone())),
        );
        check_safe(&world, &store, &episode, &bytes);
    }
}

#[test]
fn other_bytes_and_probes_beside_an_eviction_are_answered_as_ever() {
    let store = ScriptedStore::start();
    let world = started(&store);
    for n in 0..ROUNDS {
        let episode = format!("ep-{n}");
        let bytes = noise(100_000 + n);
        let put = world.good().episode(&episode).body(&bytes);
        assert_eq!(world.put(&put).status, 201, "{world}");
        let (asked, status): (Put, u16) = if n % 2 == 0 {
            (put.extra("X-Cis490-Probe: 1\r\n"), 200)
        } else {
            (world.good().episode(&episode).body(b"other"), 409)
        };
        ask_across_eviction(
            &world,
            &episode,
            || world.put(&asked),
            |answer| assert_eq!(answer.status, status, "{answer:?}"),
        );
        check_safe(&world, &store, &episode, &bytes);
    }
}

#[test]
fn the_rest_of_an_upload_beside_its_eviction_is_stored_once() {
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    resume::start(&mut world);
    for n in 0..3 {
        let episode = Episode::new(&world, &format!("ep-{n}"));
        let offset = episode.break_at(&world, least_kept() + resume::MIB);
        let offset = offset.unwrap_or_else(|| panic!("nothing is kept\n{world}"));
        assert!(offset < least());
        let first = episode.patch(&world, offset);
        assert_eq!(first.status, 201, "{first:?}\n{world}");
        let receipt = first.json();
        ask_across_eviction(
            &world,
            &episode.name,
            || episode.patch(&world, offset),
            |answer| assert_eq!((answer.status, answer.json()), (200, receipt.clone())),
        );
        check_safe(&world, &store, &episode.name, &episode.body);
    }
}

#[test]
fn a_download_beside_an_eviction_has_all_bytes_or_the_address_in_the_bucket() {
    let store = ScriptedStore::start();
    let world = started(&store);
    for n in 0..ROUNDS {
        let episode = format!("ep-{n}");
        let bytes = noise(1_000_000 + n);
        let put = world.good().episode(&episode).body(&bytes);
        assert_eq!(world.put(&put).status, 201, "{world}");
        let path = format!("/v1/episodes/lab-1/{episode}.tar.zst");
        let whole = format!("\"{}\"", sha256(&bytes));
        ask_across_eviction(
            &world,
            &episode,
            || {
                let mut client = world.client();
                let request =
                    format!("GET {path} HTTP/1.1\r\nHost: pi\r\nConnection: close\r\n\r\n");
                client.send(request.as_bytes()).unwrap();
                let got = client.rest();
                let head = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
                if got.starts_with(b"HTTP/1.1 200 ") {
                    assert!(got[head..] == bytes, "{} bytes", got.len() - head);
                }
                let head = String::from_utf8(got[..head].to_vec()).unwrap();
                Answer {
                    status: head[9..12].parse().unwrap(),
                    head,
                    body: String::new(),
                }
            },
            |answer| match answer.status {
                200 => assert_eq!(answer.header("ETag"), Some(&*whole)),
                307 => assert!(answer.header("Location").is_some()),
                other => panic!("{other} {answer:?}"),
            },
        );
        check_safe(&world, &store, &episode, &bytes);
    }
}

/// Loses the object of an episode that is in the bucket alone, and finds that out.
fn lose(world: &World, store: &ScriptedStore, bytes: &[u8]) {
    wait_alone_there(world, "ep-1");
    store.remove(&key("ep-1", bytes));
    let scrub = cis490()
        .args(["scrub", "--archive", "--config", &world.config_path()])
        .output()
        .unwrap();
    assert_eq!(scrub.status.code(), Some(2), "{scrub:?}");
}

/// What was lost is sent again by two at once, while room is made.
#[test]
fn a_lost_episode_that_is_sent_twice_at_once_is_stored_again_and_goes_again() {
    let store = ScriptedStore::start();
    let world = started(&store);
    let bytes = noise(100_000);
    let put = world.good().episode("ep-1").body(&bytes);
    let first = world.put(&put);
    assert_eq!(first.status, 201);
    let receipt = first.json();
    for _ in 0..5 {
        lose(&world, &store, &bytes);
        let statuses: Vec<_> = thread::scope(|scope| {
            let uploads = [0; 2].map(|_| scope.spawn(|| world.put(&put)));
            let answers = uploads.map(|upload| upload.join().unwrap());
            for answer in &answers {
                assert_eq!(answer.json(), receipt, "{answer:?}\n{world}");
            }
            answers.iter().map(|answer| answer.status).collect()
        });
        assert!(
            statuses.contains(&201) && statuses.iter().all(|status| [200, 201].contains(status)),
            "{statuses:?}\n{world}"
        );
        assert_eq!(world.rows().len(), 1);
    }
}

/// Two uploads of one episode, the later of them judged while the file of the first is not on the disk yet.
struct TwoUploads {
    holds: Holds,
    steps: Steps,
    put: Put,
    later: Client,
}

impl TwoUploads {
    /// Starts the receiver. The first is answered, and of the later one the head has been sent.
    fn begin(world: &mut World) -> TwoUploads {
        let holds = Holds::of(world);
        let steps = Steps::of(world);
        world.start();
        let put = world.good().episode("ep-1").body(&noise(100_000));
        holds.set(&["incoming/lab-1~ep-1~"]);
        let mut first = world.client();
        first.send(&put.bytes()).unwrap();
        world.wait_until("the first has the name", |world| is_here(world, "ep-1"));
        let mut later = world.client();
        later.send(&put.head()).unwrap();
        world.wait_until("the later one has begun", |world| {
            world.names("incoming").len() == 2
        });
        holds.set(&[]);
        assert_eq!(first.answer().unwrap().status, 201, "{world}");
        TwoUploads {
            holds,
            steps,
            put,
            later,
        }
    }

    /// Sends the body of the later one, which then waits for a sync of the name, held.
    fn go_on(&mut self, world: &World) {
        let begun = || self.steps.begun_on("fsync dir", "episodes/lab-1");
        let dir = world.data_dir().join("episodes/lab-1");
        self.holds.set(&[&format!("fsync dir {}", dir.display())]);
        let before = begun();
        self.later.send(&self.put.body).unwrap();
        world.wait_until("the name is being synced", |_| before < begun());
    }

    fn end(mut self, world: &World, status: u16) {
        self.holds.set(&[]);
        assert_eq!(self.later.answer().unwrap().status, status, "{world}");
    }
}

#[test]
fn an_upload_that_is_stored_after_the_eviction_of_another_of_its_name_goes_too() {
    if !has_steps("an_upload_that_is_stored_after_the_eviction_of_another_of_its_name_goes_too") {
        return;
    }
    let store = ScriptedStore::start();
    let mut world = world(&store, ALWAYS);
    let mut uploads = TwoUploads::begin(&mut world);
    wait_evicted(&world, "ep-1");
    uploads.later.send(&uploads.put.body).unwrap();
    let body = uploads.put.body.clone();
    uploads.end(&world, 201);
    wait_evicted(&world, "ep-1");
    check_safe(&world, &store, "ep-1", &body);
}

/// While an upload of the name is in flight, its file can be neither copied nor called lost.
#[test]
fn an_episode_with_another_upload_in_flight_is_copied_after_it() {
    if !has_steps("an_episode_with_another_upload_in_flight_is_copied_after_it") {
        return;
    }
    let store = ScriptedStore::start();
    store.always("HEAD", "", Mishap::Refuses(503, "SlowDown"));
    let mut world = world(&store, "");
    let mut uploads = TwoUploads::begin(&mut world);
    uploads.go_on(&world);
    store.calm();
    let looks = || {
        let requests = store.requests();
        let of_it = |one: &&String| one.starts_with("HEAD") && one.contains("/ep-1~");
        requests.iter().filter(of_it).count()
    };
    let before = looks();
    world.wait_until("it is looked at twice", |_| looks() >= before + 2);
    let in_state = |state: &str, count: u32| {
        let line = format!("cis490_archive_episodes{{state=\"{state}\"}} {count}\n");
        wait_for_metric(&world, &line);
    };
    in_state("lost", 0);
    assert!(store.keys().is_empty());
    uploads.end(&world, 200);
    wait_proven(&world, "ep-1");
    in_state("archived", 1);
    in_state("copied", 0);
    // It was counted once: the next one that is copied is the only one that is not proven.
    store.always("GET", "", Mishap::Refuses(503, "SlowDown"));
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    in_state("copied", 1);
}

#[test]
fn an_episode_with_another_upload_in_flight_is_evicted_after_it() {
    if !has_steps("an_episode_with_another_upload_in_flight_is_evicted_after_it") {
        return;
    }
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    let mut uploads = TwoUploads::begin(&mut world);
    wait_proven(&world, "ep-1");
    uploads.go_on(&world);
    edit(&world, "[archive]\n", &format!("[archive]\n{ALWAYS}"));
    reload(&world, "reloaded");
    world.wait_until("all proofs were looked at", |world| {
        world.log().contains("event=archive_no_room")
    });
    assert!(is_here(&world, "ep-1"));
    uploads.end(&world, 200);
    wait_evicted(&world, "ep-1");
}
