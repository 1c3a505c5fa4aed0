//! Commits of a thread that owns the committer, without a queue: recovery and backfill.

use std::collections::BTreeSet;
use std::io;

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
        self.place_all(batch).map_err(|fatal| self.end_for(fatal))?;
        let progress: Vec<Option<Progress>> =
            heard.iter().map(|heard| heard.try_recv().ok()).collect();
        self.sync_placed(&progress)
            .map_err(|error| self.end_for(Fatal::failed_sync("sync what was stored", &error)))?;
        let mut answers = Vec::new();
        for (progress, heard) in progress.into_iter().zip(heard) {
            let answer = match progress {
                Some(Progress::Placed(placed)) => self
                    .settle(&placed.slot)
                    .map_err(|fatal| self.end_for(fatal))?,
                Some(Progress::Decided(decided)) => Some(decided),
                // It shared the fate of one before it, which is settled by now.
                None => match heard.try_recv() {
                    Ok(Progress::Decided(decided)) => Some(decided),
                    _ => None,
                },
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

    fn sync_placed(&self, progress: &[Option<Progress>]) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        let mut has_new_row = false;
        for one in progress {
            if let Some(Progress::Placed(placed)) = one {
                dirs.extend(&placed.dirs);
                has_new_row |= placed.has_new_row;
            }
        }
        dirs.into_iter()
            .try_for_each(|dir| durable::sync_dir(dir))?;
        if has_new_row {
            self.tail.sync()?;
        }
        Ok(())
    }
}
