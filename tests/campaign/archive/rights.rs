//! Keys that may not, keys that are no more, a bucket that is emptied and one that is gone: loud, nothing
//! evicted meanwhile, and all goes on when a person has put it right.

use std::sync::Mutex;

use super::ceph::Gateway;
use super::garage::Garage;
use super::promises::{self, Kept};
use super::stores::RealStore;
use super::{ALWAYS, bucket, episodes, prepared, start, wait_while_it_moves, write_secret};
use crate::world::{World, cis490};

/// What an administrator of the store does.
pub trait Rights {
    /// These keys may only read, or all keys.
    fn set_read_only(&self, access: &str, is_on: bool);
    /// Keys for a receiver, which may read and write in the bucket.
    fn make_keys(&self, access: &str, secret: &str);
    /// And takes them away.
    fn revoke_keys(&self, access: &str);
    fn delete_bucket(&self);
    /// Makes it again, with the rights of these keys.
    fn make_bucket_again(&self, access: &str);
}

impl Rights for Garage {
    fn set_read_only(&self, access: &str, is_on: bool) {
        let word = if is_on { "deny" } else { "allow" };
        self.run(&["bucket", word, "--write", "lab", "--key", access]);
    }

    fn make_keys(&self, access: &str, secret: &str) {
        self.run(&["key", "import", "--yes", access, secret]);
        self.allow(access);
    }

    fn revoke_keys(&self, access: &str) {
        self.run(&["key", "delete", "--yes", access]);
    }

    fn delete_bucket(&self) {
        bucket::empty(self);
        self.run(&["bucket", "delete", "--yes", "lab"]);
    }

    fn make_bucket_again(&self, access: &str) {
        self.run(&["bucket", "create", "lab"]);
        self.allow(access);
        self.allow(self.keys().0);
    }
}

impl Garage {
    fn allow(&self, access: &str) {
        self.run(&[
            "bucket", "allow", "--read", "--write", "lab", "--key", access,
        ]);
    }
}

impl Rights for Gateway {
    fn set_read_only(&self, _access: &str, is_on: bool) {
        let mask = if is_on { "read" } else { "read,write,delete" };
        self.tell(&format!(
            "run radosgw-admin user modify --uid=t --op-mask={mask}"
        ));
    }

    fn make_keys(&self, access: &str, secret: &str) {
        self.tell(&format!(
            "run radosgw-admin key create --uid=t --key-type=s3 --access-key={access} --secret-key={secret}"
        ));
    }

    fn revoke_keys(&self, access: &str) {
        self.tell(&format!(
            "run radosgw-admin key rm --uid=t --key-type=s3 --access-key={access}"
        ));
    }

    fn delete_bucket(&self) {
        bucket::delete(self);
    }

    fn make_bucket_again(&self, _access: &str) {
        bucket::make(self);
    }
}

pub fn rights_and_buckets() {
    if !bucket::has_rclone() {
        return;
    }
    if let Some(garage) = Garage::start() {
        one_store(&garage);
    }
    if let Some(ceph) = Gateway::start() {
        one_store(&ceph);
    }
}

const FIRST: (&str, &str) = (
    "GKaaaaaaaaaaaaaaaaaaaaaaaa",
    "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
);
const SECOND: (&str, &str) = (
    "GKbbbbbbbbbbbbbbbbbbbbbbbb",
    "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2",
);

fn one_store<S: RealStore + Rights>(store: &S) {
    let kept = Mutex::new(Kept::new());
    let mut world = prepared(store, None, "");
    store.make_keys(FIRST.0, FIRST.1);
    give_keys(&world, FIRST);
    start(&mut world);
    promises::upload_all(&world, 0..6, &kept);
    wait_for(&world, "archived", 6);

    stop_writing(store, &world, &kept);
    revoke(store, &mut world, &kept);
    empty(store, &mut world, &kept);
    delete(store, &world, &kept);
    println!(
        "archive, {}: read-only, keys revoked, bucket emptied, bucket deleted: each loud, nothing evicted meanwhile",
        store.name()
    );
}

fn give_keys(world: &World, (access, secret): (&str, &str)) {
    write_secret(
        &world.dir().join("s3-keys"),
        &format!("{access}\n{secret}\n"),
    );
}

fn wait_for(world: &World, state: &str, count: u64) {
    wait_while_it_moves(
        world,
        &format!("{count} are {state}"),
        |world| world.log().len(),
        |world| episodes(world, state) == count,
    );
}

fn wait_until_loud(world: &World, kind: &str) {
    let line = format!("event=archive_stopped kind={kind}");
    world.wait_until(&line, |world| world.log().contains(&line));
}

/// A bucket that may only be read.
fn stop_writing<S: RealStore + Rights>(store: &S, world: &World, kept: &Mutex<Kept>) {
    store.set_read_only(FIRST.0, true);
    promises::upload_all(world, 6..9, kept);
    wait_until_loud(world, "denied");
    assert_eq!(bucket::count(store), 6);
    store.set_read_only(FIRST.0, false);
    wait_for(world, "archived", 9);
}

/// Keys that are no more, while room is needed: no proof is worth anything that cannot be looked at.
fn revoke<S: RealStore + Rights>(store: &S, world: &mut World, kept: &Mutex<Kept>) {
    world.stop();
    store.revoke_keys(FIRST.0);
    world.replace_in_config("[archive]\n", &format!("[archive]\n{ALWAYS}"));
    start(world);
    promises::upload_all(world, 9..12, kept);
    wait_until_loud(world, "denied");
    for n in 0..12 {
        assert!(promises::is_here(world, n), "{n}\n{world}");
    }
    // Those of the file count as soon as the store refuses the others.
    world.kill();
    world.replace_in_config(ALWAYS, "");
    start(world);
    store.make_keys(SECOND.0, SECOND.1);
    give_keys(world, SECOND);
    wait_for(world, "archived", 12);
}

/// Each object is gone at once. What is here is copied again before its file may go; what is not is found
/// to be lost, and accepted again.
fn empty<S: RealStore + Rights>(store: &S, world: &mut World, kept: &Mutex<Kept>) {
    world.stop();
    bucket::empty(store);
    world.replace_in_config("[archive]\n", &format!("[archive]\n{ALWAYS}"));
    start(world);
    wait_for(world, "evicted", 12);
    assert!(world.log().contains("event=archive_lost"), "{world}");
    let found = promises::check(world, store, &kept.lock().unwrap());
    assert_eq!(found.evicted, 12);

    bucket::empty(store);
    let config = world.config_path();
    let output = cis490()
        .args(["scrub", "--archive", "--config", &config])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("12 lost"), "{text}\n{world}");
    wait_for(world, "lost", 12);
    promises::upload_all(world, 0..12, kept);
    wait_for(world, "evicted", 12);
    promises::check(world, store, &kept.lock().unwrap());
}

/// The bucket itself is gone.
fn delete<S: RealStore + Rights>(store: &S, world: &World, kept: &Mutex<Kept>) {
    store.delete_bucket();
    promises::upload_all(world, 12..15, kept);
    wait_until_loud(world, "no-bucket");
    for n in 12..15 {
        assert!(promises::is_here(world, n), "{n}\n{world}");
    }
    store.make_bucket_again(SECOND.0);
    wait_for(world, "evicted", 15);
}
