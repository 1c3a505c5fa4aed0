//! One pass of a scrub as it is kept in `scrub.json`: where it is, and the findings so far.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::receiver::store::layout::Layout;
use crate::{clock, durable};

/// The largest `scrub.json`: a thousand findings, each with the longest path and reason.
const NOTE_BYTES_MAX: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The file's bytes are not those of its row.
    Rotten,
    /// The file cannot be read from end to end.
    Unreadable,
    /// A row without a file.
    Missing,
    /// A file without a row.
    Unindexed,
    /// A line of the index that is no receipt.
    BadRow,
    /// Something in episodes/ that is no episode.
    Odd,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub kind: Kind,
    /// Relative to `data_dir`.
    pub path: String,
    pub why: String,
}

/// One pass over the store: `scrub.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pass {
    /// RFC 3339, as all times here.
    pub begun_at: String,
    /// `None` while it runs, and after it was ended in the middle.
    pub done_at: Option<String>,
    pub since: Option<String>,
    /// The last `host/episode` that was read.
    pub after: Option<String>,
    pub episodes: u64,
    pub bytes: u64,
    /// Episodes whose bytes are in the archive alone.
    pub archived: u64,
    pub found: BTreeMap<Kind, u64>,
    /// The first of them by name.
    pub findings: Vec<Finding>,
}

impl Pass {
    /// The newest pass at this place; `None` if there was none, or its file cannot be read.
    fn read(path: &Path) -> Option<Pass> {
        serde_json::from_slice(&durable::read_regular(path, NOTE_BYTES_MAX).ok()?).ok()
    }

    /// The newest over the whole store, and the newest over new files.
    pub(crate) fn both(layout: &Layout) -> [Option<Pass>; 2] {
        [layout.scrub(), layout.scrub_since()].map(|path| Pass::read(&path))
    }

    /// The newest over the whole store, whether or not it went to its end.
    pub(crate) fn newest_whole(data_dir: &Path) -> Option<Pass> {
        Pass::read(&Layout::new(data_dir).scrub())
    }

    /// The pass to show to a person: the newest over the whole store, unless one over new files has
    /// found something that it has not seen.
    pub(crate) fn to_tell(data_dir: &Path) -> Option<Pass> {
        let [whole, new] = Pass::both(&Layout::new(data_dir));
        let is_settled = |new: &Pass| {
            whole.as_ref().is_some_and(|whole| {
                !whole.is_clean() || (whole.done_at.is_some() && whole.begun_at >= new.begun_at)
            })
        };
        match new.filter(|new| !new.is_clean() && !is_settled(new)) {
            None => whole,
            found => found,
        }
    }

    /// Whether nothing was found that a person must look at.
    pub(crate) fn is_clean(&self) -> bool {
        self.found.keys().all(|kind| *kind == Kind::Odd)
    }

    /// A pass over the same files that was ended in the middle.
    pub(super) fn unfinished(path: &Path, since: Option<SystemTime>) -> Option<Pass> {
        let pass = Pass::read(path)?;
        let is_same = pass.since == since.map(clock::rfc3339);
        (pass.done_at.is_none() && is_same).then_some(pass)
    }
}
