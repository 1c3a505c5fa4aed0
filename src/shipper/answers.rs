//! Carries out the verdicts: on each upload, and on each held commit that the gate was asked about.
//! `verdict` decides; nothing here looks at a status.

use std::time::{Duration, Instant};

use super::client::{Answer, NoAnswer, ReceiverClient, Upload};
use super::departures::{Delivery, Leaver};
use super::ending_batch::Destination;
use super::endings::Endings;
use super::entry::Entry;
use super::holds::Holds;
use super::notes::Why;
use super::outbox::{self, Seal};
use super::stop::Stop;
use super::verdict::{Accepted, HoldVerdict, Verdict, Wait, hold_verdict, verdict};
use crate::events;
use crate::names::CommitHash;
use crate::wire::Problem;

/// What an answer may change.
pub(super) struct Answers<'a> {
    pub holds: &'a mut Holds,
    pub endings: &'a mut Endings,
}

/// One upload that is over.
pub(super) struct Attempt<'a> {
    pub upload: &'a Upload<'a>,
    /// Of the tarball that was sent.
    pub seal: Seal,
    /// What was sent lies in outbox/. A small tarball may have been in memory alone.
    pub has_file: bool,
    pub took: Duration,
    /// All wait already, for an answer to another upload that was under way with this one: the same fault
    /// counts once.
    pub all_wait: bool,
}

/// What an answer leads to.
pub(super) enum Judged {
    /// The episode is to be moved out of episodes/.
    Leaves(Box<Leaver>),
    Stays {
        entry: Box<Entry>,
        /// All wait, for the receiver or for the way to it.
        all_wait: bool,
    },
}

impl Answers<'_> {
    /// Carries out the verdict on an upload. `None` if the episode has left for shipped/ or refused/.
    pub(super) fn obey(
        &mut self,
        entry: Entry,
        attempt: &Attempt<'_>,
        heard: Result<Answer, NoAnswer>,
    ) -> Option<Entry> {
        match self.judge(entry, attempt, heard) {
            Judged::Leaves(leaver) => self.endings.let_go(*leaver, self.holds),
            Judged::Stays { entry, .. } => Some(*entry),
        }
    }

    /// Carries out the verdict on an upload, but for the move of an episode that leaves.
    pub(super) fn judge(
        &mut self,
        mut entry: Entry,
        attempt: &Attempt<'_>,
        heard: Result<Answer, NoAnswer>,
    ) -> Judged {
        let upload = attempt.upload;
        let verdict = verdict(upload, heard.as_ref());
        if heard.is_ok() && !matches!(verdict, Verdict::Garbled(_)) {
            self.endings.pace.head_arrived();
        }
        let mut all_wait = false;
        match verdict {
            Verdict::Accepted(accepted) => {
                self.receiver_is_there(attempt);
                let leaver = delivered(entry, attempt, accepted);
                return Judged::Leaves(Box::new(leaver));
            }
            Verdict::SetAside(problem) => {
                self.receiver_is_there(attempt);
                let why = Why::of_problem(&problem, upload.commit);
                return Judged::Leaves(Box::new(Leaver::to_refused(entry, why)));
            }
            Verdict::Held(problem) => {
                self.receiver_is_there(attempt);
                self.held(upload.commit, &problem);
            }
            Verdict::Recheck(wait) => self.recheck(&mut entry, attempt, &wait),
            Verdict::Garbled(wait) => all_wait = self.garbled(&mut entry, attempt, &wait),
            Verdict::TooLargeForProxy(wait) => {
                events::too_large_for_proxy(upload.slot, upload.bytes, &wait.why);
                self.no_room(&mut entry, attempt, &wait);
            }
            Verdict::NoRoom(wait) => self.no_room(&mut entry, attempt, &wait),
            Verdict::Stumbled(wait) => self.stumbled(&mut entry, attempt, &wait),
            Verdict::NotLetIn { status, wait } => {
                events::not_let_in(status, &wait.why);
                all_wait = self.defer_all(attempt, &wait);
            }
            Verdict::PreconditionFailed(wait)
            | Verdict::Away(wait)
            | Verdict::Unreachable(wait) => all_wait = self.defer_all(attempt, &wait),
            Verdict::ReceiptWrong { status, wait } => {
                events::receipt_wrong(upload.slot, status, &wait.why);
                all_wait = self.defer_with_all(&mut entry, attempt, &wait);
            }
            // If the fault is the episode's, its own waits soon grow longer than the wait that all
            // episodes share, which the next answer ends.
            Verdict::CutOff(wait) => all_wait = self.defer_with_all(&mut entry, attempt, &wait),
            Verdict::OwnFile { why } => self.endings.repack(&mut entry, &why),
        }
        Judged::Stays {
            entry: Box::new(entry),
            all_wait,
        }
    }

    /// All episodes of the commit wait for the gate. The remediation is logged once.
    fn held(&mut self, commit: CommitHash, problem: &Problem) {
        if self.holds.hold(commit, problem) {
            events::held(&commit, problem);
        }
        self.endings.report.forget_place(commit);
        self.endings.report.keep_holds(self.holds);
    }

    /// The receiver got other bytes than were stated: they were damaged on the way, or on our own disk.
    fn recheck(&mut self, entry: &mut Entry, attempt: &Attempt<'_>, wait: &Wait) {
        self.receiver_is_there(attempt);
        let endings = &mut *self.endings;
        let is_first_time = entry.backoff().failures() == 0;
        let is_whole = if attempt.has_file {
            outbox::is_whole(&endings.root, &entry.id, &attempt.seal)
        } else {
            // It was made for this upload, and nothing of it is left to look at.
            Ok(true)
        };
        match is_whole {
            Ok(true) => endings.defer(entry, wait.asked, &wait.why),
            Ok(false) => endings.repack(
                entry,
                "its tarball is damaged on this disk: it is packed again",
            ),
            Err(error) => endings.repack(entry, &format!("cannot read its tarball: {error}")),
        }
        // The first mismatch is chance and is retried at once. A second one is a fault, and waits.
        if is_first_time {
            entry.retry_now();
        }
    }

    /// A proxy in between changes our heads: with one episode that may be chance, with three it is a rule.
    /// True if all wait for it.
    fn garbled(&mut self, entry: &mut Entry, attempt: &Attempt<'_>, wait: &Wait) -> bool {
        let in_row = self.endings.pace.head_was_garbled();
        events::garbled(&entry.id, in_row, &wait.why);
        if self.endings.pace.heads_are_garbled() {
            self.defer_with_all(entry, attempt, wait)
        } else {
            self.stumbled(entry, attempt, wait);
            false
        }
    }

    /// No body of this size gets in, so larger ones wait with this episode; smaller ones may still fit.
    fn no_room(&mut self, entry: &mut Entry, attempt: &Attempt<'_>, wait: &Wait) {
        self.stumbled(entry, attempt, wait);
        self.endings.pace.has_no_room_for(entry);
    }

    /// The receiver is there, and this episode waits.
    fn stumbled(&mut self, entry: &mut Entry, attempt: &Attempt<'_>, wait: &Wait) {
        self.receiver_is_there(attempt);
        self.endings.defer(entry, wait.asked, &wait.why);
    }

    /// The receiver answered for itself. That ends no wait which it asked for while this upload was under
    /// way: it may have answered this one before.
    fn receiver_is_there(&mut self, attempt: &Attempt<'_>) {
        if !attempt.all_wait {
            self.endings.pace.receiver_is_there();
        }
    }

    /// The receiver is away: all wait. True as they do.
    fn defer_all(&mut self, attempt: &Attempt<'_>, wait: &Wait) -> bool {
        if attempt.all_wait {
            self.asks_again(wait);
        } else {
            self.endings.defer_all(wait.asked, &wait.why);
        }
        true
    }

    /// All wait already. The receiver may have asked for longer than the first answer had it.
    fn asks_again(&mut self, wait: &Wait) {
        if let Some(asked) = wait.asked {
            self.endings.pace.receiver_asks_for(asked);
        }
    }

    /// The fault may be the episode's or the receiver's: both wait. True as they do.
    fn defer_with_all(&mut self, entry: &mut Entry, attempt: &Attempt<'_>, wait: &Wait) -> bool {
        if attempt.all_wait {
            self.asks_again(wait);
            self.endings.defer(entry, wait.asked, &wait.why);
        } else {
            self.endings.defer_with_all(entry, wait.asked, &wait.why);
        }
        true
    }

    /// Asks about the held commits that are due.
    pub(super) fn ask_gate(&mut self, receiver: &ReceiverClient, stop: &Stop) {
        let now = Instant::now();
        if !self.endings.pace.may_ask(now) {
            return;
        }
        for commit in self.holds.due(now) {
            let heard = receiver.gate(&commit);
            if stop.is_set() {
                return;
            }
            match hold_verdict(heard.as_ref()) {
                HoldVerdict::Released(place) => self.released(commit, place),
                HoldVerdict::Held(problem) => {
                    self.endings.pace.receiver_is_there();
                    self.held(commit, &problem);
                }
                // One such answer speaks for all commits: the others are not asked about.
                HoldVerdict::Away(wait) => {
                    self.ask_later(commit);
                    return self.endings.defer_all(wait.asked, &wait.why);
                }
                HoldVerdict::Unclear { why } => {
                    self.ask_later(commit);
                    events::gate_unclear(&commit, &why);
                    self.endings.report.trouble(None, &why);
                }
            }
        }
        self.endings.report.keep_holds(self.holds);
    }

    fn released(&mut self, commit: CommitHash, place: Option<(u32, u32)>) {
        self.endings.pace.receiver_is_there();
        events::released(&commit);
        self.holds.release(&commit);
        if let Some((position, window)) = place {
            self.endings.report.place(commit, position, window);
        }
    }

    /// The gate did not say whether it admits the commit.
    fn ask_later(&mut self, commit: CommitHash) {
        self.endings.report.set_failed();
        self.holds.ask_later(&commit);
    }
}

fn delivered(entry: Entry, attempt: &Attempt<'_>, accepted: Accepted) -> Leaver {
    let upload = attempt.upload;
    let to = Destination::Shipped {
        sent: attempt.seal,
        receipt: accepted.receipt,
    };
    let delivery = Delivery {
        slot: upload.slot.clone(),
        commit: upload.commit,
        bytes: upload.bytes,
        status: accepted.status,
        gate_position: accepted.gate_position,
        took: attempt.took,
    };
    Leaver::to_shipped(entry, to, delivery)
}
