//! Output that cannot be written: into a pipe that nobody reads, and onto a full disk. No command
//! panics, none leaves its work half done, and a full disk is reported.

use std::fs::{self, File};
use std::process::Stdio;

use crate::lab::Lab;
use crate::world::{TempDir, World, cis490};

/// Where stdout goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    /// Somebody reads it.
    Reader,
    /// `| head`, after it has ended.
    ClosedPipe,
    FullDisk,
}

struct Ended {
    code: Option<i32>,
    err: String,
}

fn run(args: &[&str], to: To) -> Ended {
    let stdout = match to {
        To::Reader => Stdio::piped(),
        To::ClosedPipe => {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            writer.into()
        }
        To::FullDisk => File::create("/dev/full").unwrap().into(),
    };
    let ended = cis490()
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!err.contains("panic"), "{args:?} {to:?}\n{err}");
    Ended {
        code: ended.status.code(),
        err,
    }
}

/// As with a reader, but that a full disk is a failure with words.
fn check(args: &[&str], to: To, code: i32) {
    let ended = run(args, to);
    let words = "cis490: error: cannot write the output: No space left on device";
    if to == To::FullDisk {
        assert!(ended.err.contains(words), "{args:?}\n{}", ended.err);
        let wanted = if code == 0 { 1 } else { code };
        assert_eq!(ended.code, Some(wanted), "{args:?}\n{}", ended.err);
    } else {
        assert!(!ended.err.contains("cannot write"), "{}", ended.err);
        assert_eq!(ended.code, Some(code), "{args:?} {to:?}\n{}", ended.err);
    }
}

#[test]
fn commands_that_only_print_end_quietly_or_with_words() {
    let world = World::new();
    world.put(&world.good());
    let lab = Lab::new(&format!("http://{}", world.address()));
    let receiver = world.config_path();
    let shipper = lab.config().display().to_string();
    let folder = TempDir::new();
    let folder = folder.path().to_str().unwrap();
    let repo = world.repo.dir.to_str().unwrap();
    for (args, code) in [
        (&["--version"][..], 0),
        (&["-V"], 0),
        (&["version"], 0),
        (&["--help"], 0),
        (&["ship", "--help"], 0),
        (&["help", "events"], 0),
        (&["explain", "refusals"], 0),
        (&["man"], 0),
        (&["man", "ship"], 0),
        (&["completions", "bash"], 0),
        (&["token", "lab-1"], 0),
        (&["check", "--repo", repo, "--config", &shipper], 0),
        (&["status", "--config", &shipper], 0),
        (&["status", "--config", &receiver], 0),
        (&["doctor", "--config", &receiver], 3), // of port 0 it cannot know
        (&["refusals", "--config", &receiver], 0),
        (&["list", "--config", &receiver], 0),
        (&["scrub", "--config", &receiver], 0),
        (&["install", "receiver", "--root", folder, "--dry-run"], 0),
        (&["uninstall", "receiver", "--root", folder], 0),
    ] {
        for to in [To::Reader, To::ClosedPipe, To::FullDisk] {
            check(args, to, code);
        }
    }
}

/// `check` ends with 3 if the commit is refused, also where its words cannot be written.
#[test]
fn an_exit_status_that_says_something_stays() {
    let world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let shipper = lab.config().display().to_string();
    let repo = world.repo.dir.to_str().unwrap();
    world.repo.git(&["checkout", "-q", world.too_old()]);
    for to in [To::Reader, To::ClosedPipe, To::FullDisk] {
        check(&["check", "--repo", repo, "--config", &shipper], to, 3);
    }
}

#[test]
fn commands_that_change_things_do_all_of_their_work() {
    for to in [To::ClosedPipe, To::FullDisk] {
        let mut world = World::new();
        for n in 0..3 {
            let put = world.good().episode(&format!("ep-{n}"));
            assert_eq!(world.put(&put).status, 201, "{world}");
        }
        let lab = Lab::new(&format!("http://{}", world.address()));
        let shipper = lab.config().display().to_string();
        lab.episode("ep-8", world.repo.head());
        check(&["ship", "--once", "--config", &shipper], to, 0);
        lab.assert_all_shipped(&["ep-8"]);

        lab.episode("ep-9", world.repo.head());
        let head = world.repo.head();
        check(
            &["set-aside", "--commit", head, "--config", &shipper],
            to,
            0,
        );
        assert_eq!(lab.names("episodes"), [""; 0], "{lab}");
        check(&["requeue", "ep-9", "--config", &shipper], to, 0);
        assert_eq!(lab.names("episodes"), ["ep-9"], "{lab}");

        world.stop();
        fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
        check(&["backfill", "--config", &world.config_path()], to, 0);
        assert_eq!(world.rows().len(), 4, "{world}");

        let made = lab.dir().join("made");
        check(&["init", "--data-dir", made.to_str().unwrap()], to, 0);
        assert!(made.join("cis490-store").exists());
        let made = lab.dir().join("made-too");
        check(&["init", "--root", made.to_str().unwrap()], to, 0);
        assert!(made.join("outbox").is_dir());
    }
}

/// A reader that has gone away has seen enough: `--watch` does not look on for ever.
#[test]
fn watching_ends_with_its_reader() {
    let lab = Lab::new("http://127.0.0.1:1");
    let shipper = lab.config().display().to_string();
    check(
        &["status", "--watch", "--config", &shipper],
        To::ClosedPipe,
        0,
    );
}

/// With stderr closed too, nothing can be said, and nothing else is lost.
#[test]
fn errors_that_nobody_hears_change_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = cis490()
        .args(["status", "--config", "/nonexistent"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
