//! Group commit: many uploads finish together, and share links, appends and syncs.
//!
//!     each upload's thread   gather  [leader, with the lock: place all]  sync its own file  wait for both  [lock: settle]
//!     thread "dir sync"      fsync of every directory that has changed, a round after the other
//!     thread "index sync"    fdatasync of the index, a round after the other, and a look at its name
//!
//! 1. The lock of the committer is not held while what a batch has changed is synced: the next batch
//!    links and appends meanwhile. (Rare syncs are done under it: to raise the numbers, to set a
//!    damaged file aside, to undo a failed append.) No thread that has the lock waits for a sync thread.
//! 2. A fault that only recovery repairs, and a panic of any thread that has a request under way, end
//!    the commits: no thread is answered any more, none waits for ever, and the process ends. The
//!    thread that finds the fault ends them before it lets the lock go, and a sync thread at once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, LockResult, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::commit_request::{CommitRequest, CommitResult, Placed, Progress, QueuedRequest, Syncs};
use super::committer::{Committer, EndCause, Fatal, fatal};
use super::group_commit::{Gathering, NotSynced, Round, SharedSync, Turn};
use crate::durable;
use crate::failure::Failure;
use crate::receiver::critical_thread::{Pong, ShutdownHandle, spawn_critical};
use crate::sync::lock;
use crate::wire::Slot;

/// The committer, shared by all uploads, and its two sync threads. Dropping this waits for their end.
pub(super) struct CommitQueue {
    shared: Arc<Shared>,
    ended: Mutex<mpsc::Receiver<()>>,
}

struct Shared {
    gathering: Gathering<QueuedRequest>,
    committer: Mutex<Committer>,
    dirs: SharedSync<DirWork, Arc<io::Error>>,
    index: SharedSync<IndexWork, Arc<io::Error>>,
    /// A request was settled, or none will be any more.
    settled: Condvar,
    shutdown: ShutdownHandle,
}

/// What the next round of directory syncs is to do.
#[derive(Default)]
struct DirWork {
    dirs: BTreeSet<PathBuf>,
    pings: Vec<Pong>,
}

/// What the next round of the index is to do.
#[derive(Default)]
struct IndexWork {
    is_sync_wanted: bool,
    pings: Vec<Pong>,
}

impl CommitQueue {
    /// To be called by a thread without an upload's low priority, which the sync threads would inherit.
    ///
    /// Errors: the system gave no thread.
    pub(super) fn start(
        committer: Committer,
        shutdown: &ShutdownHandle,
    ) -> Result<CommitQueue, Failure> {
        let index_file = committer.tail().file();
        let shared = Arc::new(Shared {
            gathering: Gathering::new(),
            committer: Mutex::new(committer),
            dirs: SharedSync::new(),
            index: SharedSync::new(),
            settled: Condvar::new(),
            shutdown: shutdown.clone(),
        });
        let (alive, ended) = mpsc::channel::<()>();
        let queue = CommitQueue {
            shared: Arc::clone(&shared),
            ended: Mutex::new(ended),
        };
        let of_dirs = (Arc::clone(&shared), alive.clone());
        spawn_critical("dir sync", shutdown, move || {
            let (shared, _alive) = of_dirs;
            shared.dirs.serve(|work| shared.sync_dirs(work));
        })?;
        spawn_critical("index sync", shutdown, move || {
            let _alive = alive;
            shared
                .index
                .serve(|work| shared.sync_index(&index_file, work));
        })?;
        Ok(queue)
    }

    /// An upload will ask for a commit soon: all its bytes are here. Others wait for it, for a moment.
    pub(super) fn expect(&self) -> Expected {
        self.shared.gathering.is_coming();
        Expected(Some(Arc::clone(&self.shared)))
    }

    /// Stores the file of the request, which was expected. `unsynced` is that file, if it is not on the
    /// disk yet; then it is small, and is synced beside its name and its row. `None` if there is no
    /// answer, since the process is about to end: whether the episode was stored is for recovery to see.
    pub(super) fn commit(
        &self,
        mut expected: Expected,
        request: CommitRequest,
        unsynced: Option<&File>,
    ) -> Option<CommitResult> {
        expected.0 = None;
        // A request that a panicking thread leaves in flight would let others of its name wait.
        let committed =
            panic::catch_unwind(AssertUnwindSafe(|| self.shared.commit(request, unsynced)));
        committed.unwrap_or_else(|panicked| {
            self.shared.end_with(
                EndCause::Panic,
                Failure::new(
                    "the committer panicked",
                    "the receiver restarts and recovers; please report the lines above",
                ),
            );
            panic::resume_unwind(panicked)
        })
    }

    /// Whether a file under this name may not be on the disk yet, or its row not. Waits for a batch
    /// that is being placed: a file that was seen before this call was in flight already, or is not.
    pub(super) fn is_in_flight(&self, slot: &Slot) -> bool {
        let committer = self.shared.lock();
        committer.map_or(true, |committer| committer.is_in_flight(slot))
    }

    /// Looks at the index, between two batches.
    pub(super) fn look(&self) {
        let Ok(mut committer) = self.shared.lock() else {
            return;
        };
        let looked = committer.look();
        self.shared.or_end(&mut committer, looked);
    }

    /// Commits nothing more, and notes where the index ends. Waits for the requests in flight, which are
    /// left to recovery if that takes longer than `patience`.
    pub(super) fn close(&self, patience: Duration) {
        let (done, closed) = mpsc::channel();
        let shared = Arc::clone(&self.shared);
        let close = move || {
            shared.close();
            // A caller that was not so patient needs no word.
            let _ = done.send(());
        };
        // On a thread of its own: on a disk that hangs, the lock may not come back.
        let started = thread::Builder::new().name("close".to_owned()).spawn(close);
        if started.is_ok() {
            let _ = closed.recv_timeout(patience);
        }
    }

    /// Both sync threads pass it on between two rounds, and the second calls it with the committer's
    /// lock: that proves all three.
    pub(super) fn ping(&self, pong: Pong) {
        self.shared.dirs.ask(|work| work.pings.push(pong));
    }
}

/// An upload that will ask for a commit. Dropped without that, no other waits for it any longer.
pub(super) struct Expected(Option<Arc<Shared>>);

impl Drop for Expected {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.gathering.stays_away();
        }
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        self.shared.dirs.end();
        self.shared.index.end();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: this returns when both threads have dropped their ends.
        let _ = ended.recv();
    }
}

impl Shared {
    /// Errors: a thread has panicked with the lock.
    fn lock(&self) -> LockResult<MutexGuard<'_, Committer>> {
        self.committer.lock()
    }

    fn commit(&self, request: CommitRequest, unsynced: Option<&File>) -> Option<CommitResult> {
        let (queued, heard) = request.into_queued();
        let (progress, leads) = self.place(queued, &heard);
        let placed = match progress? {
            Progress::Decided(decided) => return Some(decided),
            Progress::Placed(placed) => placed,
        };
        let began = Instant::now();
        let synced = self.sync(&placed, unsynced)?;
        if leads {
            self.gathering.syncs_took(began.elapsed());
        }
        match synced {
            Ok(()) => self.settle(&placed.slot),
            Err(error) => self.withdraw(&placed.slot, error),
        }
    }

    /// Has the request placed with its group. Returns what became of it, and whether this thread has led
    /// the group; `None` if nothing is committed any more.
    fn place(&self, queued: QueuedRequest, heard: &Receiver<Progress>) -> (Option<Progress>, bool) {
        let batch = match self.gathering.join(queued) {
            Turn::Lead(batch) => Some(batch),
            Turn::Follow { group, patience } => match heard.recv_timeout(patience) {
                Ok(progress) => return (Some(progress), false),
                Err(RecvTimeoutError::Disconnected) => return (None, false),
                Err(RecvTimeoutError::Timeout) => self.gathering.overdue(group),
            },
        };
        let leads = batch.is_some();
        let has_ended = batch.is_some_and(|batch| self.place_all(batch).is_none());
        // After a fault of the batch, this request may have been refused before it.
        let progress = if has_ended { None } else { heard.recv().ok() };
        (progress, leads)
    }

    /// `None` if nothing is committed any more: then the rest of the batch is dropped.
    fn place_all(&self, batch: Vec<QueuedRequest>) -> Option<()> {
        let mut committer = self.lock().ok()?;
        let placed = committer.place_all(batch, |dirs, has_new_rows| {
            let names = self.dirs.ask(|work| work.dirs.extend(dirs));
            let rows = has_new_rows.then(|| self.index.ask(|work| work.is_sync_wanted = true));
            Ok(Some(Syncs { names, rows }))
        });
        self.or_end(&mut committer, placed)
    }

    /// File, name and row onto the disk, side by side. Returns how the file's own sync ended.
    fn sync(&self, placed: &Placed, unsynced: Option<&File>) -> Option<io::Result<()>> {
        let file_synced = unsynced.map_or(Ok(()), durable::sync_file);
        if let Some(syncs) = placed.syncs {
            // The index first: it is looked at after its sync, so that the directories are mostly done then,
            // and this thread sleeps once.
            if let Some(rows) = syncs.rows {
                self.wait_for(&self.index, rows)?;
            }
            self.wait_for(&self.dirs, syncs.names)?;
        }
        Some(file_synced)
    }

    fn settle(&self, slot: &Slot) -> Option<CommitResult> {
        let mut committer = self.lock().ok()?;
        let settled = committer.settle(slot);
        let settled = self.or_end(&mut committer, settled)?;
        self.notify_close(&committer);
        settled
    }

    /// A file whose sync has failed: its name goes, for good, and then its upload is refused.
    fn withdraw(&self, slot: &Slot, error: io::Error) -> Option<CommitResult> {
        let mut committer = self.lock().ok()?;
        let withdrawn = committer.withdraw(slot);
        let dir = self.or_end(&mut committer, withdrawn)?;
        drop(committer);
        let name_is_gone = self.dirs.ask(|work| {
            work.dirs.insert(dir);
        });
        self.wait_for(&self.dirs, name_is_gone)?;
        let mut committer = self.lock().ok()?;
        let refused = committer.refuse(slot, error);
        self.notify_close(&committer);
        refused
    }

    /// A close waits until no request is in flight.
    fn notify_close(&self, committer: &Committer) {
        if committer.is_closing() {
            self.settled.notify_all();
        }
    }

    /// `None` if the round has failed, and everything ends.
    fn wait_for<W: Default>(
        &self,
        sync: &SharedSync<W, Arc<io::Error>>,
        round: Round,
    ) -> Option<()> {
        match sync.wait(round) {
            Ok(()) => Some(()),
            Err(NotSynced::Failed(error)) => {
                let failure = fatal("sync what was stored", &error);
                self.end_with(EndCause::FailedSync, failure);
                None
            }
            Err(NotSynced::Over) => {
                let ended = io::Error::other("the thread that syncs has ended");
                self.end_with(EndCause::Fault, fatal("sync what was stored", &ended));
                None
            }
        }
    }

    fn sync_dirs(&self, work: DirWork) -> Result<(), Arc<io::Error>> {
        let synced = work.dirs.iter().try_for_each(|dir| durable::sync_dir(dir));
        synced.map_err(|error| self.end_unsynced(error))?;
        if !work.pings.is_empty() {
            self.index.ask(|next| next.pings.extend(work.pings));
        }
        Ok(())
    }

    fn sync_index(&self, file: &File, work: IndexWork) -> Result<(), Arc<io::Error>> {
        if work.is_sync_wanted {
            durable::sync_data(file).map_err(|error| self.end_unsynced(error))?;
            self.watch_index()?;
        }
        if !work.pings.is_empty()
            && let Ok(_committer) = self.lock()
        {
            work.pings.into_iter().for_each(|pong| pong());
        }
        Ok(())
    }

    /// Before any row of the round counts as stored. An error has ended the process already.
    fn watch_index(&self) -> Result<(), Arc<io::Error>> {
        let over = || Arc::new(io::Error::other("nothing is committed any more"));
        let mut committer = self.lock().map_err(|_| over())?;
        let watched = committer.watch_index().map_err(Fatal::from);
        self.or_end(&mut committer, watched).ok_or_else(over)
    }

    /// For a sync thread, which ends the process itself: the threads that need the sync may wait for
    /// another one, and that for a slow disk.
    fn end_unsynced(&self, error: io::Error) -> Arc<io::Error> {
        self.end_with(EndCause::FailedSync, fatal("sync what was stored", &error));
        Arc::new(error)
    }

    /// Ends the process into recovery; the first reason counts.
    fn end_with(&self, cause: EndCause, failure: Failure) {
        let mut committer = lock(&self.committer);
        self.end_locked(&mut committer, Fatal { cause, failure });
    }

    /// What the committer has done. `None` if it was a fault: then the commits end before its lock is
    /// let go, so that no thread which waits for that lock is answered.
    fn or_end<T>(&self, committer: &mut Committer, done: Result<T, Fatal>) -> Option<T> {
        done.map_err(|fatal| self.end_locked(committer, fatal)).ok()
    }

    fn end_locked(&self, committer: &mut Committer, fatal: Fatal) {
        let is_first = committer.give_up(fatal.cause);
        if is_first {
            // First: a disk that hangs does not keep the process from ending. The close before its end
            // waits for this thread's lock as long as it is patient.
            self.shutdown.fatal(fatal.failure);
        }
        self.gathering.drop_all();
        self.dirs.end();
        self.index.end();
        self.settled.notify_all();
        committer.leave_to_recovery(fatal.cause);
    }

    fn close(&self) {
        let Ok(mut committer) = self.lock() else {
            return;
        };
        committer.stop_placing();
        let waited = self
            .settled
            .wait_while(committer, |committer| !committer.is_idle());
        if let Ok(mut committer) = waited {
            committer.note_end();
        }
    }
}

#[cfg(test)]
mod tests;
