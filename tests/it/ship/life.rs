//! The shipper as a service: signals, waits, a receiver that comes and goes.

use std::fs;
use std::time::{Duration, Instant};

use super::stub::{Reply, Stub, answer, problem};
use super::{A, B, Lab, noise, wait_until};
use crate::here::own_address;

#[test]
fn it_ships_what_comes_and_ends_on_sigterm() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    shipper.wait_until("the first is shipped", || lab.names("episodes").is_empty());
    lab.episode("ep-2", A);
    shipper.wait_until("the second is shipped", || {
        lab.names("outbox").is_empty() && lab.names("shipped").len() == 4
    });
    assert!(lab.path("shipped/ep-2").exists());
    let second = lab.run(&["ship"], &[]);
    assert_eq!(
        (second.code, second.count("another cis490 is at work in")),
        (1, 1),
        "{second}"
    );
    assert_eq!(shipper.stop(), 0);
    assert_eq!(lab.json("state.json")["last_success"]["episode"], "ep-2");
}

#[test]
fn retry_after_is_obeyed() {
    let busy = problem(503, "too-many-uploads", "Retry-After: 2\r\n");
    let stub = Stub::new([Reply::Say(busy), Reply::Store]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    lab.episode("ep-1", A);
    lab.episode("ep-2", A);
    let shipper = lab.ship();
    shipper.wait_until("both are shipped", || lab.names("episodes").is_empty());
    let heard = stub.heard();
    let waited = heard[1].at - heard[0].at;
    assert!(
        waited >= Duration::from_secs(2),
        "{waited:?}\n{}",
        shipper.log()
    );
    assert!(
        waited < Duration::from_secs(4),
        "{waited:?}\n{}",
        shipper.log()
    );
    assert_eq!(
        heard.len(),
        3,
        "the other one waits as well\n{}",
        shipper.log()
    );
}

#[test]
fn one_bad_episode_never_blocks_the_others() {
    let wrong = problem(500, "internal", "");
    let stub = Stub::new([Reply::Say(wrong), Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-bad", A, b"");
    for n in 0..5 {
        lab.episode_with(&format!("ep-{n}"), A, &noise(1000 + n));
    }
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, lab.names("episodes")),
        (1, vec!["ep-bad".to_owned()]),
        "{ended}"
    );
}

#[test]
fn sighup_asks_about_what_is_held_and_reads_the_token_again() {
    let refusal = problem(412, "not-in-window", "");
    let stub = Stub::new([Reply::Say(refusal.clone())]);
    stub.gets([Reply::Say(refusal)]);
    let lab = Lab::new(&stub.url);
    let token = lab.dir().join("token");
    fs::write(&token, "old").unwrap();
    let config = fs::read_to_string(lab.config()).unwrap();
    fs::write(lab.config(), format!("{config}token_file = {token:?}\n")).unwrap();
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    shipper.wait_until("it is held", || shipper.log().contains("event=held"));
    let yes = format!(r#"{{"allowed":true,"position":1,"window":100,"head_commit":"{B}"}}"#);
    stub.gets([Reply::Say(answer(200, "", &yes))]);
    stub.puts([Reply::Store]);
    fs::write(&token, "new").unwrap();
    shipper.signal("HUP");
    shipper.wait_until("it is shipped", || lab.names("episodes").is_empty());
    let last = stub.heard().pop().unwrap();
    assert_eq!(last.header("Authorization"), Some("Bearer new"));
    assert_eq!(shipper.log().matches("event=released").count(), 1);
}

#[test]
fn a_receiver_that_is_away_is_waited_for() {
    // A port that nobody listens on, and that somebody takes later.
    let address = own_address();
    let lab = Lab::with(&format!("http://{address}"), "scan_seconds = 1");
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    shipper.wait_until("it has tried twice", || {
        shipper.log().matches("event=receiver_away").count() >= 2
    });
    assert!(shipper.log().contains("no connection"), "{}", shipper.log());
    // The episode has no fault of its own.
    assert!(
        !shipper.log().contains("event=deferred"),
        "{}",
        shipper.log()
    );
    assert_eq!(shipper.stop(), 0);
    let error = &lab.json("state.json")["last_error"];
    assert_eq!(
        (&error["episode"], &error["over"]),
        (&serde_json::Value::Null, &false.into())
    );
}

#[test]
fn sigterm_ends_it_in_the_middle_of_an_upload() {
    let stub = Stub::new([Reply::Stall]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(4 << 20));
    let shipper = lab.ship();
    shipper.wait_until("it sends", || !stub.heard().is_empty());
    let start = Instant::now();
    assert_eq!(shipper.stop(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(lab.names("episodes"), ["ep-1"]);
    assert_eq!(lab.names("outbox"), ["ep-1.tar.zst"]);
    stub.puts([Reply::Store]);
    assert_eq!(lab.ship_once().code, 0);
    lab.assert_all_shipped(&["ep-1"]);
}

#[test]
fn kill_minus_nine_loses_nothing() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let ids: Vec<String> = (0..120).map(|n| format!("ep-{n:03}")).collect();
    for (n, id) in ids.iter().enumerate() {
        lab.episode_with(id, A, &noise(n * 2000));
    }
    let mut kills = 0;
    while !lab.names("episodes").is_empty() {
        let before = lab.names("episodes").len();
        let shipper = lab.ship();
        // Somewhere in the work on the next few, at another place each time.
        let goal = before.saturating_sub(1 + kills % 3);
        wait_until(
            "some are gone",
            || lab.names("episodes").len() <= goal,
            &lab,
        );
        shipper.kill();
        kills += 1;
    }
    assert!(kills >= 15, "{kills}");
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}");
    lab.assert_all_shipped(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(stub.stored().len(), ids.len());
}
