//! The two waits of a group commit, without its I/O: for the group that an upload is placed with, and
//! for the sync that covers a change. `tests/it/group_commit.rs` compiles this file with loom's locks and
//! walks every order in which threads can take them.
//!
//! 1. Leader and follower: a thread leaves its request with the group that gathers. One thread leads the
//!    group: the one after which no upload is about to come, or the first that has waited long enough.
//!    Each request is in one group's batch, once, and one thread has that batch.
//! 2. A sync is shared by all threads that need "synced since my change": a round counts for a thread
//!    only if it began after its leader has asked.
//! 3. No thread waits for ever: a follower leads its group when it has waited long enough, and after a
//!    failed round or [`SharedSync::end`] every wait returns.

use std::mem;
use std::time::Duration;

use super::primitives::{Condvar, Instant, Mutex, MutexGuard, PoisonError};

/// The longest that a request waits for others, on a disk however slow.
const PATIENCE_MAX: Duration = Duration::from_millis(250);

/// The requests that are placed next, together.
///
/// Without the wait each upload starts a commit of the filesystem's journal as soon as it can, and those
/// that come a moment later need another one. The wait is as long as a group's syncs took of late, at
/// most, and none if no other upload is about to come.
pub(super) struct Gathering<R>(Mutex<Gathered<R>>);

struct Gathered<R> {
    requests: Vec<R>,
    /// Uploads that will leave a request soon: all their bytes are here.
    coming: usize,
    /// The number of the group that gathers.
    group: u64,
    /// Until when its first request waits.
    deadline: Option<Instant>,
    /// How long the syncs of a group took of late.
    syncs_take: Duration,
}

/// What the thread of a request is to do.
#[derive(Debug)]
pub(super) enum Turn<R> {
    /// Place all of these.
    Lead(Vec<R>),
    /// Wait so long for the leader, and then see whether the group has one: [`Gathering::overdue`].
    Follow { group: u64, patience: Duration },
}

impl<R> Gathering<R> {
    pub(super) fn new() -> Gathering<R> {
        Gathering(Mutex::new(Gathered {
            requests: Vec::new(),
            coming: 0,
            group: 0,
            deadline: None,
            syncs_take: Duration::ZERO,
        }))
    }

    /// An upload will leave a request soon, by [`Gathering::join`], or call [`Gathering::stays_away`].
    pub(super) fn is_coming(&self) {
        locked(&self.0).coming += 1;
    }

    pub(super) fn stays_away(&self) {
        locked(&self.0).coming -= 1;
    }

    /// Leaves the request of an upload that was coming.
    pub(super) fn join(&self, request: R) -> Turn<R> {
        let mut gathered = locked(&self.0);
        gathered.coming -= 1;
        gathered.requests.push(request);
        let now = Instant::now();
        let syncs_take = gathered.syncs_take;
        let deadline = *gathered.deadline.get_or_insert_with(|| now + syncs_take);
        let patience = deadline.saturating_duration_since(now);
        if gathered.coming == 0 || patience.is_zero() {
            return Turn::Lead(gathered.close());
        }
        Turn::Follow {
            group: gathered.group,
            patience,
        }
    }

    /// The batch of a group that no thread leads yet: the caller does.
    pub(super) fn overdue(&self, group: u64) -> Option<Vec<R>> {
        let mut gathered = locked(&self.0);
        (gathered.group == group).then(|| gathered.close())
    }

    /// A leader reports how long the syncs of its group took.
    pub(super) fn syncs_took(&self, time: Duration) {
        let mut gathered = locked(&self.0);
        gathered.syncs_take = ((3 * gathered.syncs_take + time) / 4).min(PATIENCE_MAX);
    }

    /// Drops the requests that no thread leads yet.
    pub(super) fn drop_all(&self) {
        drop(locked(&self.0).close());
    }
}

impl<R> Gathered<R> {
    /// The next request begins another group.
    fn close(&mut self) -> Vec<R> {
        self.group += 1;
        self.deadline = None;
        mem::take(&mut self.requests)
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
        let is_first = state.wanted < round;
        state.wanted = round;
        // Else the thread that is woken waits for this lock at once.
        drop(state);
        if is_first {
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
            let done = Round(state.done);
            // Else each thread that is woken waits for this lock at once.
            drop(state);
            self.ended[done.place()].notify_all();
            state = locked(&self.state);
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
