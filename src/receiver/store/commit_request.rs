//! One file that the committer is asked to store, and the way back to the thread that asks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};

use super::group_commit::Round;
use super::{Came, Published, StoreError};
use crate::file_identity::FileIdentity;
use crate::wire::{Receipt, Slot};

/// One file that is to be stored under its name.
pub(super) struct CommitRequest {
    /// Its row, but for the `seq`.
    pub receipt: Receipt,
    pub placement: Placement,
    /// The file's name in incoming/; `None` for a file that has its final name already.
    pub incoming: Option<PathBuf>,
}

/// How the name comes to the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Placement {
    /// Link it: no file has the name.
    Link,
    /// The file under the name is this one, and its bytes are the row's, synced.
    Keep(FileIdentity),
    /// The file under the name is this one, damaged: set it aside, then link.
    Replace(FileIdentity),
}

/// What the committer has decided on a request.
#[derive(Debug)]
pub(super) enum Decision {
    Stored(Box<Published>),
    /// Another file has the name than the placement says: look which, and ask again.
    LookAgain,
}

pub(super) type CommitResult = Result<Decision, StoreError>;

/// What the thread of a request receives: one of these, once.
pub(super) enum Progress {
    /// The file has its name and its row is appended. The thread has them synced, and then settles it.
    Placed(Placed),
    /// The request is decided: it was refused, or it shared the fate of another of its name.
    Decided(CommitResult),
}

/// The syncs that must have ended before a placed request is settled.
#[derive(Debug)]
pub(super) struct Placed {
    pub slot: Slot,
    /// `None` if they have ended.
    pub syncs: Option<Syncs>,
}

/// The rounds of syncs that a batch needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syncs {
    /// Of the directories whose names have changed.
    pub names: Round,
    /// Of the index, if the batch has appended rows.
    pub rows: Option<Round>,
}

/// A [`CommitRequest`] and the way back. Boxed, since a batch moves it from list to list.
pub(super) struct QueuedRequest {
    request: Box<CommitRequest>,
    /// Dropped without a message when the process is about to end.
    progress: SyncSender<Progress>,
}

impl CommitRequest {
    pub(super) fn into_queued(self) -> (QueuedRequest, Receiver<Progress>) {
        let (progress, heard) = mpsc::sync_channel(1);
        let queued = QueuedRequest {
            request: Box::new(self),
            progress,
        };
        (queued, heard)
    }
}

impl QueuedRequest {
    fn report(&self, progress: Progress) {
        // Each thread receives one message, and a thread that has gone needs none.
        let _ = self.progress.try_send(progress);
    }
}

/// The requests of one name: the first is carried out, and the others share its fate.
pub(super) struct SameName {
    first: QueuedRequest,
    later: Vec<QueuedRequest>,
}

impl SameName {
    /// In order of arrival.
    pub(super) fn of(batch: Vec<QueuedRequest>) -> Vec<SameName> {
        let mut places = HashMap::with_capacity(batch.len());
        let mut groups: Vec<SameName> = Vec::with_capacity(batch.len());
        for queued in batch {
            let slot = queued.request.receipt.slot();
            let place = *places.entry(slot).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.later.push(queued),
                None => groups.push(SameName {
                    first: queued,
                    later: Vec::new(),
                }),
            }
        }
        groups
    }

    /// The request that is carried out for all of them.
    pub(super) fn request(&self) -> &CommitRequest {
        &self.first.request
    }

    /// Adds requests of the same name that came later.
    pub(super) fn join(&mut self, other: SameName) {
        self.later.push(other.first);
        self.later.extend(other.later);
    }

    /// Lets the first one's thread have the syncs done.
    pub(super) fn placed(&self, placed: Placed) {
        self.first.report(Progress::Placed(placed));
    }

    /// The first is stored: answers the others, and returns the first one's answer.
    pub(super) fn accept(self, receipt: &Receipt, came: Came) -> Published {
        let published = |came| Published {
            receipt: receipt.clone(),
            came,
        };
        for one in self.later {
            let decided = if one.request.receipt.sha256 == receipt.sha256 {
                Ok(Decision::Stored(Box::new(published(Came::Earlier))))
            } else {
                Err(StoreError::Taken)
            };
            one.report(Progress::Decided(decided));
        }
        published(came)
    }

    /// The first cannot have its name: answers all of them.
    pub(super) fn look_again(self) {
        for one in self.later.iter().chain([&self.first]) {
            one.report(Progress::Decided(Ok(Decision::LookAgain)));
        }
    }

    /// The first is refused before it was placed: answers all of them.
    pub(super) fn refuse(mut self, why: StoreError) {
        self.refuse_later(&why);
        self.first.report(Progress::Decided(Err(why)));
    }

    /// The first is not stored, which its own thread knows: answers the others.
    pub(super) fn refuse_later(&mut self, why: &StoreError) {
        for one in self.later.drain(..) {
            let is_of_other_bytes = one.request.receipt.sha256 != self.first.request.receipt.sha256;
            let fate = match why {
                // Its bytes may be those of the row.
                StoreError::Taken if is_of_other_bytes => Ok(Decision::LookAgain),
                _ => Err(why.again()),
            };
            one.report(Progress::Decided(fate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(episode: &str, digit: &str) -> (QueuedRequest, Receiver<Progress>) {
        let text = format!(
            r#"{{"host":"a","episode":"{episode}","sha256":"{}"}}"#,
            digit.repeat(64)
        );
        let request = CommitRequest {
            receipt: serde_json::from_str(&text).unwrap(),
            placement: Placement::Link,
            incoming: Some(PathBuf::from(format!("{episode}{digit}"))),
        };
        request.into_queued()
    }

    fn decided(heard: &Receiver<Progress>) -> CommitResult {
        match heard.try_recv() {
            Ok(Progress::Decided(decided)) => decided,
            _ => panic!("it is not decided"),
        }
    }

    #[test]
    fn a_second_of_the_name_shares_the_first_ones_fate() {
        let (batch, heard): (Vec<_>, Vec<_>) =
            [queued("x", "1"), queued("y", "1"), queued("x", "1")]
                .into_iter()
                .unzip();
        let mut groups = SameName::of(batch);
        assert_eq!(groups.len(), 2);
        let y = groups.pop().unwrap();
        let mut x = groups.pop().unwrap();
        let (late, late_heard) = queued("x", "2");
        x.join(SameName::of(vec![late]).pop().unwrap());
        let receipt = x.request().receipt.clone();
        assert!(x.accept(&receipt, Came::New).is_fresh());
        y.refuse(StoreError::Full);
        assert!(
            heard[0].try_recv().is_err(),
            "its own thread has the answer"
        );
        assert!(matches!(decided(&heard[1]), Err(StoreError::Full)));
        match decided(&heard[2]) {
            Ok(Decision::Stored(published)) => assert!(!published.is_fresh()),
            other => panic!("{other:?}"),
        }
        assert!(matches!(decided(&late_heard), Err(StoreError::Taken)));
    }

    #[test]
    fn a_refused_first_takes_the_others_along() {
        for (why, of_same, of_other) in [
            (StoreError::Full, "Err(Full)", "Err(Full)"),
            (StoreError::Taken, "Err(Taken)", "Ok(LookAgain)"),
        ] {
            let (batch, heard): (Vec<_>, Vec<_>) =
                [queued("x", "1"), queued("x", "1"), queued("x", "2")]
                    .into_iter()
                    .unzip();
            SameName::of(batch).pop().unwrap().refuse(why);
            let words = |n: usize| format!("{:?}", decided(&heard[n]));
            assert_eq!(
                (words(1), words(2)),
                (of_same.to_owned(), of_other.to_owned())
            );
        }
        let (one, heard) = queued("x", "1");
        SameName::of(vec![one]).pop().unwrap().look_again();
        assert!(matches!(decided(&heard), Ok(Decision::LookAgain)));
    }
}
