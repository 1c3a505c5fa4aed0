//! Settles the files that the last run left in incoming/, before a new upload comes in.
//!
//! Each `incoming/X` is a record of intent. If its final name is the same file (device and inode;
//! a link count alone proves nothing, since backups make links), it was published and may have been
//! acknowledged: its row and all syncs are done again by the committer's own code. Else it is swept.
//!
//! 1. A small file is linked before it is synced, so a power cut may have torn it. It is read from the
//!    disk and compared with the receipt that it carries. A torn one was never acknowledged: both its
//!    names go, its row stays if it has one, and its sender comes again.
//! 2. A file with a name that no upload of ours has goes to quarantine/, and so does a small file that
//!    nothing vouches for. Neither is a reason not to start, nor blocks the name.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use super::commit_request::{CommitRequest, Decision, Placement};
use super::committer::Committer;
use super::index::Index;
use super::layout::{Layout, slot_of_partial};
use super::stored_file;
use super::writer::is_small;
use super::{StoreError, store_dir};
use crate::failure::Failure;
use crate::file_identity::FileIdentity;
use crate::wire::{Receipt, Slot};
use crate::{durable, events, owner, sys};

/// How many uploads of the last run were settled.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Uploads that had their name when the last run ended.
    pub published: usize,
    /// Uploads that had not, or whose file was torn. They never were acknowledged.
    pub swept: usize,
}

/// Settles all of incoming/. `has_attributes` is whether the filesystem lets files carry a receipt.
///
/// Errors: incoming/ cannot be read, or an episode that may have been acknowledged cannot be made
/// sure of.
pub(super) fn recover(
    layout: &Layout,
    has_attributes: bool,
    committer: &mut Committer,
) -> Result<Recovered, Failure> {
    let mut recovered = Recovered::default();
    let left = fs::read_dir(layout.incoming()).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in left.map_err(|error| cannot("read", &layout.incoming(), &error))? {
        let path = entry.path();
        let Some(slot) = slot_of(&entry) else {
            if entry.file_name() == store_dir::PROBE {
                // The disk was so full that the probe could not be removed.
                sweep(&path);
            } else {
                set_aside(layout, &path, "no upload of ours has such a name");
            }
            continue;
        };
        let published = published_file(layout, &path, &slot)
            .map_err(|error| cannot("look at", &path, &error))?;
        let Some(identity) = published else {
            sweep(&path);
            recovered.swept += 1;
            continue;
        };
        let index = committer.index();
        let found = examine(layout, has_attributes, &index, &slot)
            .map_err(|error| cannot("make sure of", &layout.tarball(&slot), &error))?;
        match found {
            Found::Whole(receipt) => {
                finish(committer, &path, *receipt, identity)?;
                recovered.published += 1;
            }
            Found::Torn => {
                withdraw(layout, &path, &slot)
                    .map_err(|error| cannot("remove", &layout.tarball(&slot), &error))?;
                events::torn_upload(&slot);
                recovered.swept += 1;
            }
            Found::WithoutEvidence => {
                let why = "it was being stored, and neither a receipt nor a row says which bytes";
                set_aside(layout, &layout.tarball(&slot), why);
                sweep(&path);
            }
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

/// What a published file turns out to be.
enum Found {
    /// It is on the disk, and this is its row.
    Whole(Box<Receipt>),
    Torn,
    /// A small file that carries no receipt and has no row.
    WithoutEvidence,
}

/// Syncs the file, and reads it if it may be torn.
fn examine(layout: &Layout, has_attributes: bool, index: &Index, slot: &Slot) -> io::Result<Found> {
    let tarball = layout.tarball(slot);
    let file = durable::open_regular(&tarball)?;
    durable::sync_file(&file)?;
    let own = stored_file::own_receipt(&file, slot)?;
    let length = file.metadata()?.len();
    let stated = own.as_ref().and_then(|receipt| receipt.bytes);
    // A larger file was synced before its link, and so was any where files carry no receipt.
    if !is_small(stated.unwrap_or(length)) || !has_attributes {
        return whole(&tarball, slot);
    }
    // The page cache may show bytes that the kernel could not write.
    sys::forget_cached(&file);
    let examined = stored_file::examine(&tarball, |_| ())?
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    if let Some(receipt) = own {
        return Ok(if receipt.sha256 == examined.sha256 {
            Found::Whole(Box::new(receipt))
        } else {
            Found::Torn
        });
    }
    let rows = index.rows_of(slot)?;
    let is_empty = rows.is_empty();
    match rows.into_iter().rfind(|row| row.sha256 == examined.sha256) {
        Some(row) => Ok(Found::Whole(Box::new(row))),
        None if is_empty => Ok(Found::WithoutEvidence),
        None => Ok(Found::Torn),
    }
}

/// A file that was synced before it was linked. Its row is the receipt that it carries, else one made
/// by reading the file.
fn whole(tarball: &Path, slot: &Slot) -> io::Result<Found> {
    let file = durable::open_regular(tarball)?;
    if let Some(receipt) = stored_file::carried_receipt(&file, slot)? {
        return Ok(Found::Whole(Box::new(receipt)));
    }
    let examined = stored_file::examine(tarball, |_| ())?
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let row = stored_file::row_of(&examined, slot)?;
    if let Some(why) = row.commit_unknown {
        events::commit_unknown(slot, why);
    }
    Ok(Found::Whole(Box::new(row.receipt)))
}

/// Does again what the last run may not have finished, in the committer's order.
fn finish(
    committer: &mut Committer,
    path: &Path,
    receipt: Receipt,
    identity: FileIdentity,
) -> Result<(), Failure> {
    let slot = receipt.slot();
    let request = CommitRequest {
        receipt,
        placement: Placement::Keep(identity),
        incoming: Some(path.to_owned()),
    };
    match committer.commit_all(vec![request])?.pop() {
        None | Some(Ok(Decision::Stored(_))) => sweep(path),
        // No room for a row: it was not acknowledged, and X stays for the next start.
        Some(Err(StoreError::Full)) => events::store_untidy(
            path,
            "the disk is full, so its row must wait for the next start",
        ),
        Some(Err(StoreError::Io(error))) => return Err(cannot("recover", path, &error)),
        // Its row has another digest. File and row stay; only the name in incoming/ goes.
        Some(Ok(Decision::LookAgain) | Err(_)) => {
            events::store_fault(
                &slot,
                "recover it",
                "its row in index.jsonl is of other bytes",
            );
            sweep(path);
        }
    }
    Ok(())
}

/// Removes a torn file. The name in incoming/ goes last: it is the record that the other is not whole.
///
///     unlink(episodes/<host>/<episode>)  fsync dir  unlink(X)
fn withdraw(layout: &Layout, path: &Path, slot: &Slot) -> io::Result<()> {
    durable::unlink(&layout.tarball(slot))?;
    durable::sync_dir(&layout.host_dir(&slot.host))?;
    sweep(path);
    Ok(())
}

fn sweep(path: &Path) {
    if let Err(error) = durable::unlink(path) {
        events::store_untidy(path, error);
    }
}

fn set_aside(layout: &Layout, path: &Path, why: &str) {
    match layout.set_aside(path) {
        Ok(kept_as) => events::quarantined(path, &kept_as, why),
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
