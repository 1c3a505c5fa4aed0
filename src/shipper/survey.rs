//! The queue as `cis490 status` shows it: counts of the folders, and the shipper's `state.json`.
//! Changes nothing, and works with a shipper beside it and without one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::notes::Why;
use super::outbox;
use super::queue::{self, Identity, Overlooked, Root, Told, tree_bytes};
use super::returns;
use super::state::{GateSeen, Hold, NextTry, State, Success, Trouble, Uploading};
use crate::clock;
use crate::episode;
use crate::names::{CommitHash, EpisodeId};

/// Episodes in one state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub episodes: usize,
    /// Of the directories' files.
    pub bytes: u64,
    /// When the oldest was finished; `None` if there is none.
    pub oldest: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct HeldTotals {
    #[serde(flatten)]
    pub hold: Hold,
    #[serde(flatten)]
    pub totals: Totals,
}

#[derive(Debug, Serialize)]
pub(crate) struct RefusedEpisode {
    /// As it is called in refused/.
    pub name: String,
    pub bytes: u64,
    /// `None` if the note is missing or cannot be read.
    pub why: Option<Why>,
}

/// Finished, and not sent until a person gives it another name or lets it be read.
#[derive(Debug, Serialize)]
pub(crate) struct OverlookedEpisode {
    /// As `cis490 requeue` accepts it: what cannot be printed is `\xNN`.
    pub name: String,
    /// Why it cannot be looked at; null if only its name is not allowed.
    pub error: Option<String>,
    /// A name that is allowed and free; null if the one it has is.
    pub new_id: Option<EpisodeId>,
}

/// What `cis490 status --json` prints: members are added, never renamed or removed.
#[derive(Debug, Serialize)]
pub(crate) struct Survey {
    /// Whether a shipper works on it now; null if that cannot be seen.
    pub running: Option<bool>,
    pub host: String,
    pub receiver: String,
    pub root: String,
    /// Finished, and neither held nor gone.
    pub waiting: Totals,
    /// Of all that wait or are held: tarballs that lie in outbox/.
    pub packed: Totals,
    /// No meta.json yet.
    pub unfinished: usize,
    /// Finished, and not ours to send: an odd name, or out of our sight.
    pub overlooked: usize,
    /// Kept and not sent: the gate refuses their commit.
    pub held: Vec<HeldTotals>,
    pub refused: Vec<RefusedEpisode>,
    pub shipped: Totals,
    pub last_success: Option<Success>,
    pub last_error: Option<Trouble>,
    pub gate: Option<GateSeen>,
    /// When the shipper last wrote `state.json`.
    pub updated_at: Option<String>,
    /// The first of the overlooked.
    pub overlooked_named: Vec<OverlookedEpisode>,
    /// The upload under way; null between two uploads, and without a shipper.
    pub uploading: Option<Uploading>,
    /// When something that failed is tried again; null if nothing waits for a time to come.
    pub next_try: Option<NextTry>,
    /// Since when nothing is packed, since the disk is full; null while there is room.
    pub packing_stopped_since: Option<String>,
    /// Keys of the configuration that were changed, and wait for a restart of the shipper.
    pub config_waiting: Vec<String>,
}

/// Counts the episodes in the folders of `root`.
pub(crate) fn survey(root: &Root, host: &str, receiver: &str) -> io::Result<Survey> {
    let state = State::read(&root.state_file()).unwrap_or_default();
    let mut scan = queue::scan(root, &mut Told::silent())?;
    let overlooked_named = std::mem::take(&mut scan.overlooked_named)
        .into_iter()
        .map(|overlooked| name_overlooked(root, overlooked));
    let queued = Queued::of(root, &scan.finished, state.holds);
    let running = root.is_locked();
    // A shipper that was killed left these behind: nothing is under way any more.
    let (uploading, next_try, packing_stopped_since, config_waiting) = match running {
        Some(false) => (None, None, None, Vec::new()),
        _ => (
            state.uploading,
            state.next_try,
            state.packing_stopped_since,
            state.config_waiting,
        ),
    };
    let held = queued.held.into_values().map(|(hold, tally)| HeldTotals {
        hold,
        totals: tally.totals(),
    });
    Ok(Survey {
        running,
        host: host.to_owned(),
        receiver: receiver.to_owned(),
        root: root.dir().display().to_string(),
        waiting: queued.waiting.totals(),
        packed: queued.packed.totals(),
        unfinished: scan.unfinished,
        overlooked: scan.overlooked,
        held: held.filter(|held| held.totals.episodes > 0).collect(),
        refused: refused(root)?,
        shipped: shipped(root)?,
        last_success: state.last_success,
        last_error: state.last_error,
        gate: state.gate,
        updated_at: Some(state.updated_at).filter(|at| !at.is_empty()),
        overlooked_named: overlooked_named.collect(),
        uploading,
        next_try,
        packing_stopped_since,
        config_waiting,
    })
}

/// The finished episodes, by what becomes of them next.
struct Queued {
    waiting: Tally,
    held: BTreeMap<CommitHash, (Hold, Tally)>,
    /// Of those that wait or are held: the tarballs.
    packed: Tally,
}

impl Queued {
    fn of(root: &Root, finished: &[(EpisodeId, Identity)], holds: Vec<Hold>) -> Queued {
        let held = |hold: Hold| (hold.commit, (hold, Tally::default()));
        let mut queued = Queued {
            waiting: Tally::default(),
            held: holds.into_iter().map(held).collect(),
            packed: Tally::default(),
        };
        for (id, identity) in finished {
            queued.add(root, id, *identity);
        }
        queued
    }

    fn add(&mut self, root: &Root, id: &EpisodeId, identity: Identity) {
        let dir = root.episodes().join(id.as_str());
        let finished_at = (identity.modified_ns / 1_000_000_000)
            .try_into()
            .unwrap_or(0);
        // The `meta.json` is read only where something is held.
        let commit = if self.held.is_empty() {
            None
        } else {
            episode::meta_of(&dir).ok().map(|meta| meta.commit)
        };
        let hold = commit.and_then(|commit| self.held.get_mut(&commit));
        let tally = hold.map_or(&mut self.waiting, |(_, tally)| tally);
        tally.add(tree_bytes(&dir), finished_at);
        if let Some(bytes) = outbox::tarball_bytes(root, id) {
            self.packed.add(bytes, finished_at);
        }
    }
}

fn name_overlooked(root: &Root, overlooked: Overlooked) -> OverlookedEpisode {
    let Overlooked { name, error } = overlooked;
    OverlookedEpisode {
        new_id: match error {
            Some(_) => None,
            None => Some(returns::free_id(root, &name)),
        },
        name: returns::shown(&name),
        error: error.map(|error| error.to_string()),
    }
}

/// The commits of the episodes that wait or are held, as far as they can be read.
pub(crate) fn waiting_commits(root: &Root) -> io::Result<BTreeSet<CommitHash>> {
    let scan = queue::scan(root, &mut Told::silent())?;
    let dirs = scan
        .finished
        .iter()
        .map(|(id, _)| root.episodes().join(id.as_str()));
    Ok(dirs
        .filter_map(|dir| Some(episode::meta_of(&dir).ok()?.commit))
        .collect())
}

fn refused(root: &Root) -> io::Result<Vec<RefusedEpisode>> {
    let mut refused = Vec::new();
    for (name, _) in dirs(&root.refused())? {
        refused.push(RefusedEpisode {
            bytes: tree_bytes(&root.refused().join(&name)),
            why: Why::read(root, &name),
            name,
        });
    }
    refused.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(refused)
}

fn shipped(root: &Root) -> io::Result<Totals> {
    let mut tally = Tally::default();
    for (name, modified_s) in dirs(&root.shipped())? {
        tally.add(tree_bytes(&root.shipped().join(name)), modified_s);
    }
    Ok(tally.totals())
}

/// The directories in a folder, each with the time of its last change.
pub(super) fn dirs(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut dirs = Vec::new();
    for found in fs::read_dir(folder)? {
        let found = found?;
        let Some(name) = found.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let metadata = match found.metadata() {
            // The shipper has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if metadata.is_dir() {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            dirs.push((name, clock::unix_seconds(modified)));
        }
    }
    Ok(dirs)
}

#[derive(Default)]
struct Tally {
    episodes: usize,
    bytes: u64,
    oldest_s: Option<u64>,
}

impl Tally {
    fn add(&mut self, bytes: u64, unix_s: u64) {
        self.episodes += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.oldest_s = Some(self.oldest_s.map_or(unix_s, |oldest| oldest.min(unix_s)));
    }

    fn totals(self) -> Totals {
        let at = |s| clock::rfc3339(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(s));
        Totals {
            episodes: self.episodes,
            bytes: self.bytes,
            oldest: self.oldest_s.map(at),
        }
    }
}
