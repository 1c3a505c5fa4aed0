//! What the shipper does next, decided from one answer: the right-hand column of the table in design
//! section 2, and the same for the gate. Pure: `answers` carries the verdicts out.
//!
//! 1. An episode leaves the queue only by an answer in the receiver's own words: a receipt that
//!    names what was sent, or a problem of the receiver's kinds. A proxy's page never moves one.
//! 2. A fault of one episode makes that episode wait; a fault of the receiver or of the way to it
//!    makes all episodes wait.
//! 3. A status that is not in the table makes all episodes wait, and moves none.

use std::time::Duration;

use super::client::{Answer, NoAnswer, Upload};
use crate::wire::{self, GateVerdict, Known, Problem, Receipt};

/// The problem of a name that the receiver's grammar does not allow.
const BAD_NAME: &str = "bad-name";
const REPORT_TOO_LARGE: &str = "report-too-large";

/// What the shipper does after one upload. Each answer, and each way to get none, has one of these.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The receiver has the episode: keep the receipt, clean up.
    Accepted(Accepted),
    /// 200 or 201 without a receipt for what was sent. Whose fault that is cannot be known: this
    /// episode waits, and so do all.
    ReceiptWrong { status: u16, wait: Wait },
    /// The gate refuses the commit: hold every episode of that commit until the gate admits it.
    Held(Problem),
    /// These bytes will always get this answer: move the episode to refused/, for a person.
    SetAside(Problem),
    /// The receiver got other bytes than were stated: read our own file again; resend it if it is
    /// whole, repack it if not.
    Recheck(Wait),
    /// Our head did not arrive as we sent it, since our heads are well-formed: a proxy in between
    /// lost a header. Keep the episode and log an error; after three in a row all wait.
    Garbled(Wait),
    /// A proxy in between accepts no body of this size: this episode and larger ones wait.
    TooLargeForProxy(Wait),
    /// The receiver's disk has no room for a body of this size: this episode and larger ones wait.
    NoRoom(Wait),
    /// The receiver failed on this episode, or its body came too slowly: this episode waits.
    Stumbled(Wait),
    /// The token is missing or wrong: all wait, and an error is logged.
    NotLetIn { status: u16, wait: Wait },
    /// A proxy in between added a condition to our request, and it does not hold. That is no answer
    /// about the commit: all wait.
    PreconditionFailed(Wait),
    /// The receiver, or a proxy in its place, accepts nothing now: all wait.
    Away(Wait),
    /// No connection came about: all wait.
    Unreachable(Wait),
    /// The connection broke before a whole answer came. Whose fault that is cannot be known: this
    /// episode waits, and so do all.
    CutOff(Wait),
    /// The tarball could not be read: repack it.
    OwnFile { why: String },
}

/// A stored episode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    /// 201 if the episode was stored now, 200 if the receiver had it before.
    pub status: u16,
    pub receipt: Receipt,
    /// The commit's place in the window, and the window's length.
    pub gate_position: Option<(u32, u32)>,
}

/// Why something is tried again later.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// The answer's `Retry-After`.
    pub asked: Option<Duration>,
    /// One line for the log and `state.json`.
    pub why: String,
}

/// What the shipper does after asking the gate about a held commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HoldVerdict {
    /// The gate admits the commit: send its episodes. With the commit's place in the window and the
    /// window's length.
    Released(Option<(u32, u32)>),
    /// The gate still refuses the commit.
    Held(Problem),
    /// The gate cannot judge any commit now, or no answer came: all wait.
    Away(Wait),
    /// The answer is not one that a gate gives: this commit stays held, and is asked about later.
    Unclear { why: String },
}

/// The verdict on an upload.
pub(super) fn verdict(upload: &Upload<'_>, heard: Result<&Answer, &NoAnswer>) -> Verdict {
    match heard {
        Ok(answer) => on_answer(upload, answer),
        Err(no_answer) => on_no_answer(no_answer),
    }
}

/// The verdict on a held commit, from the answer to `GET /v1/gate/{commit}`.
pub(super) fn hold_verdict(heard: Result<&Answer, &NoAnswer>) -> HoldVerdict {
    let answer = match heard {
        Ok(answer) => answer,
        Err(no_answer) => return HoldVerdict::Away(Wait::without_answer(no_answer)),
    };
    let admitted = answer.json().filter(|gate: &GateVerdict| gate.allowed);
    match (answer.status, admitted) {
        (200, Some(gate)) => {
            HoldVerdict::Released(gate.position.map(|position| (position, gate.window)))
        }
        (412, _) => HoldVerdict::Held(problem_of_hold(answer)),
        (503, _) => HoldVerdict::Away(Wait::for_answer(answer)),
        _ => HoldVerdict::Unclear {
            why: answer.words(),
        },
    }
}

/// `Some` problem is the receiver's own; `None` is an answer in somebody else's words.
fn on_answer(upload: &Upload<'_>, answer: &Answer) -> Verdict {
    let status = answer.status;
    let wait = || Wait::for_answer(answer);
    match (status, answer.problem()) {
        (200 | 201, _) => on_receipt(upload, answer),
        (400, Some(problem)) if problem.name() == Some(BAD_NAME) => Verdict::SetAside(problem),
        (400, _) => Verdict::Garbled(wait()),
        (401 | 403, _) => Verdict::NotLetIn {
            status,
            wait: wait(),
        },
        (408 | 500, _) => Verdict::Stumbled(wait()),
        // It is about the rest of a broken upload, and no refusal of the episode.
        (409, Some(problem)) if problem.name() == Some(wire::OFFSET_MISMATCH) => {
            Verdict::Stumbled(wait())
        }
        // About a report on the queue: something between has mixed up two answers.
        (413, Some(problem)) if problem.name() == Some(REPORT_TOO_LARGE) => Verdict::Away(wait()),
        (409 | 413, Some(problem)) => Verdict::SetAside(problem),
        (412, Some(problem)) if problem.kind == wire::PRECONDITION_FAILED => {
            Verdict::PreconditionFailed(wait())
        }
        (412, _) => Verdict::Held(problem_of_hold(answer)),
        (413, None) => Verdict::TooLargeForProxy(wait()),
        (422, _) => Verdict::Recheck(wait()),
        (507, _) => Verdict::NoRoom(wait()),
        _ => Verdict::Away(wait()),
    }
}

fn on_no_answer(no_answer: &NoAnswer) -> Verdict {
    let wait = Wait::without_answer(no_answer);
    match no_answer {
        NoAnswer::Unreachable(_) => Verdict::Unreachable(wait),
        NoAnswer::Broken(_) => Verdict::CutOff(wait),
        NoAnswer::OwnFile(_) => Verdict::OwnFile { why: wait.why },
    }
}

fn on_receipt(upload: &Upload<'_>, answer: &Answer) -> Verdict {
    match check_receipt(upload, answer) {
        Ok(receipt) => Verdict::Accepted(Accepted {
            status: answer.status,
            receipt,
            gate_position: answer.gate_position,
        }),
        Err(why) => Verdict::ReceiptWrong {
            status: answer.status,
            wait: Wait {
                asked: answer.retry_after,
                why,
            },
        },
    }
}

/// The answer's receipt.
///
/// Errors: the answer has none, or the receipt is for something else than was sent.
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
    // A receipt of an older receiver may lack the size; an equal digest is enough.
    match receipt.bytes {
        Some(bytes) if bytes != upload.bytes => Err(format!(
            "the receipt has {bytes} bytes, sent were {}",
            upload.bytes
        )),
        _ => Ok(receipt),
    }
}

/// The problem of a 412. A 412 without the receiver's words holds the commit all the same, and moves
/// no episode: the gate is asked soon, and its answer has the words.
fn problem_of_hold(answer: &Answer) -> Problem {
    answer.problem().unwrap_or_else(|| Problem {
        kind: String::new(),
        title: String::new(),
        status: answer.status,
        detail: answer.words(),
        your_commit: None,
        head_commit: None,
        window: None,
        age_seconds: None,
        known: Some(Known::Unknown), // the gate did not say so
        failing_seconds: None,
        remediation: None,
    })
}

impl Wait {
    fn for_answer(answer: &Answer) -> Wait {
        Wait {
            asked: answer.retry_after,
            why: answer.words(),
        }
    }

    fn without_answer(no_answer: &NoAnswer) -> Wait {
        Wait {
            asked: None,
            why: no_answer.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
