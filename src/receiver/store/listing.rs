//! The entries of episodes/, for scrub and backfill, which go through all of it.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::layout::episode_of_tarball;
use crate::failure::Failure;
use crate::names::HostId;
use crate::owner;
use crate::wire::Slot;

/// Sorted, so that two runs say the same.
pub(super) fn entries(dir: &Path) -> Result<Vec<DirEntry>, Failure> {
    let mut entries = fs::read_dir(dir)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| cannot_read(dir, &error))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

/// The host of a folder in episodes/; `None` if the entry is no host's folder.
pub(super) fn host_of(entry: &DirEntry) -> Option<HostId> {
    let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
    if !is_dir {
        return None;
    }
    HostId::parse(entry.file_name().to_str()?).ok()
}

/// The slot of a tarball in `episodes/<host>/`; `None` if the entry is none.
pub(super) fn slot_of(host: &HostId, entry: &DirEntry) -> Option<Slot> {
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    if !is_file {
        return None;
    }
    Some(Slot {
        host: host.clone(),
        episode: episode_of_tarball(entry.file_name().to_str()?)?,
    })
}

pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot read {}: {error}", path.display()),
        owner::hint(error, "look at the disk (dmesg) and at who owns it (ls -l)"),
    )
}
