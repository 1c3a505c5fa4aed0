//! `rate_bytes_per_second` and `send_hours`: how fast, and when, uploads leave.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::stub::{Reply, Stub};
use super::{Lab, noise};
use crate::world::World;

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Small ones in a burst and a large one alone share the rate.
#[test]
fn uploads_are_no_faster_than_their_rate() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "rate_bytes_per_second = \"512KiB\"");
    lab.episode_with("large", COMMIT, &noise(3 << 19));
    for n in 0..4 {
        lab.episode_with(&format!("small-{n}"), COMMIT, &noise(1 << 17));
    }
    let began = Instant::now();
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}");
    // 2 MiB at half a MiB a second; a twentieth of it may come early.
    let least = Duration::from_millis(3800);
    assert!(began.elapsed() >= least, "{:?}\n{ended}", began.elapsed());
}

/// At the old rate the test would last for minutes.
#[test]
fn a_new_rate_holds_for_the_upload_that_is_under_way() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "scan_seconds = 1");
    let unlimited = std::fs::read_to_string(lab.config()).unwrap();
    let limited = format!("{unlimited}\nrate_bytes_per_second = \"16KiB\"\n");
    std::fs::write(lab.config(), limited).unwrap();
    lab.episode_with("ep-1", COMMIT, &noise(8 << 20));
    let shipper = lab.ship();
    shipper.wait_until("it is under way", || !stub.lines().is_empty());
    std::fs::write(lab.config(), unlimited).unwrap();
    shipper.signal("HUP");
    shipper.wait_until("it has arrived", || lab.names("episodes").is_empty());
    assert_eq!(stub.lines().len(), 1, "{lab}");
    let changed = "event=reloaded changed=\"rate_bytes_per_second\"";
    shipper.wait_until("the loop has heard it too", || {
        shipper.log().contains(changed)
    });
}

/// `HH:00` of the hour that is so many hours from now, in UTC.
fn hour(from_now: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{:02}:00", (now.as_secs() / 3600 + from_now) % 24)
}

#[test]
fn outside_send_hours_nothing_is_begun_and_status_says_when_it_is() {
    let world = World::new();
    // Two hours of the day, six hours from now: a test that crosses an hour finds them as far away.
    let hours = format!("{}-{}", hour(6), hour(8));
    let config = format!("scan_seconds = 1\nsend_hours = \"{hours}\"");
    let lab = Lab::with(&format!("http://{}", world.address()), &config);
    lab.episode("ep-1", world.repo.head());
    let closed = lab.run(&["ship", "--once"], &[("TZ", "UTC")]);
    assert_eq!(closed.code, 1, "{closed}");
    assert!(closed.out.contains("1 waiting"), "{closed}");
    assert_eq!(lab.names("episodes"), ["ep-1"]);
    let shipper = lab.ship_with(&[("TZ", "UTC")]);
    shipper.wait_until("it says why it waits", || {
        let status = lab.status();
        let why = status["next_try"]["why"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        why.contains(&format!("send_hours {hours}"))
    });
    assert!(world.rows().is_empty());
    assert_eq!(shipper.stop(), 0);
    // Seven hours further east it is the time for it.
    let open = lab.run(&["ship", "--once"], &[("TZ", "East-07:00")]);
    assert_eq!(open.code, 0, "{open}");
    lab.assert_all_shipped(&["ep-1"]);
}

#[test]
fn a_rate_or_hours_that_cannot_be_are_bad_values() {
    for (line, said) in [
        (
            "rate_bytes_per_second = 100",
            "rate_bytes_per_second accepts",
        ),
        ("send_hours = \"22-06\"", "22:00-06:00"),
        ("send_hours = \"06:00-06:00\"", "two different times"),
    ] {
        let lab = Lab::new("http://127.0.0.1:1");
        let config = std::fs::read_to_string(lab.config()).unwrap();
        std::fs::write(lab.config(), format!("{config}\n{line}\n")).unwrap();
        let ended = lab.ship_once();
        assert_eq!(ended.code, 1, "{line}\n{ended}");
        assert!(ended.log.contains(said), "{line}\n{ended}");
    }
}
