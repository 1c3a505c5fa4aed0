//! The queue's moves: packing, shipped/, refused/ and the way back.

use std::fs;

use super::{Part, Steps, beside, check, publish, sync, then};
use crate::ship::crashes::is_release;
use crate::ship::stub::{Reply, Stub, problem};
use crate::ship::{A, Lab};

/// Runs a command of a lab host; what it recorded, and its exit status.
fn of_lab(lab: &Lab, args: &[&str]) -> Vec<String> {
    let steps = Steps {
        file: lab.dir().join("steps"),
        root: lab.root().display().to_string(),
    };
    let _ = fs::remove_file(&steps.file);
    let ended = lab.run(args, &[("CIS490_STEPS", steps.file.to_str().unwrap())]);
    assert!(matches!(ended.code, 0 | 3), "{ended}");
    steps.entries()
}

const PACKED: &str = "outbox/ep-1.tar.zst";

/// Design, section 5: the episode's own names and the sealed tarball are on the disk before the
/// tarball has its name.
fn packing() -> Vec<Part> {
    let partial = format!("{PACKED}.partial");
    let mut parts = vec![then(format!("create {partial}"))];
    parts.extend(sync("fsync file episodes/ep-1/meta.json"));
    parts.extend(sync("fsync dir episodes/ep-1"));
    parts.extend(sync("fsync dir episodes"));
    parts.push(then(format!("attribute {partial}")));
    parts.extend(sync(&format!("fsync file {partial}")));
    parts.push(then(format!("rename {partial} {PACKED}")));
    parts.extend(sync("fsync dir outbox"));
    parts
}

/// The note, the move, both directories, and only then the tarball.
fn move_to(there: &str, ending: &str) -> Vec<Part> {
    let mut parts = publish(&format!("{there}/ep-1{ending}"));
    parts.push(then(format!("rename episodes/ep-1 {there}/ep-1")));
    parts.push(beside(&[
        &format!("fsync dir {there}"),
        "fsync dir episodes",
    ]));
    parts.push(then(format!("unlink {PACKED}")));
    parts
}

#[test]
fn of_packing_and_shipping() {
    if is_release() {
        return;
    }
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let mut wanted = packing();
    wanted.extend(move_to("shipped", ".receipt.json"));
    wanted.extend(publish("state.json"));
    check(&of_lab(&lab, &["ship", "--once"]), wanted, &lab);
}

#[test]
fn of_refusing_and_requeueing() {
    if is_release() {
        return;
    }
    let stub = Stub::new([Reply::Say(problem(409, "taken", ""))]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let mut wanted = packing();
    wanted.extend(move_to("refused", ".why.json"));
    wanted.extend(publish("state.json"));
    check(&of_lab(&lab, &["ship", "--once"]), wanted, &lab);

    let mut wanted = vec![
        then(format!("unlink {PACKED}")),
        then("rename refused/ep-1 episodes/ep-1"),
        beside(&["fsync dir episodes", "fsync dir refused"]),
    ];
    wanted.push(then("unlink refused/ep-1.why.json"));
    check(&of_lab(&lab, &["requeue", "ep-1"]), wanted, &lab);

    // The same rename, from the other folder; its receipt stays.
    let mut wanted = vec![
        then(format!("unlink {PACKED}")),
        then("rename shipped/ep-1 episodes/ep-1"),
    ];
    wanted.push(beside(&["fsync dir episodes", "fsync dir shipped"]));
    fs::rename(lab.path("episodes/ep-1"), lab.path("shipped/ep-1")).unwrap();
    check(&of_lab(&lab, &["resend", "ep-1"]), wanted, &lab);

    let found = of_lab(&lab, &["set-aside", "--commit", A]);
    check(&found, move_to("refused", ".why.json"), &lab);
}
