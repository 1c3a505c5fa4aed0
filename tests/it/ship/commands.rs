//! `status`, `check`, `requeue`, `set-aside`: what a person types on a lab host.

use std::fs;

use super::stub::{Reply, Stub, answer, problem};
use super::{A, B, Lab};
use crate::world::{Repo, TempDir, cis490};

#[test]
fn status_says_what_is_held_and_what_to_do() {
    let stub = Stub::new([Reply::Say(problem(412, "not-in-window", ""))]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let before = lab.run(&["status"], &[]);
    assert!(
        before
            .out
            .starts_with("lab-1: nothing is waiting; the shipper is not running"),
        "{before}"
    );
    lab.episode("ep-1", A);
    lab.episode("ep-2", A);
    let shipper = lab.ship();
    shipper.wait_until("both are held", || lab.status()["held"][0]["episodes"] == 2);
    let json = lab.status();
    assert_eq!(json["running"], true);
    assert_eq!(json["held"][0]["commit"], A);
    assert_eq!(json["waiting"]["episodes"], 0);
    assert_eq!(json["packed"]["episodes"], 1);
    let ended = lab.run(&["status"], &[]);
    assert!(
        ended
            .out
            .starts_with("lab-1: 2 held; the shipper is running"),
        "{ended}"
    );
    for words in [
        "2 episodes",
        "kept, not sent",
        "      cd /opt/cis490 && git pull\n      sudo ./install.sh\n",
        "Episodes already held stay held",
        &format!("cis490 set-aside --commit {}\n", &A[..12]),
    ] {
        assert!(ended.out.contains(words), "{words}\n{ended}");
    }

    // The command that it names does what it says, beside the running shipper.
    let aside = lab.run(&["set-aside", "--commit", &A[..12]], &[]);
    assert_eq!((aside.code, lab.names("episodes")), (0, vec![]), "{aside}");
    assert_eq!(lab.json("refused/ep-1.why.json")["by"], "operator");
    shipper.wait_until("the hold is forgotten", || {
        lab.json("state.json")["holds"] == serde_json::json!([])
    });
    assert_eq!(lab.names("outbox"), [""; 0]);
    let ended = lab.run(&["status"], &[]);
    assert!(
        ended
            .out
            .starts_with("lab-1: 2 refused; the shipper is running"),
        "{ended}"
    );
    assert_eq!(shipper.stop(), 0);
}

#[test]
fn requeue_brings_back_and_never_replaces() {
    let stub = Stub::new([Reply::Say(problem(409, "taken", ""))]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    assert_eq!(lab.ship_once().code, 3);
    lab.episode_with("ep-1", B, b"a later one");
    for (args, code, words) in [
        (&["requeue", "ep-1"][..], 1, "is in the queue already"),
        (&["requeue", "ep-9"], 1, "there is no \"ep-9\""),
        (&["requeue", "../episodes/ep-1"], 1, "is not an episode id"),
        (&["requeue", "ep-1~/../../episodes/ep-1"], 1, "there is no"),
        (
            &["requeue", "ep-1", "--new-id", "a/b"],
            2,
            "is not an episode id",
        ),
    ] {
        let ended = lab.run(args, &[]);
        assert_eq!(
            (ended.code, ended.count(words)),
            (code, 1),
            "{args:?}\n{ended}"
        );
    }
    let ended = lab.run(&["requeue", "ep-1", "--new-id", "ep-1b"], &[]);
    assert_eq!(
        (ended.code, &ended.out[..]),
        (0, "ep-1b is in the queue again\n"),
        "{ended}"
    );
    assert_eq!(lab.names("refused"), [""; 0]);
    stub.puts([Reply::Store]);
    assert_eq!(lab.ship_once().code, 0);
    assert_eq!(
        lab.names("shipped"),
        ["ep-1", "ep-1.receipt.json", "ep-1b", "ep-1b.receipt.json"]
    );
    assert_eq!(
        fs::read(lab.path("shipped/ep-1/data.bin")).unwrap(),
        b"a later one"
    );
    assert_eq!(
        fs::read(lab.path("shipped/ep-1b/data.bin")).unwrap(),
        b"data of ep-1"
    );
}

#[test]
fn check_says_yes_no_or_that_it_could_not_ask() {
    let stub = Stub::new([]);
    let lab = Lab::new(&stub.url);
    let repo = Repo::new(&lab.dir().join("repo"), 2);
    let head = repo.head();
    let check = |repo: &str| lab.run(&["check", "--repo", repo], &[]);
    let here = repo.dir.to_str().unwrap();
    let verdict = |place: &str| {
        answer(
            200,
            "",
            &format!(r#"{{"allowed":true,{place}"window":100,"head_commit":null}}"#),
        )
    };
    for (reply, code, words) in [
        (
            verdict("\"position\":37,"),
            0,
            "37 of 100; 63 more commits until it is refused",
        ),
        (
            verdict("\"position\":99,"),
            0,
            "1 more commit until it is refused",
        ),
        (
            verdict("\"position\":100,"),
            0,
            "the next commit pushes it out",
        ),
        (verdict(""), 0, "unknown to the gate, which is disabled"),
        (
            problem(412, "not-in-window", ""),
            3,
            "    cd /opt/cis490 && git pull\n    sudo ./install.sh\n",
        ),
        (
            problem(503, "gate-not-loaded", ""),
            1,
            "words of gate-not-loaded",
        ),
        (answer(200, "", "<html>"), 1, "said neither yes nor no"),
        (String::new(), 1, "could not ask"),
    ] {
        stub.gets([Reply::Say(reply)]);
        for repo in [here, &format!("{here}/.git")] {
            let ended = check(repo);
            let told = format!("{}{}", ended.out, ended.log);
            assert_eq!(ended.code, code, "{words}\n{ended}");
            assert!(told.contains(words), "{words}\n{ended}");
        }
    }
    let asked = format!("GET /v1/gate/{head} HTTP/1.1");
    assert!(stub.lines().iter().all(|line| *line == asked));
    let nowhere = check("/nonexistent");
    assert_eq!(
        (nowhere.code, nowhere.count("cannot tell the commit")),
        (1, 1),
        "{nowhere}"
    );
    fs::create_dir(lab.dir().join("empty")).unwrap();
    let empty = check(lab.dir().join("empty").to_str().unwrap());
    assert_eq!((empty.code, empty.count("--repo DIR")), (1, 1), "{empty}");
}

#[test]
fn a_mistake_in_the_configuration_is_told_in_words() {
    let lab = Lab::new("http://127.0.0.1:9");
    let good = fs::read_to_string(lab.config()).unwrap();
    for (text, words) in [
        (
            good.replace("http:", "ftp:"),
            "receiver_url accepts http://HOST:PORT",
        ),
        (good.replace("lab-1", "Lab"), "host_id accepts 1-63 of a-z"),
        (format!("{good}scan_second = 1\n"), "scan_second"),
    ] {
        fs::write(lab.config(), text).unwrap();
        for command in ["ship", "status", "check"] {
            let ended = lab.run(&[command], &[]);
            assert!(
                ended.code == 1 && ended.log.contains(words),
                "{words}\n{ended}"
            );
        }
    }
}

/// A password in a URL is refused, and stays where it is.
#[test]
fn no_password_of_a_url_is_shown() {
    let dir = TempDir::new();
    let (shipper, receiver) = (dir.path().join("s.toml"), dir.path().join("r.toml"));
    for url in [
        "http://bob:hunter2@10.8.0.1:8490",
        "HTTPS://bob:hunter2@pi.lan",
        "http://bob:hunt/er2@pi:1",
        // A line that is no TOML is shown, but for such a one.
        "http://bob:hunter2@pi:1\" \"",
    ] {
        let text =
            format!("receiver_url = \"{url}\"\nhost_id = \"lab-1\"\nroot = \"/nonexistent\"\n");
        fs::write(&shipper, text).unwrap();
        let text = format!(
            "data_dir = \"/nonexistent\"\n[version_gate]\nforgejo_url = \"{url}\"\nrepo_owner = \"a\"\nrepo_name = \"b\"\n"
        );
        fs::write(&receiver, text).unwrap();
        for (command, config) in [
            ("ship", &shipper),
            ("status", &shipper),
            ("doctor", &shipper),
            ("check", &shipper),
            ("receive", &receiver),
            ("status", &receiver),
            ("doctor", &receiver),
        ] {
            let output = cis490()
                .args([command, "--config"])
                .arg(config)
                .output()
                .unwrap();
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(!output.status.success(), "{command} {url}\n{said}");
            for secret in ["bob", "hunter2", "er2"] {
                assert!(!said.contains(secret), "{command} {url}\n{said}");
            }
        }
    }
}

/// How a URL may be written, and what is said where it cannot be.
#[test]
fn a_url_is_understood_as_a_person_writes_it() {
    let stub = Stub::new([Reply::Store]);
    let shouted = stub.url.replace("http://", "HTTP://");
    let lab = Lab::new(&format!("{shouted}/"));
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}");
    assert_eq!(lab.status()["receiver"], stub.url);

    let lab = Lab::new("http://[fe80::1%none7]:8490");
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert!(ended.log.contains("the interface none7"), "{ended}");
}
