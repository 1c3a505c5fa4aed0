//! Something that is no regular file under a name of the store: in words, at once, and nobody waits.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use super::{prepared, running, sample};
use crate::here::mkfifo;
use crate::world::World;

/// Takes a name.
type Take = fn(&Path);

/// Each way to take a name, and what it is called.
const TAKEN: [(&str, Take); 4] = [
    ("a fifo", mkfifo),
    ("a directory", |path| fs::create_dir(path).unwrap()),
    ("a symbolic link", |path| {
        symlink("/nonexistent/x", path).unwrap()
    }),
    ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
];

/// Each upload of the name is answered, the others go on, and the receiver ends when it is asked to.
#[test]
fn under_a_stored_name_it_is_an_honest_500() {
    let mut world =
        World::with("max_uploads = 2\ndrain_seconds = 1\n[version_gate]\nenabled = false\n");
    let host = world.data_dir().join("episodes/lab-1");
    fs::create_dir(&host).unwrap();
    for (number, (what, take)) in TAKEN.into_iter().enumerate() {
        let name = format!("odd-{number}");
        take(&host.join(format!("{name}.tar.zst")));
        for _ in 0..3 {
            let put = sample().episode(&name);
            assert_eq!(world.put(&put).status, 500, "{what}\n{world}");
        }
        let said = format!("it is {what}");
        assert!(world.log().contains(&said), "{what}\n{world}");
        let receipt = world.get(&format!("/v1/episodes/lab-1/{name}"));
        assert_eq!(receipt.status, 404, "{what}\n{world}");
    }
    assert_eq!(world.put(&sample()).status, 201, "{world}");
    world.signal("TERM");
    assert!(world.ends_within(Duration::from_secs(10)), "{world}");
}

#[test]
fn under_a_name_that_a_start_needs_it_is_a_refusal_in_words() {
    let mut world = prepared();
    for name in ["lock", "index.jsonl", "cis490-store"] {
        let path = world.data_dir().join(name);
        let before = fs::read(&path).ok();
        for (what, take) in TAKEN {
            let _ = fs::remove_file(&path);
            take(&path);
            assert!(!world.try_start(), "{name}: {what}\n{world}");
            let log = world.log();
            for words in [&format!("it is {what}"), name] {
                assert!(log.contains(words), "{name}: {what}\n{world}");
            }
            let _ = fs::remove_dir(&path);
        }
        let _ = fs::remove_file(&path);
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
    }
    world.start();
}

/// What is only told to people keeps nobody from uploading.
#[test]
fn under_a_name_that_can_be_done_without_all_goes_on() {
    for (what, take) in TAKEN {
        let mut world = prepared();
        for name in ["window.json", "refusals.jsonl", "scrub.json"] {
            take(&world.data_dir().join(name));
        }
        world.start();
        assert_eq!(world.put(&sample()).status, 201, "{what}\n{world}");
        assert_eq!(
            world.put(&sample().body(b"other")).status,
            409,
            "{what}\n{world}"
        );
        world.wait_until("the refusal is told of", |world| {
            world.log().contains("event=refusals_un")
        });
        assert_eq!(world.get("/").status, 200, "{what}\n{world}");
    }
}

/// Numbers go on without it, so it is kept and keeps nobody from starting.
#[test]
fn under_the_name_of_the_sequence_it_goes_to_quarantine() {
    let too_large: Take = |path| fs::write(path, vec![b' '; 1 << 20]).unwrap();
    let taken = TAKEN
        .into_iter()
        .chain([("a file of ours, but it has more than", too_large)]);
    for (what, take) in taken {
        let mut world = running();
        assert_eq!(world.put(&sample()).status, 201, "{world}");
        assert_eq!(world.stop(), Some(0));
        let path = world.data_dir().join("sequence");
        fs::remove_file(&path).unwrap();
        take(&path);
        world.start();
        let log = world.log();
        let said = log
            .lines()
            .find(|line| line.contains("event=sequence_unreadable"));
        let words = what.rsplit(", but ").next().unwrap();
        assert!(
            said.is_some_and(|line| line.contains(words)),
            "{what}\n{world}"
        );
        assert_eq!(world.names("quarantine"), ["sequence.1"], "{what}");
        let next = world.put(&sample().episode("ep-2"));
        assert_eq!(next.json()["seq"], 2, "{what}\n{world}");
    }
}

/// A `lock` that was removed lets no second receiver in.
#[test]
fn a_removed_lock_lets_nobody_in() {
    let world = running();
    fs::remove_file(world.data_dir().join("lock")).unwrap();
    let second = crate::root::run(&["receive", "--config", &world.config_path()]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.said.contains("another cis490 is at work"),
        "{second:?}"
    );
    let status = crate::root::run(&["status", "--json", "--config", &world.config_path()]);
    assert!(status.said.contains("\"running\": true"), "{status:?}");
}
