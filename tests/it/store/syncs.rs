//! The syncs of a small body run side by side: each is held back here until the others have ended, and
//! the process is killed or the sync fails in each of these orders.

use std::fs;
use std::path::PathBuf;
use std::thread;

use super::{body, check_one_episode, prepared, running, sample, with_one_episode};
use crate::client::Put;
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

/// Syncs that do not end while a line of this file is in their text.
struct Holds(PathBuf);

impl Holds {
    /// For the next process of this world. Nothing is held yet.
    fn of(world: &mut World) -> Holds {
        let holds = Holds(world.dir().join("holds"));
        world.env("CIS490_HOLD_SYNCS", holds.0.display());
        holds.set(&[]);
        holds
    }

    fn set(&self, held: &[&str]) {
        let new = self.0.with_extension("new");
        fs::write(&new, held.join("\n")).unwrap();
        fs::rename(&new, &self.0).unwrap();
    }
}

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

/// How often this sync was begun.
fn begun(steps: &Steps, sync: &str) -> usize {
    steps.names().iter().filter(|name| *name == sync).count()
}

fn wait_for_all(world: &World, steps: &Steps, before: [usize; 3]) {
    world.wait_until("all three have begun", |_| {
        [FILE, DIR, INDEX].map(|sync| begun(steps, sync)) == before.map(|n| n + 1)
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
        let before = [FILE, DIR, INDEX].map(|sync| begun(&steps, sync));
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

/// A failed sync of the file takes its name; one of a directory or of the index ends the process. In
/// which order the two others end makes no difference.
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
    let before = [FILE, DIR, INDEX].map(|sync| begun(&steps, sync));
    holds.set(&order);
    let put = sample().body(&body(5000));
    let status = thread::scope(|scope| {
        let sending = scope.spawn(|| world.try_put(&put).map(|answer| answer.status));
        wait_for_all(&world, &steps, before);
        if is_of_file {
            let ends = steps.ends();
            holds.set(&order[1..]);
            world.wait_until("one has ended", |_| steps.ends() > ends);
            assert!(!sending.is_finished(), "answered too early: {what}");
            assert!(world.stored("lab-1", "ep-1").is_some(), "{what}\n{world}");
        } else {
            // The process may be gone as soon as its thread hears of the failure.
            holds.set(&order[1..]);
        }
        holds.set(&[]);
        sending.join().unwrap()
    });
    if is_of_file {
        assert_eq!(status, Some(refusal), "{what}\n{world}");
        assert_eq!(world.stored("lab-1", "ep-1"), None, "{what}\n{world}");
        assert!(world.names("incoming").is_empty(), "{what}\n{world}");
        assert_eq!(rows_of_ep_1(&world), 1, "its row stays: {what}\n{world}");
        assert_eq!(world.put(&put.clone().body(b"other")).status, 409, "{what}");
        assert_eq!(world.put(&put).status, 201, "{what}\n{world}");
        world.kill();
    } else {
        assert!(matches!(status, None | Some(500)), "{what}: {status:?}");
        assert_eq!(world.wait_for_end(), Some(1), "{what}\n{world}");
        assert_eq!(world.names("incoming").len(), 1, "{what}\n{world}");
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
            world.wait_until("it is being synced", |_| begun(&steps, DIR) >= 2);
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
        world.wait_until("it has its name", |_| {
            steps.names().iter().filter(|name| *name == "link").count() == 2
        });
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

/// A power cut may leave a small file's names and not its bytes. Such a file is never kept as good, and
/// its name blocks no sender.
#[test]
fn a_small_file_that_a_power_cut_has_torn_is_removed_and_comes_again() {
    let put = sample().body(&body(5000));
    let half = [&put.body[..2500], &[0; 2500][..]].concat();
    let tears: [(&str, &[u8]); 4] = [
        ("empty", b""),
        ("short", &put.body[..4096]),
        ("full of NULs", &[0; 5000]),
        ("half", &half),
    ];
    for (what, torn) in tears {
        for has_row in [false, true] {
            let what = format!("{what}, row {has_row}");
            let (mut world, tarball) = with_torn(&put, torn, has_row);
            if world.log().contains("event=no_attributes") {
                return skip!("a torn small file: no attributes here");
            }
            world.start();
            assert!(world.log().contains("event=torn_upload"), "{what}\n{world}");
            assert!(
                world.log().contains("recovered=0 swept=1"),
                "{what}\n{world}"
            );
            assert!(!tarball.exists(), "{what}\n{world}");
            assert!(world.names("incoming").is_empty(), "{what}\n{world}");
            assert!(world.names("quarantine").is_empty(), "{what}\n{world}");
            assert_eq!(world.rows().len(), usize::from(has_row), "{what}\n{world}");
            assert_eq!(world.put(&put).status, 201, "{what}\n{world}");
            check_one_episode(&world, &put, &what);
        }
    }
}

/// A store with one upload whose X was not removed and whose file holds `torn`; it is stopped.
fn with_torn(put: &Put, torn: &[u8], has_row: bool) -> (World, PathBuf) {
    let mut world = running();
    assert_eq!(world.put(put).status, 201);
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    let tarball = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    let partial = world.data_dir().join("incoming/lab-1~ep-1~1.partial");
    fs::hard_link(&tarball, partial).unwrap();
    // Into the same file, which carries its receipt.
    fs::write(&tarball, torn).unwrap();
    if !has_row {
        fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    }
    (world, tarball)
}

/// Nothing says which bytes a small file should have: it is kept out of the way.
#[test]
fn a_small_file_without_any_evidence_goes_to_quarantine() {
    let (mut world, tarball) = with_one_episode();
    if world.log().contains("event=no_attributes") {
        return skip!("a small file without evidence: no attributes here");
    }
    fs::remove_file(&tarball).unwrap();
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    fs::write(&tarball, "which bytes?").unwrap();
    let partial = world.data_dir().join("incoming/lab-1~ep-1~1.partial");
    fs::hard_link(&tarball, partial).unwrap();
    world.start();
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"], "{world}");
    assert!(world.names("incoming").is_empty(), "{world}");
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    check_one_episode(&world, &sample(), "the name was free");
}
