//! What the committer is asked to store, and what it answers.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};

use crate::durable;
use crate::file_identity::FileIdentity;
use crate::wire::Receipt;

/// One file that is to be stored under its name.
pub struct Ask {
    /// Its row, but for the `seq`.
    pub receipt: Receipt,
    pub wish: Wish,
    /// Where it was received. Unlinked after the answer by who commits; when that is a no, it is the
    /// asker's.
    pub incoming: Option<PathBuf>,
}

/// An [`Ask`] and the way back.
pub struct Job {
    ask: Ask,
    /// Dropped without an answer when the process is about to end.
    answer: SyncSender<Answer>,
}

impl Ask {
    pub fn into_job(self) -> (Job, Receiver<Answer>) {
        let (answer, answered) = mpsc::sync_channel(1);
        (Job { ask: self, answer }, answered)
    }
}

/// How the name comes to the file.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// Link it: nothing is there.
    Link,
    /// The file under the name is this one, and its bytes are the row's, synced.
    Keep(FileIdentity),
    /// The file under the name is this one, damaged: set it aside, then link.
    Replace(FileIdentity),
}

pub type Answer = Result<Stored, Rejected>;

#[derive(Clone, Debug)]
pub struct Stored {
    pub receipt: Receipt,
    /// Whether the name is new, or was found.
    pub fresh: bool,
}

#[derive(Debug)]
pub enum Rejected {
    /// Something else stands under the name than the wish says: look what, and wish again.
    LookAgain,
    /// Other bytes have a row under this name.
    Taken,
    Full,
    Fault(io::Error),
}

impl Rejected {
    pub fn of(error: io::Error) -> Rejected {
        match durable::is_full(&error) {
            true => Rejected::Full,
            false => Rejected::Fault(error),
        }
    }

    /// The same for another job.
    pub fn again(&self) -> Rejected {
        match self {
            Rejected::LookAgain => Rejected::LookAgain,
            Rejected::Taken => Rejected::Taken,
            Rejected::Full => Rejected::Full,
            Rejected::Fault(error) => Rejected::Fault(error_again(error)),
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
pub struct Group {
    first: Job,
    echoes: Vec<Job>,
}

impl Group {
    /// In order of arrival.
    pub fn of(batch: Vec<Job>) -> Vec<Group> {
        let mut places = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for job in batch {
            let place = *places.entry(job.ask.receipt.slot()).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.echoes.push(job),
                None => groups.push(Group {
                    first: job,
                    echoes: Vec::new(),
                }),
            }
        }
        groups
    }

    /// What is done for all of them.
    pub fn ask(&self) -> &Ask {
        &self.first.ask
    }

    /// Tells all that the first is stored. The names in incoming/ that nobody needs any more.
    pub fn accept(self, receipt: &Receipt, fresh: bool) -> Vec<PathBuf> {
        let mut finished = Vec::new();
        let stored = |fresh| Stored {
            receipt: receipt.clone(),
            fresh,
        };
        for echo in self.echoes {
            match echo.ask.receipt.sha256 == receipt.sha256 {
                true => finished.extend(echo.accept(stored(false))),
                false => echo.send(Err(Rejected::Taken)),
            }
        }
        finished.extend(self.first.accept(stored(fresh)));
        finished
    }

    /// Tells all that the first is not stored.
    pub fn reject(self, why: Rejected) {
        for echo in self.echoes {
            let fate = match why {
                // Its bytes may be those of the row.
                Rejected::Taken if echo.ask.receipt.sha256 != self.first.ask.receipt.sha256 => {
                    Rejected::LookAgain
                }
                _ => why.again(),
            };
            echo.send(Err(fate));
        }
        self.first.send(Err(why));
    }
}

impl Job {
    fn accept(self, stored: Stored) -> Option<PathBuf> {
        self.send(Ok(stored));
        self.ask.incoming
    }

    fn send(&self, answer: Answer) {
        // Each asker takes exactly one answer, and one that has gone needs none.
        let _ = self.answer.try_send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(episode: &str, digit: &str) -> (Job, Receiver<Answer>) {
        let text = format!(
            r#"{{"host":"a","episode":"{episode}","sha256":"{}"}}"#,
            digit.repeat(64)
        );
        let ask = Ask {
            receipt: serde_json::from_str(&text).unwrap(),
            wish: Wish::Link,
            incoming: Some(PathBuf::from(format!("{episode}{digit}"))),
        };
        ask.into_job()
    }

    #[test]
    fn a_second_of_the_name_shares_the_first_ones_fate() {
        let (jobs, answers): (Vec<_>, Vec<_>) =
            [job("x", "1"), job("y", "1"), job("x", "1"), job("x", "2")]
                .into_iter()
                .unzip();
        let mut groups = Group::of(jobs);
        assert_eq!(groups.len(), 2);
        let y = groups.pop().unwrap();
        let x = groups.pop().unwrap();
        let receipt = x.ask().receipt.clone();
        let finished = x.accept(&receipt, true);
        assert_eq!(finished, [PathBuf::from("x1"), PathBuf::from("x1")]);
        y.reject(Rejected::Full);
        let told: Vec<_> = answers
            .iter()
            .map(|answer| answer.recv().unwrap())
            .collect();
        assert!(matches!(&told[0], Ok(Stored { fresh: true, .. })));
        assert!(matches!(&told[1], Err(Rejected::Full)));
        assert!(matches!(&told[2], Ok(Stored { fresh: false, .. })));
        assert!(matches!(&told[3], Err(Rejected::Taken)));
    }

    #[test]
    fn a_rejected_first_takes_the_others_along() {
        for (why, of_same, of_other) in [
            (Rejected::Full, "Full", "Full"),
            (Rejected::LookAgain, "LookAgain", "LookAgain"),
            (Rejected::Taken, "Taken", "LookAgain"),
        ] {
            let (jobs, answers): (Vec<_>, Vec<_>) = [job("x", "1"), job("x", "1"), job("x", "2")]
                .into_iter()
                .unzip();
            Group::of(jobs).pop().unwrap().reject(why);
            let told = |n: usize| format!("{:?}", answers[n].recv().unwrap().unwrap_err());
            assert_eq!(
                (told(1), told(2)),
                (of_same.to_owned(), of_other.to_owned())
            );
        }
    }
}
