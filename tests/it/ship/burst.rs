//! Small episodes are sent several at once, and every promise about one of them holds.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::stub::{Reply, Stub, problem};
use super::{A, B, Lab, noise};
use crate::client::PATIENCE;
use crate::world::World;

/// A scan that is due ends a burst, on a slow machine before four are under way.
pub(super) const RARE_SCANS: &str = "scan_seconds = 3600";

/// How many are under way at once.
pub(super) const FOUR: usize = 4;

/// Where uploads wait for each other, and are counted.
#[derive(Default)]
pub(super) struct Gate {
    inner: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct Inside {
    now: usize,
    most: usize,
    pub(super) came: usize,
    is_open: bool,
}

impl Gate {
    /// Stores an episode, and answers once `enough` says so.
    pub(super) fn store_when(
        self: &Arc<Gate>,
        enough: impl Fn(&Inside) -> bool + Send + Sync + 'static,
    ) -> Reply {
        let gate = self.clone();
        Reply::StoreAndAfter(Arc::new(move || gate.pass(&enough, PATIENCE)))
    }

    /// Answers so, once `enough` says so.
    fn say_when(
        self: &Arc<Gate>,
        answer: Reply,
        enough: impl Fn(&Inside) -> bool + Send + Sync + 'static,
    ) -> Reply {
        let gate = self.clone();
        let wait = Arc::new(move || gate.pass(&enough, PATIENCE));
        Reply::After(wait, Box::new(answer))
    }

    pub(super) fn pass(&self, enough: &dyn Fn(&Inside) -> bool, patience: Duration) {
        let until = Instant::now() + patience;
        let mut inside = self.inner.lock().unwrap();
        inside.now += 1;
        inside.came += 1;
        inside.most = inside.most.max(inside.now);
        self.changed.notify_all();
        while !enough(&inside) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            inside = self.changed.wait_timeout(inside, left).unwrap().0;
        }
        inside.now -= 1;
    }

    fn came(&self) -> usize {
        self.inner.lock().unwrap().came
    }

    fn most(&self) -> usize {
        self.inner.lock().unwrap().most
    }

    fn open(&self) {
        self.inner.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }
}

pub(super) fn four_came(inside: &Inside) -> bool {
    inside.came >= FOUR
}

fn is_open(inside: &Inside) -> bool {
    inside.is_open
}

/// `ep-00` and so on, small and smallest first.
pub(super) fn record(lab: &Lab, count: usize, commit: &str) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|n| format!("ep-{n:02}")).collect();
    for (n, id) in ids.iter().enumerate() {
        lab.episode_with(id, commit, &noise(100 + n * 50));
    }
    ids
}

pub(super) fn assert_shipped(lab: &Lab, ids: &[String]) {
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    lab.assert_all_shipped(&ids);
    assert_eq!(lab.names("episodes"), [""; 0], "{lab}");
    assert_eq!(lab.names("outbox"), [""; 0], "{lab}");
}

fn puts(stub: &Stub) -> usize {
    let is_put = |line: &&String| line.starts_with("PUT ");
    stub.lines().iter().filter(is_put).count()
}

#[test]
fn four_at_once_and_no_more() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([Reply::Store, gate.store_when(four_came)]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 13, A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_eq!(gate.most(), FOUR, "{ended}");
    assert_shipped(&lab, &ids);
    assert_eq!((puts(&stub), stub.stored().len()), (13, 13), "{ended}");
    assert_eq!(ended.count("event=shipped "), 13, "{ended}");
}

/// The first one finds out whether the receiver takes anything.
#[test]
fn one_alone_meets_a_receiver_that_refuses() {
    for (reply, code) in [
        (Reply::Say(problem(503, "draining", "")), 1),
        (Reply::Say(problem(412, "too-old", "")), 3),
        (Reply::Die, 1),
    ] {
        let stub = Stub::new([reply]);
        let lab = Lab::with(&stub.url, RARE_SCANS);
        record(&lab, 9, A);
        let ended = lab.ship_once();
        assert_eq!((ended.code, puts(&stub)), (code, 1), "{ended}");
    }
}

#[test]
fn a_large_one_is_never_beside_another() {
    let gate = Arc::new(Gate::default());
    // Small ones meet each other; of a large one it is seen for a while that nothing comes.
    let small = gate.store_when(four_came);
    let alone = Arc::new(AtomicUsize::new(0));
    let large = {
        let (gate, alone) = (gate.clone(), alone.clone());
        Reply::StoreAndAfter(Arc::new(move || {
            let before = gate.came();
            gate.pass(&|inside| inside.now > 1, Duration::from_millis(150));
            let came = gate.came() - before;
            alone.fetch_add(usize::from(came == 1), Ordering::SeqCst);
        }))
    };
    let mut replies = vec![Reply::Store];
    replies.extend(std::iter::repeat_n(small, 8));
    replies.push(large);
    let stub = Stub::new(replies);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let mut ids = record(&lab, 9, A);
    // The first is packed in memory, to see whether it is small.
    for (n, mib) in [2, 3, 5].into_iter().enumerate() {
        let id = format!("large-{n}");
        lab.episode_with(&id, A, &noise(mib << 20));
        ids.push(id);
    }
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_eq!((gate.most(), alone.load(Ordering::SeqCst)), (FOUR, 3));
    assert_eq!(ended.count("event=packed"), 12, "{ended}");
    assert_shipped(&lab, &ids);
}

#[test]
fn what_is_under_way_when_its_commit_is_held_ends_as_it_ends() {
    let gate = Arc::new(Gate::default());
    let too_old = Reply::Say(problem(412, "too-old", ""));
    let stub = Stub::new([
        Reply::Store,
        gate.store_when(is_open),
        gate.say_when(too_old.clone(), four_came),
        gate.say_when(too_old.clone(), four_came),
        gate.store_when(is_open),
        Reply::Store,
    ]);
    stub.gets([too_old]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    record(&lab, 12, A);
    // Later in turn, and of a commit that is not held.
    for id in ["other-1", "other-2"] {
        lab.episode_with(id, B, &noise(5000));
    }
    let shipper = lab.ship();
    shipper.wait_until("it is held", || shipper.log().contains("event=held"));
    gate.open();
    for id in ["other-1", "other-2"] {
        shipper.wait_until("the others go on", || lab.path("shipped").join(id).is_dir());
    }
    // Of the held commit five were begun, and two of them refused.
    assert_eq!(puts(&stub), 5 + 2, "{lab}");
    shipper.wait_until("all else is at rest", || {
        lab.names("episodes").len() == 14 - 5
    });
    assert_eq!(shipper.log().matches("event=held").count(), 1, "{lab}");
    // The one that was packed ahead of the burst has its tarball in outbox/, and may be one of the refused.
    let is_held = lab.path("episodes/ep-01").exists();
    shipper.wait_until("outbox is swept", || {
        let left = lab.names("outbox");
        left.is_empty() || is_held && left == ["ep-01.tar.zst"]
    });
    assert_eq!(shipper.stop(), 0);
}

/// A receiver with fewer places is not asked for four again and again.
#[test]
fn where_four_have_no_place_fewer_go_at_once() {
    let gate = Arc::new(Gate::default());
    let then = Arc::new(Gate::default());
    let crowded = Reply::Say(problem(
        503,
        "too-many-uploads-of-yours",
        "Retry-After: 1\r\n",
    ));
    let mut replies = vec![Reply::Store, gate.say_when(crowded, four_came)];
    replies.extend(std::iter::repeat_n(gate.store_when(is_open), 3));
    replies.push(Reply::Store);
    replies.push(then.store_when(|inside| inside.came >= 3));
    let stub = Stub::new(replies);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 18, A);
    let shipper = lab.ship();
    let is_away = || shipper.log().contains("event=receiver_away");
    shipper.wait_until("there is no place", is_away);
    gate.open();
    shipper.wait_until("all are shipped", || lab.names("episodes").is_empty());
    assert_eq!((gate.most(), then.most()), (FOUR, 3), "{lab}");
    let away = shipper.log().matches("event=receiver_away").count();
    assert_eq!((away, puts(&stub)), (1, ids.len() + 1), "{lab}");
    assert_eq!(shipper.stop(), 0);
    assert_shipped(&lab, &ids);
}

/// What the receiver asked for while four were under way holds, though it stores the others.
#[test]
fn an_upload_that_succeeds_ends_no_wait_that_the_receiver_asked_for() {
    let gate = Arc::new(Gate::default());
    let draining = Reply::Say(problem(503, "draining", "Retry-After: 60\r\n"));
    let stub = Stub::new([
        Reply::Store,
        gate.say_when(draining, four_came),
        gate.store_when(is_open),
    ]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    record(&lab, 18, A);
    let shipper = lab.ship();
    let is_away = || shipper.log().contains("event=receiver_away");
    shipper.wait_until("it asks to wait", is_away);
    let under_way = puts(&stub);
    gate.open();
    // The one in whose place another may have come is refused; all others under way are stored.
    shipper.wait_until("the others are shipped", || {
        lab.names("episodes").len() == 18 - (under_way - 1)
    });
    assert_eq!(shipper.stop(), 0);
    assert_eq!(puts(&stub), under_way, "{lab}");
}

#[test]
fn a_refusal_of_one_stops_none_of_the_others() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([
        Reply::Store,
        gate.say_when(Reply::Say(problem(409, "taken", "")), four_came),
        gate.store_when(four_came),
    ]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    record(&lab, 10, A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}\n{lab}");
    assert_eq!((puts(&stub), gate.most()), (10, FOUR), "{ended}");
    assert_eq!(lab.names("refused").len(), 2, "{lab}");
    assert_eq!(lab.names("shipped").len(), 2 * 9, "{lab}");
    assert_eq!(lab.names("outbox"), [""; 0], "{lab}");
}

#[test]
fn a_receiver_that_goes_away_with_four_under_way_loses_nothing() {
    let gate = Arc::new(Gate::default());
    let away = |reply: Reply| gate.say_when(reply, four_came);
    let stub = Stub::new([
        Reply::Store,
        away(Reply::Die),
        away(Reply::DieInBody),
        away(Reply::StoreAndDie),
        away(Reply::Say(problem(503, "draining", ""))),
        Reply::Die,
    ]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 12, A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}\n{lab}");
    assert_eq!(puts(&stub), 5, "{ended}");
    // One fault, seen four times, is one wait of all.
    assert_eq!(ended.count("event=receiver_away"), 1, "{ended}");
    assert_eq!(lab.names("episodes").len(), 11, "{lab}");
    stub.puts([Reply::Store]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_shipped(&lab, &ids);
    // One was stored, and its answer lost: it is stored once.
    assert_eq!(stub.stored().len(), 12, "{ended}");
}

#[test]
fn a_kill_with_four_under_way_loses_nothing() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([Reply::Store, gate.store_when(is_open)]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 12, A);
    let shipper = lab.ship();
    shipper.wait_until("four are under way", || gate.came() == FOUR);
    shipper.kill();
    gate.open();
    assert_eq!(lab.names("episodes").len(), 11, "{lab}");
    stub.puts([Reply::Store]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_shipped(&lab, &ids);
    // The four were stored without an answer that was heard, and are answered with 200 now.
    assert_eq!(ended.count("status=200"), FOUR, "{ended}");
    assert_eq!(stub.stored().len(), 12, "{ended}");
}

/// On new connections, and on kept ones: an upload that the stop ends is not tried a second time.
#[test]
fn a_stop_with_four_under_way_is_quick_and_loses_nothing() {
    for served in [1, 1 + 3 * FOUR] {
        let gate = Arc::new(Gate::default());
        let mut replies = vec![Reply::Store; served];
        replies.push(gate.store_when(is_open));
        let stub = Stub::new(replies);
        let lab = Lab::with(&stub.url, RARE_SCANS);
        let ids = record(&lab, 20, A);
        let shipper = lab.ship();
        shipper.wait_until("four are under way", || gate.came() == FOUR);
        let began = Instant::now();
        let log = shipper.log();
        assert_eq!(shipper.stop(), 0, "{log}\n{lab}");
        // Three seconds later it would have been cut short.
        assert!(began.elapsed() < Duration::from_secs(3), "{lab}");
        assert_eq!(puts(&stub), served + FOUR, "{lab}");
        assert_eq!(lab.names("episodes").len(), 20 - served, "{lab}");
        let state = lab.json("state.json");
        assert!(state["last_error"].is_null(), "{state}");
        assert!(state["uploading"].is_null(), "{state}");
        gate.open();
        stub.puts([Reply::Store]);
        assert_eq!(lab.ship_once().code, 0, "{lab}");
        assert_shipped(&lab, &ids);
        assert_eq!(stub.stored().len(), 20);
    }
}

#[test]
fn requeue_works_beside_four_under_way() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([Reply::Say(problem(409, "taken", ""))]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    lab.episode("came-back", A);
    assert_eq!(lab.ship_once().code, 3);
    stub.puts([Reply::Store, gate.store_when(is_open)]);
    let mut ids = record(&lab, 8, A);
    ids.push("came-back".to_owned());
    let shipper = lab.ship();
    shipper.wait_until("four are under way", || gate.came() == FOUR);
    let requeued = lab.run(&["requeue", "came-back"], &[]);
    assert_eq!(requeued.code, 0, "{requeued}");
    gate.open();
    // The scan that finds it.
    shipper.signal("HUP");
    shipper.wait_until("all are shipped", || lab.names("episodes").is_empty());
    assert_eq!(shipper.stop(), 0);
    assert_shipped(&lab, &ids);
}

/// What is under way is in `state.json`, also when there are several.
#[test]
fn the_state_names_one_that_is_under_way() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([Reply::Store, gate.store_when(is_open)]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    record(&lab, 8, A);
    let shipper = lab.ship();
    let named =
        || fs::read_to_string(lab.path("state.json")).is_ok_and(|text| text.contains("bytes_sent"));
    shipper.wait_until("it is in the state", named);
    let state = lab.json("state.json");
    assert_eq!(state["uploading"]["episode"], "ep-01", "{state}");
    gate.open();
    shipper.wait_until("all are shipped", || lab.names("episodes").is_empty());
    shipper.wait_until("the state is at rest", || !named());
    assert_eq!(shipper.stop(), 0);
}

#[test]
fn a_kept_connection_serves_many_and_its_end_is_no_fault() {
    // Closed after each second request, without a word of it.
    for (requests, most) in [(usize::MAX, 1 + FOUR), (2, 21)] {
        let stub = Stub::new([Reply::Store]);
        stub.keep_connections_for(requests);
        let lab = Lab::with(&stub.url, RARE_SCANS);
        let ids = record(&lab, 40, A);
        let ended = lab.ship_once();
        assert_eq!(ended.code, 0, "{ended}\n{lab}");
        assert_shipped(&lab, &ids);
        assert_eq!(puts(&stub), 40, "{ended}");
        let connections = stub.connections();
        // A connection that was closed too late for the shipper to see is tried, and costs another.
        assert!(connections <= 2 * most, "{connections} {ended}");
        assert_eq!(ended.count("event=receiver_away"), 0, "{ended}");
        assert_eq!(ended.count("event=deferred"), 0, "{ended}");
    }
}

#[test]
fn a_tarball_that_was_damaged_on_the_disk_is_never_sent() {
    let stub = Stub::new([Reply::Stall]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 8, A);
    // Large enough that its upload stands still.
    for (n, id) in ids.iter().enumerate() {
        lab.episode_with(id, A, &noise(900_000 + n * 1000));
    }
    let shipper = lab.ship();
    let two = ["ep-00.tar.zst", "ep-01.tar.zst"];
    shipper.wait_until("the second is packed", || lab.names("outbox") == two);
    shipper.kill();
    let torn = lab.path("outbox/ep-01.tar.zst");
    let bytes = fs::metadata(&torn).unwrap().len();
    let file = fs::File::options().write(true).open(&torn).unwrap();
    file.write_all_at(&[0; 4096], bytes / 2).unwrap();
    stub.puts([Reply::Store]);
    let ended = lab.ship_once();
    assert!(ended.log.contains("damaged on this disk"), "{ended}");
    // It is packed again, and waits for its turn.
    assert!(matches!(ended.code, 0 | 1), "{ended}\n{lab}");
    assert_eq!(lab.ship_once().code, 0, "{ended}\n{lab}");
    assert_shipped(&lab, &ids);
    assert_eq!(stub.stored().len(), 8, "{ended}");
}

/// A file that a recorder adds while its episode is under way never goes with shipped/ unsent.
#[test]
fn what_changes_under_way_stays() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([Reply::Store, gate.store_when(is_open)]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    record(&lab, 8, A);
    let shipper = lab.ship();
    shipper.wait_until("four are under way", || gate.came() == FOUR);
    fs::write(lab.path("episodes/ep-02/late.bin"), "late").unwrap();
    stub.puts([Reply::Store]);
    gate.open();
    // Its name belongs to other bytes now.
    shipper.wait_until("it is set aside", || lab.path("refused/ep-02").is_dir());
    shipper.wait_until("the others are shipped", || {
        lab.names("episodes").is_empty()
    });
    assert_eq!(shipper.stop(), 0);
    assert!(lab.path("refused/ep-02/late.bin").exists(), "{lab}");
    assert_eq!(lab.names("shipped").len(), 2 * 7, "{lab}");
}

#[test]
fn the_real_receiver_gets_all_of_a_backlog_once() {
    let world = World::with("[version_gate]\nenabled = false\n");
    let lab = Lab::with(&format!("http://{}", world.address()), RARE_SCANS);
    let ids = record(&lab, 60, A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_shipped(&lab, &ids);
    assert_eq!(world.rows().len(), 60, "{world}");
    assert_eq!(ended.count("event=deferred"), 0, "{ended}");
}

/// One that cannot be moved stays, and the others of its batch go.
#[test]
fn one_of_a_batch_that_cannot_be_moved_stops_none_of_the_others() {
    let gate = Arc::new(Gate::default());
    let stub = Stub::new([Reply::Store, gate.store_when(is_open)]);
    let lab = Lab::with(&stub.url, RARE_SCANS);
    let ids = record(&lab, 6, A);
    let shipper = lab.ship();
    shipper.wait_until("four are under way", || gate.came() == FOUR);
    // A folder where its receipt is to be made.
    let in_the_way = lab.path("shipped/ep-03.receipt.json.tmp");
    fs::create_dir(&in_the_way).unwrap();
    gate.open();
    shipper.wait_until("the others are shipped", || {
        lab.names("episodes") == ["ep-03"]
    });
    let is_told = AtomicBool::new(false);
    shipper.wait_until("it is reported", || {
        is_told.store(
            shipper.log().contains("cannot move it to shipped/"),
            Ordering::SeqCst,
        );
        is_told.load(Ordering::SeqCst)
    });
    fs::remove_dir(&in_the_way).unwrap();
    shipper.signal("HUP");
    shipper.wait_until("all are shipped", || lab.names("episodes").is_empty());
    assert_eq!(shipper.stop(), 0);
    assert_shipped(&lab, &ids);
}
