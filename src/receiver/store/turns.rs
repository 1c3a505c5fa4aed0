//! Whose turn it is to commit. The committer is one, and whoever commits has it meanwhile.
//!
//!     an upload alone   its own thread commits: no hand-over, there and back
//!     else              it waits, and the committer's thread takes all that do: fewer syncs
//!
//! 1. One at a time commits: it has taken the committer out of here, and puts it back at the end.
//! 2. After a fault or a panic it is not put back: nothing is committed any more, whoever waits
//!    hears that there is no answer, and the process ends into recovery.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::committer::{Committer, Finished};
use super::jobs::Job;
use crate::failure::Failure;
use crate::receiver::vital::{Pong, Stopper, spawn_vital};

/// Uploads that are committed together at most. There are seldom more under way.
const BATCH_MAX: usize = 256;

/// The committer and its thread. Dropping this waits for the thread's end.
pub struct Turns {
    table: Arc<Table>,
    ended: Mutex<mpsc::Receiver<()>>,
}

struct Table {
    state: Mutex<State>,
    /// The committer's thread has something to do.
    called: Condvar,
    /// The committer was put back, or will never be.
    returned: Condvar,
    stopper: Stopper,
}

struct State {
    /// Not here while somebody commits.
    committer: Option<Committer>,
    waiting: VecDeque<Job>,
    pings: Vec<Pong>,
    /// The index is to be looked at.
    is_look_due: bool,
    /// Nothing is committed any more.
    is_over: bool,
    /// After a fault or a panic: the committer is not put back.
    is_lost: bool,
}

/// One batch's right to commit.
struct Turn<'a> {
    table: &'a Table,
    committer: Option<Committer>,
}

impl Turns {
    /// Errors: the system gave no thread.
    pub fn start(mut committer: Committer, stopper: &Stopper) -> Result<Turns, Failure> {
        committer.start_syncer();
        let table = Arc::new(Table {
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
            stopper: stopper.clone(),
        });
        let (alive, ended) = mpsc::channel::<()>();
        let for_thread = Arc::clone(&table);
        spawn_vital("committer", stopper, move || {
            let _alive = alive;
            for_thread.serve();
        })?;
        Ok(Turns {
            table,
            ended: Mutex::new(ended),
        })
    }

    /// Commits the job and answers it; here if it `is_only`, as no other can share its syncs, and then
    /// the caller tidies up. Without an answer the process is about to end.
    pub fn commit(&self, job: Job, is_only: bool) -> Finished {
        let mut state = self.table.lock();
        if state.is_over {
            return Finished::default();
        }
        let here = is_only && !state.is_called();
        if let Some(committer) = state.committer.take_if(|_| here) {
            drop(state);
            return self.table.turn(committer).commit(vec![job]);
        }
        state.waiting.push_back(job);
        // Whoever commits now looks here at the end of that.
        if state.committer.is_some() {
            self.table.called.notify_one();
        }
        Finished::default()
    }

    /// Has the committer's thread look at the index, between two batches.
    pub fn look(&self) {
        self.table.lock().is_look_due = true;
        self.table.called.notify_one();
    }

    /// Commits nothing more, and notes where the index ends. Waits for the batch under way, which is
    /// left to recovery if it takes longer than `patience`.
    pub fn close(&self, patience: Duration) {
        let state = self.table.end();
        let is_away = |state: &mut State| state.committer.is_none() && !state.is_lost;
        let waited = self
            .table
            .returned
            .wait_timeout_while(state, patience, is_away);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(committer) = &mut state.committer {
            committer.note_end();
        }
    }

    /// The committer's thread calls it when nobody commits.
    pub fn ping(&self, pong: Pong) {
        self.table.lock().pings.push(pong);
        self.table.called.notify_one();
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        drop(self.table.end());
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: this returns when the thread drops its end.
        let _ = ended.recv();
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, committer: Committer) -> Turn<'_> {
        Turn {
            table: self,
            committer: Some(committer),
        }
    }

    /// The committer's thread.
    fn serve(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let is_called = state.is_called();
            let Some(committer) = state.committer.take_if(|_| is_called) else {
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
        // Who waits hears that there is no answer.
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

impl Turn<'_> {
    fn commit(mut self, batch: Vec<Job>) -> Finished {
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
                self.table.stopper.fatal(failure);
                None
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.committer = None;
            self.table.stopper.fatal(Failure::new(
                "the committer panicked",
                "the receiver restarts and recovers; please report the lines above",
            ));
        }
        let Some(committer) = self.committer.take() else {
            self.table.end().is_lost = true;
            return self.table.returned.notify_all();
        };
        let mut state = self.table.lock();
        state.committer = Some(committer);
        self.table.returned.notify_all();
        if state.is_called() {
            self.table.called.notify_one();
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
    use crate::receiver::data_dir::DataDir;
    use crate::receiver::figures::Figures;
    use crate::receiver::store::condition::Condition;
    use crate::receiver::store::index::Index;
    use crate::receiver::store::jobs::{Answer, Ask, Rejected, Wish};
    use crate::receiver::store::layout::Layout;
    use crate::receiver::store::sequence::Sequence;
    use crate::receiver::store::testing::Folder;
    use crate::receiver::store::{Store, threshold};
    use crate::receiver::vital::Stop;
    use crate::wire::Slot;

    fn turns(folder: &Folder) -> (Turns, Receiver<Stop>) {
        let layout = Layout::new(folder.path());
        fs::write(layout.index(), "").unwrap();
        let figures = Figures::new(std::iter::empty());
        let (index, mut tail) = Index::open(&layout, &figures).unwrap();
        let home = DataDir::open(folder.path()).unwrap();
        let sequence = Sequence::open(&home, &layout, true, &mut tail).unwrap();
        let condition = Condition::new(layout.clone(), home);
        let index = Arc::new(index);
        let committer = Committer::new(layout, index, tail, sequence, condition, figures);
        let (stopper, stops) = Stopper::new();
        (Turns::start(committer, &stopper).unwrap(), stops)
    }

    /// A job that is answered with a fault: it brings no file along.
    fn job() -> (Job, Receiver<Answer>) {
        let digest = "1".repeat(64);
        let text = format!(r#"{{"host":"a","episode":"x","sha256":"{digest}"}}"#);
        let ask = Ask {
            receipt: serde_json::from_str(&text).unwrap(),
            wish: Wish::Link,
            incoming: None,
        };
        ask.into_job()
    }

    #[test]
    fn an_upload_alone_is_answered_when_it_has_committed() {
        let folder = Folder::new("turns");
        let (turns, _stops) = turns(&folder);
        let (job, answered) = job();
        turns.commit(job, true).tidy();
        assert!(matches!(answered.try_recv(), Ok(Err(Rejected::Fault(_)))));
    }

    #[test]
    fn what_comes_meanwhile_is_taken_by_the_thread_afterwards() {
        let folder = Folder::new("turns");
        let (turns, _stops) = turns(&folder);
        let committer = turns.table.lock().committer.take().unwrap();
        let turn = turns.table.turn(committer);
        let (jobs, answers): (Vec<_>, Vec<_>) = (0..3).map(|_| job()).unzip();
        for (job, is_only) in jobs.into_iter().zip([true, false, true]) {
            turns.commit(job, is_only).tidy();
        }
        let (pong, ponged) = mpsc::channel();
        turns.ping(Box::new(move || pong.send(()).unwrap()));
        assert!(ponged.try_recv().is_err());
        assert!(answers.iter().all(|answer| answer.try_recv().is_err()));
        drop(turn);
        let patience = Duration::from_secs(60);
        for answer in answers {
            let answer = answer.recv_timeout(patience);
            assert!(matches!(answer, Ok(Err(Rejected::Fault(_)))));
        }
        ponged.recv_timeout(patience).unwrap();
    }

    /// Whether the episode was stored is for recovery to see.
    #[test]
    fn without_an_answer_the_name_in_incoming_stays() {
        let folder = Folder::new("turns");
        threshold::make(folder.path()).unwrap();
        let (stopper, _stops) = Stopper::new();
        let figures = Figures::new(std::iter::empty());
        let store = Store::open(folder.path(), 0, &stopper, Path::new("x.toml"), figures).unwrap();
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
        let mut arrival = store.begin(claim, None).unwrap();
        arrival.buffer().unwrap()[0] = b'x';
        arrival.advance(1).unwrap();
        assert_eq!(incoming(), 1);
        drop(store.turns.table.end());
        assert!(arrival.publish().is_err());
        assert_eq!(incoming(), 1);
    }

    #[test]
    fn a_panic_while_committing_is_the_end() {
        let folder = Folder::new("turns");
        let (turns, stops) = turns(&folder);
        let (job_1, answer_1) = job();
        let (job_2, answer_2) = job();
        let committing = || {
            let committer = turns.table.lock().committer.take().unwrap();
            let _turn = turns.table.turn(committer);
            turns.commit(job_1, true).tidy();
            panic!("a test's");
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(committing)).is_err());
        assert!(answer_1.recv().is_err());
        assert!(matches!(stops.recv(), Ok(Stop::Fatal(_))));
        turns.commit(job_2, true).tidy();
        assert!(answer_2.recv().is_err());
    }
}
