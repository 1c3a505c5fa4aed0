//! The receiver: one start, one small and one large upload, under each fault.

use std::fs;
use std::time::Duration;

use super::{Fault, Told, can_trace, faults, strace, whole_log};
use crate::client::{Client, Put, sha256};
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Written by a thread of its own, past the page cache, with a tail that is not.
const LARGE_BYTES: usize = (4 << 20) + 777;

#[test]
fn no_failing_call_of_the_receiver_is_a_false_promise() {
    if can_trace("no_failing_call_of_the_receiver_is_a_false_promise") {
        // Spread over all calls and errors; the campaign has the rest.
        let told = every_failing_call(|number| number % 31 == 3);
        assert!(told.faults > 5, "{told:?}");
        told.assert_struck();
    }
}

/// Uploads under every fault whose number `wanted` picks.
pub fn every_failing_call(wanted: impl Fn(usize) -> bool) -> Told {
    Told::of(&faults(&clean_run(), wanted), suffer)
}

/// In one block, large, and between them.
fn puts() -> [Put; 3] {
    let large: Vec<u8> = (0..LARGE_BYTES).map(|i| (i >> 9) as u8 ^ i as u8).collect();
    let put = Put::sample(COMMIT);
    [
        put.clone().body(&large[..5000]),
        put.clone().episode("ep-2").body(&large),
        put.episode("ep-3").body(&large[..300_000]),
    ]
}

/// The files that calls are counted and fail on.
fn paths(world: &World) -> Vec<String> {
    let names = [
        "",
        "cis490-store",
        "index.jsonl",
        "sequence",
        "sequence.tmp",
        "incoming",
        "incoming/.probe",
        "incoming/lab-1~ep-1~1.partial",
        "incoming/lab-1~ep-2~2.partial",
        "incoming/lab-1~ep-3~3.partial",
        "episodes",
        "episodes/.probe",
        "episodes/lab-1",
        "episodes/lab-1/ep-1.tar.zst",
        "episodes/lab-1/ep-2.tar.zst",
        "episodes/lab-1/ep-3.tar.zst",
        "quarantine",
    ];
    let path = |name: &str| match name {
        "" => world.data_dir().display().to_string(),
        name => world.data_dir().join(name).display().to_string(),
    };
    names.map(path).into()
}

/// The log of a run without a fault.
fn clean_run() -> String {
    let mut world = World::prepared(GATE_OFF);
    let log = world.dir().join("calls");
    let mut command = strace(&super::CALLS.join(","), &paths(&world));
    command.extend(["-o".to_owned(), log.display().to_string()]);
    world.run_under(command);
    world.start();
    for put in puts() {
        assert_eq!(world.put(&put).status, 201, "{world}");
    }
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    let process = world.pid();
    world.kill();
    whole_log(&log, process)
}

/// One run with the fault, and one without it, which must mend all by itself. Whether the fault
/// struck, and what was heard.
fn suffer(fault: &Fault) -> (bool, String) {
    let puts = puts();
    let mut world = World::prepared(GATE_OFF);
    let calls = world.dir().join("calls");
    world.run_under(fault.command(&paths(&world), &calls));
    let started = world.try_start();
    let heard: Vec<Option<u16>> = puts
        .iter()
        .map(|put| started.then(|| ask(&world, put)).flatten())
        .collect();
    for (put, status) in puts.iter().zip(&heard) {
        check_status(fault, *status, &world);
        let is_refused = matches!(status, Some(500 | 507));
        if is_refused && !fault.is_of("unlink") {
            check_nothing_left(fault, put, &world);
        }
    }
    if !started && !fault.kills() {
        let said = world.log();
        assert!(
            said.contains("error: ") && said.contains("hint: "),
            "{fault}\n{world}"
        );
    }
    let has_struck = match fault.kills() {
        true => !started || world.ends_within(Duration::from_secs(1)),
        false => fault.has_struck(&calls),
    };
    world.kill();
    world.start();
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    for (put, status) in puts.iter().zip(&heard) {
        if matches!(status, Some(200 | 201)) {
            check_stored(fault, put, &world);
        }
        let again = world.put(put).status;
        assert!(matches!(again, 200 | 201), "{fault}: {again}\n{world}");
        check_stored(fault, put, &world);
    }
    assert!(world.names("quarantine").is_empty(), "{fault}\n{world}");
    let outcome = match started {
        true => format!("{heard:?}"),
        false => "does not start".to_owned(),
    };
    (has_struck, outcome)
}

fn ask(world: &World, put: &Put) -> Option<u16> {
    let mut client = Client::try_connect(world.address())?;
    let _ = client.send(&put.bytes());
    Some(client.answer()?.status)
}

/// What may come of the fault; no answer only where the process ends into recovery.
fn check_status(fault: &Fault, status: Option<u16>, world: &World) {
    let is_sync = fault.is_of("fsync") || fault.is_of("fdatasync");
    let fine: &[Option<u16>] = match fault {
        fault if fault.kills() => &[None, Some(201)],
        fault if fault.what.contains("delay") => &[Some(201)],
        // A sync that fails is a fault of the disk, whichever error it has; and no system says of
        // statfs that it has no room.
        _ if is_sync || fault.is_of("statfs") => &[None, Some(500), Some(507), Some(201)],
        // Of a directory that cannot be opened to be synced, too: the process ends into recovery, and
        // the answer may be out before it has.
        _ if world.log().contains("the receiver ends") => &[None, Some(500), Some(507), Some(201)],
        fault if fault.is_full() => &[None, Some(507), Some(201)],
        _ => &[None, Some(500), Some(201)],
    };
    assert!(fine.contains(&status), "{fault}: {status:?}\n{world}");
}

/// What was refused has left nothing behind.
fn check_nothing_left(fault: &Fault, put: &Put, world: &World) {
    let slot = put.path.rsplit('/').next().unwrap();
    world.wait_until(&format!("nothing is left of it: {fault}"), |world| {
        let partials = world.names("incoming");
        let stays = partials.iter().any(|name| name.contains(slot));
        let is_clean = !stays && world.stored("lab-1", slot).is_none();
        // A sync or an undoing that fails ends the process, which says so, and leaves the rest to
        // recovery.
        is_clean || world.log().contains("the receiver ends")
    });
}

fn check_stored(fault: &Fault, put: &Put, world: &World) {
    let slot = put.path.rsplit('/').next().unwrap();
    let stored = world.stored("lab-1", slot);
    assert!(
        stored.as_ref() == Some(&put.body),
        "{fault}: {slot}\n{world}"
    );
    let rows = world.rows();
    let digests: Vec<_> = rows
        .iter()
        .filter(|row| row["episode"] == slot)
        .map(|row| row["sha256"].as_str().unwrap())
        .collect();
    assert_eq!(digests, [sha256(&put.body)], "{fault}: {slot}\n{world}");
}

/// A filesystem may say of direct writing what it likes, when it is opened or when it is used; and of
/// the writing out of a small body.
#[test]
fn without_direct_writing_or_writing_out_a_body_is_written_all_the_same() {
    if !can_trace("without_direct_writing_or_writing_out_a_body_is_written_all_the_same") {
        return;
    }
    let [small, large, _] = puts();
    let in_one_block = small.episode("ep-2").body(&[b'x'; 65_537]);
    let refusals = [
        (&large, "?open,openat", 2, false),
        (&large, "pwrite64", 1, false),
        (&large, "pwrite64", 3, false),
        (&in_one_block, "?sync_file_range", 1, true),
    ];
    for (put, calls, nth, from_then_on) in refusals {
        let fault = Fault {
            calls,
            what: "error=EINVAL".to_owned(),
            nth,
            from_then_on,
        };
        let mut world = World::prepared(GATE_OFF);
        let partial = world.data_dir().join("incoming/lab-1~ep-2~1.partial");
        let calls = world.dir().join("calls");
        world.run_under(fault.command(&[partial.display().to_string()], &calls));
        world.start();
        assert_eq!(world.put(put).status, 201, "{fault}\n{world}");
        assert!(fault.has_struck(&calls), "{fault} did not strike\n{world}");
        check_stored(&fault, put, &world);
    }
}

/// The kernel drops bytes for which it finds no blocks, and reports the loss to no later sync.
#[test]
fn a_body_that_cannot_be_written_out_is_refused() {
    if !can_trace("a_body_that_cannot_be_written_out_is_refused") {
        return;
    }
    let [small, ..] = puts();
    let in_one_block = small.episode("ep-2").body(&[b'x'; 65_537]);
    // The call that begins the write-out, and the call that waits for it.
    for nth in [1, 2] {
        let fault = Fault {
            calls: "?sync_file_range",
            what: "error=EIO".to_owned(),
            nth,
            from_then_on: false,
        };
        let mut world = World::prepared(GATE_OFF);
        let partial = world.data_dir().join("incoming/lab-1~ep-2~1.partial");
        let calls = world.dir().join("calls");
        world.run_under(fault.command(&[partial.display().to_string()], &calls));
        world.start();
        assert_eq!(world.put(&in_one_block).status, 500, "{fault}\n{world}");
        assert!(fault.has_struck(&calls), "{fault} did not strike\n{world}");
        check_nothing_left(&fault, &in_one_block, &world);
        assert!(world.rows().is_empty(), "{fault}\n{world}");
        assert_eq!(world.put(&in_one_block).status, 201, "{fault}\n{world}");
        check_stored(&fault, &in_one_block, &world);
    }
}

/// Where files carry no attributes that is said once, and their rows are read off the bytes.
#[test]
fn without_attributes_a_lost_index_is_read_off_the_files() {
    if !can_trace("without_attributes_a_lost_index_is_read_off_the_files") {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    let fault = Fault {
        calls: "fsetxattr",
        what: "error=EOPNOTSUPP".to_owned(),
        nth: 1,
        from_then_on: true,
    };
    let calls = world.dir().join("calls");
    world.run_under(fault.command(&paths(&world), &calls));
    world.start();
    let [small, ..] = puts();
    assert_eq!(world.put(&small).status, 201, "{world}");
    assert_eq!(
        world.log().matches("event=no_attributes").count(),
        1,
        "{world}"
    );
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
    world.run(&["backfill", "--config", &world.config_path()]);
    world.start();
    check_stored(&fault, &small, &world);
    assert_eq!(world.put(&small).status, 200, "{world}");
}
