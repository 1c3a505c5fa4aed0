//! `--json` of the commands that change something: a program learns from it what became of each thing.

use std::fs;

use serde_json::{Value, json};

use super::run;
use crate::client::sha256;
use crate::here::TempDir;
use crate::lab::Lab;
use crate::world::World;

const READER: &str = "[[reader]]\nid = \"here\"\naddress = \"127.0.0.1\"\n";

/// The exit status and each line of the output as JSON.
fn lines(args: &[&str]) -> (i32, Vec<Value>) {
    let (code, out, err) = run(args);
    let parsed = out.lines().map(|line| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{args:?} {error}\n{out}\n{err}"))
    });
    (code, parsed.collect())
}

fn one(args: &[&str]) -> Value {
    let (code, mut lines) = lines(args);
    assert_eq!((code, lines.len()), (0, 1), "{args:?} {lines:?}");
    lines.remove(0)
}

#[test]
fn a_token_comes_with_its_digest() {
    let of_host = one(&["token", "lab-7", "--json"]);
    assert_eq!(
        (&of_host["host"], &of_host["reader"]),
        (&json!("lab-7"), &Value::Null)
    );
    let of_reader = one(&["token", "--reader", "training", "--json"]);
    assert_eq!(
        (&of_reader["host"], &of_reader["reader"]),
        (&Value::Null, &json!("training"))
    );
    assert_ne!(of_host["token"], of_reader["token"]);
    for made in [of_host, of_reader] {
        let token = made["token"].as_str().unwrap();
        assert_eq!(token.len(), 64, "{made}");
        assert_eq!(made["token_sha256"], sha256(token.as_bytes()), "{made}");
    }
}

#[test]
fn a_host_is_added_with_its_token_and_removed() {
    let world = World::prepared("");
    let config = world.config_path();
    let added = one(&["host", "add", "lab-7", "--json", "--config", &config]);
    let token = added["token"].as_str().unwrap().to_owned();
    let expected = json!({
        "host": "lab-7", "config": config, "added": true, "removed": false, "address": null,
        "token": token, "is_first": true, "reloaded": false,
    });
    assert_eq!(added, expected);
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains(&sha256(token.as_bytes())), "{text}");
    let args = ["host", "add", "lab-8", "--address", "10.8.0.18", "--json"];
    let added = one(&[&args[..], &["--config", &config]].concat());
    assert_eq!(added["address"], "10.8.0.18");
    assert_eq!(
        (&added["token"], &added["is_first"]),
        (&Value::Null, &json!(false))
    );
    let removed = one(&["host", "remove", "lab-8", "--json", "--config", &config]);
    assert_eq!(
        (&removed["host"], &removed["removed"]),
        (&json!("lab-8"), &json!(true))
    );
}

#[test]
fn each_episode_that_was_to_move_has_a_line() {
    let world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let config = lab.config().display().to_string();
    let with = |words: &[&str]| lines(&[words, &["--json", "--config", &config]].concat());
    lab.episode("ep-1", world.repo.head());
    lab.episode("ep-2", world.repo.head());
    let gone = |name: &str| json!({"episode": name, "moved": true});
    let mut aside = with(&["set-aside", "--commit", &world.repo.head()[..9]]);
    aside.1.sort_by_key(|line| line["episode"].to_string());
    assert_eq!(aside, (0, vec![gone("ep-1"), gone("ep-2")]));
    assert_eq!(with(&["set-aside", "--commit", "1234567"]), (0, vec![]));

    let moved = |name: &str, id: &str| json!({"name": name, "moved": true, "episode": id, "error": null, "hint": null});
    let named = with(&["requeue", "ep-1", "--new-id", "ep-1b"]);
    assert_eq!(named, (0, vec![moved("ep-1", "ep-1b")]));
    let (code, both) = with(&["requeue", "ep-2", "ep-9"]);
    assert_eq!((code, both.len(), &both[0]), (1, 2, &moved("ep-2", "ep-2")));
    assert_eq!(
        (&both[1]["moved"], &both[1]["episode"]),
        (&json!(false), &Value::Null)
    );
    let why = both[1]["error"].as_str().unwrap();
    assert!(why.contains("there is no \"ep-9\""), "{why}");
    assert!(both[1]["hint"].as_str().unwrap().contains("cis490 status"));
    assert_eq!(with(&["requeue", "--all"]), (0, vec![]));

    assert_eq!(lab.ship_once().code, 0);
    lab.assert_all_shipped(&["ep-1b", "ep-2"]);
    assert_eq!(with(&["resend", "ep-2"]), (0, vec![moved("ep-2", "ep-2")]));
    let (code, stayed) = with(&["resend", "ep-2"]);
    assert_eq!((code, &stayed[0]["moved"]), (1, &json!(false)));
}

#[test]
fn a_pull_says_what_came_and_what_is_wrong() {
    let world = World::with(READER);
    let put = world.good();
    assert_eq!(world.put(&put).status, 201, "{world}");
    let to = TempDir::new();
    let folder = to.path().join("here").display().to_string();
    let url = format!("http://{}", world.address());
    let pull = || lines(&["pull", "--url", &url, "--to", &folder, "--json", "--verify"]);
    let came = json!({"episodes": 1, "bytes": put.body.len(), "wrong": [], "missing": []});
    assert_eq!(pull(), (0, vec![came]));
    let nothing = json!({"episodes": 0, "bytes": 0, "wrong": [], "missing": []});
    assert_eq!(pull(), (0, vec![nothing]));
    let file = format!("{folder}/lab-1/ep-1.tar.zst");
    fs::write(&file, b"something else").unwrap();
    let (code, said) = pull();
    assert_eq!(code, 2, "{said:?}");
    let wrong = said[0]["wrong"][0].as_str().unwrap();
    assert!(wrong.contains("lab-1/ep-1.tar.zst"), "{wrong}");
}
