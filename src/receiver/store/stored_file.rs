//! What a stored file is evidence of: its bytes, and the receipt that it carries as an attribute.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::ATTRIBUTE;
use super::layout::relative_tarball;
use crate::episode::{Meta, ReadError};
use crate::file_identity::FileIdentity;
use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};
use crate::{clock, durable, episode, sys};

/// A file whose every byte was read.
pub(super) struct Examined {
    pub file: File,
    pub identity: FileIdentity,
    pub bytes: u64,
    pub sha256: Sha256Digest,
}

/// Reads a file from end to end; `None` if there is none. `progress` hears of every block's bytes.
pub(super) fn examine(path: &Path, mut progress: impl FnMut(u64)) -> io::Result<Option<Examined>> {
    let file = match durable::open_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let identity = FileIdentity::of(&file.metadata()?);
    let mut hasher = Sha256::new();
    let mut block = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        match (&file).read(&mut block) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&block[..count]);
                bytes += count as u64;
                progress(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
    }
    Ok(Some(Examined {
        file,
        identity,
        bytes,
        sha256: Sha256Digest::from_bytes(hasher.finalize().into()),
    }))
}

/// The receipt that the file carries, if it is one of this slot and of as many bytes.
pub(super) fn carried_receipt(file: &File, slot: &Slot) -> io::Result<Option<Receipt>> {
    let bytes = file.metadata()?.len();
    let receipt = own_receipt(file, slot)?;
    Ok(receipt.filter(|receipt| receipt.bytes == Some(bytes)))
}

/// The receipt of this slot that the file carries, even if the file has another length now.
pub(super) fn own_receipt(file: &File, slot: &Slot) -> io::Result<Option<Receipt>> {
    let Some(text) = sys::get_xattr(file, ATTRIBUTE)? else {
        return Ok(None);
    };
    let receipt: Option<Receipt> = serde_json::from_slice(&text).ok();
    Ok(receipt.filter(|receipt| receipt.slot() == *slot))
}

/// The digest of the receipt that the file carries, if its bytes have another: a stored file never
/// changes, so these are damaged.
pub(super) fn lost_digest(
    file: &File,
    slot: &Slot,
    found: Sha256Digest,
) -> io::Result<Option<Sha256Digest>> {
    let carried = carried_receipt(file, slot)?;
    Ok(carried
        .map(|receipt| receipt.sha256)
        .filter(|sha256| *sha256 != found))
}

/// A row made by reading a file.
pub(super) struct Row {
    pub receipt: Receipt,
    /// Why its commit is not known, if it had to be read from the tarball and is not there.
    pub commit_unknown: Option<ReadError>,
}

/// The row of a file that was read and has none: the receipt that it carries, if that has these bytes'
/// digest, else one made from the file. Its time is then that of the last writing, the best known.
pub(super) fn row_of(examined: &Examined, slot: &Slot) -> io::Result<Row> {
    let carried = carried_receipt(&examined.file, slot)?;
    if let Some(receipt) = carried.filter(|receipt| receipt.sha256 == examined.sha256) {
        return Ok(Row {
            receipt,
            commit_unknown: None,
        });
    }
    let written = examined.file.metadata()?.modified();
    let read = read_meta(&examined.file)?;
    let (commit, dirty) = match &read {
        Ok(meta) => (Some(meta.commit), meta.dirty),
        Err(_) => (None, None),
    };
    let receipt = Receipt {
        seq: None,
        host: slot.host.clone(),
        episode: slot.episode.clone(),
        bytes: Some(examined.bytes),
        sha256: examined.sha256,
        commit,
        dirty,
        received_at: Some(clock::rfc3339(written.unwrap_or(SystemTime::UNIX_EPOCH))),
        path: Some(relative_tarball(slot)),
        gate: None,
    };
    Ok(Row {
        receipt,
        commit_unknown: read.err(),
    })
}

/// Reads the `meta.json` in the tarball, which names the commit of the code that made it.
fn read_meta(file: &File) -> io::Result<Result<Meta, ReadError>> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    Ok(episode::read_meta(file))
}
