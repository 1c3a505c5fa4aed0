//! The table of verdicts, answer by answer.

use std::fs::File;
use std::io;

use super::*;
use crate::names::{CommitHash, Sha256Digest};
use crate::refusal_table::{self, Fate};
use crate::shipper::client::Unreached;
use crate::shipper::upload_body::Tarball;
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
        tarball: Tarball::File(&file),
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
        (409, "offset-mismatch", "Stumbled", "Away"),
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
        100, 101, 204, 206, 301, 302, 304, 308, 402, 404, 405, 410, 411, 417, 418, 429, 431, 501,
        502, 503, 504, 505, 599, 999,
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
