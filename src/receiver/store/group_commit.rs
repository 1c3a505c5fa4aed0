//! The two waits of a group commit, without its I/O: for the batch that places a request, and for the
//! sync that covers a change. `tests/it/group_commit.rs` compiles this file with loom's locks and walks
//! every order in which threads can take them.
//!
//! 1. Leader and follower: a thread queues its request, then takes the lock. The thread that has the
//!    lock places every queued request, so each request is placed exactly once, and before its own
//!    thread goes on.
//! 2. A sync is shared by all threads that need "synced since my change": a round counts for a thread
//!    only if it began after the thread has asked.
//! 3. No thread waits for ever: after a panic under the lock [`GroupLock::lock`] fails, and after a
//!    failed round or [`SharedSync::end`] every wait returns.

use std::mem;

use super::primitives::{Condvar, Mutex, MutexGuard, PoisonError};

/// Nothing is committed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Over;

/// A committer, and the requests that wait for it.
pub(super) struct GroupLock<C, R> {
    waiting: Mutex<Vec<R>>,
    committer: Mutex<C>,
}

impl<C, R> GroupLock<C, R> {
    pub(super) fn new(committer: C) -> GroupLock<C, R> {
        GroupLock {
            waiting: Mutex::new(Vec::new()),
            committer: Mutex::new(committer),
        }
    }

    /// Returns once `request` was placed: here, with all others that wait, or by the thread that had
    /// the lock before.
    ///
    /// Errors: a thread has panicked with the lock. Nothing is known of the request.
    pub(super) fn place<E>(
        &self,
        request: R,
        place_all: impl FnOnce(&mut C, Vec<R>) -> Result<(), E>,
    ) -> Result<Result<(), E>, Over> {
        locked(&self.waiting).push(request);
        let mut committer = self.lock()?;
        let batch = mem::take(&mut *locked(&self.waiting));
        if batch.is_empty() {
            return Ok(Ok(()));
        }
        Ok(place_all(&mut committer, batch))
    }

    /// Errors: a thread has panicked with the lock.
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, C>, Over> {
        self.committer.lock().map_err(|_| Over)
    }

    /// The lock to end with, also after a panic. The queued requests are dropped unplaced.
    pub(super) fn lock_to_end(&self) -> MutexGuard<'_, C> {
        let committer = locked(&self.committer);
        locked(&self.waiting).clear();
        committer
    }
}

/// A sync that many threads need and one thread does, in rounds. `W` says what the next round is to
/// sync, and `E` why one failed.
pub(super) struct SharedSync<W, E> {
    state: Mutex<Rounds<W, E>>,
    /// A round is wanted, or all is over.
    called: Condvar,
    /// A round has ended, or all is over. At one time threads wait for two rounds at most, the running
    /// one and the next, and each has its own: no thread is woken for the other one.
    ended: [Condvar; 2],
}

struct Rounds<W, E> {
    work: W,
    /// The number of the newest round that was begun, wanted, done.
    begun: u64,
    wanted: u64,
    done: u64,
    failure: Option<E>,
    is_over: bool,
}

/// The round that covers a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round(u64);

impl Round {
    /// Which of the two that threads may wait for.
    fn place(self) -> usize {
        (self.0 % 2) as usize
    }
}

/// Why a change is not known to be synced.
#[derive(Debug)]
pub(super) enum NotSynced<E> {
    Failed(E),
    Over,
}

impl<W: Default, E: Clone> SharedSync<W, E> {
    pub(super) fn new() -> SharedSync<W, E> {
        SharedSync {
            state: Mutex::new(Rounds {
                work: W::default(),
                begun: 0,
                wanted: 0,
                done: 0,
                failure: None,
                is_over: false,
            }),
            called: Condvar::new(),
            ended: [Condvar::new(), Condvar::new()],
        }
    }

    /// Asks for a sync of a change that was made before this call; `add` enters it into the work of the
    /// next round. Does not wait.
    pub(super) fn ask(&self, add: impl FnOnce(&mut W)) -> Round {
        let mut state = locked(&self.state);
        add(&mut state.work);
        let round = state.begun + 1;
        if state.wanted < round {
            state.wanted = round;
            self.called.notify_one();
        }
        Round(round)
    }

    /// Waits until that round, or a later one, is done.
    pub(super) fn wait(&self, round: Round) -> Result<(), NotSynced<E>> {
        let mut state = locked(&self.state);
        loop {
            if round.0 <= state.done {
                return Ok(());
            }
            if let Some(failure) = &state.failure {
                return Err(NotSynced::Failed(failure.clone()));
            }
            if state.is_over {
                return Err(NotSynced::Over);
            }
            let ended = &self.ended[round.place()];
            state = ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does the rounds, on a thread of its own, until [`SharedSync::end`] or the first failure.
    pub(super) fn serve(&self, mut sync: impl FnMut(W) -> Result<(), E>) {
        let _ending = Ending(self);
        let mut state = locked(&self.state);
        while !state.is_over {
            if state.wanted == state.begun {
                state = self
                    .called
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            let work = mem::take(&mut state.work);
            drop(state);
            let synced = sync(work);
            state = locked(&self.state);
            if let Err(failure) = synced {
                state.failure = Some(failure);
                return;
            }
            state.done = state.begun;
            self.ended[Round(state.done).place()].notify_all();
        }
    }

    /// No round is begun any more.
    pub(super) fn end(&self) {
        locked(&self.state).is_over = true;
        self.called.notify_all();
        self.ended.iter().for_each(|ended| ended.notify_all());
    }
}

/// Ends the rounds with the thread that does them, also if it panics.
struct Ending<'a, W: Default, E: Clone>(&'a SharedSync<W, E>);

impl<W: Default, E: Clone> Drop for Ending<'_, W, E> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
