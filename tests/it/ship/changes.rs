//! Episodes that change after their `meta.json` says that nothing changes any more.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::stub::{Reply, Stub};
use super::{A, Lab, noise};

/// What is done to the episode's folder, and what that is called.
type Change = (&'static str, fn(PathBuf));

/// What somebody may do to an episode.
fn changes() -> Vec<Change> {
    vec![
        ("a new file", |dir| {
            fs::write(dir.join("late.bin"), "late").unwrap()
        }),
        ("a new empty folder", |dir| {
            fs::create_dir(dir.join("late")).unwrap()
        }),
        ("more of a file", |dir| {
            let mut data = fs::read(dir.join("data.bin")).unwrap();
            data.extend_from_slice(b"more");
            fs::write(dir.join("data.bin"), data).unwrap();
        }),
        ("a file taken away", |dir| {
            fs::remove_file(dir.join("data.bin")).unwrap()
        }),
        ("a file of the same size", |dir| {
            let data = fs::read(dir.join("data.bin")).unwrap();
            fs::write(dir.join("data.bin"), noise(data.len())).unwrap();
            let later = SystemTime::now() + Duration::from_secs(2);
            let file = fs::File::options().write(true).open(dir.join("data.bin"));
            file.unwrap().set_modified(later).unwrap();
        }),
        ("another name", |dir| {
            fs::rename(dir.join("data.bin"), dir.join("data-2.bin")).unwrap();
        }),
        ("a smaller and older file in its place", |dir| {
            fs::remove_file(dir.join("data.bin")).unwrap();
            older_file(&dir.join("lost.bin"), b"new");
        }),
        ("an older file of the same size moved over it", |dir| {
            let bytes = fs::metadata(dir.join("data.bin")).unwrap().len();
            let other = dir.with_file_name("beside");
            older_file(&other, &noise(bytes as usize));
            fs::rename(other, dir.join("data.bin")).unwrap();
        }),
    ]
}

/// As one that is copied with its times from elsewhere.
fn older_file(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(time).unwrap();
}

/// The receiver has stored what was sent: the rest is not taken along to shipped/ unsent, and goes
/// where all other bytes under a stored name go.
#[test]
fn what_is_added_after_it_was_sent_never_leaves_unsent() {
    for (what, change) in changes() {
        let lab = Arc::new(Lab::new("http://127.0.0.1:9"));
        let act = {
            let dir = lab.path("episodes/ep-1");
            Arc::new(move || change(dir.clone()))
        };
        let stub = Stub::new([Reply::StoreAndAfter(act), Reply::Store]);
        lab.point_at(&stub.url);
        lab.episode("ep-1", A);
        lab.episode("ep-2", A);
        let ended = lab.ship_once();
        assert_eq!(ended.code, 3, "{what}\n{ended}\n{lab}");
        assert_eq!(
            ended.count("event=changed_after_sending"),
            1,
            "{what}\n{ended}"
        );
        assert_eq!(
            lab.names("refused"),
            ["ep-1", "ep-1.why.json"],
            "{what}\n{lab}"
        );
        let why = lab.json("refused/ep-1.why.json");
        assert!(
            why["why"]
                .as_str()
                .unwrap()
                .contains("before its files changed here"),
            "{what}: {why}"
        );
        assert_eq!(stub.stored().len(), 2, "{what}");
        assert_eq!(
            lab.names("shipped"),
            ["ep-2", "ep-2.receipt.json"],
            "{what}"
        );
        // Nothing is lost: under another name it is sent, whole.
        let back = lab.run(&["requeue", "ep-1", "--new-id", "ep-1b"], &[]);
        assert_eq!(back.code, 0, "{back}");
        assert_eq!(lab.ship_once().code, 0, "{what}\n{lab}");
        assert_eq!(stub.stored().len(), 3, "{what}");
    }
}

/// The bytes that come first are the ones that the name has for good, so they are all of them. The shipper
/// was restarted in between, in the same boot: a loss is no power cut's work then.
#[test]
fn what_is_added_before_it_is_sent_is_sent_with_it() {
    for (what, change) in changes() {
        let away = Stub::new([Reply::Die, Reply::Store]);
        let lab = Lab::new(&away.url);
        lab.episode("ep-1", A);
        assert_eq!(lab.ship_once().code, 1);
        change(lab.path("episodes/ep-1"));
        let ended = lab.ship_once();
        assert_eq!(
            (
                ended.code,
                ended.count("event=changed_after_packing"),
                ended.count("event=packed")
            ),
            (0, 1, 1),
            "{what}\n{ended}"
        );
        lab.assert_all_shipped(&["ep-1"]);
        let digests: Vec<_> = away
            .heard()
            .iter()
            .filter_map(|heard| heard.header("X-Cis490-Sha256").map(str::to_owned))
            .collect();
        assert_eq!(digests.len(), 2);
        assert_ne!(digests[0], digests[1], "{what}");
    }
}

/// A power cut takes what the recorder had not synced. Then the tarball has what the folder has no more,
/// and is sent; what somebody added in the new boot is sent as well.
#[test]
fn what_a_power_cut_took_is_still_in_the_tarball() {
    let boot = |id: &'static str| [("CIS490_BOOT_ID", id)];
    let (before, after) = (
        boot("0af13085bf104d18bbef8422a5d4ecab"),
        boot("1af13085bf104d18bbef8422a5d4ecab"),
    );
    for is_added_to in [false, true] {
        let away = Stub::new([Reply::Die, Reply::Store]);
        let lab = Lab::new(&away.url);
        lab.episode("ep-1", A);
        assert_eq!(lab.run(&["ship", "--once"], &before).code, 1);
        fs::remove_file(lab.path("episodes/ep-1/data.bin")).unwrap();
        if is_added_to {
            fs::write(lab.path("episodes/ep-1/late.bin"), "late").unwrap();
        }
        let ended = lab.run(&["ship", "--once"], &after);
        let packed = usize::from(is_added_to);
        assert_eq!(
            (ended.code, ended.count("event=packed")),
            (0, packed),
            "{ended}"
        );
        lab.assert_all_shipped(&["ep-1"]);
    }
}

/// What only looks different is the same: no episode is packed again, or set aside, for it.
#[test]
fn what_does_not_enter_the_tarball_is_no_change() {
    let away = Stub::new([Reply::Die, Reply::Store]);
    let lab = Lab::new(&away.url);
    lab.episode("ep-1", A);
    fs::create_dir(lab.path("episodes/ep-1/sub")).unwrap();
    assert_eq!(lab.ship_once().code, 1);
    // An editor's file that came and went leaves other times on its folders.
    for folder in ["episodes/ep-1", "episodes/ep-1/sub"] {
        let swap = lab.path(folder).join(".data.swp");
        fs::write(&swap, "x").unwrap();
        fs::remove_file(&swap).unwrap();
    }
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("event=packed")), (0, 0), "{ended}");
    lab.assert_all_shipped(&["ep-1"]);
}
