//! Uploads under way: how many there may be, and what happens to one on its body thread. The thread looks at
//! the store, begins the upload there, takes the body from the socket (`pour`), and publishes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::fair_limiter::{FairLimiter, NoPermit, Permit};
use super::guard::Body;
use super::kept_uploads::{Kept, KeptUploads, NotKept, Ticket};
use super::pace::PaceLimits;
use super::pour::{self, Pour};
use super::running::RunningUploads;
use crate::events;
use crate::receiver::Claim;
use crate::receiver::archive::Archive;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{
    Came, NotResumed, PartialFile, Published, Standing, Store, StoreError, Upload,
};
use crate::wire::{GatePlace, Slot};

/// What a body thread is to do.
pub(super) struct BodyTask {
    pub claim: Claim,
    pub place: Option<GatePlace>,
    /// Whether it is known that the name is free.
    pub store_was_asked: bool,
    /// Of a PATCH: where its body begins in the whole.
    pub offset: Option<u64>,
    /// The peer waits for `100 Continue`, which it gets when space is reserved and the file is there.
    pub is_asked_for: bool,
}

/// What the disk says of a claim.
pub(super) struct Looked {
    pub standing: Standing,
    /// Whether there is room for its body, be it by giving up what is kept of others.
    pub has_room: bool,
}

/// How an upload ended.
pub(super) struct UploadEnd {
    pub result: Result<Published, Refusal>,
    /// How much of the body was read from the connection.
    pub received_bytes: u64,
    /// Whether that was all of the body, so that the connection can go on.
    pub is_complete: bool,
}

pub(super) struct Uploads {
    store: Arc<Store>,
    archive: Option<Arc<Archive>>,
    pace: PaceLimits,
    permits: Arc<FairLimiter>,
    pub on_the_way: Arc<RunningUploads>,
    pub kept: Arc<KeptUploads>,
}

impl Uploads {
    pub(super) fn new(
        store: Arc<Store>,
        archive: Option<Arc<Archive>>,
        uploads_max: u32,
        pace: PaceLimits,
    ) -> Arc<Uploads> {
        Arc::new(Uploads {
            store,
            archive,
            pace,
            permits: FairLimiter::new(uploads_max),
            on_the_way: Arc::default(),
            kept: KeptUploads::new(uploads_max),
        })
    }

    /// From here on so many may run, and so many be kept. For plain threads only.
    pub(super) fn set_max(&self, uploads_max: u32) {
        self.permits.set_most(uploads_max);
        self.kept.set_max(uploads_max);
    }

    pub(super) fn running(&self) -> u32 {
        self.permits.taken()
    }

    /// How many may run.
    pub(super) fn most(&self) -> u32 {
        self.permits.most()
    }

    /// Room for one more upload of this peer, if there is any.
    pub(super) fn permit(&self, peer: IpAddr) -> Result<Permit, Refusal> {
        self.permits.take(peer).map_err(|why| match why {
            NoPermit::Full => Refusal::TooManyUploads {
                uploads_max: self.permits.most(),
            },
            NoPermit::OwnShare(under_way) => Refusal::TooManyUploadsOfYours { under_way },
        })
    }

    /// The whole way of one upload, on its thread.
    pub(super) fn take(
        &self,
        mut body: Body,
        task: BodyTask,
        ticket: &mut Option<Ticket>,
    ) -> (UploadEnd, PartialFile) {
        let (result, partial) = match self.store_body(&mut body, task, ticket) {
            Ok((published, partial)) => (Ok(published), partial),
            Err(refusal) => (Err(refusal), PartialFile::default()),
        };
        let end = UploadEnd {
            result,
            received_bytes: body.received(),
            is_complete: body.is_complete(),
        };
        (end, partial)
    }

    fn store_body(
        &self,
        body: &mut Body,
        task: BodyTask,
        ticket: &mut Option<Ticket>,
    ) -> Result<(Published, PartialFile), Refusal> {
        let claim = task.claim;
        if !task.store_was_asked {
            match self.standing(&claim, body.peer())? {
                Standing::Free | Standing::Absent(_) => {}
                Standing::Taken => return Err(Refusal::Taken(claim.slot)),
                Standing::Stored(receipt) => {
                    let published = Published {
                        receipt: *receipt,
                        came: Came::Earlier,
                    };
                    return Ok((published, PartialFile::default()));
                }
            }
        }
        let upload = match task.offset {
            None => self
                .begin(&claim, task.place)
                .map_err(|error| self.refusal_of(error, &claim))?,
            Some(offset) => {
                let (resumed, upload) = self.resume(&claim, offset, task.place, body)?;
                *ticket = Some(resumed);
                upload
            }
        };
        if task.is_asked_for {
            body.ask_for_it();
        }
        let pour = Pour {
            body,
            on_the_way: &self.on_the_way,
            place: None,
            claim: &claim,
            limits: self.pace,
            kept: &self.kept,
            ticket,
            last_byte: None,
        };
        let stored = pour
            .fill_and_publish(upload)
            .map_err(|refusal| self.explained(refusal))?;
        if let Some(archive) = &self.archive {
            archive.stored(stored.0.came == Came::Again);
        }
        Ok(stored)
    }

    /// The episode that has the name already.
    fn standing(&self, claim: &Claim, peer: IpAddr) -> Result<Standing, Refusal> {
        standing(&self.store, self.archive.as_deref(), claim)
            .map_err(|error| lookup_failed(&self.store, &claim.slot, peer, &error))
    }

    /// Begins an upload. Where there is no room, others that are kept make it.
    fn begin(&self, claim: &Claim, place: Option<GatePlace>) -> Result<Upload, StoreError> {
        loop {
            match self.store.begin(claim.clone(), place.clone()) {
                Err(StoreError::Full) if self.makes_room(claim.bytes) => {}
                begun => return begun,
            }
        }
    }

    /// Goes on with a kept upload. Where there is no room for the rest, others that are kept make it.
    fn resume(
        &self,
        claim: &Claim,
        offset: u64,
        place: Option<GatePlace>,
        body: &Body,
    ) -> Result<(Ticket, Upload), Refusal> {
        let taken = self.kept.take(claim, offset, body.cutter());
        let (ticket, kept) = taken.map_err(|why| refusal_of_kept(why, &claim.slot, offset))?;
        let Kept {
            mut suspended,
            last_byte,
            peer,
        } = kept;
        loop {
            let resumed = self.store.resume(suspended, claim.clone(), place.clone());
            let NotResumed {
                error,
                suspended: left,
            } = match resumed {
                Ok(upload) => {
                    ticket.resumed(claim, offset, body.peer());
                    return Ok((ticket, upload));
                }
                Err(not_resumed) => not_resumed,
            };
            let Some(left) = left else {
                ticket.failed(claim, offset, peer);
                return Err(self.refusal_of(error, claim));
            };
            suspended = *left;
            if !matches!(error, StoreError::Full) || !self.makes_room(claim.bytes - offset) {
                ticket.put_back(Kept {
                    suspended,
                    last_byte,
                    peer,
                });
                return Err(self.refusal_of(error, claim));
            }
        }
    }

    /// Gives up a kept upload, if all that are kept make room for `bytes` together.
    fn makes_room(&self, bytes: u64) -> bool {
        let freed = self.kept.bytes_but_for(None);
        let space = self.store.space();
        space.is_ok_and(|space| space.with_freed(freed).holds(bytes)) && self.kept.make_room()
    }

    /// Whether the claim's episode is stored, and whether its body, that from `offset` on, has room. What is
    /// kept of a name that is stored by now goes. For plain threads only.
    pub(super) fn look(
        &self,
        claim: &Claim,
        offset: Option<u64>,
        peer: IpAddr,
    ) -> Result<Looked, Refusal> {
        let own = offset.map(|_| &claim.slot);
        let look = || {
            let standing = standing(&self.store, self.archive.as_deref(), claim)?;
            if offset.is_some() && matches!(standing, Standing::Stored(_) | Standing::Taken) {
                self.kept.forget(&claim.slot);
            }
            let space = self.store.space()?.with_freed(self.kept.bytes_but_for(own));
            Ok(Looked {
                standing,
                has_room: space.holds(claim.bytes - offset.unwrap_or(0)),
            })
        };
        look().map_err(|error| lookup_failed(&self.store, &claim.slot, peer, &error))
    }

    fn refusal_of(&self, error: StoreError, claim: &Claim) -> Refusal {
        self.explained(pour::refusal_of(error, claim))
    }

    /// A fault of the store's own, or a disk without room that has bytes left, has a better name where
    /// a look at the disk finds the cause.
    fn explained(&self, refusal: Refusal) -> Refusal {
        if !matches!(refusal, Refusal::Internal | Refusal::DiskFull) {
            return refusal;
        }
        let found = self.store.why_unwritable();
        found.map_or(refusal, |found| Refusal::from(&*found))
    }
}

/// What is under the claim's name: as the store says, but an episode that is not here and is proven in the
/// archive is stored. For plain threads only.
///
/// Errors: index, file or ledger cannot be read.
pub(super) fn standing(
    store: &Store,
    archive: Option<&Archive>,
    claim: &Claim,
) -> io::Result<Standing> {
    let mut found = store.standing(claim)?;
    if archive.is_some() && matches!(found, Standing::Free) {
        // An eviction may have taken the file while it was looked at.
        found = store.standing(claim)?;
    }
    if let (Standing::Absent(row), Some(archive)) = (&found, archive)
        && archive.is_proven(row)?
    {
        return Ok(Standing::Stored(row.clone()));
    }
    Ok(found)
}

/// The refusal of a PATCH that states `offset`.
pub(super) fn refusal_of_kept(why: NotKept, slot: &Slot, offset: u64) -> Refusal {
    match why {
        NotKept::Nothing => Refusal::NothingKept(slot.clone()),
        NotKept::UnderWay => Refusal::StillUnderWay(slot.clone()),
        NotKept::OffsetIs(right) => Refusal::OffsetMismatch {
            stated: offset,
            right,
        },
        NotKept::LengthIs(bytes) => Refusal::BadHead(format!(
            "Content-Length: the rest from byte {offset} on has {} bytes, since the whole has {bytes}",
            bytes.saturating_sub(offset)
        )),
    }
}

/// The refusal for an episode that the disk could not be asked about: with the cause, as far as a look
/// at the disk finds one. For plain threads only.
pub(super) fn lookup_failed(
    store: &Store,
    slot: &Slot,
    peer: IpAddr,
    error: &io::Error,
) -> Refusal {
    events::lookup_failed(slot, peer, error);
    fault(store)
}

fn fault(store: &Store) -> Refusal {
    match store.why_unwritable() {
        Some(unwritable) => Refusal::from(&*unwritable),
        None => Refusal::Internal,
    }
}
