//! A digest of an episode's directory, made without reading a file: it shows whether the directory is
//! still the one that was packed.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::META_NAME;
use super::tree::{Episode, Walk};
use super::unfit::Unfit;
use crate::names::Sha256Digest;

/// The contents of the episode in `dir`: names, sizes, times and the executable bits of its files. No
/// file is read. The result is equal to the `contents` of the tarball made of it ([`super::Packed`])
/// until something in the directory changes; moving the directory does not count.
///
/// Errors: the directory or something in it cannot be looked at, or is neither file nor directory.
pub fn contents(dir: &Path) -> Result<Contents, Unfit> {
    let episode = Episode::open(dir)?;
    let mut tally = Tally::new(&episode.look_at_meta()?);
    // The name of the directory itself does not count, so any will do.
    for found in Walk::new(&episode, b"-".to_vec())? {
        let found = found?;
        tally.add(&found.name, &found.metadata);
    }
    Ok(tally.contents())
}

/// All files and directories of an episode, summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Of each entry's name, and of each file's size, time and executable bit.
    pub digest: Sha256Digest,
    pub entries: u64,
    /// All the files' sizes together.
    pub bytes: u64,
    /// The newest of the files' times, in nanoseconds since 1970.
    pub newest_ns: i128,
}

impl Contents {
    /// Whether there is more now than `then`, or anything newer. A power cut only takes away: after a
    /// cut, a directory for which this is true was changed by somebody. What was taken away or became
    /// older is not seen here.
    pub fn has_more_than(&self, then: &Contents) -> bool {
        self.entries > then.entries || self.bytes > then.bytes || self.newest_ns > then.newest_ns
    }
}

/// Makes [`Contents`], entry by entry.
pub(super) struct Tally {
    hasher: Sha256,
    entries: u64,
    bytes: u64,
    newest_ns: i128,
}

impl Tally {
    pub(super) fn new(meta: &Metadata) -> Tally {
        let mut tally = Tally {
            hasher: Sha256::new(),
            entries: 0,
            bytes: 0,
            newest_ns: i128::MIN,
        };
        tally.add(META_NAME.as_bytes(), meta);
        tally
    }

    /// Adds the next entry of a [`Walk`]. Only the name of a directory counts: its time changes when a
    /// person opens an editor in it.
    pub(super) fn add(&mut self, name: &[u8], metadata: &Metadata) {
        let below_root = name.iter().position(|&byte| byte == b'/').unwrap_or(0);
        self.entries += 1;
        self.hasher.update(&name[below_root..]);
        // A name has no NUL, so a NUL ends it unmistakably.
        self.hasher.update([0, u8::from(metadata.is_dir())]);
        if metadata.is_file() {
            let is_executable = metadata.permissions().mode() & 0o100 != 0;
            let time_ns = i128::from(metadata.mtime()) * 1_000_000_000;
            let time_ns = time_ns + i128::from(metadata.mtime_nsec());
            self.hasher.update(metadata.len().to_le_bytes());
            self.hasher.update(time_ns.to_le_bytes());
            self.hasher.update([u8::from(is_executable)]);
            self.bytes = self.bytes.saturating_add(metadata.len());
            self.newest_ns = self.newest_ns.max(time_ns);
        }
    }

    pub(super) fn contents(self) -> Contents {
        Contents {
            digest: Sha256Digest::from_bytes(self.hasher.finalize().into()),
            entries: self.entries,
            bytes: self.bytes,
            newest_ns: self.newest_ns,
        }
    }
}
