//! A small episode that is sent in a burst: its tarball is in memory and not in outbox/.
//!
//! Nothing that the design promises needs such a tarball on the disk. It is there to be sent, its directory
//! stays in episodes/ until the answer is there, and packing is deterministic: the same directory gives the
//! same bytes, and the receiver answers them with 200. After a crash of the shipper the directory is the same.
//! After a power cut that holds only for what the recorder had synced: of the rest, the directory may have
//! lost what was sent before. Then it gives other bytes, the receiver answers them with 409, and the shipper
//! sets the episode aside in refused/. Nothing is lost: the receiver has the bytes that were sent. So there is
//! no torn tarball, none that has to be swept, and none of the five syncs of packing. A tarball of an earlier
//! shipper, which lies in outbox/, is read from there and sent only if it still has its digest.
//!
//! What packing into outbox/ does beyond that, to put an episode on the disk that its recorder did not sync,
//! matters while the episode waits. In a burst none waits: the receiver has just accepted another one.
//! (`packing` has those that do wait, for a receiver that is away.)

use std::io::{self, Read};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::client::Upload;
use super::endings::Endings;
use super::entry::{Entry, Stage};
use super::outbox::{self, MemoryBounds, PackFault, Seal};
use super::prefetch::Packing;
use super::stop::Stop;
use super::upload_body::Tarball;
use crate::durable;
use crate::episode::{Compressor, Meta};
use crate::names::{HostId, Sha256Digest};
use crate::wire::Slot;

/// A tarball of at most this many bytes is small (design, section 5).
pub(super) const SMALL_BYTES_MAX: u64 = 1 << 20;
/// Episodes of at most this many bytes are packed in memory, to see whether their tarballs are small.
const UNPACKED_BYTES_MAX: u64 = 4 << 20;
const MEMORY_BOUNDS: MemoryBounds = MemoryBounds {
    packed: SMALL_BYTES_MAX,
    unpacked: UNPACKED_BYTES_MAX,
};

/// A small episode with its tarball.
pub(super) struct Parcel {
    pub entry: Entry,
    pub content: Content,
}

/// What is sent of it.
pub(super) struct Content {
    pub slot: Slot,
    pub meta: Meta,
    pub seal: Seal,
    /// The same tarball lies in outbox/.
    pub has_file: bool,
    bytes: Vec<u8>,
}

/// Why there is no parcel.
pub(super) enum NoParcel {
    /// The episode waits for another try.
    Stays(Box<Entry>),
    /// It is not small, or can never be packed: no burst goes on beside it.
    GoesAlone(Box<Entry>),
}

impl NoParcel {
    fn stays(entry: Entry) -> NoParcel {
        NoParcel::Stays(Box::new(entry))
    }

    fn goes_alone(mut entry: Entry) -> NoParcel {
        entry.set_alone();
        NoParcel::GoesAlone(Box::new(entry))
    }
}

/// Whether an episode is small, or may turn out to be.
pub(super) fn may_be_small(entry: &Entry) -> bool {
    if entry.goes_alone() {
        return false;
    }
    match entry.stage() {
        Stage::Found => false,
        Stage::Recorded(inspected) => inspected.bytes <= UNPACKED_BYTES_MAX,
        Stage::Packed(_, seal) => seal.bytes <= SMALL_BYTES_MAX,
    }
}

impl Parcel {
    /// Reads or makes the tarball.
    pub(super) fn make(
        entry: Entry,
        host: &HostId,
        compressor: &mut Compressor,
        stop: &Stop,
        endings: &mut Endings,
    ) -> Result<Parcel, NoParcel> {
        let slot = Slot {
            host: host.clone(),
            episode: entry.id.clone(),
        };
        let (entry, bytes, has_file) = match entry.stage() {
            // It was packed ahead, and nobody knew how large it would be.
            Stage::Packed(_, seal) if seal.bytes > SMALL_BYTES_MAX => {
                return Err(NoParcel::goes_alone(entry));
            }
            Stage::Packed(_, seal) => read(entry, &seal, endings)?,
            Stage::Recorded(_) | Stage::Found => pack(entry, compressor, stop, endings)?,
        };
        match entry.stage() {
            Stage::Packed(inspected, seal) => {
                let content = Content {
                    slot,
                    meta: inspected.meta,
                    seal,
                    has_file,
                    bytes,
                };
                Ok(Parcel { entry, content })
            }
            Stage::Found | Stage::Recorded(_) => Err(NoParcel::stays(entry)),
        }
    }

    /// The entry alone, of an episode that was not sent.
    pub(super) fn into_entry(self) -> Entry {
        let mut entry = self.entry;
        if !self.content.has_file {
            entry.set_unpacked();
        }
        entry
    }
}

impl Content {
    pub(super) fn upload(&self) -> Upload<'_> {
        Upload {
            slot: &self.slot,
            commit: self.meta.commit,
            dirty: self.meta.dirty == Some(true),
            sha256: self.seal.sha256,
            bytes: self.seal.bytes,
            tarball: Tarball::Memory(&self.bytes),
        }
    }
}

/// An episode, its tarball, and whether the tarball lies in outbox/.
type Made = (Entry, Vec<u8>, bool);

/// Reads a tarball that lies in outbox/.
fn read(mut entry: Entry, seal: &Seal, endings: &mut Endings) -> Result<Made, NoParcel> {
    let read = || -> io::Result<Vec<u8>> {
        let file = durable::open_regular(&outbox::tarball(&endings.root, &entry.id))?;
        let mut bytes = Vec::new();
        file.take(SMALL_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let why = match read() {
        Ok(bytes) => {
            let sha256 = Sha256Digest::from_bytes(Sha256::digest(&bytes).into());
            if sha256 == seal.sha256 {
                return Ok((entry, bytes, true));
            }
            "its tarball is damaged on this disk: it is packed again".to_owned()
        }
        Err(error) => format!("cannot read its tarball: {error}"),
    };
    endings.repack(&mut entry, &why);
    Err(NoParcel::stays(entry))
}

/// Packs an episode in memory. One whose tarball is not small, or that can never be packed, is left to the
/// loop: it writes to outbox/ and moves to refused/ only while there is no burst.
fn pack(
    entry: Entry,
    compressor: &mut Compressor,
    stop: &Stop,
    endings: &mut Endings,
) -> Result<Made, NoParcel> {
    let begun = Instant::now();
    let made_from = entry.identity;
    let packed = outbox::pack_in_memory(
        &endings.root,
        &entry.id,
        made_from,
        MEMORY_BOUNDS,
        compressor,
        stop,
    );
    let mut bytes = Vec::new();
    let result = match packed {
        Ok(None) | Err(PackFault::Unfit { .. }) => return Err(NoParcel::goes_alone(entry)),
        Ok(Some((seal, meta, packed))) => {
            bytes = packed;
            Ok((seal, meta))
        }
        Err(fault) => Err(fault),
    };
    let packing = Packing {
        made_from,
        result,
        took: begun.elapsed(),
    };
    match endings.packed(entry, packing) {
        Some(entry) => Ok((entry, bytes, false)),
        None => unreachable!("an unfit episode goes alone"),
    }
}
