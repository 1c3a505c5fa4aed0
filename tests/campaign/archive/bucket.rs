//! The bucket through the eyes of another program: rclone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::stores::RealStore;
use crate::client::sha256;
use crate::here;
use crate::world::TempDir;

/// Whether rclone is there.
pub fn has_rclone() -> bool {
    here::has("the archive's campaign", "rclone")
}

/// Every object: its digest by its key.
pub fn digests(store: &dyn RealStore) -> BTreeMap<String, String> {
    let dir = TempDir::new();
    let dir = dir.path().join("all");
    fs::create_dir(&dir).unwrap();
    run(store, &["copy", "store:lab", dir.to_str().unwrap()]);
    let mut found = BTreeMap::new();
    collect(&dir, &dir, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let key = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.insert(key.to_owned(), sha256(&fs::read(&path).unwrap()));
        }
    }
}

/// How many objects there are.
pub fn count(store: &dyn RealStore) -> usize {
    let output = rclone(store)
        .args(["lsf", "-R", "--files-only", "store:lab"])
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().count()
}

/// Deletes every object, and leaves the bucket.
pub fn empty(store: &dyn RealStore) {
    run(store, &["delete", "store:lab"]);
}

/// Makes the bucket.
pub fn make(store: &dyn RealStore) {
    run(store, &["mkdir", "store:lab"]);
}

/// Deletes the bucket with all that is in it.
pub fn delete(store: &dyn RealStore) {
    run(store, &["purge", "store:lab"]);
}

/// Whether the store answers a request for the list of its buckets.
pub fn answers(store: &dyn RealStore) -> bool {
    let listed = rclone(store)
        .args([
            "lsd",
            "--retries",
            "1",
            "--low-level-retries",
            "1",
            "store:",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    listed.unwrap().success()
}

fn run(store: &dyn RealStore, words: &[&str]) {
    let output = rclone(store).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rclone {words:?}\n{errors}");
}

fn rclone(store: &dyn RealStore) -> Command {
    let mut rclone = Command::new("rclone");
    let (access, secret) = store.keys();
    for (name, value) in [
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &store.endpoint()),
        ("REGION", store.region()),
        ("ACCESS_KEY_ID", access),
        ("SECRET_ACCESS_KEY", secret),
    ] {
        rclone.env(format!("RCLONE_CONFIG_STORE_{name}"), value);
    }
    // This rclone does not start with one.
    rclone.env_remove("AWS_CA_BUNDLE");
    rclone.args(["--config", "/dev/null", "--quiet"]);
    rclone
}
