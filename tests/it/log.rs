//! The log as an interface: each line is known to the manual, and looks as its reader needs it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use crate::client::{Client, Put};
use crate::process::signal;
use crate::world::{TempDir, World, cis490, own_address};

/// The name in `event=NAME`, which must stand first.
fn name(message: &str) -> &str {
    let rest = message.strip_prefix("event=");
    let rest = rest.unwrap_or_else(|| panic!("no event= in {message:?}"));
    rest.split(' ').next().unwrap()
}

/// `2026-01-31T23:59:59Z`.
fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    shape == "0000-00-00T00:00:00Z"
}

fn explained(event: &str) -> String {
    let output = cis490().args(["help", "events", event]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "cis490 help events {event}: {text}"
    );
    text
}

/// Uploads good and bad, a probe with control bytes, a stop: many kinds of lines.
fn make_noise(world: &mut World) {
    assert_eq!(world.put(&world.good()).status, 201);
    assert_eq!(world.put(&world.good()).status, 200);
    let old = Put::sample(world.too_old()).episode("ep-old");
    assert_eq!(world.put(&old).status, 412);
    let mut client = world.client();
    let probe = b"GET /\x1b[2J\x07\nevent=forged HTTP/1.1\r\nHost: pi\r\n\r\n";
    let _ = client.send(probe);
    let _ = client.answer();
    assert_eq!(world.ask("POST", "/v1/%1b\"x=y").status, 404);
    assert_eq!(world.ask("BREW", "/v1/health").status, 501);
    assert_eq!(world.stop(), Some(0));
}

#[test]
fn each_line_has_a_time_a_level_and_an_event_that_is_explained() {
    let mut world = World::new();
    make_noise(&mut world);
    let log = world.log();
    assert!(log.lines().count() >= 7, "{log}");
    for line in log.lines() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [time, level, message] = words[..] else {
            panic!("{line:?}")
        };
        assert!(is_time(time), "{line:?}");
        assert!(["INFO", "WARN", "ERROR"].contains(&level), "{line:?}");
        let text = explained(name(message));
        assert!(text.contains(&format!("  {level}\n")), "{line:?}\n{text}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
    for event in [
        "listening",
        "stored",
        "stored_already",
        "refused",
        "stopped",
    ] {
        assert!(log.contains(&format!(" event={event} ")), "{event}\n{log}");
    }
    assert!(!log.contains("\nevent=forged"), "{log}");
}

#[test]
fn the_journal_gets_levels_and_no_times() {
    let mut world = World::prepared("");
    let log = File::create(world.dir().join("log")).unwrap();
    let log = log.metadata().unwrap();
    let stream = format!("{}:{}", log.dev(), log.ino());
    world.env("JOURNAL_STREAM", &stream);
    world.start();
    make_noise(&mut world);
    let log = world.log();
    for line in log.lines() {
        let (level, message) = (line.get(..3).unwrap(), line.get(3..).unwrap());
        let told = match level {
            "<3>" => "ERROR",
            "<4>" => "WARN",
            "<6>" => "INFO",
            _ => panic!("{line:?}"),
        };
        assert!(explained(name(message)).contains(told), "{line:?}");
    }
    assert!(log.contains("<6>event=stored host="), "{log}");
    assert!(log.contains("<4>event=refused host="), "{log}");

    // What ends it is there too, at the level that wakes somebody.
    fs::remove_file(world.data_dir().join("cis490-store")).unwrap();
    world.env("JOURNAL_STREAM", &stream);
    assert!(!world.try_start());
    let log = world.log();
    assert!(log.starts_with("<"), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("<3>event=failed why=\""), "{last}");
    assert!(
        last.contains("do=\"") && last.contains("cis490 init"),
        "{last}"
    );

    // Inherited by a program whose stderr goes elsewhere, it means nothing.
    world.env("JOURNAL_STREAM", "1:1");
    assert!(!world.try_start());
    let log = world.log();
    assert!(
        log.contains("cis490: error: ") && !log.contains("<3>"),
        "{log}"
    );
}

/// A hold's lines to paste follow their event; each is a message of its own in the journal.
#[test]
fn the_lines_to_paste_keep_their_level_in_the_journal() {
    let world = World::new();
    let dir = TempDir::new();
    let root = dir.path().join("root");
    let config = dir.path().join("shipper.toml");
    let text = format!(
        "receiver_url = \"http://{}\"\nhost_id = \"lab-1\"\nroot = {root:?}\n",
        world.address()
    );
    fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    world.run(&["init", "--config", config]);
    let episode = root.join("episodes/ep-1");
    fs::create_dir(&episode).unwrap();
    let meta = format!(
        "{{\"code_version\":{{\"commit\":\"{}\"}}}}",
        world.too_old()
    );
    fs::write(episode.join("meta.json"), meta).unwrap();
    let log = File::create(dir.path().join("log")).unwrap();
    let stream = log.metadata().unwrap();
    let ended = cis490()
        .args(["ship", "--once", "--config", config])
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", stream.dev(), stream.ino()),
        )
        .stderr(log)
        .status()
        .unwrap();
    assert_eq!(ended.code(), Some(3));
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let held = log.split("<3>event=held ").nth(1).expect(&log);
    let lines: Vec<&str> = held.lines().skip(1).take(3).collect();
    assert_eq!(
        lines,
        [
            "<3>    cd /opt/cis490 && sudo -u cis490 git pull origin main",
            "<3>    sudo /opt/cis490/scripts/install-lab-host.sh",
            "<3>    sudo systemctl restart cis490-orchestrator",
        ],
        "{log}"
    );
}

/// Before, a log line that nobody read any more ended the thread that wrote it.
#[test]
fn the_receiver_goes_on_when_nobody_reads_the_log() {
    let world = World::prepared("");
    let mut receiver = cis490()
        .args(["receive", "--config", &world.config_path()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(receiver.stderr.take().unwrap()).lines();
    let address = loop {
        let line = log.next().expect("it listens").unwrap();
        if let Some(rest) = line.split("event=listening address=").nth(1) {
            break rest.split(' ').next().unwrap().parse().unwrap();
        }
    };
    drop(log);
    for _ in 0..3 {
        let mut client = Client::connect(address);
        let request = b"GET /v1/nothing HTTP/1.1\r\nHost: pi\r\n\r\n";
        client.send(request).unwrap();
        assert_eq!(client.answer().unwrap().status, 404);
    }
    signal(receiver.id(), "TERM");
    assert_eq!(receiver.wait().unwrap().code(), Some(0));
}

#[test]
fn the_manual_is_printed_whole_and_by_name() {
    let all = cis490().args(["help", "events"]).output().unwrap();
    let all = String::from_utf8(all.stdout).unwrap();
    for part in ["the receiver: uploads\n", "  falling_out  WARN\n", "do: "] {
        assert!(all.contains(part), "{part}\n{all}");
    }
    assert!(!all.contains('\x1b'));
    assert!(all.lines().all(|line| line.chars().count() <= 100), "{all}");
    let unknown = cis490()
        .args(["explain", "events", "falin_out"])
        .output()
        .unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert_eq!(
        String::from_utf8(unknown.stderr).unwrap(),
        "cis490: error: no log line has event=falin_out\ncis490: hint: did you mean falling_out? cis490 help events lists them all\n"
    );
}

/// Once, one peer wrote 17 MB of log a second.
#[test]
fn what_one_peer_may_write_is_bounded_and_the_rest_is_counted() {
    let mut world = World::new();
    let mut client = world.client();
    let request = "GET /nothing HTTP/1.1\r\nHost: pi\r\n\r\n";
    for _ in 0..10 {
        client.send(request.repeat(100).as_bytes()).unwrap();
        for _ in 0..100 {
            assert_eq!(client.answer().unwrap().status, 404);
        }
    }
    for _ in 0..200 {
        world.client().send(b"garbage\r\n\r\n").unwrap();
    }
    // As many as before, of a peer that uploads: none of them is missing.
    for number in 0..150 {
        let put = world.good().episode(&format!("e-{number}"));
        assert_eq!(world.put(&put).status, 201);
    }
    world.wait_until("all was counted", |world| {
        let metrics = world.get("/metrics").body;
        let count = |reason: &str| {
            let mut lines = metrics.lines();
            let line = lines.find(|line| {
                line.starts_with("cis490_refusals_total")
                    && line.contains(reason)
                    && line.contains("other")
            });
            let count = line.and_then(|line| line.rsplit(' ').next());
            count.and_then(|count| count.parse::<u64>().ok())
        };
        count("\"not-found\"") == Some(1000) && count("\"bad-head\"") == Some(200)
    });
    assert_eq!(world.stop(), Some(0));
    let log = world.log();
    let count = |event: &str| {
        let word = format!(" event={event} ");
        log.lines().filter(|line| line.contains(&word)).count()
    };
    assert_eq!(count("stored"), 150, "{log}");
    for (event, caused) in [("refused_request", 1000), ("unreadable_request", 200)] {
        let written = count(event);
        // A burst of 100, and 20 for each second that it took.
        assert!((100..600).contains(&written), "{event}: {written}");
        let words = format!(
            "event=left_out of={event} peer=127.0.0.1 count={}",
            caused - written
        );
        let is_told = written == caused || log.contains(&words);
        assert!(is_told, "{words}\n{log}");
    }
}

/// For programs that collect logs: whatever a peer sends, each line is one object with the same words.
#[test]
fn as_json_each_line_is_one_object() {
    let world = World::prepared("");
    let address = own_address();
    let text = fs::read_to_string(world.config_path()).unwrap();
    fs::write(
        world.config_path(),
        text.replace("127.0.0.1:0", &address.to_string()),
    )
    .unwrap();
    let mut receiver = cis490()
        .args(["receive", "--log", "json", "--config", &world.config_path()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(receiver.stderr.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    // The window may be known before the port is open, or much later: then its line would be the last.
    let mut has_window = false;
    let mut is_listening = false;
    while !has_window || !is_listening {
        let event = next()["event"].clone();
        has_window |= event == "gate_window";
        is_listening |= event == "listening";
    }
    let mut client = Client::connect(address);
    client
        .send(b"BREW /v1/\"x=y HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    assert_eq!(client.answer().unwrap().status, 501);
    let refused = loop {
        let line = next();
        if line["event"] == "refused_request" {
            break line;
        }
    };
    assert!(is_time(refused["time"].as_str().unwrap()), "{refused}");
    assert_eq!(
        (&refused["level"], &refused["method"]),
        (&"INFO".into(), &"BREW".into())
    );
    assert_eq!(
        (&refused["status"], &refused["path"]),
        (&"501".into(), &"/v1/\"x=y".into())
    );
    signal(receiver.id(), "TERM");
    assert!(receiver.wait().unwrap().success());
    let last = std::iter::from_fn(|| lines.next()).last().unwrap().unwrap();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(last["event"], "stopped");
}
