//! Connections that end, hang and compete: one upload has one writer.

use std::time::{Duration, Instant};

use super::{Episode, MIB, ask, end, kind, start, world};

#[test]
fn a_resume_of_a_resume_of_a_resume_arrives() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB - 1), Some(2 * MIB));
    assert_eq!(episode.go_on_to(&world, 2 * MIB, 2 * MIB), Some(2 * MIB));
    assert_eq!(
        episode.go_on_to(&world, 2 * MIB, 5 * MIB + 77),
        Some(5 * MIB)
    );
    assert_eq!(
        episode.go_on_to(&world, 5 * MIB, 5 * MIB + 5),
        Some(5 * MIB)
    );
    let last = episode.body.len() - 1;
    assert_eq!(episode.go_on_to(&world, 5 * MIB, last), Some(8 * MIB));
    assert_eq!(episode.patch(&world, 8 * MIB).status, 201, "{world}");
    episode.check_stored(&world);
}

/// After a break on the line the old connection may hang for minutes.
#[test]
fn a_head_ends_the_connection_that_hangs_and_takes_over() {
    let world = world("max_uploads = 1\n");
    let episode = Episode::new(&world, "ep-1");
    let mut hanging = episode.begin(&world, 4 * MIB + 99);
    world.wait_until("the bytes are here", |world| {
        world.names("incoming").len() == 1 && has_written(world, 4 * MIB)
    });
    let began = Instant::now();
    assert_eq!(episode.offset(&world), Some(4 * MIB), "{world}");
    assert!(began.elapsed() < Duration::from_secs(5), "{world}");
    assert_eq!(episode.patch(&world, 4 * MIB).status, 201, "{world}");
    episode.check_stored(&world);
    // The old connection was ended; nothing of it counts any more.
    let _ = hanging.send(&episode.body[4 * MIB + 99..]);
    assert!(hanging.rest().is_empty());
    episode.check_stored(&world);
}

fn has_written(world: &crate::world::World, bytes: usize) -> bool {
    let names = world.names("incoming");
    let file = names
        .first()
        .map(|name| world.data_dir().join("incoming").join(name));
    let found = file.and_then(|file| file.metadata().ok());
    found.is_some_and(|found| found.len() >= bytes as u64)
}

#[test]
fn a_patch_takes_over_from_a_patch_that_hangs() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    let mut hanging = world.client();
    hanging
        .send(episode.patch_head(3 * MIB).as_bytes())
        .unwrap();
    world.wait_until("the upload goes on", |world| {
        world.log().contains("event=upload_resumed")
    });
    assert_eq!(episode.patch(&world, 3 * MIB).status, 201, "{world}");
    assert!(hanging.rest().is_empty(), "{world}");
    episode.check_stored(&world);
}

/// However two of them meet, one stores the episode and the other hears something true.
#[test]
fn two_patches_at_once_never_both_write() {
    let world = world("");
    for round in 0..4 {
        let episode = Episode::new(&world, &format!("ep-{round}"));
        assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
        let try_patch = || {
            let mut client = world.client();
            let _ = client.send(episode.patch_head(3 * MIB).as_bytes());
            let _ = client.send(&episode.body[3 * MIB..]);
            client.answer().map(|answer| answer.status)
        };
        let answers = std::thread::scope(|scope| {
            let both = [scope.spawn(try_patch), scope.spawn(try_patch)];
            both.map(|one| one.join().unwrap())
        });
        for answer in answers {
            // None: it was ended by the other.
            let is_true = matches!(answer, None | Some(200 | 201 | 404 | 409 | 503));
            assert!(is_true, "{answers:?}\n{world}");
        }
        if !answers.contains(&Some(201)) {
            let offset = episode.offset(&world);
            let status = offset.map(|offset| episode.patch(&world, offset).status);
            assert!(
                matches!(status, Some(201)),
                "{answers:?} {status:?}\n{world}"
            );
        }
        episode.check_stored(&world);
    }
}

/// A PATCH that is too slow is cut as a PUT is, and what it brought is kept.
#[test]
fn a_silent_patch_is_cut_and_its_bytes_are_kept() {
    let world = world("idle_timeout_seconds = 1\n");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    let mut client = world.client();
    client.send(episode.patch_head(3 * MIB).as_bytes()).unwrap();
    client.send(&episode.body[3 * MIB..4 * MIB + 5]).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(
        (answer.status, kind(&answer)),
        (408, "body-too-slow".to_owned())
    );
    assert_eq!(episode.offset(&world), Some(4 * MIB), "{world}");
    assert_eq!(episode.patch(&world, 4 * MIB).status, 201, "{world}");
}

/// Nothing is trusted over a restart, be it a clean one or not.
#[test]
fn a_receiver_that_was_started_between_knows_of_nothing() {
    let mut world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    world.kill();
    assert_eq!(world.names("incoming").len(), 1, "{world}");
    start(&mut world);
    assert!(world.names("incoming").is_empty(), "{world}");
    let answer = ask(&world, "PATCH", &episode.patch_head(3 * MIB));
    assert_eq!(
        (answer.status, kind(&answer)),
        (404, "nothing-kept".to_owned())
    );
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    assert_eq!(world.stop(), Some(0), "{world}");
    assert!(world.log().contains("reason=stopped"), "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
    start(&mut world);
    assert_eq!(episode.offset(&world), None, "{world}");
    assert_eq!(episode.put(&world).status, 201, "{world}");
    episode.check_stored(&world);
}

/// While the receiver drains, an upload that runs is not ended by one that wants to go on with it.
#[test]
fn a_drain_lets_a_patch_finish_and_begins_none() {
    let mut world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    let mut running = world.client();
    running
        .send(episode.patch_head(3 * MIB).as_bytes())
        .unwrap();
    world.wait_until("the upload goes on", |world| {
        world.log().contains("event=upload_resumed")
    });
    world.signal("TERM");
    world.wait_until("it drains", |world| world.log().contains("event=draining"));
    world.wait_until("it refuses", |world| episode.head(world).status == 503);
    let answer = ask(&world, "PATCH", &episode.patch_head(3 * MIB));
    assert_eq!((answer.status, kind(&answer)), (503, "draining".to_owned()));
    running.send(&episode.body[3 * MIB..]).unwrap();
    assert_eq!(running.answer().unwrap().status, 201, "{world}");
    assert_eq!(world.wait_for_end(), Some(0), "{world}");
    episode.check_stored(&world);
}

/// The first byte of a PUT of the name ends what is kept of it; a PUT without a byte does not.
#[test]
fn a_put_over_a_kept_upload_takes_its_place_with_its_first_byte() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    end(episode.begin(&world, 0));
    assert_eq!(episode.offset(&world), Some(3 * MIB), "{world}");
    end(episode.begin(&world, 1));
    assert_eq!(episode.offset(&world), None, "{world}");
    assert!(world.log().contains("reason=another-put"), "{world}");
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
}
