//! The lab hosts of a gate that cannot look: what their shippers log and hold, and what they say next.

use std::time::Instant;

use super::{PASTE, STRANGER, wait_for_failing};
use crate::client::PATIENCE;
use crate::forgejo::Mood;
use crate::gate::door::{Lab, heard};
use crate::lab::Lab as LabHost;
use crate::repository::Repository;

/// The shipper holds the commit, says what is true, and says the next thing when that is known.
#[test]
fn the_lab_host_logs_the_same_and_is_let_in_by_itself() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    let host = LabHost::new(&format!("http://{}", lab.world.address()));
    lab.forgejo.set_mood(Mood::Close);
    let fresh = lab.push();
    wait_for_failing(&lab, Some("unreachable"));
    host.episode("ep-1", &fresh);
    let shipper = host.ship();
    shipper.wait_until("the hold", || shipper.log().contains("event=held_unknown"));
    let log = shipper.log();
    let line = log
        .lines()
        .find(|line| line.contains("event=held_unknown"))
        .unwrap();
    assert!(line.contains("WARN"), "{line}");
    assert!(
        line.contains("nothing needs to be done on the lab host"),
        "{line}"
    );
    assert!(!log.contains(PASTE), "{log}");
    host_status_says(
        &host,
        &["WAITS FOR THE GATE", "Do nothing here", "may be newer"],
    );

    let checkout = clone_at(&lab.repository, &fresh);
    let check = host.run(&["check", "--repo", checkout.path().to_str().unwrap()], &[]);
    assert_eq!(check.code, 1, "{check}");
    assert!(check.log.contains("the receiver cannot say"), "{check}");
    assert!(!check.out.contains("refused"), "{check}");
    let doctor = host.run(
        &["doctor", "--repo", checkout.path().to_str().unwrap()],
        &[],
    );
    assert!(doctor.out.contains("warn  code"), "{doctor}");

    lab.forgejo.set_mood(Mood::Well);
    shipper.signal("HUP");
    shipper.wait_until("it is sent", || shipper.log().contains("event=shipped"));
    assert!(
        shipper.log().contains("event=released"),
        "{}",
        shipper.log()
    );
    assert_eq!(shipper.log().matches("event=held").count(), 1);
}

/// A commit that was never pushed, unknown while the gate is blind: the right words come once, when
/// the gate sees again.
#[test]
fn the_right_words_are_logged_when_the_gate_sees_again() {
    let lab = Lab::new(4, "window = 3\nrefresh_seconds = 1");
    let host = LabHost::new(&format!("http://{}", lab.world.address()));
    lab.forgejo.set_mood(Mood::Close);
    wait_for_failing(&lab, Some("unreachable"));
    host.episode("ep-1", STRANGER);
    host.episode("ep-2", &lab.commits()[3]);
    let first = host.ship_once();
    assert_eq!(
        (first.code, first.count("event=held_unknown")),
        (3, 2),
        "{first}"
    );
    assert_eq!(first.count("ERROR"), 0, "{first}");
    lab.forgejo.set_mood(Mood::Well);
    wait_for_failing(&lab, None);
    // The gate asks about one commit a second, and is silent on one that it could not ask about in time.
    for (commit, name) in [
        (STRANGER, "never-pushed"),
        (&lab.commits()[3], "not-in-window"),
    ] {
        let answer = heard(name, || lab.world.get(&format!("/v1/gate/{commit}")));
        assert!(answer.body.contains(name), "{answer:?}");
    }
    let second = host.ship_once();
    assert_eq!(second.code, 3, "{second}");
    assert_eq!(second.count("event=held commit="), 2, "{second}");
    assert_eq!(second.count("was never pushed"), 1, "{second}");
    assert_eq!(
        second.count(&format!("\n    cd /opt/cis490 && sudo -u cis490 {PASTE}\n")),
        1,
        "{second}"
    );
    host_status_says(
        &host,
        &["Push the commit", "HELD", "Episodes already held stay held"],
    );
    let third = host.ship_once();
    assert_eq!((third.code, third.count("event=held")), (3, 0), "{third}");
    // Pushed at last.
    lab.forgejo.set_mood(Mood::Close);
    wait_for_failing(&lab, Some("unreachable"));
    let fourth = host.ship_once();
    assert_eq!(
        fourth.count("event=held_unknown"),
        1,
        "older stays older: {fourth}"
    );
}

/// Waits for it: the log has its line a moment before `state.json` has the hold.
fn host_status_says(host: &LabHost, words: &[&str]) {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        let status = host.run(&["status"], &[]);
        assert_eq!(status.code, 0, "{status}");
        if words.iter().all(|word| status.out.contains(word)) {
            return;
        }
        assert!(Instant::now() < give_up_at, "{words:?}\n{status}");
    }
}

fn clone_at(repository: &Repository, commit: &str) -> crate::world::TempDir {
    let clone = crate::world::TempDir::new();
    let url = format!("file://{}", repository.path().display());
    crate::git::git(clone.path(), &["clone", "-q", &url, "."]);
    crate::git::git(clone.path(), &["checkout", "-q", commit]);
    clone
}
