//! Files that are not what their rows say, or that change under a download: no wrong byte, and never more
//! than the row has.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::here::{find, has, mkfifo};
use crate::holds::Holds;
use crate::syscalls::can_trace;
use crate::world::{has_steps, is_emulated};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn file(world: &World) -> PathBuf {
    world.data_dir().join("episodes/lab-1/ep-1.tar.zst")
}

/// Waits until so many downloads have ended so: the figures are kept for a second.
fn wait_for(world: &World, outcome: &str, count: u64) {
    world.wait_until("all are counted", |world| ended(world, outcome) == count);
}

#[test]
fn a_file_without_a_row_is_not_there() {
    let (world, body) = with_episode("", BYTES);
    fs::write(file(&world).with_file_name("made.tar.zst"), &body).unwrap();
    let got = ask(&world, "GET", "/v1/episodes/lab-1/made.tar.zst", "");
    assert_eq!((got.status, &*got.problem()), (404, "not-found"));
}

#[test]
fn a_row_without_a_file_is_logged_and_counted() {
    let (world, _) = with_episode("", BYTES);
    let path = file(&world);
    fs::rename(&path, world.dir().join("elsewhere")).unwrap();
    let got = ask(&world, "GET", PATH, "Range: bytes=5000-\r\n");
    assert_eq!((got.status, &*got.problem()), (404, "not-found"));
    wait_for(&world, "file-missing", 1);
    let line = "event=stored_file_missing host=lab-1 episode=ep-1 peer=127.0.0.1 why=";
    assert!(world.log().contains(line), "{world}");
    symlink(world.dir().join("elsewhere"), &path).unwrap();
    assert_eq!(ask(&world, "GET", PATH, "").status, 404);
    fs::remove_file(&path).unwrap();
    mkfifo(&path);
    assert_eq!(ask(&world, "GET", PATH, "").status, 404);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(ask(&world, "GET", PATH, "").status, 404);
    wait_for(&world, "file-missing", 4);
    let log = world.log();
    for what in ["a symbolic link", "a fifo", "a directory"] {
        assert!(
            log.contains(&format!("why=\"it is {what}")),
            "{what}: {log}"
        );
    }
}

#[test]
fn a_file_of_another_size_than_its_row_is_not_sent() {
    let (world, body) = with_episode("", BYTES);
    for (number, bytes) in [&body[..999], &[&body[..], b"x"].concat(), b""]
        .into_iter()
        .enumerate()
    {
        fs::write(file(&world), bytes).unwrap();
        for fields in ["", "Range: bytes=0-9\r\n"] {
            let got = ask(&world, "GET", PATH, fields);
            assert_eq!((got.status, &*got.problem()), (500, "stored-file-odd"));
        }
        assert_eq!(ask(&world, "HEAD", PATH, "").status, 500);
        wait_for(&world, "file-odd", 3 * (number as u64 + 1));
    }
    let line = "event=stored_file_odd host=lab-1 episode=ep-1 peer=127.0.0.1 why=\"it has 999 bytes, and 1000 in its row\"";
    assert!(world.log().contains(line), "{world}");
}

/// An episode that is not on the disk yet may lose its name: nobody gets its bytes before.
#[test]
fn an_episode_in_flight_is_not_there_yet() {
    if !has_steps("an_episode_in_flight_is_not_there_yet") {
        return;
    }
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    let holds = Holds::of(&mut world);
    world.start();
    let body = noise(BYTES);
    let put = Put::sample(&"c".repeat(40)).body(&body);
    // The first time it has no row, the second time the row of the first: its file was lost.
    for _ in 0..2 {
        holds.set(&["incoming/lab-1~ep-1~"]);
        let mut client = world.client();
        client.send(&put.bytes()).unwrap();
        world.wait_until("it has its name", |world| file(world).exists());
        for fields in ["", "If-None-Match: *\r\n", "Range: bytes=5000-\r\n"] {
            assert_eq!(ask(&world, "GET", PATH, fields).status, 404, "{fields}");
        }
        holds.set(&[]);
        assert_eq!(client.answer().unwrap().status, 201, "{world}");
        assert_eq!(ask(&world, "GET", PATH, "").body, body);
        fs::remove_file(file(&world)).unwrap();
    }
    assert_eq!(ended(&world, "file-missing"), 0);
}

#[test]
fn of_rows_that_differ_the_one_of_the_file_counts() {
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    let bodies = [noise(BYTES), noise(BYTES + 8)[8..].to_vec()];
    let row = |body: &[u8]| {
        format!(
            "{{\"host\":\"lab-1\",\"episode\":\"ep-1\",\"bytes\":{},\"sha256\":\"{}\"}}\n",
            body.len(),
            sha256(body)
        )
    };
    let rows: String = bodies.iter().map(|body| row(body)).collect();
    fs::write(world.data_dir().join("index.jsonl"), rows).unwrap();
    fs::create_dir(world.data_dir().join("episodes/lab-1")).unwrap();
    world.start();
    for body in &bodies {
        fs::write(file(&world), body).unwrap();
        let got = ask(&world, "GET", PATH, "");
        assert_eq!((got.status, got.header("ETag")), (200, Some(&*etag(body))));
        assert_eq!(got.body, *body);
    }
    fs::write(file(&world), &noise(BYTES + 16)[16..]).unwrap();
    assert_eq!(ask(&world, "GET", PATH, "").status, 500, "{world}");
}

/// The connection ends, and the length shows that it is too early.
#[test]
fn a_file_that_is_cut_while_it_is_sent_ends_the_answer() {
    let (world, body) = with_episode("", LARGE);
    let mut client = begin(&world, HERE);
    let mut start = vec![0; 64 << 10];
    client.0.read_exact(&mut start).unwrap();
    let short = LARGE - (1 << 20);
    let cut = File::options().write(true).open(file(&world)).unwrap();
    cut.set_len(short as u64).unwrap();
    let bytes = [b"H", &start[..], &client.rest()].concat();
    let got = Got::parse(&bytes);
    assert_eq!(got.header("Content-Length"), Some("25165824"));
    assert!(got.body.len() <= short && got.body == body[..got.body.len()]);
    wait_for(&world, "file-changed", 1);
    assert_eq!(ask(&world, "GET", PATH, "").status, 500);
}

#[test]
fn a_file_that_grows_while_it_is_sent_is_sent_as_it_was() {
    let (world, body) = with_episode("", LARGE);
    let client = begin(&world, HERE);
    let mut longer = File::options().append(true).open(file(&world)).unwrap();
    longer.write_all(&[7; 1 << 20]).unwrap();
    assert!(finish(client).body == body, "{world}");
}

#[test]
fn a_name_that_is_removed_or_replaced_meanwhile_changes_nothing() {
    let (world, body) = with_episode("", LARGE);
    let client = begin(&world, HERE);
    let other = world.dir().join("other");
    fs::write(&other, &noise(LARGE + 8)[8..]).unwrap();
    fs::rename(&other, file(&world)).unwrap();
    assert!(finish(client).body == body, "{world}");
    fs::write(file(&world), &body).unwrap();
    let client = begin(&world, HERE);
    fs::remove_file(file(&world)).unwrap();
    assert!(finish(client).body == body, "{world}");
}

/// What was sent is not left in memory, which other programs of the machine need more.
#[test]
fn the_page_cache_is_given_back() {
    if !has("the page cache is given back", "fincore") {
        return;
    }
    let (world, body) = with_episode("", LARGE);
    let path = file(&world);
    let cached = || {
        let output = Command::new(find("fincore").unwrap())
            .args(["-b", "-n", "-r", "-o", "RES"])
            .arg(&path)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.trim().parse::<u64>().unwrap()
    };
    // A filesystem in memory has nothing to give back.
    File::open(&path).unwrap().sync_all().unwrap();
    assert!(fs::read(&path).unwrap() == body);
    let before = cached();
    assert!(ask(&world, "GET", PATH, "").body == body);
    wait_for(&world, "complete", 1);
    let after = cached();
    let in_memory = Command::new("stat")
        .args(["-f", "-c", "%T"])
        .arg(&path)
        .output();
    if in_memory.unwrap().stdout.starts_with(b"tmpfs") {
        skip!("the page cache is given back: the store is in memory here");
        return;
    }
    assert!(
        before > after && after <= 2 << 20,
        "{before} before, {after} after"
    );
}

/// Runs the receiver with these answers of the kernel to `sendfile`.
fn with_sendfile(answers: &str) -> Option<(World, Vec<u8>)> {
    if is_emulated() {
        skip!("strace would see the emulator, and not the program");
        return None;
    }
    if !can_trace("sendfile") {
        return None;
    }
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    let inject = format!("inject=sendfile:{answers}");
    let strace = ["strace", "-D", "-f", "-q", "-o", "/dev/null", "-e", &inject];
    world.run_under(strace.map(str::to_owned).to_vec());
    world.start();
    let body = noise(3 << 20);
    store(&world, "ep-1", &body);
    Some((world, body))
}

#[test]
fn where_the_filesystem_has_no_sendfile_the_bytes_are_copied() {
    if let Some((world, body)) = with_sendfile("error=EINVAL") {
        assert!(ask(&world, "GET", PATH, "").body == body, "{world}");
        let part = ask(&world, "GET", PATH, "Range: bytes=70000-70009\r\n");
        assert_eq!(part.body, body[70_000..70_010]);
    }
}

/// The second block cannot be read: what came before it is right, and the connection ends.
#[test]
fn a_disk_that_cannot_read_on_ends_the_answer() {
    if let Some((world, body)) = with_sendfile("error=EIO:when=2+") {
        let got = ask(&world, "GET", PATH, "");
        assert_eq!(got.header("Content-Length"), Some("3145728"));
        assert!(got.body.len() < body.len() && got.body == body[..got.body.len()]);
        wait_for(&world, "file-changed", 1);
    }
}
