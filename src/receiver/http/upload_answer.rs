//! The answer to an upload, from the thread that has taken its body: the peer need not wait until the
//! coroutine of its connection has woken.
//!
//! The coroutine sends what the thread cannot: an answer that ends its connection, one for which the socket has
//! no room, and one before which an earlier answer may not have left.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::guard::{Answer, Reply, Responder};
use super::head::Framing;
use super::upload::UploadEnd;
use super::{Exchange, Shared};
use crate::names::CommitHash;
use crate::receiver::Claim;
use crate::receiver::refusal::Refusal;
use crate::receiver::refusal_log::Ending;
use crate::receiver::refused_upload::RefusedUpload;
use crate::receiver::store::Published;
use crate::wire::{GatePlace, Receipt, Slot};
use crate::{clock, events};

/// The name and the commit that an upload has stated.
pub(super) struct Claimed {
    pub slot: Slot,
    pub commit: Option<CommitHash>,
}

/// What a refused upload was sent to.
#[derive(Clone, Copy)]
pub(super) enum Refused<'a> {
    Slot(&'a Slot),
    /// No name that an episode can have.
    Path(&'a str),
}

/// Answers one upload whose body may come.
pub(super) struct UploadAnswer {
    shared: Arc<Shared>,
    responder: Responder,
    peer: IpAddr,
    claimed: Claimed,
    position: Option<u32>,
    framing: Framing,
    began: Instant,
}

/// What an upload is answered.
pub(super) struct Outcome {
    answer: Answer,
    /// The connection ends with it.
    closes: bool,
    /// Bytes of the body that the peer may still send.
    unread_bytes: u64,
}

impl Outcome {
    /// For the coroutine to send.
    fn into_reply(self) -> Reply {
        Reply::Answer {
            answer: self.answer,
            closes: self.closes,
            unread_bytes: self.unread_bytes,
            held: None,
        }
    }
}

impl Exchange<'_> {
    /// The answer to the upload of this claim, which begins now.
    pub(super) fn answer_to(
        self,
        claim: &Claim,
        place: Option<&GatePlace>,
        framing: Framing,
    ) -> Arc<UploadAnswer> {
        Arc::new(UploadAnswer {
            shared: Arc::clone(self.shared),
            responder: self.request.responder(),
            peer: self.peer(),
            claimed: Claimed {
                slot: claim.slot.clone(),
                commit: claim.commit,
            },
            position: place.and_then(|place| place.position),
            framing,
            began: Instant::now(),
        })
    }
}

impl UploadAnswer {
    /// Logs how the upload has ended; what is answered then.
    pub(super) fn end(&self, end: UploadEnd) -> Outcome {
        let UploadEnd {
            result,
            received_bytes,
            is_complete,
        } = end;
        let is_draining = self.shared.draining.load(Ordering::Acquire);
        let mut closes = self.framing.closes || is_draining || !is_complete;
        let answer = match result {
            Ok(published) => self.stored(&published, received_bytes),
            Err(refusal) => {
                // Other bytes than were stated may be those of another length: what follows them
                // may not begin a request.
                closes |= refusal.status() == 422;
                self.refused(&refusal, received_bytes)
            }
        };
        Outcome {
            answer,
            closes,
            unread_bytes: self.framing.length - received_bytes,
        }
    }

    /// Sends the answer, if the thread can; what the coroutine is to do then. Nothing of this upload that follows on
    /// the thread may fail: nobody may answer twice.
    pub(super) fn send(&self, mut outcome: Outcome) -> Reply {
        if !outcome.closes {
            match self.responder.send(outcome.answer) {
                Ok(is_whole) => {
                    return Reply::Sent {
                        is_whole,
                        closes: false,
                        unread_bytes: 0,
                    };
                }
                Err(answer) => outcome.answer = answer,
            }
        }
        outcome.into_reply()
    }

    /// Waits for the next request of the connection, `patience` at most. Returns what `judge` makes of it, if it wants
    /// it (see [`Responder::next`]).
    pub(super) fn next<T>(
        &self,
        patience: Duration,
        judge: impl FnOnce(Exchange) -> Option<T>,
    ) -> Option<T> {
        self.responder.next(patience, |request| {
            judge(Exchange {
                shared: &self.shared,
                request,
                is_probe: false,
            })
        })
    }

    /// The answer where the thread has panicked, and nobody knows how much of the body it took.
    pub(super) fn of_panic(&self) -> Reply {
        let outcome = self.end(UploadEnd {
            result: Err(Refusal::Internal),
            received_bytes: 0,
            is_complete: false,
        });
        outcome.into_reply()
    }

    /// The answer of a refusal, which is logged.
    pub(super) fn refused(&self, refusal: &Refusal, received_bytes: u64) -> Answer {
        let UploadAnswer { peer, claimed, .. } = self;
        self.shared
            .refused_upload(*peer, claimed, refusal, received_bytes);
        Answer::refusal(refusal)
    }

    fn stored(&self, published: &Published, received_bytes: u64) -> Answer {
        let UploadAnswer { shared, peer, .. } = self;
        let receipt = &published.receipt;
        let is_fresh = published.is_fresh();
        let status = if is_fresh {
            events::stored(receipt, *peer);
            201
        } else {
            shared.stored_already(receipt, *peer, received_bytes);
            200
        };
        if is_fresh || received_bytes > 0 {
            shared.counters.upload_seconds.add(self.began.elapsed());
        }
        Answer::json(status, receipt).with_header(shared.positions.load().line(self.position))
    }
}

impl Shared {
    /// Logs an upload of what was here already. `bytes` of its body were received.
    pub(super) fn stored_already(&self, receipt: &Receipt, peer: IpAddr, bytes: u64) {
        events::stored_already(receipt, peer);
        let host = receipt.host.clone();
        self.refusals.send(Ending::StoredAlready { host, bytes });
    }

    /// Logs and counts a refused upload. `bytes` of its body were received.
    pub(super) fn refused_upload(
        &self,
        peer: IpAddr,
        claimed: &Claimed,
        refusal: &Refusal,
        bytes: u64,
    ) {
        let Claimed { slot, commit } = claimed;
        events::refused_upload(slot, commit.as_ref(), peer, &refusal.as_event());
        self.note_refused_upload(peer, Refused::Slot(slot), *commit, refusal, bytes);
    }

    /// For the figures and for `refusals.jsonl`. `bytes` of its body were received.
    pub(super) fn note_refused_upload(
        &self,
        peer: IpAddr,
        target: Refused,
        commit: Option<CommitHash>,
        refusal: &Refusal,
        bytes: u64,
    ) {
        let (slot, path) = match target {
            Refused::Slot(slot) => (Some(slot), None),
            Refused::Path(path) => (None, Some(path)),
        };
        self.counters.refused_upload(refusal);
        let refused = RefusedUpload {
            at: clock::rfc3339(SystemTime::now()),
            after_seq: self.stats.last_seq(),
            peer,
            host: slot.map(|slot| slot.host.clone()),
            episode: slot.map(|slot| slot.episode.clone()),
            path: path.map(RefusedUpload::shortened),
            commit,
            status: refusal.status(),
            reason: refusal.name().to_owned(),
            why: RefusedUpload::shortened(&refusal.to_string()),
            left_out: 0,
        };
        self.refusals.send(Ending::Refused { refused, bytes });
    }
}
