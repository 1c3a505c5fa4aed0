//! Settles the files that the last run left in incoming/, before a new upload comes in.
//!
//! Each `incoming/X` is a record of intent. If its final name is the same file (device and inode;
//! a link count alone proves nothing, since backups make links), it was published and may have been
//! acknowledged: its row and all syncs are done again by the committer's own code. Else it is swept.
//! A file with a name that no upload of ours has goes to quarantine/, and is never a reason not to start.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::commit_request::{CommitError, CommitRequest, Placement};
use super::committer::Committer;
use super::layout::{Layout, slot_of_partial};
use super::store_dir;
use super::stored_file;
use crate::failure::Failure;
use crate::file_identity::FileIdentity;
use crate::wire::{Receipt, Slot};
use crate::{durable, events, owner};

/// How many uploads of the last run were settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Uploads that had their name when the last run ended.
    pub published: usize,
    /// Uploads that had not, and never were acknowledged.
    pub swept: usize,
}

/// Settles all of incoming/.
///
/// Errors: incoming/ cannot be read, or an episode that may have been acknowledged cannot be made
/// sure of.
pub(super) fn recover(layout: &Layout, committer: &mut Committer) -> Result<Recovered, Failure> {
    let mut recovered = Recovered::default();
    let left = fs::read_dir(layout.incoming()).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in left.map_err(|error| cannot("read", &layout.incoming(), &error))? {
        let path = entry.path();
        let Some(slot) = slot_of(&entry) else {
            if entry.file_name() == store_dir::PROBE {
                // The disk was so full that the probe could not be removed.
                sweep(&path);
            } else {
                set_aside(layout, &path);
            }
            continue;
        };
        match published_file(layout, &path, &slot) {
            Ok(Some(identity)) => {
                finish(layout, committer, &path, &slot, identity)?;
                recovered.published += 1;
            }
            Ok(None) => {
                sweep(&path);
                recovered.swept += 1;
            }
            Err(error) => return Err(cannot("look at", &path, &error)),
        }
    }
    Ok(recovered)
}

/// The slot of an upload of ours: a regular file with a name that we give.
fn slot_of(entry: &DirEntry) -> Option<Slot> {
    let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
    if !is_file {
        return None;
    }
    slot_of_partial(entry.file_name().to_str()?)
}

/// The file, if the final name is that very file too.
fn published_file(layout: &Layout, path: &Path, slot: &Slot) -> io::Result<Option<FileIdentity>> {
    let incoming = FileIdentity::at(path)?;
    let stored = FileIdentity::at(&layout.tarball(slot))?;
    Ok(if incoming == stored { incoming } else { None })
}

/// Does again what the last run may not have finished, in the committer's order.
fn finish(
    layout: &Layout,
    committer: &mut Committer,
    path: &Path,
    slot: &Slot,
    identity: FileIdentity,
) -> Result<(), Failure> {
    let receipt = make_sure_of(layout, slot)
        .map_err(|error| cannot("make sure of", &layout.tarball(slot), &error))?;
    let ask = CommitRequest {
        receipt,
        placement: Placement::Keep(identity),
        incoming: Some(path.to_owned()),
    };
    match committer.commit_all(vec![ask])?.pop() {
        None | Some(Ok(_)) => Ok(()),
        // No room for a row: it was not acknowledged, and X stays for the next start.
        Some(Err(CommitError::Full)) => {
            events::store_untidy(
                path,
                "the disk is full, so its row must wait for the next start",
            );
            Ok(())
        }
        // Its row has another digest. File and row stay; only the name in incoming/ goes.
        Some(Err(CommitError::Taken | CommitError::LookAgain)) => {
            events::store_fault(
                slot,
                "recover it",
                "its row in index.jsonl is of other bytes",
            );
            sweep(path);
            Ok(())
        }
        Some(Err(CommitError::Fault(error))) => Err(cannot("recover", path, &error)),
    }
}

/// Syncs the file, and returns its row: the receipt that it carries, which was synced with it, else
/// one made by reading the file.
fn make_sure_of(layout: &Layout, slot: &Slot) -> io::Result<Receipt> {
    let tarball = layout.tarball(slot);
    let file = durable::open_regular(&tarball)?;
    durable::sync_file(&file)?;
    if let Some(receipt) = stored_file::carried_receipt(&file, slot)? {
        return Ok(receipt);
    }
    let examined = stored_file::examine(&tarball, |_| ())?
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let row = stored_file::row_of(&examined, slot)?;
    if let Some(why) = row.commit_unknown {
        events::commit_unknown(slot, why);
    }
    Ok(row.receipt)
}

fn sweep(path: &Path) {
    if let Err(error) = durable::unlink(path) {
        events::store_untidy(path, error);
    }
}

fn set_aside(layout: &Layout, path: &Path) {
    match layout.set_aside(path) {
        Ok(kept_as) => events::quarantined(path, &kept_as, "no upload of ours has such a name"),
        Err(error) => events::store_untidy(path, error),
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot {what} {}: {error}", path.display()),
        owner::hint(
            error,
            "look at the disk and at who owns the folder (dmesg, ls -l), then start the receiver again; nothing was changed",
        ),
    )
}
