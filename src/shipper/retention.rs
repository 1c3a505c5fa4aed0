//! shipped/ is a courtesy: the receiver has every episode in it. An episode is removed after
//! `keep_shipped_days`, and earlier when the disk runs short, oldest first. Its receipt stays.
//!
//! 1. Only a directory with its receipt beside it is removed.
//! 2. Nothing outside shipped/ is ever removed, however full the disk is.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::config::Config;
use super::notes;
use super::queue::Root;
use crate::durable;
use crate::events;
use crate::sys;

/// Removes the episodes that are older than `keep_days`.
///
/// The age is the receipt's, by a clock that may have been set: one that jumps makes a courtesy
/// shorter or longer, no more.
pub(super) fn expire(root: &Root, keep_days: u64) -> io::Result<()> {
    let keep = Duration::from_secs(keep_days * 24 * 3600);
    let mut trouble = Ok(());
    for old in list(root)? {
        let age = SystemTime::now()
            .duration_since(old.since)
            .unwrap_or(Duration::ZERO);
        if age < keep {
            break;
        }
        // An episode that cannot be removed does not stop the removal of the others.
        match durable::remove_tree(&old.dir) {
            Ok(()) => events::shipped_removed(&old.dir, "keep_shipped_days is over"),
            Err(error) => trouble = trouble.and(Err(cannot_remove(&old, &error))),
        }
    }
    trouble
}

/// Keeps so much of the disk free for the recorder, at the cost of shipped/.
pub(super) fn relieve(root: &Root, config: &Config) -> io::Result<()> {
    let disk = sys::disk_bytes(root.dir())?;
    let floor_bytes = config.free_bytes_floor(disk.total);
    if disk.free < floor_bytes {
        let removed = make_room(root, floor_bytes, 0)?;
        if removed > 0 {
            events::short_of_space(root.dir(), disk.free, floor_bytes, removed);
        }
    }
    Ok(())
}

/// Removes the oldest episodes until `wanted_bytes` are free, and at least `at_least` of them even if
/// the filesystem shows enough room (it does not show a quota). Returns how many it removed.
pub(super) fn make_room(root: &Root, wanted_bytes: u64, at_least: usize) -> io::Result<usize> {
    let mut removed = 0;
    let mut trouble = Ok(());
    for old in list(root)? {
        if removed >= at_least && sys::free_bytes(root.dir())? >= wanted_bytes {
            break;
        }
        match durable::remove_tree(&old.dir) {
            Ok(()) => {
                events::shipped_removed(&old.dir, "the disk is short of space");
                removed += 1;
            }
            Err(error) => trouble = trouble.and(Err(cannot_remove(&old, &error))),
        }
    }
    // Removed episodes made room; an error matters only if none could be removed.
    match removed {
        0 => trouble.map(|()| 0),
        _ => Ok(removed),
    }
}

fn cannot_remove(old: &Shipped, error: &io::Error) -> io::Error {
    let why = format!("cannot remove {}: {error}", old.dir.display());
    io::Error::new(error.kind(), why)
}

struct Shipped {
    dir: PathBuf,
    /// When its receipt was written.
    since: SystemTime,
}

/// The directories that have a receipt, oldest first.
fn list(root: &Root) -> io::Result<Vec<Shipped>> {
    let mut shipped = Vec::new();
    for found in fs::read_dir(root.shipped())? {
        let found = found?;
        if !found.file_type()?.is_dir() {
            continue;
        }
        let name = found.file_name();
        let receipt = name.to_str().map(|name| notes::receipt_path(root, name));
        let since = receipt.and_then(|path| path.symlink_metadata().ok()?.modified().ok());
        if let Some(since) = since {
            shipped.push(Shipped {
                dir: found.path(),
                since,
            });
        }
    }
    shipped.sort_by(|a, b| (a.since, &a.dir).cmp(&(b.since, &b.dir)));
    Ok(shipped)
}
