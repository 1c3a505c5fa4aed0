//! What is here of the receiver's rows: the files under the names of their tarballs, and their receipts.

use super::Step;
use super::end::End;
use super::folder::{Folder, Found, digest_of, look};
use super::receipts::{Known, Receipts};
use super::row::Row;
use crate::wire::Slot;

/// What a row needs.
pub(super) enum Needs {
    Nothing,
    Work { is_there: bool },
    APerson(String),
}

/// What a row needs of which the receipt says this, if there is one. In a host's folder that
/// `was_empty` nothing is looked for.
pub(super) fn needs(
    folder: &Folder,
    known: Option<Known>,
    row: &Row,
    was_empty: bool,
) -> Result<Needs, End> {
    if known.is_some_and(|known| known.sha256 != row.sha256) {
        return Ok(Needs::APerson(format!(
            "{}: the receiver has other bytes than the receipt here says: keep both apart: pull into another folder",
            row.slot
        )));
    }
    let bytes = known.map_or(row.bytes, |known| known.bytes);
    let found = if was_empty {
        Found::Nothing
    } else {
        look(&folder.tarball(&row.slot))?
    };
    Ok(match found {
        Found::Nothing => Needs::Work { is_there: false },
        Found::File { bytes: there } if bytes.is_none_or(|bytes| bytes == there) => match known {
            Some(_) => Needs::Nothing,
            None => Needs::Work { is_there: true },
        },
        Found::File { bytes: there } => {
            let bytes = bytes.unwrap_or_default();
            let why = format!("it has {there} bytes, and should have {bytes}");
            Needs::APerson(in_the_way(folder, &row.slot, &why))
        }
        Found::Other(kind) => {
            let why = format!("it is {kind} and not a file");
            Needs::APerson(in_the_way(folder, &row.slot, &why))
        }
    })
}

/// Reads each file that has a receipt; what is wrong with any.
pub(super) fn verify(
    folder: &Folder,
    receipts: &Receipts,
    tell: &mut dyn FnMut(Step),
) -> Result<Vec<String>, End> {
    let mut wrong = Vec::new();
    let all: u64 = receipts.all().filter_map(|(_, known)| known.bytes).sum();
    tell(Step::More(all));
    for (slot, known) in receipts.all() {
        let path = folder.tarball(slot);
        // Of those that are not here, or have another length, the list's rows find out.
        if let Found::File { bytes } = look(&path)?
            && known.bytes.is_none_or(|known| known == bytes)
            && digest_of(&path)? != known.sha256
        {
            let why = "its SHA-256 is not that of its receipt";
            wrong.push(in_the_way(folder, slot, why));
        }
        tell(Step::Bytes(known.bytes.unwrap_or(0)));
    }
    Ok(wrong)
}

/// The words for a file that is not what it should be.
pub(super) fn in_the_way(folder: &Folder, slot: &Slot, why: &str) -> String {
    let path = folder.tarball(slot);
    let path = path.display();
    format!("{path}: {why}: it stays as it is; move it away, and pull again with --verify")
}
