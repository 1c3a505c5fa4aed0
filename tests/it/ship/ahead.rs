//! Packing ahead: what the shipper does beside an upload, and what that must not change.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::crashes::is_release;
use super::stub::{Reply, Stub, problem};
use super::{A, B, Lab, noise, wait_until};
use crate::lab::Shipper;

/// Large enough to see it being packed.
const GIANT: usize = 24 << 20;

/// Stores, and answers only once a file of the lab is there.
pub(super) fn store_once_there(path: PathBuf) -> Reply {
    let is_there = move || {
        wait_until("it is packed ahead", || path.exists(), &path.display());
    };
    Reply::StoreAndAfter(Arc::new(is_there))
}

fn puts(stub: &Stub) -> Vec<String> {
    let lines = stub.lines();
    let puts = lines.iter().filter(|line| line.starts_with("PUT "));
    let ids = puts.map(|line| {
        let path = line.split(' ').nth(1).unwrap_or("");
        path.rsplit('/').next().unwrap_or("").to_owned()
    });
    ids.collect()
}

#[test]
fn the_next_one_is_packed_while_one_is_sent_and_no_further() {
    let stub = Stub::new([Reply::Stall]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    lab.episode_with("ep-1", A, &noise(1 << 20));
    lab.episode_with("ep-2", B, &noise(2 << 20));
    lab.episode_with("ep-3", A, &noise(3 << 20));
    let shipper = lab.ship();
    let two = ["ep-1.tar.zst", "ep-2.tar.zst"];
    shipper.wait_until("the second is packed", || lab.names("outbox") == two);
    assert_eq!(lab.status()["packed"]["episodes"], 2);
    assert_eq!(shipper.stop(), 0);
    assert_eq!(lab.names("outbox"), two, "{lab}");
    assert_eq!(puts(&stub), ["ep-1"], "{lab}");

    // What was packed ahead is not packed again.
    stub.puts([Reply::Store]);
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=packed")),
        (0, 1),
        "{ended}\n{lab}"
    );
    lab.assert_all_shipped(&["ep-1", "ep-2", "ep-3"]);
}

#[test]
fn each_is_sent_once_and_in_order() {
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    let packed = |id: &str| lab.path("outbox").join(format!("{id}.tar.zst"));
    stub.puts([
        store_once_there(packed("ep-2")),
        store_once_there(packed("ep-3")),
        Reply::Store,
    ]);
    for (n, id) in ["ep-1", "ep-2", "ep-3"].iter().enumerate() {
        // None of them is small, so each is sent alone.
        lab.episode_with(id, A, &noise((n + 5) << 20));
    }
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=packed")),
        (0, 3),
        "{ended}\n{lab}"
    );
    assert_eq!(puts(&stub), ["ep-1", "ep-2", "ep-3"]);
    lab.assert_all_shipped(&["ep-1", "ep-2", "ep-3"]);
}

/// A lab whose first episode stays on its way, with a second that takes a while to pack.
fn lab_of_two() -> (Stub, Lab) {
    let stub = Stub::new([Reply::Stall]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(1 << 20));
    lab.episode_with("ep-2", A, &noise(GIANT));
    (stub, lab)
}

fn ship_until_the_next_is_begun(lab: &Lab) -> Shipper<'_> {
    let shipper = lab.ship();
    shipper.wait_until("the next is begun", || lab.names("outbox").len() == 2);
    shipper
}

#[test]
fn a_kill_while_one_is_sent_and_the_next_is_packed_loses_neither() {
    let (stub, lab) = lab_of_two();
    let shipper = ship_until_the_next_is_begun(&lab);
    shipper.kill();
    stub.puts([Reply::Store]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    lab.assert_all_shipped(&["ep-1", "ep-2"]);
    assert_eq!(stub.stored().len(), 2);
}

#[test]
fn sigterm_ends_the_packing_too() {
    let (_stub, lab) = lab_of_two();
    let shipper = ship_until_the_next_is_begun(&lab);
    assert_eq!(shipper.stop(), 0);
    let left = lab.names("outbox");
    assert!(
        left.iter().all(|name| name.ends_with(".tar.zst")),
        "{left:?}\n{lab}"
    );
    assert_eq!(lab.names("episodes"), ["ep-1", "ep-2"], "{lab}");
}

#[test]
fn a_hold_that_comes_while_the_next_is_packed_holds_it_too() {
    let refusal = problem(412, "not-in-window", "");
    let stub = Stub::new([Reply::SayInBody(refusal.clone()), Reply::Store]);
    // On a slow machine the gate is asked again before the end.
    stub.gets([Reply::Say(refusal)]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(1 << 20));
    lab.episode_with("ep-2", A, &noise(2 << 20));
    lab.episode_with("ep-3", B, &noise(3 << 20));
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}\n{lab}");
    assert_eq!(lab.names("episodes"), ["ep-1", "ep-2"], "{ended}");
    assert_eq!(lab.names("shipped"), ["ep-3", "ep-3.receipt.json"]);
    assert_eq!(puts(&stub), ["ep-1", "ep-3"]);
    let left = lab.names("outbox");
    assert!(
        left.iter().all(|name| name.ends_with(".tar.zst")),
        "{left:?}"
    );
}

#[test]
fn refusals_of_either_move_that_one_alone() {
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    for (n, id) in ["ep-1", "ep-2", "ep-3"].iter().enumerate() {
        // None of them is small, so each is sent alone.
        lab.episode_with(id, A, &noise((n + 5) << 20));
    }
    // After the look that found it fit, the second becomes one that cannot be packed.
    let link = lab.path("episodes/ep-2/link");
    let spoil = move || drop(symlink("/etc/passwd", &link));
    let taken = Reply::SayAfterBody(problem(409, "taken", ""));
    stub.puts([Reply::After(Arc::new(spoil), Box::new(taken)), Reply::Store]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}\n{lab}");
    let refused = ["ep-1", "ep-1.why.json", "ep-2", "ep-2.why.json"];
    assert_eq!(lab.names("refused"), refused, "{ended}");
    assert_eq!(lab.json("refused/ep-1.why.json")["by"], "receiver");
    assert_eq!(lab.json("refused/ep-2.why.json")["by"], "shipper");
    assert_eq!(lab.names("shipped"), ["ep-3", "ep-3.receipt.json"]);
    for folder in ["episodes", "outbox"] {
        assert_eq!(lab.names(folder), [""; 0], "{folder}\n{lab}");
    }
}

/// There is room for one tarball and not for two: that is nobody's fault, and no error.
#[test]
fn no_room_to_pack_ahead_is_made_good_in_its_turn() {
    if is_release() {
        return;
    }
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(1 << 18));
    lab.episode_with("ep-2", A, &noise(2 << 18));
    let steps = lab.dir().join("steps");
    let begun = {
        let steps = steps.clone();
        move || {
            fs::read_to_string(&steps)
                .is_ok_and(|text| text.contains("create") && text.contains("ep-2.tar.zst.partial"))
        }
    };
    let wait = move || wait_until("the next is begun", &begun, &"");
    stub.puts([Reply::StoreAndAfter(Arc::new(wait)), Reply::Store]);
    // Packing the first is eight steps; the ninth creates the partial of the second.
    let full = [
        ("CIS490_STEPS", steps.to_str().unwrap()),
        ("CIS490_FAIL_AT", "9"),
        ("CIS490_FAIL_ERRNO", "28"),
    ];
    let ended = lab.run(&["ship", "--once"], &full);
    assert_eq!(
        (ended.code, ended.count("event=disk_full")),
        (0, 0),
        "{ended}\n{lab}"
    );
    lab.assert_all_shipped(&["ep-1", "ep-2"]);
    let steps = fs::read_to_string(&steps).unwrap();
    let tries = steps
        .lines()
        .filter(|line| line.starts_with("create") && line.ends_with("ep-2.tar.zst.partial"));
    assert_eq!(tries.count(), 2, "{steps}");
}

#[test]
fn a_small_one_that_comes_while_a_giant_is_packed_ahead_goes_first() {
    let stub = Stub::new([]);
    let lab = Arc::new(Lab::with(&stub.url, "scan_seconds = 1"));
    lab.episode_with("ep-1", A, &noise(1 << 20));
    lab.episode_with("giant", A, &noise(GIANT));
    let record = {
        let lab = lab.clone();
        move || {
            wait_until(
                "the giant is begun",
                || lab.names("outbox").len() == 2,
                &*lab,
            );
            lab.episode("tiny", A);
            // The answer comes when the next look is due.
            thread::sleep(Duration::from_secs(1));
        }
    };
    stub.puts([Reply::StoreAndAfter(Arc::new(record)), Reply::Store]);
    let shipper = lab.ship();
    shipper.wait_until("all are shipped", || {
        lab.names("shipped").len() == 6 && lab.names("outbox").is_empty()
    });
    assert_eq!(puts(&stub), ["ep-1", "tiny", "giant"], "{lab}");
    assert_eq!(shipper.stop(), 0);
    lab.assert_all_shipped(&["ep-1", "giant", "tiny"]);
}
