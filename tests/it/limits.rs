//! Limits that bite in the middle of a write, and disks with no room or no inode left, for real.

use std::fs;

use crate::client::Put;
use crate::here::can_mount;
use crate::lab::{Lab, noise};
use crate::syscalls::can_trace;
use crate::world::{World, cis490, is_emulated};

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn sample(n: usize, bytes: usize) -> Put {
    let body: Vec<u8> = (0..bytes).map(|i| (i * 7 + n) as u8).collect();
    Put::sample(COMMIT).episode(&format!("ep-{n}")).body(&body)
}

/// What was answered 201, and no more, is in the store.
fn check(world: &World, stored: &[usize], what: &str) {
    let names = |n: &usize| format!("ep-{n}");
    let rows = world.rows();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row["episode"].as_str().unwrap())
        .collect();
    assert_eq!(
        rows,
        stored.iter().map(names).collect::<Vec<_>>(),
        "{what}\n{world}"
    );
    assert_eq!(
        world.names("episodes/lab-1").len(),
        stored.len(),
        "{what}\n{world}"
    );
    assert!(world.names("incoming").is_empty(), "{what}\n{world}");
}

/// No file may grow beyond 2048 bytes: the write that crosses it is short, and the next is EFBIG.
/// So the index ends in half a row, which is taken back.
#[test]
fn a_short_write_of_a_row_is_taken_back() {
    let mut world = World::prepared(GATE_OFF);
    // Its log is a file as well, and ends there: that stops nobody.
    let limit = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
    world.run_under(["sh", "-c", limit].map(str::to_owned).into());
    world.start();
    let (mut stored, mut refused) = (Vec::new(), 0);
    for n in 0..12 {
        match world.put(&sample(n, 500)).status {
            201 => stored.push(n),
            500 => refused += 1,
            other => panic!("{other}\n{world}"),
        }
    }
    assert!(stored.len() > 2 && refused > 2, "{stored:?}\n{world}");
    let index = fs::read(world.data_dir().join("index.jsonl")).unwrap();
    assert_eq!(index.last(), Some(&b'\n'), "half a row is left\n{world}");
    check(&world, &stored, "limited");
    world.kill();
    world.start();
    check(&world, &stored, "without the limit");
    for n in 0..12 {
        let wanted = if stored.contains(&n) { 200 } else { 201 };
        assert_eq!(world.put(&sample(n, 500)).status, wanted, "{world}");
    }
}

/// A filter of system calls may forbid to ask for the limit on open files. The receiver then ends with
/// words, and does not go by a number that no call has given.
#[test]
fn a_limit_on_open_files_that_cannot_be_read_is_none() {
    if is_emulated() {
        return skip!("strace would see the emulator, and not the program");
    }
    if !can_trace("a_limit_on_open_files_that_cannot_be_read_is_none") {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null"];
    let forbid = ["-e", "inject=prlimit64,?getrlimit:error=EPERM"];
    world.run_under(
        [&strace[..], &forbid[..]]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect(),
    );
    assert!(!world.try_start(), "{world}");
    let why = "the limit on open files is 0, too few";
    assert!(world.log().contains(why), "{world}");
}

/// Bodies of all sizes into 8 MiB, until nothing more fits, and then again.
#[test]
fn a_disk_of_8_mib_takes_what_fits_and_refuses_the_rest() {
    fill("size=8m", &[5 << 20, 1 << 20, 300_000, 20_000, 3_000, 10]);
}

/// No inode is left while there is room enough.
#[test]
fn a_disk_without_inodes_refuses_and_leaves_nothing() {
    fill("size=8m,nr_inodes=40", &[1000, 10]);
}

fn fill(options: &'static str, sizes: &[usize]) {
    if !can_mount(&format!("a tmpfs with {options}")) {
        return;
    }
    let mut world = World::prepared(GATE_OFF);
    world.mount_at_start(options);
    world.start();
    let (mut stored, mut refused) = (Vec::new(), 0);
    for n in 0..3000 {
        let size = sizes[refused.min(sizes.len() - 1)];
        match world.put(&sample(n, size)).status {
            201 => stored.push(n),
            507 => refused += 1,
            // Once the look of the second has seen that no inodes are left.
            503 if world.log().contains("inodes left") => refused += 1,
            other => panic!("{other}\n{world}"),
        }
        if refused > sizes.len() + 5 {
            break;
        }
    }
    assert!(refused > sizes.len() + 5, "{refused} {stored:?}\n{world}");
    assert!(stored.len() > 3, "{stored:?}\n{world}");
    check(&world, &stored, options);
    // Some go, as an operator would archive them, and one fits again. (A tmpfs counts a second name as
    // an inode of its own.)
    for archived in stored.drain(..3) {
        let name = format!("episodes/lab-1/ep-{archived}.tar.zst");
        fs::remove_file(world.data_dir().join(name)).unwrap();
    }
    world.wait_until("it has seen that there is room", |world| {
        world.get("/v1/health").status == 200
    });
    assert_eq!(
        world.put(&sample(9999, 10)).status,
        201,
        "{options}\n{world}"
    );
}

/// A lab host whose disk is full packs nothing, says so and loses nothing; with room again all of
/// it is shipped.
#[test]
fn a_lab_host_without_room_keeps_its_episodes() {
    let fill = "dd if=/dev/zero of=$root/fill bs=4k 2>/dev/null || :";
    ship_from("size=8m", fill, 900_000);
}

#[test]
fn a_lab_host_without_inodes_keeps_its_episodes() {
    let fill = "n=0; while touch $root/fill-$n 2>/dev/null; do n=$((n+1)); done";
    ship_from("size=8m,nr_inodes=100", fill, 900);
}

/// Three episodes on a tmpfs with these options, which `fill` fills up: once before the very first
/// run, once after it.
fn ship_from(options: &str, fill: &str, bytes: usize) {
    if !can_mount(&format!("shipping from a tmpfs with {options}")) {
        return;
    }
    let world = World::with(GATE_OFF);
    let lab = Lab::new(&format!("http://{}", world.address()));
    let recorded = lab.dir().join("recorded");
    for id in ["ep-1", "ep-2", "ep-3"] {
        lab.episode_with(id, COMMIT, &noise(bytes));
    }
    fs::rename(lab.path("episodes"), &recorded).unwrap();
    let script = format!(
        "root={:?}; config={:?}; ship() {{ code=0; $0 ship --once --config $config || code=$?; echo code=$code; }}
        set -e; mount -t tmpfs -o {options} none $root; $0 init --config $config >/dev/null
        {fill}; ship; rm $root/fill*; ship
        echo ---; cp -r {recorded:?}/. $root/episodes; {fill}
        ship; ls $root/episodes $root/refused; rm $root/fill*; ship; ls $root/episodes $root/outbox",
        lab.root(),
        lab.config(),
    );
    let program = cis490();
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let ran = std::process::Command::new("unshare")
        .args(["-Umr", "sh", "-c", &script, &words.join(" ")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).replace(&lab.root().display().to_string(), "");
    let log = String::from_utf8_lossy(&ran.stderr);
    let after: Vec<&str> = said.lines().skip_while(|line| *line != "---").collect();
    let wanted = [
        "---",
        "0 shipped, 0 refused, 0 held, 3 waiting",
        "code=1",
        "/episodes:",
        "ep-1",
        "ep-2",
        "ep-3",
        "",
        "/refused:",
        "3 shipped, 0 refused, 0 held, 0 waiting",
        "code=0",
        "/episodes:",
        "",
        "/outbox:",
    ];
    assert_eq!(after, wanted, "{options}\n{said}\n{log}\n{world}");
    assert!(log.contains("event=disk_full"), "{options}\n{log}");
    let hinted = !log.contains("cannot lock") || log.contains("hint: make room on that disk");
    assert!(hinted, "{options}\n{log}");
    assert_eq!(world.rows().len(), 3, "{options}\n{log}\n{world}");
}
