//! Broken uploads that may go on (design, section 13), and the uploads under way that may come to be among
//! them.
//!
//! 1. At most `max_uploads` are kept, one of a name, each for an hour after its last byte. When a place
//!    or room on the disk is needed, the one with the oldest last byte goes.
//! 2. A kept upload has one owner: a request to go on takes it out of here, and a [`Ticket`] for its name
//!    comes in its place. So no file has two writers.
//! 3. The lock is held for no system call: coroutines take it. What leaves is dropped, which removes its
//!    file, by the plain thread that asked.

mod bounds;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use self::bounds::Bounds;
use super::guard::Cutter;
use super::reply_channel;
use crate::events;
use crate::names::Sha256Digest;
use crate::receiver::Claim;
use crate::receiver::store::Suspended;
use crate::sync::lock;
use crate::wire::Slot;

/// Why a kept upload is kept no longer, though nobody has gone on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Its last byte came too long ago.
    TooOld,
    /// Another needed its place.
    NoPlace,
    /// Another upload needed the room on the disk.
    NoRoom,
    /// A PUT of its name has brought a byte, or is stored.
    AnotherPut,
    /// Its file could not be used again.
    Failed,
    /// The receiver has stopped.
    Stopped,
}

impl GivenUp {
    const ALL: [GivenUp; 6] = [
        GivenUp::TooOld,
        GivenUp::NoPlace,
        GivenUp::NoRoom,
        GivenUp::AnotherPut,
        GivenUp::Failed,
        GivenUp::Stopped,
    ];

    /// As the log and the metrics have it.
    fn name(self) -> &'static str {
        match self {
            GivenUp::TooOld => "too-old",
            GivenUp::NoPlace => "no-place",
            GivenUp::NoRoom => "no-room",
            GivenUp::AnotherPut => "another-put",
            GivenUp::Failed => "failed",
            GivenUp::Stopped => "stopped",
        }
    }
}

pub(super) struct KeptUploads {
    kept_max: AtomicUsize,
    bounds: Bounds,
    state: Mutex<State>,
    /// How many are kept: read without the lock by every upload.
    count: AtomicUsize,
    resumed: AtomicU64,
    bytes_saved: AtomicU64,
    /// By the place of the reason in [`GivenUp::ALL`].
    given_up: [AtomicU64; GivenUp::ALL.len()],
}

#[derive(Default)]
struct State {
    kept: HashMap<Slot, Kept>,
    /// The newest upload of each name that may come to be kept.
    under_way: HashMap<Slot, UnderWay>,
    tickets: u64,
    is_closed: bool,
}

/// A broken upload.
pub(super) struct Kept {
    pub suspended: Suspended,
    pub last_byte: Instant,
    pub peer: IpAddr,
}

struct UnderWay {
    ticket: u64,
    sha256: Sha256Digest,
    /// Ends the connection of its body; `None` when all of the body is here.
    cutter: Option<Cutter>,
    /// Dropped when the upload has ended.
    waiting: Vec<reply_channel::Sender<()>>,
}

/// How far a kept upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes of its body that are here.
    pub offset: u64,
    /// Bytes of the whole body.
    pub bytes: u64,
}

/// Why there is nothing to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotKept {
    Nothing,
    /// An upload of these bytes has not ended yet.
    UnderWay,
    /// The rest begins elsewhere.
    OffsetIs(u64),
    /// The whole body has so many bytes.
    LengthIs(u64),
}

/// The place of an upload under way that may come to be kept. Dropping it says that the upload has ended.
pub(super) struct Ticket {
    uploads: Arc<KeptUploads>,
    slot: Slot,
    number: u64,
    /// Of an upload that goes on: when its last byte had come before.
    last_byte: Option<Instant>,
}

impl KeptUploads {
    pub(super) fn new(max_uploads: u32) -> Arc<KeptUploads> {
        Arc::new(KeptUploads {
            kept_max: AtomicUsize::new(max_uploads as usize),
            bounds: Bounds::in_tests(),
            state: Mutex::default(),
            count: AtomicUsize::new(0),
            resumed: AtomicU64::new(0),
            bytes_saved: AtomicU64::new(0),
            given_up: [const { AtomicU64::new(0) }; GivenUp::ALL.len()],
        })
    }

    /// A PUT has brought its first byte: a kept upload of its name is given up. A ticket if the PUT may come
    /// to be kept itself. For plain threads only.
    pub(super) fn begin(self: &Arc<Self>, claim: &Claim, cutter: Cutter) -> Option<Ticket> {
        let may_be_kept = claim.bytes >= self.bounds.bytes_min;
        if !may_be_kept && self.count() == 0 {
            return None;
        }
        let mut state = self.lock();
        let kept = state.kept.remove(&claim.slot);
        self.note_count(&state);
        let ticket = may_be_kept.then(|| self.ticket(&mut state, claim, cutter, None));
        drop(state);
        self.give_up(kept, GivenUp::AnotherPut);
        ticket
    }

    /// Takes the kept upload of the claim's name and digest out, if the rest begins at `offset`.
    pub(super) fn take(
        self: &Arc<Self>,
        claim: &Claim,
        offset: u64,
        cutter: Cutter,
    ) -> Result<(Ticket, Kept), NotKept> {
        let mut state = self.lock();
        self.judge(&state, claim, offset)?;
        let Some(kept) = state.kept.remove(&claim.slot) else {
            return Err(NotKept::Nothing);
        };
        self.note_count(&state);
        let last_byte = Some(kept.last_byte);
        let ticket = self.ticket(&mut state, claim, cutter, last_byte);
        Ok((ticket, kept))
    }

    fn ticket(
        self: &Arc<Self>,
        state: &mut State,
        claim: &Claim,
        cutter: Cutter,
        last_byte: Option<Instant>,
    ) -> Ticket {
        state.tickets += 1;
        let under_way = UnderWay {
            ticket: state.tickets,
            sha256: claim.sha256,
            cutter: Some(cutter),
            waiting: Vec::new(),
        };
        // An older upload of the name loses its place: nobody would go on with it.
        state.under_way.insert(claim.slot.clone(), under_way);
        Ticket {
            uploads: Arc::clone(self),
            slot: claim.slot.clone(),
            number: state.tickets,
            last_byte,
        }
    }

    /// Whether the rest of the claim's body may come, beginning at `offset`. No system call.
    pub(super) fn look(&self, claim: &Claim, offset: u64) -> Result<(), NotKept> {
        self.judge(&self.lock(), claim, offset)
    }

    fn judge(&self, state: &State, claim: &Claim, offset: u64) -> Result<(), NotKept> {
        let progress = self.progress_in(state, &claim.slot, &claim.sha256)?;
        if progress.offset != offset {
            return Err(NotKept::OffsetIs(progress.offset));
        }
        if progress.bytes != claim.bytes {
            return Err(NotKept::LengthIs(progress.bytes));
        }
        Ok(())
    }

    /// How far the kept upload of this name and digest is. No system call.
    pub(super) fn progress(&self, slot: &Slot, sha256: &Sha256Digest) -> Result<Progress, NotKept> {
        self.progress_in(&self.lock(), slot, sha256)
    }

    fn progress_in(
        &self,
        state: &State,
        slot: &Slot,
        sha256: &Sha256Digest,
    ) -> Result<Progress, NotKept> {
        let under_way = state.under_way.get(slot);
        if under_way.is_some_and(|under_way| under_way.sha256 == *sha256) {
            return Err(NotKept::UnderWay);
        }
        let kept = state.kept.get(slot).ok_or(NotKept::Nothing)?;
        let claim = kept.suspended.claim();
        let is_too_old = kept.last_byte.elapsed() >= self.bounds.kept_for;
        if is_too_old || claim.sha256 != *sha256 {
            return Err(NotKept::Nothing);
        }
        Ok(Progress {
            offset: kept.suspended.offset(),
            bytes: claim.bytes,
        })
    }

    /// Ends the connection of an upload of this name and digest that is under way, since another wants to go
    /// on with it. The channel ends with the upload. `None` if there is none.
    ///
    /// An upload whose body is all here is left to its end.
    pub(super) fn end_under_way(
        &self,
        slot: &Slot,
        sha256: &Sha256Digest,
    ) -> Option<reply_channel::Receiver<()>> {
        let mut state = self.lock();
        let under_way = state.under_way.get_mut(slot)?;
        if under_way.sha256 != *sha256 {
            return None;
        }
        let (sender, ended) = reply_channel::channel();
        under_way.waiting.push(sender);
        let cutter = under_way.cutter.clone();
        drop(state);
        if let Some(cutter) = cutter {
            cutter.cut();
        }
        Some(ended)
    }

    /// Gives up those whose last byte came too long ago. For plain threads only.
    pub(super) fn give_up_old(&self) {
        let mut state = self.lock();
        let is_old = |kept: &Kept| kept.last_byte.elapsed() >= self.bounds.kept_for;
        let old: Vec<Slot> = state
            .kept
            .iter()
            .filter(|(_, kept)| is_old(kept))
            .map(|(slot, _)| slot.clone())
            .collect();
        let old: Vec<Kept> = old
            .iter()
            .filter_map(|slot| state.kept.remove(slot))
            .collect();
        self.note_count(&state);
        drop(state);
        self.give_up(old, GivenUp::TooOld);
    }

    /// Makes room on the disk: gives up the one with the oldest last byte. False if none is kept. For plain
    /// threads only.
    pub(super) fn make_room(&self) -> bool {
        let mut state = self.lock();
        let oldest = state.take_oldest();
        self.note_count(&state);
        drop(state);
        let is_one = oldest.is_some();
        self.give_up(oldest, GivenUp::NoRoom);
        is_one
    }

    /// From here on so many are kept at most; those beyond it go. For plain threads only.
    pub(super) fn set_max(&self, max_uploads: u32) {
        let mut state = self.lock();
        self.kept_max.store(max_uploads as usize, Ordering::Relaxed);
        let surplus = self.take_surplus(&mut state);
        drop(state);
        self.give_up(surplus, GivenUp::NoPlace);
    }

    /// The name has its episode: what is kept of an upload of it is of no use. For plain threads only.
    pub(super) fn forget(&self, slot: &Slot) {
        let mut state = self.lock();
        let kept = state.kept.remove(slot);
        self.note_count(&state);
        drop(state);
        self.give_up(kept, GivenUp::AnotherPut);
    }

    /// Those that there is no place for, and notes how many are left.
    fn take_surplus(&self, state: &mut State) -> Vec<Kept> {
        let kept_max = self.kept_max.load(Ordering::Relaxed);
        let mut surplus = Vec::new();
        while state.kept.len() > kept_max {
            surplus.extend(state.take_oldest());
        }
        self.note_count(state);
        surplus
    }

    /// The receiver stops: nothing is kept any more. For plain threads only.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let kept: Vec<Kept> = state.kept.drain().map(|(_, kept)| kept).collect();
        self.note_count(&state);
        drop(state);
        self.give_up(kept, GivenUp::Stopped);
    }

    /// Removes the files of `kept`, and says so.
    fn give_up(&self, kept: impl IntoIterator<Item = Kept>, why: GivenUp) {
        for kept in kept {
            self.given_up[why as usize].fetch_add(1, Ordering::Relaxed);
            let Claim { slot, bytes, .. } = kept.suspended.claim();
            let offset = kept.suspended.offset();
            events::upload_given_up(slot, kept.peer, offset, *bytes, why.name());
        }
    }

    /// How many are kept. An atomic load.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Bytes that lie on the disk for kept uploads, but for the one of the name `except`.
    pub(super) fn bytes_but_for(&self, except: Option<&Slot>) -> u64 {
        let state = self.lock();
        let others = state.kept.iter().filter(|(slot, _)| Some(*slot) != except);
        others.map(|(_, kept)| kept.suspended.offset()).sum()
    }

    /// How many uploads went on where they had broken off.
    pub(super) fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Bytes that need not be sent again for that.
    pub(super) fn bytes_saved(&self) -> u64 {
        self.bytes_saved.load(Ordering::Relaxed)
    }

    /// Each reason, and how many were given up for it.
    pub(super) fn given_up(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = GivenUp::ALL.iter().zip(&self.given_up);
        counts.map(|(why, count)| (why.name(), count.load(Ordering::Relaxed)))
    }

    fn note_count(&self, state: &State) {
        self.count.store(state.kept.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn take_oldest(&mut self) -> Option<Kept> {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_byte);
        let slot = oldest.map(|(slot, _)| slot.clone())?;
        self.kept.remove(&slot)
    }
}

impl Ticket {
    /// Whether so much of a body is worth keeping.
    pub(super) fn is_worth_keeping(&self, received: u64) -> bool {
        received >= self.uploads.bounds.kept_bytes_min
    }

    /// When the last byte had come before this upload went on.
    pub(super) fn last_byte(&self) -> Option<Instant> {
        self.last_byte
    }

    /// The upload goes on from its kept part.
    pub(super) fn resumed(&self, claim: &Claim, offset: u64, peer: IpAddr) {
        let uploads = &self.uploads;
        uploads.resumed.fetch_add(1, Ordering::Relaxed);
        uploads.bytes_saved.fetch_add(offset, Ordering::Relaxed);
        events::upload_resumed(&claim.slot, peer, offset, claim.bytes);
    }

    /// All of the body is here: nobody ends this upload any more.
    pub(super) fn body_is_here(&self) {
        let mut state = self.uploads.lock();
        if let Some(under_way) = state.under_way.get_mut(&self.slot)
            && under_way.ticket == self.number
        {
            under_way.cutter = None;
        }
    }

    /// The body has broken off: it may go on from here.
    pub(super) fn keep(&self, kept: Kept) {
        let claim = kept.suspended.claim();
        let offset = kept.suspended.offset();
        events::upload_kept(&claim.slot, kept.peer, offset, claim.bytes);
        self.put_back(kept);
    }

    /// The upload did not go on after all, and may do so later.
    pub(super) fn put_back(&self, kept: Kept) {
        let uploads = &self.uploads;
        let mut state = uploads.lock();
        let newest = state.under_way.get(&self.slot);
        let is_newest = newest.is_some_and(|newest| newest.ticket == self.number);
        if !is_newest || state.is_closed {
            let why = if is_newest {
                GivenUp::Stopped
            } else {
                GivenUp::AnotherPut
            };
            drop(state);
            return uploads.give_up([kept], why);
        }
        let before = state.kept.insert(self.slot.clone(), kept);
        let surplus = uploads.take_surplus(&mut state);
        drop(state);
        uploads.give_up(before, GivenUp::AnotherPut);
        uploads.give_up(surplus, GivenUp::NoPlace);
    }

    /// Its file could not be used again.
    pub(super) fn failed(&self, claim: &Claim, offset: u64, peer: IpAddr) {
        let why = GivenUp::Failed;
        self.uploads.given_up[why as usize].fetch_add(1, Ordering::Relaxed);
        events::upload_given_up(&claim.slot, peer, offset, claim.bytes, why.name());
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.uploads.lock();
        let mut ended = None;
        if let Entry::Occupied(entry) = state.under_way.entry(self.slot.clone())
            && entry.get().ticket == self.number
        {
            ended = Some(entry.remove());
        }
        drop(state);
        // Wakes those who wait for it.
        drop(ended);
    }
}
