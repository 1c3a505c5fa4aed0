//! Makes the report on the queue that goes to the receiver: from the folders, as `cis490 status` reads them,
//! and from what the loop knows.
//!
//! The folders are read anew for each report, since they are right in the middle of a long upload too, when
//! the loop does not scan. An episode that was seen before costs one look at its `meta.json`: its size and
//! its commit are remembered.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use super::live::Facts;
use super::notes::Why;
use super::queue::{self, Identity, Root, Told, tree_bytes};
use crate::clock;
use crate::episode;
use crate::names::{CommitHash, EpisodeId};
use crate::sys;
use crate::version::VERSION;
use crate::wire::{HeldCommit, LAB_STATE_LIST_MAX, LabState, More, RefusedName};

/// What earlier reports have read and is still so.
#[derive(Default)]
pub(super) struct Remembered {
    episodes: HashMap<EpisodeId, Seen>,
    refused: Option<RefusedFolder>,
}

#[derive(Clone, Copy)]
struct Seen {
    identity: Identity,
    bytes: u64,
    /// `None` if the `meta.json` does not say.
    commit: Option<CommitHash>,
}

/// refused/ as it was at its last change.
struct RefusedFolder {
    changed_ns: i128,
    names: Vec<RefusedName>,
    more: u64,
}

impl Remembered {
    /// The report on the folders of `root`.
    ///
    /// Errors: a folder cannot be read.
    pub(super) fn report(&mut self, root: &Root, facts: Facts) -> io::Result<LabState> {
        let mut state = LabState {
            version: VERSION.to_owned(),
            uploading: facts.uploading,
            next_try_at: facts.next_try_at,
            last_success_at: facts.last_success_at,
            packing_stopped_since: facts.packing_stopped_since,
            free_bytes: sys::free_bytes(root.dir()).ok(),
            ..LabState::default()
        };
        self.add_queue(&mut state, root, &facts.holds)?;
        self.add_refused(&mut state, root)?;
        Ok(state)
    }

    fn add_queue(
        &mut self,
        state: &mut LabState,
        root: &Root,
        holds: &[(CommitHash, String)],
    ) -> io::Result<()> {
        let finished = queue::scan(root, &mut Told::silent())?.finished;
        let mut seen = HashMap::with_capacity(finished.len());
        let mut held: HashMap<CommitHash, u64> = HashMap::new();
        let mut oldest_ns: Option<i128> = None;
        for (id, identity) in finished {
            let known = self.episodes.remove(&id);
            let one = known
                .filter(|known| known.identity == identity)
                .unwrap_or_else(|| Seen::look(root, &id, identity));
            let is_held = |commit: &CommitHash| holds.iter().any(|(held, _)| held == commit);
            if let Some(commit) = one.commit.filter(is_held) {
                *held.entry(commit).or_default() += 1;
            } else {
                state.waiting.episodes += 1;
                state.waiting.bytes = state.waiting.bytes.saturating_add(one.bytes);
                let since_ns = identity.modified_ns;
                oldest_ns = Some(oldest_ns.map_or(since_ns, |oldest_ns| oldest_ns.min(since_ns)));
            }
            seen.insert(id, one);
        }
        self.episodes = seen;
        state.waiting.oldest_at = oldest_ns.map(at);
        let commits = holds.iter().filter_map(|(commit, since)| {
            Some(HeldCommit {
                commit: *commit,
                episodes: *held.get(commit)?,
                since: since.clone(),
            })
        });
        state.held = commits.collect();
        let by_episodes = |one: &HeldCommit| std::cmp::Reverse(one.episodes);
        state.held.sort_by_key(by_episodes);
        Ok(())
    }

    fn add_refused(&mut self, state: &mut LabState, root: &Root) -> io::Result<()> {
        let changed_ns = changed_ns(&fs::metadata(root.refused())?);
        let is_current = |folder: &&RefusedFolder| folder.changed_ns == changed_ns;
        if self.refused.as_ref().filter(is_current).is_none() {
            self.refused = Some(RefusedFolder::read(root, changed_ns)?);
        }
        if let Some(folder) = &self.refused {
            state.refused.clone_from(&folder.names);
            state.more = More {
                held: 0,
                refused: folder.more,
            };
        }
        Ok(())
    }
}

impl Seen {
    fn look(root: &Root, id: &EpisodeId, identity: Identity) -> Seen {
        let dir = root.episodes().join(id.as_str());
        Seen {
            identity,
            bytes: tree_bytes(&dir),
            commit: episode::meta_of(&dir).ok().map(|meta| meta.commit),
        }
    }
}

impl RefusedFolder {
    fn read(root: &Root, changed_ns: i128) -> io::Result<RefusedFolder> {
        let mut dirs = Vec::new();
        for found in fs::read_dir(root.refused())? {
            let found = found?;
            let Ok(name) = found.file_name().into_string() else {
                continue;
            };
            // What is gone by now is not counted.
            if let Ok(metadata) = found.metadata()
                && metadata.is_dir()
            {
                // The rename into this folder has set it.
                let moved_ns = i128::from(metadata.ctime()) * 1_000_000_000
                    + i128::from(metadata.ctime_nsec());
                dirs.push((moved_ns, name));
            }
        }
        dirs.sort_by(|one, other| other.cmp(one));
        let more = dirs.len().saturating_sub(LAB_STATE_LIST_MAX) as u64;
        dirs.truncate(LAB_STATE_LIST_MAX);
        let names = dirs.into_iter().map(|(_, name)| {
            let why = Why::read(root, &name);
            RefusedName {
                reason: why.as_ref().and_then(Why::reason),
                at: why.map(|why| why.at),
                episode: name,
            }
        });
        Ok(RefusedFolder {
            changed_ns,
            names: names.collect(),
            more,
        })
    }
}

fn changed_ns(metadata: &fs::Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

/// A time of a file; one before 1970 is shown as 1970.
fn at(since_1970_ns: i128) -> String {
    let seconds = u64::try_from(since_1970_ns / 1_000_000_000).unwrap_or(0);
    clock::rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}
