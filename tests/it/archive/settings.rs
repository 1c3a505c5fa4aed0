//! How a receiver with an archive is set up in a test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::world::World;

/// The waits of hours and minutes are none for the next process.
pub fn hurry(world: &mut World) {
    world.env("CIS490_ARCHIVE_VERIFY_AFTER_MS", 0);
    world.env("CIS490_ARCHIVE_PROOF_AGE_MS", 0);
    world.env("CIS490_ARCHIVE_LONG_WAIT_MS", 200);
    world.env("CIS490_ARCHIVE_PAUSE_MS", 50);
}

pub fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
