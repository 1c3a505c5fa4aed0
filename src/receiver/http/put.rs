//! `PUT /v1/episodes/{host}/{episode}`: what is judged on the head, in the order of design section
//! 2, then the body's way to the store.

use std::io::BufRead;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use may_minihttp::Request;

use super::answer::Answer;
use super::connection::Phase;
use super::head::{Framing, Head};
use super::upload::{self, Done, Permit, Running, Task, Told};
use super::{Exchange, Reply};
use crate::events;
use crate::names::{CommitHash, HostId};
use crate::receiver::Claim;
use crate::receiver::refusal::Refusal;
use crate::receiver::refusals::Ending;
use crate::receiver::store::{Block, Published, Standing};
use crate::receiver::version_gate::Look;
use crate::sys;
use crate::wire::{GatePlace, Receipt, Slot};

/// An upload whose head was found good: its body may come.
pub(super) struct Admitted {
    claim: Claim,
    place: Option<GatePlace>,
    permit: Permit,
    /// Whether the store was asked already what stands under the name.
    store_was_asked: bool,
}

/// What the head of an upload comes to.
pub(super) enum Judged {
    Admitted(Admitted),
    /// These bytes are here already.
    Stored(Box<Receipt>),
    Refused(Box<Claimed>, Refusal),
}

/// What is known of a refused upload, for the log.
pub(super) struct Claimed {
    slot: Slot,
    commit: Option<CommitHash>,
}

/// How an upload's body ended.
struct End {
    result: Result<Published, Refusal>,
    taken_bytes: u64,
    /// Every byte of the body was taken from the connection, so that it can go on.
    body_taken: bool,
    /// Its first bytes were not held by may_minihttp, but waited for.
    socket_was_read: bool,
}

impl Exchange<'_> {
    /// Everything that can be judged before the body.
    pub(super) fn judge_upload(self, slot: Slot, head: &Head, framing: &Framing) -> Judged {
        let claimed = Box::new(Claimed {
            slot: slot.clone(),
            commit: head.commit().ok(),
        });
        let judged = self
            .claim(slot, head, framing)
            .and_then(|claim| self.judge_claim(claim));
        judged.unwrap_or_else(|refusal| Judged::Refused(claimed, refusal))
    }

    /// Authorization, then the headers' grammar.
    fn claim(self, slot: Slot, head: &Head, framing: &Framing) -> Result<Claim, Refusal> {
        let shared = self.shared;
        if shared.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        shared
            .access
            .judge(&slot.host, self.connection.peer(), head.authorization())?;
        let commit = match head.commit() {
            Ok(commit) => Some(commit),
            // "Disable and collect": what the gate would refuse is told and taken.
            Err(why) if !shared.gate.enabled() => {
                events::gate_would_refuse(&slot, None, &why);
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
            bytes: framing.length,
            slot,
        })
    }

    /// What stands under the name, the gate, the size, the space, room for one more.
    fn judge_claim(self, claim: Claim) -> Result<Judged, Refusal> {
        if let Some((place, permit)) = self.judge_in_memory(&claim) {
            return Ok(Judged::Admitted(Admitted {
                claim,
                place,
                permit,
                store_was_asked: false,
            }));
        }
        let (standing, has_room) = self.look_at_the_store(&claim)?;
        if let Standing::Stored(receipt) = standing {
            return Ok(Judged::Stored(receipt));
        }
        let place = self.place(&claim)?;
        if let Standing::Taken = standing {
            return Err(Refusal::Taken(claim.slot));
        }
        let bytes_max = self.shared.config.max_episode_bytes;
        if claim.bytes > bytes_max {
            return Err(Refusal::TooLarge {
                bytes: claim.bytes,
                bytes_max,
            });
        }
        if let Some(unwritable) = self.shared.store.unwritable() {
            return Err(Refusal::from(&*unwritable));
        }
        if !has_room {
            return Err(Refusal::DiskFull);
        }
        Ok(Judged::Admitted(Admitted {
            permit: self.shared.uploads.permit(self.connection.peer())?,
            place,
            claim,
            store_was_asked: true,
        }))
    }

    /// The short way of an upload that nothing in memory speaks against: its body thread asks the
    /// store, and so nobody waits for a clerk. What the store may still say (200, 409, 507) stands in
    /// the same order there. Any other upload goes the long way.
    fn judge_in_memory(self, claim: &Claim) -> Option<(Option<GatePlace>, Permit)> {
        let Look::Admitted(position) = self.shared.gate.look(&claim.commit?) else {
            return None;
        };
        if claim.bytes > self.shared.config.max_episode_bytes {
            return None;
        }
        if self.shared.store.unwritable().is_some() {
            return None;
        }
        let permit = self.shared.uploads.permit(self.connection.peer()).ok()?;
        Some((self.gate_place(Some(position)), permit))
    }

    /// The disk's part of the judgement, in one question to a clerk.
    fn look_at_the_store(self, claim: &Claim) -> Result<(Standing, bool), Refusal> {
        let store = Arc::clone(&self.shared.store);
        let asked = claim.clone();
        let looked = self.shared.clerks.ask(move || {
            let look = || {
                let standing = store.standing(&asked)?;
                Ok((standing, store.has_room(asked.bytes)?))
            };
            look().map_err(|error| upload::lookup_failed(&store, &asked.slot, &error))
        });
        looked.unwrap_or(Err(Refusal::Internal))
    }

    /// The gate's word on the claim's commit.
    fn place(self, claim: &Claim) -> Result<Option<GatePlace>, Refusal> {
        let gate = &self.shared.gate;
        let position = match claim.commit.map(|commit| self.look_twice(&commit)) {
            Some(Ok(position)) => Some(position),
            Some(Err(refusal)) if gate.enabled() => return Err(refusal),
            Some(Err(refusal)) => {
                events::gate_would_refuse(&claim.slot, claim.commit.as_ref(), refusal.name());
                None
            }
            None => None,
        };
        Ok(self.gate_place(position))
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
    pub(super) fn upload(
        self,
        judged: Judged,
        request: Request,
        framing: Framing,
        head_bytes: u64,
    ) -> Reply {
        match judged {
            Judged::Admitted(admitted) => self.receive(admitted, request, framing, head_bytes),
            Judged::Stored(receipt) => {
                events::stored_already(&receipt, self.connection.peer());
                self.note_stored_already(&receipt.host, 0);
                // The body is not wanted, and it is on its way.
                self.reply_unread(Answer::json(200, &*receipt), framing)
            }
            Judged::Refused(claimed, refusal) => {
                self.log_refused_upload(&claimed, &refusal, 0);
                self.reply_unread(Answer::refusal(&refusal), framing)
            }
        }
    }

    /// `bytes` of its body had been taken.
    fn log_refused_upload(self, claimed: &Claimed, refusal: &Refusal, bytes: u64) {
        let Claimed { slot, commit } = claimed;
        events::refused_upload(slot, commit.as_ref(), self.connection.peer(), refusal);
        self.note_refused_upload(Some(slot), "", *commit, refusal, bytes);
    }

    fn note_stored_already(self, host: &HostId, bytes: u64) {
        let host = host.clone();
        let ending = Ending::StoredAlready { host, bytes };
        self.shared.refusals.tell(ending);
    }

    fn receive(
        self,
        admitted: Admitted,
        request: Request,
        framing: Framing,
        head_bytes: u64,
    ) -> Reply {
        let Admitted {
            claim,
            place,
            permit,
            store_was_asked,
        } = admitted;
        let claimed = Claimed {
            slot: claim.slot.clone(),
            commit: claim.commit,
        };
        let position = place.as_ref().and_then(|place| place.position);
        let connection = Arc::clone(self.connection);
        let began = Instant::now();
        let mut socket_was_read = false;
        let mut request = Some(request);
        let here = request.take_if(|_| self.body_is_here(framing, head_bytes));
        let first_bytes = here.map(|request| {
            let (first_bytes, was_read) = self.first_bytes(request, framing);
            socket_was_read = was_read;
            first_bytes
        });
        let task = Task {
            claim,
            place,
            store_was_asked,
            first_bytes,
        };
        let running = match self.shared.uploads.start(permit, connection, task) {
            Ok(running) => running,
            Err(error) => {
                events::no_thread(&error);
                let refusal = Refusal::TooManyUploads {
                    uploads_max: self.shared.uploads.running(),
                };
                self.log_refused_upload(&claimed, &refusal, 0);
                return self.reply_unread(Answer::refusal(&refusal), framing);
            }
        };
        let end = self.see_through(&running, request, framing, socket_was_read);
        let draining = self.shared.draining.load(Ordering::Acquire);
        // may_minihttp sleeps until more arrives. If the wait for the first bytes has used up that
        // call already, what lies here unread would wait for the watchdog: the peer asks anew. A peer
        // that did not wait for the answers before this one may lose them with the connection.
        let next_is_here = sys::unread_bytes(self.connection.socket()).is_ok_and(|n| n > 0);
        let would_sleep = end.socket_was_read && next_is_here;
        let closes = framing.closes || draining || !end.body_taken || would_sleep;
        let answer = match end.result {
            Ok(published) => {
                if published.fresh || end.taken_bytes > 0 {
                    self.shared.meters.upload_seconds.add(began.elapsed());
                }
                self.stored(&published, position, end.taken_bytes)
            }
            Err(refusal) => {
                self.log_refused_upload(&claimed, &refusal, end.taken_bytes);
                Answer::refusal(&refusal)
            }
        };
        Reply { answer, closes }
    }

    fn stored(self, published: &Published, position: Option<u32>, bytes: u64) -> Answer {
        let (receipt, peer) = (&published.receipt, self.connection.peer());
        let status = match published.fresh {
            true => {
                events::stored(receipt, peer);
                201
            }
            false => {
                events::stored_already(receipt, peer);
                self.note_stored_already(&receipt.host, bytes);
                200
            }
        };
        Answer::json(status, receipt).with_header(self.shared.positions.line(position))
    }

    /// Whether taking the body's first bytes waits for nothing: the peer sends it unasked, and some
    /// of it lies in the socket, or all of it came with the head.
    fn body_is_here(self, framing: Framing, head_bytes: u64) -> bool {
        if framing.expects_continue || framing.length == 0 {
            return false;
        }
        let is_whole = |taken| taken >= head_bytes + framing.length;
        sys::unread_bytes(self.connection.socket()).is_ok_and(|unread| unread > 0)
            || self.connection.head_bytes().is_some_and(is_whole)
    }

    /// Accompanies the body thread to its end. `request` still holds the body's first bytes, if
    /// they were not taken yet.
    fn see_through(
        self,
        running: &Running,
        request: Option<Request>,
        framing: Framing,
        socket_was_read: bool,
    ) -> End {
        let (mut request, mut socket_was_read) = (request, socket_was_read);
        loop {
            let done = match running.next() {
                Some(Told::Ready) => {
                    if let Some(request) = request.take() {
                        let (first_bytes, was_read) = self.first_bytes(request, framing);
                        socket_was_read = was_read;
                        running.hand_over(first_bytes);
                    }
                    continue;
                }
                Some(Told::Done(done)) => *done,
                None => Done {
                    result: Err(Refusal::Internal),
                    taken_bytes: 0,
                    body_taken: false,
                },
            };
            return End {
                result: done.result,
                taken_bytes: done.taken_bytes,
                body_taken: done.body_taken,
                socket_was_read,
            };
        }
    }

    /// The body's first bytes, and whether the socket was read for them.
    fn first_bytes(self, request: Request, framing: Framing) -> (Block, bool) {
        let taken_before = self.connection.taken_bytes();
        let first_bytes = self.held_bytes(request, framing);
        let taken = self.connection.taken_bytes();
        // Where the kernel does not count, it may have been.
        (first_bytes, taken.is_none() || taken != taken_before)
    }

    /// Asks the peer to go on if it waits for that, and empties what may_minihttp has read of the
    /// body. Empty if the peer is gone, which the body thread then sees for itself.
    fn held_bytes(self, request: Request, framing: Framing) -> Block {
        let store = &self.shared.store;
        // Not dropped: its drop would read what is left of the body, here, in the coroutine.
        let mut body = ManuallyDrop::new(request.body());
        if framing.length == 0 {
            return store.copy_of(&[]);
        }
        if framing.expects_continue {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            let written = self.connection.write_directly(go_on);
            if !written.is_ok_and(|written| written == go_on.len()) {
                self.connection.kill();
                return store.copy_of(&[]);
            }
        }
        // With nothing held it waits for the socket, hence the phase: the watchdog has an eye on it.
        self.connection.enter(Phase::FirstBytes);
        let first = store.copy_of(body.fill_buf().unwrap_or_default());
        body.consume(first.bytes());
        self.connection.enter(Phase::Busy);
        first
    }
}
