//! The shipper: packs, sends and moves one episode under each fault, and must mend all in one run
//! without it. The receiver stays whole.

use std::process::{Command, Stdio};

use super::{Fault, Told, can_trace, faults, strace, whole_log};
use crate::lab::{Lab, noise};
use crate::world::{World, cis490};

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn no_failing_call_of_the_shipper_loses_an_episode() {
    if can_trace("no_failing_call_of_the_shipper_loses_an_episode") {
        let told = every_failing_call(|number| number % 31 == 3);
        assert!(told.faults > 3, "{told:?}");
        told.assert_struck();
    }
}

/// Ships under every fault whose number `wanted` picks.
pub fn every_failing_call(wanted: impl Fn(usize) -> bool) -> Told {
    Told::of(&faults(&clean_run(), wanted), suffer)
}

fn paths(lab: &Lab) -> Vec<String> {
    let names = [
        "",
        "episodes",
        "episodes/ep-1",
        "episodes/ep-1/meta.json",
        "episodes/ep-1/data.bin",
        "outbox",
        "outbox/ep-1.tar.zst",
        "outbox/ep-1.tar.zst.partial",
        "shipped",
        "shipped/ep-1",
        "shipped/ep-1.receipt.json",
        "shipped/ep-1.receipt.json.tmp",
        "state.json",
        "state.json.tmp",
        "lock",
    ];
    let path = |name: &str| match name {
        "" => lab.root().display().to_string(),
        name => lab.path(name).display().to_string(),
    };
    names.map(path).into()
}

fn lab(world: &World) -> Lab {
    let lab = Lab::new(&format!("http://{}", world.address()));
    lab.episode_with("ep-1", COMMIT, &noise(300_000));
    lab
}

/// `ship --once` run by a command; its process, exit status and log.
pub fn ship_under(lab: &Lab, command: &[String]) -> (u32, Option<i32>, String) {
    let program = cis490();
    let child = Command::new(&command[0])
        .args(&command[1..])
        .arg(program.get_program())
        .args(program.get_args())
        .args(["ship", "--once", "--config"])
        .arg(lab.config())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = child.id();
    let output = child.wait_with_output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    (process, output.status.code(), log)
}

fn clean_run() -> String {
    let world = World::with(GATE_OFF);
    let lab = lab(&world);
    let log = lab.dir().join("calls");
    let mut command = strace(&super::CALLS.join(","), &paths(&lab));
    command.extend(["-o".to_owned(), log.display().to_string()]);
    let (process, status, said) = ship_under(&lab, &command);
    assert_eq!(status, Some(0), "{said}\n{lab}");
    whole_log(&log, process)
}

fn suffer(fault: &Fault) -> (bool, String) {
    let world = World::with(GATE_OFF);
    let lab = lab(&world);
    let calls = lab.dir().join("calls");
    let (_, status, said) = ship_under(&lab, &fault.command(&paths(&lab), &calls));
    let has_struck = match fault.kills() {
        true => status.is_none(),
        false => fault.has_struck(&calls),
    };
    let what = format!("{fault}: {status:?}\n{said}\n{lab}");
    if fault.what.contains("delay") {
        assert_eq!(status, Some(0), "{what}");
    }
    // Nothing but the receiver's word moves an episode out of episodes/.
    assert!(lab.names("refused").is_empty(), "{what}");
    let is_stored = world.stored("lab-1", "ep-1").is_some();
    assert!(
        is_stored || lab.path("episodes/ep-1/meta.json").exists(),
        "{what}"
    );
    let mended = lab.ship_once();
    assert_eq!(mended.code, 0, "{what}\n{mended}");
    // On a disk that says it is full, shipped/ goes first; its receipt stays.
    match fault.is_full() && !lab.path("shipped/ep-1").exists() {
        true => assert!(lab.names("episodes").is_empty(), "{what}"),
        false => lab.assert_all_shipped(&["ep-1"]),
    }
    let digest = world.rows()[0]["sha256"].clone();
    assert_eq!(
        lab.json("shipped/ep-1.receipt.json")["sha256"],
        digest,
        "{what}"
    );
    assert_eq!(world.rows().len(), 1, "{what}\n{world}");
    check_content(&world, &what);
    let outcome = match status {
        Some(code) => format!("exit {code}"),
        None => "killed".to_owned(),
    };
    (has_struck, outcome)
}

/// The stored tarball holds what was recorded.
fn check_content(world: &World, what: &str) {
    let tarball = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    let found = Command::new("sh")
        .args(["-c", "zstd -dcq \"$0\" | tar -xOf - ep-1/data.bin"])
        .arg(tarball)
        .output()
        .unwrap();
    assert!(found.stdout == noise(300_000), "{what}");
}
