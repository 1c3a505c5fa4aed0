//! `cis490 host`: adds and removes a lab host in `receiver.toml`, and leaves the rest of the file as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::thread;

use crate::program::cis490;
use crate::world::World;

fn host(world: &World, words: &[&str]) -> Output {
    let config = ["--config".to_owned(), world.config_path()];
    let command = cis490().arg("host").args(words).args(config).output();
    command.unwrap()
}

fn done(world: &World, words: &[&str]) -> String {
    let output = host(world, words);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn reload(world: &World) {
    let count = |world: &World| world.log().matches("event=reloaded ").count();
    let before = count(world);
    world.signal("HUP");
    world.wait_until("it was reloaded", |world| count(world) > before);
}

#[test]
fn a_host_is_added_gets_in_and_is_removed_again() {
    let world = World::with("# mine\nmax_uploads = 7 # enough\n");
    let before = fs::read_to_string(world.config_path()).unwrap();
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(world.config_path(), mode).unwrap();

    let first = done(&world, &["add", "lab-9", "--address", "10.0.0.9"]);
    assert!(
        first.contains("from now on no other host may upload"),
        "{first}"
    );
    assert!(
        first.contains("systemctl reload cis490-receiver"),
        "{first}"
    );
    reload(&world);
    assert_eq!(world.put(&world.good()).status, 403, "{world}");
    let second = done(&world, &["add", "lab-1", "--address", "127.0.0.1"]);
    assert!(!second.contains("from now on"), "{second}");
    reload(&world);
    assert_eq!(world.put(&world.good()).status, 201, "{world}");
    let text = fs::read_to_string(world.config_path()).unwrap();
    assert!(text.starts_with(&before), "{text}");

    done(&world, &["remove", "lab-1"]);
    reload(&world);
    let other = world.good().episode("ep-2");
    assert_eq!(world.put(&other).status, 403, "{world}");
    let text = fs::read_to_string(world.config_path()).unwrap();
    assert!(
        text.starts_with(&before) && text.contains("lab-9"),
        "{text}"
    );
    assert!(!text.contains("lab-1"), "{text}");
    let mode = fs::metadata(world.config_path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    // What is stored stays.
    assert!(world.stored("lab-1", "ep-1").is_some(), "{world}");
}

#[test]
fn without_an_address_a_token_is_made_that_lets_the_host_in() {
    let world = World::new();
    let told = done(&world, &["add", "lab-1"]);
    let is_token = |line: &&str| line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit());
    let token = told.lines().find(is_token).unwrap();
    let file = fs::read_to_string(world.config_path()).unwrap();
    assert!(!file.contains(token), "{file}");
    reload(&world);
    assert_eq!(world.put(&world.good()).status, 401, "{world}");
    let put = world
        .good()
        .extra(&format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(world.put(&put).status, 201, "{world}");
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let world = World::prepared("");
    done(&world, &["add", "lab-1", "--address", "10.0.0.1"]);
    let before = fs::read_to_string(world.config_path()).unwrap();
    for (words, code, why) in [
        (&["add", "lab-1", "--address", "10.0.0.2"][..], 1, "already"),
        (&["remove", "lab-2"], 1, "has no [[host]]"),
        (&["remove", "lab-1"], 1, "is the last [[host]]"),
        (
            &["remove", "lab-1", "--address", "10.0.0.1"],
            2,
            "--address is for add",
        ),
        (&["change", "lab-1"], 2, "accepts add or remove"),
        (&["add", "Lab"], 2, "host id"),
        (&["add", "lab-2", "--address", "10.0.0"], 2, "--address"),
    ] {
        let output = host(&world, words);
        assert_eq!(output.status.code(), Some(code), "{words:?} {output:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(why), "{words:?} {told}");
        assert_eq!(fs::read_to_string(world.config_path()).unwrap(), before);
    }
}

/// Each of them writes the file anew: none loses what another has written.
#[test]
fn hosts_that_are_added_at_the_same_time_are_all_there() {
    let world = World::with("");
    thread::scope(|scope| {
        for n in 0..8 {
            let world = &world;
            scope.spawn(move || {
                let (id, address) = (format!("lab-{n}"), format!("10.0.0.{n}"));
                done(world, &["add", &id, "--address", &address])
            });
        }
    });
    let text = fs::read_to_string(world.config_path()).unwrap();
    for n in 0..8 {
        assert_eq!(text.matches(&format!("\"lab-{n}\"")).count(), 1, "{text}");
    }
}
