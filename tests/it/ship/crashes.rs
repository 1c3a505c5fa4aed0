//! Every durable step of the shipper, crashed at and failed at, in a debug build. Their order is in
//! `order`.

use super::stub::{Reply, Stub, problem};
use super::{A, Lab};

/// More steps than any run has.
const STEPS_MAX: usize = 80;

pub fn is_release() -> bool {
    if cfg!(not(debug_assertions)) {
        eprintln!("skipped: a walk over the durable steps, which a release build does not have");
    }
    cfg!(not(debug_assertions))
}

/// Runs `ship --once` with the fault, then without, for each step there is.
fn walk(fault: &str, stub: impl Fn() -> Stub, check: impl Fn(&Lab, &Stub, &str)) {
    for step in 1..STEPS_MAX {
        let stub = stub();
        let lab = Lab::new(&stub.url);
        lab.episode("ep-1", A);
        lab.episode("ep-2", A);
        let place = format!("{fault}={step}");
        let faulty = lab.run(&["ship", "--once"], &[(fault, &step.to_string())]);
        let hit = match fault {
            "CIS490_CRASH_AT" => faulty.code == -1,
            _ => faulty.log.contains("Input/output error"),
        };
        // One restart mends it, two at most: a fault in the notes of one is tried again later.
        let mended = lab.ship_once();
        check(&lab, &stub, &format!("{place}\n{faulty}\n{mended}"));
        if !hit {
            assert!(step > 12, "the hook is not wired: {step}");
            return;
        }
    }
    panic!("more durable steps than the bound: raise it knowingly");
}

fn all_shipped(lab: &Lab, stub: &Stub, place: &str) {
    assert_eq!(lab.names("episodes"), [""; 0], "{place}\n{lab}");
    lab.assert_all_shipped(&["ep-1", "ep-2"]);
    assert_eq!(stub.stored().len(), 2, "{place}");
}

fn all_refused(lab: &Lab, _: &Stub, place: &str) {
    let want = ["ep-1", "ep-1.why.json", "ep-2", "ep-2.why.json"];
    assert_eq!(lab.names("refused"), want, "{place}\n{lab}");
    for folder in ["episodes", "outbox", "shipped"] {
        assert_eq!(lab.names(folder), [""; 0], "{place}\n{lab}");
    }
}

#[test]
fn a_crash_at_any_step_is_mended_by_the_next_run() {
    if !is_release() {
        walk("CIS490_CRASH_AT", || Stub::new([Reply::Store]), all_shipped);
    }
}

#[test]
fn a_failure_at_any_step_is_mended_by_the_next_run() {
    if !is_release() {
        walk("CIS490_FAIL_AT", || Stub::new([Reply::Store]), all_shipped);
    }
}

#[test]
fn a_disk_that_fails_from_any_step_on_is_survived() {
    if !is_release() {
        walk(
            "CIS490_FAIL_FROM",
            || Stub::new([Reply::Store]),
            all_shipped,
        );
    }
}

#[test]
fn a_crash_at_any_step_of_a_refusal_is_mended_by_the_next_run() {
    if !is_release() {
        let taken = || Stub::new([Reply::Say(problem(409, "taken", ""))]);
        walk("CIS490_CRASH_AT", taken, all_refused);
    }
}

#[test]
fn a_crash_at_any_step_of_requeue_loses_nothing() {
    if is_release() {
        return;
    }
    for step in 1..STEPS_MAX {
        let stub = Stub::new([Reply::Say(problem(409, "taken", "")), Reply::Store]);
        let lab = Lab::new(&stub.url);
        lab.episode("ep-1", A);
        assert_eq!(lab.ship_once().code, 3);
        let crashed = lab.run(
            &["requeue", "ep-1"],
            &[("CIS490_CRASH_AT", &step.to_string())],
        );
        if lab.path("refused/ep-1").exists() {
            assert_eq!(lab.run(&["requeue", "ep-1"], &[]).code, 0, "{step}");
        }
        assert_eq!(lab.ship_once().code, 0, "{step}\n{lab}");
        assert!(lab.path("shipped/ep-1").exists(), "{step}\n{lab}");
        if crashed.code != -1 {
            return assert!(step > 4, "the hook is not wired: {step}");
        }
    }
    panic!("more durable steps than the bound: raise it knowingly");
}
