//! The waits of the store's group commit, under every order in which threads can take its locks: the
//! file is compiled here a second time, with loom's locks.

use std::sync::Arc as StdArc;
use std::time::Duration;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

mod primitives {
    use std::ops::Add;
    use std::time::Duration;

    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
    pub(super) use std::sync::PoisonError;

    /// A clock that stands: an order that is walked again must take the same branches.
    #[derive(Clone, Copy)]
    pub(super) struct Instant(Duration);

    impl Instant {
        pub(super) fn now() -> Instant {
            Instant(Duration::ZERO)
        }

        pub(super) fn saturating_duration_since(self, earlier: Instant) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Instant;
        fn add(self, time: Duration) -> Instant {
            Instant(self.0 + time)
        }
    }
}

#[path = "../../src/receiver/store/group_commit.rs"]
mod waits;

use waits::{Gathering, NotSynced, SharedSync, Turn};

type Failure = StdArc<str>;

/// Walks every order with at most two forced switches in it, which finds nearly every fault and takes
/// a second or two; with LOOM_MAX_PREEMPTIONS=3 or more in the environment, more of them.
fn every_order(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(model);
}

/// Requests are numbers, and placed ones are in this list.
struct Group {
    gathering: Gathering<usize>,
    placed: Mutex<Vec<usize>>,
    is_placed: Condvar,
}

impl Group {
    fn new() -> Arc<Group> {
        let gathering = Gathering::new();
        // Else no thread waits for another: no syncs were seen yet.
        gathering.syncs_took(Duration::from_secs(3600));
        Arc::new(Group {
            gathering,
            placed: Mutex::new(Vec::new()),
            is_placed: Condvar::new(),
        })
    }

    /// The way of one upload: joins, leads if it must, and returns when its request was placed.
    fn place(&self, request: usize, is_patient: bool) {
        match self.gathering.join(request) {
            Turn::Lead(batch) => self.lead(batch),
            Turn::Follow { group, patience } => {
                assert!(Duration::ZERO < patience);
                // Its patience can end at any moment.
                if !is_patient && let Some(batch) = self.gathering.overdue(group) {
                    self.lead(batch);
                }
            }
        }
        let mut placed = self.placed.lock().unwrap();
        while !placed.contains(&request) {
            placed = self.is_placed.wait(placed).unwrap();
        }
    }

    fn lead(&self, batch: Vec<usize>) {
        self.placed.lock().unwrap().extend(batch);
        self.is_placed.notify_all();
    }
}

/// Each is in one batch, and its thread does not wait for ever.
fn each_is_placed_once(is_patient: bool) {
    every_order(move || {
        let group = Group::new();
        let upload = |n: usize| {
            let group = Arc::clone(&group);
            group.gathering.is_coming();
            move || group.place(n, is_patient)
        };
        let own = upload(0);
        let others = [thread::spawn(upload(1)), thread::spawn(upload(2))];
        own();
        for other in others {
            other.join().unwrap();
        }
        let mut placed = group.placed.lock().unwrap();
        placed.sort_unstable();
        assert_eq!(*placed, [0, 1, 2]);
    });
}

#[test]
fn each_request_is_placed_once_by_the_last_that_comes() {
    each_is_placed_once(true);
}

#[test]
fn each_request_is_placed_once_if_patience_ends() {
    each_is_placed_once(false);
}

/// The upload that was awaited fails: the next one that comes leads, or a follower whose patience ends.
#[test]
fn an_upload_that_stays_away_is_awaited_no_longer() {
    every_order(|| {
        let group = Group::new();
        let other = {
            let group = Arc::clone(&group);
            group.gathering.is_coming();
            thread::spawn(move || group.gathering.stays_away())
        };
        group.gathering.is_coming();
        group.place(0, false);
        other.join().unwrap();
        group.gathering.is_coming();
        group.place(1, true);
    });
}

/// At the end a request is dropped, so that its thread receives nothing, or its thread leads with it.
#[test]
fn an_end_leaves_no_request_behind() {
    every_order(|| {
        let group = Group::new();
        group.gathering.is_coming();
        group.gathering.is_coming();
        let follower = {
            let group = Arc::clone(&group);
            thread::spawn(move || {
                let Turn::Follow { group: number, .. } = group.gathering.join(0) else {
                    panic!("another is coming");
                };
                group
                    .gathering
                    .overdue(number)
                    .is_some_and(|batch| batch == [0])
            })
        };
        group.gathering.drop_all();
        let has_led = follower.join().unwrap();
        let Turn::Lead(batch) = group.gathering.join(1) else {
            panic!("no other is coming");
        };
        assert_eq!(batch, [1], "{has_led}");
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

/// An end lets every wait return.
#[test]
fn nobody_waits_after_the_end() {
    every_order(|| {
        let sync = Arc::new(SharedSync::<(), Failure>::new());
        let server = {
            let sync = Arc::clone(&sync);
            thread::spawn(move || sync.serve(|()| Ok(())))
        };
        let upload = {
            let sync = Arc::clone(&sync);
            thread::spawn(move || {
                let round = sync.ask(|()| ());
                let synced = sync.wait(round);
                assert!(matches!(synced, Ok(()) | Err(NotSynced::Over)));
            })
        };
        sync.end();
        upload.join().unwrap();
        server.join().unwrap();
    });
}
