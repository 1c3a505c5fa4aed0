//! What lies in episodes/, for those who go through all of it.

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

pub(super) fn host_of(entry: &DirEntry) -> Option<HostId> {
    let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
    let name = entry.file_name();
    name.to_str()
        .filter(|_| is_dir)
        .and_then(|name| HostId::parse(name).ok())
}

pub(super) fn slot_of(host: &HostId, entry: &DirEntry) -> Option<Slot> {
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    let name = entry.file_name();
    let episode = name
        .to_str()
        .filter(|_| is_file)
        .and_then(episode_of_tarball)?;
    Some(Slot {
        host: host.clone(),
        episode,
    })
}

pub(super) fn cannot_read(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot read {}: {error}", path.display()),
        owner::hint(error, "look at the disk (dmesg) and at who owns it (ls -l)"),
    )
}
