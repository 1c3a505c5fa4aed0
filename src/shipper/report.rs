//! What the shipper says about itself: in `state.json`, and so in `cis490 status`; in the exit status of
//! `--once`; and to `systemctl status`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Outcome;
use super::config::Config;
use super::holds::Holds;
use super::live::Live;
use super::next_try::Next;
use super::queue::Root;
use super::state::reporter::Sent;
use super::state::{self, GateSeen, Hold, NextTry, StateFile, Success, Trouble};
use crate::events;
use crate::names::{CommitHash, EpisodeId};
use crate::wire::Receipt;

/// How many commits' places are remembered, so that each change is logged once. A window has at most
/// this many commits.
const PLACES_MAX: usize = 10_000;

/// Two times that are so near are one to a person.
const SAME_TIME: Duration = Duration::from_secs(2);

/// `state.json`, and the counts of this run.
pub(super) struct Report {
    state: StateFile,
    /// The last known place of each commit: its position and the window's length.
    places: HashMap<CommitHash, (u32, u32)>,
    /// The next try that `state.json` has.
    next_try_noted: Option<Instant>,
    shipped: usize,
    refused: usize,
    /// As the last scan found it.
    overlooked: usize,
    /// For `--once`: something could not be asked or looked at.
    failed: bool,
}

impl Report {
    /// Begins with the state that an earlier run wrote.
    pub(super) fn open(config: &Config, root: &Root) -> Report {
        let host = config.host_id.as_str();
        Report {
            state: StateFile::open(root.state_file(), host, &config.receiver_url),
            places: HashMap::new(),
            next_try_noted: None,
            shipped: 0,
            refused: 0,
            overlooked: 0,
            failed: false,
        }
    }

    /// The holds in `state.json`.
    pub(super) fn holds(&self) -> &[Hold] {
        &self.state.get().holds
    }

    /// Holds are persisted at once when they change.
    pub(super) fn keep_holds(&mut self, holds: &Holds) {
        let holds = holds.to_state();
        if self.state.get().holds != holds {
            self.state.update(|state| state.holds = holds);
            self.state.flush();
        }
    }

    /// An episode is in shipped/.
    pub(super) fn shipped(&mut self, id: &EpisodeId, bytes: u64, receipt: &Receipt) {
        self.shipped += 1;
        let success = Success {
            at: state::now(),
            episode: id.clone(),
            bytes,
            seq: receipt.seq,
        };
        self.state.update(|state| {
            state.last_success = Some(success);
            if let Some(trouble) = &mut state.last_error {
                trouble.over = true;
            }
        });
    }

    /// An episode is in refused/.
    pub(super) fn refused(&mut self, id: &EpisodeId, why: &str) {
        self.refused += 1;
        self.trouble(Some(id), why);
    }

    /// Something went wrong; `id` if it was with one episode.
    pub(super) fn trouble(&mut self, id: Option<&EpisodeId>, why: &str) {
        let trouble = Trouble {
            at: state::now(),
            episode: id.cloned(),
            why: why.to_owned(),
            over: false,
        };
        self.state.update(|state| state.last_error = Some(trouble));
    }

    /// Something could not be asked or looked at, so the queue may not be empty.
    pub(super) fn set_failed(&mut self) {
        self.failed = true;
    }

    /// So many finished episodes are not sent. They wait for a person, so the queue is not empty.
    pub(super) fn overlooked(&mut self, episodes: usize) {
        self.overlooked = episodes;
    }

    /// Notes the commit's place in the window. Each change is logged while the commit is about to fall
    /// out of the window.
    pub(super) fn place(&mut self, commit: CommitHash, position: u32, window: u32) {
        let seen = GateSeen {
            at: state::now(),
            commit,
            position,
            window,
        };
        if self.places.len() >= PLACES_MAX {
            self.places.clear();
        }
        // By commit: when episodes of two commits alternate, neither place has changed.
        let remembered = self.state.get().gate.as_ref();
        let before = self.places.insert(commit, (position, window)).or(remembered
            .filter(|gate| gate.commit == commit)
            .map(|gate| (gate.position, gate.window)));
        if before != Some((position, window)) && seen.is_soon_out() {
            events::falling_out(&commit, position, window, seen.remaining());
        }
        self.state.update(|state| state.gate = Some(seen));
    }

    /// The commit has left the window, so the place that was noted is out of date.
    pub(super) fn forget_place(&mut self, commit: CommitHash) {
        self.state.update(|state| {
            if state
                .gate
                .as_ref()
                .is_some_and(|gate| gate.commit == commit)
            {
                state.gate = None;
            }
        });
    }

    /// Writes to `state.json` when something is tried again and why it failed, if that is another time
    /// than before.
    pub(super) fn next_try(&mut self, next: Option<Next>, now: Instant) {
        let at = next.as_ref().map(|next| next.at);
        let is_same = match (at, self.next_try_noted) {
            // One that follows the clock of the day is a little off each time.
            (Some(at), Some(noted)) => at.max(noted) - at.min(noted) < SAME_TIME,
            (at, noted) => at == noted,
        };
        if is_same {
            return;
        }
        self.next_try_noted = at;
        let next_try = next.map(|next| NextTry {
            at: state::in_future(next.at.saturating_duration_since(now)),
            why: next.why,
            is_fixed: next.is_fixed,
        });
        self.state.update(|state| state.next_try = next_try);
    }

    /// Where the report to the receiver has its facts from.
    pub(super) fn live(&self) -> Arc<Live> {
        Arc::clone(self.state.live())
    }

    /// The configuration was read again: its receiver, and the keys that wait for a restart.
    pub(super) fn reloaded(&mut self, config: &Config, waiting: &[&str]) {
        let waiting = waiting.iter().map(|key| (*key).to_owned()).collect();
        self.state.update(|state| {
            state.receiver.clone_from(&config.receiver_url);
            state.config_waiting = waiting;
        });
    }

    /// Whether packing waits for room on this lab host's disk.
    pub(super) fn packing_stopped(&mut self, is_stopped: bool) {
        if self.state.get().packing_stopped_since.is_some() != is_stopped {
            let since = is_stopped.then(state::now);
            self.state
                .update(|state| state.packing_stopped_since = since);
        }
    }

    /// Runs `send`, which writes its progress to `sent`, and keeps the file up to date meanwhile.
    pub(super) fn while_sending<T>(
        &mut self,
        id: &EpisodeId,
        bytes: u64,
        resumed_at: Option<u64>,
        sent: &Sent,
        send: impl FnOnce() -> T,
    ) -> T {
        let (heard, written) = self.state.while_sending(id, bytes, resumed_at, sent, send);
        self.state.has_sent(written);
        heard
    }

    /// An upload is under way, beside which this thread is free.
    pub(super) fn under_way(&mut self, id: &EpisodeId, bytes: u64, sent: u64, begun: Instant) {
        self.state.under_way(id, bytes, sent, begun);
    }

    /// No upload is under way.
    pub(super) fn none_under_way(&mut self) {
        self.state.none_under_way();
    }

    /// Writes changes that have waited long enough.
    pub(super) fn flush_lazily(&mut self) {
        self.state.flush_lazily();
    }

    pub(super) fn flush(&mut self) {
        self.state.flush();
    }

    /// The process ends: nothing is tried again.
    pub(super) fn end(&mut self) {
        if self.next_try_noted.is_some() {
            self.state.update(|state| state.next_try = None);
        }
        self.state.flush();
    }

    /// What this run has done, and what it leaves behind.
    pub(super) fn outcome(&self, held: usize, waiting: usize) -> Outcome {
        Outcome {
            shipped: self.shipped,
            refused: self.refused,
            overlooked: self.overlooked,
            held,
            waiting,
            failed: self.failed,
        }
    }
}
