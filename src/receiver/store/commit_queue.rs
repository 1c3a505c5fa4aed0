//! The uploads that wait to become stored episodes. There is one [`Committer`]; the thread that is
//! committing holds it.
//!
//!     an upload alone   its own thread commits: the upload is not handed over to another thread
//!     several           the committer's thread commits all that wait, with one set of syncs
//!
//! 1. A thread takes the committer out of the queue to commit, and puts it back at the end.
//! 2. After a fault or a panic the committer is not put back: nothing is committed any more, each
//!    waiting upload ends without an answer, and the process ends into recovery.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::commit_request::QueuedRequest;
use super::committer::{Committer, Finished};
use crate::failure::Failure;
use crate::receiver::critical_thread::{Pong, ShutdownHandle, spawn_critical};
use crate::sync::lock;

/// Uploads that are committed together at most. There are seldom more under way.
const BATCH_MAX: usize = 256;

/// The committer and its thread. Dropping this waits for the thread's end.
pub(super) struct CommitQueue {
    shared: Arc<Shared>,
    ended: Mutex<mpsc::Receiver<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// The committer's thread has something to do.
    called: Condvar,
    /// The committer was put back, or will never be.
    returned: Condvar,
    shutdown: ShutdownHandle,
}

struct State {
    /// `None` while a thread commits.
    committer: Option<Committer>,
    waiting: VecDeque<QueuedRequest>,
    pings: Vec<Pong>,
    /// The index is to be looked at.
    is_look_due: bool,
    /// Nothing is committed any more.
    is_over: bool,
    /// After a fault or a panic: the committer is not put back.
    is_lost: bool,
}

/// One batch's right to commit.
struct CommitTurn<'a> {
    shared: &'a Shared,
    committer: Option<Committer>,
}

impl CommitQueue {
    /// Errors: the system gave no thread.
    pub(super) fn start(
        mut committer: Committer,
        shutdown: &ShutdownHandle,
    ) -> Result<CommitQueue, Failure> {
        committer.start_syncer();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                committer: Some(committer),
                waiting: VecDeque::new(),
                pings: Vec::new(),
                is_look_due: false,
                is_over: false,
                is_lost: false,
            }),
            called: Condvar::new(),
            returned: Condvar::new(),
            shutdown: shutdown.clone(),
        });
        let (alive, ended) = mpsc::channel::<()>();
        let for_thread = Arc::clone(&shared);
        spawn_critical("committer", shutdown, move || {
            let _alive = alive;
            for_thread.serve();
        })?;
        Ok(CommitQueue {
            shared,
            ended: Mutex::new(ended),
        })
    }

    /// Commits the job and answers it; here if it `is_only`, as no other can share its syncs, and then
    /// the caller tidies up. Without an answer the process is about to end.
    pub(super) fn commit(&self, job: QueuedRequest, is_only: bool) -> Finished {
        let mut state = self.shared.lock();
        if state.is_over {
            return Finished::default();
        }
        if is_only
            && !state.is_called()
            && let Some(committer) = state.committer.take()
        {
            drop(state);
            return self.shared.turn(committer).commit(vec![job]);
        }
        state.waiting.push_back(job);
        // If a commit is running, its thread looks at `waiting` when it has put the committer back.
        if state.committer.is_some() {
            self.shared.called.notify_one();
        }
        Finished::default()
    }

    /// Has the committer's thread look at the index, between two batches.
    pub(super) fn look(&self) {
        self.shared.lock().is_look_due = true;
        self.shared.called.notify_one();
    }

    /// Commits nothing more, and notes where the index ends. Waits for the batch under way, which is
    /// left to recovery if it takes longer than `patience`.
    pub(super) fn close(&self, patience: Duration) {
        let state = self.shared.end();
        let is_away = |state: &mut State| state.committer.is_none() && !state.is_lost;
        let waited = self
            .shared
            .returned
            .wait_timeout_while(state, patience, is_away);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(committer) = &mut state.committer {
            committer.note_end();
        }
    }

    /// The committer's thread calls it when nobody commits.
    pub(super) fn ping(&self, pong: Pong) {
        self.shared.lock().pings.push(pong);
        self.shared.called.notify_one();
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        drop(self.shared.end());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: this returns when the thread drops its end.
        let _ = ended.recv();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn turn(&self, committer: Committer) -> CommitTurn<'_> {
        CommitTurn {
            shared: self,
            committer: Some(committer),
        }
    }

    /// The committer's thread.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let committer = if state.is_called() {
                state.committer.take()
            } else {
                None
            };
            let Some(committer) = committer else {
                state = self
                    .called
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let count = state.waiting.len().min(BATCH_MAX);
            let batch = state.waiting.drain(..count).collect();
            let pings = std::mem::take(&mut state.pings);
            let is_look_due = std::mem::take(&mut state.is_look_due);
            drop(state);
            let mut turn = self.turn(committer);
            pings.into_iter().for_each(|pong| pong());
            if is_look_due {
                turn.look();
            }
            turn.commit(batch).tidy();
            state = self.lock();
        }
    }

    fn end(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.is_over = true;
        // Dropping the requests ends each without an answer.
        state.waiting.clear();
        self.called.notify_one();
        state
    }
}

impl State {
    /// Whether the committer's thread has something to do.
    fn is_called(&self) -> bool {
        !self.waiting.is_empty() || !self.pings.is_empty() || self.is_look_due
    }
}

impl CommitTurn<'_> {
    fn commit(mut self, batch: Vec<QueuedRequest>) -> Finished {
        // The thread was called to answer pings or to look.
        if batch.is_empty() {
            return Finished::default();
        }
        self.work(|committer| committer.commit(batch))
            .unwrap_or_default()
    }

    fn look(&mut self) {
        self.work(Committer::look);
    }

    /// Nothing comes of it once a fault has ended the process into recovery.
    fn work<T>(&mut self, work: impl FnOnce(&mut Committer) -> Result<T, Failure>) -> Option<T> {
        let mut committer = self.committer.take()?;
        match work(&mut committer) {
            Ok(done) => {
                self.committer = Some(committer);
                Some(done)
            }
            Err(failure) => {
                committer.note_end();
                self.shared.shutdown.fatal(failure);
                None
            }
        }
    }
}

impl Drop for CommitTurn<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.committer = None;
            self.shared.shutdown.fatal(Failure::new(
                "the committer panicked",
                "the receiver restarts and recovers; please report the lines above",
            ));
        }
        let Some(committer) = self.committer.take() else {
            self.shared.end().is_lost = true;
            return self.shared.returned.notify_all();
        };
        let mut state = self.shared.lock();
        state.committer = Some(committer);
        self.shared.returned.notify_all();
        if state.is_called() {
            self.shared.called.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::panic::{self, AssertUnwindSafe};
    use std::path::Path;
    use std::sync::mpsc::Receiver;
    use std::time::Duration;

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::names::Sha256Digest;
    use crate::receiver::Claim;
    use crate::receiver::critical_thread::StopReason;
    use crate::receiver::data_dir::DataDir;
    use crate::receiver::stats::Stats;
    use crate::receiver::store::commit_request::{
        CommitError, CommitRequest, CommitResult, Placement,
    };
    use crate::receiver::store::condition::Condition;
    use crate::receiver::store::index::Index;
    use crate::receiver::store::layout::Layout;
    use crate::receiver::store::sequence::Sequence;
    use crate::receiver::store::testing::Folder;
    use crate::receiver::store::{Store, store_dir};
    use crate::wire::Slot;

    fn commit_queue(folder: &Folder) -> (CommitQueue, Receiver<StopReason>) {
        let layout = Layout::new(folder.path());
        fs::write(layout.index(), "").unwrap();
        let stats = Stats::new(std::iter::empty());
        let (index, mut tail) = Index::open(&layout, &stats).unwrap();
        let home = DataDir::open(folder.path()).unwrap();
        let sequence = Sequence::open(&home, &layout, true, 0, &mut tail).unwrap();
        let condition = Condition::new(layout.clone(), home);
        let index = Arc::new(index);
        let committer = Committer::new(layout, index, tail, sequence, condition, stats);
        let (shutdown, stops) = ShutdownHandle::new();
        (CommitQueue::start(committer, &shutdown).unwrap(), stops)
    }

    /// A job that is answered with a fault: it brings no file along.
    fn job() -> (QueuedRequest, Receiver<CommitResult>) {
        let digest = "1".repeat(64);
        let text = format!(r#"{{"host":"a","episode":"x","sha256":"{digest}"}}"#);
        let ask = CommitRequest {
            receipt: serde_json::from_str(&text).unwrap(),
            placement: Placement::Link,
            incoming: None,
        };
        ask.into_queued()
    }

    #[test]
    fn an_upload_alone_is_answered_when_it_has_committed() {
        let folder = Folder::new("turns");
        let (commit_queue, _stops) = commit_queue(&folder);
        let (job, answered) = job();
        commit_queue.commit(job, true).tidy();
        assert!(matches!(
            answered.try_recv(),
            Ok(Err(CommitError::Fault(_)))
        ));
    }

    #[test]
    fn what_comes_meanwhile_is_taken_by_the_thread_afterwards() {
        let folder = Folder::new("turns");
        let (commit_queue, _stops) = commit_queue(&folder);
        let committer = commit_queue.shared.lock().committer.take().unwrap();
        let turn = commit_queue.shared.turn(committer);
        let (commit_request, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| job()).unzip();
        for (job, is_only) in commit_request.into_iter().zip([true, false, true]) {
            commit_queue.commit(job, is_only).tidy();
        }
        let (pong, ponged) = mpsc::channel();
        commit_queue.ping(Box::new(move || pong.send(()).unwrap()));
        assert!(ponged.try_recv().is_err());
        assert!(answers.iter().all(|answer| answer.try_recv().is_err()));
        drop(turn);
        let patience = Duration::from_secs(60);
        for answer in answers {
            let answer = answer.recv_timeout(patience);
            assert!(matches!(answer, Ok(Err(CommitError::Fault(_)))));
        }
        ponged.recv_timeout(patience).unwrap();
    }

    /// Whether the episode was stored is for recovery to see.
    #[test]
    fn without_an_answer_the_name_in_incoming_stays() {
        let folder = Folder::new("turns");
        store_dir::make(folder.path()).unwrap();
        let (shutdown, _stops) = ShutdownHandle::new();
        let stats = Stats::new(std::iter::empty());
        let store =
            Store::open(folder.path(), 0, 0, &shutdown, Path::new("x.toml"), stats).unwrap();
        let claim = Claim {
            slot: Slot::parse("a/x").unwrap(),
            commit: None,
            dirty: false,
            sha256: Sha256Digest::from_bytes(Sha256::digest(b"x").into()),
            bytes: 1,
        };
        let incoming = || {
            fs::read_dir(folder.path().join("incoming"))
                .unwrap()
                .count()
        };
        let mut upload = store.begin(claim, None).unwrap();
        upload.buffer().unwrap()[0] = b'x';
        upload.advance(1).unwrap();
        assert_eq!(incoming(), 1);
        drop(store.commit_queue.shared.end());
        assert!(upload.publish().is_err());
        assert_eq!(incoming(), 1);
    }

    #[test]
    fn a_panic_while_committing_is_the_end() {
        let folder = Folder::new("turns");
        let (commit_queue, stops) = commit_queue(&folder);
        let (job_1, answer_1) = job();
        let (job_2, answer_2) = job();
        let committing = || {
            let committer = commit_queue.shared.lock().committer.take().unwrap();
            let _turn = commit_queue.shared.turn(committer);
            commit_queue.commit(job_1, true).tidy();
            panic!("a test's");
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(committing)).is_err());
        assert!(answer_1.recv().is_err());
        assert!(matches!(stops.recv(), Ok(StopReason::Fatal(_))));
        commit_queue.commit(job_2, true).tidy();
        assert!(answer_2.recv().is_err());
    }
}
