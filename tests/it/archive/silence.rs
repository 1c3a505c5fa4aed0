//! A store that falls silent in the middle of anything: it is given up after a minute, which is 700 ms here,
//! and nothing is lost or believed.

use std::time::{Duration, Instant};

use super::store::{Mishap, ScriptedStore};
use super::{archived, body, hurry, key, put, wait_proven, world};
use crate::world::{World, cis490};

const SILENCE_MS: u64 = 700;
/// Longer than the receiver waits.
const LONG: Duration = Duration::from_millis(2500);

fn impatient(world: &mut World) {
    hurry(world);
    world.env("CIS490_ARCHIVE_SILENCE_MS", SILENCE_MS);
}

#[test]
fn a_silent_store_is_given_up_and_the_episode_is_proven_at_another_time() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    impatient(&mut world);
    world.start();
    let large = vec![7; 8 << 20];
    for (n, (method, mishap)) in [
        ("HEAD", Mishap::IsSilent(LONG)),
        ("PUT", Mishap::IsSilent(LONG)),
        ("PUT", Mishap::StopsReading(LONG)),
        ("GET", Mishap::IsSilent(LONG)),
        ("GET", Mishap::SendsHalfAndIsSilent(LONG)),
    ]
    .into_iter()
    .enumerate()
    {
        let episode = format!("ep-{n}");
        let started = Instant::now();
        store.once(method, &episode, mishap.clone());
        let put = world.good().episode(&episode).body(&large);
        assert_eq!(world.put(&put).status, 201);
        // Uploads go on meanwhile, and nobody waits for the store.
        assert_eq!(world.put(&put).status, 200);
        // Behind a HEAD that is right, a GET without an end is of its object alone: the store is not away.
        let is_of_store = method != "GET";
        if is_of_store {
            world.wait_until("it is given up", |world| {
                let log = world.log();
                log.matches("event=archive_failing kind=away").count() == n + 1
            });
        }
        wait_proven(&world, &episode);
        assert!(started.elapsed() >= Duration::from_millis(SILENCE_MS));
        store.with(&key(&episode, &large), |object| {
            assert!(object.bytes == large, "{mishap:?}");
        });
        // So that the next fault is reported too.
        if is_of_store {
            world.wait_until("it is back", |world| {
                world.log().matches("event=archive_back").count() == n + 1
            });
        } else {
            let asked = store.requests();
            let reads = asked
                .iter()
                .filter(|one| one.starts_with("GET ") && one.contains(&format!("/{episode}~")));
            assert!(reads.count() >= 2, "{asked:?}");
        }
    }
    assert!(!world.log().contains("event=archive_mismatch"), "{world}");
}

/// The HEAD before an eviction: nothing goes while there is no answer.
#[test]
fn nothing_goes_while_the_store_is_silent() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    world.stop();
    store.always("HEAD", "", Mishap::IsSilent(LONG));
    world.replace_in_config(
        "[archive]\n",
        "[archive]\nevict_below_bytes = 1000000000000000\n",
    );
    impatient(&mut world);
    world.start();
    world.wait_until("it is given up", |world| {
        world.log().contains("event=archive_failing kind=away")
    });
    assert_eq!(world.stored("lab-1", "ep-1"), Some(body("ep-1")));
    assert_eq!(world.put(&put(&world, "ep-2")).status, 201);
    store.calm();
    for episode in ["ep-1", "ep-2"] {
        world.wait_until("it is in the bucket alone", |world| {
            world.stored("lab-1", episode).is_none()
        });
    }
}

/// Commands end too, and say what to do.
#[test]
fn no_command_waits_for_a_silent_store() {
    let store = ScriptedStore::start();
    let mut world = world(&store, "");
    world.start();
    archived(&world, "ep-1");
    for (method, mishap) in [
        ("GET", Mishap::IsSilent(LONG)),
        ("GET", Mishap::SendsHalfAndIsSilent(LONG)),
    ] {
        store.always(method, "list-type=2", mishap.clone());
        let output = cis490()
            .args(["scrub", "--archive", "--config", &world.config_path()])
            .env("CIS490_ARCHIVE_SILENCE_MS", SILENCE_MS.to_string())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{mishap:?} {words}");
        assert!(words.contains("does the store run"), "{mishap:?} {words}");
        store.calm();
    }
    let scrub = world.run(&["scrub", "--archive", "--config", &world.config_path()]);
    assert!(scrub.contains("all are there"), "{scrub}");
}
