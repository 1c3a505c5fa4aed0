//! `refusals.jsonl` and `cis490 refusals`.

use std::fs;

use serde_json::Value;

use super::Lab;
use crate::client::Put;
use crate::world::World;

/// The lines that are kept, each a JSON object.
fn kept(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.data_dir().join("refusals.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_refusal_is_written_down_with_who_what_and_why() {
    let world = World::new();
    assert_eq!(world.put(&world.good()).status, 201);
    let old = world.good().episode("old").commit(world.too_old());
    assert_eq!(world.put(&old).status, 412);
    assert_eq!(
        world.put(&world.good().path("/v1/episodes/Lab/<b>")).status,
        400
    );
    world.wait_until("both are written", |world| kept(world).len() == 2);
    let [old, odd] = &kept(&world)[..] else {
        panic!()
    };
    for (member, value) in [
        ("host", Value::from("lab-1")),
        ("episode", "old".into()),
        ("commit", world.too_old().into()),
        ("peer", "127.0.0.1".into()),
        ("status", 412.into()),
        ("reason", "not-in-window".into()),
        ("after_seq", 1.into()),
    ] {
        assert_eq!(old[member], value, "{old}");
    }
    assert!(old["at"].as_str().unwrap().ends_with('Z'), "{old}");
    assert!(
        old["why"]
            .as_str()
            .unwrap()
            .contains("not among the newest 3"),
        "{old}"
    );
    assert_eq!(odd["path"], "/v1/episodes/Lab/<b>");
    assert!(odd["host"].is_null());

    let config = world.config_path();
    let shown = world.run(&["refusals", "--config", &config]);
    for text in [
        "2 refused",
        "412 not-in-window: lab-1",
        "lab-1/old",
        world.too_old(),
        "update the lab host",
    ] {
        assert!(shown.contains(text), "{text}\n{shown}");
    }
    let one = world.run(&["refusals", "--config", &config, "--host", "lab-1", "--json"]);
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["reason"], "not-in-window");
    let none = world.run(&["refusals", "--config", &config, "--reason", "taken"]);
    assert_eq!(none, "no refusal matches (2 without --host and --reason)\n");
    let output = crate::world::cis490()
        .args(["refusals", "--config", &config, "--reason", "not-in-windw"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("did you mean not-in-window?"), "{errors}");
    let last = world.run(&["refusals", "--config", &config, "--last", "1", "--json"]);
    assert_eq!(last.lines().count(), 1);
    assert!(last.contains("bad-name"), "{last}");
}

#[test]
fn a_store_without_a_refusal_has_none() {
    let world = World::new();
    assert_eq!(world.put(&world.good()).status, 201);
    let shown = world.run(&["refusals", "--config", &world.config_path()]);
    assert_eq!(shown, "no upload has been refused\n");
    assert!(!world.data_dir().join("refusals.jsonl").exists());
}

#[test]
fn a_damaged_file_of_refusals_never_keeps_the_receiver_from_serving() {
    let mut lab = Lab::with_trouble();
    lab.world.kill();
    let file = lab.world.data_dir().join("refusals.jsonl");
    let mut damaged = fs::read(&file).unwrap();
    damaged.extend_from_slice(b"\0\0\0\xff{\"at\":1}\n[]\n{\"at\":\"2026-11-23T23:46:1");
    fs::write(&file, damaged).unwrap();
    lab.world.start();
    lab.wait_for_text("first-swing");
    let put = Put::sample(&lab.commit(116)).path("/v1/episodes/lab-7/another");
    assert_eq!(lab.world.put(&put).status, 412);
    lab.wait_for_text("another");
    lab.wait_for_refusal("another");
    let shown = lab
        .world
        .run(&["refusals", "--config", &lab.world.config_path()]);
    assert!(
        shown.contains("lab-7/another") && shown.contains("lab-11/first-swing"),
        "{shown}"
    );
    // A directory in its place: it is said, and everything else goes on.
    lab.world.kill();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    lab.world.start();
    assert_eq!(lab.world.put(&put).status, 412);
    lab.wait_for_text("another");
    lab.world.wait_until("it is said", |world| {
        world.log().contains("event=refusals_unwritable")
    });
    let good = Put::sample(&lab.commit(1)).path("/v1/episodes/lab-7/good");
    assert_eq!(lab.world.put(&good).status, 201);
}
