//! What the committer is asked to store, and what it answers.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::durable;
use crate::file_identity::FileIdentity;
use crate::wire::Receipt;

/// One file that is to be stored under its name.
pub(super) struct CommitRequest {
    /// Its row, but for the `seq`.
    pub receipt: Receipt,
    pub placement: Placement,
    /// Where it was received. Unlinked after the answer by who commits; when that is a no, it is the
    /// asker's.
    pub incoming: Option<PathBuf>,
}

/// An [`CommitRequest`] and the way back.
pub(super) struct QueuedRequest {
    ask: CommitRequest,
    /// Dropped without an answer when the process is about to end.
    answer: SyncSender<CommitResult>,
}

impl CommitRequest {
    pub(super) fn into_queued(self) -> (QueuedRequest, Receiver<CommitResult>) {
        let (answer, answered) = mpsc::sync_channel(1);
        (QueuedRequest { ask: self, answer }, answered)
    }
}

/// How the name comes to the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placement {
    /// Link it: nothing is there.
    Link,
    /// The file under the name is this one, and its bytes are the row's, synced.
    Keep(FileIdentity),
    /// The file under the name is this one, damaged: set it aside, then link.
    Replace(FileIdentity),
}

pub(super) type CommitResult = Result<Stored, CommitError>;

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub receipt: Receipt,
    /// Whether the name is new, or was found.
    pub fresh: bool,
}

#[derive(Debug)]
pub(super) enum CommitError {
    /// Something else stands under the name than the wish says: look what, and wish again.
    LookAgain,
    /// Other bytes have a row under this name.
    Taken,
    Full,
    Fault(io::Error),
}

impl CommitError {
    pub(super) fn of(error: io::Error) -> CommitError {
        if durable::is_full(&error) {
            CommitError::Full
        } else {
            CommitError::Fault(error)
        }
    }

    /// The same for another job.
    pub(super) fn again(&self) -> CommitError {
        match self {
            CommitError::LookAgain => CommitError::LookAgain,
            CommitError::Taken => CommitError::Taken,
            CommitError::Full => CommitError::Full,
            CommitError::Fault(error) => CommitError::Fault(error_again(error)),
        }
    }
}

/// An `io::Error` cannot be cloned.
fn error_again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The jobs of one name in a batch: the first, and those that share its fate.
pub(super) struct SameName {
    first: QueuedRequest,
    later: Vec<QueuedRequest>,
}

impl SameName {
    /// In order of arrival.
    pub(super) fn of(batch: Vec<QueuedRequest>) -> Vec<SameName> {
        let mut places = HashMap::new();
        let mut groups: Vec<SameName> = Vec::new();
        for job in batch {
            let place = *places.entry(job.ask.receipt.slot()).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.later.push(job),
                None => groups.push(SameName {
                    first: job,
                    later: Vec::new(),
                }),
            }
        }
        groups
    }

    /// What is done for all of them.
    pub(super) fn ask(&self) -> &CommitRequest {
        &self.first.ask
    }

    /// Tells all that the first is stored. The names in incoming/ that nobody needs any more.
    pub(super) fn accept(self, receipt: &Receipt, fresh: bool) -> Vec<PathBuf> {
        let mut finished = Vec::new();
        let stored = |fresh| Stored {
            receipt: receipt.clone(),
            fresh,
        };
        for one in self.later {
            if one.ask.receipt.sha256 == receipt.sha256 {
                finished.extend(one.accept(stored(false)));
            } else {
                one.send(Err(CommitError::Taken));
            }
        }
        finished.extend(self.first.accept(stored(fresh)));
        finished
    }

    /// Tells all that the first is not stored.
    pub(super) fn reject(self, why: CommitError) {
        for one in self.later {
            let fate = match why {
                // Its bytes may be those of the row.
                CommitError::Taken if one.ask.receipt.sha256 != self.first.ask.receipt.sha256 => {
                    CommitError::LookAgain
                }
                _ => why.again(),
            };
            one.send(Err(fate));
        }
        self.first.send(Err(why));
    }
}

impl QueuedRequest {
    fn accept(self, stored: Stored) -> Option<PathBuf> {
        self.send(Ok(stored));
        self.ask.incoming
    }

    fn send(&self, answer: CommitResult) {
        // Each asker takes exactly one answer, and one that has gone needs none.
        let _ = self.answer.try_send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(episode: &str, digit: &str) -> (QueuedRequest, Receiver<CommitResult>) {
        let text = format!(
            r#"{{"host":"a","episode":"{episode}","sha256":"{}"}}"#,
            digit.repeat(64)
        );
        let ask = CommitRequest {
            receipt: serde_json::from_str(&text).unwrap(),
            placement: Placement::Link,
            incoming: Some(PathBuf::from(format!("{episode}{digit}"))),
        };
        ask.into_queued()
    }

    #[test]
    fn a_second_of_the_name_shares_the_first_ones_fate() {
        let (commit_request, answers): (Vec<_>, Vec<_>) =
            [job("x", "1"), job("y", "1"), job("x", "1"), job("x", "2")]
                .into_iter()
                .unzip();
        let mut groups = SameName::of(commit_request);
        assert_eq!(groups.len(), 2);
        let y = groups.pop().unwrap();
        let x = groups.pop().unwrap();
        let receipt = x.ask().receipt.clone();
        let finished = x.accept(&receipt, true);
        assert_eq!(finished, [PathBuf::from("x1"), PathBuf::from("x1")]);
        y.reject(CommitError::Full);
        let told: Vec<_> = answers
            .iter()
            .map(|answer| answer.recv().unwrap())
            .collect();
        assert!(matches!(&told[0], Ok(Stored { fresh: true, .. })));
        assert!(matches!(&told[1], Err(CommitError::Full)));
        assert!(matches!(&told[2], Ok(Stored { fresh: false, .. })));
        assert!(matches!(&told[3], Err(CommitError::Taken)));
    }

    #[test]
    fn a_rejected_first_takes_the_others_along() {
        for (why, of_same, of_other) in [
            (CommitError::Full, "Full", "Full"),
            (CommitError::LookAgain, "LookAgain", "LookAgain"),
            (CommitError::Taken, "Taken", "LookAgain"),
        ] {
            let (commit_request, answers): (Vec<_>, Vec<_>) =
                [job("x", "1"), job("x", "1"), job("x", "2")]
                    .into_iter()
                    .unzip();
            SameName::of(commit_request).pop().unwrap().reject(why);
            let told = |n: usize| format!("{:?}", answers[n].recv().unwrap().unwrap_err());
            assert_eq!(
                (told(1), told(2)),
                (of_same.to_owned(), of_other.to_owned())
            );
        }
    }
}
