//! Carries out the verdicts: on each upload, and on each held commit that the gate was asked about.
//! `verdict` decides; nothing here looks at a status.

use std::time::{Duration, Instant};

use super::client::{Answer, NoAnswer, ReceiverClient, Upload};
use super::endings::Endings;
use super::entry::Entry;
use super::holds::Holds;
use super::moves::{self, IntoShipped, Why};
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
    pub took: Duration,
}

impl Answers<'_> {
    /// Carries out the verdict on an upload. `None` if the episode has left for shipped/ or refused/.
    pub(super) fn obey(
        &mut self,
        mut entry: Entry,
        attempt: &Attempt<'_>,
        heard: Result<Answer, NoAnswer>,
    ) -> Option<Entry> {
        let upload = attempt.upload;
        let verdict = verdict(upload, heard.as_ref());
        if heard.is_ok() && !matches!(verdict, Verdict::Garbled(_)) {
            self.endings.pace.head_arrived();
        }
        match verdict {
            Verdict::Accepted(accepted) => return self.accepted(entry, attempt, &accepted),
            Verdict::SetAside(problem) => {
                self.endings.pace.receiver_is_there();
                let why = Why::of_problem(&problem, upload.commit);
                return self.endings.refuse(entry, why);
            }
            Verdict::Held(problem) => self.held(upload.commit, &problem),
            Verdict::Recheck(wait) => self.recheck(&mut entry, &attempt.seal, &wait),
            Verdict::Garbled(wait) => self.garbled(&mut entry, &wait),
            Verdict::TooLargeForProxy(wait) => {
                events::too_large_for_proxy(upload.slot, upload.bytes, &wait.why);
                self.no_room(&mut entry, &wait);
            }
            Verdict::NoRoom(wait) => self.no_room(&mut entry, &wait),
            Verdict::Stumbled(wait) => self.stumbled(&mut entry, &wait),
            Verdict::NotLetIn { status, wait } => {
                events::not_let_in(status, &wait.why);
                self.endings.defer_all(wait.asked, &wait.why);
            }
            Verdict::PreconditionFailed(wait)
            | Verdict::Away(wait)
            | Verdict::Unreachable(wait) => self.endings.defer_all(wait.asked, &wait.why),
            Verdict::ReceiptWrong { status, wait } => {
                events::receipt_wrong(upload.slot, status, &wait.why);
                self.defer_with_all(&mut entry, &wait);
            }
            // If the fault is the episode's, its own waits soon grow longer than the wait that all
            // episodes share, which the next answer ends.
            Verdict::CutOff(wait) => self.defer_with_all(&mut entry, &wait),
            Verdict::OwnFile { why } => self.endings.repack(&mut entry, &why),
        }
        Some(entry)
    }

    fn accepted(
        &mut self,
        mut entry: Entry,
        attempt: &Attempt<'_>,
        accepted: &Accepted,
    ) -> Option<Entry> {
        let Accepted {
            status,
            receipt,
            gate_position,
        } = accepted;
        let upload = attempt.upload;
        let endings = &mut *self.endings;
        endings.pace.receiver_is_there();
        match moves::into_shipped(&endings.root, &entry.id, &attempt.seal, receipt) {
            Ok(IntoShipped::Changed) => {
                endings.changed_after_sending(&mut entry, upload.slot, receipt);
                Some(entry)
            }
            Ok(IntoShipped::As(name)) => {
                let seq = receipt.seq;
                events::shipped(upload.slot, *status, upload.bytes, seq, &name, attempt.took);
                self.holds.accepted(&upload.commit);
                endings.report.shipped(upload, receipt);
                if let Some((position, window)) = *gate_position {
                    endings.report.place(upload.commit, position, window);
                }
                None
            }
            Err(error) => Some(endings.move_failed(entry, "shipped", &error)),
        }
    }

    /// All episodes of the commit wait for the gate. The remediation is logged once.
    fn held(&mut self, commit: CommitHash, problem: &Problem) {
        self.endings.pace.receiver_is_there();
        if self.holds.hold(commit, problem) {
            events::held(&commit, problem);
        }
        self.endings.report.forget_place(commit);
        self.endings.report.keep_holds(self.holds);
    }

    /// The receiver got other bytes than were stated: they were damaged on the way, or on our own disk.
    fn recheck(&mut self, entry: &mut Entry, seal: &Seal, wait: &Wait) {
        let endings = &mut *self.endings;
        endings.pace.receiver_is_there();
        let is_first_time = entry.backoff().failures() == 0;
        match outbox::is_whole(&endings.root, &entry.id, seal) {
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
    fn garbled(&mut self, entry: &mut Entry, wait: &Wait) {
        let in_row = self.endings.pace.head_was_garbled();
        events::garbled(&entry.id, in_row, &wait.why);
        if self.endings.pace.heads_are_garbled() {
            self.defer_with_all(entry, wait);
        } else {
            self.stumbled(entry, wait);
        }
    }

    /// No body of this size gets in, so larger ones wait with this episode; smaller ones may still fit.
    fn no_room(&mut self, entry: &mut Entry, wait: &Wait) {
        self.stumbled(entry, wait);
        self.endings.pace.has_no_room_for(entry);
    }

    /// The receiver is there, and this episode waits.
    fn stumbled(&mut self, entry: &mut Entry, wait: &Wait) {
        self.endings.pace.receiver_is_there();
        self.endings.defer(entry, wait.asked, &wait.why);
    }

    fn defer_with_all(&mut self, entry: &mut Entry, wait: &Wait) {
        self.endings.defer_with_all(entry, wait.asked, &wait.why);
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
                HoldVerdict::Held(problem) => self.held(commit, &problem),
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
