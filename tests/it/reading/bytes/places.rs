//! Places for downloads: who gets one, who loses one, and what does without.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::*;
use crate::world::is_emulated;

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

const IN_PROGRESS: &str = "cis490_downloads_in_progress";

fn ask_from(world: &World, source: Ipv4Addr, method: &str, fields: &str) -> Got {
    let mut client = Client::connect_from(world.address(), source);
    let fields = format!("Connection: close\r\n{fields}");
    client
        .send(request(method, PATH, &fields).as_bytes())
        .unwrap();
    Got::parse(&client.rest())
}

#[test]
fn one_address_has_half_of_the_places_and_the_rest_is_for_others() {
    let (world, body) = with_episode("max_downloads = 2\n", LARGE);
    let first = begin(&world, HERE);
    let got = ask_from(&world, HERE, "GET", "");
    assert_eq!(
        (got.status, &*got.problem()),
        (503, "too-many-downloads-of-yours")
    );
    assert_eq!(got.header("Retry-After"), Some("2"));
    let second = begin(&world, ELSEWHERE);
    world.wait_until("both are seen", |world| figure(world, IN_PROGRESS) == 2);
    let got = ask_from(&world, THIRD, "GET", "Range: bytes=0-0\r\n");
    assert_eq!((got.status, &*got.problem()), (503, "too-many-downloads"));
    assert_eq!(got.header("Retry-After"), Some("2"));
    // What sends no bytes needs no place.
    assert_eq!(ask_from(&world, THIRD, "HEAD", "").status, 200);
    assert_eq!(
        ask_from(&world, HERE, "GET", "If-None-Match: *\r\n").status,
        304
    );
    assert_eq!(
        ask_from(&world, HERE, "GET", "Range: bytes=99999999999-\r\n").status,
        416
    );
    // Uploads have places of their own.
    store(&world, "meanwhile", b"x");
    for download in [first, second] {
        assert!(finish(download).body == body);
    }
    assert_eq!(ask_from(&world, HERE, "GET", "").status, 200, "{world}");
    world.wait_until("no place is taken", |world| figure(world, IN_PROGRESS) == 0);
    assert_eq!(ended(&world, "complete"), 3);
    assert_eq!(
        figure(&world, "cis490_download_bytes_total"),
        3 * LARGE as u64
    );
}

#[test]
fn a_single_place_is_for_anybody() {
    let (world, body) = with_episode("max_downloads = 1\n", LARGE);
    let first = begin(&world, HERE);
    assert_eq!(
        ask_from(&world, HERE, "GET", "").problem(),
        "too-many-downloads"
    );
    assert!(finish(first).body == body);
    assert_eq!(ask_from(&world, HERE, "GET", "").status, 200);
}

#[test]
fn a_peer_that_takes_nothing_is_cut_and_its_place_is_free() {
    let (world, body) = with_episode("max_downloads = 1\nidle_timeout_seconds = 1\n", LARGE);
    let mut stalled = begin(&world, HERE);
    assert_eq!(ask(&world, "GET", PATH, "").status, 503);
    world.wait_until("it is cut", |world| ended(world, "too-slow") == 1);
    assert!(ask(&world, "GET", PATH, "").body == body, "{world}");
    let rest = stalled.rest();
    assert!(rest.len() < LARGE, "{} bytes", rest.len());
    let log = world.log();
    let line = log.lines().find(|line| line.contains("outcome=too-slow"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    let begins = "event=download_ended host=lab-1 episode=ep-1 reader=test peer=127.0.0.1 outcome=too-slow from=0 of=25165824 bytes=";
    assert!(line.contains(begins), "{line}");
}

/// It takes a little now and then: slow, and no reason to cut it within a minute.
#[test]
fn a_peer_that_takes_a_little_is_waited_for() {
    let (world, body) = with_episode("idle_timeout_seconds = 1\n", LARGE);
    let mut slow = begin(&world, HERE);
    let mut bytes = b"H".to_vec();
    let mut part = vec![0; 1 << 20];
    for _ in 0..6 {
        thread::sleep(Duration::from_millis(500));
        slow.0.read_exact(&mut part).unwrap();
        bytes.extend_from_slice(&part);
    }
    bytes.extend(slow.rest());
    assert!(Got::parse(&bytes).body == body, "{world}");
}

#[test]
fn a_client_that_is_gone_in_mid_body_frees_its_place() {
    let (world, body) = with_episode("max_downloads = 1\n", LARGE);
    begin(&world, HERE).reset();
    world.wait_until("its end is seen", |world| ended(world, "peer-gone") == 1);
    drop(begin(&world, HERE));
    world.wait_until("its end is seen", |world| ended(world, "peer-gone") == 2);
    assert!(ask(&world, "GET", PATH, "").body == body, "{world}");
}

/// What comes in has nowhere else to go: uploads have the processor and the disk first.
#[test]
fn downloads_give_way_to_uploads() {
    if is_emulated() {
        return skip!("the threads are the emulator's");
    }
    let (world, _) = with_episode("", LARGE);
    let _download = begin(&world, HERE);
    let mut upload = world.client();
    let put = Put::sample(&"c".repeat(40))
        .episode("slow")
        .body(&[7; 1000]);
    let bytes = put.bytes();
    upload.send(&bytes[..bytes.len() - 1]).unwrap();
    let own = nice_values(&world);
    // The main thread has the name of the program's file.
    let main = own.iter().find(|(name, _)| name.starts_with("cis490"));
    let main = *main.expect("the main thread").1;
    world.wait_until("both threads run", |world| {
        let threads = nice_values(world);
        let gives_way = |name, steps: i64| threads.get(name) == Some(&(main + steps).min(19));
        gives_way("body", 5) && gives_way("download", 19)
    });
}

/// The nice value of a thread of each name.
fn nice_values(world: &World) -> HashMap<String, i64> {
    let threads = fs::read_dir(format!("/proc/{}/task", world.pid())).unwrap();
    let stats =
        threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let parsed = stats.filter_map(|stat| {
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let nice = rest.split_whitespace().nth(16)?.parse().ok()?;
        Some((name.to_owned(), nice))
    });
    parsed.collect()
}

#[test]
fn eight_downloads_and_uploads_complete_beside_each_other() {
    let (world, body) = with_episode("", LARGE);
    let upload = noise(1 << 20);
    thread::scope(|scope| {
        let world = &world;
        let upload = &upload;
        let download = |n: u8| {
            let source = Ipv4Addr::new(127, 0, 0, 1 + n / 4);
            scope.spawn(move || finish(begin(world, source)).body)
        };
        let downloads: Vec<_> = (0..8).map(download).collect();
        let uploads: Vec<_> = (0..4)
            .map(|n| scope.spawn(move || store(world, &format!("new-{n}"), upload)))
            .collect();
        for one in uploads {
            one.join().unwrap();
        }
        for one in downloads {
            assert!(one.join().unwrap() == body);
        }
    });
    for n in 0..4 {
        assert!(world.stored("lab-1", &format!("new-{n}")).unwrap() == upload);
    }
}

#[test]
fn a_stop_waits_for_a_download_and_begins_no_other() {
    let (mut world, body) = with_episode("", LARGE);
    let running = begin(&world, HERE);
    world.signal("TERM");
    world.wait_until("it drains", |world| world.log().contains("event=draining"));
    world.wait_until("no other begins", |world| {
        ask(world, "GET", PATH, "").status == 503
    });
    assert_eq!(ask(&world, "GET", PATH, "").problem(), "draining");
    assert!(finish(running).body == body);
    assert_eq!(world.wait_for_end(), Some(0), "{world}");
    assert!(world.log().contains("outcome=complete"), "{world}");
}

#[test]
fn a_stop_cuts_a_download_that_does_not_end() {
    let (mut world, _) = with_episode("drain_seconds = 1\n", LARGE);
    let running = begin(&world, HERE);
    assert_eq!(world.stop(), Some(0), "{world}");
    let got = finish(running);
    assert_eq!(
        (got.status, got.header("Content-Length")),
        (200, Some("25165824"))
    );
    assert!(got.body.len() < LARGE);
}
