//! The queue without a server: batches, shared fates, ends.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Receiver;

use sha2::{Digest, Sha256};

use super::*;
use crate::names::Sha256Digest;
use crate::receiver::Claim;
use crate::receiver::critical_thread::StopReason;
use crate::receiver::data_dir::DataDir;
use crate::receiver::stats::Stats;
use crate::receiver::store::commit_request::{Decision, Placement};
use crate::receiver::store::condition::Condition;
use crate::receiver::store::index::Index;
use crate::receiver::store::layout::Layout;
use crate::receiver::store::sequence::Sequence;
use crate::receiver::store::testing::Folder;
use crate::receiver::store::{Store, StoreError, store_dir};

fn commit_queue(folder: &Folder) -> (CommitQueue, Receiver<StopReason>) {
    store_dir::make(folder.path()).unwrap();
    let layout = Layout::new(folder.path());
    let stats = Stats::new(std::iter::empty());
    let (index, mut tail) = Index::open(&layout, &stats).unwrap();
    let home = DataDir::open(folder.path()).unwrap();
    let sequence = Sequence::open(&home, &layout, true, 0, &mut tail).unwrap();
    let condition = Condition::new(layout.clone(), home);
    let committer = Committer::new(layout, Arc::new(index), tail, sequence, condition, stats);
    let (shutdown, stops) = ShutdownHandle::new();
    (CommitQueue::start(committer, &shutdown).unwrap(), stops)
}

fn request(folder: &Folder, episode: &str) -> CommitRequest {
    let digest = "1".repeat(64);
    let text = format!(r#"{{"host":"a","episode":"{episode}","sha256":"{digest}"}}"#);
    let incoming = folder.path().join(format!("incoming/{episode}"));
    fs::write(&incoming, "bytes").unwrap();
    CommitRequest {
        receipt: serde_json::from_str(&text).unwrap(),
        placement: Placement::Link,
        incoming: Some(incoming),
    }
}

#[test]
fn many_at_once_are_all_stored_each_with_its_own_number() {
    let folder = Folder::new("commit-queue");
    let (queue, _stops) = commit_queue(&folder);
    let mut numbers: Vec<u64> = thread::scope(|scope| {
        let (queue, folder) = (&queue, &folder);
        let commit = |n: usize| {
            let request = request(folder, &format!("ep-{n}"));
            let file = File::open(request.incoming.as_ref().unwrap()).unwrap();
            match queue.commit(queue.expect(), request, Some(&file)) {
                Some(Ok(Decision::Stored(published))) if published.is_fresh() => {
                    published.receipt.seq.unwrap()
                }
                other => panic!("{other:?}"),
            }
        };
        let threads: Vec<_> = (0..24).map(|n| scope.spawn(move || commit(n))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=24).collect::<Vec<_>>());
    let index = fs::read_to_string(folder.path().join("index.jsonl")).unwrap();
    assert_eq!(index.lines().count(), 24);
    let committer = queue.shared.lock().unwrap();
    assert!(committer.is_idle());
    assert_eq!(committer.tail().length, index.len() as u64);
}

/// Linked and appended, and nothing of it is synced.
fn place(queue: &CommitQueue, request: CommitRequest) -> Receiver<Progress> {
    let (queued, heard) = request.into_queued();
    let mut committer = queue.shared.lock().unwrap();
    let placed = committer.place_all(vec![queued], |_, _| Ok(None));
    assert!(placed.is_ok());
    heard
}

#[test]
fn requests_of_a_name_in_flight_share_its_fate() {
    let folder = Folder::new("commit-queue");
    let (queue, _stops) = commit_queue(&folder);
    let shared = &queue.shared;
    let slot = Slot::parse("a/x").unwrap();
    let tarball = folder.path().join("episodes/a/x.tar.zst");
    for is_synced in [false, true] {
        let first = place(&queue, request(&folder, "x"));
        assert!(matches!(first.recv(), Ok(Progress::Placed(_))));
        assert!(queue.is_in_flight(&slot) && tarball.exists());
        let later = place(&queue, request(&folder, "x"));
        assert!(later.try_recv().is_err());
        let fault = || io::Error::from_raw_os_error(libc::EIO);
        let answer = if is_synced {
            shared.settle(&slot)
        } else {
            shared.withdraw(&slot, fault())
        };
        let shares = later.recv();
        if is_synced {
            assert!(matches!(answer, Some(Ok(Decision::Stored(first))) if first.is_fresh()));
            assert!(matches!(
                shares,
                Ok(Progress::Decided(Ok(Decision::Stored(later)))) if !later.is_fresh()
            ));
        } else {
            assert!(matches!(answer, Some(Err(StoreError::Io(_)))));
            assert!(matches!(
                shares,
                Ok(Progress::Decided(Err(StoreError::Io(_))))
            ));
        }
        assert_eq!(tarball.exists(), is_synced);
        assert!(!queue.is_in_flight(&slot));
        // The row of the first try stays, and the second needs no other.
        let index = fs::read_to_string(folder.path().join("index.jsonl")).unwrap();
        assert_eq!(index.lines().count(), 1);
    }
}

/// A file whose sync has failed cannot be taken back. Another thread, whose file is synced, is not
/// answered after that, and no row in flight is left for recovery to find in the page cache.
#[test]
fn after_a_fault_nothing_in_flight_is_answered_or_kept() {
    let folder = Folder::new("commit-queue");
    let (queue, stops) = commit_queue(&folder);
    let shared = &queue.shared;
    let _in_flight = [
        place(&queue, request(&folder, "x")),
        place(&queue, request(&folder, "y")),
    ];
    let index = folder.path().join("index.jsonl");
    let rows = || fs::read_to_string(&index).unwrap().lines().count();
    assert_eq!(rows(), 2);
    let tarball = folder.path().join("episodes/a/x.tar.zst");
    fs::remove_file(&tarball).unwrap();
    fs::create_dir(&tarball).unwrap();
    let fault = io::Error::from_raw_os_error(libc::EIO);
    assert!(
        shared
            .withdraw(&Slot::parse("a/x").unwrap(), fault)
            .is_none()
    );
    assert!(shared.settle(&Slot::parse("a/y").unwrap()).is_none());
    assert!(matches!(stops.recv(), Ok(StopReason::Fatal(_))));
    assert_eq!(rows(), 0);
}

/// Its rows are cut, and those of another process behind them are not: unless a sync has failed, also
/// after that.
#[test]
fn rows_of_another_process_stay_unless_a_sync_has_failed() {
    let folder = Folder::new("commit-queue");
    let (queue, _stops) = commit_queue(&folder);
    let _in_flight = place(&queue, request(&folder, "x"));
    let index = folder.path().join("index.jsonl");
    let ours = fs::read(&index).unwrap();
    fs::write(&index, [&ours, b"theirs\n".as_slice()].concat()).unwrap();
    assert!(queue.shared.watch_index().is_err());
    assert!(queue.shared.settle(&Slot::parse("a/x").unwrap()).is_none());
    assert!(fs::read(&index).unwrap().ends_with(b"theirs\n"));
    let error = io::Error::from_raw_os_error(libc::EIO);
    queue.shared.end_unsynced(error);
    assert!(fs::read(&index).unwrap().is_empty());
}

#[test]
fn a_request_without_a_file_is_refused() {
    let folder = Folder::new("commit-queue");
    let (queue, _stops) = commit_queue(&folder);
    let mut odd = request(&folder, "x");
    odd.incoming = None;
    let answer = queue.commit(queue.expect(), odd, None);
    assert!(matches!(answer, Some(Err(StoreError::Io(_)))));
}

#[test]
fn a_ping_waits_for_the_lock_and_comes_back() {
    let folder = Folder::new("commit-queue");
    let (queue, _stops) = commit_queue(&folder);
    let committer = queue.shared.lock().unwrap();
    let (pong, ponged) = mpsc::channel();
    queue.ping(Box::new(move || pong.send(()).unwrap()));
    assert!(ponged.recv_timeout(Duration::from_millis(20)).is_err());
    drop(committer);
    ponged.recv_timeout(Duration::from_secs(60)).unwrap();
}

#[test]
fn after_the_close_nothing_is_committed() {
    let folder = Folder::new("commit-queue");
    let (queue, _stops) = commit_queue(&folder);
    let committer = queue.shared.lock().unwrap();
    queue.close(Duration::from_millis(20)); // A disk that hangs.
    drop(committer);
    queue.close(Duration::from_secs(60));
    assert!(
        queue
            .commit(queue.expect(), request(&folder, "x"), None)
            .is_none()
    );
}

#[test]
fn a_panic_while_committing_is_the_end_for_all() {
    let folder = Folder::new("commit-queue");
    let (queue, stops) = commit_queue(&folder);
    let (queued, heard) = request(&folder, "x").into_queued();
    let panicking = panic::catch_unwind(AssertUnwindSafe(|| {
        let _batch = [queued];
        let _committer = queue.shared.lock();
        panic!("a test's");
    }));
    assert!(panicking.is_err());
    assert!(heard.recv().is_err(), "its request was dropped");
    // Another's finds the lock poisoned.
    assert!(
        queue
            .commit(queue.expect(), request(&folder, "y"), None)
            .is_none()
    );
    let failure = fatal("commit", &io::Error::other("a test's"));
    queue.shared.end_with(EndCause::Panic, failure);
    assert!(matches!(stops.recv(), Ok(StopReason::Fatal(_))));
    assert!(
        queue
            .commit(queue.expect(), request(&folder, "z"), None)
            .is_none()
    );
}

/// Whether the episode was stored is for recovery to see.
#[test]
fn without_an_answer_the_name_in_incoming_stays() {
    let folder = Folder::new("commit-queue");
    store_dir::make(folder.path()).unwrap();
    let (shutdown, _stops) = ShutdownHandle::new();
    let stats = Stats::new(std::iter::empty());
    let store = Store::open(folder.path(), 0, 0, &shutdown, Path::new("x.toml"), stats).unwrap();
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
    store.close();
    assert!(upload.publish().is_err());
    assert_eq!(incoming(), 1);
}
