//! The power of a receiver's disk, cut while it copies episodes to a store, reads them back, notes the proofs
//! and evicts the files. The store has power, and mishaps of its own; and now and then the ledger is found
//! torn, with zeros at its end, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Disk, Kind, Loss, disk, kind, seed};
use crate::archive::settings::{hurry, write_secret};
use crate::archive::store::{Mishap, ScriptedStore};
use crate::client::{Client, PATIENCE, Put, sha256};
use crate::dice::{Dice, noise};
use crate::world::World;

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const SIZES: [usize; 5] = [0, 900, 70_000, 4096, 700_000];
/// More than any disk has: each proven episode goes at once.
const ALWAYS: &str = "evict_below_bytes = 1000000000000000\n";

#[test]
fn the_archive_whose_power_is_cut_loses_nothing_and_evicts_nothing_unproven() {
    for kind in [kind("ext4", Loss::Shutdown), kind("btrfs", Loss::Cache)] {
        if let Some(told) = archive_without_power(kind, 4, seed()) {
            eprintln!("{kind}: {told:?}");
            assert!(told.acknowledged > 0 && told.evicted > 0, "{told:?}");
        }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Told {
    pub cuts: u32,
    pub acknowledged: usize,
    /// Uploads that were cut off, each sent again.
    pub unanswered: usize,
    /// Right after a cut: promised episodes that were in the bucket alone.
    pub evicted: usize,
    /// Cuts after which the ledger was spoilt: torn, with zeros, deleted.
    pub spoilt: [u32; 3],
    /// The cuts that came at the nth request of each kind, by kind and by n.
    pub at: BTreeMap<(&'static str, usize), u32>,
}

struct Run {
    world: World,
    disk: Disk,
    store: ScriptedStore,
    dice: Dice,
    number: AtomicU64,
    promises: Mutex<Promises>,
    told: Told,
}

/// What was promised: digests by slot.
#[derive(Default)]
struct Promises {
    kept: BTreeMap<String, String>,
    open: BTreeSet<u64>,
    /// The power is gone, and what is heard now counts for nothing.
    is_deaf: bool,
}

/// Cuts the power of one receiver's disk `cuts` times; `None` if there is no such disk here.
pub fn archive_without_power(kind: Kind, cuts: u32, seed: u64) -> Option<Told> {
    let disk = disk("power cuts of the archive", kind)?;
    let store = ScriptedStore::start();
    let mut world = World::prepared_on(Some(&disk.root().join("store")), GATE_OFF);
    let secret = world.dir().join("s3-keys");
    write_secret(&secret, "KEY\nSECRET\n");
    world.add_tables(&format!("{}{ALWAYS}", store.config(&secret)));
    let mut run = Run {
        world,
        disk,
        store,
        dice: Dice::new(seed),
        number: AtomicU64::new(0),
        promises: Mutex::default(),
        told: Told::default(),
    };
    run.start();
    while run.told.cuts < cuts {
        run.cut_under_load();
        run.told.evicted += run.check(true);
        run.spoil_the_ledger();
        run.start();
        run.send_again();
        run.settle();
        run.check(false);
    }
    run.told.acknowledged = run.promises.lock().unwrap().kept.len();
    Some(run.told)
}

impl Run {
    /// In a debug build the syncs are slower, by as much as the dice say.
    fn start(&mut self) {
        hurry(&mut self.world);
        self.world.env("CIS490_ARCHIVE_LOOK_MS", 50);
        self.world.env("CIS490_SYNC_DELAY_MS", self.dice.below(12));
        self.world.start();
    }

    /// Cuts when the store has been asked for so much, and a little later.
    fn cut_under_load(&mut self) {
        let method = *self.dice.one_of(&["HEAD", "PUT", "GET"]).unwrap();
        let nth = 1 + self.dice.below(6) as usize;
        let later = Duration::from_micros(self.dice.below(30_000));
        *self.told.at.entry((method, nth)).or_default() += 1;
        self.trip_the_store();
        let before = self.store.count(method);
        let over = AtomicBool::new(false);
        let seeds: Vec<u64> = (0..3).map(|_| self.dice.next()).collect();
        let (world, number, promises) = (&self.world, &self.number, &self.promises);
        thread::scope(|scope| {
            for seed in seeds {
                let over = &over;
                scope.spawn(move || {
                    let mut dice = Dice::new(seed);
                    while !over.load(Ordering::Relaxed) {
                        upload(world, next(number, &mut dice), promises);
                        thread::sleep(dice.wait(0, 30));
                    }
                });
            }
            let until = Instant::now() + PATIENCE;
            let mut comes = true;
            while comes && self.store.count(method) < before + nth {
                thread::sleep(Duration::from_millis(1));
                comes = Instant::now() < until;
            }
            if !comes {
                over.store(true, Ordering::Relaxed);
                panic!("no {method} comes\n{world}");
            }
            thread::sleep(later);
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
        self.store.calm();
    }

    /// The next request of one kind goes wrong: the proof alone must show it.
    fn trip_the_store(&mut self) {
        let mishap = match self.dice.below(8) {
            0 => ("PUT", Mishap::Pretends),
            1 => ("PUT", Mishap::LosesTheAnswer),
            2 => ("PUT", Mishap::HangsUpInTheBody),
            3 => ("GET", Mishap::FlipsABit),
            4 => ("GET", Mishap::SendsHalf),
            5 => ("GET", Mishap::IsSilent(Duration::from_millis(50))),
            _ => return,
        };
        self.store.once(mishap.0, "", mishap.1);
    }

    fn ledger(&self) -> PathBuf {
        self.world.data_dir().join("archive.jsonl")
    }

    fn spoil_the_ledger(&mut self) {
        let path = self.ledger();
        let Ok(bytes) = fs::read(&path) else {
            return;
        };
        let how = self.dice.below(6) as usize;
        match how {
            0 => {
                let end = self.dice.below(bytes.len() as u64 + 1);
                File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(end)
                    .unwrap();
            }
            1 => {
                let mut file = File::options().append(true).open(&path).unwrap();
                file.write_all(&vec![0; self.dice.below(9000) as usize])
                    .unwrap();
            }
            2 => fs::remove_file(&path).unwrap(),
            _ => return,
        }
        self.told.spoilt[how] += 1;
    }

    /// What the senders were not told is sent again, and now it is accepted.
    fn send_again(&mut self) {
        let open = std::mem::take(&mut self.promises.lock().unwrap().open);
        self.told.unanswered += open.len();
        for n in open {
            upload(&self.world, n, &self.promises);
        }
        let promises = self.promises.lock().unwrap();
        assert!(promises.open.is_empty(), "{}", self.world);
    }

    /// Until each episode is in the bucket alone. The thread has the lowest priority of the disk, which others may
    /// keep busy: it may be slow, and must go on.
    fn settle(&self) {
        let mut files = usize::MAX;
        while files > 0 {
            self.world
                .wait_until("one more is in the bucket alone", |_| self.files() < files);
            files = self.files();
        }
        let all = self.world.rows().len();
        let line = format!("cis490_archive_episodes{{state=\"evicted\"}} {all}\n");
        self.world
            .wait_until(&line, |world| world.get("/metrics").body.contains(&line));
    }

    fn files(&self) -> usize {
        let world = &self.world;
        let hosts = world.names("episodes");
        let counts = hosts
            .iter()
            .map(|host| world.names(&format!("episodes/{host}")).len());
        counts.sum()
    }

    /// For each promise there is a whole file, or a right object that the ledger calls proven. How many are
    /// in the bucket alone. A file that is here must be whole in any case.
    fn check(&self, is_cut: bool) -> usize {
        let world = &self.world;
        let proven = proven(&self.ledger());
        let keys: BTreeSet<String> = self.store.keys().into_iter().collect();
        let promises = self.promises.lock().unwrap();
        let mut evicted = 0;
        for (slot, digest) in &promises.kept {
            let (host, episode) = slot.split_once('/').unwrap();
            if let Some(bytes) = world.stored(host, episode) {
                assert_eq!(sha256(&bytes), *digest, "half: {slot}\n{world}");
                continue;
            }
            evicted += 1;
            let key = format!("episodes/{slot}~{digest}.tar.zst");
            assert!(
                proven.contains(&key),
                "{slot} was evicted unproven, cut: {is_cut}\n{world}"
            );
            assert!(keys.contains(&key), "{slot} is nowhere\n{world}");
            let found = self.store.with(&key, |object| sha256(&object.bytes));
            assert_eq!(found, *digest, "the object of {slot}\n{world}");
        }
        // Right after a cut the index may end with a part of a row.
        if !is_cut {
            let rows: BTreeSet<String> = world.rows().iter().map(name_of).collect();
            for slot in promises.kept.keys() {
                assert!(rows.contains(slot), "no row of {slot}\n{world}");
            }
        }
        evicted
    }
}

/// The keys of the objects that the ledger's last words call proven.
fn proven(ledger: &PathBuf) -> BTreeSet<String> {
    let bytes = fs::read(ledger).unwrap_or_default();
    let mut proven = BTreeSet::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        // A line without its end is no line; nor is one that a cut has left with zeros.
        let is_whole = line.ends_with(b"\n");
        let Some(line) = is_whole
            .then(|| serde_json::from_slice(line).ok())
            .flatten()
        else {
            continue;
        };
        let line: serde_json::Value = line;
        let key = format!(
            "episodes/{}~{}.tar.zst",
            name_of(&line),
            line["sha256"].as_str().unwrap()
        );
        if line["state"] == "proven" {
            proven.insert(key);
        } else {
            proven.remove(&key);
        }
    }
    proven
}

fn name_of(row: &serde_json::Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap();
    format!("{}/{}", text("host"), text("episode"))
}

/// A new one, or now and then one that has been sent before: it may be evicted at this moment.
fn next(number: &AtomicU64, dice: &mut Dice) -> u64 {
    let begun = number.load(Ordering::Relaxed);
    if begun > 0 && dice.one_in(4) {
        begun - 1 - dice.below(begun.min(12))
    } else {
        number.fetch_add(1, Ordering::Relaxed)
    }
}

fn upload(world: &World, n: u64, promises: &Mutex<Promises>) {
    let body = noise(n, SIZES[n as usize % SIZES.len()]);
    let slot = format!("host-{}/ep-{n}", n / 12);
    let put = Put::sample(COMMIT)
        .path(&format!("/v1/episodes/{slot}"))
        .body(&body);
    let answer = Client::try_connect(world.address()).and_then(|mut client| {
        client.send(&put.bytes()).ok()?;
        client.answer()
    });
    let mut promises = promises.lock().unwrap();
    let is_heard =
        answer.is_some_and(|answer| matches!(answer.status, 200 | 201)) && !promises.is_deaf;
    if is_heard {
        promises.kept.insert(slot, sha256(&body));
        promises.open.remove(&n);
    } else if !promises.kept.contains_key(&slot) {
        promises.open.insert(n);
    }
}
