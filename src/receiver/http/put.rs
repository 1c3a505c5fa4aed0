//! `PUT /v1/episodes/{host}/{episode}`: what is judged on the head, in the order of design section
//! 2, then the body's way to the store. What a PATCH shares with it is here too; `resume` has the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::body_threads::BodyJob;
use super::fair_limiter::Permit;
use super::guard::{Answer, Answers, Reply, Request};
use super::head::{Framing, Head};
use super::route::Route;
use super::upload::{BodyTask, Looked};
use super::upload_answer::Claimed;
use super::{Exchange, asked_for, panic_if_asked};
use crate::events;
use crate::names::CommitHash;
use crate::receiver::Claim;
use crate::receiver::refusal::Refusal;
use crate::receiver::store::Standing;
use crate::receiver::version_gate::Look;
use crate::wire::{GatePlace, Receipt, Slot};

/// An upload whose head was found good: its body may come.
pub(super) struct Admitted {
    claim: Claim,
    place: Option<GatePlace>,
    permit: Permit,
    /// Whether the store was asked already which episode has the name.
    store_was_asked: bool,
    /// Of a PATCH: where its body begins in the whole.
    offset: Option<u64>,
}

/// What the head of an upload comes to.
pub(super) enum Judged {
    Admitted(Admitted),
    /// These bytes are here already.
    Stored(Box<Receipt>),
    Refused(Box<Claimed>, Refusal),
}

impl Judged {
    /// The judgement, with the name and the commit that a refusal is logged with.
    pub(super) fn of(judged: Result<Judged, Refusal>, slot: &Slot, head: &Head) -> Judged {
        judged.unwrap_or_else(|refusal| {
            let claimed = Claimed {
                slot: slot.clone(),
                commit: head.commit().ok(),
            };
            Judged::Refused(Box::new(claimed), refusal)
        })
    }
}

impl Exchange<'_> {
    /// Everything that can be judged before the body.
    pub(super) fn judge_upload(self, slot: Slot, head: &Head, framing: &Framing) -> Judged {
        let judged = self
            .authorize_upload(&slot, head)
            .and_then(|()| self.claim(slot.clone(), head, framing.length))
            .and_then(|claim| self.judge_claim(claim, head.if_match()));
        Judged::of(judged, &slot, head)
    }

    /// Whether this peer may upload under the name now.
    pub(super) fn authorize_upload(self, slot: &Slot, head: &Head) -> Result<(), Refusal> {
        if self.shared.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        head.is_whole_and_no_web_pages()?;
        let access = &self.shared.access;
        access.judge(&slot.host, self.peer(), head.authorization())
    }

    /// The headers' grammar. `bytes` is the length of the whole body.
    pub(super) fn claim(self, slot: Slot, head: &Head, bytes: u64) -> Result<Claim, Refusal> {
        let shared = self.shared;
        let commit = match head.commit() {
            Ok(commit) => Some(commit),
            // "Disable and collect": what the gate would refuse is logged and accepted.
            Err(why) if !shared.gate.enabled() => {
                self.log_would_refuse(&slot, None, &why);
                None
            }
            Err(why) => {
                return Err(Refusal::BadCommit {
                    why,
                    facts: Box::new(shared.gate.facts()),
                });
            }
        };
        Ok(Claim {
            commit,
            dirty: head.dirty()?,
            sha256: head.sha256()?,
            bytes,
            slot,
        })
    }

    /// In this order: the episode that has the name, the gate, the size, the space, the permit.
    fn judge_claim(self, claim: Claim, if_match: Option<&[u8]>) -> Result<Judged, Refusal> {
        let claim = match self.admit_in_memory(claim, if_match) {
            Ok(admitted) => return Ok(Judged::Admitted(admitted)),
            Err(claim) => claim,
        };
        let looked = self.look_at_the_store(&claim, None)?;
        check_match(if_match, &looked.standing, &claim)?;
        if let Standing::Stored(receipt) = looked.standing {
            return Ok(Judged::Stored(receipt));
        }
        let place = self.place(&claim)?;
        if let Standing::Taken = looked.standing {
            return Err(Refusal::Taken(claim.slot));
        }
        self.admit(claim, place, &looked, None)
    }

    /// The last of the judgement: the size, the space, the permit. `offset` is where the body of a PATCH
    /// begins.
    pub(super) fn admit(
        self,
        claim: Claim,
        place: Option<GatePlace>,
        looked: &Looked,
        offset: Option<u64>,
    ) -> Result<Judged, Refusal> {
        let bytes_max = self.shared.config.load().max_episode_bytes;
        if claim.bytes > bytes_max {
            return Err(Refusal::TooLarge {
                bytes: claim.bytes,
                bytes_max,
            });
        }
        if let Some(unwritable) = self.shared.store.unwritable() {
            return Err(Refusal::from(&*unwritable));
        }
        if !looked.has_room {
            return Err(Refusal::DiskFull);
        }
        Ok(Judged::Admitted(Admitted {
            permit: self.shared.uploads.permit(self.peer())?,
            place,
            claim,
            store_was_asked: true,
            offset,
        }))
    }

    /// The short way of an upload that is admitted by all that is in memory: its body thread asks the
    /// store, so that its coroutine need not wait for a clerk. The thread's answers (200, 409, 507) come
    /// in the same order as here.
    ///
    /// Errors: the claim of any other upload, which goes the long way.
    fn admit_in_memory(self, claim: Claim, if_match: Option<&[u8]>) -> Result<Admitted, Claim> {
        if self.is_probe || if_match.is_some() {
            return Err(claim);
        }
        let Some((place, permit)) = self.judge_in_memory(&claim) else {
            return Err(claim);
        };
        Ok(Admitted {
            claim,
            place,
            permit,
            store_was_asked: false,
            offset: None,
        })
    }

    fn judge_in_memory(self, claim: &Claim) -> Option<(Option<GatePlace>, Permit)> {
        let Look::Admitted(position) = self.shared.gate.look(&claim.commit?) else {
            return None;
        };
        if claim.bytes > self.shared.config.load().max_episode_bytes {
            return None;
        }
        if self.shared.store.unwritable().is_some() {
            return None;
        }
        let permit = self.shared.uploads.permit(self.peer()).ok()?;
        Some((self.gate_place(Some(position)), permit))
    }

    /// Admits the request if it is an upload that goes the short way. `None` leaves it to its coroutine: nothing was
    /// logged or counted then. Called on the body thread that has answered the request before.
    pub(super) fn admit_at_once(mut self) -> Option<BodyJob> {
        let Request {
            method,
            target,
            version,
            ..
        } = *self.request;
        panic_if_asked(target);
        let Ok(Route::Upload(slot)) = asked_for(method, target) else {
            return None;
        };
        let head = Head::collect(target, self.request.fields());
        self.is_probe = head.is_probe();
        let framing = head.framing(method, version).ok()?;
        self.authorize_upload(&slot, &head).ok()?;
        // Of an upload without a commit the claim may be logged.
        head.commit().ok()?;
        let claim = self.claim(slot, &head, framing.length).ok()?;
        let admitted = self.admit_in_memory(claim, head.if_match()).ok()?;
        Some(self.job(admitted, framing))
    }

    /// The disk's part of the judgement, in one question to a clerk. `offset` is where the body of a PATCH
    /// begins.
    pub(super) fn look_at_the_store(
        self,
        claim: &Claim,
        offset: Option<u64>,
    ) -> Result<Looked, Refusal> {
        let uploads = Arc::clone(&self.shared.uploads);
        let asked = claim.clone();
        let peer = self.peer();
        let looked = self
            .shared
            .blocking
            .ask(move || uploads.look(&asked, offset, peer));
        looked.unwrap_or(Err(Refusal::Internal))
    }

    /// The gate's word on the claim's commit.
    pub(super) fn place(self, claim: &Claim) -> Result<Option<GatePlace>, Refusal> {
        let gate = &self.shared.gate;
        let position = match claim.commit.map(|commit| self.look_twice(&commit)) {
            Some(Ok(position)) => Some(position),
            Some(Err(refusal)) if gate.enabled() => return Err(refusal),
            Some(Err(refusal)) => {
                self.log_would_refuse(&claim.slot, claim.commit.as_ref(), refusal.name());
                None
            }
            None => None,
        };
        Ok(self.gate_place(position))
    }

    fn log_would_refuse(self, slot: &Slot, commit: Option<&CommitHash>, why: &str) {
        if !self.is_probe {
            events::gate_would_refuse(slot, commit, self.peer(), why);
        }
    }

    fn gate_place(self, position: Option<u32>) -> Option<GatePlace> {
        let window = self.shared.gate.window()?;
        Some(GatePlace {
            position,
            head_commit: Some(window.head()),
            source: Some(window.source()),
        })
    }

    /// Answers the upload, taking its body if it was admitted.
    pub(super) fn upload(self, judged: Judged, framing: Framing) -> Reply {
        match judged {
            Judged::Admitted(admitted) if self.is_probe => {
                self.take_probe(&admitted.claim.slot, Some(admitted.permit), framing)
            }
            Judged::Admitted(admitted) => self.receive(admitted, framing),
            Judged::Stored(receipt) => {
                if self.is_probe {
                    return self.take_probe(&receipt.slot(), None, framing);
                }
                self.shared.stored_already(&receipt, self.peer(), 0);
                // The body is on its way, and nobody needs it.
                self.reply_unread(Answer::json(200, &*receipt), framing)
            }
            Judged::Refused(claimed, refusal) => {
                if self.is_probe {
                    self.log_refused_probe(&claimed.slot.path(), &refusal);
                } else {
                    self.shared
                        .refused_upload(self.peer(), &claimed, &refusal, 0);
                }
                self.reply_unread(Answer::refusal(&refusal), framing)
            }
        }
    }

    fn receive(self, admitted: Admitted, framing: Framing) -> Reply {
        let job = self.job(admitted, framing);
        let answer = Arc::clone(&job.answer);
        match self.shared.body_threads.start(job) {
            Ok(running) => {
                let reply = running.wait();
                reply.unwrap_or_else(|| Reply::closing(self.shared.failed()))
            }
            Err(error) => {
                events::no_thread(self.peer(), &error);
                let refusal = Refusal::TooManyUploads {
                    uploads_max: self.shared.uploads.running(),
                };
                self.reply_unread(answer.refused(&refusal, 0), framing)
            }
        }
    }

    fn job(self, admitted: Admitted, framing: Framing) -> BodyJob {
        let Admitted {
            claim,
            place,
            permit,
            store_was_asked,
            offset,
        } = admitted;
        BodyJob {
            permit,
            body: self.request.body(framing.length),
            answer: self.answer_to(&claim, place.as_ref(), framing),
            task: BodyTask {
                claim,
                place,
                store_was_asked,
                offset,
                is_asked_for: framing.expects_continue,
            },
        }
    }
}

/// Errors: 412 for an `If-Match` that does not hold.
pub(super) fn check_match(
    if_match: Option<&[u8]>,
    standing: &Standing,
    claim: &Claim,
) -> Result<(), Refusal> {
    if if_match.is_some_and(|if_match| !is_matched(if_match, standing)) {
        return Err(Refusal::PreconditionFailed(claim.slot.clone()));
    }
    Ok(())
}

/// Whether `If-Match` (RFC 9110, 13.1.1) names what stands there. Of other bytes than the claim's only
/// that they are there is known, and such an upload is refused anyway.
fn is_matched(if_match: &[u8], standing: &Standing) -> bool {
    let receipt = match standing {
        Standing::Free | Standing::Absent(_) => return false,
        Standing::Taken => return true,
        Standing::Stored(receipt) => receipt,
    };
    let tag = format!("\"{}\"", receipt.sha256);
    let mut tags = if_match.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    tags.any(|one| one == b"*" || one == tag.as_bytes())
}
