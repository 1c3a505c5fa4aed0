//! `status`, of a receiver and of a lab host: its words, and the members of its JSON.

use std::fs;

use serde_json::Value;

use super::run;
use crate::client::Put;
use crate::lab::Lab;
use crate::world::{World, own_address};

#[test]
fn status_of_a_receiver_in_words_and_in_literal_members() {
    let address = own_address();
    let mut world = World::prepared(&format!(
        "listen = \"{address}\"\n[[host]]\nid = \"lab-9\"\naddress = \"10.8.0.9\"\n[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.1\"\n"
    ));
    let config = world.config_path();
    let (code, out, _) = run(&["status", "--config", &config]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with("the receiver is not running: systemctl start cis490-receiver; 2 hosts\n"),
        "{out}"
    );
    // Since when a stopped receiver has waited for it is not known; a running one waits for an hour.
    assert!(out.contains("SILENT        lab-9: no upload yet"), "{out}");
    world.start();
    assert_eq!(world.put(&world.good()).status, 201);
    let (_, out, _) = run(&["status", "--config", &config]);
    assert!(!out.contains("SILENT"), "{out}");
    for words in [
        &format!("the receiver is running on {address} and accepts uploads; 2 hosts\n\n")[..],
        "3 of 3 known, from git, checked ",
        "stored        1 episode, 24 B, in /",
        "scrub         never run: cis490 scrub reads all stored files again\n",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    let table: Vec<&str> = out.lines().rev().take(3).collect();
    assert!(table[2].starts_with("host   episodes       size"), "{out}");
    assert!(table[1].starts_with("lab-1         1       24 B"), "{out}");
    assert!(table[1].contains("       1/3  "), "{out}");
    assert!(
        table[0].starts_with("lab-9         0        0 B         never         -  -"),
        "{out}"
    );
    assert!(!out.contains('\x1b'));

    // The members are a promise: spelled out, times and paths made the same.
    let (_, json, _) = run(&["status", "--json", "--config", &config]);
    let mut value: Value = serde_json::from_str(&json).unwrap();
    let head = world.repo.head();
    assert!(value["disk"]["free"].as_u64().unwrap() > 0);
    value["disk"]["free"] = 7.into();
    value["hosts"][0]["last_at"] = "T".into();
    value["hosts"][0]["silent_seconds"] = 1.into();
    value["gate"]["age_seconds"] = 1.into();
    value["data_dir"] = "D".into();
    assert_eq!(value["store_id"].as_str().map(str::len), Some(16));
    value["store_id"] = "I".into();
    let wanted = format!(
        r#"{{"bytes":24,"config_waiting":[],"data_dir":"D","disk":{{"floor":0,"free":7}},"episodes":1,"findings":[],"gate":{{"age_seconds":1,"commits":3,"enabled":true,"failing":null,"head_commit":"{head}","loaded":true,"source":"git","window":3}},"health":{{"detail":"accepts uploads","takes_uploads":true}},"hosts":[{{"bytes":24,"commit":"{head}","episodes":1,"host":"lab-1","last_at":"T","last_episode":"ep-1","position":1,"refused":null,"remaining":2,"report":null,"silent_seconds":1}},{{"bytes":0,"commit":null,"episodes":0,"host":"lab-9","last_at":null,"last_episode":null,"position":null,"refused":null,"remaining":null,"report":null,"silent_seconds":null}}],"in_quarantine":0,"index_finding":null,"listen":"{address}","remaining_low":0,"running":true,"scrub":null,"side":"receiver","silent_after_seconds":86400,"store_id":"I","unreadable_rows":0}}"#
    );
    let wanted: Value = serde_json::from_str(&wanted).unwrap();
    assert_eq!(value, wanted, "{value:#}");

    // It looked at a lock that is free again: the next start finds it so.
    assert_eq!(world.stop(), Some(0));
    world.start();
}

/// A host that was refused a minute ago is not one that never came.
#[test]
fn status_of_a_receiver_shows_who_is_refused_and_what_to_do() {
    let mut world = World::with(&format!(
        "listen = \"{}\"\n[[host]]\nid = \"lab-1\"\naddress = \"127.0.0.1\"\n[[host]]\nid = \"lab-3\"\naddress = \"127.0.0.1\"\n[[host]]\nid = \"lab-9\"\naddress = \"10.8.0.9\"\n",
        own_address()
    ));
    let config = world.config_path();
    let old = world.good().path("/v1/episodes/lab-3/ep-1");
    assert_eq!(world.put(&old.commit(world.too_old())).status, 412);
    assert_eq!(world.put(&world.good()).status, 201);
    let taken = Put::sample(world.repo.head()).body(b"other bytes");
    assert_eq!(world.put(&taken).status, 409);
    let other = world.good().path("/v1/episodes/lab-7/ep-1");
    assert_eq!(world.put(&other).status, 403);
    world.wait_until("they are written down", |world| {
        let kept = fs::read_to_string(world.data_dir().join("refusals.jsonl"));
        kept.is_ok_and(|kept| kept.lines().count() == 3)
    });
    let status = || run(&["status", "--config", &config]).1;
    let out = status();
    for words in [
        "REFUSED       lab-3: 412 not-in-window, ",
        ": update the lab host: paste the remediation there\n",
        "REFUSED       lab-1: 409 taken, ",
        "REFUSED       lab-7: 403 not-your-name, ",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
    assert!(!out.contains("SILENT        lab-3"), "{out}");
    assert!(!out.contains("SILENT        lab-7"), "{out}");
    let (_, json, _) = run(&["status", "--json", "--config", &config]);
    let value: Value = serde_json::from_str(&json).unwrap();
    let hosts = value["hosts"].as_array().unwrap();
    let refused = hosts
        .iter()
        .find(|host| host["host"] == "lab-3")
        .map(|host| &host["refused"])
        .unwrap();
    assert_eq!(
        (&refused["status"], &refused["reason"]),
        (&412.into(), &"not-in-window".into())
    );
    assert_eq!(
        refused["remedy"],
        "update the lab host: paste the remediation there"
    );

    // Well again with the next upload.
    let good = world.good().path("/v1/episodes/lab-3/ep-2");
    assert_eq!(world.put(&good).status, 201);
    assert!(!status().contains("lab-3: "), "{}", status());
    // Also from a store that nobody works in.
    assert_eq!(world.stop(), Some(0));
    assert!(status().contains("REFUSED       lab-1: 409 taken, "));
}

/// A row that `backfill` adds late is of long ago, and its host is no more silent for it.
#[test]
fn an_old_row_that_comes_late_does_not_make_its_host_silent() {
    let mut world = World::new();
    let put = Put::sample(world.repo.head());
    assert_eq!(world.put(&put).status, 201, "{world}");
    assert_eq!(world.stop(), Some(0));
    let old = r#"{"seq":2,"host":"lab-1","episode":"ep-old","bytes":1,"sha256":"SHA","received_at":"2020-01-01T00:00:00Z"}"#;
    let old = old.replace("SHA", &"0f".repeat(32)) + "\n";
    let index = world.data_dir().join("index.jsonl");
    let rows = fs::read_to_string(&index).unwrap() + &old;
    fs::write(&index, rows).unwrap();
    let check = |world: &World| {
        let told = world.run(&["status", "--config", &world.config_path()]);
        assert!(!told.contains("SILENT"), "{told}");
        assert!(told.contains("stored        2 episodes"), "{told}");
    };
    check(&world);
    world.start();
    check(&world);
}

#[test]
fn the_members_of_a_lab_hosts_status_are_a_promise() {
    let lab = Lab::new("http://127.0.0.1:9");
    let root = lab.root().display().to_string();
    let heap = "{\n    \"episodes\": 0,\n    \"bytes\": 0,\n    \"oldest\": null\n  }";
    let wanted = format!(
        "{{\n  \"running\": false,\n  \"host\": \"lab-1\",\n  \"receiver\": \"http://127.0.0.1:9\",\n  \"root\": {root:?},\n  \"waiting\": {heap},\n  \"packed\": {heap},\n  \"unfinished\": 0,\n  \"overlooked\": 0,\n  \"held\": [],\n  \"refused\": [],\n  \"shipped\": {heap},\n  \"last_success\": null,\n  \"last_error\": null,\n  \"gate\": null,\n  \"updated_at\": null,\n  \"overlooked_named\": [],\n  \"uploading\": null,\n  \"next_try\": null,\n  \"packing_stopped_since\": null,\n  \"config_waiting\": [],\n  \"findings\": []\n}}\n"
    );
    let config = lab.config().display().to_string();
    let (code, out, _) = run(&["status", "--json", "--config", &config]);
    assert_eq!((code, out), (0, wanted));
}

/// One judgement: a lab host has of its own queue what the receiver has of its report.
#[test]
fn a_lab_hosts_findings_are_those_that_the_receiver_has_of_it() {
    let world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    lab.episode("never-pushed", &"0f".repeat(20));
    fs::create_dir(lab.root().join("episodes/no-commit")).unwrap();
    fs::write(lab.root().join("episodes/no-commit/meta.json"), "{}").unwrap();
    let shipper = lab.ship();
    let of_receiver = || {
        let status = world.get("/v1/status").json();
        let findings = status["findings"].as_array().unwrap().clone();
        let is_of_report = |one: &Value| one["kind"].as_str().unwrap().starts_with("lab-");
        findings
            .into_iter()
            .filter(is_of_report)
            .collect::<Vec<_>>()
    };
    let kinds = || -> Vec<String> {
        let kinds = of_receiver().into_iter();
        kinds
            .map(|one| one["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    shipper.wait_until("both are reported", || {
        kinds() == ["lab-refused", "lab-held"]
    });
    assert_eq!(
        lab.status()["findings"],
        Value::from(of_receiver()),
        "{world}"
    );
    let ended = lab.run(&["status", "--exit-code"], &[]);
    assert_eq!(ended.code, 2, "{ended}");
    assert_eq!(shipper.stop(), 0);
}

/// Before, episodes of two commits that came in turns were a change each time.
#[test]
fn the_early_warning_comes_once_for_each_change_of_a_commits_place() {
    // Of a window of 15 a fifth is near its end.
    let mut world = World::prepared(
        "[version_gate]\nwindow = 15\nrefresh_seconds = 1\nlocal_repo_path = \"REPOSITORY\"\n",
    );
    while world.repo.commits.len() < 15 {
        world.repo.commit();
    }
    world.start();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let [older, newer] = [1, 2].map(|at| world.repo.commits[at].clone());
    // Small before large: so they go in turns.
    for (number, commit) in [&older, &newer, &older, &newer].into_iter().enumerate() {
        lab.episode_with(&format!("ep-{number}"), commit, &vec![b'x'; number * 1000]);
    }
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=falling_out")),
        (0, 2),
        "{ended}"
    );
    for (commit, position, remaining) in [(&older, 14, 1), (&newer, 13, 2)] {
        let line = format!(
            "event=falling_out commit={commit} position={position} window=15 remaining={remaining}"
        );
        assert_eq!(ended.count(&line), 1, "{ended}");
    }
    let page = lab.run(&["status"], &[]);
    let short = &newer[..12];
    let words = format!("EXPIRING: 2 more commits until the episodes of {short} are held");
    assert!(page.out.contains(&words), "{page}");

    // The same place again is no news, after a restart too; a push is.
    lab.episode("ep-5", &newer);
    assert_eq!(lab.ship_once().count("event=falling_out"), 0);
    world.repo.commit();
    let pushed = world.repo.head().to_owned();
    world.wait_until("the gate follows", |world| {
        world.get("/v1/gate").json()["head_commit"] == pushed[..]
    });
    lab.episode("ep-6", &newer);
    let ended = lab.ship_once();
    assert_eq!(
        ended.count("position=14 window=15 remaining=1"),
        1,
        "{ended}"
    );
}

/// Before, status called a commit held and soon out at once, by the place that it had had.
#[test]
fn a_commit_that_is_held_has_no_place_any_more() {
    let mut world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let commit = world.repo.head().to_owned();
    lab.episode("ep-1", &commit);
    assert_eq!(lab.ship_once().code, 0);
    let page = lab.run(&["status"], &[]);
    assert!(page.out.contains(" is 1 of 3, "), "{page}");
    // The head of a small window is no reason to hurry, on either side.
    assert!(!page.out.contains("EXPIRING"), "{page}");

    for _ in 0..3 {
        world.repo.commit();
    }
    let pushed = world.repo.head().to_owned();
    world.wait_until("the gate follows", |world| {
        world.get("/v1/gate").json()["head_commit"] == pushed[..]
    });
    lab.episode("ep-2", &commit);
    assert_eq!(lab.ship_once().code, 3);
    let page = lab.run(&["status"], &[]);
    let held = page
        .out
        .lines()
        .find_map(|line| line.strip_prefix("HELD for "));
    let (time, kept) = held
        .and_then(|held| held.split_once(": "))
        .expect(&page.out);
    assert!(time.ends_with(" s") || time.ends_with(" min"), "{page}");
    assert!(kept.starts_with("1 episode, "), "{page}");
    // Once in the receiver's words, and once in the command to paste; ages in place of times.
    assert_eq!(page.out.matches(&commit[..12]).count(), 2, "{page}");
    assert!(
        !page.out.contains(&commit) && !page.out.contains("Z:"),
        "{page}"
    );
    assert!(!page.out.contains("EXPIRING"), "{page}");
    assert!(!page.out.contains("at place"), "{page}");
}

/// As everything else there, and not an absolute time.
#[test]
fn the_last_scrub_has_an_age() {
    let world = World::new();
    assert_eq!(world.put(&world.good()).status, 201);
    let config = world.config_path();
    world.run(&["scrub", "--config", &config]);
    let text = world.run(&["status", "--config", &config]);
    let of_scrub = text.lines().find(|line| line.starts_with("scrub "));
    let (read, age) = of_scrub.unwrap().split_once(", finished ").expect(&text);
    assert_eq!(read, "scrub         1 episode read", "{text}");
    assert!(age == "just now" || age.ends_with(" ago"), "{text}");
}
