//! Every crash between two steps, and every fault of one. Their order is in `order`.

use std::fs;
use std::thread;

use super::{body, check_one_episode, prepared, sample};
use crate::client::Put;
use crate::here::can_mount;
use crate::order::Steps;
use crate::world::has_steps;

/// The steps of opening a store and of one upload into it, by name.
fn steps_of_one_upload(put: &Put) -> (Vec<String>, Vec<String>) {
    let mut world = prepared();
    let steps = Steps::of(&mut world);
    world.start();
    let at_start = steps.names();
    assert_eq!(world.put(put).status, 201, "{world}");
    world.wait_until("the upload is over", |_| steps.last_is("unlink"));
    let of_upload = steps.names().split_off(at_start.len());
    (at_start, of_upload)
}

#[test]
fn every_crash_leaves_nothing_or_the_whole_episode() {
    if !has_steps("every crash leaves nothing or the whole episode") {
        return;
    }
    let put = sample().body(&body(5000));
    let (at_start, of_upload) = steps_of_one_upload(&put);
    for step in 1..=at_start.len() + of_upload.len() {
        let mut world = prepared();
        world.env("CIS490_CRASH_AT", step);
        let started = world.try_start();
        assert_eq!(started, at_start.len() < step, "step {step}\n{world}");
        let answer = started.then(|| world.try_put(&put)).flatten();
        if started {
            assert_eq!(world.wait_for_end(), None, "step {step}\n{world}");
        }
        world.start(); // no fault now: it must mend itself unaided
        if answer.is_some_and(|answer| answer.status == 201) {
            check_one_episode(&world, &put, &format!("acknowledged, step {step}"));
        }
        let status = world.put(&put).status; // the sender's retry
        assert!(
            matches!(status, 200 | 201),
            "step {step}: {status}\n{world}"
        );
        check_one_episode(&world, &put, &format!("step {step}"));
    }
}

/// An I/O error and a full disk, once and from then on, at every step.
#[test]
fn every_fault_is_an_honest_answer_and_leaves_nothing() {
    if !has_steps("every fault is an honest answer and leaves nothing") {
        return;
    }
    let put = sample().body(&body(5000));
    let (at_start, of_upload) = steps_of_one_upload(&put);
    thread::scope(|scope| {
        for (errno, refusal) in [(5, 500), (28, 507)] {
            let (put, at_start, of_upload) = (&put, at_start.len(), &of_upload);
            scope.spawn(move || {
                for (n, name) in of_upload.iter().enumerate() {
                    let step = ("CIS490_FAIL_AT", at_start + n + 1);
                    fault(put, step, errno, wanted(name, refusal));
                }
            });
            scope.spawn(move || {
                for step in 1..=at_start + of_upload.len() {
                    let any = [Some(201), Some(refusal), Some(500), None];
                    fault(put, ("CIS490_FAIL_FROM", step), errno, &any);
                }
            });
        }
    });
}

/// A body of more than a block, whose room is taken first.
#[test]
fn a_body_without_room_leaves_nothing() {
    if !has_steps("a body without room leaves nothing") {
        return;
    }
    let put = sample().body(&body(300_000));
    let (at_start, of_upload) = steps_of_one_upload(&put);
    assert_eq!(of_upload[1], "allocate", "{of_upload:?}");
    for (errno, refusal) in [(5, 500), (28, 507), (122, 507)] {
        let step = ("CIS490_FAIL_AT", at_start.len() + 2);
        fault(&put, step, errno, wanted("allocate", refusal));
    }
}

/// What may come of a step that fails; no answer when the process ends instead.
fn wanted(step: &str, refusal: u16) -> &'static [Option<u16>] {
    match (step, refusal) {
        // Of the numbers of rows and of the file it is taken back, of names and rows it ends the process.
        // Which one comes at which step is the threads' doing: see `syncs`.
        ("fsync dir" | "fdatasync" | "fsync file", 507) => &[Some(507), Some(500), None],
        ("fsync dir" | "fdatasync" | "fsync file", _) => &[Some(500), None],
        ("unlink", _) => &[Some(201)],
        (_, 507) => &[Some(507)],
        (_, _) => &[Some(500)],
    }
}

fn fault(put: &Put, (variable, step): (&str, usize), errno: i32, wanted: &[Option<u16>]) {
    let what = format!("{variable}={step} errno {errno}");
    let mut world = prepared();
    world.env(variable, step);
    world.env("CIS490_FAIL_ERRNO", errno);
    let started = world.try_start();
    let answer = started.then(|| world.try_put(put)).flatten();
    let status = answer.map(|answer| answer.status);
    assert!(wanted.contains(&status), "{what}: {status:?}\n{world}");
    let is_told_no = wanted.len() == 1 && matches!(status, Some(500 | 507));
    // The last step but one says no to what is done: the answer itself was lost.
    if is_told_no && !world.log().is_empty() && world.rows().is_empty() {
        assert!(world.names("incoming").is_empty(), "{what}\n{world}");
        assert_eq!(world.stored("lab-1", "ep-1"), None, "{what}\n{world}");
    }
    world.kill();
    world.start();
    if status == Some(201) {
        check_one_episode(&world, put, &what);
    }
    let status = world.put(put).status;
    assert!(matches!(status, 200 | 201), "{what}: {status}\n{world}");
    check_one_episode(&world, put, &what);
}

/// The index cannot be synced: nobody is answered, the process ends, and the next one mends it.
#[test]
fn a_failed_sync_of_the_index_ends_the_process_unanswered() {
    if !has_steps("a failed sync of the index ends the process unanswered") {
        return;
    }
    let mut world = prepared();
    // The second: each start syncs the index too.
    world.env("CIS490_FAIL_ON", "2:fdatasync");
    world.start();
    let answer = world.try_put(&sample()).map(|answer| answer.status);
    assert!(matches!(answer, None | Some(500)), "{answer:?}\n{world}");
    assert_eq!(world.wait_for_end(), Some(1), "{world}");
    assert!(world.log().contains("sync what was stored"), "{world}");
    assert_eq!(
        world.names("incoming").len(),
        1,
        "recovery needs it\n{world}"
    );
    assert!(world.rows().is_empty(), "{world}");
    world.start();
    check_one_episode(&world, &sample(), "after recovery");
    assert_eq!(world.put(&sample()).status, 200);
}

/// The disk fills up for real, down to the last block, in a mount of its own.
#[test]
fn a_disk_that_is_really_full_is_507_and_leaves_nothing() {
    if !can_mount("a_disk_that_is_really_full_is_507_and_leaves_nothing") {
        return;
    }
    let mut world = prepared();
    world.mount_at_start("size=2m");
    world.start();
    let sizes = [300_000, 60_000, 9_000, 1_000];
    let (mut stored, mut refused) = (Vec::new(), 0);
    for n in 0..600 {
        let name = format!("ep-{n}");
        let size = sizes[refused.min(sizes.len() - 1)];
        match world.put(&sample().episode(&name).body(&body(size))).status {
            201 => stored.push(name),
            507 => refused += 1,
            other => panic!("{other}\n{world}"),
        }
        if refused > sizes.len() + 3 {
            break;
        }
    }
    assert!(
        stored.len() > 10 && refused > sizes.len() + 3,
        "{stored:?} {refused}\n{world}"
    );
    let rows: Vec<String> = world
        .rows()
        .iter()
        .map(|row| row["episode"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(rows, stored, "{world}");
    assert_eq!(world.names("episodes/lab-1").len(), stored.len(), "{world}");
    // The last name goes after its answer.
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
}

/// A host's directory that was moved away by hand, while the receiver runs, is made again, and its
/// name synced like that of a new host. It once was taken for known, and a power cut could have
/// taken the directory with all that was acknowledged in it.
#[test]
fn a_host_directory_made_again_is_synced() {
    if !has_steps("a host directory made again is synced") {
        return;
    }
    let mut world = prepared();
    let steps = Steps::of(&mut world);
    world.start();
    // The numbers of rows are raised at the first of them.
    let of_another = sample().path("/v1/episodes/lab-2/ep-1");
    assert_eq!(world.put(&of_another).status, 201, "{world}");
    world.wait_until("the upload is over", |_| steps.last_is("unlink"));
    let dir_syncs_of = |episode: &str| {
        let before = steps.names().len();
        let put = sample().episode(episode);
        assert_eq!(world.put(&put).status, 201, "{world}");
        world.wait_until("the upload is over", |_| {
            before < steps.names().len() && steps.last_is("unlink")
        });
        let new = steps.names().split_off(before);
        new.iter().filter(|step| *step == "fsync dir").count()
    };
    assert_eq!(dir_syncs_of("new-host"), 2);
    assert_eq!(dir_syncs_of("known-host"), 1);
    let host = world.data_dir().join("episodes/lab-1");
    fs::rename(host, world.dir().join("archived")).unwrap();
    assert_eq!(dir_syncs_of("host-again"), 2);
}

/// The same, and the first upload into the new directory fails before any sync of the directory's name.
#[test]
fn a_host_directory_made_again_in_vain_is_synced_by_the_next_upload() {
    if !has_steps("a file that gets no name in a directory that was made again") {
        return;
    }
    let mut world = prepared();
    let steps = Steps::of(&mut world);
    // The first finds no directory.
    let link = format!("2:{}/episodes/lab-1/in-vain", world.data_dir().display());
    world.env("CIS490_FAIL_ON", link);
    world.start();
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    world.wait_until("the upload is over", |_| steps.last_is("unlink"));
    let host = world.data_dir().join("episodes/lab-1");
    fs::rename(host, world.dir().join("archived")).unwrap();
    let in_vain = world.put(&sample().episode("in-vain"));
    assert_eq!(in_vain.status, 500, "{world}");
    world.wait_until("the upload is over", |_| steps.last_is("unlink"));
    let before = steps.names().len();
    let next = world.put(&sample().episode("next"));
    assert_eq!(next.status, 201, "{world}");
    let new = steps.names().split_off(before);
    let dir_syncs = new.iter().filter(|step| *step == "fsync dir").count();
    assert_eq!(dir_syncs, 2, "{new:?}\n{world}");
}
