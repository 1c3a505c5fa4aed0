//! The moves out of episodes/ (`returns` has the ways back). Each is a note, one rename, and a sweep:
//!
//!     publish(note)  rename(episodes/<id>, there/<name>)  fsync(there)  fsync(episodes)  unlink(tarball)
//!
//! An answer is for the episode that was sent, and moves no other: one whose meta.json has become
//! another stays, before the rename or by renaming it back. A receipt is for all the bytes that were
//! sent, so one to which anything was added, or that was changed, stays as well.
//!
//! The note is there first, so each episode in shipped/ has its receipt and each one in
//! refused/ its reason. The tarball goes last: until the rename holds, it may be asked for again.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outbox::{self, Seal};
use super::queue::{self, Identity, Root, Told, is_absent};
use super::state;
use crate::durable;
use crate::episode;
use crate::names::{CommitHash, EpisodeId};
use crate::wire::{self, Problem, Receipt};

const RECEIPT: &str = ".receipt.json";
const WHY: &str = ".why.json";
/// Of either note: what the receiver may answer, twice over.
const NOTE_BYTES_MAX: u64 = 2 * wire::ANSWER_BYTES_MAX;

/// The reason of what a person moved to refused/.
const SET_ASIDE: &str = "set-aside";

/// Who decided that an episode is not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Judge {
    /// The receiver answered so.
    Receiver,
    /// It cannot be packed.
    Shipper,
    /// A person, by `cis490 set-aside`.
    Operator,
}

/// `<id>.why.json`: why an episode lies in refused/.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Why {
    pub at: String,
    pub by: Judge,
    /// For programs, and for `cis490 requeue --reason`: the name of the receiver's refusal, or one of
    /// ours (`not-a-file`, `bad-json`, `no-commit`, `two-commits`, `meta-too-large`, `path-too-long`,
    /// `set-aside`). Notes of older programs lack it: see [`Why::reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Why {
    pub(crate) fn new(by: Judge, reason: &str, why: impl Into<String>) -> Why {
        Why {
            at: state::now(),
            by,
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            why: why.into(),
            status: None,
            commit: None,
            problem: None,
        }
    }

    pub(crate) fn of_problem(problem: &Problem, commit: CommitHash) -> Why {
        Why {
            status: Some(problem.status),
            commit: Some(commit),
            problem: Some(problem.clone()),
            ..Why::new(
                Judge::Receiver,
                problem.name().unwrap_or(""),
                problem.detail.clone(),
            )
        }
    }

    /// One word for it, as far as one was noted.
    pub(crate) fn reason(&self) -> Option<String> {
        let by_problem = || self.problem.as_ref()?.name().map(str::to_owned);
        let by_operator = (self.by == Judge::Operator).then(|| SET_ASIDE.to_owned());
        self.reason.clone().or_else(by_problem).or(by_operator)
    }

    /// The note beside `refused/<name>`.
    pub(crate) fn read(root: &Root, name: &str) -> Option<Why> {
        let note = note_of(&root.refused(), name, WHY);
        let text = durable::read_regular(&note, NOTE_BYTES_MAX).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// What became of an episode that the receiver has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IntoShipped {
    /// It lies in shipped/ under this name.
    As(String),
    /// The episode is no longer what was sent, and stays in episodes/. Its files now are another episode
    /// under an old name: packed and sent, it gets the 409 that all such get and goes to refused/ with
    /// the receiver's words, or the 200 of the same bytes if what was added is gone again. So nothing
    /// that a recorder wrote ever goes with shipped/ unsent.
    Changed,
}

/// The receiver has the episode: to shipped/, under `<id>`, or `<id>~2` if an earlier episode had
/// that name.
pub(super) fn into_shipped(
    root: &Root,
    id: &EpisodeId,
    sent: &Seal,
    receipt: &Receipt,
) -> io::Result<IntoShipped> {
    let from = root.episodes().join(id.as_str());
    if Identity::of_dir(&from)? == sent.made_from && !outbox::is_current(&from, sent)? {
        return Ok(IntoShipped::Changed);
    }
    let is_same = |note: &Path| {
        let text = durable::read_regular(note, NOTE_BYTES_MAX).unwrap_or_default();
        serde_json::from_slice(&text).is_ok_and(|old: Receipt| old.sha256 == receipt.sha256)
    };
    let name = free_name(&root.shipped(), id, RECEIPT, is_same)?;
    let note = serde_json::to_vec_pretty(receipt)?;
    let is_meant = |dir: &Path| {
        check_identity(dir, sent.made_from)?;
        if !outbox::is_current(dir, sent)? {
            return Err(io::Error::other("its files were changed meanwhile"));
        }
        Ok(())
    };
    move_out(root, id, &is_meant, &root.shipped(), &name, RECEIPT, &note)?;
    Ok(IntoShipped::As(name))
}

/// The episode is not to be sent as it is: to refused/, under `<id>` or the next free name, which
/// is returned.
pub(super) fn into_refused(
    root: &Root,
    id: &EpisodeId,
    judged: Identity,
    why: &Why,
) -> io::Result<String> {
    // A why without its directory is this episode's own, from a move that was cut short.
    let name = free_name(&root.refused(), id, WHY, |_| true)?;
    let note = serde_json::to_vec_pretty(why)?;
    let is_meant = |dir: &Path| check_identity(dir, judged);
    move_out(root, id, &is_meant, &root.refused(), &name, WHY, &note)?;
    Ok(name)
}

fn move_out(
    root: &Root,
    id: &EpisodeId,
    is_meant: &dyn Fn(&Path) -> io::Result<()>,
    there: &Path,
    name: &str,
    ending: &str,
    note: &[u8],
) -> io::Result<()> {
    let from = root.episodes().join(id.as_str());
    let to = there.join(name);
    is_meant(&from)?;
    let tarball = outbox::tarball(root, id);
    let note_path = there.join(format!("{name}{ending}"));
    match durable::publish(&note_path, note) {
        // The directory is the episode; its tarball can be made again, and makes the room.
        Err(error) if durable::is_full(&error) && !is_absent(&tarball) => {
            durable::unlink(&tarball)?;
            durable::publish(&note_path, note)?;
        }
        other => other?,
    }
    durable::rename_new(&from, &to)?;
    if let Err(changed) = is_meant(&to) {
        // It was changed between the look and the rename.
        durable::rename_new(&to, &from)?;
        return Err(changed);
    }
    durable::sync_dir(there)?;
    durable::sync_dir(&root.episodes())?;
    durable::unlink(&tarball)
}

/// An error unless the directory holds the episode that is meant.
fn check_identity(dir: &Path, meant: Identity) -> io::Result<()> {
    if Identity::of_dir(dir)? != meant {
        return Err(io::Error::other("its meta.json was changed meanwhile"));
    }
    Ok(())
}

/// `<id>`, or `<id>~2` and so on: the first name that no directory has, and no note of another
/// episode, whose directory was deleted in its time.
fn free_name(
    there: &Path,
    id: &EpisodeId,
    ending: &str,
    is_ours: impl Fn(&Path) -> bool,
) -> io::Result<String> {
    for n in 1u64.. {
        let name = match n {
            1 => id.to_string(),
            _ => format!("{id}~{n}"),
        };
        let note = there.join(format!("{name}{ending}"));
        let is_free = is_free(&there.join(&name))?;
        if is_free && (self::is_free(&note)? || is_ours(&note)) {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// An error if that cannot be seen: to try the next name then would never end.
fn is_free(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn note_of(there: &Path, name: &str, ending: &str) -> PathBuf {
    there.join(format!("{name}{ending}"))
}

/// Moves every waiting episode of a commit to refused/, by a person's word; a shipper may run.
/// Returns their ids. Those whose commit cannot be read now are left.
pub(crate) fn set_aside(root: &Root, commit: CommitHash) -> io::Result<Vec<EpisodeId>> {
    let mut moved = Vec::new();
    for (id, identity) in queue::scan(root, &mut Told::silent())?.finished {
        let found = episode::inspect(&root.episodes().join(id.as_str()));
        if !found.is_ok_and(|found| found.meta.commit == commit) {
            continue;
        }
        let why = "set aside by hand: the receiver does not take this commit";
        let why = Why {
            commit: Some(commit),
            ..Why::new(Judge::Operator, SET_ASIDE, why)
        };
        match into_refused(root, &id, identity, &why) {
            Ok(_) => moved.push(id),
            // The shipper was quicker: the receiver took it after all.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// The receipt beside `shipped/<name>`.
pub(super) fn receipt_path(root: &Root, name: &str) -> PathBuf {
    note_of(&root.shipped(), name, RECEIPT)
}

/// The note beside `refused/<name>`.
pub(super) fn why_path(root: &Root, name: &str) -> PathBuf {
    note_of(&root.refused(), name, WHY)
}
