//! A pull that is killed: before each of its steps, after the fault of one, and at any instant.

use std::process::Stdio;
use std::thread;

use super::shelf::{Server, Shelf};
use super::{Target, ran};
use crate::dice::{Dice, seed};
use crate::world::has_steps;

/// More steps than any run has.
const STEPS_MAX: usize = 400;

/// A page of which the small episodes come together.
fn of_one_page(count: usize) -> Shelf {
    Shelf {
        page_rows: 100,
        ..Shelf::of(count)
    }
}

/// Pulls with the fault, then without, for each step there is: tarballs that come each by its own path, and
/// those of a bundle.
fn walk(fault: &str) {
    walk_of(fault, &Server::good(Shelf::of(9)));
    walk_of(fault, &Server::with_bundles(of_one_page(18)));
}

fn walk_of(fault: &str, server: &Server) {
    for step in 1..STEPS_MAX {
        let target = Target::new();
        let mut command = target.command(&server.url, &["--jobs", "2"]);
        let faulty = ran(command.env(fault, step.to_string()));
        let hit = faulty.code != Some(0);
        let place = format!("{fault}={step}\n{faulty}");
        if fault != "CIS490_CRASH_AT" && hit {
            assert_eq!(faulty.code, Some(1), "{place}");
            assert!(faulty.err.contains("Input/output error"), "{place}");
        }
        let next = target.pull(&server.url, &[]);
        assert_eq!(next.code, Some(0), "{place}\n{next}");
        target.check(&server.files(), &place);
        // Nothing is in doubt: the pull after it asks once.
        let last = target.pull(&server.url, &[]);
        assert_eq!(last.out, "nothing new\n", "{place}\n{last}");
        if !hit {
            assert!(step > 40, "the hook is not wired: {step}");
            return;
        }
    }
    panic!("more durable steps than the bound: raise it knowingly");
}

#[test]
fn a_pull_that_is_killed_before_any_step_goes_on() {
    if has_steps("every crash of a pull") {
        walk("CIS490_CRASH_AT");
    }
}

#[test]
fn a_pull_goes_on_after_the_fault_of_any_step() {
    if has_steps("every fault of a pull") {
        walk("CIS490_FAIL_AT");
    }
}

/// The durable steps of a pull of one episode, with their ends, each after the one before.
#[test]
fn the_order_on_the_disk_is_bytes_name_receipt_cursor() {
    if !has_steps("the order of a pull's steps") {
        return;
    }
    let mut shelf = Shelf::of(0);
    shelf.put("lab-1/ep", b"bytes");
    let server = Server::good(shelf);
    let target = Target::new();
    let steps = target.dir.path().join("steps");
    let first = ran(target.command(&server.url, &[]).env("CIS490_STEPS", &steps));
    assert_eq!(first.code, Some(0), "{first}");
    let text = std::fs::read_to_string(&steps).unwrap();
    let text = text.replace(&format!("{}/", target.path().display()), "");
    let text = text.replace(&target.path().display().to_string(), ".");
    let begin = text.find("mkdir lab-1").unwrap();
    let found: Vec<&str> = text[begin..].lines().map(str::trim).collect();
    let want = [
        "mkdir lab-1",
        "fsync dir .",
        "synced .",
        "write lab-1/ep.tar.zst.partial",
        "fsync file lab-1/ep.tar.zst.partial",
        "synced lab-1/ep.tar.zst.partial",
        "rename lab-1/ep.tar.zst.partial lab-1/ep.tar.zst",
        "fsync dir lab-1",
        "synced lab-1",
        "append index.jsonl",
        "fdatasync index.jsonl",
        "synced index.jsonl",
        "create pull.json.tmp",
        "write pull.json.tmp",
        "fsync file pull.json.tmp",
        "synced pull.json.tmp",
        "rename pull.json.tmp pull.json",
        "fsync dir .",
        "synced .",
    ];
    assert_eq!(found, want);
    // Nothing new: nothing is written.
    std::fs::remove_file(&steps).unwrap();
    let again = ran(target.command(&server.url, &[]).env("CIS490_STEPS", &steps));
    assert_eq!(again.code, Some(0), "{again}");
    assert!(!steps.exists());
}

/// Many small files are synced by one sync of their filesystem, before the first of them has its name. If
/// that sync fails, each is synced by itself: the fault may be of another program's file.
#[test]
fn many_small_files_are_on_the_disk_before_their_names() {
    if !has_steps("the order of a batch's steps") {
        return;
    }
    let mut shelf = Shelf::of(40);
    shelf.page_rows = 40;
    let server = Server::good(shelf);
    for fault in [None, Some("1:syncfs")] {
        let target = Target::new();
        let file = target.dir.path().join("steps");
        let mut command = target.command(&server.url, &[]);
        command.env("CIS490_STEPS", &file);
        if let Some(fault) = fault {
            command.env("CIS490_FAIL_ON", fault);
        }
        let ran = ran(&mut command);
        assert_eq!(ran.code, Some(0), "{ran}");
        target.check(&server.files(), &ran.to_string());
        let text = std::fs::read_to_string(&file).unwrap();
        let steps: Vec<&str> = text.lines().map(str::trim).collect();
        let has = |step: &&str, what: &str| step.starts_with(what);
        if !steps.iter().any(|step| has(step, "syncfs")) {
            return skip!("the order of a batch's steps: this filesystem is not synced as a whole");
        }
        let is_name = |step: &&str| has(step, "rename") && step.contains(".partial");
        let named = steps.iter().position(is_name);
        let before = &steps[..named.expect("names")];
        let is_own = |step: &&&str| has(step, "fsync file") && step.contains(".partial");
        let own = before.iter().filter(is_own).count();
        let last_write = before.iter().rposition(|step| has(step, "write"));
        let synced = before.iter().position(|step| has(step, "syncfs"));
        assert!(last_write.is_some() && last_write < synced, "{steps:#?}");
        assert_eq!(own, if fault.is_some() { 40 } else { 0 }, "{steps:#?}");
    }
}

/// An episode that was missing comes, and the pull is killed before each step of that.
#[test]
fn what_was_missing_is_forgotten_once_it_is_here_however_often_it_is_killed() {
    if !has_steps("every crash of a pull of what was missing") {
        return;
    }
    for step in 1..STEPS_MAX {
        let server = Server::good(Shelf::of(3));
        let body = server
            .shelf
            .lock()
            .unwrap()
            .files
            .remove("lab-1/ep-3")
            .unwrap();
        let target = Target::new();
        let first = target.pull(&server.url, &[]);
        assert_eq!(first.code, Some(2), "{first}");
        let slot = "lab-1/ep-3".to_owned();
        server.shelf.lock().unwrap().files.insert(slot, body);
        let mut command = target.command(&server.url, &[]);
        let killed = ran(command.env("CIS490_CRASH_AT", step.to_string()));
        let next = target.pull(&server.url, &[]);
        assert_eq!(next.code, Some(0), "{step}\n{killed}\n{next}");
        target.check(&server.files(), &format!("{step}\n{next}"));
        if killed.code == Some(0) {
            assert!(step > 5, "the hook is not wired: {step}");
            return;
        }
    }
    panic!("more durable steps than the bound: raise it knowingly");
}

#[test]
fn a_pull_that_is_killed_at_any_instant_goes_on() {
    let killed = killed_at_random(30);
    println!("{killed} of 30 were killed before their end");
    assert!(killed > 0);
}

/// Kills pulls of one set so many times; how many of them were killed before their end.
pub fn killed_at_random(rounds: u64) -> u64 {
    let seed = seed();
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut shelf = Shelf::of(40);
    for n in 0..3 {
        shelf.put(&format!("lab-0/large-{n}"), &crate::dice::noise(n, 3 << 20));
    }
    let of_one_page = Shelf {
        page_rows: 100,
        ..shelf.clone()
    };
    let servers = [Server::good(shelf), Server::with_bundles(of_one_page)];
    let mut killed = 0;
    let mut target = Target::new();
    let mut sets = 0;
    for round in 0..rounds {
        let server = &servers[sets % servers.len()];
        let mut command = target.command(&server.url, &[]);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut pull = quiet.spawn().unwrap();
        thread::sleep(dice.wait(0, 60));
        let has_ended = pull.try_wait().unwrap().is_some();
        pull.kill().unwrap();
        pull.wait().unwrap();
        if !has_ended {
            killed += 1;
            // Some sets are killed again before they are whole.
            if !dice.one_in(4) {
                continue;
            }
        }
        let next = target.pull(&server.url, &[]);
        let place = format!("seed {seed}, round {round}\n{next}");
        assert_eq!(next.code, Some(0), "{place}");
        target.check(&server.files(), &place);
        target = Target::new();
        sets += 1;
    }
    let server = &servers[sets % servers.len()];
    let next = target.pull(&server.url, &[]);
    assert_eq!(next.code, Some(0), "seed {seed}\n{next}");
    target.check(&server.files(), &format!("seed {seed}"));
    killed
}
