//! Commits of a thread that owns the committer, without a queue: recovery and backfill.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::{Committer, Fatal, fatal};
use crate::durable;
use crate::failure::Failure;
use crate::receiver::store::commit_request::{CommitRequest, CommitResult, Progress};

impl Committer {
    /// Commits files that are on the disk. The answers are in the order of the requests.
    ///
    /// Errors: as [`Committer::place_all`]; or a sync failed.
    pub(in crate::receiver::store) fn commit_all(
        &mut self,
        requests: Vec<CommitRequest>,
    ) -> Result<Vec<CommitResult>, Failure> {
        let (batch, heard): (Vec<_>, Vec<_>) =
            requests.into_iter().map(CommitRequest::into_queued).unzip();
        let index = self.tail.file();
        let sync = |dirs: BTreeSet<PathBuf>, has_new_rows| {
            dirs.iter().try_for_each(|dir| durable::sync_dir(dir))?;
            if has_new_rows {
                durable::sync_data(&index)?;
            }
            Ok(None)
        };
        self.place_all(batch, sync)
            .and_then(|()| Ok(self.watch_index()?))
            .map_err(|fatal| self.end_for(fatal))?;
        let mut answers = Vec::new();
        for heard in heard {
            // One that shared the fate of one before it is decided by now.
            let answer = match heard.try_recv() {
                Ok(Progress::Placed(placed)) => self
                    .settle(&placed.slot)
                    .map_err(|fatal| self.end_for(fatal))?,
                Ok(Progress::Decided(decided)) => Some(decided),
                Err(_) => None,
            };
            let unanswered = || fatal("commit", &io::Error::other("there was no answer"));
            answers.push(answer.ok_or_else(unanswered)?);
        }
        Ok(answers)
    }

    fn end_for(&mut self, fatal: Fatal) -> Failure {
        self.give_up(fatal.cause);
        self.leave_to_recovery(fatal.cause);
        fatal.failure
    }
}
