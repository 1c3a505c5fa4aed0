//! Carries out the verdicts: on each upload, and on each held commit that the gate was asked about.
//! `verdict` decides; nothing here looks at a status.

use std::time::{Duration, Instant};

use super::client::{Answer, NoAnswer, Upload};
use super::cycle::{NoRoom, Shipper};
use super::moves::{self, IntoShipped, Why};
use super::outbox;
use super::state::{self, GateSeen, Success};
use super::verdict::{Accepted, HoldVerdict, Verdict, Wait, hold_verdict, verdict};
use crate::events;
use crate::names::{CommitHash, EpisodeId};
use crate::wire::{Problem, Receipt};

/// This many garbled heads in a row, of one episode or of several, are the fault of the way to the
/// receiver and not of an episode.
const GARBLED_IN_ROW_MAX: u32 = 3;

/// How many commits' places are remembered, so that each change is logged once. A window has at most
/// this many commits.
const PLACES_MAX: usize = 10_000;

impl Shipper {
    /// Carries out the verdict on an upload. A broken connection while the process ends is no fault.
    pub(super) fn obey(
        &mut self,
        upload: &Upload<'_>,
        heard: Result<Answer, NoAnswer>,
        took: Duration,
    ) {
        if heard.is_err() && self.wakeup.stop.is_set() {
            return;
        }
        let verdict = verdict(upload, heard.as_ref());
        if heard.is_ok() && !matches!(verdict, Verdict::Garbled(_)) {
            self.garbled_in_row = 0;
        }
        let id = &upload.slot.episode;
        match verdict {
            Verdict::Accepted(accepted) => self.accepted(upload, &accepted, took),
            Verdict::ReceiptWrong { status, wait } => {
                events::receipt_wrong(upload.slot, status, &wait.why);
                self.defer_with_all(id, wait.asked, &wait.why);
            }
            Verdict::Held(problem) => self.held(upload.commit, &problem),
            Verdict::SetAside(problem) => {
                self.away.reset();
                self.refuse(id, &Why::of_problem(&problem, upload.commit));
            }
            Verdict::Recheck(wait) => self.recheck(id, &wait),
            Verdict::Garbled(wait) => self.garbled(id, &wait),
            Verdict::TooLargeForProxy(wait) => {
                events::too_large_for_proxy(upload.slot, upload.bytes, &wait.why);
                self.no_room(id, &wait);
            }
            Verdict::NoRoom(wait) => self.no_room(id, &wait),
            Verdict::Stumbled(wait) => {
                self.away.reset();
                self.defer(id, wait.asked, &wait.why);
            }
            Verdict::NotLetIn { status, wait } => {
                events::not_let_in(status, &wait.why);
                self.defer_all(wait.asked, &wait.why);
            }
            Verdict::PreconditionFailed(wait)
            | Verdict::Away(wait)
            | Verdict::Unreachable(wait) => self.defer_all(wait.asked, &wait.why),
            // If the fault is the episode's, its own waits soon grow longer than the wait that all
            // episodes share, which the next answer ends.
            Verdict::CutOff(wait) => self.defer_with_all(id, wait.asked, &wait.why),
            Verdict::OwnFile { why } => self.repack(id, &why),
        }
    }

    fn accepted(&mut self, upload: &Upload<'_>, accepted: &Accepted, took: Duration) {
        let Accepted {
            status,
            receipt,
            gate_position,
        } = accepted;
        let id = &upload.slot.episode;
        self.away.reset();
        let Some(sent) = self.backlog.get(id).and_then(|entry| entry.seal) else {
            return;
        };
        match moves::into_shipped(&self.root, id, &sent, receipt) {
            Ok(IntoShipped::Changed) => self.changed_after_sending(upload.slot, receipt),
            Ok(IntoShipped::As(name)) => {
                events::shipped(upload.slot, *status, upload.bytes, receipt.seq, &name, took);
                self.shipped += 1;
                self.backlog.remove(id);
                self.holds.accepted(&upload.commit);
                self.note_success(upload, receipt);
                self.note_place(upload.commit, *gate_position);
            }
            Err(error) => self.move_failed(id, "shipped", &error),
        }
    }

    fn note_success(&mut self, upload: &Upload<'_>, receipt: &Receipt) {
        let success = Success {
            at: state::now(),
            episode: upload.slot.episode.clone(),
            bytes: upload.bytes,
            seq: receipt.seq,
        };
        self.state.update(|state| {
            state.last_success = Some(success);
            if let Some(trouble) = &mut state.last_error {
                trouble.over = true;
            }
        });
    }

    /// Notes the commit's place in the window. Each change is logged while the commit is about to fall
    /// out of the window.
    fn note_place(&mut self, commit: CommitHash, place: Option<(u32, u32)>) {
        let Some((position, window)) = place else {
            return;
        };
        let seen = GateSeen {
            at: state::now(),
            commit,
            position,
            window,
        };
        if self.places.len() >= PLACES_MAX {
            self.places.clear();
        }
        // By commit: when episodes of two commits alternate, neither place has changed.
        let remembered = self.state.get().gate.as_ref();
        let before = self.places.insert(commit, (position, window)).or(remembered
            .filter(|gate| gate.commit == commit)
            .map(|gate| (gate.position, gate.window)));
        if before != Some((position, window)) && seen.is_soon_out() {
            events::falling_out(&commit, position, window, seen.remaining());
        }
        self.state.update(|state| state.gate = Some(seen));
    }

    /// All episodes of the commit wait for the gate. The remediation is logged once.
    fn held(&mut self, commit: CommitHash, problem: &Problem) {
        self.away.reset();
        if self.holds.hold(commit, problem) {
            events::held(&commit, problem);
        }
        // The commit has left the window, so the place that was noted is out of date.
        self.state.update(|state| {
            if state
                .gate
                .as_ref()
                .is_some_and(|gate| gate.commit == commit)
            {
                state.gate = None;
            }
        });
        self.keep_holds();
    }

    /// A proxy in between changes our heads: with one episode that may be chance, with three it is a rule.
    fn garbled(&mut self, id: &EpisodeId, wait: &Wait) {
        self.garbled_in_row += 1;
        events::garbled(id, self.garbled_in_row, &wait.why);
        if self.garbled_in_row >= GARBLED_IN_ROW_MAX {
            return self.defer_with_all(id, wait.asked, &wait.why);
        }
        self.away.reset();
        self.defer(id, wait.asked, &wait.why);
    }

    /// The receiver got other bytes than were stated: they were damaged on the way, or on our own disk.
    fn recheck(&mut self, id: &EpisodeId, wait: &Wait) {
        self.away.reset();
        let Some(entry) = self.backlog.get(id) else {
            return;
        };
        let Some(seal) = entry.seal else {
            return;
        };
        let is_first_time = entry.backoff.failures() == 0;
        match outbox::is_whole(&self.root, id, &seal) {
            Ok(true) => self.defer(id, wait.asked, &wait.why),
            Ok(false) => self.repack(
                id,
                "its tarball is damaged on this disk: it is packed again",
            ),
            Err(error) => self.repack(id, &format!("cannot read its tarball: {error}")),
        }
        // The first mismatch is chance and is retried at once. A second one is a fault, and waits.
        if is_first_time && let Some(entry) = self.backlog.get_mut(id) {
            entry.backoff.retry_now();
        }
    }

    /// No body of this size gets in, so larger ones wait with this episode; smaller ones may still fit.
    fn no_room(&mut self, id: &EpisodeId, wait: &Wait) {
        self.away.reset();
        self.defer(id, wait.asked, &wait.why);
        if let Some(entry) = self.backlog.get(id) {
            self.no_room = entry.backoff.not_before().map(|until| NoRoom {
                bytes: entry.bytes_to_send(),
                until,
            });
        }
    }

    /// Asks about the held commits that are due.
    pub(super) fn ask_gate(&mut self) {
        let now = Instant::now();
        if !self.is_due(&self.away, now) {
            return;
        }
        for commit in self.holds.due(now) {
            let heard = self.receiver.gate(&commit);
            if self.wakeup.stop.is_set() {
                return;
            }
            match hold_verdict(heard.as_ref()) {
                HoldVerdict::Released(place) => {
                    self.away.reset();
                    events::released(&commit);
                    self.holds.release(&commit);
                    self.note_place(commit, place);
                }
                HoldVerdict::Held(problem) => self.held(commit, &problem),
                // One such answer speaks for all commits: the others are not asked about.
                HoldVerdict::Away(wait) => {
                    self.failed = true;
                    self.holds.ask_later(&commit);
                    return self.defer_all(wait.asked, &wait.why);
                }
                HoldVerdict::Unclear { why } => {
                    self.failed = true;
                    self.holds.ask_later(&commit);
                    events::gate_unclear(&commit, &why);
                    self.note_trouble(None, why);
                }
            }
        }
        self.keep_holds();
    }
}
