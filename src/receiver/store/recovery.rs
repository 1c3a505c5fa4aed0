//! Settles the files that the last run left in incoming/, before a new upload comes in.
//!
//! Each `incoming/X` is a record of intent. If its final name is the same file (device and inode;
//! a link count alone proves nothing, since backups make links), it was published and may have been
//! acknowledged: its row and all syncs are done again by the committer's own code. Else it is swept.
//!
//! 1. A small file is linked before it is synced, so a power cut may have torn it. It is read from the
//!    disk and compared with the receipt that it carries. A torn one was never acknowledged: both its
//!    names go, its row stays if it has one, and its sender comes again.
//! 2. A file with a name that no upload of ours has goes to quarantine/, and so does a published file
//!    that nothing vouches for or that the disk cannot read. Neither is a reason not to start, nor blocks
//!    the name.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;

use super::commit_request::{CommitRequest, Decision, Placement};
use super::committer::Committer;
use super::index::Index;
use super::layout::{Layout, slot_of_partial};
use super::stored_file::{self, Examined};
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
            Found::Doubtful(why) => {
                // Without its name in incoming/ nobody would look at it again.
                if set_aside(layout, &layout.tarball(&slot), &why) {
                    sweep(&path);
                }
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
    /// Why nobody can say whether its bytes are the right ones.
    Doubtful(String),
}

/// Syncs the file, and reads it if it may be torn.
fn examine(layout: &Layout, has_attributes: bool, index: &Index, slot: &Slot) -> io::Result<Found> {
    let tarball = layout.tarball(slot);
    let file = durable::open_regular(&tarball)?;
    durable::sync_file(&file)?;
    let own = stored_file::own_receipt(&file, slot)?;
    let length = file.metadata()?.len();
    let stated = own.as_ref().and_then(|receipt| receipt.bytes);
    let is_small = is_small(stated.unwrap_or(length));
    // A larger file was synced before its link, and carries its receipt where files can.
    if !is_small && let Some(receipt) = stored_file::carried_receipt(&file, slot)? {
        return Ok(Found::Whole(Box::new(receipt)));
    }
    let examined = match read_back(&file, &tarball) {
        Ok(examined) => examined,
        Err(error) => {
            let why = format!("it was being stored, and cannot be read: {error}");
            return Ok(Found::Doubtful(why));
        }
    };
    if !is_small {
        return whole(&examined, slot);
    }
    if let Some(receipt) = own {
        return Ok(if receipt.sha256 == examined.sha256 {
            Found::Whole(Box::new(receipt))
        } else {
            Found::Torn
        });
    }
    by_rows(index.rows_of(slot)?, &examined, has_attributes, slot)
}

/// Reads the file past the page cache, which may show bytes that the kernel could not write.
fn read_back(file: &File, tarball: &Path) -> io::Result<Examined> {
    durable::step("read back")?;
    sys::forget_cached(file);
    let examined = stored_file::examine(tarball, |_| ())?;
    examined.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A small file that carries no receipt, by the rows of its name.
fn by_rows(
    rows: Vec<Receipt>,
    examined: &Examined,
    has_attributes: bool,
    slot: &Slot,
) -> io::Result<Found> {
    let has_rows = !rows.is_empty();
    let row = rows.into_iter().rfind(|row| row.sha256 == examined.sha256);
    if let Some(row) = row {
        return Ok(Found::Whole(Box::new(row)));
    }
    match (has_attributes, has_rows) {
        (true, true) => Ok(Found::Torn),
        (true, false) => Ok(Found::Doubtful(
            "it was being stored, and neither a receipt nor a row says which bytes".to_owned(),
        )),
        // It was synced before its link, if files carried no receipts then either: it may have been
        // acknowledged, so it is kept.
        (false, true) => Ok(Found::Doubtful(
            "it was being stored, and its row is of other bytes".to_owned(),
        )),
        (false, false) => whole(examined, slot),
    }
}

/// A file that was synced before it was linked, and carries no receipt: its row is made from the file.
fn whole(examined: &Examined, slot: &Slot) -> io::Result<Found> {
    let row = stored_file::row_of(examined, slot)?;
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

/// False if the file may still have its name after a power cut.
fn set_aside(layout: &Layout, path: &Path, why: &str) -> bool {
    match layout.set_aside(path) {
        Ok(kept_as) => {
            events::quarantined(path, &kept_as, why);
            true
        }
        Err(error) => {
            events::store_untidy(path, error);
            false
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::store::testing::Folder;

    /// Without attributes too, a row says which bytes a small file should have.
    #[test]
    fn a_file_without_a_receipt_is_compared_with_its_row() {
        let folder = Folder::new("recovery");
        let tarball = folder.path().join("x");
        fs::write(&tarball, "bytes").unwrap();
        let slot = Slot::parse("a/x").unwrap();
        let found = |digests: &[String], has_attributes: bool| {
            let rows = digests.iter().map(|sha256| {
                let text = format!(r#"{{"host":"a","episode":"x","sha256":"{sha256}"}}"#);
                serde_json::from_str(&text).unwrap()
            });
            let examined = stored_file::examine(&tarball, |_| ()).unwrap().unwrap();
            let found = by_rows(rows.collect(), &examined, has_attributes, &slot);
            match found.unwrap() {
                Found::Whole(receipt) => receipt.sha256.to_string(),
                Found::Torn => "torn".to_owned(),
                Found::Doubtful(why) => why,
            }
        };
        let examined = stored_file::examine(&tarball, |_| ()).unwrap().unwrap();
        let own = examined.sha256.to_string();
        let other = "1".repeat(64);
        for has_attributes in [false, true] {
            let of_both = [own.clone(), other.clone()];
            assert_eq!(found(&of_both, has_attributes), own);
        }
        assert_eq!(found(&[], false), own);
        assert!(found(&[], true).contains("neither a receipt nor a row"));
        assert!(found(std::slice::from_ref(&other), false).contains("of other bytes"));
        assert_eq!(found(&[other], true), "torn");
    }
}
