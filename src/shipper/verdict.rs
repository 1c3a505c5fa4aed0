//! What the shipper does next, decided from one answer: the right-hand column of the table in design
//! section 2, and the same for the gate. Pure: `answers` carries the verdicts out.
//!
//! 1. An episode leaves the queue only by an answer in the receiver's own words: a receipt that
//!    names what was sent, or a problem of the receiver's kinds. A proxy's page never moves one.
//! 2. A fault of one episode makes that episode wait; a fault of the receiver or of the way to it
//!    makes all episodes wait.
//! 3. A status that is not in the table makes all episodes wait, and moves none.

use std::time::Duration;

use super::transport::{Answer, NoAnswer, Upload};
use crate::wire::{self, GateVerdict, Known, Problem, Receipt};

/// The problem of a name that the receiver's grammar does not allow.
const BAD_NAME: &str = "bad-name";

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
mod tests {
    use std::fs::File;
    use std::io;

    use super::*;
    use crate::names::{CommitHash, Sha256Digest};
    use crate::refusal_table::{self, Fate};
    use crate::shipper::transport::Unreached;
    use crate::wire::Slot;

    const COMMIT: &str = "1111111111111111111111111111111111111111";
    const SHA256: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
    const BYTES: u64 = 1000;
    const PAGE: &str = "<h1>from a proxy</h1>";

    /// The verdict on an upload of `lab-1/ep-1`.
    fn verdict_on(heard: Result<&Answer, &NoAnswer>) -> Verdict {
        let slot = Slot::parse("lab-1/ep-1").unwrap();
        let file = File::open("/dev/null").unwrap();
        let upload = Upload {
            slot: &slot,
            commit: CommitHash::parse(COMMIT).unwrap(),
            dirty: false,
            sha256: Sha256Digest::parse(SHA256).unwrap(),
            bytes: BYTES,
            file: &file,
        };
        verdict(&upload, heard)
    }

    /// An answer in the receiver's own words, which asks for 7 seconds.
    fn ours(status: u16, name: &str) -> Answer {
        let body =
            format!(r#"{{"type":"urn:cis490:problem:{name}","status":{status},"detail":"words"}}"#);
        let mut answer = Answer::of(status, &body);
        answer.retry_after = Some(Duration::from_secs(7));
        answer
    }

    fn receipt(host: &str, episode: &str, sha256: &str, size: &str) -> String {
        format!(r#"{{"host":"{host}","episode":"{episode}","sha256":"{sha256}"{size}}}"#)
    }

    fn unreached() -> Unreached {
        Unreached {
            why: "refused".to_owned(),
            tls_remedy: None,
        }
    }

    /// A verdict's name, such as `NoRoom`.
    fn name(verdict: &Verdict) -> String {
        let text = format!("{verdict:?}");
        text.split([' ', '(']).next().unwrap().to_owned()
    }

    /// The manual of refusals says what becomes of an episode, and this table does it.
    #[test]
    fn each_refusal_does_with_the_episode_what_its_manual_says() {
        for entry in refusal_table::ENTRIES {
            let verdict = verdict_on(Ok(&ours(entry.status, entry.name)));
            let fate = match &verdict {
                Verdict::Held(_) => Fate::Held,
                Verdict::SetAside(_) => Fate::SetAside,
                Verdict::Recheck(_) => Fate::Checked,
                _ => Fate::Waits,
            };
            let is_unaffected = entry.episode == Fate::Unaffected && fate == Fate::Waits;
            assert!(
                is_unaffected || entry.episode == fate,
                "{}: {verdict:?}",
                entry.name
            );
        }
    }

    /// The right-hand column of the table in design section 2: a status, the name of the receiver's
    /// problem, the verdict on it, and the verdict on a proxy's page of that status.
    #[test]
    fn each_answer_has_one_verdict() {
        for (status, problem, in_our_words, in_a_proxys) in [
            (200, "any", "ReceiptWrong", "ReceiptWrong"),
            (201, "any", "ReceiptWrong", "ReceiptWrong"),
            (400, "bad-name", "SetAside", "Garbled"),
            (400, "bad-head", "Garbled", "Garbled"),
            (400, "bad-commit", "Garbled", "Garbled"),
            (401, "no-token", "NotLetIn", "NotLetIn"),
            (403, "wrong-host", "NotLetIn", "NotLetIn"),
            (408, "too-slow", "Stumbled", "Stumbled"),
            (409, "taken", "SetAside", "Away"),
            (412, "not-in-window", "Held", "Held"),
            (412, "precondition-failed", "PreconditionFailed", "Held"),
            (413, "too-large", "SetAside", "TooLargeForProxy"),
            (422, "digest-mismatch", "Recheck", "Recheck"),
            (500, "internal", "Stumbled", "Stumbled"),
            (507, "disk-full", "NoRoom", "NoRoom"),
        ] {
            let verdict = verdict_on(Ok(&ours(status, problem)));
            assert_eq!(name(&verdict), in_our_words, "{status} {problem}");
            for page in [PAGE, "{}", ""] {
                let verdict = verdict_on(Ok(&Answer::of(status, page)));
                assert_eq!(name(&verdict), in_a_proxys, "{status} {page:?}");
            }
        }
        for status in [
            100, 101, 204, 206, 301, 302, 304, 308, 402, 404, 405, 410, 411, 417, 418, 429, 431,
            501, 502, 503, 504, 505, 599, 999,
        ] {
            for answer in [ours(status, "any"), Answer::of(status, PAGE)] {
                assert_eq!(name(&verdict_on(Ok(&answer))), "Away", "{answer:?}");
            }
        }
    }

    /// Only these two verdicts move an episode out of the queue.
    #[test]
    fn a_proxys_page_moves_no_episode_whatever_its_status() {
        let elsewhere = r#"{"type":"about:blank","status":409,"detail":"words"}"#;
        let other_status = r#"{"type":"urn:cis490:problem:taken","status":409,"detail":"words"}"#;
        for status in 100..1000 {
            for page in [PAGE, "", "{}", "null", elsewhere] {
                let verdict = verdict_on(Ok(&Answer::of(status, page)));
                let moves = matches!(verdict, Verdict::Accepted(_) | Verdict::SetAside(_));
                assert!(!moves, "{status} {page:?}: {verdict:?}");
            }
            // The receiver's words count only under the status that they name.
            let verdict = verdict_on(Ok(&Answer::of(status, other_status)));
            let moves = matches!(verdict, Verdict::Accepted(_) | Verdict::SetAside(_));
            assert_eq!(moves, status == 409, "{status}: {verdict:?}");
        }
    }

    #[test]
    fn no_answer_moves_no_episode() {
        for (no_answer, want, why) in [
            (
                NoAnswer::Unreachable(unreached()),
                "Unreachable",
                "no connection: refused",
            ),
            (
                NoAnswer::Broken("reset".to_owned()),
                "CutOff",
                "no answer: reset",
            ),
            (
                NoAnswer::OwnFile(io::Error::other("rotten")),
                "OwnFile",
                "cannot read the tarball: rotten",
            ),
        ] {
            let verdict = verdict_on(Err(&no_answer));
            assert_eq!(name(&verdict), want);
            match verdict {
                Verdict::Unreachable(wait) | Verdict::CutOff(wait) => {
                    assert_eq!((wait.asked, wait.why.as_str()), (None, why));
                }
                Verdict::OwnFile { why: said } => assert_eq!(said, why),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_a_receipt_for_what_was_sent_is_accepted() {
        let size = format!(r#","bytes":{BYTES}"#);
        for status in [200, 201] {
            for size in [size.as_str(), ""] {
                let body = receipt("lab-1", "ep-1", SHA256, size);
                let mut answer = Answer::of(status, &body);
                answer.gate_position = Some((3, 100));
                let Verdict::Accepted(accepted) = verdict_on(Ok(&answer)) else {
                    panic!("{answer:?}");
                };
                assert_eq!(accepted.status, status);
                assert_eq!(accepted.gate_position, Some((3, 100)));
                assert_eq!(accepted.receipt.slot().to_string(), "lab-1/ep-1");
            }
            let other_sha256 = SHA256.replace("ff", "fe");
            for (body, want) in [
                (
                    receipt("lab-2", "ep-1", SHA256, &size),
                    "the receipt is for lab-2/ep-1",
                ),
                (
                    receipt("lab-1", "ep-2", SHA256, &size),
                    "the receipt is for lab-1/ep-2",
                ),
                (
                    receipt("lab-1", "ep-1", &other_sha256, &size),
                    "the receipt has the digest",
                ),
                (
                    receipt("lab-1", "ep-1", SHA256, r#","bytes":999"#),
                    "the receipt has 999 bytes, sent were 1000",
                ),
                (PAGE.to_owned(), "without a receipt: a proxy's page?"),
            ] {
                let answer = Answer::of(status, &body);
                let Verdict::ReceiptWrong { wait, .. } = verdict_on(Ok(&answer)) else {
                    panic!("{answer:?}");
                };
                assert!(wait.why.contains(want), "{}", wait.why);
            }
        }
    }

    #[test]
    fn a_verdict_has_the_words_and_the_wait_of_its_answer() {
        let Verdict::NoRoom(wait) = verdict_on(Ok(&ours(507, "disk-full"))) else {
            panic!("507");
        };
        assert_eq!(wait.asked, Some(Duration::from_secs(7)));
        assert_eq!(wait.why, "507: words");
        let Verdict::SetAside(problem) = verdict_on(Ok(&ours(409, "taken"))) else {
            panic!("409");
        };
        assert_eq!((problem.name(), problem.status), (Some("taken"), 409));
        let Verdict::Held(problem) = verdict_on(Ok(&Answer::of(412, PAGE))) else {
            panic!("412");
        };
        assert!(problem.detail.contains(PAGE), "{}", problem.detail);
        assert_eq!((problem.name(), problem.status), (None, 412));
    }

    #[test]
    fn only_the_gates_yes_releases_a_commit() {
        let yes = r#"{"allowed":true,"position":3,"window":100,"head_commit":null}"#;
        let no = yes.replace("true", "false");
        let released = hold_verdict(Ok(&Answer::of(200, yes)));
        assert_eq!(released, HoldVerdict::Released(Some((3, 100))));
        let unclear = [
            Answer::of(200, &no),
            Answer::of(200, PAGE),
            Answer::of(201, yes),
            Answer::of(400, PAGE),
            Answer::of(404, PAGE),
            Answer::of(500, PAGE),
        ];
        for answer in &unclear {
            let verdict = hold_verdict(Ok(answer));
            assert!(matches!(verdict, HoldVerdict::Unclear { .. }), "{answer:?}");
        }
        for answer in [ours(412, "not-in-window"), Answer::of(412, PAGE)] {
            let verdict = hold_verdict(Ok(&answer));
            assert!(matches!(verdict, HoldVerdict::Held(_)), "{answer:?}");
        }
        let HoldVerdict::Away(wait) = hold_verdict(Ok(&ours(503, "gate-not-loaded"))) else {
            panic!("503");
        };
        assert_eq!(wait.asked, Some(Duration::from_secs(7)));
        for no_answer in [
            NoAnswer::Unreachable(unreached()),
            NoAnswer::Broken("reset".to_owned()),
        ] {
            let verdict = hold_verdict(Err(&no_answer));
            assert!(matches!(verdict, HoldVerdict::Away(_)), "{no_answer:?}");
        }
    }
}
