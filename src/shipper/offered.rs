//! What a shell's completions offer on a lab host: names and commits that lie in its folders now. No
//! folder is measured, so that a person who waits for the shell gets them at once.

use std::collections::BTreeSet;
use std::io;

use super::queue::{self, Root, Told};
use super::returns;
use super::state::State;
use super::survey::{dirs, waiting_commits};
use crate::names::CommitHash;

/// Those that `requeue` brings back: the names in refused/, and those in episodes/ that are not allowed.
pub(crate) fn requeueable(root: &Root) -> io::Result<Vec<String>> {
    let refused = dirs(&root.refused())?;
    let mut names: Vec<String> = refused.into_iter().map(|(name, _)| name).collect();
    for overlooked in queue::scan(root, &mut Told::silent())?.overlooked_named {
        if overlooked.error.is_none() {
            names.push(returns::shown(&overlooked.name));
        }
    }
    Ok(names)
}

/// The names in shipped/.
pub(crate) fn shipped(root: &Root) -> io::Result<Vec<String>> {
    let found = dirs(&root.shipped())?;
    Ok(found.into_iter().map(|(name, _)| name).collect())
}

/// The commits of the episodes that are held; if none is, of those that wait.
pub(crate) fn held_commits(root: &Root) -> io::Result<BTreeSet<CommitHash>> {
    let waiting = waiting_commits(root)?;
    let state = State::read(&root.state_file()).unwrap_or_default();
    let holds = state.holds.iter().map(|hold| hold.commit);
    let held: BTreeSet<CommitHash> = holds.filter(|commit| waiting.contains(commit)).collect();
    if held.is_empty() {
        return Ok(waiting);
    }
    Ok(held)
}
