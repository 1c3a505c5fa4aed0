//! What the store leaves on the disk: the order of its steps, every crash and fault in it, what is
//! found at start, and what stands under a name before an upload comes.
//!
//! The gate is off in most of these worlds, so that no other thread takes durable steps.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use crate::client::{Put, sha256};
use crate::world::{World, cis490};

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn prepared() -> World {
    World::prepared(GATE_OFF)
}

fn running() -> World {
    World::with(GATE_OFF)
}

fn sample() -> Put {
    Put::sample(COMMIT)
}

/// Bytes that differ from block to block, so that one in the wrong place is seen.
fn body(bytes: usize) -> Vec<u8> {
    (0..bytes as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8)
        .collect()
}

/// One file, one row that names it, and nothing else.
fn check_one_episode(world: &World, put: &Put, what: &str) {
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    let stored = world.stored("lab-1", "ep-1");
    assert_eq!(stored.as_ref(), Some(&put.body), "{what}\n{world}");
    let rows = world.rows();
    assert_eq!(rows.len(), 1, "{what}\n{world}");
    assert_eq!(rows[0]["sha256"], sha256(&put.body), "{what}\n{world}");
    assert_eq!(world.names("episodes/lab-1"), ["ep-1.tar.zst"], "{what}");
}

// --- the order, and each way to break it ---

/// The steps of opening a store and of one upload into it, by name.
fn steps_of_one_upload(put: &Put) -> (Vec<String>, Vec<String>) {
    let mut world = prepared();
    let steps_file = world.dir().join("steps");
    world.env("CIS490_STEPS", steps_file.display());
    world.start();
    let steps = || fs::read_to_string(&steps_file).unwrap();
    let at_start = steps();
    assert_eq!(world.put(put).status, 201, "{world}");
    let of_upload = || steps()[at_start.len()..].to_owned();
    world.wait_until("the upload is over", |_| of_upload().ends_with("unlink\n"));
    let names = |text: &str| text.lines().map(str::to_owned).collect();
    (names(&at_start), names(&of_upload()))
}

#[test]
fn the_steps_of_an_upload_are_taken_in_the_stated_order() {
    let (_, mut of_upload) = steps_of_one_upload(&sample());
    // Directories and index are synced side by side, so these come in any order among themselves.
    if let Some(syncs) = of_upload.get_mut(8..11) {
        syncs.sort_unstable();
    }
    assert_eq!(
        of_upload,
        [
            "create",
            "allocate",
            "write",
            "attribute",
            "fsync file",
            "mkdir",
            "link",
            "append",
            "fdatasync",
            "fsync dir", // episodes/, where the name of the host is new
            "fsync dir", // episodes/<host>
            "answer",
            "unlink",
        ]
    );
}

#[test]
fn every_crash_leaves_nothing_or_the_whole_episode() {
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
    let put = sample().body(&body(5000));
    let (at_start, of_upload) = steps_of_one_upload(&put);
    thread::scope(|scope| {
        for (errno, refusal) in [(5, 500), (28, 507)] {
            for (n, name) in of_upload.iter().enumerate() {
                let step = at_start.len() + n + 1;
                fault(&put, ("CIS490_FAIL_AT", step), errno, wanted(name, refusal));
            }
            let (put, steps) = (&put, at_start.len() + of_upload.len());
            scope.spawn(move || {
                for step in 1..=steps {
                    fault(
                        put,
                        ("CIS490_FAIL_FROM", step),
                        errno,
                        &[Some(201), Some(refusal), Some(500), None],
                    );
                }
            });
        }
    });
}

/// What may come of a step that fails; no answer when the process ends instead.
fn wanted(step: &str, refusal: u16) -> &'static [Option<u16>] {
    match (step, refusal) {
        ("fsync dir" | "fdatasync", _) => &[Some(500), None],
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
    let (at_start, of_upload) = steps_of_one_upload(&sample());
    let sync = of_upload.iter().position(|name| name == "fdatasync");
    let mut world = prepared();
    world.env("CIS490_FAIL_AT", at_start.len() + sync.unwrap() + 1);
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
    if !can_mount() {
        eprintln!(
            "skipped: a_disk_that_is_really_full_is_507_and_leaves_nothing: no user namespaces here"
        );
        return;
    }
    let mut world = prepared();
    world.mount_at_start("2m");
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
    assert!(world.names("incoming").is_empty(), "{world}");
}

fn can_mount() -> bool {
    let tried = std::process::Command::new("unshare")
        .args(["-Umr", "mount", "-t", "tmpfs", "none", "/mnt"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

// --- bodies ---

#[test]
fn bodies_of_every_size_arrive_as_they_were_sent() {
    let world = running();
    const MIB: usize = 1 << 20;
    for bytes in [
        0,
        1,
        4096,
        (256 << 10) - 1,
        (256 << 10) + 1,
        4 * MIB - 1,
        4 * MIB,
        4 * MIB + 1,
        9 * MIB + 12_345,
    ] {
        let name = format!("ep-{bytes}");
        let put = sample().episode(&name).body(&body(bytes));
        assert_eq!(world.put(&put).status, 201, "{bytes}\n{world}");
        assert!(world.stored("lab-1", &name).unwrap() == put.body, "{bytes}");
    }
}

/// A peer that stalls makes us write what we hold and give the memory back: blocks then begin
/// anywhere, and must still end up in their places.
#[test]
fn a_body_in_fits_and_starts_arrives_as_it_was_sent() {
    let world = running();
    let put = sample().body(&body(7_000_001));
    let mut client = world.client();
    client.send(&put.head()).unwrap();
    let mut rest = &put.body[..];
    for part in [1, 100_000, 3_000_000, 48_577, 1 << 20, usize::MAX] {
        let (now, later) = rest.split_at(part.min(rest.len()));
        client.send(now).unwrap();
        thread::sleep(Duration::from_millis(60)); // the stall itself, longer than a buffer is kept
        rest = later;
    }
    assert_eq!(client.answer().unwrap().status, 201, "{world}");
    assert!(world.stored("lab-1", "ep-1").unwrap() == put.body);
}

/// 64 at once, large, half of them stalled in the middle: memory stays where it was promised.
#[test]
fn sixty_four_uploads_at_once_stay_small() {
    let world = running();
    let put = sample().body(&body(5 << 20));
    let half = put.body.len() / 2;
    thread::scope(|scope| {
        for n in 0..64 {
            let (world, put) = (&world, put.clone().episode(&format!("ep-{n}")));
            scope.spawn(move || {
                let mut client = world.client();
                client.send(&put.head()).unwrap();
                client.send(&put.body[..half]).unwrap();
                world.wait_until("all are under way", |world| {
                    world.names("incoming").len() + world.names("episodes/lab-1").len() >= 64
                });
                client.send(&put.body[half..]).unwrap();
                assert_eq!(client.answer().unwrap().status, 201, "{world}");
            });
        }
    });
    assert_eq!(world.rows().len(), 64);
    let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak_kib: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    eprintln!("peak {peak_kib} KiB");
    assert!(peak_kib < 64 << 10, "{peak_kib} KiB");
}

#[test]
fn what_is_not_what_was_stated_leaves_nothing() {
    let world = running();
    let zeros = "0".repeat(64);
    for bytes in [10, 5 << 20] {
        let put = sample().body(&body(bytes)).sha256(&zeros);
        assert_eq!(world.put(&put).status, 422, "{world}");
        let mut client = world.client();
        client.send(&sample().body(&body(bytes)).head()).unwrap();
        client.send(&body(bytes / 2)).unwrap();
        drop(client);
    }
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    assert!(
        world.rows().is_empty() && world.names("episodes").is_empty(),
        "{world}"
    );
}

// --- many at once ---

/// While one batch syncs, slowly, the others gather: all are stored in few batches.
#[test]
fn uploads_that_end_together_share_their_syncs() {
    let mut world = prepared();
    let steps_file = world.dir().join("steps");
    world.env("CIS490_STEPS", steps_file.display());
    world.env("CIS490_SYNC_DELAY_MS", 100);
    world.start();
    let before = fs::read_to_string(&steps_file).unwrap().len();
    thread::scope(|scope| {
        for n in 0..32 {
            let (world, put) = (&world, sample().episode(&format!("ep-{n}")));
            scope.spawn(move || assert_eq!(world.put(&put).status, 201, "{world}"));
        }
    });
    let steps = fs::read_to_string(&steps_file).unwrap()[before..].to_owned();
    let count = |name: &str| steps.lines().filter(|step| *step == name).count();
    assert_eq!((count("link"), count("fsync file")), (32, 32));
    assert!(
        count("fdatasync") <= 16,
        "{} batches\n{steps}",
        count("fdatasync")
    );
    let mut seqs: Vec<u64> = world
        .rows()
        .iter()
        .map(|row| row["seq"].as_u64().unwrap())
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=32).collect::<Vec<u64>>());
}

/// Several senders of one name: one file and row; the same bytes are all accepted, others refused.
#[test]
fn uploads_of_one_name_at_once_agree() {
    let mut world = prepared();
    world.env("CIS490_SYNC_DELAY_MS", 30);
    world.start();
    let statuses: Vec<(usize, u16)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let (world, put) = (&world, sample().body(&body(2000 + n % 2)));
                scope.spawn(move || (n % 2, world.put(&put).status))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let fresh: Vec<_> = statuses
        .iter()
        .filter(|(_, status)| *status == 201)
        .collect();
    assert_eq!(fresh.len(), 1, "{statuses:?}\n{world}");
    let winner = fresh[0].0;
    for (sender, status) in &statuses {
        let wanted: &[u16] = if *sender == winner {
            &[200, 201]
        } else {
            &[409]
        };
        assert!(wanted.contains(status), "{statuses:?}\n{world}");
    }
    check_one_episode(&world, &sample().body(&body(2000 + winner)), "one of them");
}

// --- what stands under a name ---

#[test]
fn a_file_without_a_row_gets_one_from_the_same_bytes_only() {
    let world = running();
    let host_dir = world.data_dir().join("episodes/lab-1");
    fs::create_dir(&host_dir).unwrap();
    fs::write(host_dir.join("ep-1.tar.zst"), &sample().body).unwrap();
    let same_length: Vec<u8> = sample().body.iter().map(|b| b ^ 1).collect();
    for (what, put, want) in [
        ("other bytes", sample().body(b"other"), 409),
        (
            "other bytes of that length",
            sample().body(&same_length),
            409,
        ),
        ("the same bytes", sample(), 200),
        ("the same bytes again", sample(), 200),
        ("other bytes now", sample().body(b"other"), 409),
    ] {
        assert_eq!(world.put(&put).status, want, "{what}\n{world}");
    }
    check_one_episode(&world, &sample(), "adopted");
}

#[test]
fn a_row_without_a_file_takes_the_same_bytes_again_without_a_second_row() {
    let world = running();
    let first = world.put(&sample());
    assert_eq!(first.status, 201);
    let file = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    fs::remove_file(&file).unwrap();
    assert_eq!(world.put(&sample().body(b"other")).status, 409);
    assert!(!file.exists());
    let again = world.put(&sample());
    assert_eq!(again.status, 201, "{world}");
    assert_eq!(again.json(), first.json());
    check_one_episode(&world, &sample(), "stored again");
}

#[test]
fn a_damaged_file_gives_way_into_quarantine() {
    let world = running();
    assert_eq!(world.put(&sample()).status, 201);
    let file = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    fs::write(&file, b"torn").unwrap();
    assert_eq!(world.put(&sample().body(b"other")).status, 409, "{world}");
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    check_one_episode(&world, &sample(), "mended");
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"]);
    let kept = fs::read(world.data_dir().join("quarantine/ep-1.tar.zst.1")).unwrap();
    assert_eq!(kept, b"torn");
    assert!(
        world.log().contains("event=damaged_file_replaced"),
        "{world}"
    );
    assert_eq!(world.put(&sample()).status, 200);
}

#[test]
fn a_name_that_leads_nowhere_is_our_fault_and_harms_nothing() {
    let world = running();
    let host_dir = world.data_dir().join("episodes/lab-1");
    fs::create_dir(&host_dir).unwrap();
    symlink("/nowhere/at/all", host_dir.join("ep-1.tar.zst")).unwrap();
    assert_eq!(world.put(&sample()).status, 500, "{world}");
    assert!(world.log().contains("event=store_fault"), "{world}");
    assert_eq!(world.put(&sample().episode("ep-2")).status, 201);
    assert!(world.rows().len() == 1, "{world}");
}

// --- what is found at start ---

/// A store with one episode, stopped; its tarball's path.
fn with_one_episode() -> (World, std::path::PathBuf) {
    let mut world = running();
    assert_eq!(world.put(&sample()).status, 201);
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    let tarball = world.data_dir().join("episodes/lab-1/ep-1.tar.zst");
    (world, tarball)
}

#[test]
fn recovery_tells_the_published_from_the_rest() {
    let (mut world, tarball) = with_one_episode();
    let row = world.rows().remove(0);
    let incoming = world.data_dir().join("incoming");
    // Killed between the link and the row.
    fs::hard_link(&tarball, incoming.join("lab-1~ep-1~7.partial")).unwrap();
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    // An upload that never ended, with a second name as backups make it.
    let cut_off = incoming.join("lab-1~ep-2~1.partial");
    fs::write(&cut_off, b"half").unwrap();
    fs::hard_link(&cut_off, world.dir().join("backup")).unwrap();
    // Other bytes for a name that is stored.
    fs::write(incoming.join("lab-1~ep-1~8.partial"), b"late").unwrap();
    // Not ours.
    fs::write(incoming.join("notes.txt"), b"mine").unwrap();
    fs::create_dir(incoming.join("lab-1~ep-3~1.partial")).unwrap();
    symlink(&tarball, incoming.join("lab-1~ep-1~9.partial")).unwrap();
    world.start();
    check_one_episode(&world, &sample(), "recovered");
    assert_eq!(
        world.rows()[0],
        row,
        "the file carries its receipt\n{world}"
    );
    let kept = world.names("quarantine");
    assert_eq!(
        kept,
        [
            "lab-1~ep-1~9.partial.1",
            "lab-1~ep-3~1.partial.1",
            "notes.txt.1"
        ],
        "{world}"
    );
    assert!(world.log().contains("recovered=1 swept=2"), "{world}");
    assert_eq!(world.put(&sample()).status, 200);
    assert_eq!(world.put(&sample().episode("ep-2")).json()["seq"], 2);
}

#[test]
fn a_torn_index_is_cut_and_its_row_comes_back_by_backfill() {
    let (mut world, _) = with_one_episode();
    world.start();
    assert_eq!(world.put(&sample().episode("ep-2")).status, 201);
    // An upload whose end was not tidied up would get its row back by recovery.
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    let index = world.data_dir().join("index.jsonl");
    let whole = fs::read(&index).unwrap();
    let second = 1 + whole.iter().position(|&b| b == b'\n').unwrap();
    for torn in [
        whole[..whole.len() - 1].to_vec(),
        whole[..second + 10].to_vec(),
        [&whole[..second], &[0; 4096]].concat(),
    ] {
        fs::write(&index, &torn).unwrap();
        let told = world.run(&["backfill", "--config", &world.config_path()]);
        assert!(told.contains("added lab-1/ep-2"), "{told}");
        assert_eq!(fs::read(&index).unwrap(), whole, "{world}");
    }
    assert_eq!(world.names("quarantine").len(), 3, "{world}");
}

#[test]
fn an_index_with_old_and_odd_rows_is_served_and_kept() {
    let (mut world, _) = with_one_episode();
    let index = world.data_dir().join("index.jsonl");
    let digest = sha256(b"old");
    let before = format!(
        "{}what is this\n{{\"host\":\"lab-9\",\"episode\":\"old\",\"sha256\":\"{digest}\",\"commit\":\"unknown\"}}\n",
        fs::read_to_string(&index).unwrap()
    );
    fs::write(&index, &before).unwrap();
    world.start();
    assert!(world.log().contains("event=unreadable_row "), "{world}");
    let old = world.get("/v1/episodes/lab-9/old");
    assert_eq!((old.status, &old.json()["sha256"]), (200, &digest.into()));
    assert_eq!(world.put(&sample().episode("ep-2")).json()["seq"], 2);
    let after = fs::read_to_string(&index).unwrap();
    assert!(after.starts_with(&before), "{after}");
}

#[test]
fn a_folder_that_is_no_store_is_refused_with_the_command() {
    let mut world = prepared();
    fs::remove_file(world.data_dir().join("cis490-store")).unwrap();
    assert!(!world.try_start());
    let command = format!("cis490 init --config {}", world.config_path());
    assert!(world.log().contains(&command), "{world}");
    fs::remove_dir_all(world.data_dir()).unwrap();
    assert!(!world.try_start());
    assert!(world.log().contains("does not exist"), "{world}");
    assert!(!world.data_dir().exists(), "nothing was begun");
    let told = world.run(&["init", "--config", &world.config_path()]);
    assert!(told.contains("is a store now"), "{told}");
    world.start();
    assert_eq!(world.put(&sample()).status, 201);
    let told = world.run(&["init", "--config", &world.config_path()]);
    assert!(told.contains("was a store already"), "{told}");
    assert_eq!(world.put(&sample()).status, 200);
}

// --- backfill ---

/// An episode packed by the real code, as a shipper would.
fn packed(world: &World, commit: &str) -> Vec<u8> {
    let dir = world.dir().join("made");
    fs::create_dir_all(&dir).unwrap();
    let meta = format!(r#"{{"code_version":{{"commit":"{commit}","dirty":true}}}}"#);
    fs::write(dir.join("meta.json"), meta).unwrap();
    fs::write(dir.join("data"), body(1000)).unwrap();
    let tarball = world.dir().join("made.tar");
    let made = std::process::Command::new("tar")
        .args(["-C", &world.dir().display().to_string(), "-cf"])
        .arg(&tarball)
        .arg("made")
        .status();
    assert!(made.unwrap().success());
    let bytes = fs::read(tarball).unwrap();
    ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn backfill_makes_rows_from_the_files_themselves() {
    let (mut world, stored) = with_one_episode();
    let row = world.rows().remove(0);
    let tarball = packed(&world, COMMIT);
    let episodes = world.data_dir().join("episodes");
    fs::create_dir(episodes.join("lab-2")).unwrap();
    let by_hand = episodes.join("lab-2/by-hand.tar.zst");
    fs::write(&by_hand, &tarball).unwrap();
    fs::write(episodes.join("lab-2/no-archive.tar.zst"), b"just bytes").unwrap();
    fs::write(episodes.join("lab-2/README"), b"odd").unwrap();
    fs::create_dir(episodes.join("Not A Host")).unwrap();
    // As cp -p and rsync bring them: one from the year before, one from the year before that.
    let years =
        |n: u64| std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n * 31_536_000);
    let set_time = |path: &std::path::Path, time| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    set_time(&by_hand, years(1));
    set_time(&episodes.join("lab-2/no-archive.tar.zst"), years(0));
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();

    let config = world.config_path();
    let dry = world.run(&["backfill", "--config", &config, "--dry-run"]);
    assert!(
        dry.contains("would add lab-2/by-hand") && dry.contains("would add lab-1/ep-1"),
        "{dry}"
    );
    assert!(!world.data_dir().join("index.jsonl").exists(), "{world}");

    let told = world.run(&["backfill", "--config", &config]);
    assert!(
        told.contains("3 rows added, 2 odd things left alone, 0 files failed"),
        "{told}"
    );
    let rows = world.rows();
    let names: Vec<_> = rows
        .iter()
        .map(|row| row["episode"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["no-archive", "by-hand", "ep-1"],
        "in order of their times\n{world}"
    );
    assert_eq!(rows[0]["commit"], serde_json::Value::Null);
    assert_eq!(rows[0]["received_at"], "2023-11-14T22:13:20Z");
    assert_eq!(
        (&rows[1]["commit"], &rows[1]["dirty"]),
        (&COMMIT.into(), &true.into())
    );
    assert_eq!(rows[1]["sha256"], sha256(&tarball));
    assert_eq!(rows[1]["bytes"], tarball.len());
    assert_eq!(rows[1]["path"], "episodes/lab-2/by-hand.tar.zst");
    // What it carries is told, but for the number.
    let mut carried = row;
    carried["seq"] = 3.into();
    assert_eq!(rows[2], carried);
    assert_eq!(fs::read(stored).unwrap(), sample().body);

    let again = world.run(&["backfill", "--config", &config]);
    assert!(
        again.contains("3 episodes have a row, 0 have none"),
        "{again}"
    );
    assert!(again.contains("0 rows added"), "{again}");
    assert_eq!(world.rows(), rows);
    world.start();
    assert_eq!(world.put(&sample()).status, 200);
}

#[test]
fn backfill_asks_a_running_receiver_to_stop_first() {
    let world = running();
    for flags in [&["--dry-run"][..], &[]] {
        let config = world.config_path();
        let refused = cis490()
            .args(["backfill", "--config", &config])
            .args(flags)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(1));
        let words = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(words.contains("another cis490 is at work"), "{words}");
        assert!(words.contains("stop the receiver first"), "{words}");
    }
}

#[test]
fn a_receipt_that_the_file_carries_is_believed_only_of_these_bytes() {
    let (world, tarball) = with_one_episode();
    let mut file = fs::File::options().append(true).open(tarball).unwrap();
    file.write_all(b"!").unwrap();
    drop(file);
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    world.run(&["backfill", "--config", &world.config_path()]);
    let row = world.rows().remove(0);
    let bytes = [&sample().body[..], b"!"].concat();
    assert_eq!(row["sha256"], sha256(&bytes));
    assert_eq!(row["commit"], serde_json::Value::Null);
}

// --- init for a lab host ---

#[test]
fn init_makes_a_lab_hosts_root() {
    let world = prepared();
    let root = world.dir().join("queue");
    let config = world.dir().join("shipper.toml");
    let text = format!("receiver_url = \"http://pi:8490\"\nhost_id = \"lab-1\"\nroot = {root:?}\n");
    fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    for _ in 0..2 {
        world.run(&["init", "--config", &config]);
        for folder in ["episodes", "outbox", "shipped", "refused"] {
            assert!(root.join(folder).is_dir(), "{folder}");
        }
    }
    let neither = world.dir().join("neither.toml");
    fs::write(&neither, "scan_seconds = 5\n").unwrap();
    let refused = cis490()
        .args(["init", "--config"])
        .arg(&neither)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("neither data_dir"), "{words}");
}
