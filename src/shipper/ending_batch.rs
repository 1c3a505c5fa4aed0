//! The moves out of episodes/, of one episode or of several together (`returns` has the ways back):
//!
//!     publish(note)...  rename(episodes/<id>, there/<name>)...  fsync(there)  fsync(episodes)  unlink(tarball)...
//!
//! 1. The note is there first, so each episode in shipped/ has its receipt and each one in refused/ its
//!    reason. The tarball goes last: until the rename holds, it may be asked for again.
//! 2. The order holds for each episode, whatever the others of its batch do: one that fails at a step stays
//!    there, and the others go on. Only a sync that they share fails for all of them.
//! 3. An answer is for the episode that was sent, and moves no other: one whose meta.json has become
//!    another stays, before the rename or by renaming it back. A receipt is for all the bytes that were
//!    sent, so one to which anything was added, or that was changed, stays as well.

use std::io;
use std::path::{Path, PathBuf};

use super::notes::{NOTE_BYTES_MAX, RECEIPT, WHY, Why, note_of};
use super::outbox::{self, Seal};
use super::queue::{Identity, Root, is_absent};
use crate::durable;
use crate::names::EpisodeId;
use crate::wire::Receipt;

/// An episode that is to leave episodes/.
pub(super) struct Departure {
    pub id: EpisodeId,
    pub to: Destination,
}

/// Where an episode goes, and which note lies beside it there.
pub(super) enum Destination {
    /// The receiver has what was sent.
    Shipped { sent: Seal, receipt: Receipt },
    /// The episode that was judged is not to be sent as it is.
    Refused { judged: Identity, why: Why },
}

/// What became of an episode that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// It lies there under this name: `<id>`, or `<id>~2` and so on if an earlier episode had that name.
    As(String),
    /// The episode is no longer what was sent, and stays in episodes/. Its files now are another episode
    /// under an old name: packed and sent, it gets the 409 that all such get and goes to refused/ with
    /// the receiver's words, or the 200 of the same bytes if what was added is gone again. So nothing
    /// that a recorder wrote ever goes with shipped/ unsent.
    Changed,
}

/// Moves the episodes. The results are in their order.
pub(super) fn carry_out(root: &Root, departures: &[&Departure]) -> Vec<io::Result<Moved>> {
    let ends = departures.iter().map(|one| End::begin(root, one)).collect();
    let mut batch = EndingBatch { root, ends };
    batch.publish_notes();
    batch.rename();
    batch.sync_folders();
    batch.unlink_tarballs();
    batch.ends.into_iter().map(End::result).collect()
}

/// As [`carry_out`], of one episode.
pub(super) fn carry_out_one(root: &Root, departure: &Departure) -> io::Result<Moved> {
    let mut results = carry_out(root, &[departure]);
    results.pop().expect("one departure has one result")
}

struct EndingBatch<'a> {
    root: &'a Root,
    ends: Vec<End<'a>>,
}

enum End<'a> {
    Leaves(Leaving<'a>),
    Over(io::Result<Moved>),
}

/// One episode on its way.
struct Leaving<'a> {
    departure: &'a Departure,
    from: PathBuf,
    /// shipped/ or refused/.
    there: PathBuf,
    name: String,
    note: PathBuf,
    note_text: Vec<u8>,
    tarball: PathBuf,
}

impl EndingBatch<'_> {
    fn publish_notes(&mut self) {
        let leaving = self.ends.iter().filter_map(End::leaving);
        let notes: Vec<(PathBuf, Vec<u8>)> = leaving
            .map(|one| (one.note.clone(), one.note_text.clone()))
            .collect();
        let mut published = durable::publish_all(&notes).into_iter();
        self.step(|one| match published.next() {
            // The directory is the episode; its tarball can be made again, and makes the room.
            Some(Err(error)) if durable::is_full(&error) && !is_absent(&one.tarball) => {
                durable::unlink(&one.tarball)?;
                durable::publish(&one.note, &one.note_text)
            }
            Some(result) => result,
            None => Err(io::Error::other("its note was not published")),
        });
    }

    fn rename(&mut self) {
        self.step(|one| {
            let to = one.there.join(&one.name);
            one.check(&one.from)?;
            durable::rename_new(&one.from, &to)?;
            if let Err(changed) = one.check(&to) {
                // It was changed between the look and the rename.
                durable::rename_new(&to, &one.from)?;
                return Err(changed);
            }
            Ok(())
        });
    }

    /// Each folder once. An episode's move holds when the folder that it came from and the one that it
    /// went to are synced.
    fn sync_folders(&mut self) {
        let leaving = self.ends.iter().filter_map(End::leaving);
        let mut folders: Vec<PathBuf> = leaving.map(|one| one.there.clone()).collect();
        if folders.is_empty() {
            return;
        }
        folders.sort_unstable_by(|a, b| b.cmp(a));
        folders.dedup();
        folders.push(self.root.episodes());
        let dirs: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        let synced = durable::sync_dirs(&dirs);
        self.step(|one| {
            for (dir, synced) in dirs.iter().zip(&synced) {
                let concerns = *dir == one.there || one.from.starts_with(dir);
                if let (true, Err(error)) = (concerns, synced) {
                    return Err(durable::same(error));
                }
            }
            Ok(())
        });
    }

    fn unlink_tarballs(&mut self) {
        self.step(|one| durable::unlink(&one.tarball));
    }

    /// Takes every episode that is still on its way one step further.
    fn step(&mut self, mut step: impl FnMut(&Leaving<'_>) -> io::Result<()>) {
        for end in &mut self.ends {
            if let End::Leaves(one) = end
                && let Err(error) = step(one)
            {
                *end = End::Over(Err(error));
            }
        }
    }
}

impl<'a> End<'a> {
    fn begin(root: &Root, departure: &'a Departure) -> End<'a> {
        match Leaving::begin(root, departure) {
            Ok(Some(leaving)) => End::Leaves(leaving),
            Ok(None) => End::Over(Ok(Moved::Changed)),
            Err(error) => End::Over(Err(error)),
        }
    }

    fn leaving(&self) -> Option<&Leaving<'a>> {
        match self {
            End::Leaves(leaving) => Some(leaving),
            End::Over(_) => None,
        }
    }

    fn result(self) -> io::Result<Moved> {
        match self {
            End::Leaves(leaving) => Ok(Moved::As(leaving.name)),
            End::Over(result) => result,
        }
    }
}

impl<'a> Leaving<'a> {
    /// `None` if the episode was changed after it was sent.
    fn begin(root: &Root, departure: &'a Departure) -> io::Result<Option<Leaving<'a>>> {
        let id = &departure.id;
        let from = root.episodes().join(id.as_str());
        check_identity(&from, departure.to.identity())?;
        if !departure.to.is_current(&from)? {
            return Ok(None);
        }
        let (there, ending) = departure.to.folder(root);
        let name = free_name(&there, id, ending, |note| departure.to.is_own_note(note))?;
        Ok(Some(Leaving {
            departure,
            from,
            note: note_of(&there, &name, ending),
            note_text: departure.to.note()?,
            there,
            name,
            tarball: outbox::tarball(root, id),
        }))
    }

    /// An error unless the directory holds the episode that is meant.
    fn check(&self, dir: &Path) -> io::Result<()> {
        let to = &self.departure.to;
        check_identity(dir, to.identity())?;
        if !to.is_current(dir)? {
            return Err(io::Error::other("its files were changed meanwhile"));
        }
        Ok(())
    }
}

impl Destination {
    fn folder(&self, root: &Root) -> (PathBuf, &'static str) {
        match self {
            Destination::Shipped { .. } => (root.shipped(), RECEIPT),
            Destination::Refused { .. } => (root.refused(), WHY),
        }
    }

    fn note(&self) -> io::Result<Vec<u8>> {
        Ok(match self {
            Destination::Shipped { receipt, .. } => serde_json::to_vec_pretty(receipt)?,
            Destination::Refused { why, .. } => serde_json::to_vec_pretty(why)?,
        })
    }

    fn identity(&self) -> Identity {
        match self {
            Destination::Shipped { sent, .. } => sent.made_from,
            Destination::Refused { judged, .. } => *judged,
        }
    }

    /// Whether the directory has no more than what was sent. What is refused may have.
    fn is_current(&self, dir: &Path) -> io::Result<bool> {
        match self {
            Destination::Shipped { sent, .. } => outbox::is_current(dir, sent),
            Destination::Refused { .. } => Ok(true),
        }
    }

    /// Whether a note without its directory is this episode's own, from a move that was cut short.
    fn is_own_note(&self, note: &Path) -> bool {
        match self {
            Destination::Shipped { receipt, .. } => {
                let text = durable::read_regular(note, NOTE_BYTES_MAX).unwrap_or_default();
                let old = serde_json::from_slice(&text);
                old.is_ok_and(|old: Receipt| old.sha256 == receipt.sha256)
            }
            Destination::Refused { .. } => true,
        }
    }
}

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
        let note = note_of(there, &name, ending);
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
