//! Pulls from a real receiver, by a line that harms what it passes on.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::proxy::{Harm, Proxy};
use super::{Files, Target};
use crate::client::{Put, sha256};
use crate::dice::noise;
use crate::here::can_mount;
use crate::program::cis490;
use crate::reading::{NO_GATE, READER};
use crate::world::{World, is_emulated};

pub(super) fn store(world: &World, files: &mut Files, host: &str, episode: &str, bytes: &[u8]) {
    let path = format!("/v1/episodes/{host}/{episode}");
    let put = Put::sample(&"c".repeat(40)).path(&path).body(bytes);
    assert_eq!(world.put(&put).status, 201, "{world}");
    files.insert(format!("{host}/{episode}"), bytes.to_owned());
}

/// A running receiver with so many episodes, by a line.
fn with_episodes(count: u64) -> (World, Files, Proxy) {
    let world = World::with(&format!("{READER}{NO_GATE}"));
    let mut files = Files::new();
    for n in 1..=count {
        let bytes = noise(n, (n * n * 331 % 60_000) as usize);
        store(
            &world,
            &mut files,
            &format!("lab-{}", n % 2),
            &format!("ep-{n}"),
            &bytes,
        );
    }
    let proxy = Proxy::new(world.address(), count);
    (world, files, proxy)
}

pub(super) fn restart(world: &mut World, proxy: &Proxy) {
    world.start();
    *proxy.to.lock().unwrap() = world.address();
}

#[test]
fn everything_comes_with_the_receipts_as_they_stand() {
    let (world, mut files, proxy) = with_episodes(12);
    let target = Target::new();
    let ran = target.pull_all(&proxy.url, &files);
    assert!(ran.out.starts_with("12 episodes fetched, "), "{ran}");
    let mut receipts = target.receipts();
    receipts.sort();
    let index = fs::read_to_string(world.data_dir().join("index.jsonl")).unwrap();
    let mut rows: Vec<&str> = index.lines().collect();
    rows.sort();
    assert_eq!(receipts, rows);
    store(&world, &mut files, "lab-9", "new", b"new");
    let ran = target.pull_all(&proxy.url, &files);
    assert!(ran.out.starts_with("1 episode fetched"), "{ran}");
    assert_eq!(target.pull_all(&proxy.url, &files).out, "nothing new\n");
}

#[test]
fn one_host_alone_and_then_all() {
    let (_world, files, proxy) = with_episodes(10);
    let target = Target::new();
    let of_host: Files = files
        .iter()
        .filter(|(slot, _)| slot.starts_with("lab-1/"))
        .map(|(slot, bytes)| (slot.clone(), bytes.clone()))
        .collect();
    for _ in 0..2 {
        let ran = target.pull(&proxy.url, &["--host", "lab-1"]);
        assert_eq!(ran.code, Some(0), "{ran}");
        target.check(&of_host, "one host");
    }
    let ran = target.pull_all(&proxy.url, &files);
    assert!(
        ran.err.contains("the last pull asked for other hosts"),
        "{ran}"
    );
    let ran = target.pull(&proxy.url, &["--host", "lab-1"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    target.check(&files, "all stay");
}

#[test]
fn an_index_rebuilt_by_backfill_fetches_nothing_again() {
    let (mut world, mut files, proxy) = with_episodes(10);
    let target = Target::new();
    target.pull_all(&proxy.url, &files);
    let inodes = || {
        files
            .keys()
            .map(|slot| super::inode(&target.tarball(slot)))
            .collect::<Vec<_>>()
    };
    let before = inodes();
    world.stop();
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
    world.run(&["backfill", "--config", &world.config_path()]);
    restart(&mut world, &proxy);
    let ran = target.pull_all(&proxy.url, &files);
    assert!(ran.err.contains("its index was rebuilt"), "{ran}");
    assert_eq!(inodes(), before);
    store(&world, &mut files, "lab-1", "new", b"new");
    assert_eq!(target.pull_all(&proxy.url, &files).err, "");
}

#[test]
fn a_receiver_restored_from_a_copy_takes_nothing_away() {
    let (mut world, mut files, proxy) = with_episodes(4);
    let target = Target::new();
    world.stop();
    let copy = world.dir().join("copy");
    copy_tree(&world.data_dir(), &copy);
    restart(&mut world, &proxy);
    store(&world, &mut files, "lab-1", "lost", b"only in the folder");
    target.pull_all(&proxy.url, &files);
    world.stop();
    fs::remove_dir_all(world.data_dir()).unwrap();
    copy_tree(&copy, &world.data_dir());
    restart(&mut world, &proxy);
    let ran = target.pull_all(&proxy.url, &files);
    assert!(ran.err.contains("its index was rebuilt"), "{ran}");
    store(&world, &mut files, "lab-1", "after", b"after");
    target.pull_all(&proxy.url, &files);
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

#[test]
fn a_receiver_that_restarts_meanwhile_is_waited_for() {
    let (mut world, files, proxy) = with_episodes(10);
    world.stop();
    let target = Target::new();
    let mut command = target.command(&proxy.url, &[]);
    let pull = command.spawn().unwrap();
    // The folder is there before the first question.
    while !target.file("pull.lock").exists() {
        std::thread::yield_now();
    }
    restart(&mut world, &proxy);
    let output = pull.wait_with_output().unwrap();
    assert!(output.status.success(), "{world}");
    target.check(&files, "after the restart");
}

#[test]
fn a_line_that_cuts_off_or_flips_bits_brings_no_wrong_byte() {
    for harm in [Harm::Cuts, Harm::Flips] {
        let (_world, files, proxy) = with_episodes(14);
        *proxy.harm.lock().unwrap() = harm;
        let target = Target::new();
        // Rows may be harmed as well as bytes; what is taken is right all the same.
        for _ in 0..3 {
            target.pull(&proxy.url, &[]);
            for (slot, bytes) in &files {
                if let Ok(taken) = fs::read(target.tarball(slot)) {
                    assert!(taken == *bytes, "{slot}");
                }
            }
        }
        *proxy.harm.lock().unwrap() = Harm::Nothing;
        target.pull_all(&proxy.url, &files);
    }
}

#[test]
fn who_may_not_read_gets_nothing_and_hears_what_to_do() {
    let token = format!(
        "[[reader]]\nid = \"r\"\ntoken_sha256 = \"{}\"\n",
        sha256(b"sesame")
    );
    let elsewhere = "[[reader]]\nid = \"r\"\naddress = \"10.8.0.9\"\n";
    for (readers, status, words) in [
        ("", "403 not-a-reader", "[[reader]]"),
        (elsewhere, "403 not-a-reader", "127.0.0.1"),
        (&*token, "401 no-reader-token", "token"),
    ] {
        let world = World::with(&format!("{readers}{NO_GATE}"));
        let target = Target::new();
        let ran = target.pull(&format!("http://{}", world.address()), &[]);
        assert_eq!(ran.code, Some(1), "{ran}");
        let said = format!("answered {status}: ");
        assert!(
            ran.err.contains(&said) && ran.err.contains(words),
            "{status}\n{ran}"
        );
        assert!(!target.file("index.jsonl").exists(), "{ran}");
    }
}

/// A filesystem of its own that is full, and has room later.
#[test]
fn a_disk_that_is_full_waits_for_room() {
    if is_emulated() || !can_mount("a_disk_that_is_full_waits_for_room") {
        return;
    }
    let (_world, files, proxy) = with_episodes(60);
    let target = Target::new();
    fs::create_dir(target.path()).unwrap();
    let program = cis490().get_program().to_str().unwrap().to_owned();
    let dir = target.path().display().to_string();
    let pull = format!("{program} pull --url {} --to {dir}", proxy.url);
    let script = format!(
        "mount -t tmpfs -o size=400k tmpfs {dir} && {{ {pull}; echo first=$?; \
         mount -o remount,size=64m {dir}; {pull}; echo second=$?; \
         ls {dir}/lab-*/*.tar.zst | wc -l; }}"
    );
    let mut command = Command::new("unshare");
    let ran = super::ran(command.args(["-Umr", "sh", "-c", &script]));
    assert!(ran.out.contains("first=1\n"), "{ran}");
    assert!(ran.err.contains("the disk is full: make room"), "{ran}");
    assert!(ran.out.contains("second=0\n"), "{ran}");
    let count = ran.out.lines().last().unwrap_or_default();
    assert_eq!(count.trim(), files.len().to_string(), "{ran}");
}
