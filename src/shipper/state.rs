//! `state.json`: what the shipper tells `cis490 status`, and the holds it must not forget.
//!
//! Counts are not in it: those are read off the folders. Times are for people and decide nothing.
//! A file that cannot be read is as good as none: a hold is learned again by one refused head.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::durable;
use crate::events;
use crate::names::{CommitHash, EpisodeId};
use crate::wire::Problem;

/// A card of flash wears with each write, so what is merely told waits this long.
const LAZY_WRITE: Duration = Duration::from_secs(10);
/// Holds with the longest remediations that a receiver may send.
const BYTES_MAX: u64 = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub host: String,
    pub receiver: String,
    /// RFC 3339, as all times here.
    pub updated_at: String,
    pub last_success: Option<Success>,
    pub last_error: Option<Trouble>,
    /// The newest place in the window that the receiver told.
    pub gate: Option<GateSeen>,
    pub holds: Vec<Hold>,
}

/// The newest episode that the receiver took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Success {
    pub at: String,
    pub episode: EpisodeId,
    pub bytes: u64,
    pub seq: Option<u64>,
}

/// The newest thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    pub at: String,
    /// `None` if it is of no single episode.
    pub episode: Option<EpisodeId>,
    pub why: String,
    /// Whether an episode went through since.
    #[serde(default)]
    pub over: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSeen {
    pub at: String,
    pub commit: CommitHash,
    /// 1 is the head.
    pub position: u32,
    pub window: u32,
}

impl GateSeen {
    /// Commits until it falls out.
    pub fn remaining(&self) -> u32 {
        self.window.saturating_sub(self.position)
    }
}

/// A commit that the gate refuses: its episodes are kept and not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub commit: CommitHash,
    pub since: String,
    #[serde(default)]
    pub head_commit: Option<CommitHash>,
    #[serde(default)]
    pub window: Option<u32>,
    #[serde(default)]
    pub detail: String,
    /// Shell lines to paste.
    #[serde(default)]
    pub remediation: Option<String>,
}

impl Hold {
    pub fn new(commit: CommitHash, problem: &Problem) -> Hold {
        Hold {
            commit,
            since: now(),
            head_commit: problem.head_commit,
            window: problem.window,
            detail: problem.detail.clone(),
            remediation: problem.remediation.clone(),
        }
    }
}

/// This instant, as `state.json` tells times.
pub fn now() -> String {
    clock::rfc3339(SystemTime::now())
}

impl State {
    /// The state in the file; `None` if there is none or it cannot be read.
    pub fn read(path: &Path) -> Option<State> {
        let text = match durable::read_regular(path, BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                events::state_unreadable(path, &error);
                return None;
            }
        };
        serde_json::from_slice(&text)
            .inspect_err(|error| events::state_unreadable(path, error))
            .ok()
    }
}

/// The state and its file. Holds are written at once, the rest within [`LAZY_WRITE`].
pub struct StateFile {
    path: PathBuf,
    state: State,
    /// Since when the file is behind.
    behind_since: Option<Instant>,
    complained: bool,
}

impl StateFile {
    /// Begins with what an earlier run left.
    pub fn open(path: PathBuf, host: &str, receiver: &str) -> StateFile {
        let mut state = State::read(&path).unwrap_or_default();
        host.clone_into(&mut state.host);
        receiver.clone_into(&mut state.receiver);
        StateFile {
            path,
            state,
            behind_since: None,
            complained: false,
        }
    }

    pub fn get(&self) -> &State {
        &self.state
    }

    /// Changes what is told; the write may wait.
    pub fn update(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.behind_since.get_or_insert_with(Instant::now);
    }

    /// Writes what has waited long enough.
    pub fn flush_lazily(&mut self) {
        if self
            .behind_since
            .is_some_and(|since| since.elapsed() >= LAZY_WRITE)
        {
            self.flush();
        }
    }

    /// Writes what is behind. It tells only, so a failure is logged once and stops nothing.
    pub fn flush(&mut self) {
        if self.behind_since.is_none() {
            return;
        }
        self.state.updated_at = now();
        let written = serde_json::to_vec_pretty(&self.state)
            .map_err(io::Error::from)
            .and_then(|json| durable::publish(&self.path, &json));
        match written {
            Ok(()) => {
                self.behind_since = None;
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                events::state_unwritable(&self.path, &error);
            }
            Err(_) => {}
        }
    }
}
