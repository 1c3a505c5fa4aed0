//! The syncs of a small body run side by side: each is held back here until the others have ended, and
//! the process is killed or the sync fails in each of these orders.

use std::fs;
use std::thread;

use super::{body, check_one_episode, prepared, sample, with_one_episode};
use crate::holds::Holds;
use crate::order::Steps;
use crate::world::{World, has_steps};

/// What names each sync in the steps.
const FILE: &str = "fsync file";
const DIR: &str = "fsync dir";
const INDEX: &str = "fdatasync";

const ORDERS: [[&str; 3]; 6] = [
    [FILE, DIR, INDEX],
    [FILE, INDEX, DIR],
    [DIR, FILE, INDEX],
    [DIR, INDEX, FILE],
    [INDEX, FILE, DIR],
    [INDEX, DIR, FILE],
];

/// A world whose next upload finds the sequence raised and its host known, so that each of the three
/// syncs comes once.
fn warm() -> (World, Steps, Holds) {
    warmed(prepared())
}

/// The same, and a step fails: the Nth with this text, `ROOT` standing for the store.
fn warm_failing((nth, text): (u32, &str), errno: i32) -> (World, Steps, Holds) {
    let mut world = prepared();
    let text = text.replace("ROOT", &world.data_dir().display().to_string());
    world.env("CIS490_FAIL_ON", format!("{nth}:{text}"));
    world.env("CIS490_FAIL_ERRNO", errno);
    warmed(world)
}

fn warmed(mut world: World) -> (World, Steps, Holds) {
    let steps = Steps::of(&mut world);
    let holds = Holds::of(&mut world);
    world.start();
    assert_eq!(world.put(&sample().episode("first")).status, 201, "{world}");
    world.wait_until("the first is over", |_| steps.last_is("unlink"));
    (world, steps, holds)
}

fn wait_for_all(world: &World, steps: &Steps, before: [usize; 3]) {
    world.wait_until("all three have begun", |_| {
        [FILE, DIR, INDEX].map(|sync| steps.begun(sync)) == before.map(|n| n + 1)
    });
}

/// The answer comes after the last of them, whichever that is, and a kill before it leaves nothing or
/// the whole episode.
#[test]
fn they_may_end_in_any_order_and_all_have_ended_before_the_answer() {
    if !has_steps("the syncs in any order") {
        return;
    }
    thread::scope(|scope| {
        for order in ORDERS {
            scope.spawn(move || each_end(order));
        }
    });
}

fn each_end(order: [&str; 3]) {
    for killed_after in 0..=order.len() {
        let what = format!("{order:?}, killed after {killed_after}");
        let (mut world, steps, holds) = warm();
        let before = [FILE, DIR, INDEX].map(|sync| steps.begun(sync));
        holds.set(&order);
        let put = sample().body(&body(5000));
        let answer = thread::scope(|scope| {
            let sending = scope.spawn(|| world.try_put(&put));
            wait_for_all(&world, &steps, before);
            for ended in 1..=killed_after {
                let ends = steps.ends();
                assert!(!sending.is_finished(), "answered too early: {what}");
                holds.set(&order[ended..]);
                if ended < order.len() {
                    world.wait_until("it has ended", |_| steps.ends() > ends);
                }
            }
            if killed_after < order.len() {
                assert!(!sending.is_finished(), "answered too early: {what}");
                world.signal("KILL");
            }
            sending.join().unwrap()
        });
        let status = answer.map(|answer| answer.status);
        let wanted = (killed_after == order.len()).then_some(201);
        assert_eq!(status, wanted, "{what}\n{world}");
        world.kill();
        holds.set(&[]);
        world.start();
        let stored = world.stored("lab-1", "ep-1");
        assert_eq!(stored, Some(put.body.clone()), "recovered: {what}\n{world}");
        assert_eq!(world.put(&put).status, 200, "{what}\n{world}");
        assert!(world.names("incoming").is_empty(), "{what}\n{world}");
        assert_eq!(world.rows().len(), 2, "{what}\n{world}");
    }
}

/// A failed sync of the file takes its name; in which order the two others end makes no difference. One
/// of a directory or of the index ends the process, also while another one does not end.
#[test]
fn one_that_fails_is_never_a_yes_whatever_the_others_do() {
    if !has_steps("a failing sync among the others") {
        return;
    }
    // A start syncs the index, and the first upload all but this file.
    let failing = [
        (1, "fsync file ROOT/incoming/lab-1~ep-1~", [DIR, INDEX]),
        (2, "fsync dir ROOT/episodes/lab-1", [FILE, INDEX]),
        (3, "fdatasync ROOT/index.jsonl", [FILE, DIR]),
    ];
    thread::scope(|scope| {
        for (nth, text, [one, other]) in failing {
            for (errno, refusal) in [(5, 500), (28, 507)] {
                for order in [[one, other], [other, one]] {
                    scope.spawn(move || fails((nth, text), order, errno, refusal));
                }
            }
        }
    });
}

fn fails(failing: (u32, &str), order: [&str; 2], errno: i32, refusal: u16) {
    let what = format!("{failing:?}, then {order:?}, errno {errno}");
    let is_of_file = failing.1.starts_with(FILE);
    let (mut world, steps, holds) = warm_failing(failing, errno);
    let before = [FILE, DIR, INDEX].map(|sync| steps.begun(sync));
    let held = if is_of_file { 2 } else { 1 };
    holds.set(&order[..held]);
    let put = sample().body(&body(5000));
    let status = thread::scope(|scope| {
        let sending = scope.spawn(|| world.try_put(&put).map(|answer| answer.status));
        if is_of_file {
            wait_for_all(&world, &steps, before);
            let ends = steps.ends();
            holds.set(&order[1..]);
            world.wait_until("one has ended", |_| steps.ends() > ends);
            assert!(!sending.is_finished(), "answered too early: {what}");
            assert!(world.stored("lab-1", "ep-1").is_some(), "{what}\n{world}");
            holds.set(&[]);
        }
        sending.join().unwrap()
    });
    if is_of_file {
        assert_eq!(status, Some(refusal), "{what}\n{world}");
        assert_eq!(world.stored("lab-1", "ep-1"), None, "{what}\n{world}");
        assert!(world.names("incoming").is_empty(), "{what}\n{world}");
        assert_eq!(rows_of_ep_1(&world), 1, "its row stays: {what}\n{world}");
        let receipt = world.get("/v1/episodes/lab-1/ep-1");
        assert_eq!(receipt.status, 404, "it is not stored: {what}\n{world}");
        wait_until_counted(&world, 1);
        assert_eq!(world.put(&put.clone().body(b"other")).status, 409, "{what}");
        assert_eq!(world.put(&put).status, 201, "{what}\n{world}");
        wait_until_counted(&world, 2);
        world.kill();
    } else {
        assert!(matches!(status, None | Some(500)), "{what}: {status:?}");
        assert_eq!(world.wait_for_end(), Some(1), "{what}\n{world}");
        assert_eq!(world.names("incoming").len(), 1, "{what}\n{world}");
        holds.set(&[]);
    }
    world.start();
    assert_eq!(
        world.stored("lab-1", "ep-1").as_ref(),
        Some(&put.body),
        "{what}\n{world}"
    );
    assert_eq!(rows_of_ep_1(&world), 1, "{what}\n{world}");
    assert!(world.names("incoming").is_empty(), "{what}\n{world}");
    assert_eq!(world.put(&put).status, 200, "{what}\n{world}");
}

fn rows_of_ep_1(world: &World) -> usize {
    let rows = world.rows();
    rows.iter().filter(|row| row["episode"] == "ep-1").count()
}

/// The metrics are kept for a second.
fn wait_until_counted(world: &World, stored: usize) {
    let line = format!("cis490_uploads_total{{host=\"lab-1\",outcome=\"stored\"}} {stored}\n");
    world.wait_until(&line, |world| world.get("/metrics").body.contains(&line));
}

/// An append fails, and so does the sync of its undoing. The rows of uploads that are still being synced
/// are then not known to be on the disk, whatever the page cache shows: they are cut.
#[test]
fn a_failed_undo_leaves_no_row_in_doubt() {
    if !has_steps("a failed undo leaves no row in doubt") {
        return;
    }
    let (mut world, steps, _holds, status) = with_a_failed_append(None);
    assert_eq!(status, Some(500), "{world}");
    let names = steps.names();
    let nth = |name: &str, from: usize| {
        let found = names[from..].iter().position(|step| step == name);
        from + found.unwrap() + 1
    };
    let append = (0..3).fold(0, |from, _| nth("append", from));
    assert_eq!(names[append], "truncate", "{names:?}");
    let sync_of_undo = nth("fdatasync", append);
    world.kill();
    let (mut world, _steps, holds, status) = with_a_failed_append(Some(sync_of_undo));
    assert!(matches!(status, None | Some(500)), "{status:?}\n{world}");
    assert_eq!(world.wait_for_end(), Some(1), "{world}");
    assert_eq!(rows_of_ep_1(&world), 0, "{world}");
    assert_eq!(world.rows().len(), 1, "{world}");
    holds.set(&[]);
    world.start();
    assert_eq!(rows_of_ep_1(&world), 1, "{world}");
    // The undo came no further than the index.
    for episode in ["ep-1", "ep-2"] {
        let again = world.put(&sample().episode(episode));
        assert_eq!(again.status, 200, "{episode}\n{world}");
    }
}

/// While ep-1 waits for its own sync, the append of ep-2 fails, and so does a step with this number. The
/// status is that of ep-2.
fn with_a_failed_append(fail_at: Option<usize>) -> (World, Steps, Holds, Option<u16>) {
    let mut world = prepared();
    let append = format!("3:append {}/index.jsonl", world.data_dir().display());
    world.env("CIS490_FAIL_ON", append);
    if let Some(step) = fail_at {
        world.env("CIS490_FAIL_AT", step);
    }
    let (world, steps, holds) = warmed(world);
    let before = [FILE, DIR, INDEX].map(|sync| steps.begun(sync));
    let ends = steps.ends();
    holds.set(&["incoming/lab-1~ep-1~"]);
    let status = thread::scope(|scope| {
        scope.spawn(|| world.try_put(&sample()));
        wait_for_all(&world, &steps, before);
        world.wait_until("its own is all that has not ended", |_| {
            steps.ends() == ends + 2
        });
        let answer = world.try_put(&sample().episode("ep-2"));
        if fail_at.is_none() {
            holds.set(&[]);
        }
        answer.map(|answer| answer.status)
    });
    (world, steps, holds, status)
}

/// A damaged file is set aside for the whole bytes, and its move may not be on the disk.
#[test]
fn a_failed_sync_of_what_was_set_aside_ends_the_process() {
    if !has_steps("a failed sync of what was set aside") {
        return;
    }
    for dir in ["quarantine", "episodes/lab-1"] {
        let (mut world, tarball) = with_one_episode();
        fs::write(&tarball, "torn").unwrap();
        let sync = format!("1:fsync dir {}/{dir}", world.data_dir().display());
        world.env("CIS490_FAIL_ON", sync);
        world.start();
        let status = world.try_put(&sample()).map(|answer| answer.status);
        assert!(matches!(status, None | Some(500)), "{status:?}\n{world}");
        assert_eq!(world.wait_for_end(), Some(1), "{dir}\n{world}");
        assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{world}");
        world.start();
        assert_eq!(world.put(&sample()).status, 201, "{dir}\n{world}");
        check_one_episode(&world, &sample(), dir);
    }
}

/// While one is synced, the next is linked, appended, synced and answered; and another upload of the
/// same name waits, and shares its fate.
#[test]
fn a_name_in_flight_is_shared_and_others_go_on() {
    if !has_steps("a name in flight") {
        return;
    }
    for fails in [false, true] {
        let mut world = prepared();
        let steps = Steps::of(&mut world);
        let holds = Holds::of(&mut world);
        let partial = "incoming/lab-1~ep-1~1.partial";
        if fails {
            let file = format!("1:fsync file {}/{partial}", world.data_dir().display());
            world.env("CIS490_FAIL_ON", file);
        }
        world.start();
        // A file that fails does not end: then the directory is what its thread still waits for.
        let held = if fails { "episodes/lab-1" } else { partial };
        holds.set(&[held]);
        let put = sample();
        let statuses = thread::scope(|scope| {
            let first = scope.spawn(|| world.put(&put).status);
            world.wait_until("it is being synced", |_| steps.begun(DIR) >= 2);
            let second = scope.spawn(|| world.put(&put).status);
            let other = scope.spawn(|| world.put(&put.clone().body(b"other")).status);
            world.wait_until("they have come", |world| world.names("incoming").len() == 3);
            if !fails {
                let next = world.put(&put.clone().episode("ep-2"));
                assert_eq!(next.status, 201, "{world}");
            }
            assert!(!first.is_finished() && !second.is_finished() && !other.is_finished());
            assert!(
                world.get("/v1/episodes/lab-1/ep-1").status == 404,
                "{world}"
            );
            holds.set(&[]);
            [first, second, other].map(|sending| sending.join().unwrap())
        });
        if fails {
            // One that queued its request in the instant after the first was refused is on its own.
            assert_eq!(statuses[0], 500, "{world}");
            assert!(matches!(statuses[1], 500 | 201), "{statuses:?}\n{world}");
            assert!(matches!(statuses[2], 500 | 409), "{statuses:?}\n{world}");
            let again = world.put(&put).status;
            let wanted = if statuses[1] == 500 { 201 } else { 200 };
            assert_eq!(again, wanted, "{world}");
        } else {
            assert_eq!(statuses, [201, 200, 409], "{world}");
        }
        assert_eq!(rows_of_ep_1(&world), 1, "{world}");
        world.wait_until("incoming/ is empty", |world| {
            world.names("incoming").is_empty()
        });
        assert_eq!(world.stored("lab-1", "ep-1"), Some(put.body), "{world}");
    }
}

/// A row whose file is gone, and the file comes again: until that is on the disk, no other
/// upload of the name is answered.
#[test]
fn a_file_that_comes_again_is_not_stored_before_it_is_synced() {
    if !has_steps("a file that comes again") {
        return;
    }
    let (mut world, tarball) = with_one_episode();
    fs::remove_file(tarball).unwrap();
    let steps = Steps::of(&mut world);
    let holds = Holds::of(&mut world);
    world.start();
    holds.set(&["incoming/lab-1~ep-1~1.partial"]);
    let put = sample();
    let statuses = thread::scope(|scope| {
        let first = scope.spawn(|| world.put(&put).status);
        world.wait_until("it has its name", |_| steps.begun("link") == 2);
        let second = scope.spawn(|| world.put(&put).status);
        world.wait_until("its body has come", |world| {
            world.names("incoming").len() == 2
        });
        assert!(!second.is_finished() && !first.is_finished(), "{world}");
        holds.set(&[]);
        [first, second].map(|sending| sending.join().unwrap())
    });
    assert_eq!(statuses, [201, 200], "{world}");
    check_one_episode(&world, &put, "stored again");
}

/// While `held` is being synced, `meanwhile` goes on.
fn beside_a_held_upload(world: &World, steps: &Steps, holds: &Holds, meanwhile: impl FnOnce()) {
    let put = sample().episode("held");
    holds.set(&["lab-1~held~"]);
    let before = steps.begun(INDEX);
    thread::scope(|scope| {
        let held = scope.spawn(|| world.put(&put).status);
        world.wait_until("it is being synced", |_| before < steps.begun(INDEX));
        meanwhile();
        assert!(!held.is_finished());
        holds.set(&[]);
        assert_eq!(held.join().unwrap(), 201, "{world}");
    });
}

fn figures_of_lab_1(world: &World) -> serde_json::Value {
    let report = world.get("/v1/status").json();
    let hosts = report["hosts"].as_array().unwrap().clone();
    let lab_1 = hosts.into_iter().find(|host| host["host"] == "lab-1");
    lab_1.unwrap_or_else(|| panic!("{report:#}"))
}

/// The upload with the larger number is the last one, though the other one's sync ended later; and it
/// is after a restart.
#[test]
fn the_last_upload_is_the_one_with_the_largest_number() {
    if !has_steps("the order of the figures") {
        return;
    }
    let (mut world, steps, holds) = warm();
    beside_a_held_upload(&world, &steps, &holds, || {
        assert_eq!(world.put(&sample().episode("later")).status, 201);
    });
    assert_eq!(figures_of_lab_1(&world)["last_episode"], "later", "{world}");
    world.kill();
    world.start();
    assert_eq!(figures_of_lab_1(&world)["last_episode"], "later", "{world}");
}

/// A refusal while an upload of the host is being synced is over when that is stored.
#[test]
fn a_refusal_is_over_with_an_upload_that_was_under_way() {
    if !has_steps("a refusal beside an upload") {
        return;
    }
    let (mut world, steps, holds) = warm();
    beside_a_held_upload(&world, &steps, &holds, || {
        let other_host = sample().path("/v1/episodes/lab-2/ep-1");
        assert_eq!(world.put(&other_host).status, 201, "{world}");
        let refused = world.put(&sample().episode("first").body(b"other"));
        assert_eq!(refused.status, 409, "{world}");
        world.wait_until("the refusal is counted", |world| {
            figures_of_lab_1(world)["refused"].is_object()
        });
    });
    assert!(figures_of_lab_1(&world)["refused"].is_null(), "{world}");
    world.stop();
    world.start();
    assert!(figures_of_lab_1(&world)["refused"].is_null(), "{world}");
}
