//! What an episode's directory consists of, in few words: to see whether it is still what was packed, with no
//! file read.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::META_NAME;
use super::tree::{Episode, Unfit, Walk};
use crate::names::Sha256Digest;

/// What the episode in `dir` consists of, as far as names, sizes, times and the executable bits of its
/// files tell. Reads no file. Equal to that of a tarball made of it ([`super::Packed`]) for as long as
/// nothing in it changes, wherever it is moved.
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

/// All files and directories of an episode, in few words.
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
    /// Whether there is more now than `then`, or anything newer: a power cut takes away, and does not
    /// add. Less, and with it something older, is not seen: that is for somebody who knows of a cut.
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

    /// The next one of a [`Walk`]. Of directories only the name counts: their times change when a
    /// person looks into them with an editor.
    pub(super) fn add(&mut self, name: &[u8], metadata: &Metadata) {
        let below_root = name.iter().position(|&byte| byte == b'/').unwrap_or(0);
        self.entries += 1;
        self.hasher.update(&name[below_root..]);
        // No name has a NUL.
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
