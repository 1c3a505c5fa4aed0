//! A body's way from its socket into the store, on a body thread: at the pace of the peer, which must
//! not be too slow.
//!
//! Where the bytes of a body are copied:
//!
//! 1. by the kernel, from the socket into the block that is being filled (`Upload::buffer`): the
//!    only copy that a large body's bytes go through here. They are hashed where they lie, and its
//!    whole blocks go to the disk from there, past the page cache;
//! 2. by the kernel, from the block into the page cache: all other bodies, the part of a block that a slow
//!    sender has filled, and every part that is no whole block.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::Body;
use super::kept_uploads::{Kept, KeptUploads, Ticket};
use super::pace::PaceLimits;
use super::running::{Mark, Place, RunningUploads};
use crate::receiver::Claim;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::{PartialFile, Published, StoreError, Upload};

/// How long an upload keeps its buffer while nothing comes: a gap between two packets is no stall.
const BUFFER_PATIENCE: Duration = Duration::from_millis(20);
/// How long, over many such gaps, a peer may keep us waiting with one buffer: without that, peers that
/// trickle would hold all the memory that fast ones wait for.
const BUFFER_WAITED_MAX: Duration = Duration::from_millis(250);
/// How long a body that is read and forgotten may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);
/// The minimum rate is judged over this much time spent waiting for the peer.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// One body on its way from the socket into its upload.
pub(super) struct Pour<'a> {
    pub body: &'a mut Body,
    pub claim: &'a Claim,
    pub limits: PaceLimits,
    pub kept: &'a Arc<KeptUploads>,
    /// Of an upload that may come to be kept, should its body break off.
    pub ticket: &'a mut Option<Ticket>,
    pub on_the_way: &'a Arc<RunningUploads>,
    /// In that list, for those who look how far the upload is. One that is here without a wait needs none.
    pub place: Option<Place>,
    /// When a byte of this body came last.
    pub last_byte: Option<Instant>,
}

impl Pour<'_> {
    /// The whole body into the store, and the store's word that it is there to stay.
    pub(super) fn fill_and_publish(
        mut self,
        mut upload: Upload,
    ) -> Result<(Published, PartialFile), Refusal> {
        if let Err(refusal) = self.fill(&mut upload) {
            self.keep(upload, &refusal);
            return Err(refusal);
        }
        if let Some(ticket) = &*self.ticket {
            ticket.body_is_here();
        }
        let published = upload.publish();
        published.map_err(|error| refusal_of(error, self.claim))
    }

    fn fill(&mut self, upload: &mut Upload) -> Result<(), Refusal> {
        let claim = self.claim;
        let of_store = |error| refusal_of(error, claim);
        let mut pace = Pace::new(self.limits);
        let begin = Mark {
            at: Instant::now(),
            received: upload.received(),
        };
        while !self.body.is_complete() {
            let buffer = upload.buffer().map_err(of_store)?;
            match self.body.read(buffer) {
                Ok(0) => return Err(self.cut_short()),
                Ok(n) => {
                    let now = self.note_byte();
                    pace.bytes += n as u64;
                    upload.advance(n).map_err(of_store)?;
                    if let Some(place) = &mut self.place {
                        place.note(upload.received(), now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.enter_the_list(begin, upload.received());
                    self.wait(upload, &mut pace)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(self.cut_short()),
            }
        }
        Ok(())
    }

    fn enter_the_list(&mut self, begin: Mark, received: u64) {
        if self.place.is_none() {
            let Claim { slot, bytes, .. } = self.claim;
            let mut place = self.on_the_way.enter(slot.clone(), *bytes, begin);
            place.note(received, Instant::now());
            self.place = Some(place);
        }
    }

    /// Waits for more of the body, giving the buffer back when it takes a while.
    fn wait(&mut self, upload: &mut Upload, pace: &mut Pace) -> Result<(), Refusal> {
        let mut silence = Duration::ZERO;
        let mut patience = BUFFER_PATIENCE;
        loop {
            let began = Instant::now();
            let ready = self.body.wait(patience);
            let waited = began.elapsed();
            silence += waited;
            pace.judge(waited, silence)?;
            pace.waited_with_buffer += waited;
            let is_here = ready.map_err(|_| self.cut_short())?;
            if !is_here || pace.waited_with_buffer >= BUFFER_WAITED_MAX {
                pace.waited_with_buffer = Duration::ZERO;
                let rested = upload.rest();
                rested.map_err(|error| refusal_of(error, self.claim))?;
            }
            if is_here {
                return Ok(());
            }
            patience = Duration::from_millis(250);
        }
    }

    /// A PUT that has brought a byte takes the place of what is kept of its name. A PATCH has its ticket
    /// from the beginning.
    fn note_byte(&mut self) -> Instant {
        if self.last_byte.is_none() && self.ticket.is_none() {
            *self.ticket = self.kept.begin(self.claim, self.body.cutter());
        }
        let now = Instant::now();
        self.last_byte = Some(now);
        now
    }

    /// Keeps what has come of a body that broke off or was too slow. After any other refusal, which is
    /// the store's, there is nothing to go on with.
    fn keep(&self, upload: Upload, refusal: &Refusal) {
        let has_broken_off = matches!(
            refusal,
            Refusal::BodyCutShort { .. } | Refusal::BodyTooSlow(_)
        );
        let Some(ticket) = &*self.ticket else { return };
        if !has_broken_off || !ticket.is_worth_keeping(upload.received()) {
            return;
        }
        let last_byte = self.last_byte.or(ticket.last_byte());
        if let Some(suspended) = upload.suspend() {
            ticket.keep(Kept {
                suspended,
                last_byte: last_byte.unwrap_or_else(Instant::now),
                peer: self.body.peer(),
            });
        }
    }

    fn cut_short(&self) -> Refusal {
        Refusal::BodyCutShort {
            stated: self.body.stated(),
            found: self.body.received(),
        }
    }
}

/// How fast the peer sends. Only time spent waiting for it counts: a slow disk is our own fault.
struct Pace {
    limits: PaceLimits,
    waited: Duration,
    /// Since the buffer was given up last.
    waited_with_buffer: Duration,
    /// Bytes in the present window.
    bytes: u64,
}

impl Pace {
    fn new(limits: PaceLimits) -> Pace {
        Pace {
            limits,
            waited: Duration::ZERO,
            waited_with_buffer: Duration::ZERO,
            bytes: 0,
        }
    }

    fn judge(&mut self, waited: Duration, silence: Duration) -> Result<(), Refusal> {
        let idle = self.limits.idle;
        if silence >= idle {
            let why = format!("nothing came for {} s", idle.as_secs());
            return Err(Refusal::BodyTooSlow(why));
        }
        self.waited += waited;
        if self.waited < RATE_WINDOW {
            return Ok(());
        }
        let least = self.limits.bytes_per_second_min;
        let needed = least.saturating_mul(self.waited.as_secs());
        if self.bytes < needed {
            let why = format!("fewer than {least} bytes a second came (min_body_bytes_per_second)");
            return Err(Refusal::BodyTooSlow(why));
        }
        self.waited = Duration::ZERO;
        self.bytes = 0;
        Ok(())
    }
}

/// Reads until the body is complete, the peer has ended, or it has been silent or slow for too long.
/// How many bytes came.
pub(super) fn read_and_forget(mut body: Body) -> u64 {
    let give_up = Instant::now() + DRAIN_TIME_MAX;
    let mut block = [0; 16 << 10];
    while !body.is_complete() {
        match body.read(&mut block) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let patience = give_up.saturating_duration_since(Instant::now());
                if !matches!(body.wait(patience), Ok(true)) {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    body.received()
}

/// A whole short body, such as JSON, which takes [`DRAIN_TIME_MAX`] at most.
///
/// Errors: the peer is too slow, or ends before the body does.
pub(super) fn read_short(body: &mut Body, limits: PaceLimits) -> Result<Vec<u8>, Refusal> {
    let began = Instant::now();
    let patience = limits.idle.min(DRAIN_TIME_MAX);
    let mut bytes = Vec::new();
    let mut block = [0; 4 << 10];
    while !body.is_complete() {
        match body.read(&mut block) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = patience.saturating_sub(began.elapsed());
                if left.is_zero() {
                    let why = format!("it was not here within {} s", patience.as_secs());
                    return Err(Refusal::BodyTooSlow(why));
                }
                if body.wait(left).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if body.is_complete() {
        return Ok(bytes);
    }
    Err(Refusal::BodyCutShort {
        stated: body.stated(),
        found: body.received(),
    })
}

/// What the store's error means for the sender.
pub(super) fn refusal_of(error: StoreError, claim: &Claim) -> Refusal {
    match error {
        StoreError::Full => Refusal::DiskFull,
        StoreError::Taken => Refusal::Taken(claim.slot.clone()),
        StoreError::DigestMismatch { found } => Refusal::DigestMismatch {
            stated: claim.sha256.to_string(),
            found: found.to_string(),
        },
        StoreError::CutShort { found } => Refusal::BodyCutShort {
            stated: claim.bytes,
            found,
        },
        StoreError::Io(_) => Refusal::Internal,
    }
}
