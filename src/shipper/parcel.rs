//! A small episode that is sent in a burst: its tarball is in memory and not in outbox/.
//!
//! Nothing that the design promises needs such a tarball on the disk. It is there to be sent, its directory
//! stays in episodes/ until the answer is there, and packing is deterministic: after a crash or a power cut
//! the same directory gives the same bytes, and the receiver answers them with 200. So there is no torn
//! tarball, none that has to be swept, and none of the five syncs of packing. A tarball of an earlier
//! shipper, which lies in outbox/, is read from there and sent only if it still has its digest.
//!
//! What packing into outbox/ does beyond that, to put an episode on the disk that its recorder did not sync,
//! matters while the episode waits. In a burst none waits: the receiver has just accepted another one.
//! (`packing` has those that do wait, for a receiver that is away.)

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::client::Upload;
use super::endings::Endings;
use super::entry::{Entry, Stage};
use super::outbox::{self, Seal};
use super::prefetch::Packing;
use super::stop::Stop;
use super::upload_body::Tarball;
use crate::durable;
use crate::episode::Meta;
use crate::names::{HostId, Sha256Digest};
use crate::wire::Slot;

/// A tarball of at most this many bytes is small (design, section 5).
pub(super) const SMALL_BYTES_MAX: u64 = 1 << 20;
/// Episodes of at most this many bytes are packed in memory, to see whether their tarballs are small.
const UNPACKED_BYTES_MAX: u64 = 4 << 20;

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
    /// The episode is not small, or waits for another try.
    Stays(Box<Entry>),
    /// It can never be packed, and has gone to refused/.
    HasLeft,
}

impl NoParcel {
    fn stays(entry: Entry) -> NoParcel {
        NoParcel::Stays(Box::new(entry))
    }
}

/// Whether an episode is small, or may turn out to be.
pub(super) fn may_be_small(entry: &Entry) -> bool {
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
        stop: &Stop,
        endings: &mut Endings,
    ) -> Result<Parcel, NoParcel> {
        let slot = Slot {
            host: host.clone(),
            episode: entry.id.clone(),
        };
        let (entry, bytes, has_file) = match entry.stage() {
            Stage::Packed(_, seal) => read(entry, &seal, endings)?,
            Stage::Recorded(_) | Stage::Found => pack(entry, stop, endings)?,
        };
        match entry.stage() {
            Stage::Packed(inspected, seal) if seal.bytes <= SMALL_BYTES_MAX => {
                let content = Content {
                    slot,
                    meta: inspected.meta,
                    seal,
                    has_file,
                    bytes,
                };
                Ok(Parcel { entry, content })
            }
            _ => Err(NoParcel::stays(entry)),
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

/// Packs an episode in memory. A tarball that is not small goes to outbox/ after all, so that it is not
/// made twice.
fn pack(entry: Entry, stop: &Stop, endings: &mut Endings) -> Result<Made, NoParcel> {
    let begun = Instant::now();
    let mut progress = |_, _| {
        if stop.is_set() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let made_from = entry.identity;
    let packed = outbox::pack_in_memory(&endings.root, &entry.id, made_from, &mut progress);
    let mut bytes = Vec::new();
    let result = packed.and_then(|(seal, meta, packed)| {
        if seal.bytes > SMALL_BYTES_MAX {
            outbox::keep(&endings.root, &entry.id, &seal, &packed)?;
        }
        bytes = packed;
        Ok((seal, meta))
    });
    let packing = Packing {
        made_from,
        result,
        took: begun.elapsed(),
    };
    let entry = endings.packed(entry, packing).ok_or(NoParcel::HasLeft)?;
    Ok((entry, bytes, false))
}
