//! What `state.json` and `status` say while an upload runs, and while a failed one waits.

use super::stub::{Reply, Stub, problem};
use super::{A, Lab, noise};
use crate::lab::Shipper;

#[test]
fn an_upload_under_way_is_shown_while_it_runs() {
    let stub = Stub::new([Reply::Stall]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    lab.episode_with("ep-slow", A, &noise(12 << 20));
    let shipper = lab.ship();
    shipper.wait_until("it is written down", || {
        lab.path("state.json").exists() && !lab.json("state.json")["uploading"].is_null()
    });
    let uploading = lab.json("state.json")["uploading"].clone();
    let number = |name: &str| uploading[name].as_u64().unwrap();
    assert_eq!(uploading["episode"], "ep-slow");
    assert!(number("bytes") > 12 << 20, "{uploading}");
    assert!(
        (1 << 16..number("bytes")).contains(&number("bytes_sent")),
        "{uploading}"
    );
    assert!(number("bytes_per_second") > 0, "{uploading}");
    assert_eq!(lab.status()["uploading"], uploading);
    let page = lab.run(&["status"], &[]).out;
    let line = page.lines().find(|line| line.starts_with("sending"));
    let line = line.unwrap_or_else(|| panic!("{page}"));
    for words in ["ep-slow ", " % of 12.", " MB, ", "B/s, ", " left"] {
        assert!(line.contains(words), "{words}: {line}");
    }
    // A shipper that was killed has no upload under way, whatever its state file says.
    shipper.kill();
    assert!(!lab.json("state.json")["uploading"].is_null());
    assert!(lab.status()["uploading"].is_null());
    assert!(!lab.run(&["status"], &[]).out.contains("sending"));
    stub.puts([Reply::Store]);
    assert_eq!(lab.ship_once().code, 0);
    assert!(lab.json("state.json")["uploading"].is_null());
}

fn waits_for_a_next_try(shipper: &Shipper<'_>, lab: &Lab, why: &str) {
    shipper.wait_until("it waits", || {
        lab.path("state.json").exists() && !lab.json("state.json")["next_try"].is_null()
    });
    assert_eq!(lab.json("state.json")["next_try"]["why"], why);
}

#[test]
fn the_next_try_and_its_reason_are_shown() {
    let busy = problem(503, "draining", "Retry-After: 600\r\n");
    let stub = Stub::new([Reply::Say(busy)]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    waits_for_a_next_try(&shipper, &lab, "503: words of draining");
    let page = lab.run(&["status"], &[]).out;
    let line = page.lines().find(|line| line.starts_with("next try"));
    let line = line.unwrap_or_else(|| panic!("{page}"));
    assert!(
        line.contains(" min (503: words of draining)") && line.contains("systemctl reload"),
        "{line}"
    );
    // And no more of it once it went through.
    stub.puts([Reply::Store]);
    shipper.signal("HUP");
    shipper.wait_until("it is told no more", || {
        lab.path("shipped/ep-1").exists() && lab.json("state.json")["next_try"].is_null()
    });
    assert_eq!(shipper.stop(), 0);
}

/// One episode's own fault, with the receiver well.
#[test]
fn the_next_try_of_one_episode_has_its_own_reason() {
    let stub = Stub::new([Reply::Say(problem(500, "internal", "Retry-After: 600\r\n"))]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    lab.episode("ep-1", A);
    let shipper = lab.ship();
    waits_for_a_next_try(&shipper, &lab, "500: words of internal");
    assert_eq!(shipper.stop(), 0);
    // A shipper that has ended tries nothing.
    assert!(lab.json("state.json")["next_try"].is_null());
}
