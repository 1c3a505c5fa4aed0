//! `cis490 scrub` on real files: bits that flip, files that go, rows that lack.

use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{PATIENCE, Put};
use crate::process::{freeze, signal};
use crate::world::{World, cis490};

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn begin(world: &World, args: &[&str]) -> Child {
    cis490()
        .args(["scrub", "--config", &world.config_path()])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn scrub(world: &World, args: &[&str]) -> Ended {
    begin(world, args).wait_with_output().unwrap().into()
}

/// A receiver with these episodes, each of so many bytes.
fn with_episodes(names: &[&str], bytes: usize) -> World {
    let world = World::new();
    for (number, name) in names.iter().enumerate() {
        store(&world, name, &vec![number as u8; bytes]);
    }
    world
}

fn store(world: &World, episode: &str, body: &[u8]) {
    let put = Put::sample(world.repo.head()).episode(episode).body(body);
    assert_eq!(world.put(&put).status, 201, "{world}");
}

fn tarball(world: &World, episode: &str) -> std::path::PathBuf {
    let name = format!("episodes/lab-1/{episode}.tar.zst");
    world.data_dir().join(name)
}

/// One bit, as a disk loses it: neither size nor time tells.
fn flip_a_bit(world: &World, episode: &str) {
    let path = tarball(world, episode);
    let (bytes, time) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap());
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let middle = bytes.len() / 2;
    file.seek(SeekFrom::Start(middle as u64)).unwrap();
    file.write_all(&[bytes[middle] ^ 1]).unwrap();
    file.set_modified(time.modified().unwrap()).unwrap();
}

fn tree(world: &World) -> Vec<(String, Vec<u8>)> {
    let folder = world.data_dir().join("episodes/lab-1");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.push((
        "index".into(),
        fs::read(world.data_dir().join("index.jsonl")).unwrap(),
    ));
    files.sort();
    files
}

#[test]
fn a_whole_store_is_told_so_beside_the_running_receiver() {
    let world = with_episodes(&["ep-1", "ep-2", "ep-3"], 1000);
    let ended = scrub(&world, &[]);
    assert_eq!(
        (ended.code, &ended.out[..], &ended.err[..]),
        (
            Some(0),
            "3 episodes to read, 3.0 kB\n3 episodes read, 3.0 kB: everything matches the index\n",
            ""
        ),
        "{world}"
    );
    let pass: serde_json::Value =
        serde_json::from_slice(&fs::read(world.data_dir().join("scrub.json")).unwrap()).unwrap();
    assert!(
        pass["done_at"].is_string() && pass["found"] == serde_json::json!({}),
        "{pass}"
    );
}

#[test]
fn rot_missing_and_unindexed_are_found_nothing_is_changed_and_backfill_mends() {
    let mut world = with_episodes(&["ep-1", "ep-2", "ep-3", "ep-4"], 5000);
    flip_a_bit(&world, "ep-1");
    let digest = crate::client::sha256(&[0; 5000]);
    fs::remove_file(tarball(&world, "ep-2")).unwrap();
    fs::copy(tarball(&world, "ep-3"), tarball(&world, "ep-by-hand")).unwrap();
    fs::write(world.data_dir().join("episodes/lab-1/notes.txt"), "x").unwrap();
    let before = tree(&world);
    let ended = scrub(&world, &[]);
    assert_eq!((ended.code, &ended.err[..]), (Some(2), ""), "{}", ended.out);
    for words in [
        "rotten: episodes/lab-1/ep-1.tar.zst: its bytes have the digest ",
        &format!(", its row says {digest}\n"),
        "missing: episodes/lab-1/ep-2.tar.zst: the index has it, 5000 bytes, and it is not there\n",
        "unindexed: episodes/lab-1/ep-by-hand.tar.zst: the index has no row for it\n",
        "odd: episodes/lab-1/notes.txt: it is not an episode's tarball\n",
        "4 episodes read, 20.0 kB: 1 rotten, 1 missing, 1 unindexed, 1 odd\n",
        "  unindexed: systemctl stop cis490-receiver && cis490 backfill",
    ] {
        assert!(ended.out.contains(words), "{words}\n{}", ended.out);
    }
    assert!(!ended.out.contains("ep-4"), "{}", ended.out);
    assert_eq!(tree(&world), before, "scrub changes nothing");
    // A finished pass is not gone on with: the next one finds the same.
    assert_eq!(scrub(&world, &[]).code, Some(2));

    // What it says to do does it. Sent again, the rotten one is whole again.
    world.stop();
    let config = world.config_path();
    let dry = world.run(&[
        "backfill",
        "--dry-run",
        "--set-aside-rotten",
        "--config",
        &config,
    ]);
    assert!(
        dry.contains("would set aside lab-1/ep-1, which is rotten"),
        "{dry}"
    );
    assert!(dry.contains("would add lab-1/ep-by-hand"), "{dry}");
    assert_eq!(tree(&world), before, "a dry run changes nothing");
    let mended = world.run(&["backfill", "--set-aside-rotten", "--config", &config]);
    assert!(mended.contains("1 row added"), "{mended}");
    assert!(mended.contains("1 rotten file set aside"), "{mended}");
    assert_eq!(world.names("quarantine"), ["ep-1.tar.zst.1"]);
    world.start();
    for (episode, byte) in [("ep-1", 0), ("ep-2", 1)] {
        let put = Put::sample(world.repo.head())
            .episode(episode)
            .body(&[byte; 5000]);
        assert_eq!(world.put(&put).status, 201, "{episode}\n{world}");
    }
    let ended = scrub(&world, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(
        ended.out.contains("5 episodes read, 25.0 kB: 1 odd"),
        "{}",
        ended.out
    );
}

#[test]
fn a_file_that_cannot_be_read_and_a_line_without_sense_are_found() {
    let world = with_episodes(&["ep-1", "ep-2"], 100);
    fs::remove_file(tarball(&world, "ep-1")).unwrap();
    fs::create_dir(tarball(&world, "ep-1")).unwrap();
    let index = world.data_dir().join("index.jsonl");
    let text = fs::read_to_string(&index).unwrap() + "{\"no\":\"receipt\"}\n{\"half a row";
    fs::write(&index, text).unwrap();
    let ended = scrub(&world, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.out);
    assert!(
        ended.out.contains("odd: episodes/lab-1/ep-1.tar.zst"),
        "{}",
        ended.out
    );
    assert!(
        ended.out.contains("missing: episodes/lab-1/ep-1.tar.zst"),
        "{}",
        ended.out
    );
    assert_eq!(
        ended.out.matches("bad row: index.jsonl at byte").count(),
        1,
        "{}",
        ended.out
    );
}

#[test]
fn since_leaves_out_what_is_older() {
    let world = with_episodes(&["ep-old", "ep-new"], 100);
    let old = fs::File::options()
        .write(true)
        .open(tarball(&world, "ep-old"))
        .unwrap();
    let last_year = std::time::SystemTime::now() - Duration::from_secs(400 * 86_400);
    old.set_modified(last_year).unwrap();
    flip_a_bit(&world, "ep-old");
    let ended = scrub(&world, &["--since", "7d"]);
    assert!(ended.out.contains("1 episode read"), "{}", ended.out);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert_eq!(scrub(&world, &["--since=2020-01-01"]).code, Some(2));
    let wrong = scrub(&world, &["--since", "yesterday"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.err.contains("--since yesterday is not allowed"),
        "{}",
        wrong.err
    );
}

/// The third is so large that the pass is frozen in the middle of it, and killed there.
#[test]
fn a_killed_scrub_goes_on_where_it_was_and_forgets_no_finding() {
    let world = with_episodes(&["ep-1", "ep-2"], 300_000);
    store(&world, "ep-3", &[2; 3_000_000]);
    store(&world, "ep-4", &[3; 300_000]);
    flip_a_bit(&world, "ep-1");
    flip_a_bit(&world, "ep-2");
    flip_a_bit(&world, "ep-4");
    let mut first = begin(&world, &["--rate", "400k"]);
    let noted = world.data_dir().join("scrub.json");
    let until = Instant::now() + PATIENCE;
    // A finding is noted at once, with the place: the second one behind the first episode.
    while !fs::read_to_string(&noted).is_ok_and(|text| text.contains("ep-2.tar.zst")) {
        assert!(Instant::now() < until, "nothing is noted\n{world}");
        thread::sleep(Duration::from_millis(5));
    }
    // What follows may take any time.
    freeze(first.id());
    // Two at once would only read the disk twice.
    let other = scrub(&world, &[]);
    assert_eq!(other.code, Some(1));
    assert!(
        other.err.contains("another cis490 scrub reads"),
        "{}",
        other.err
    );
    first.kill().unwrap();
    first.wait().unwrap();

    let second = scrub(&world, &[]);
    assert_eq!(second.code, Some(2));
    assert!(
        second.out.starts_with("resumes after lab-1/ep-1, where"),
        "{}",
        second.out
    );
    assert!(
        second.out.contains("3 episodes to read, 3.6 MB\n"),
        "{}",
        second.out
    );
    assert_eq!(
        second.out.matches("rotten: episodes").count(),
        1,
        "{}",
        second.out
    );
    assert!(second.out.contains("4 episodes read"), "{}", second.out);
    assert!(second.out.contains(": 3 rotten\n"), "{}", second.out);
    // Asked to, it begins anew; so does the one after a pass that came to its end.
    for args in [&["--restart"][..], &[]] {
        let third = scrub(&world, args);
        assert!(third.out.starts_with("4 episodes to read"), "{}", third.out);
    }
}

#[test]
fn what_is_stored_meanwhile_is_no_finding() {
    let world = with_episodes(&["ep-0"], 400_000);
    // Of a host whose folder is read after the first one's.
    let store = |name: &str| {
        let put = Put::sample(world.repo.head()).path(&format!("/v1/episodes/lab-2/{name}"));
        assert_eq!(world.put(&put).status, 201);
    };
    store("ep-0");
    let mut running = begin(&world, &["--rate", "400k"]);
    let mut line = String::new();
    let mut told = BufReader::new(running.stdout.take().unwrap());
    told.read_line(&mut line).unwrap();
    freeze(running.id());
    assert_eq!(line, "2 episodes to read, 400.0 kB\n");
    store("ep-a");
    store("ep-b");
    signal(running.id(), "CONT");
    told.read_to_string(&mut line).unwrap();
    assert!(running.wait().unwrap().success(), "{line}\n{world}");
    assert!(line.contains("4 episodes read"), "{line}");
}

#[test]
fn a_folder_that_is_no_store_is_refused_in_words() {
    let world = World::prepared("");
    fs::remove_file(world.data_dir().join("cis490-store")).unwrap();
    let ended = scrub(&world, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("is not a store"), "{}", ended.err);
    assert!(ended.err.contains("cis490: hint: "), "{}", ended.err);
}

/// The index is lost with the row of a file that rots: what the file carries tells it from a whole one.
#[test]
fn rot_without_a_row_is_rot_and_gets_none() {
    let mut world = with_episodes(&["ep-1", "ep-2"], 5000);
    world.stop();
    flip_a_bit(&world, "ep-1");
    fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
    let ended = scrub(&world, &[]);
    assert!(
        ended.out.contains("rotten: episodes/lab-1/ep-1.tar.zst"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("1 rotten, 1 unindexed"), "{}", ended.out);

    let config = world.config_path();
    let plain = cis490()
        .args(["backfill", "--config", &config])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&plain.stdout).into_owned()
        + &String::from_utf8_lossy(&plain.stderr);
    assert_eq!(plain.status.code(), Some(1), "{words}");
    assert!(words.contains("it is damaged"), "{words}");
    let rows = world.rows();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["episode"], "ep-2");

    let mended = cis490()
        .args(["backfill", "--set-aside-rotten", "--config", &config])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&mended.stdout).into_owned();
    assert!(words.contains("1 rotten file set aside"), "{words}");
    world.start();
    let whole = Put::sample(world.repo.head())
        .episode("ep-1")
        .body(&[0; 5000]);
    assert_eq!(world.put(&whole).status, 201, "{world}");
    assert_eq!(scrub(&world, &[]).code, Some(0));
}

#[test]
fn a_pass_over_what_is_new_hides_nothing_that_a_whole_one_found() {
    let mut world = with_episodes(&["ep-old", "ep-new"], 100);
    flip_a_bit(&world, "ep-old");
    let old = fs::File::options()
        .write(true)
        .open(tarball(&world, "ep-old"))
        .unwrap();
    let last_year = std::time::SystemTime::now() - Duration::from_secs(400 * 86_400);
    old.set_modified(last_year).unwrap();
    assert_eq!(scrub(&world, &[]).code, Some(2));
    let config = world.config_path();
    let status = || world.run(&["status", "--config", &config]);
    let is_told = |text: String| text.contains(" found 1: cis490 scrub says");
    assert!(is_told(status()), "{}", status());
    assert_eq!(scrub(&world, &["--since", "7d"]).code, Some(0));
    assert!(is_told(status()), "{}", status());
    world.stop();
    let mended = world.run(&["backfill", "--set-aside-rotten", "--config", &config]);
    assert!(mended.contains("1 rotten file set aside"), "{mended}");
}

/// Its disk answers for the others.
#[test]
fn a_hosts_folder_that_cannot_be_read_does_not_hide_the_others() {
    let world = with_episodes(&["ep-1"], 100);
    flip_a_bit(&world, "ep-1");
    let hidden = world.data_dir().join("episodes/a-host");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&hidden).is_ok() {
        skip!("a folder that cannot be read: this user reads all");
        return;
    }
    let ended = scrub(&world, &[]);
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    for words in [
        "unreadable: episodes/a-host: ",
        "rotten: episodes/lab-1/ep-1",
    ] {
        assert!(ended.out.contains(words), "{words}\n{}", ended.out);
    }
    assert_eq!(
        ended.out.matches("unreadable: episodes").count(),
        1,
        "{}",
        ended.out
    );
}
