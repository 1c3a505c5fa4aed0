//! The power of the receiver's disk, cut while several senders upload, while it recovers, and while
//! it recovers from that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Disk, Kind, Loss, disk, kind, seed};
use crate::client::{Client, Put, sha256};
use crate::dice::{Dice, noise};
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The sizes of the bodies of a run, in turn.
pub type Sizes = &'static [usize];

/// In one block, which are linked before they are synced.
pub const SMALL: Sizes = &[0, 900, 70_000, 4096, 262_144, 65_673];
/// Larger, which are synced before: through the page cache, past it with a tail and without.
pub const LARGE: Sizes = &[262_145, 700_000, 5_000_123, 4 << 20];
pub const MIXED: Sizes = &[0, 900, 70_000, 700_000, 5_000_123, 4 << 20];

#[test]
fn the_receiver_whose_power_is_cut_loses_nothing_acknowledged() {
    let ext4 = kind("ext4", Loss::Shutdown);
    let btrfs = kind("btrfs", Loss::Cache);
    for (kind, sizes) in [(ext4, SMALL), (ext4, LARGE), (btrfs, MIXED)] {
        if let Some(told) = receiver_without_power(kind, sizes, 4, seed()) {
            eprintln!("{kind}: {told:?}");
            assert!(told.acknowledged > 0, "{told:?}");
        }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Told {
    pub cuts: u32,
    /// Of these, cuts of a receiver that was recovering.
    pub in_recovery: u32,
    pub acknowledged: usize,
    /// Uploads that were cut off, each sent again.
    pub unanswered: usize,
    /// Of those, files that had their name and no row.
    pub without_row: usize,
    /// And rows whose file had not got its name.
    pub without_file: usize,
}

/// Which episode an upload is of; its bytes follow from the number alone.
fn put(n: u64, sizes: Sizes) -> (String, Put) {
    let size = sizes[n as usize % sizes.len()];
    let body = noise(n, size);
    // A new host now and then: its directory is new as well.
    let slot = format!("host-{}/ep-{n}", n / 12);
    let put = Put::sample(COMMIT)
        .path(&format!("/v1/episodes/{slot}"))
        .body(&body);
    (slot, put)
}

/// What was promised: digest and number in sequence, by slot.
#[derive(Default)]
struct Promises {
    kept: BTreeMap<String, (String, u64)>,
    open: BTreeSet<u64>,
    /// The power is gone, and what is heard now counts for nothing.
    is_deaf: bool,
}

struct Run {
    world: World,
    sizes: Sizes,
    disk: Disk,
    dice: Dice,
    number: AtomicU64,
    promises: Mutex<Promises>,
    told: Told,
}

/// Cuts the power of one receiver's disk `cuts` times; `None` if there is no such disk here.
pub fn receiver_without_power(kind: Kind, sizes: Sizes, cuts: u32, seed: u64) -> Option<Told> {
    let disk = disk("power cuts of the receiver", kind)?;
    let mut run = Run {
        world: World::prepared_on(Some(&disk.root().join("store")), GATE_OFF),
        sizes,
        disk,
        dice: Dice::new(seed),
        number: AtomicU64::new(0),
        promises: Mutex::default(),
        told: Told::default(),
    };
    run.start();
    while run.told.cuts < cuts {
        run.cut_under_load();
        while run.told.cuts < cuts && run.dice.below(3) == 0 {
            run.cut_in_recovery();
        }
        run.start();
        run.check(false);
        run.send_again();
        run.check(true);
    }
    run.told.acknowledged = run.promises.lock().unwrap().kept.len();
    Some(run.told)
}

impl Run {
    /// In a debug build the syncs are slower, by as much as the dice say: most cuts then come
    /// between the steps of a commit.
    fn start(&mut self) {
        let delay_ms = self.dice.below(25);
        self.world.env("CIS490_SYNC_DELAY_MS", delay_ms);
        self.world.start();
    }

    fn cut_under_load(&mut self) {
        let over = AtomicBool::new(false);
        let moment = Duration::from_micros(self.dice.below(250_000));
        let seeds: Vec<u64> = (0..4).map(|_| self.dice.below(u64::MAX)).collect();
        let (world, number, promises) = (&self.world, &self.number, &self.promises);
        let sizes = self.sizes;
        thread::scope(|scope| {
            for seed in seeds {
                let over = &over;
                scope.spawn(move || {
                    let mut dice = Dice::new(seed);
                    while !over.load(Ordering::Relaxed) {
                        upload(world, next(number, &mut dice), sizes, promises);
                    }
                });
            }
            thread::sleep(moment);
            promises.lock().unwrap().is_deaf = !self.disk.keeps_its_word();
            self.disk.cut(&mut self.dice);
            // A false promise would come now.
            thread::sleep(Duration::from_millis(30));
            over.store(true, Ordering::Relaxed);
            self.world.signal("KILL");
        });
        self.told.cuts += 1;
        self.world.kill();
        self.promises.lock().unwrap().is_deaf = false;
        self.disk.restore();
    }

    fn cut_in_recovery(&mut self) {
        let moment = Duration::from_micros(self.dice.below(40_000));
        let (disk, dice, world) = (&self.disk, &mut self.dice, &mut self.world);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(moment);
                disk.cut(dice);
            });
            world.try_start();
        });
        self.told.cuts += 1;
        self.told.in_recovery += 1;
        self.world.kill();
        self.disk.restore();
    }

    /// What the senders were not told is sent again, and now it is taken.
    fn send_again(&mut self) {
        let open = std::mem::take(&mut self.promises.lock().unwrap().open);
        self.told.unanswered += open.len();
        for n in open {
            upload(&self.world, n, self.sizes, &self.promises);
        }
        assert!(
            self.promises.lock().unwrap().open.is_empty(),
            "{}",
            self.world
        );
    }

    /// Every promise is kept, and nothing half is anywhere. With `is_settled`, nothing is open.
    fn check(&mut self, is_settled: bool) {
        let world = &self.world;
        let rows = rows(world);
        let files = files(world);
        let promises = self.promises.lock().unwrap();
        for (slot, (digest, seq)) in &promises.kept {
            let found = rows.get(slot).map(Vec::as_slice);
            assert_eq!(
                found,
                Some(&[(digest.clone(), *seq)][..]),
                "row of {slot}\n{world}"
            );
            assert_eq!(files.get(slot), Some(digest), "file of {slot}\n{world}");
        }
        let mut seqs = BTreeSet::new();
        for (slot, found) in &rows {
            assert_eq!(found.len(), 1, "one row each: {slot}\n{world}");
            assert!(seqs.insert(found[0].1), "{:?} twice\n{world}", found[0]);
        }
        for (slot, digest) in &files {
            let n = slot.rsplit('-').next().unwrap().parse().unwrap();
            assert_eq!(
                digest,
                &sha256(&put(n, self.sizes).1.body),
                "half: {slot}\n{world}"
            );
        }
        // What was answered just now loses its name there after the answer.
        world.wait_until("nothing is left in incoming/", |world| {
            world.names("incoming").is_empty()
        });
        for odd in world.names("quarantine") {
            assert!(odd.starts_with("index.jsonl.tail."), "{odd}\n{world}");
        }
        let without_row = files.keys().filter(|slot| !rows.contains_key(*slot));
        let without_file = rows.keys().filter(|slot| !files.contains_key(*slot));
        let (without_row, without_file) = (without_row.count(), without_file.count());
        if is_settled {
            assert_eq!((without_row, without_file), (0, 0), "{world}");
        }
        self.told.without_row += without_row;
        self.told.without_file += without_file;
    }
}

/// A new one, or now and then one that has been sent before, or is being sent this moment.
fn next(number: &AtomicU64, dice: &mut Dice) -> u64 {
    let begun = number.load(Ordering::Relaxed);
    match dice.below(5) {
        0 if begun > 0 => begun - 1 - dice.below(begun.min(6)),
        _ => number.fetch_add(1, Ordering::Relaxed),
    }
}

fn upload(world: &World, n: u64, sizes: Sizes, promises: &Mutex<Promises>) {
    let (slot, put) = put(n, sizes);
    let answer = Client::try_connect(world.address()).and_then(|mut client| {
        client.send(&put.bytes()).ok()?;
        client.answer()
    });
    let mut promises = promises.lock().unwrap();
    let heard = answer.filter(|answer| matches!(answer.status, 200 | 201) && !promises.is_deaf);
    let Some(answer) = heard else {
        // Of what has been promised before, a later silence takes nothing back.
        if !promises.kept.contains_key(&slot) {
            promises.open.insert(n);
        }
        return;
    };
    let seq = answer.json()["seq"].as_u64().unwrap();
    let promise = (sha256(&put.body), seq);
    let before = promises.kept.insert(slot, promise.clone());
    assert!(
        before.is_none_or(|before| before == promise),
        "{answer:?}\n{world}"
    );
    promises.open.remove(&n);
}

/// Digest and number in sequence of every row, by slot.
fn rows(world: &World) -> BTreeMap<String, Vec<(String, u64)>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for row in world.rows() {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let slot = format!("{}/{}", text("host"), text("episode"));
        let told = (text("sha256"), row["seq"].as_u64().unwrap());
        rows.entry(slot).or_default().push(told);
    }
    rows
}

/// The digest of every stored file, by slot.
fn files(world: &World) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for host in world.names("episodes") {
        for name in world.names(&format!("episodes/{host}")) {
            let path = world.data_dir().join("episodes").join(&host).join(&name);
            let episode = name.strip_suffix(".tar.zst").unwrap();
            files.insert(
                format!("{host}/{episode}"),
                sha256(&fs::read(path).unwrap()),
            );
        }
    }
    files
}
