//! The HTTP contract (design, section 2) as both sides use it: paths, headers and bodies. What the
//! sender does on each status is the sender's alone: `shipper::verdict`.
//!
//! Readers ignore members they do not know, so both sides may be upgraded in any order.

mod lab_state;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::names::{BadName, CommitHash, EpisodeId, HostId, Sha256Digest};

pub use self::lab_state::*;

/// The port that a receiver listens on by default.
pub const DEFAULT_PORT: u16 = 8490;

/// The list of stored episodes (design, section 11), and what stands before each episode's own path.
pub const EPISODES_PATH: &str = "/v1/episodes";
/// The small episodes of a page of the list, in one tar. The query is the list's, and in the tar an episode has
/// the name `<host>/<episode>.tar.zst`.
pub const BUNDLE_PATH: &str = "/v1/episodes.tar";
/// The longest episode that is part of a bundle.
pub const BUNDLED_BYTES_MAX: u64 = 1 << 20;
/// What stands before the path of an upload that broke and can be resumed (design, section 13).
pub const UPLOADS_PATH: &str = "/v1/uploads";
pub const GATE_PATH: &str = "/v1/gate";
pub const HEALTH_PATH: &str = "/v1/health";
/// The report of `cis490 status`.
pub const STATUS_PATH: &str = "/v1/status";
/// Prometheus text.
pub const METRICS_PATH: &str = "/metrics";
/// The status page for a person.
pub const PAGE_PATH: &str = "/";
/// What stands before the host in the path of its own page for a person.
pub const HOST_PAGES_PATH: &str = "/hosts/";
/// What stands before the name of a refusal in the path of its explanation.
pub const HELP_PATH: &str = "/help/";

pub const COMMIT_HEADER: &str = "X-Cis490-Code-Commit";
pub const SHA256_HEADER: &str = "X-Cis490-Sha256";
pub const DIRTY_HEADER: &str = "X-Cis490-Code-Dirty";
/// On an admitted PUT: `37/100`, the commit's place in the configured window, 1 being the head.
pub const GATE_POSITION_HEADER: &str = "X-Cis490-Gate-Position";
/// `X-Cis490-Probe: 1` on a PUT: it is judged as ever, and nothing is stored, counted or shown.
pub const PROBE_HEADER: &str = "X-Cis490-Probe";
/// On a list: the id of the store, 16 hex digits. Another store has another.
pub const STORE_HEADER: &str = "X-Cis490-Store";
/// On a list: the cursor with which the next question begins.
pub const NEXT_HEADER: &str = "X-Cis490-Next";
/// On a list with a row: the cursor of its last row.
pub const LAST_HEADER: &str = "X-Cis490-Last";
/// How many bytes of a broken upload the receiver has: in the answer to HEAD, on a PATCH, and on a 409
/// that corrects the offset of a PATCH. Digits only.
pub const UPLOAD_OFFSET_HEADER: &str = "Upload-Offset";
/// In the answer to HEAD: how many bytes the whole body has.
pub const UPLOAD_LENGTH_HEADER: &str = "Upload-Length";
/// On a PATCH: whether its body is the rest of the whole body, [`UPLOAD_COMPLETE`], which it must be. In the
/// answer to HEAD: whether the receiver has all of it, which is [`UPLOAD_INCOMPLETE`].
pub const UPLOAD_COMPLETE_HEADER: &str = "Upload-Complete";
/// True, as a structured field (RFC 8941) has it.
pub const UPLOAD_COMPLETE: &str = "?1";
/// False, as a structured field (RFC 8941) has it.
pub const UPLOAD_INCOMPLETE: &str = "?0";
/// The `Content-Type` of a PATCH.
pub const PARTIAL_UPLOAD: &str = "application/partial-upload";
/// The least length of a body that can be resumed. The receiver keeps nothing of a smaller one, and a
/// sender need not ask.
pub const RESUMABLE_BYTES_MIN: u64 = 64 << 20;
/// The name of the 409 to a PATCH whose offset is not the receiver's: the sender asks again.
pub const OFFSET_MISMATCH: &str = "offset-mismatch";

/// A lab host is warned when its commit has fewer commits than this until it falls out of a window of
/// `window` commits: 20, or a fifth of a window of less than a hundred. The head always has more.
pub const fn remaining_low(window: u32) -> u32 {
    const OF_A_LARGE_WINDOW: u32 = 20;
    let fifth = window / 5;
    if fifth < OF_A_LARGE_WINDOW {
        fifth
    } else {
        OF_A_LARGE_WINDOW
    }
}

pub const JSON: &str = "application/json";
/// RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// The type of the 412 that is not the version gate's: a condition of the request (`If-Match`) that
/// does not hold.
pub const PRECONDITION_FAILED: &str = "urn:cis490:problem:precondition-failed";

/// The longest answer body a sender reads. A gate answer of 10000 commits of 64 digits fits.
pub const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What follows an episode's name in the path of its bytes.
pub const TARBALL_ENDING: &str = ".tar.zst";

/// The name of one episode in the store: its host and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    pub host: HostId,
    pub episode: EpisodeId,
}

impl Slot {
    /// `/v1/episodes/{host}/{episode}`.
    pub fn path(&self) -> String {
        format!("{EPISODES_PATH}/{self}")
    }

    /// The path of the tarball's bytes: `/v1/episodes/{host}/{episode}.tar.zst`.
    pub fn tarball_path(&self) -> String {
        format!("{EPISODES_PATH}/{self}{TARBALL_ENDING}")
    }

    /// The path at which a broken upload is resumed: `/v1/uploads/{host}/{episode}`.
    pub fn upload_path(&self) -> String {
        format!("{UPLOADS_PATH}/{self}")
    }

    /// The slot of a `{host}/{episode}`, judged on its raw bytes: a `%`, a third `/` or any other
    /// byte is an error.
    pub fn parse(host_and_episode: &str) -> Result<Slot, BadName> {
        let (host, episode) = host_and_episode
            .split_once('/')
            .unwrap_or((host_and_episode, ""));
        Ok(Slot {
            host: HostId::parse(host)?,
            episode: EpisodeId::parse(episode)?,
        })
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.episode)
    }
}

/// The source of a window of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Forgejo's API.
    Forgejo,
    /// The local repository, since no Forgejo is configured.
    Git,
    /// The local repository, since Forgejo has failed.
    GitFallback,
    /// `window.json`, from an earlier run.
    Disk,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Forgejo => "forgejo",
            Source::Git => "git",
            Source::GitFallback => "git-fallback",
            Source::Disk => "disk",
        })
    }
}

/// The member `known` of a 412: what the receiver knows of a commit that its window lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// An ancestor of the head: the code is out of date.
    Older,
    /// The repository has the commit, but not below the branch's head: it is on another branch, or
    /// a force-push took it back.
    Elsewhere,
    /// No source has the commit: it was never pushed.
    NeverPushed,
    /// No source could be asked. The commit may be newer than what the receiver knows.
    #[serde(other)]
    Unknown,
}

/// Why the gate cannot look at its source now: the member `failing` of `/v1/gate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The kind of fault, such as `not-found` or `refused`.
    pub kind: String,
    /// Seconds since the first refresh that failed.
    pub seconds: u64,
    /// What happened, and what to do, in words.
    pub detail: String,
}

/// The state of the gate when it admitted an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatePlace {
    /// 1 is the head; `None` for a commit that only a disabled gate let in.
    pub position: Option<u32>,
    pub head_commit: Option<CommitHash>,
    pub source: Option<Source>,
}

/// The receiver's answer for a stored episode, and its row of `index.jsonl`.
///
/// Reading needs only `host`, `episode` and `sha256`; a row from an older version may lack the
/// rest, and a member that is there but odd counts as absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The order of arrival, from 1. `received_at` may be wrong, so only `seq` decides about order.
    #[serde(default, deserialize_with = "lenient")]
    pub seq: Option<u64>,
    pub host: HostId,
    pub episode: EpisodeId,
    #[serde(default, deserialize_with = "lenient")]
    pub bytes: Option<u64>,
    pub sha256: Sha256Digest,
    /// The commit of the code that made the episode; null where it is not known.
    #[serde(default, deserialize_with = "lenient")]
    pub commit: Option<CommitHash>,
    #[serde(default, deserialize_with = "lenient")]
    pub dirty: Option<bool>,
    /// RFC 3339, UTC.
    #[serde(default, deserialize_with = "lenient")]
    pub received_at: Option<String>,
    /// Relative to `data_dir`.
    #[serde(default, deserialize_with = "lenient")]
    pub path: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub gate: Option<GatePlace>,
}

impl Receipt {
    pub fn slot(&self) -> Slot {
        Slot {
            host: self.host.clone(),
            episode: self.episode.clone(),
        }
    }

    pub fn brief(&self) -> RowBrief<'_> {
        RowBrief {
            seq: self.seq,
            host: self.host.as_str(),
            episode: self.episode.as_str(),
            bytes: self.bytes,
            received_at: self.received_at.as_deref(),
        }
    }
}

/// The members of a [`Receipt`] that finding it and counting it need, as they stand in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowBrief<'a> {
    pub seq: Option<u64>,
    pub host: &'a str,
    pub episode: &'a str,
    pub bytes: Option<u64>,
    pub received_at: Option<&'a str>,
}

fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// An error answer: RFC 9457, with the members of ours that say what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:cis490:problem:<name>`.
    #[serde(rename = "type", default)]
    pub kind: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub status: u16,
    #[serde(default)]
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub your_commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_commit: Option<CommitHash>,
    /// The configured number of commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Seconds since a source last confirmed the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// On a 412: what the receiver knows of the commit. An older receiver does not have this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Known>,
    /// On a 412 of a gate that cannot ask its source: for how long it has not been able to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_seconds: Option<u64>,
    /// Shell lines to paste, with newlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remediation: Option<String>,
}

/// The beginning of `type` in our problems.
pub const PROBLEM_KIND: &str = "urn:cis490:problem:";

impl Problem {
    /// The name of one of our problems; `None` for a problem of another program.
    pub fn name(&self) -> Option<&str> {
        self.kind.strip_prefix(PROBLEM_KIND)
    }
}

/// The answer to a request with [`PROBE_HEADER`] that would have been accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// True.
    pub probe: bool,
}

/// `GET /v1/gate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateState {
    pub enabled: bool,
    /// Whether any window is known. Without one every upload is a 503.
    pub loaded: bool,
    pub source: Option<Source>,
    pub head_commit: Option<CommitHash>,
    /// The configured number of commits; `commits` may be shorter.
    pub window: u32,
    /// Newest first.
    pub commits: Vec<CommitHash>,
    /// Seconds since a source last confirmed it.
    pub age_seconds: Option<u64>,
    /// Why the source cannot be asked now; `None` while it can.
    #[serde(default)]
    pub failing: Option<Failing>,
}

/// The answer of `GET /v1/gate/{commit}` for a commit that would be accepted. For any other commit the
/// answer is a [`Problem`] (412).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateVerdict {
    pub allowed: bool,
    /// 1 is the head; `None` for a commit that only a disabled gate lets in.
    pub position: Option<u32>,
    pub window: u32,
    pub head_commit: Option<CommitHash>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fifth_of_a_small_window_is_low_and_its_head_never() {
        for (window, low) in [
            (1, 0),
            (3, 0),
            (5, 1),
            (15, 3),
            (99, 19),
            (100, 20),
            (10_000, 20),
        ] {
            assert_eq!(remaining_low(window), low, "{window}");
            // The head has all of them but itself left.
            assert!(window > remaining_low(window), "{window}");
        }
    }

    #[test]
    fn an_old_row_needs_only_three_members() {
        let old = r#"{"host":"lab-1","episode":"ep-1","sha256":"00000000000000000000000000000000000000000000000000000000000000ff","commit":"unknown","later":{}}"#;
        let row: Receipt = serde_json::from_str(old).unwrap();
        assert_eq!(row.slot().to_string(), "lab-1/ep-1");
        assert_eq!((row.seq, row.bytes, row.commit), (None, None, None));
        assert!(serde_json::from_str::<Receipt>(r#"{"host":"lab-1","episode":"ep-1"}"#).is_err());
    }

    #[test]
    fn a_slot_has_exactly_one_slash() {
        let slot = Slot::parse("a/b").unwrap();
        assert_eq!(slot.path(), "/v1/episodes/a/b");
        assert_eq!(slot.tarball_path(), "/v1/episodes/a/b.tar.zst");
        assert_eq!(slot.upload_path(), "/v1/uploads/a/b");
        for bad in [
            "", "a", "a/", "/b", "a/b/c", "a/../b", "a/%62", "a//b", "a/b?x", "A/b",
        ] {
            assert!(Slot::parse(bad).is_err(), "{bad:?}");
        }
    }
}
