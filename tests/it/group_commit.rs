//! The waits of the store's group commit, under every order in which threads can take its locks: the
//! file is compiled here a second time, with loom's locks.

use std::sync::Arc as StdArc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod primitives {
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;
}

#[path = "../../src/receiver/store/group_commit.rs"]
mod waits;

use waits::{GroupLock, NotSynced, SharedSync};

type Failure = StdArc<str>;

/// Walks every order with at most two forced switches in it, which finds nearly every fault and takes
/// a second or two; with LOOM_MAX_PREEMPTIONS=3 or more in the environment, more of them.
fn every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

#[test]
fn each_request_is_placed_once_before_its_thread_goes_on() {
    every_order(|| {
        let group = Arc::new(GroupLock::new(Vec::new()));
        let upload = |n: usize| {
            let group = Arc::clone(&group);
            move || {
                let placed = group.place(n, |placed: &mut Vec<usize>, batch| {
                    placed.extend(batch);
                    Ok::<(), ()>(())
                });
                assert_eq!(placed, Ok(Ok(())));
                let placed = group.lock().unwrap();
                assert_eq!(placed.iter().filter(|one| **one == n).count(), 1);
            }
        };
        let others = [thread::spawn(upload(1)), thread::spawn(upload(2))];
        upload(0)();
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(group.lock().unwrap().len(), 3);
    });
}

/// A change is a number that grows; a round syncs the number that it finds.
#[test]
fn a_round_counts_only_for_changes_before_it() {
    every_order(|| {
        let sync = Arc::new(SharedSync::<usize, Failure>::new());
        let written = Arc::new(AtomicUsize::new(0));
        let on_disk = Arc::new(AtomicUsize::new(0));
        let upload = || {
            let sync = Arc::clone(&sync);
            let written = Arc::clone(&written);
            let on_disk = Arc::clone(&on_disk);
            move || {
                let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                let round = sync.ask(|asked| *asked += 1);
                sync.wait(round).unwrap();
                assert!(mine <= on_disk.load(Ordering::SeqCst));
            }
        };
        let server = {
            let sync = Arc::clone(&sync);
            let written = Arc::clone(&written);
            let on_disk = Arc::clone(&on_disk);
            thread::spawn(move || {
                sync.serve(|asked| {
                    assert!((1..=2).contains(&asked));
                    on_disk.store(written.load(Ordering::SeqCst), Ordering::SeqCst);
                    Ok(())
                });
            })
        };
        let other = thread::spawn(upload());
        upload()();
        other.join().unwrap();
        sync.end();
        server.join().unwrap();
    });
}

/// The whole way of an upload: placed by one of them, synced by another thread, without the lock.
#[test]
fn an_upload_is_answered_after_a_sync_that_covers_its_row() {
    every_order(|| {
        let group = Arc::new(GroupLock::new(0usize));
        let sync = Arc::new(SharedSync::<(), Failure>::new());
        let rows = Arc::new(Mutex::new((0usize, 0usize)));
        let upload = || {
            let group = Arc::clone(&group);
            let sync = Arc::clone(&sync);
            let rows = Arc::clone(&rows);
            move || {
                let place = |end: &mut usize, batch: Vec<()>| {
                    *end += batch.len();
                    rows.lock().unwrap().0 = *end;
                    Ok::<(), ()>(())
                };
                group.place((), place).unwrap().unwrap();
                let mine = rows.lock().unwrap().0;
                let round = sync.ask(|()| ());
                sync.wait(round).unwrap();
                let _answering = group.lock().unwrap();
                assert!(mine <= rows.lock().unwrap().1);
            }
        };
        let server = {
            let sync = Arc::clone(&sync);
            let rows = Arc::clone(&rows);
            thread::spawn(move || {
                sync.serve(|()| {
                    let mut rows = rows.lock().unwrap();
                    rows.1 = rows.0;
                    Ok(())
                });
            })
        };
        let other = thread::spawn(upload());
        upload()();
        other.join().unwrap();
        sync.end();
        server.join().unwrap();
    });
}

/// Both hear of the failure, and so does one that asks afterwards.
#[test]
fn a_failed_round_is_nobodys_yes_and_nobody_waits_on() {
    every_order(|| {
        let sync = Arc::new(SharedSync::<(), Failure>::new());
        let server = {
            let sync = Arc::clone(&sync);
            thread::spawn(move || sync.serve(|()| Err("no disk".into())))
        };
        let upload = || {
            let sync = Arc::clone(&sync);
            move || {
                let round = sync.ask(|()| ());
                match sync.wait(round) {
                    Err(NotSynced::Failed(why)) => assert_eq!(&*why, "no disk"),
                    other => panic!("{other:?}"),
                }
            }
        };
        let other = thread::spawn(upload());
        upload()();
        other.join().unwrap();
        upload()();
        server.join().unwrap();
    });
}

/// An end finds the queue empty or empties it, and lets every wait return.
#[test]
fn nobody_waits_after_the_end() {
    every_order(|| {
        let group = Arc::new(GroupLock::new(()));
        let sync = Arc::new(SharedSync::<(), Failure>::new());
        let server = {
            let sync = Arc::clone(&sync);
            thread::spawn(move || sync.serve(|()| Ok(())))
        };
        let upload = {
            let group = Arc::clone(&group);
            let sync = Arc::clone(&sync);
            thread::spawn(move || {
                group.place((), |(), _| Ok::<(), ()>(())).unwrap().unwrap();
                let round = sync.ask(|()| ());
                let synced = sync.wait(round);
                assert!(matches!(synced, Ok(()) | Err(NotSynced::Over)));
            })
        };
        drop(group.lock_to_end());
        sync.end();
        upload.join().unwrap();
        server.join().unwrap();
    });
}
