//! One upload under way: a file in incoming/ that is filled, checked and then stored.
//!
//!     in one block   create(X)            write  attribute  write out the committer's order, which syncs X
//!     larger         create(X)  allocate  write  attribute  fsync(X)  the committer's order
//!
//! 1. Owning an `Upload` is owning its file and its share of the disk; dropping it returns both.
//!    One clean-up for every way out.
//! 2. A published file has the stated length and digest; a body that ended early is an error, never
//!    a small file.
//! 3. A failed fsync is not tried again: the upload is dropped, and the sender comes again.
//!
//! An upload whose body has broken off can be suspended, and resumed later in this process: `suspended`.

mod suspended;

pub(crate) use self::suspended::{NotResumed, Suspended};

use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::buffers::{Block, LARGE_BYTES, SMALL_BYTES, Share};
use super::commit_queue::Expected;
use super::commit_request::{CommitRequest, Decision, Placement};
use super::layout::relative_tarball;
use super::partial_file::PartialFile;
use super::space::Reservation;
use super::stored_file::{self, Examined};
use super::writer::{self, Filled, Writer, is_small};
use super::{ATTRIBUTE, Published, Store, StoreError};
use crate::names::Sha256Digest;
use crate::receiver::Claim;
use crate::wire::{GatePlace, Receipt};
use crate::{clock, durable, events};

/// How often we look again at a name that keeps changing before that is our fault.
const LOOKS_MAX: u32 = 8;

pub(crate) struct Upload {
    store: Arc<Store>,
    claim: Claim,
    place: Option<GatePlace>,
    file: Arc<File>,
    partial: PartialFile,
    writer: Writer,
    hasher: Sha256,
    /// Bytes of the body that were taken so far.
    received: u64,
    /// The whole blocks among them.
    whole: WholeBlocks,
    share: Share,
    /// Since all bytes are here: the committer may wait for this upload, for a moment.
    expected: Option<Expected>,
    /// Held only while bytes are at hand.
    filling: Option<Block>,
    filled: usize,
    /// How many of the filled bytes are hashed.
    hashed: usize,
}

/// How far a large body was received in whole blocks, and the state of its hash there.
#[derive(Clone, Default)]
struct WholeBlocks {
    hasher: Sha256,
    bytes: u64,
}

/// The file of an upload, ready for bytes.
struct Incoming {
    file: Arc<File>,
    partial: PartialFile,
    writer: Writer,
}

impl Upload {
    /// Takes the space, and makes the file. Called by `Store::begin`.
    pub(super) fn begin(
        store: &Arc<Store>,
        claim: Claim,
        place: Option<GatePlace>,
    ) -> Result<Upload, StoreError> {
        let begun = open_incoming(store, &claim).and_then(|(file, partial, reservation)| {
            let path = partial.path().unwrap_or(store.data_dir());
            let writer = Writer::new(file.clone(), path, claim.bytes, 0, reservation)?;
            Ok(Incoming {
                file,
                partial,
                writer,
            })
        });
        let incoming =
            begun.map_err(|error| fault_of_incoming(store, &claim, "begin an upload", error))?;
        let nothing = WholeBlocks::default();
        Ok(Upload::of(store, claim, place, incoming, nothing))
    }

    /// An upload that has received `whole` into its file.
    fn of(
        store: &Arc<Store>,
        claim: Claim,
        place: Option<GatePlace>,
        incoming: Incoming,
        whole: WholeBlocks,
    ) -> Upload {
        Upload {
            share: store.buffers.open(),
            store: store.clone(),
            claim,
            place,
            file: incoming.file,
            partial: incoming.partial,
            writer: incoming.writer,
            hasher: whole.hasher.clone(),
            received: whole.bytes,
            whole,
            expected: None,
            filling: None,
            filled: 0,
            hashed: 0,
        }
    }

    /// Bytes of the body that were received so far.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of the body that are still to come.
    pub(crate) fn missing(&self) -> u64 {
        self.claim.bytes - self.received
    }

    /// Room for bytes that are about to be read from the socket: never more than the body still
    /// has, and empty only when it is complete. May wait for memory that other uploads hold.
    pub(crate) fn buffer(&mut self) -> Result<&mut [u8], StoreError> {
        let wanted = self.next_block_bytes();
        let missing = usize::try_from(self.missing()).unwrap_or(usize::MAX);
        let block = match self.filling.take() {
            Some(block) => block,
            None => self
                .share
                .take(wanted)
                .map_err(|error| fault(&self.claim, "get memory for a body", error))?,
        };
        let room = &mut self.filling.insert(block).as_mut_slice()[self.filled..];
        let end = room.len().min(missing);
        Ok(&mut room[..end])
    }

    /// The first `count` bytes of [`Upload::buffer`] were filled.
    pub(crate) fn advance(&mut self, count: usize) -> Result<(), StoreError> {
        let Some(block) = &self.filling else {
            return Ok(());
        };
        let block_bytes = block.bytes();
        let end = block_bytes.min(self.filled + count);
        self.received += (end - self.filled) as u64;
        if writer::is_hashed_as_it_comes(self.claim.bytes, self.received) {
            self.hasher.update(&block.as_slice()[self.filled..end]);
            self.hashed = end;
        }
        self.filled = end;
        self.note_whole_blocks();
        if self.missing() == 0 && is_small(self.claim.bytes) {
            self.expected = Some(self.store.commit_queue.expect());
        }
        if end == block_bytes || self.missing() == 0 {
            self.hand_over()?;
        }
        Ok(())
    }

    /// The socket has nothing now: gives up the memory, so that a stalled peer holds none.
    ///
    /// To be called when a short wait has brought no bytes, not after every read: what the block
    /// holds is written as it is.
    pub(crate) fn rest(&mut self) -> Result<(), StoreError> {
        self.hand_over()
    }

    /// Checks length and digest, and stores the episode. When this is `Ok`, the file, its name and
    /// its row are on the disk. The name in incoming/ is to be dropped after the answer.
    ///
    /// Errors: nothing of the upload is left, but for a row if its file could not be synced; or the
    /// process is about to end.
    pub(crate) fn publish(mut self) -> Result<(Published, PartialFile), StoreError> {
        self.hand_over()?;
        self.writer
            .finish()
            .map_err(|error| self.fault_of_incoming("write the body", error))?;
        self.check()?;
        let receipt = self.receipt();
        let is_synced = self
            .seal(&receipt)
            .map_err(|error| self.fault_of_incoming("sync the body", error))?;
        self.commit(receipt, is_synced)
    }

    /// Blocks end at multiples of their size, also after a rest, so that direct writes stay aligned.
    fn next_block_bytes(&self) -> usize {
        if writer::is_large(self.claim.bytes) {
            return LARGE_BYTES - (self.received % LARGE_BYTES as u64) as usize;
        }
        usize::try_from(self.missing()).map_or(SMALL_BYTES, |missing| missing.min(SMALL_BYTES))
    }

    /// A large body can go on from here, should it break off behind this. No block reaches beyond the end
    /// of a whole one, so each of these ends is seen.
    fn note_whole_blocks(&mut self) {
        if writer::is_large(self.claim.bytes) && self.received.is_multiple_of(LARGE_BYTES as u64) {
            self.whole = WholeBlocks {
                hasher: self.hasher.clone(),
                bytes: self.received,
            };
        }
    }

    fn hand_over(&mut self) -> Result<(), StoreError> {
        let length = mem::take(&mut self.filled);
        let hashed = mem::take(&mut self.hashed);
        let Some(block) = self.filling.take() else {
            return Ok(());
        };
        if length == 0 {
            return Ok(());
        }
        let written = self.writer.write(Filled { block, length });
        let written = written.map_err(|error| self.fault_of_incoming("write the body", error))?;
        // The disk may be writing the block meanwhile.
        if let Some(filled) = written {
            self.hasher.update(&filled.bytes()[hashed..]);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.missing() > 0 {
            return Err(StoreError::CutShort {
                found: self.received,
            });
        }
        let found = Sha256Digest::from_bytes(self.hasher.clone().finalize().into());
        if found != self.claim.sha256 {
            return Err(StoreError::DigestMismatch { found });
        }
        Ok(())
    }

    fn receipt(&self) -> Receipt {
        let claim = &self.claim;
        Receipt {
            seq: None,
            host: claim.slot.host.clone(),
            episode: claim.slot.episode.clone(),
            bytes: Some(claim.bytes),
            sha256: claim.sha256,
            commit: claim.commit,
            dirty: Some(claim.dirty),
            received_at: Some(clock::rfc3339(SystemTime::now())),
            path: Some(relative_tarball(&claim.slot)),
            gate: self.place.clone(),
        }
    }

    /// Gives the file its receipt, and syncs it unless the committer does: true if it is on the disk. The
    /// bytes of a file that is not synced yet are written out.
    ///
    /// A small file may be linked before it is synced, since recovery can compare it with the receipt
    /// that it carries. Without attributes there is none, and it is synced first.
    fn seal(&self, receipt: &Receipt) -> io::Result<bool> {
        let text = serde_json::to_vec(receipt)?;
        let carries_receipt = match durable::set_attribute(&self.file, ATTRIBUTE, &text) {
            Ok(()) => true,
            // Said once at start.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(error) => return Err(error),
        };
        if carries_receipt && is_small(self.claim.bytes) {
            durable::write_out(&self.file)?;
            return Ok(false);
        }
        durable::sync_file(&self.file)?;
        Ok(true)
    }

    /// Asks the committer until the request fits the file that has the name.
    fn commit(
        mut self,
        receipt: Receipt,
        is_synced: bool,
    ) -> Result<(Published, PartialFile), StoreError> {
        let mut receipt = receipt;
        let mut placement = Placement::Link;
        for _ in 0..LOOKS_MAX {
            match self.ask_committer(&receipt, placement, is_synced)? {
                Decision::Stored(published) => {
                    self.store.condition.went_through();
                    return Ok((*published, mem::take(&mut self.partial)));
                }
                Decision::LookAgain => (receipt, placement) = self.look(receipt)?,
            }
        }
        let error = io::Error::other("the file under its name kept changing, or cannot be read");
        Err(fault(&self.claim, "store the episode", error))
    }

    fn ask_committer(
        &mut self,
        receipt: &Receipt,
        placement: Placement,
        is_synced: bool,
    ) -> Result<Decision, StoreError> {
        let request = CommitRequest {
            receipt: receipt.clone(),
            placement,
            incoming: self.partial.path().map(Path::to_owned),
        };
        let is_own_file = !matches!(placement, Placement::Keep(_));
        let unsynced = (is_own_file && !is_synced).then_some(&*self.file);
        // Without an answer, be it by a panic, the process ends, and recovery needs the name.
        self.partial.in_doubt();
        let queue = &self.store.commit_queue;
        let expected = self.expected.take().unwrap_or_else(|| queue.expect());
        let Some(answer) = queue.commit(expected, request, unsynced) else {
            let error = io::Error::other("the committer has stopped");
            return Err(fault(&self.claim, "store the episode", error));
        };
        self.partial.settled();
        answer.map_err(|why| match why {
            StoreError::Io(error) => fault(&self.claim, "store the episode", error),
            other => other,
        })
    }

    /// A file stands under the name: reads all of it, here and not in the committer, and says what
    /// is to be done about it, and under which row.
    fn look(&self, receipt: Receipt) -> Result<(Receipt, Placement), StoreError> {
        let tarball = self.store.layout.tarball(&self.claim.slot);
        let found = stored_file::examine(&tarball, |_| ())
            .map_err(|error| fault(&self.claim, "read what is stored under the name", error))?;
        let Some(found) = found else {
            return Ok((receipt, Placement::Link));
        };
        let of_reading = |error| fault(&self.claim, "read what is stored under the name", error);
        if found.sha256 == self.claim.sha256 {
            let receipt = self.vouch(&found, receipt);
            return receipt
                .map(|receipt| (receipt, Placement::Keep(found.identity)))
                .map_err(|error| fault(&self.claim, "sync what is stored under the name", error));
        }
        // Only its own row, or without one its own receipt, can say that a stored file is damaged. What
        // any row is of is not.
        let mut rows = self.store.rows_of(&self.claim.slot).map_err(of_reading)?;
        if rows.is_empty() {
            let own = stored_file::own_receipt(&found.file, &self.claim.slot);
            rows.extend(own.map_err(of_reading)?);
        }
        let is_of = |digest| rows.iter().any(|row| row.sha256 == digest);
        if is_of(self.claim.sha256) && !is_of(found.sha256) {
            return Ok((receipt, Placement::Replace(found.identity)));
        }
        Err(StoreError::Taken)
    }

    fn fault_of_incoming(&self, doing: &str, error: io::Error) -> StoreError {
        fault_of_incoming(&self.store, &self.claim, doing, error)
    }

    /// Makes sure of a file that has our bytes. If it carries a receipt, that was the first.
    fn vouch(&self, found: &Examined, receipt: Receipt) -> io::Result<Receipt> {
        durable::sync_file(&found.file)?;
        let carried = stored_file::carried_receipt(&found.file, &self.claim.slot)?;
        let first = carried.filter(|carried| carried.sha256 == receipt.sha256);
        Ok(first.unwrap_or(receipt))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The writing thread ends before the file's name goes: nothing of this upload lives on.
        let _ = self.writer.finish();
    }
}

fn open_incoming(
    store: &Store,
    claim: &Claim,
) -> io::Result<(Arc<File>, PartialFile, Reservation)> {
    // Its own write says at once that the disk or a quota is full: fallocate would say it no sooner
    // than a moment before, and costs a fifth of small uploads.
    if is_small(claim.bytes) {
        let reservation = store.space_budget.reserve(claim.bytes)?;
        let (path, file) = create(store, claim)?;
        return Ok((Arc::new(file), PartialFile::new(path), reservation));
    }
    let mut partial = PartialFile::default();
    let (file, reservation) = store.space_budget.take(claim.bytes, || {
        let (path, file) = create(store, claim)?;
        partial = PartialFile::new(path);
        Ok(file)
    })?;
    Ok((Arc::new(file), partial, reservation))
}

/// A name that no other upload has, and no left-over that recovery could not remove.
fn create(store: &Store, claim: &Claim) -> io::Result<(PathBuf, File)> {
    loop {
        let n = store.uploads_begun.fetch_add(1, Ordering::Relaxed) + 1;
        let path = store.layout.partial(&claim.slot, n);
        match durable::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
            Ok(file) => return Ok((path, file)),
        }
    }
}

/// As [`fault`], and health hears of it: other uploads will fail like this one.
fn fault_of_incoming(store: &Store, claim: &Claim, doing: &str, error: io::Error) -> StoreError {
    if !durable::is_full(&error) {
        store.condition.failed(doing, &error);
    }
    fault(claim, doing, error)
}

/// No room is the operator's business and a 507; anything else is ours, logged here.
fn fault(claim: &Claim, doing: &str, error: io::Error) -> StoreError {
    if durable::is_full(&error) {
        return StoreError::Full;
    }
    events::store_fault(&claim.slot, doing, &error);
    StoreError::Io(error)
}
