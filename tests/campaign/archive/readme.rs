//! The README's lines that make a bucket, on a Garage and on a Ceph that are new: a receiver with the keys that
//! they print archives into it, and keys without the right to delete delete nothing.

use std::process::Command;
use std::sync::Mutex;

use super::ceph::Gateway;
use super::garage::Garage;
use super::promises::{self, Kept};
use super::stores::RealStore;
use super::{GATE_OFF, bucket, episodes, start, write_secret};
use crate::world::World;

pub fn buckets_by_hand() {
    if !bucket::has_rclone() {
        return;
    }
    if let Some(garage) = Garage::start_bare() {
        on_garage(&garage);
    }
    if let Some(ceph) = Gateway::start() {
        on_ceph(&ceph);
    }
}

/// The lines of the README's block that begins so.
fn block(begin: &str) -> &'static str {
    let readme = include_str!("../../../README.md");
    let at = readme.find(begin).expect(begin);
    readme[at..].split("```").next().unwrap()
}

fn on_garage(garage: &Garage) {
    let printed = garage.shell(block("garage layout assign"));
    let field = |name: &str| {
        let line = printed
            .lines()
            .find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{printed}"))
            .trim()
            .to_owned()
    };
    archives(garage, &field("Key ID:"), &field("Secret key:"));
    println!("archive, garage: the README's lines make a bucket and its keys");
}

fn on_ceph(ceph: &Gateway) {
    let lines: Vec<&str> = block("radosgw-admin user create").lines().collect();
    let (create, rest) = lines.split_first().unwrap();
    let create = create.split('#').next().unwrap().trim();
    let printed = ceph.tell(&format!("run {create}"));
    let printed = &printed[printed.find('{').expect(&printed)..];
    let user: serde_json::Value = serde_json::from_str(printed).unwrap();
    let key = |name: &str| user["keys"][0][name].as_str().unwrap();
    let (access, secret) = (key("access_key"), key("secret_key"));
    let script = rest.join("\n");
    let script = script.replace("http://10.8.0.20:7480", &RealStore::endpoint(ceph));
    let script = script.replace("=ACCESS ", &format!("={access} "));
    let script = script.replace("=SECRET", &format!("={secret}"));
    let shell = |more: &str| {
        let script = format!("{script}\n{more}");
        let mut shell = Command::new("sh");
        // This rclone does not start with one.
        shell.args(["-ec", &script]).env_remove("AWS_CA_BUNDLE");
        shell.env("RCLONE_CONFIG", "/dev/null").output().unwrap()
    };
    let made = shell("");
    assert!(made.status.success(), "{made:?}");
    archives(ceph, access, secret);
    let deleted = shell("rclone --retries 1 delete :s3:episodes");
    assert!(!deleted.status.success(), "{deleted:?}");
    let left = shell("rclone lsf -R --files-only :s3:episodes");
    let left = String::from_utf8(left.stdout).unwrap();
    assert_eq!(left.lines().count(), 3, "{left}");
    println!("archive, ceph: the README's lines make a bucket and keys that cannot delete");
}

/// A receiver with these keys copies and proves.
fn archives(store: &dyn RealStore, access: &str, secret: &str) {
    let mut world = World::prepared(GATE_OFF);
    let file = world.dir().join("s3-keys");
    write_secret(&file, &format!("{access}\n{secret}\n"));
    world.add_tables(&format!(
        "[archive]\nendpoint = {:?}\nregion = {:?}\nbucket = \"episodes\"\nsecret_file = {file:?}\n",
        store.endpoint(),
        store.region()
    ));
    start(&mut world);
    promises::upload_all(&world, 0..3, &Mutex::new(Kept::new()));
    world.wait_until("all are proven", |world| episodes(world, "archived") == 3);
}
