//! A large upload that broke off goes on where it stopped (design, section 13). Pure, but for the question.
//!
//! 1. Before each try the receiver is asked how far it is, also after a restart of this program: nothing
//!    about that is kept here.
//! 2. What the receiver has not kept, or an older receiver cannot say, is sent whole.
//! 3. An answer about the offset is no answer about the episode: it never leads to refused/.
//! 4. Where something on the way lets no HEAD or PATCH by, the whole is sent after a few tries.

use super::client::{Answer, NoAnswer, ReceiverClient, Upload};
use crate::wire;

/// How often one try asks: a receiver that is at another offset each time gets the whole.
pub(super) const ASKS_MAX: u32 = 2;

/// How the next try of an upload begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// With the first byte.
    Whole,
    /// The receiver has all bytes before this one.
    At(u64),
    /// The receiver is not ready, or this host is not let in: this answer is to be obeyed.
    Not(Answer),
}

/// What follows from the answer to the rest of an upload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is an answer about the episode.
    Obey,
    /// The receiver is at another offset.
    AskAgain,
    /// The rest helps no more.
    SendWhole,
}

/// Whether an upload is worth a question.
pub(super) fn is_large(upload: &Upload<'_>) -> bool {
    upload.bytes >= bytes_min()
}

/// Asks the receiver how far this upload is.
pub(super) fn ask(receiver: &ReceiverClient, upload: &Upload<'_>) -> Result<Begin, NoAnswer> {
    let answer = receiver.kept(upload)?;
    Ok(begin(answer, upload.bytes))
}

/// A whole upload has its first byte heard by the receiver, which forgets the kept ones then. So it is
/// only sent if nothing is kept, and not if the receiver could not say so.
fn begin(answer: Answer, bytes: u64) -> Begin {
    match (answer.status, answer.upload_offset) {
        (204, Some(offset)) if answer.upload_length == Some(bytes) && offset < bytes => {
            Begin::At(offset)
        }
        (401 | 403 | 408 | 429 | 500 | 502..=599, _) => Begin::Not(answer),
        _ => Begin::Whole,
    }
}

/// Whether the receiver itself answered a PATCH, and not something on the way to it.
pub(super) fn is_receivers(heard: &Result<Answer, NoAnswer>) -> bool {
    match heard {
        Ok(answer) => answer.is_success() || answer.problem().is_some(),
        // Our own file says nothing about the way.
        Err(NoAnswer::OwnFile(_)) => true,
        Err(NoAnswer::Broken(_) | NoAnswer::Unreachable(_)) => false,
    }
}

/// What follows from the answer to a PATCH.
pub(super) fn next(answer: &Answer) -> Next {
    let is_mismatch = || {
        let problem = answer.problem();
        problem.is_some_and(|problem| problem.name() == Some(wire::OFFSET_MISMATCH))
    };
    match answer.status {
        409 if is_mismatch() => Next::AskAgain,
        // Nothing is kept any more, a proxy lost a header, or the whole has another digest.
        400 | 404 | 405 | 415 | 422 | 501 => Next::SendWhole,
        _ => Next::Obey,
    }
}

/// Smaller uploads are sent whole. In a debug build the first number of `CIS490_RESUMABLE`, as for the
/// receiver.
fn bytes_min() -> u64 {
    #[cfg(debug_assertions)]
    if let Ok(asked) = std::env::var("CIS490_RESUMABLE")
        && let Some(bytes) = asked.split(',').next().and_then(|n| n.parse().ok())
    {
        return bytes;
    }
    wire::RESUMABLE_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 100 << 20;

    fn of(status: u16, offset: Option<u64>, length: Option<u64>) -> Begin {
        let mut answer = Answer::of(status, "");
        answer.upload_offset = offset;
        answer.upload_length = length;
        begin(answer, BYTES)
    }

    #[test]
    fn only_a_right_offset_of_the_same_length_is_gone_on_from() {
        assert!(matches!(of(204, Some(7), Some(BYTES)), Begin::At(7)));
        for (offset, length) in [
            (None, Some(BYTES)),
            (Some(7), None),
            (Some(7), Some(BYTES + 1)),
            (Some(BYTES), Some(BYTES)),
            (Some(u64::MAX), Some(BYTES)),
        ] {
            let begin = of(204, offset, length);
            assert!(matches!(begin, Begin::Whole), "{offset:?} {length:?}");
        }
    }

    #[test]
    fn what_is_kept_is_given_up_only_if_the_receiver_has_nothing() {
        for status in [200, 404, 405, 409, 501] {
            let begin = of(status, None, None);
            // 501 is a receiver, or a proxy, that does not know the method.
            let is_whole = matches!(begin, Begin::Whole);
            assert!(is_whole, "{status}");
        }
        for status in [401, 403, 408, 500, 502, 503, 504, 507] {
            assert!(matches!(of(status, None, None), Begin::Not(_)), "{status}");
        }
    }

    #[test]
    fn an_answer_about_the_rest_is_none_about_the_episode() {
        let problem = |name: &str, status: u16| {
            let text =
                format!(r#"{{"type":"urn:cis490:problem:{name}","status":{status},"detail":"d"}}"#);
            next(&Answer::of(status, &text))
        };
        assert_eq!(problem("offset-mismatch", 409), Next::AskAgain);
        assert_eq!(problem("other-bytes", 409), Next::Obey);
        for (name, status) in [
            ("nothing-kept", 404),
            ("not-a-partial-upload", 415),
            ("wrong-digest", 422),
            ("bad-head", 400),
        ] {
            assert_eq!(problem(name, status), Next::SendWhole, "{name}");
        }
        for status in [200, 201, 401, 403, 412, 413, 500, 503, 507] {
            assert_eq!(problem("any", status), Next::Obey, "{status}");
        }
    }
}
