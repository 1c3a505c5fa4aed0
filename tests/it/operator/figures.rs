//! `status` on the receiver: the figures of a running one come from that process, and are those of the
//! disk. One that does not answer is named, and the disk is read.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::run;
use crate::process::freeze;
use crate::world::{World, cis490, own_address};

/// A time that is not over soon: what the tests wait for comes after two seconds at the most.
const LONG: Duration = Duration::from_secs(60);

fn row(seq: usize, host: &str, received_at: &str) -> String {
    let sha256 = format!("{seq:064x}");
    let commit = "49".repeat(20);
    format!(
        r#"{{"seq":{seq},"host":"{host}","episode":"ep-{seq}","bytes":{seq},"sha256":"{sha256}","commit":"{commit}","dirty":false,"received_at":"{received_at}","path":"episodes/{host}/ep-{seq}.tar.zst","gate":null}}"#
    )
}

/// A store with three hosts, rows in our form and in others, and lines that are none.
fn odd_world(config: &str) -> World {
    let world = World::prepared(config);
    let at = "2026-11-23T23:46:12Z";
    let mut index = String::new();
    for (seq, host) in (1..=300).zip(["lab-1", "lab-2", "lab-3"].iter().cycle()) {
        let _ = writeln!(index, "{}", row(seq, host, at));
    }
    index += &(row(301, "lab-2", at).replace(":", ": ") + "\n");
    index += &(row(302, "lab-4", "2026-02-31T23:59:60Z") + "\n\n");
    index += &(row(303, "lab-5", "yesterday") + "\nno receipt\n");
    fs::write(world.data_dir().join("index.jsonl"), index).unwrap();
    world
}

/// The report of `status --json`, and how long it took.
fn report(world: &World) -> (Value, Duration) {
    let began = Instant::now();
    let (code, out, err) = run(&["status", "--json", "--config", &world.config_path()]);
    assert_eq!(code, 0, "{err}");
    (serde_json::from_str(&out).unwrap(), began.elapsed())
}

fn page(world: &World) -> String {
    world.run(&["status", "--config", &world.config_path()])
}

/// The report without what the disk cannot show, and without what changes from second to second.
fn by_the_disk(mut report: Value) -> Value {
    for member in ["running", "listen", "health", "gate"] {
        report[member] = json!(null);
    }
    report["disk"]["free"] = json!(null);
    let findings = report["findings"].as_array_mut().unwrap();
    // Of a commit that was not refused the gate alone knows whether it is out of date.
    findings.retain(|found| found["kind"] != "host-out-of-date" || !found["reason"].is_null());
    for finding in findings {
        finding["words"] = json!(null);
    }
    for host in report["hosts"].as_array_mut().unwrap() {
        for member in ["silent_seconds", "position", "remaining"] {
            host[member] = json!(null);
        }
        if host["refused"].is_object() {
            host["refused"]["seconds"] = json!(null);
        }
    }
    report
}

/// What the page says of the index of [`odd_world`].
const STORED: &str = "stored        303 episodes, ";

/// The figures that come from the index of [`odd_world`].
fn is_odd_world(report: &Value) {
    assert_eq!(report["episodes"], 303, "{report:#}");
    assert_eq!(report["unreadable_rows"], 1, "{report:#}");
    assert_eq!(report["hosts"].as_array().unwrap().len(), 5, "{report:#}");
}

#[test]
fn a_running_receiver_reports_what_the_disk_says() {
    let mut world = odd_world("");
    world.start();
    let new = world.good().path("/v1/episodes/lab-1/ep-new");
    assert_eq!(world.put(&new).status, 201);
    let newest = world.good().path("/v1/episodes/lab-2/ep-x");
    assert_eq!(world.put(&newest).status, 201);
    let old = world.good().path("/v1/episodes/lab-3/ep-old");
    assert_eq!(world.put(&old.commit(world.too_old())).status, 412);
    let stranger = world.good().path("/v1/episodes/lab-9/ep-old");
    assert_eq!(world.put(&stranger.commit(world.too_old())).status, 412);
    world.wait_until("the refusals are written down", |world| {
        let kept = fs::read_to_string(world.data_dir().join("refusals.jsonl"));
        kept.is_ok_and(|kept| kept.lines().count() == 2)
    });
    fs::write(world.data_dir().join("quarantine/odd"), "odd").unwrap();
    let (running, _) = report(&world);
    let route = world.get("/v1/status");
    assert_eq!(route.header("Content-Type"), Some("application/json"));
    assert_eq!(by_the_disk(route.json()), by_the_disk(running.clone()));
    assert_eq!(running["running"], true);
    assert_eq!(running["listen"], world.address().to_string());
    assert_eq!(running["health"]["takes_uploads"], true, "{running:#}");
    assert_eq!(running["gate"]["head_commit"], world.repo.head());
    assert_eq!(running["episodes"], 305);
    assert!(!page(&world).contains("read from the disk"));

    assert_eq!(world.stop(), Some(0));
    let (stopped, _) = report(&world);
    assert_eq!(stopped["running"], false);
    assert_eq!(
        (&stopped["health"], &stopped["gate"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(by_the_disk(stopped.clone()), by_the_disk(running));
    let page = page(&world);
    assert!(page.starts_with("the receiver is not running: "), "{page}");

    // And again from the rows that it has not stored itself.
    world.start();
    world.wait_until("the refusals are read again", |world| {
        report(world).0["hosts"].as_array().unwrap().len() == 6
    });
    let (started, _) = report(&world);
    assert_eq!(by_the_disk(started), by_the_disk(stopped));
}

#[test]
fn a_receiver_that_hangs_is_named_and_the_disk_is_read() {
    let mut world = odd_world("");
    world.start();
    freeze(world.pid());
    let (hung, took) = report(&world);
    is_odd_world(&hung);
    let words = format!("does not answer on {} within 2 s", world.address());
    assert_eq!(hung["running"], true);
    assert_eq!(
        hung["health"],
        json!({"takes_uploads": false, "detail": words})
    );
    assert_eq!(hung["gate"], Value::Null);
    assert!(took < LONG && took >= Duration::from_secs(2), "{took:?}");
    let page = page(&world);
    let headline = format!("the receiver is running and accepts nothing now: {words}; 5 hosts\n");
    assert!(page.starts_with(&headline), "{page}");
    let figures = format!("figures       read from the disk: the receiver {words}\n");
    assert!(page.contains(&figures), "{page}");
    world.signal("CONT");
    let (well, _) = report(&world);
    assert_eq!(well["health"]["takes_uploads"], true, "{well:#}");
}

#[test]
fn a_receiver_on_any_address_of_this_machine_is_found() {
    for listen in ["[::1]:0", "[::]:0", "0.0.0.0:0"] {
        let mut world = odd_world(&format!("listen = {listen:?}\n"));
        world.start();
        let (found, _) = report(&world);
        is_odd_world(&found);
        assert_eq!(found["listen"], world.address().to_string());
        assert_eq!(found["health"]["takes_uploads"], true, "{found:#}");
        assert_eq!(world.stop(), Some(0));
    }
}

/// A server that sends `answer` on each connection, `again` for as long as somebody reads.
fn server(answer: String, again: Option<(&'static str, Duration)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let mut sent = stream.write_all(answer.as_bytes());
            while let (Ok(()), Some((more, pause))) = (&sent, again) {
                thread::sleep(pause);
                sent = stream.write_all(more.as_bytes());
            }
        }
    });
    address
}

/// The file can be written by the service's user: what stands in it decides nothing but whom `status`
/// asks first.
#[test]
fn what_stands_in_the_lock_is_not_trusted() {
    let listen = own_address();
    let mut world = odd_world(&format!("listen = \"{listen}\"\n"));
    world.start();
    let lock = world.data_dir().join("lock");
    assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{listen}\n"));
    let other = World::new();
    let other_folder = "is at work in another folder";
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
    let mut false_report = report(&world).0;
    false_report["episodes"] = json!(7);
    false_report["data_dir"] = json!("/nowhere");
    let bytes = "x".repeat(1 << 16).leak();
    let notes = [
        // Of each note, what the report says where the configuration has no address either.
        ("nonsense\n".to_owned(), ""),
        ("\0\u{1b}[2J\n".to_owned(), ""),
        (format!("{listen}"), ""),
        ("x".repeat(1 << 20), ""),
        (String::new(), ""),
        (format!("{}\n", other.address()), other_folder),
        (
            format!("{}\n", server(format!("{json}{false_report}"), None)),
            other_folder,
        ),
        (
            format!("{}\n", server(format!("{json}{{}}"), None)),
            "has another answer than a report: status 200, ",
        ),
        (
            format!(
                "{}\n",
                server("HTTP/1.1 404 Not Found\r\n\r\n".to_owned(), None)
            ),
            "of an earlier version, without /v1/status",
        ),
        (
            format!(
                "{}\n",
                server(json.to_owned(), Some((bytes, Duration::ZERO)))
            ),
            "its answer has more than 1048576 bytes",
        ),
        (
            format!(
                "{}\n",
                server(json.to_owned(), Some((" ", Duration::from_millis(50))))
            ),
            "within 2 s",
        ),
        (
            format!("{}\n", server("SSH-2.0-OpenSSH\r\n".to_owned(), None)),
            "does not speak HTTP",
        ),
    ];
    for (note, _) in &notes {
        fs::write(&lock, note).unwrap();
        let began = Instant::now();
        let page = page(&world);
        assert!(began.elapsed() < LONG, "{note:?}");
        assert!(
            page.contains(" and accepts uploads; 5 hosts\n"),
            "{note:?}\n{page}"
        );
        assert!(page.contains(STORED), "{note:?}\n{page}");
        assert!(!page.contains("read from the disk"), "{note:?}\n{page}");
    }

    // The configuration has changed since the start, so that the note is all there is.
    let config = fs::read_to_string(world.config_path()).unwrap();
    let elsewhere = config.replace(&listen.to_string(), &own_address().to_string());
    fs::write(world.config_path(), elsewhere).unwrap();
    fs::write(&lock, format!("{listen}\n")).unwrap();
    assert_eq!(report(&world).0["health"]["takes_uploads"], true);
    for (note, words) in &notes {
        fs::write(&lock, note).unwrap();
        let began = Instant::now();
        let page = page(&world);
        assert!(began.elapsed() < LONG, "{note:?}");
        assert!(page.starts_with("the receiver is running and "), "{page}");
        assert!(page.contains(STORED), "{note:?}\n{page}");
        let line = page.lines().find(|line| line.starts_with("figures "));
        let line = line.unwrap_or_else(|| panic!("{note:?}\n{page}"));
        assert!(
            line.contains("read from the disk: the receiver ") && line.contains(words),
            "{note:?}\n{page}"
        );
    }
    assert_eq!(world.stop(), Some(0));
}

#[test]
fn a_start_replaces_the_address_of_an_earlier_run() {
    let mut world = odd_world("");
    let lock = world.data_dir().join("lock");
    fs::write(&lock, "[2001:db8::1]:8490, and more than the new one\n").unwrap();
    world.start();
    let noted = || fs::read_to_string(&lock).unwrap();
    assert_eq!(noted(), format!("{}\n", world.address()));
    world.kill();
    // Nobody holds the lock any more: the address is not asked.
    let (killed, took) = report(&world);
    is_odd_world(&killed);
    assert_eq!(killed["running"], false);
    assert!(took < LONG, "{took:?}");
    world.run(&["backfill", "--config", &world.config_path()]);
    assert_eq!(noted(), "");
}

/// The bytes that `status` reads, by what the kernel counts once its first page is out.
fn bytes_read_by_status(world: &World) -> u64 {
    let mut status = cis490()
        .args(["status", "--watch", "--config", &world.config_path()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(status.stdout.take().unwrap()).lines();
    let hosts = lines.map_while(Result::ok);
    assert!(hosts.into_iter().any(|line| line.starts_with("lab-1 ")));
    let io = fs::read_to_string(format!("/proc/{}/io", status.id())).unwrap();
    status.kill().unwrap();
    status.wait().unwrap();
    let count = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    count.unwrap().parse().unwrap()
}

#[test]
fn status_of_a_running_receiver_does_not_read_the_index() {
    let mut world = World::prepared("");
    let mut index = String::new();
    for seq in 1..=200_000 {
        let host = format!("lab-{}", seq % 6);
        let _ = writeln!(index, "{}", row(seq, &host, "2026-11-23T23:46:12Z"));
    }
    let index_bytes = index.len() as u64;
    fs::write(world.data_dir().join("index.jsonl"), index).unwrap();
    assert!(bytes_read_by_status(&world) > index_bytes);
    world.start();
    let read = bytes_read_by_status(&world);
    assert!(read < 1 << 20, "{read} of {index_bytes}");
    assert_eq!(report(&world).0["episodes"], 200_000);
}

/// The receiver keeps figures of 256 hosts that it was not configured with, and the disk has them all.
#[test]
fn status_shows_every_host_however_many_there_are() {
    let mut world = World::prepared("");
    let mut index = String::new();
    for seq in 1..=600 {
        let host = format!("host-{}", seq % 300);
        let _ = writeln!(index, "{}", row(seq, &host, "2026-11-23T23:46:12Z"));
    }
    fs::write(world.data_dir().join("index.jsonl"), index).unwrap();
    world.start();
    let (running, _) = report(&world);
    assert_eq!(running["hosts"].as_array().unwrap().len(), 300);
    assert_eq!(running["episodes"], 600);
    let line = "read from the disk: the receiver does not keep figures of so many hosts\n";
    assert!(page(&world).contains(line), "{}", page(&world));
    assert_eq!(world.stop(), Some(0));
    assert_eq!(by_the_disk(report(&world).0), by_the_disk(running));
}
