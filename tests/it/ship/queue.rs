//! Every row of the table of states is reached and recovered from.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::stub::{Reply, Stub, problem};
use super::{A, Lab, noise};
use crate::world::has_steps;

#[test]
fn a_missing_root_is_refused_with_the_command_that_makes_it() {
    let lab = Lab::new("http://127.0.0.1:9");
    for part in ["shipped", ""] {
        fs::remove_dir_all(lab.path(part)).unwrap();
        for command in ["ship", "status"] {
            let ended = lab.run(&[command], &[]);
            assert_eq!(ended.code, 1, "{ended}");
            assert_eq!(ended.count("cis490 init --config"), 1, "{ended}");
        }
    }
    assert!(!lab.root().exists());
}

#[test]
fn leftovers_are_swept_and_what_is_not_ours_is_left_alone() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    fs::write(lab.path("outbox/gone.tar.zst"), "an orphan").unwrap();
    fs::write(lab.path("outbox/half.tar.zst.partial"), "a partial").unwrap();
    fs::write(lab.path("outbox/notes.txt"), "a person's").unwrap();
    fs::create_dir(lab.path("episodes/unfinished")).unwrap();
    fs::create_dir(lab.path("episodes/bad name")).unwrap();
    fs::write(lab.path("episodes/bad name/meta.json"), "{}").unwrap();
    fs::write(lab.path("episodes/a-file"), "").unwrap();
    lab.episode("real", A);
    fs::rename(lab.path("episodes/real"), lab.dir().join("real")).unwrap();
    symlink(lab.dir().join("real"), lab.path("episodes/a-link")).unwrap();
    for run in 0..2 {
        let ended = lab.ship_once();
        // "bad name" is finished and waits for a person.
        assert_eq!(ended.code, 1, "{ended}");
        assert_eq!(ended.count("event=odd_in_episodes"), 3, "{ended}");
        assert_eq!(ended.count("event=odd_in_outbox"), 1, "{ended}");
        assert_eq!(ended.count("event=orphan_swept"), 1 - run, "{ended}");
        assert_eq!(ended.count("event=partial_swept"), 1 - run, "{ended}");
        assert_eq!(lab.names("outbox"), ["notes.txt"]);
        assert_eq!(
            lab.names("episodes"),
            ["a-file", "a-link", "bad name", "unfinished"]
        );
    }
    assert!(stub.lines().is_empty());
    assert_eq!(lab.status()["unfinished"], 1);
}

#[test]
fn what_can_never_be_packed_goes_to_refused_and_stays_whole() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    for id in [
        "link",
        "socket",
        "no-commit",
        "bad-commit",
        "no-json",
        "good",
    ] {
        lab.episode(id, A);
    }
    symlink("/etc/passwd", lab.path("episodes/link/data")).unwrap();
    let _socket = UnixListener::bind(lab.path("episodes/socket/s")).unwrap();
    let meta = |id: &str, text: &str| {
        fs::write(lab.path("episodes").join(id).join("meta.json"), text).unwrap()
    };
    meta("no-commit", "{}");
    meta("bad-commit", r#"{"code_version":{"commit":"unknown"}}"#);
    meta("no-json", "\0\0\0\0");
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}");
    assert_eq!(lab.names("shipped"), ["good", "good.receipt.json"]);
    for (id, words) in [
        ("link", "symbolic link"),
        ("socket", "a socket"),
        ("no-commit", "no code_version.commit"),
        ("bad-commit", "not a commit hash"),
        ("no-json", "not JSON at line 1, column 1: a NUL byte"),
    ] {
        let why = lab.json(&format!("refused/{id}.why.json"));
        assert_eq!(why["by"], "shipper");
        assert!(why["why"].as_str().unwrap().contains(words), "{why}");
        assert!(lab.path("refused").join(id).join("data.bin").exists());
    }
    assert_eq!(stub.lines().len(), 1);

    // Mended and put back, it goes through.
    fs::write(
        lab.path("refused/no-commit/meta.json"),
        format!(r#"{{"code_version":{{"commit":"{A}"}}}}"#),
    )
    .unwrap();
    assert_eq!(lab.run(&["requeue", "no-commit"], &[]).code, 0);
    assert_eq!(lab.ship_once().code, 0);
    assert!(lab.path("shipped/no-commit").exists());
    assert!(!lab.path("refused/no-commit.why.json").exists());
}

#[test]
fn an_id_that_is_used_again_gets_a_suffix_and_replaces_nothing() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    assert_eq!(lab.ship_once().code, 0);
    let receipt = fs::read(lab.path("shipped/ep-1.receipt.json")).unwrap();

    // The receiver has other bytes under that name.
    for n in 2..4 {
        lab.episode_with("ep-1", A, &noise(n));
        assert_eq!(lab.ship_once().code, 3);
    }
    assert_eq!(
        lab.names("refused"),
        ["ep-1", "ep-1.why.json", "ep-1~2", "ep-1~2.why.json"]
    );

    // The same bytes again: answered 200, kept beside the first.
    fs::create_dir(lab.path("episodes/ep-1")).unwrap();
    for name in ["data.bin", "meta.json"] {
        let (from, to) = (
            lab.path("shipped/ep-1").join(name),
            lab.path("episodes/ep-1").join(name),
        );
        let copied = std::process::Command::new("cp")
            .arg("-p")
            .args([from, to])
            .status();
        assert!(copied.unwrap().success());
    }
    let times = std::process::Command::new("touch")
        .arg("-r")
        .args([lab.path("shipped/ep-1"), lab.path("episodes/ep-1")])
        .status();
    assert!(times.unwrap().success());
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("status=200")), (0, 1), "{ended}");
    assert_eq!(
        lab.names("shipped"),
        ["ep-1", "ep-1.receipt.json", "ep-1~2", "ep-1~2.receipt.json"]
    );
    assert_eq!(
        fs::read(lab.path("shipped/ep-1.receipt.json")).unwrap(),
        receipt
    );
}

/// The tarball that a crash left belongs to an episode that has gone, and a new one took its name
/// before anybody swept. Sending the old bytes would be answered 200, and the new ones lost.
#[test]
fn a_tarball_of_an_earlier_episode_is_never_sent_for_a_later_one() {
    let away = Stub::new([Reply::Die]);
    let lab = Lab::new(&away.url);
    lab.episode("ep-1", A);
    lab.ship_once();
    let old = fs::read(lab.path("outbox/ep-1.tar.zst")).unwrap();
    fs::rename(lab.path("episodes/ep-1"), lab.path("shipped/ep-1")).unwrap();
    lab.episode_with("ep-1", A, b"new data");
    away.puts([Reply::Store]);
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("event=packed")), (0, 1), "{ended}");
    let sent = away.heard().pop().unwrap();
    use sha2::{Digest, Sha256};
    let digest: String = Sha256::digest(&old)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_ne!(sent.header("X-Cis490-Sha256"), Some(&digest[..]));

    // Nor one of nobody knows where.
    lab.episode("ep-2", A);
    fs::write(lab.path("outbox/ep-2.tar.zst"), "no seal").unwrap();
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("event=packed")), (0, 1), "{ended}");
}

#[test]
fn accepted_episodes_go_after_their_time_and_their_receipts_stay() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "keep_shipped_days = 0");
    lab.episode("ep-1", A);
    assert_eq!(lab.ship_once().code, 0);
    fs::create_dir(lab.path("shipped/without-receipt")).unwrap();
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=shipped_removed")),
        (0, 1),
        "{ended}"
    );
    assert_eq!(
        lab.names("shipped"),
        ["ep-1.receipt.json", "without-receipt"]
    );

    // The name again, with other bytes: the receipt of the first is not written over.
    let receipt = fs::read(lab.path("shipped/ep-1.receipt.json")).unwrap();
    lab.episode_with("ep-1", A, b"other");
    let second = Stub::new([Reply::Store]);
    let config = fs::read_to_string(lab.config()).unwrap();
    fs::write(lab.config(), config.replace(&stub.url, &second.url)).unwrap();
    assert_eq!(lab.ship_once().code, 0);
    assert!(lab.path("shipped/ep-1~2").exists(), "{lab}");
    assert_eq!(
        fs::read(lab.path("shipped/ep-1.receipt.json")).unwrap(),
        receipt
    );
}

/// No disk has so much free: what is kept free goes before what is kept in shipped/.
#[test]
fn how_much_is_kept_free_is_a_key() {
    for (floor, removed) in [
        ("min_free_bytes = 0", 0),
        ("min_free_bytes = 4611686018427387904", 1),
    ] {
        let stub = Stub::new([Reply::Store]);
        let lab = Lab::with(&stub.url, floor);
        lab.episode("ep-1", A);
        assert_eq!(lab.ship_once().code, 0);
        let ended = lab.ship_once();
        assert_eq!(lab.path("shipped/ep-1").exists(), removed == 0, "{ended}");
        assert!(lab.path("shipped/ep-1.receipt.json").exists(), "{ended}");
    }
    // Said once for all that went, with both figures.
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "min_free_bytes = 0");
    lab.episode("ep-1", A);
    lab.episode("ep-2", A);
    assert_eq!(lab.ship_once().code, 0);
    let config = fs::read_to_string(lab.config()).unwrap();
    let config = config.replace("min_free_bytes = 0", "min_free_bytes = 4611686018427387904");
    fs::write(lab.config(), config).unwrap();
    let ended = lab.ship_once();
    assert_eq!(ended.count("event=short_of_space"), 1, "{ended}");
    assert_eq!(
        ended.count("min_free_bytes=4611686018427387904 removed=2"),
        1,
        "{ended}"
    );
}

/// The standard library needs an open directory for each level to remove one.
#[test]
fn an_episode_of_any_depth_leaves_shipped_too() {
    const FILES_MAX: u32 = 48;
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "keep_shipped_days = 0");
    let deep: String = "d/".repeat(300);
    fs::create_dir_all(lab.path("episodes/ep-1").join(&deep)).unwrap();
    fs::write(lab.path("episodes/ep-1").join(&deep).join("file"), "x").unwrap();
    lab.episode("ep-1", A);
    let ended = lab.run_with_files(FILES_MAX, &["ship", "--once"]);
    assert_eq!(ended.code, 0, "{ended}");
    assert!(lab.path("shipped/ep-1").join(&deep).exists());
    let ended = lab.run_with_files(FILES_MAX, &["ship", "--once"]);
    assert_eq!(
        (ended.code, ended.count("event=shipped_removed")),
        (0, 1),
        "{ended}"
    );
    assert_eq!(lab.names("shipped"), ["ep-1.receipt.json"], "{ended}");
}

#[test]
fn a_full_disk_stops_packing_and_not_sending() {
    if !has_steps("a full disk stops packing") {
        return;
    }
    let stub = Stub::new([Reply::Say(problem(503, "draining", ""))]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("packed", A, &noise(5000));
    assert_eq!(lab.ship_once().code, 1);
    stub.puts([Reply::Store]);
    lab.episode_with("not-packed", A, b"");
    // The first step of the run is to create the partial of the smaller one.
    let full = [("CIS490_FAIL_AT", "1"), ("CIS490_FAIL_ERRNO", "28")];
    let ended = lab.run(&["ship", "--once"], &full);
    assert_eq!(
        (ended.code, ended.count("event=disk_full")),
        (1, 1),
        "{ended}"
    );
    assert_eq!(lab.names("episodes"), ["not-packed"], "{ended}");
    assert_eq!(lab.names("shipped"), ["packed", "packed.receipt.json"]);
    assert_eq!(lab.names("outbox"), [""; 0]);

    // What the receiver has is given up for what it has not.
    let ended = lab.run(&["ship", "--once"], &full);
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_eq!(ended.count("event=shipped_removed"), 1, "{ended}");
    assert_eq!(lab.names("episodes"), [""; 0]);
}

/// A directory by the name of a tarball cannot be swept, and once stopped the whole queue.
#[test]
fn what_cannot_be_swept_stops_nobody() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    fs::create_dir(lab.path("outbox/x.tar.zst")).unwrap();
    fs::create_dir(lab.path("outbox/y.tar.zst.partial")).unwrap();
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, lab.path("shipped/ep-1").exists()),
        (0, true),
        "{ended}"
    );
    assert_eq!(ended.count("x.tar.zst\""), 1, "{ended}");
}

/// A finished episode under a name that is not allowed is no empty queue.
#[test]
fn a_finished_episode_with_an_odd_name_is_not_overlooked() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("bad name", A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}");
    assert_eq!(lab.status()["overlooked"], 1);
    let page = lab.run(&["status"], &[]).out;
    assert!(page.starts_with("lab-1: 1 not sent; "), "{page}");
    let summary = "0 shipped, 0 refused, 0 held, 0 waiting, 1 not sent\n";
    assert_eq!(ended.out, summary, "{ended}");
    let command = "cis490 requeue 'bad name' --new-id bad-name";
    assert!(page.contains(command), "{page}");
    for words in [
        "cis490: error: 'bad name' in episodes/ is not sent: its name is not allowed\n",
        &format!("cis490: hint: {command}\n"),
    ] {
        assert!(ended.log.contains(words), "{words}\n{ended}");
    }
}

/// With what is held alone the exit status would be 3.
#[test]
fn a_gate_that_could_not_be_asked_is_said_beside_the_summary() {
    let stub = Stub::new([Reply::Say(problem(412, "not-in-window", ""))]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}");
    assert!(!ended.log.contains("cis490: error"), "{ended}");
    drop(stub);
    let ended = lab.ship_once();
    let summary = "0 shipped, 0 refused, 1 held, 0 waiting\n";
    assert_eq!((ended.code, ended.out.as_str()), (1, summary), "{ended}");
    let words = "cis490: error: the receiver could not be asked, or a folder could not be read\n";
    assert!(ended.log.contains(words), "{ended}");
}

/// The first of several is named, and where the others are.
#[test]
fn several_with_odd_names_end_with_one_message() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    lab.episode("-odd", A);
    lab.episode("bad name", A);
    let ended = lab.ship_once();
    let summary = "1 shipped, 0 refused, 0 held, 0 waiting, 2 not sent\n";
    assert_eq!((ended.code, ended.out.as_str()), (1, summary), "{ended}");
    for words in [
        "cis490: error: 2 finished episodes in episodes/ are not sent: ",
        "cis490: hint: cis490 status shows for each of them",
    ] {
        assert!(ended.log.contains(words), "{words}\n{ended}");
    }
}
