//! The id of a store: given once, kept, shown, and never a reason not to start.

use std::fs;

use super::{NO_GATE, READER, with_index};
use crate::program::cis490;
use crate::world::{World, has_steps};

const OLD_MARKER: &str = "cis490 store, format 1\n";

fn marker(world: &World) -> String {
    fs::read_to_string(world.data_dir().join("cis490-store")).unwrap()
}

fn listed_id(world: &World) -> String {
    let answer = world.get("/v1/episodes");
    answer.header("X-Cis490-Store").unwrap().to_owned()
}

fn shown_id(world: &World) -> serde_json::Value {
    let text = world.run(&["status", "--json", "--config", &world.config_path()]);
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    status["store_id"].clone()
}

#[test]
fn each_new_store_has_its_own_id_and_keeps_it() {
    let mut world = with_index("");
    let id = listed_id(&world);
    assert_eq!(id.len(), 16);
    assert!(
        id.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    );
    assert_eq!(shown_id(&world), id);
    let page = world.run(&["status", "--config", &world.config_path()]);
    assert!(page.contains(&id), "{page}");
    world.stop();
    world.run(&["init", "--config", &world.config_path()]);
    world.start();
    assert_eq!(listed_id(&world), id);
    assert_ne!(listed_id(&with_index("")), id);
}

#[test]
fn an_older_store_gets_an_id_at_its_next_start() {
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    fs::write(world.data_dir().join("cis490-store"), OLD_MARKER).unwrap();
    assert_eq!(shown_id(&world), serde_json::Value::Null);
    world.start();
    let id = listed_id(&world);
    assert_eq!(marker(&world), format!("{OLD_MARKER}id {id}\n"));
    assert!(world.log().contains("event=store_id"), "{world}");
    world.kill();
    world.start();
    assert_eq!(listed_id(&world), id);
    assert!(!world.log().contains("event=store_id"), "{world}");
}

#[test]
fn an_id_that_cannot_be_written_keeps_no_receiver_from_starting() {
    if !has_steps("an_id_that_cannot_be_written_keeps_no_receiver_from_starting") {
        return;
    }
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    let path = world.data_dir().join("cis490-store");
    fs::write(&path, OLD_MARKER).unwrap();
    world.env("CIS490_FAIL_ON", format!("1:{}", path.display()));
    world.env("CIS490_FAIL_ERRNO", libc::ENOSPC);
    world.start();
    assert!(world.log().contains("event=store_id_unwritable"), "{world}");
    let of_this_run = listed_id(&world);
    assert_eq!(marker(&world), OLD_MARKER);
    world.stop();
    world.start();
    let id = listed_id(&world);
    assert_ne!(id, of_this_run);
    assert_eq!(marker(&world), format!("{OLD_MARKER}id {id}\n"));
}

/// Killed at any step of the write, the store is one still, and has one id from then on.
#[test]
fn a_crash_while_the_id_is_written_leaves_a_store() {
    if !has_steps("a_crash_while_the_id_is_written_leaves_a_store") {
        return;
    }
    for step in 1..=30 {
        let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
        fs::write(world.data_dir().join("cis490-store"), OLD_MARKER).unwrap();
        world.env("CIS490_CRASH_AT", step);
        let has_started = world.try_start();
        if !has_started {
            world.start();
        }
        let id = listed_id(&world);
        assert_eq!(marker(&world), format!("{OLD_MARKER}id {id}\n"), "{step}");
        world.kill();
        world.start();
        assert_eq!(listed_id(&world), id, "{step}");
        if has_started {
            return assert!(step > 4, "the steps of the write were not walked");
        }
    }
    panic!("more steps than the bound: raise it knowingly");
}

#[test]
fn init_gives_a_new_disk_the_id_of_the_old_one() {
    let world = with_index("");
    let new = world.dir().join("new-disk").display().to_string();
    let init = |arguments: &[&str]| {
        let output = cis490().arg("init").args(arguments).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    };
    let id = "0123456789abcdef";
    let (status, errors) = init(&["--data-dir", &new, "--store-id", id]);
    assert_eq!(status, Some(0), "{errors}");
    let text = fs::read_to_string(format!("{new}/cis490-store")).unwrap();
    assert_eq!(text, format!("{OLD_MARKER}id {id}\n"));
    assert_eq!(init(&["--data-dir", &new, "--store-id", id]).0, Some(0));
    let (status, errors) = init(&["--data-dir", &new, "--store-id", "fedcba9876543210"]);
    assert_eq!(status, Some(1), "{errors}");
    assert!(errors.contains(id), "{errors}");
    for odd in ["", "0123456789ABCDEF", "0123", "0123456789abcdef0"] {
        let other = world.dir().join("other").display().to_string();
        assert_ne!(
            init(&["--data-dir", &other, "--store-id", odd]).0,
            Some(0),
            "{odd}"
        );
        assert!(!world.dir().join("other").exists(), "{odd}");
    }
    let root = world.dir().join("lab").display().to_string();
    assert_eq!(init(&["--root", &root, "--store-id", id]).0, Some(2));
    assert!(!world.dir().join("lab").exists());
}
