//! The one judgement of the lab: trouble that is made for real, and what JSON, metrics, `status`, page and exit
//! status say of it.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::archive::archive_into;
use crate::archive::store::{Mishap, ScriptedStore};
use crate::client::Put;
use crate::world::{World, cis490, is_release_build};

const HOSTS: &str = "[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.1\"\n[[host]]\nid = \"lab-9\"\naddress = \"10.8.0.9\"\n";

/// Makes the trouble in a world with one stored episode, lab-1/ep-1.
type Make = fn(&mut World);

/// A kind, its severity and subject, what stands in the line of `status`, and what on the page.
struct Row {
    kind: &'static str,
    severity: &'static str,
    subject: &'static str,
    in_status: &'static str,
    on_page: &'static str,
    make: Make,
}

const ROWS: &[Row] = &[
    Row {
        kind: "host-out-of-date",
        severity: "error",
        subject: "host/lab-1",
        in_status: "REFUSED       lab-1: 412 not-in-window",
        on_page: "Out of date: <b>lab-1</b>.",
        make: |world| {
            let put = world.good().commit(world.too_old()).episode("ep-2");
            // On a busy machine the repository may not have answered in time: 503.
            world.wait_until("it is refused for good", |world| {
                world.put(&put).status == 412
            });
        },
    },
    Row {
        kind: "host-refused",
        severity: "error",
        subject: "host/lab-1",
        in_status: "REFUSED       lab-1: 409 taken",
        on_page: "Refused, 409 <a href=help/taken>taken</a>: <b>lab-1</b>.",
        make: |world| assert_eq!(world.put(&other_bytes(world)).status, 409),
    },
    Row {
        kind: "host-stuck",
        severity: "error",
        subject: "host/lab-1",
        in_status: "STUCK         lab-1: ep-1 was refused or broken off 5 times in a row",
        on_page: "lab-1: ep-1 was refused or broken off 5 times in a row",
        make: |world| {
            for _ in 0..5 {
                assert_eq!(world.put(&other_bytes(world)).status, 409);
            }
        },
    },
    Row {
        kind: "disk-low",
        severity: "error",
        subject: "disk",
        in_status: "DISK FULL     the disk is full: ",
        on_page: "<div class=b><h2>Disk",
        make: |world| restart_with(world, "min_free_bytes = 0", "min_free_bytes = \"1000TB\""),
    },
    Row {
        kind: "store-unwritable",
        severity: "error",
        subject: "store",
        in_status: "STORE         the store cannot be written: ",
        on_page: "The store cannot be written: ",
        make: |world| {
            let incoming = world.data_dir().join("incoming");
            fs::rename(&incoming, world.data_dir().join("away")).unwrap();
        },
    },
    Row {
        kind: "index-missing",
        severity: "error",
        subject: "store",
        in_status: "INDEX         rows were lost (index-missing)",
        on_page: "Rows were lost (index-missing)",
        make: |world| {
            world.stop();
            fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
            world.start();
        },
    },
    Row {
        kind: "index-short",
        severity: "error",
        subject: "store",
        in_status: "INDEX         rows were lost (index-short)",
        on_page: "Rows were lost (index-short)",
        make: |world| {
            world.stop();
            fs::write(world.data_dir().join("index.jsonl"), "").unwrap();
            world.start();
        },
    },
    Row {
        kind: "episode-rotten",
        severity: "error",
        subject: "episode/lab-1/ep-1",
        in_status: "ROTTEN        episodes/lab-1/ep-1.tar.zst: ",
        on_page: "episodes/lab-1/ep-1.tar.zst: ",
        make: |world| {
            let bytes = world.stored("lab-1", "ep-1").unwrap();
            fs::write(tarball(world), vec![b'x'; bytes.len()]).unwrap();
            scrub(world);
        },
    },
    Row {
        kind: "episode-missing",
        severity: "error",
        subject: "episode/lab-1/ep-1",
        in_status: "MISSING       episodes/lab-1/ep-1.tar.zst: ",
        on_page: "episodes/lab-1/ep-1.tar.zst: ",
        make: |world| {
            fs::remove_file(tarball(world)).unwrap();
            scrub(world);
        },
    },
    Row {
        kind: "episode-unindexed",
        severity: "warning",
        subject: "episode/lab-1/ep-x",
        in_status: "UNINDEXED     episodes/lab-1/ep-x.tar.zst: ",
        on_page: "episodes/lab-1/ep-x.tar.zst: the index has no row for it.<div>systemctl stop cis490-receiver &amp;&amp; ",
        make: |world| {
            let name = world.data_dir().join("episodes/lab-1/ep-x.tar.zst");
            fs::write(name, "somebody put it there").unwrap();
            scrub(world);
        },
    },
    Row {
        kind: "scrub-overdue",
        severity: "warning",
        subject: "store",
        in_status: "SCRUB         the stored files were never read again, and the store is 90 d old",
        on_page: "The stored files were never read again",
        make: |world| {
            let marker = fs::File::options()
                .append(true)
                .open(world.data_dir().join("cis490-store"))
                .unwrap();
            let days = std::time::Duration::from_secs(90 * 86_400 + 60);
            marker
                .set_modified(std::time::SystemTime::now() - days)
                .unwrap();
        },
    },
    Row {
        kind: "quarantine",
        severity: "warning",
        subject: "store",
        in_status: "QUARANTINE    1 unrecognised file in ",
        on_page: "1 unrecognised file in ",
        make: |world| fs::write(world.data_dir().join("quarantine/odd"), "odd").unwrap(),
    },
    Row {
        kind: "restarts",
        severity: "error",
        subject: "receiver",
        in_status: "RESTARTS      the receiver was started 5 times within an hour",
        on_page: "The receiver was started 5 times within an hour",
        make: |world| {
            for _ in 0..5 {
                world.kill();
                world.start();
            }
        },
    },
    Row {
        kind: "config-waiting",
        severity: "warning",
        subject: "receiver",
        in_status: "CONFIG        max_connections: changed, and needs a restart of the receiver",
        on_page: "max_connections: changed, and needs a restart of the receiver",
        make: |world| {
            world.configure("max_connections = 77");
            world.signal("HUP");
        },
    },
    Row {
        kind: "archive-away",
        severity: "warning",
        subject: "archive",
        in_status: "ARCHIVE       bucket lab cannot be used for 15 min: the store answered 403",
        on_page: "Bucket lab cannot be used for 15 min: the store answered 403",
        make: |world| {
            let store = lasting_store();
            store.always("HEAD", "", Mishap::Refuses(403, "AccessDenied"));
            archive(world, store, "", 900_000);
        },
    },
    Row {
        kind: "archive-behind",
        severity: "warning",
        subject: "archive",
        in_status: "ARCHIVE       nothing was copied to bucket lab for 2 d, and 1 episode waits",
        on_page: "Nothing was copied to bucket lab for 2 d, and 1 episode waits",
        make: |world| {
            let store = lasting_store();
            store.always("PUT", "", Mishap::Refuses(413, "EntityTooLarge"));
            world.stop();
            // It was received long ago.
            let index = world.data_dir().join("index.jsonl");
            let text = fs::read_to_string(&index).unwrap();
            let at = text.find("\"received_at\":\"20").unwrap() + 17;
            fs::write(&index, format!("{}20{}", &text[..at], &text[at + 2..])).unwrap();
            world.start();
            archive(world, store, "", 2 * 86_400_000);
        },
    },
    Row {
        kind: "archive-mismatch",
        severity: "error",
        subject: "episode/lab-1/ep-1",
        in_status: "ARCHIVE       the object of lab-1/ep-1 is not what was stored: ",
        on_page: "The object of lab-1/ep-1 is not what was stored: ",
        make: |world| {
            let store = lasting_store();
            store.always("GET", "", Mishap::FlipsABit);
            archive(world, store, "", 0);
        },
    },
    Row {
        kind: "archive-lost",
        severity: "error",
        subject: "episode/lab-1/ep-1",
        in_status: "LOST          episode lab-1/ep-1 is lost: neither its file nor its object is there",
        on_page: "Episode lab-1/ep-1 is lost: neither its file nor its object is there",
        make: |world| {
            let store = lasting_store();
            archive(world, store, "evict_below_bytes = 1000000000000000\n", 0);
            world.wait_until("it is evicted", |world| {
                world.stored("lab-1", "ep-1").is_none()
            });
            store.remove(&store.keys()[0]);
            let ended = cis490()
                .args(["scrub", "--archive", "--config", &world.config_path()])
                .output()
                .unwrap();
            assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        },
    },
    Row {
        kind: "gate-not-loaded",
        severity: "error",
        subject: "gate",
        in_status: "GATE          the version gate knows no commits yet",
        on_page: "The version gate knows no commits yet",
        make: |world| {
            world.stop();
            fs::remove_file(world.data_dir().join("window.json")).unwrap();
            let repository = format!("{:?}", world.repo.dir);
            let text = fs::read_to_string(world.config_path()).unwrap();
            let text = text.replace(&repository, "\"/nonexistent/cis490\"");
            fs::write(world.config_path(), text).unwrap();
            assert!(world.try_start());
        },
    },
    Row {
        kind: "lab-held",
        severity: "warning",
        subject: "host/lab-1",
        in_status: "HELD          lab-1: 2 episodes held for 1 commit",
        on_page: "<th><a href=hosts/lab-1>lab-1</a><td>held",
        make: |world| {
            report(
                world,
                r#"{"held":[{"commit":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","episodes":2,"since":"2026-11-23T23:00:00Z"}]}"#,
            );
        },
    },
    Row {
        kind: "lab-refused",
        severity: "error",
        subject: "host/lab-1",
        in_status: "SET ASIDE     lab-1: 1 episode in refused/, the newest ep-4 (taken)",
        on_page: "<th><a href=hosts/lab-1>lab-1</a><td>refused episodes",
        make: |world| {
            report(
                world,
                r#"{"refused":[{"episode":"ep-4","reason":"taken"}]}"#,
            )
        },
    },
    Row {
        kind: "lab-disk-full",
        severity: "error",
        subject: "host/lab-1",
        in_status: "LAB DISK      lab-1: its disk is full",
        on_page: "<th><a href=hosts/lab-1>lab-1</a><td>disk full",
        make: |world| report(world, r#"{"packing_stopped_since":"2026-11-23T23:00:00Z"}"#),
    },
    Row {
        kind: "lab-queue-growing",
        severity: "warning",
        subject: "host/lab-1",
        in_status: "QUEUE         lab-1: 3 episodes wait, the oldest for more than a day",
        on_page: "<th><a href=hosts/lab-1>lab-1</a><td>queue growing",
        make: |world| {
            report(
                world,
                r#"{"waiting":{"episodes":3,"oldest_at":"2020-01-01T00:00:00Z"},"uploading":{"episode":"ep-5"}}"#,
            );
        },
    },
    Row {
        kind: "lab-old-program",
        severity: "warning",
        subject: "host/lab-1",
        in_status: "OLD PROGRAM   lab-1: its program is version 0.0.1, older than",
        on_page: "<th><a href=hosts/lab-1>lab-1</a><td>old program",
        make: |world| report(world, r#"{"version":"0.0.1"}"#),
    },
];

fn other_bytes(world: &World) -> Put {
    world.good().body(b"other bytes")
}

fn tarball(world: &World) -> std::path::PathBuf {
    world.data_dir().join("episodes/lab-1/ep-1.tar.zst")
}

fn scrub(world: &World) {
    let ended = cis490()
        .args(["scrub", "--config", &world.config_path()])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
}

fn restart_with(world: &mut World, from: &str, to: &str) {
    world.stop();
    let text = fs::read_to_string(world.config_path()).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(world.config_path(), text.replace(from, to)).unwrap();
    world.start();
}

/// A store that is there until the process ends: the trouble stays when it has been made.
fn lasting_store() -> &'static ScriptedStore {
    Box::leak(Box::new(ScriptedStore::start()))
}

/// The receiver starts again with an archive, of which the store has failed for so much longer.
fn archive(world: &mut World, store: &ScriptedStore, more: &str, aged_ms: u64) {
    world.stop();
    archive_into(world, store, more);
    world.env("CIS490_ARCHIVE_AGED_MS", aged_ms);
    world.start();
}

fn report(world: &World, json: &str) {
    let mut client = world.client();
    let head = format!(
        "PUT /v1/hosts/lab-1/state HTTP/1.1\r\nHost: pi\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 204);
}

fn status(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let ended = cis490()
        .args(["status", "--exit-code", "--config", &world.config_path()])
        .args(args)
        .output()
        .unwrap();
    (
        ended.status.code(),
        String::from_utf8(ended.stdout).unwrap(),
    )
}

fn found<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let findings = status["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["kind"] == kind)
}

#[test]
fn each_trouble_is_shown_everywhere() {
    for row in ROWS {
        if row.kind.starts_with("archive-") && is_release_build() {
            skip!("a release build has the whole waits of the archive");
            continue;
        }
        let mut world = World::with(HOSTS);
        assert_eq!(world.put(&world.good()).status, 201);
        let metric = |count: u32| {
            let Row { kind, severity, .. } = row;
            format!("\ncis490_finding{{kind=\"{kind}\",severity=\"{severity}\"}} {count}\n")
        };
        world.wait_until("nothing is wrong", |world| {
            let status = world.get("/v1/status").json();
            status["findings"] == serde_json::json!([])
        });
        let (code, _) = status(&world, &[]);
        assert_eq!(code, Some(0), "{}", row.kind);
        (row.make)(&mut world);
        world.wait_until(row.kind, |world| {
            found(&world.get("/v1/status").json(), row.kind).is_some()
        });
        let json = world.get("/v1/status").json();
        let finding = found(&json, row.kind).unwrap();
        assert_eq!(finding["severity"], row.severity);
        assert_eq!(finding["subject"], row.subject);
        assert!(finding["since"].is_string() || finding["since"].is_null());
        for member in ["words", "remedy"] {
            assert!(!finding[member].as_str().unwrap().is_empty(), "{finding}");
        }
        world.wait_until("metrics", |world| {
            world.get("/metrics").body.contains(&metric(1))
        });
        world.wait_until("page", |world| world.get("/").body.contains(row.on_page));
        assert!(!world.get("/").body.contains("Everything is OK"));
        let (code, words) = status(&world, &[]);
        assert!(words.contains(row.in_status), "{}: {words}", row.in_status);
        let is_error = json["findings"].to_string().contains("\"error\"");
        assert_eq!(code, Some(if is_error { 2 } else { 1 }), "{}", row.kind);
        let (_, by_command) = status(&world, &["--json"]);
        let by_command: Value = serde_json::from_str(&by_command).unwrap();
        assert_eq!(
            found(&by_command, row.kind).unwrap()["subject"],
            row.subject
        );
    }
}

/// A stopped receiver is judged from its disk, and that it is stopped is an error of its own.
#[test]
fn a_stopped_receiver_is_judged_from_its_disk() {
    let mut world = World::with(HOSTS);
    assert_eq!(world.put(&world.good()).status, 201);
    assert_eq!(world.put(&other_bytes(&world)).status, 409);
    world.wait_until("it is written down", |world| {
        fs::read_to_string(world.data_dir().join("refusals.jsonl"))
            .is_ok_and(|text| !text.is_empty())
    });
    world.stop();
    let (code, json) = status(&world, &["--json"]);
    assert_eq!(code, Some(2));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["running"], false);
    assert!(found(&json, "host-refused").is_some(), "{json}");
    // When it started is not known, so a host that never came is shown.
    assert_eq!(
        found(&json, "host-never-seen").unwrap()["subject"],
        "host/lab-9"
    );
    let ended = cis490()
        .args(["status", "--config", &world.config_path()])
        .output()
        .unwrap();
    assert!(ended.status.success(), "without --exit-code it is 0");
}

/// Only an end that was no clean stop counts.
#[test]
fn clean_stops_are_no_restarts() {
    let mut world = World::new();
    for _ in 0..6 {
        assert_eq!(world.stop(), Some(0));
        world.start();
    }
    let json = world.get("/v1/status").json();
    assert!(found(&json, "restarts").is_none(), "{json}");
}

/// Uploads that break off in the middle: before, the host was shown as one that is well.
#[test]
fn a_host_whose_uploads_break_off_is_stuck_until_one_is_stored() {
    let world = World::new();
    for _ in 0..5 {
        let put = world.good().body(&[b'x'; 1000]);
        let bytes = put.bytes();
        let mut client = world.client();
        client.send(&bytes[..bytes.len() - 500]).unwrap();
        drop(client);
    }
    let stuck = |world: &World| {
        let json = world.get("/v1/status").json();
        found(&json, "host-stuck").map(|finding| finding["words"].as_str().unwrap().to_owned())
    };
    world.wait_until("it is stuck", |world| stuck(world).is_some());
    assert!(
        stuck(&world)
            .unwrap()
            .contains("ep-1 was refused or broken off 5 times")
    );
    assert!(
        world
            .get("/")
            .body
            .contains("<th><a href=hosts/lab-1>lab-1</a><td>stuck")
    );
    assert_eq!(world.put(&world.good()).status, 201);
    world.wait_until("it is well", |world| stuck(world).is_none());
}

/// What a reader finds missing is known without a scrub, until a reader is given it.
#[test]
fn a_file_that_a_reader_finds_missing_is_a_finding() {
    let world = World::with("[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n");
    assert_eq!(world.put(&world.good()).status, 201);
    let bytes = fs::read(tarball(&world)).unwrap();
    fs::remove_file(tarball(&world)).unwrap();
    let fetch = || world.get("/v1/episodes/lab-1/ep-1.tar.zst").status;
    assert_eq!(fetch(), 404);
    let json = world.get("/v1/status").json();
    let finding = found(&json, "episode-missing").unwrap();
    assert_eq!(finding["subject"], "episode/lab-1/ep-1");
    let mut back = fs::File::create(tarball(&world)).unwrap();
    back.write_all(&bytes).unwrap();
    assert_eq!(
        world.ask("HEAD", "/v1/episodes/lab-1/ep-1.tar.zst").status,
        200
    );
    let json = world.get("/v1/status").json();
    assert!(found(&json, "episode-missing").is_none(), "{json}");
}
