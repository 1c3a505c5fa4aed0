//! Every durable step of a batch, crashed at and failed at, in a debug build; and the order of them.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::ahead::store_once_there;
use super::burst::{FOUR, Gate, RARE_SCANS, assert_shipped, four_came, record};
use super::crashes::is_release;
use super::stub::{Reply, Stub, problem};
use super::{A, Lab};

/// More steps than any run of the walk has.
const STEPS_MAX: usize = 120;
/// The first episode goes alone, as in the walks of `crashes`.
const STEPS_OF_FIRST: usize = 14;

/// One goes alone, and then four together. Runs `ship --once` with the fault, then without.
fn walk(fault: &str, refuses: bool) {
    for step in STEPS_OF_FIRST..STEPS_MAX {
        let gate = Arc::new(Gate::default());
        let met = gate.clone();
        let meet = Arc::new(move || met.pass(&four_came, Duration::from_millis(100)));
        let then = if refuses {
            Reply::After(meet, Box::new(Reply::Say(problem(409, "taken", ""))))
        } else {
            Reply::StoreAndAfter(meet)
        };
        let stub = Stub::new([Reply::Store, then.clone()]);
        let lab = Lab::with(&stub.url, RARE_SCANS);
        let ids = record(&lab, 1 + FOUR, A);
        let faulty = lab.run(&["ship", "--once"], &[(fault, &step.to_string())]);
        let hit = match fault {
            "CIS490_CRASH_AT" => faulty.code == -1,
            _ => faulty.log.contains("Input/output error"),
        };
        let fixed = lab.ship_once();
        let place = format!("{fault}={step}\n{faulty}\n{fixed}\n{lab}");
        for folder in ["episodes", "outbox"] {
            assert_eq!(lab.names(folder), [""; 0], "{folder} {place}");
        }
        if refuses {
            // The first is stored; if its answer was lost, it is refused now like the others.
            let mut gone = lab.names("shipped");
            gone.extend(lab.names("refused"));
            gone.retain(|name| ids.contains(name));
            assert_eq!(gone.len(), ids.len(), "{place}");
        } else {
            assert_shipped(&lab, &ids);
            assert_eq!(stub.stored().len(), ids.len(), "{place}");
        }
        if !hit {
            assert!(
                step > STEPS_OF_FIRST + 30,
                "the batch is not walked: {place}"
            );
            return;
        }
    }
    panic!("more durable steps than the bound: raise it knowingly");
}

#[test]
fn a_crash_at_any_step_of_a_batch_is_fixed_by_the_next_run() {
    if !is_release() {
        walk("CIS490_CRASH_AT", false);
    }
}

#[test]
fn a_failure_at_any_step_of_a_batch_is_fixed_by_the_next_run() {
    if !is_release() {
        walk("CIS490_FAIL_AT", false);
    }
}

#[test]
fn a_disk_that_fails_from_any_step_of_a_batch_on_is_survived() {
    if !is_release() {
        walk("CIS490_FAIL_FROM", false);
    }
}

#[test]
fn a_crash_at_any_step_of_refusals_is_fixed_by_the_next_run() {
    if !is_release() {
        walk("CIS490_CRASH_AT", true);
    }
}

/// A batch has no more syncs than the notes and three directories, and each episode its order.
#[test]
fn a_batch_shares_its_syncs_and_each_episode_keeps_its_order() {
    if is_release() {
        return;
    }
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 1 + FOUR, A);
    // Packing the second one ahead is no part of the batch.
    let ahead = store_once_there(lab.path("outbox/ep-01.tar.zst"));
    stub.puts([ahead, gate.store_when(four_came)]);
    let file = lab.dir().join("steps");
    let ended = lab.run(
        &["ship", "--once"],
        &[("CIS490_STEPS", file.to_str().unwrap())],
    );
    assert_eq!(ended.code, 0, "{ended}");
    let text = fs::read_to_string(&file).unwrap();
    let root = format!("{}/", lab.root().display());
    let text = text.replace(&root, "");
    let first = "unlink outbox/ep-00.tar.zst\n";
    let (_, batch) = text.split_once(first).expect("the first goes alone");
    let steps: Vec<&str> = batch.lines().collect();
    let at = |step: &str| {
        let found = steps.iter().position(|one| *one == step);
        found.unwrap_or_else(|| panic!("no {step} in {steps:#?}"))
    };
    let notes_hold = at("synced shipped");
    let last = |step: &str| steps.iter().rposition(|one| *one == step).unwrap();
    for id in &ids[1..] {
        let note = format!("shipped/{id}.receipt.json");
        let named = at(&format!("rename {note}.tmp {note}"));
        let moved = at(&format!("rename episodes/{id} shipped/{id}"));
        let swept = at(&format!("unlink outbox/{id}.tar.zst"));
        assert!(at(&format!("synced {note}.tmp")) < named, "{steps:#?}");
        assert!(named < notes_hold && notes_hold < moved, "{steps:#?}");
        assert!(moved < last("fsync dir shipped"), "{steps:#?}");
        assert!(moved < last("fsync dir episodes"), "{steps:#?}");
        assert!(last("synced shipped") < swept, "{steps:#?}");
        assert!(last("synced episodes") < swept, "{steps:#?}");
    }
    let syncs = |dir: &str| {
        steps
            .iter()
            .filter(|one| **one == format!("fsync dir {dir}"))
            .count()
    };
    assert_eq!(
        (syncs("shipped"), syncs("episodes"), syncs("outbox")),
        (2, 1, 0),
        "{steps:#?}"
    );
    assert!(!batch.contains("create outbox/"), "{steps:#?}");
}

/// A full disk that stops all moves of a batch is one fault: it is logged once, and packing waits once.
#[test]
fn a_full_disk_counts_once_for_a_batch() {
    if is_release() {
        return;
    }
    let lab_of_five = || {
        let gate = Arc::new(Gate::default());
        let stub = Stub::new([Reply::Store, gate.store_when(four_came)]);
        let lab = Lab::with(&stub.url, RARE_SCANS);
        record(&lab, 1 + FOUR, A);
        (stub, lab)
    };
    let (_stub, lab) = lab_of_five();
    let file = lab.dir().join("steps");
    let steps = [("CIS490_STEPS", file.to_str().unwrap())];
    assert_eq!(lab.run(&["ship", "--once"], &steps).code, 0, "{lab}");
    let text = fs::read_to_string(file).unwrap();
    let is_step = |line: &&str| !line.starts_with("synced ");
    let mut steps = text.lines().filter(is_step);
    let is_note = |line: &str| line.contains(".receipt") && !line.contains("ep-00");
    let first_note = 1 + steps.position(is_note).expect("the batch has notes");

    let (stub, lab) = lab_of_five();
    let full = [
        ("CIS490_FAIL_FROM", first_note.to_string()),
        ("CIS490_FAIL_ERRNO", libc::ENOSPC.to_string()),
    ];
    let full = full.each_ref().map(|(name, value)| (*name, value.as_str()));
    let ended = lab.run(&["ship", "--once"], &full);
    assert_eq!(ended.count("cannot move it to shipped/"), FOUR, "{ended}");
    assert_eq!(ended.count("event=disk_full"), 1, "{ended}");
    // Removing the first one from shipped/ would make room, and fails as well.
    assert_eq!(lab.names("episodes").len(), FOUR, "{ended}\n{lab}");
    stub.puts([Reply::Store]);
    assert_eq!(lab.ship_once().code, 0, "{lab}");
    assert_eq!(stub.stored().len(), 1 + FOUR, "{lab}");
}
