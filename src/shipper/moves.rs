//! The moves out of episodes/, and the way back. Each is a note, one rename, and a sweep:
//!
//!     publish(note)  rename(episodes/<id>, there/<name>)  fsync(there)  fsync(episodes)  unlink(tarball)
//!
//! An answer is for the episode that was sent, and moves no other: one whose meta.json has become
//! another stays, before the rename or by renaming it back.
//!
//! The note is there first, so whatever lies in shipped/ has its receipt and whatever lies in
//! refused/ its reason. The tarball goes last: until the rename holds, it may be asked for again.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outbox::{self, is_full};
use super::queue::{self, Identity, Root, Told, is_absent};
use super::state;
use crate::durable;
use crate::episode;
use crate::names::{BadName, CommitHash, EpisodeId};
use crate::wire::{self, Problem, Receipt};

const RECEIPT: &str = ".receipt.json";
const WHY: &str = ".why.json";
/// Of either note: what the receiver may answer, twice over.
const NOTE_BYTES_MAX: u64 = 2 * wire::ANSWER_BYTES_MAX;

/// Who decided that an episode is not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// The receiver answered so.
    Receiver,
    /// It cannot be packed.
    Shipper,
    /// A person, by `cis490 set-aside`.
    Operator,
}

/// `<id>.why.json`: why an episode lies in refused/.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    pub at: String,
    pub by: Judge,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Why {
    pub fn new(by: Judge, why: impl Into<String>) -> Why {
        Why {
            at: state::now(),
            by,
            why: why.into(),
            status: None,
            commit: None,
            problem: None,
        }
    }

    pub fn of_problem(problem: &Problem, commit: CommitHash) -> Why {
        Why {
            status: Some(problem.status),
            commit: Some(commit),
            problem: Some(problem.clone()),
            ..Why::new(Judge::Receiver, problem.detail.clone())
        }
    }

    /// The note beside `refused/<name>`.
    pub fn read(root: &Root, name: &str) -> Option<Why> {
        let note = note_of(&root.refused(), name, WHY);
        let text = durable::read_regular(&note, NOTE_BYTES_MAX).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// The receiver has the episode: to shipped/, under `<id>`, or `<id>~2` if an earlier episode had
/// that name. Returns the name.
pub fn into_shipped(
    root: &Root,
    id: &EpisodeId,
    sent: Identity,
    receipt: &Receipt,
) -> io::Result<String> {
    let is_same = |note: &Path| {
        let text = durable::read_regular(note, NOTE_BYTES_MAX).unwrap_or_default();
        serde_json::from_slice(&text).is_ok_and(|old: Receipt| old.sha256 == receipt.sha256)
    };
    let name = free_name(&root.shipped(), id, RECEIPT, is_same)?;
    let note = serde_json::to_vec_pretty(receipt)?;
    move_out(root, (id, sent), &root.shipped(), &name, RECEIPT, &note)?;
    Ok(name)
}

/// The episode is not to be sent as it is: to refused/, under `<id>` or the next free name, which
/// is returned.
pub fn into_refused(
    root: &Root,
    id: &EpisodeId,
    judged: Identity,
    why: &Why,
) -> io::Result<String> {
    // A why without its directory is this episode's own, from a move that was cut short.
    let name = free_name(&root.refused(), id, WHY, |_| true)?;
    let note = serde_json::to_vec_pretty(why)?;
    move_out(root, (id, judged), &root.refused(), &name, WHY, &note)?;
    Ok(name)
}

fn move_out(
    root: &Root,
    (id, meant): (&EpisodeId, Identity),
    there: &Path,
    name: &str,
    ending: &str,
    note: &[u8],
) -> io::Result<()> {
    let (from, to) = (root.episodes().join(id.as_str()), there.join(name));
    expect(&from, meant)?;
    let tarball = outbox::tarball(root, id);
    let note_path = there.join(format!("{name}{ending}"));
    match durable::publish(&note_path, note) {
        // The directory is the episode; its tarball can be made again, and makes the room.
        Err(error) if is_full(&error) && !is_absent(&tarball) => {
            durable::unlink(&tarball)?;
            durable::publish(&note_path, note)?;
        }
        other => other?,
    }
    durable::rename_new(&from, &to)?;
    if let Err(changed) = expect(&to, meant) {
        // It became another in this very instant.
        durable::rename_new(&to, &from)?;
        return Err(changed);
    }
    durable::sync_dir(there)?;
    durable::sync_dir(&root.episodes())?;
    durable::unlink(&tarball)
}

/// An error unless the directory holds the episode that is meant.
fn expect(dir: &Path, meant: Identity) -> io::Result<()> {
    match Identity::of_dir(dir)? == meant {
        true => Ok(()),
        false => Err(io::Error::other("its meta.json was changed meanwhile")),
    }
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

/// Why an episode does not come back from refused/.
#[derive(Debug)]
pub enum NoReturn {
    BadName(BadName),
    /// Nothing of that name is in refused/.
    Unknown,
    /// An episode of that name waits already, and is not replaced.
    Taken(EpisodeId),
    Io(io::Error),
}

impl From<io::Error> for NoReturn {
    fn from(error: io::Error) -> NoReturn {
        NoReturn::Io(error)
    }
}

/// From refused/ back to episodes/: `name` is what it is called in refused/, `new` what it is
/// called from now on (else as before it was refused). Never replaces; a shipper may run.
///
///     unlink(tarball)  rename(refused/<name>, episodes/<id>)  fsync(episodes)  fsync(refused)  unlink(why)
pub fn requeue(root: &Root, name: &str, new: Option<&EpisodeId>) -> Result<EpisodeId, NoReturn> {
    let old = name.split_once('~').map_or(name, |(id, _)| id);
    let old = EpisodeId::parse(old).map_err(NoReturn::BadName)?;
    let id = new.cloned().unwrap_or(old);
    // What follows a `~` is not judged by a grammar, so it must at least not lead elsewhere.
    if name.contains(['/', '\0']) || is_absent(&root.refused().join(name)) {
        return Err(NoReturn::Unknown);
    }
    let back = root.episodes().join(id.as_str());
    if !is_absent(&back) {
        return Err(NoReturn::Taken(id));
    }
    // One that a crash left: whoever mended the directory wants the mended one to be sent.
    durable::unlink(&outbox::tarball(root, &id))?;
    match durable::rename_new(&root.refused().join(name), &back) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NoReturn::Taken(id));
        }
        other => other?,
    }
    durable::sync_dir(&root.episodes())?;
    durable::sync_dir(&root.refused())?;
    durable::unlink(&note_of(&root.refused(), name, WHY))?;
    Ok(id)
}

fn note_of(there: &Path, name: &str, ending: &str) -> PathBuf {
    there.join(format!("{name}{ending}"))
}

/// Moves every waiting episode of a commit to refused/, by a person's word; a shipper may run.
/// Returns their ids. Those whose commit cannot be read now are left.
pub fn set_aside(root: &Root, commit: CommitHash) -> io::Result<Vec<EpisodeId>> {
    let mut moved = Vec::new();
    for (id, identity) in queue::scan(root, &mut Told::silent())?.finished {
        let meta = episode::inspect(&root.episodes().join(id.as_str()));
        if !meta.is_ok_and(|meta| meta.commit == commit) {
            continue;
        }
        let why = "set aside by hand: the receiver does not take this commit";
        let why = Why {
            commit: Some(commit),
            ..Why::new(Judge::Operator, why)
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
pub fn receipt_path(root: &Root, name: &str) -> PathBuf {
    note_of(&root.shipped(), name, RECEIPT)
}
