//! What the receiver said, done: the right-hand column of the table in design section 2.
//!
//! 1. An episode leaves the queue only by an answer in the receiver's own words: a receipt that
//!    names what was sent, or a problem of its kinds. A proxy's page never moves one.
//! 2. What an answer means for this episode alone defers this one; what it means for all, all.

use std::time::{Duration, Instant};

use super::cycle::{NoRoom, Shipper};
use super::moves::{self, IntoShipped, Why};
use super::outbox;
use super::state::{self, GateSeen, Success};
use super::transport::{Answer, NoAnswer, Upload};
use crate::events;
use crate::names::{CommitHash, EpisodeId};
use crate::wire::{GateVerdict, Known, Outcome, Problem, Receipt};

/// So many garbled heads in a row, of whatever episodes, are no episode's affair.
const GARBLED_IN_ROW_MAX: u32 = 3;

/// Places that are remembered, so that each change is told once. A window has this many at most.
const PLACES_MAX: usize = 10_000;

impl Shipper {
    /// Does what the answer to an upload says.
    pub(super) fn obey(
        &mut self,
        upload: &Upload<'_>,
        heard: Result<Answer, NoAnswer>,
        took: Duration,
    ) {
        let id = &upload.slot.episode;
        let answer = match heard {
            Ok(answer) => answer,
            Err(_) if self.bell.stop.is_set() => return,
            Err(no_answer) => return self.no_answer(id, &no_answer),
        };
        let problem = answer.problem();
        let outcome = Outcome::of(answer.status, problem.as_ref().and_then(Problem::name));
        if outcome != Outcome::Garbled {
            self.garbled_in_row = 0;
        }
        match outcome {
            Outcome::Accepted => self.accepted(upload, &answer, took),
            Outcome::Held if answer.is_another_condition() => self.deferred(id, &answer),
            Outcome::Held => self.held(upload.commit, &answer),
            Outcome::SetAside => self.set_aside(upload, problem.as_ref()),
            Outcome::Recheck => self.recheck(id, &answer),
            Outcome::Garbled => self.garbled(id, &answer),
            Outcome::TooLargeForProxy => self.too_large_for_proxy(upload, &answer),
            Outcome::Deferred => self.deferred(id, &answer),
        }
    }

    fn no_answer(&mut self, id: &EpisodeId, no_answer: &NoAnswer) {
        let why = no_answer.to_string();
        match no_answer {
            NoAnswer::Unreachable(_) => self.defer_all(None, &why),
            // Whose fault it was cannot be told. If the episode's, its waits soon grow longer
            // than the one that all share, which the next answer ends.
            NoAnswer::Broken(_) => self.defer_with_all(id, None, &why),
            NoAnswer::OwnFile(_) => self.repack(id, &why),
        }
    }

    fn accepted(&mut self, upload: &Upload<'_>, answer: &Answer, took: Duration) {
        let id = &upload.slot.episode;
        let receipt = match check_receipt(upload, answer) {
            Ok(receipt) => receipt,
            Err(why) => {
                events::receipt_wrong(upload.slot, answer.status, &why);
                return self.defer_with_all(id, answer.retry_after, &why);
            }
        };
        self.away.reset();
        let Some(sent) = self.backlog.get(id).and_then(|entry| entry.seal) else {
            return;
        };
        match moves::into_shipped(&self.root, id, &sent, &receipt) {
            Ok(IntoShipped::Changed) => self.changed_after_sending(upload.slot, &receipt),
            Ok(IntoShipped::As(name)) => {
                events::shipped(
                    upload.slot,
                    answer.status,
                    upload.bytes,
                    receipt.seq,
                    &name,
                    took,
                );
                self.shipped += 1;
                self.backlog.remove(id);
                self.holds.accepted(&upload.commit);
                self.note_success(upload, &receipt);
                self.note_place(upload.commit, answer.gate_position);
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

    /// The commit's place in the window; a person hears of it before it falls out, once a change.
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
        // By commit: episodes of two that come in turns are no change of either.
        let remembered = self.state.get().gate.as_ref();
        let before = self.places.insert(commit, (position, window)).or(remembered
            .filter(|gate| gate.commit == commit)
            .map(|gate| (gate.position, gate.window)));
        if before != Some((position, window)) && seen.is_soon_out() {
            events::falling_out(&commit, position, window, seen.remaining());
        }
        self.state.update(|state| state.gate = Some(seen));
    }

    /// All episodes of the commit wait for the gate. The remediation is told once.
    fn held(&mut self, commit: CommitHash, answer: &Answer) {
        self.away.reset();
        // Without the receiver's words it is a hold all the same; the gate is asked for them soon.
        let problem = answer.problem().unwrap_or_else(|| wordless(answer));
        if self.holds.hold(commit, &problem) {
            events::held(&commit, &problem);
        }
        // The place that it had is no longer true.
        self.state.update(|state| {
            state.gate.take_if(|gate| gate.commit == commit);
        });
        self.keep_holds();
    }

    fn set_aside(&mut self, upload: &Upload<'_>, problem: Option<&Problem>) {
        let Some(problem) = problem else {
            return;
        };
        self.away.reset();
        self.refuse(
            &upload.slot.episode,
            &Why::of_problem(problem, upload.commit),
        );
    }

    /// A proxy in between changes our heads: with one episode that may be chance, with three it is a rule.
    fn garbled(&mut self, id: &EpisodeId, answer: &Answer) {
        let why = answer.words();
        self.garbled_in_row += 1;
        events::garbled(id, self.garbled_in_row, &why);
        if self.garbled_in_row >= GARBLED_IN_ROW_MAX {
            return self.defer_with_all(id, answer.retry_after, &why);
        }
        self.away.reset();
        self.defer(id, answer.retry_after, &why);
    }

    /// What is as large waits with it; smaller ones may pass.
    fn too_large_for_proxy(&mut self, upload: &Upload<'_>, answer: &Answer) {
        let why = answer.words();
        events::too_large_for_proxy(upload.slot, upload.bytes, &why);
        self.away.reset();
        self.no_room(&upload.slot.episode, answer.retry_after, &why);
    }

    /// What arrived is not what was stated: on the way, or on our own disk?
    fn recheck(&mut self, id: &EpisodeId, answer: &Answer) {
        self.away.reset();
        let Some(entry) = self.backlog.get(id) else {
            return;
        };
        let Some(seal) = entry.seal else {
            return;
        };
        let first_time = entry.backoff.failures() == 0;
        match outbox::is_whole(&self.root, id, &seal) {
            Ok(true) => self.defer(id, answer.retry_after, &answer.words()),
            Ok(false) => self.repack(
                id,
                "its tarball is damaged on this disk: it is packed again",
            ),
            Err(error) => self.repack(id, &format!("cannot read its tarball: {error}")),
        }
        // The first time is bad luck and is made good at once. After that it is a fault.
        if let Some(entry) = self.backlog.get_mut(id).filter(|_| first_time) {
            entry.backoff.retry_now();
        }
    }

    /// Not now: of this episode, of all that are as large, or of all.
    fn deferred(&mut self, id: &EpisodeId, answer: &Answer) {
        let why = answer.words();
        match answer.status {
            // The receiver stumbled over this one. 408: it came too slowly.
            408 | 500 => {
                self.away.reset();
                self.defer(id, answer.retry_after, &why);
            }
            507 => {
                self.away.reset();
                self.no_room(id, answer.retry_after, &why);
            }
            401 | 403 => {
                events::not_let_in(answer.status, &why);
                self.defer_all(answer.retry_after, &why);
            }
            _ => self.defer_all(answer.retry_after, &why),
        }
    }

    /// There is no way in for one of this size; smaller ones may still fit.
    fn no_room(&mut self, id: &EpisodeId, asked: Option<Duration>, why: &str) {
        self.defer(id, asked, why);
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
            if self.bell.stop.is_set() {
                return;
            }
            match heard {
                // Not ready to say of any: the others are not asked.
                Ok(answer) if answer.status == 503 => {
                    self.failed = true;
                    self.holds.ask_later(&commit);
                    return self.defer_all(answer.retry_after, &answer.words());
                }
                Ok(answer) => self.gate_said(commit, &answer),
                Err(no_answer) => {
                    self.failed = true;
                    self.holds.ask_later(&commit);
                    // One silence speaks for all.
                    return self.defer_all(None, &no_answer.to_string());
                }
            }
        }
        self.keep_holds();
    }

    fn gate_said(&mut self, commit: CommitHash, answer: &Answer) {
        let verdict = answer.json::<GateVerdict>();
        match (answer.status, verdict) {
            (200, Some(verdict)) if verdict.allowed => {
                self.away.reset();
                events::released(&commit);
                self.holds.release(&commit);
                let place = verdict.position.map(|position| (position, verdict.window));
                self.note_place(commit, place);
            }
            (412, _) => self.held(commit, answer),
            _ => {
                self.failed = true;
                self.holds.ask_later(&commit);
                let why = answer.words();
                events::gate_unclear(&commit, &why);
                self.note_trouble(None, why);
            }
        }
    }
}

/// The receipt, if it is one for what was sent.
fn check_receipt(upload: &Upload<'_>, answer: &Answer) -> Result<Receipt, String> {
    let receipt: Receipt = answer.json().ok_or_else(|| {
        format!(
            "{} without a receipt: a proxy's page? {}",
            answer.status,
            answer.words()
        )
    })?;
    if receipt.slot() != *upload.slot {
        return Err(format!("the receipt is for {}", receipt.slot()));
    }
    if receipt.sha256 != upload.sha256 {
        return Err(format!(
            "the receipt has the digest {}, sent was {}",
            receipt.sha256, upload.sha256
        ));
    }
    // Rows of older receivers may lack the size; the digest says it all.
    match receipt.bytes {
        Some(bytes) if bytes != upload.bytes => Err(format!(
            "the receipt has {bytes} bytes, sent were {}",
            upload.bytes
        )),
        _ => Ok(receipt),
    }
}

fn wordless(answer: &Answer) -> Problem {
    Problem {
        kind: String::new(),
        title: String::new(),
        status: answer.status,
        detail: answer.words(),
        your_commit: None,
        head_commit: None,
        window: None,
        age_seconds: None,
        known: Some(Known::Unknown), // whoever said it, it was not the gate
        failing_seconds: None,
        remediation: None,
    }
}
