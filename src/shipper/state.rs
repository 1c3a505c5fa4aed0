//! `state.json`: the shipper's report for `cis490 status`, and the holds that must survive a restart.
//!
//! Counts are not in it: they are read off the folders. Times are for people and decide nothing.
//! A file that cannot be read counts as missing: a hold is learned again by one refused head.

pub(super) mod reporter;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use self::reporter::{Reporter, Sent};
use super::live::{Facts, Live};
use crate::clock;
use crate::durable;
use crate::events;
use crate::names::{CommitHash, EpisodeId};
use crate::wire::{self, Known, Problem};

/// Each write wears a flash card, so everything but the holds waits this long before it is written.
/// While an upload runs, its progress is written as often.
pub(super) const LAZY_WRITE: Duration = Duration::from_secs(10);
/// Holds with the longest remediations that a receiver may send.
const BYTES_MAX: u64 = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub host: String,
    pub receiver: String,
    /// RFC 3339, as all times here.
    pub updated_at: String,
    pub last_success: Option<Success>,
    pub last_error: Option<Trouble>,
    /// The newest place in the window, from an answer of the receiver.
    pub gate: Option<GateSeen>,
    pub holds: Vec<Hold>,
    /// The upload under way; `None` between two uploads.
    pub uploading: Option<Uploading>,
    /// When something that failed is tried again; `None` if nothing waits for a time to come.
    pub next_try: Option<NextTry>,
    /// Since when nothing is packed, since this lab host's disk is full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packing_stopped_since: Option<String>,
    /// Keys of the configuration that were changed, and wait for a restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_waiting: Vec<String>,
}

/// An upload under way, as it was at [`State::updated_at`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Uploading {
    pub episode: EpisodeId,
    pub since: String,
    /// Those that the receiver had before are among them.
    pub bytes_sent: u64,
    pub bytes: u64,
    /// Where it goes on, if the receiver had its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<u64>,
    /// In the last ten seconds, or since it began.
    pub bytes_per_second: u64,
}

/// When failed work is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NextTry {
    pub at: String,
    /// What went wrong the last time, or what else is waited for.
    pub why: String,
    /// A reload does not make it sooner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_fixed: bool,
}

/// The newest episode that the receiver accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Success {
    pub at: String,
    pub episode: EpisodeId,
    pub bytes: u64,
    pub seq: Option<u64>,
}

/// The newest thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub at: String,
    /// The episode that it went wrong with; `None` if it is not of one episode.
    pub episode: Option<EpisodeId>,
    pub why: String,
    /// Whether an episode went through since.
    #[serde(default)]
    pub over: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GateSeen {
    pub at: String,
    pub commit: CommitHash,
    /// 1 is the head.
    pub position: u32,
    pub window: u32,
}

impl GateSeen {
    /// How many commits may follow before this one falls out of the window.
    pub(crate) fn remaining(&self) -> u32 {
        self.window.saturating_sub(self.position)
    }

    /// Whether this lab host should be updated now: the receiver's rule.
    pub(crate) fn is_soon_out(&self) -> bool {
        self.remaining() < wire::remaining_low(self.window)
    }
}

/// A commit that the gate refuses: its episodes are kept and not sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hold {
    pub commit: CommitHash,
    pub since: String,
    #[serde(default)]
    pub head_commit: Option<CommitHash>,
    #[serde(default)]
    pub window: Option<u32>,
    #[serde(default)]
    pub detail: String,
    /// What the receiver knows of the commit; `None` if the receiver is too old to say.
    #[serde(default)]
    pub known: Option<Known>,
    /// Shell lines to paste.
    #[serde(default)]
    pub remediation: Option<String>,
}

impl Hold {
    pub(crate) fn new(commit: CommitHash, problem: &Problem) -> Hold {
        Hold {
            commit,
            since: now(),
            head_commit: problem.head_commit,
            window: problem.window,
            detail: problem.detail.clone(),
            known: problem.known,
            remediation: problem.remediation.clone(),
        }
    }

    /// Why the commit is held. An older receiver does not say, and then the commit is out of date.
    pub(crate) fn reason(&self) -> Known {
        self.known.unwrap_or(Known::Older)
    }
}

/// The time now, in the format of `state.json`.
pub(crate) fn now() -> String {
    clock::rfc3339(SystemTime::now())
}

/// The time after `wait`, in the format of `state.json`.
pub(crate) fn in_future(wait: Duration) -> String {
    clock::rfc3339(SystemTime::now() + wait)
}

impl State {
    /// What the report to the receiver has of it.
    fn facts(&self) -> Facts {
        let held = self.holds.iter();
        Facts {
            holds: held.map(|hold| (hold.commit, hold.since.clone())).collect(),
            uploading: self.uploading.as_ref().map(|upload| wire::Uploading {
                episode: upload.episode.to_string(),
                bytes_sent: upload.bytes_sent,
                bytes: upload.bytes,
                bytes_per_second: upload.bytes_per_second,
            }),
            next_try_at: self.next_try.as_ref().map(|next| next.at.clone()),
            last_success_at: self.last_success.as_ref().map(|last| last.at.clone()),
            packing_stopped_since: self.packing_stopped_since.clone(),
        }
    }

    /// The state in the file; `None` if there is none or it cannot be read.
    pub(crate) fn read(path: &Path) -> Option<State> {
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
pub(crate) struct StateFile {
    path: PathBuf,
    state: State,
    /// Where the report to the receiver has it from.
    live: Arc<Live>,
    /// Since when the file is out of date; `None` while it is up to date.
    behind_since: Option<Instant>,
    last_written: Option<Instant>,
    complained: bool,
}

impl StateFile {
    /// Begins with the state that an earlier run wrote.
    pub(crate) fn open(path: PathBuf, host: &str, receiver: &str) -> StateFile {
        let mut state = State::read(&path).unwrap_or_default();
        host.clone_into(&mut state.host);
        receiver.clone_into(&mut state.receiver);
        // Of an earlier process: nothing is under way yet.
        state.uploading = None;
        state.next_try = None;
        state.packing_stopped_since = None;
        state.config_waiting.clear();
        let live = Arc::new(Live::default());
        live.publish(state.facts());
        StateFile {
            path,
            state,
            live,
            behind_since: None,
            last_written: None,
            complained: false,
        }
    }

    pub(crate) fn get(&self) -> &State {
        &self.state
    }

    pub(super) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Changes the state; the write may wait.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.live.publish(self.state.facts());
        self.behind_since.get_or_insert_with(Instant::now);
    }

    /// Writes changes that have waited long enough.
    pub(crate) fn flush_lazily(&mut self) {
        if self
            .behind_since
            .is_some_and(|since| since.elapsed() >= LAZY_WRITE)
        {
            self.flush();
        }
    }

    /// Writes the state if the file is out of date. A failure is logged once and stops nothing.
    pub(crate) fn flush(&mut self) {
        if self.behind_since.is_none() {
            return;
        }
        match write(&self.path, &self.state) {
            Ok(()) => {
                self.behind_since = None;
                self.last_written = Some(Instant::now());
                self.complained = false;
            }
            Err(error) if !self.complained => {
                self.complained = true;
                events::state_unwritable(&self.path, &error);
            }
            Err(_) => {}
        }
    }

    /// Runs `send`, which writes its progress to `sent`, and keeps the file up to date meanwhile: see
    /// [`Reporter`].
    pub(crate) fn while_sending<T>(
        &self,
        episode: &EpisodeId,
        bytes: u64,
        resumed_at: Option<u64>,
        sent: &Sent,
        send: impl FnOnce() -> T,
    ) -> (T, Option<Instant>) {
        let path = self.path.clone();
        let live = Arc::clone(&self.live);
        let reporter = Reporter {
            state: self.state.clone(),
            uploading: Uploading {
                episode: episode.clone(),
                since: now(),
                bytes_sent: resumed_at.unwrap_or(0),
                bytes,
                resumed_at,
                bytes_per_second: 0,
            },
            write: move |state: &State| {
                live.publish(state.facts());
                write(&path, state)
            },
            every: LAZY_WRITE,
            last_written: self.last_written,
        };
        reporter.beside(sent, send)
    }

    /// An upload is under way, beside which this thread is free: writes how far it is, as seldom as a
    /// [`Reporter`] does.
    pub(crate) fn under_way(&mut self, id: &EpisodeId, bytes: u64, sent: u64, begun: Instant) {
        let is_soon = |last: Instant| last.elapsed() < LAZY_WRITE;
        if begun.elapsed() < reporter::FIRST_AFTER || self.last_written.is_some_and(is_soon) {
            return;
        }
        let before = self.state.uploading.take();
        let before = before.filter(|before| before.episode == *id);
        let (counted, time) = match (&before, self.last_written) {
            (Some(before), Some(last)) => (before.bytes_sent, last.elapsed()),
            _ => (0, begun.elapsed()),
        };
        let since = || clock::rfc3339(SystemTime::now() - begun.elapsed());
        self.state.uploading = Some(Uploading {
            episode: id.clone(),
            since: before.map_or_else(since, |before| before.since),
            bytes_sent: sent,
            bytes,
            resumed_at: None,
            bytes_per_second: reporter::per_second(sent.saturating_sub(counted), time),
        });
        self.live.publish(self.state.facts());
        self.behind_since.get_or_insert_with(Instant::now);
        self.flush();
    }

    /// No upload is under way.
    pub(crate) fn none_under_way(&mut self) {
        if self.state.uploading.is_some() {
            self.update(|state| state.uploading = None);
        }
    }

    /// The upload is over. The file was last written at `written` and still names that upload.
    pub(crate) fn has_sent(&mut self, written: Option<Instant>) {
        self.live.publish(self.state.facts());
        if written.is_some() {
            self.last_written = written;
            self.behind_since = written;
        }
    }
}

fn write(path: &Path, state: &State) -> io::Result<()> {
    let state = State {
        updated_at: now(),
        ..state.clone()
    };
    durable::publish(path, &serde_json::to_vec_pretty(&state)?)
}
