//! Whether the index lacks rows that it had: compared at start with the last length that is known.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::Kept;
use crate::receiver::store::layout::{Layout, TARBALL_ENDING};
use crate::receiver::store::tail::Tail;

/// Rows were lost, as far as can be seen without reading every stored file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexFinding {
    pub kind: IndexFault,
    /// RFC 3339.
    pub found_at: String,
    /// What was there and what had been there, for a person.
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IndexFault {
    IndexMissing,
    IndexShort,
}

impl IndexFault {
    /// As programs and logs name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            IndexFault::IndexMissing => "index-missing",
            IndexFault::IndexShort => "index-short",
        }
    }
}

/// What a person does about either.
pub(crate) const INDEX_REMEDY: &str = "systemctl stop cis490-receiver, cis490 backfill, systemctl start cis490-receiver: it gives every stored file its row again";

/// What the index lacks, and the words for it. `known` is the content of the file
/// `sequence`, and `was_there` whether the index existed before this start.
pub(super) fn of_index(
    layout: &Layout,
    known: Option<&Kept>,
    was_there: bool,
    tail: &Tail,
) -> io::Result<Option<(IndexFault, String)>> {
    let had = known.map(|kept| {
        format!(
            "at {} it had {} bytes, the last number being {}",
            kept.written_at, kept.index_bytes, kept.index_last
        )
    });
    if !was_there {
        let had_rows = known.is_some_and(|kept| 0 < kept.index_bytes);
        if !had_rows && !has_episodes(layout)? {
            return Ok(None);
        }
        let why = match had {
            Some(had) if had_rows => format!("index.jsonl is not there; {had}"),
            _ => "index.jsonl is not there, and episodes/ has files".to_owned(),
        };
        return Ok(Some((IndexFault::IndexMissing, why)));
    }
    let is_short =
        known.is_some_and(|kept| tail.length < kept.index_bytes || tail.last_seq < kept.index_last);
    let Some(had) = had else { return Ok(None) };
    if !is_short {
        return Ok(None);
    }
    let why = format!(
        "index.jsonl has {} bytes, the last number being {}; {had}",
        tail.length, tail.last_seq
    );
    Ok(Some((IndexFault::IndexShort, why)))
}

/// Whether anything is stored. Looks no further than to the first tarball.
fn has_episodes(layout: &Layout) -> io::Result<bool> {
    for host in fs::read_dir(layout.episodes())? {
        let host = host?;
        if !host.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(host.path())? {
            if file?
                .file_name()
                .to_string_lossy()
                .ends_with(TARBALL_ENDING)
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
