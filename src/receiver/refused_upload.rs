//! One upload that was refused, as `refusals.jsonl` keeps it and the page and `cis490 refusals` show it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::{CommitHash, EpisodeId, HostId};

/// The most characters that are kept of a text from outside.
pub(crate) const TEXT_CHARS_MAX: usize = 300;

/// One refused upload: a line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RefusedUpload {
    /// RFC 3339, UTC, by a clock that may be wrong.
    pub at: String,
    /// The `seq` of the newest receipt at that moment. It orders refusals among uploads, since a clock
    /// may be wrong.
    #[serde(default)]
    pub after_seq: u64,
    pub peer: IpAddr,
    /// `None` where the path named no host and episode; `path` has it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episode: Option<EpisodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default)]
    pub commit: Option<CommitHash>,
    pub status: u16,
    /// The problem's name.
    pub reason: String,
    pub why: String,
    /// How many refusals since the line before were only counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl RefusedUpload {
    /// The first [`TEXT_CHARS_MAX`] characters of a text from outside.
    pub(crate) fn shortened(text: &str) -> String {
        text.chars().take(TEXT_CHARS_MAX).collect()
    }
}
