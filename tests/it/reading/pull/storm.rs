//! Everything that may happen to a pull, in turn and by chance: it is killed, the receiver is, the line
//! cuts off or flips bits, the index is rebuilt, the store is restored from a copy. The folder is never
//! wrong, and a pull by a good line brings what is not here.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::proxy::{Harm, Proxy};
use super::receiver::{copy_tree, restart, store};
use super::{Files, Target, slot_of};
use crate::client::PATIENCE;
use crate::dice::{Dice, noise, seed};
use crate::reading::{NO_GATE, READER};
use crate::world::World;

/// New episodes of a round.
const NEW: u64 = 3;
/// After so many rounds a fresh folder takes over.
const ROUNDS_OF_A_FOLDER: u64 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    PullKilled,
    ReceiverKilled,
    Cuts,
    Flips,
    IndexRebuilt,
    Restored,
}

/// What a storm came to.
#[derive(Debug, Default)]
pub struct Told {
    pub pulls_killed: u32,
    pub receivers_killed: u32,
    /// Pulls by a line that cut off or flipped bits.
    pub harmed: u32,
    pub rebuilt: u32,
    pub restored: u32,
    pub episodes: usize,
}

#[test]
fn a_pull_in_a_storm_is_never_wrong_and_converges() {
    let told = storm(10, seed());
    assert!(told.episodes >= 30, "{told:?}");
}

/// So many rounds of it.
pub fn storm(rounds: u64, seed: u64) -> Told {
    let mut storm = Storm::new(seed);
    for round in 0..rounds {
        storm.round(round);
    }
    storm.told.episodes = storm.all.len();
    storm.told
}

struct Storm {
    world: World,
    proxy: Proxy,
    target: Target,
    /// All that was ever stored.
    all: Files,
    /// What the receiver has now.
    present: Files,
    /// A copy of the store, and what it has.
    copy: Option<(PathBuf, Files)>,
    dice: Dice,
    seed: u64,
    told: Told,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let world = World::with(&format!("{READER}{NO_GATE}"));
        Storm {
            proxy: Proxy::new(world.address(), seed),
            world,
            target: Target::new(),
            all: Files::new(),
            present: Files::new(),
            copy: None,
            dice: Dice::new(seed),
            seed,
            told: Told::default(),
        }
    }

    fn round(&mut self, round: u64) {
        if round.is_multiple_of(ROUNDS_OF_A_FOLDER) {
            self.target = Target::new();
        }
        self.store_new(round);
        let blow = self.blow();
        let place = format!("seed {}, round {round}, {blow:?}", self.seed);
        self.strike(blow, &place);
        self.check_right(&place);
        if self.dice.one_in(2) {
            let gone = self.gone();
            let ran = self.target.pull(&self.proxy.url, &[]);
            let place = format!("{place}\n{ran}");
            assert_eq!(ran.code, good_end(&gone), "{place}");
            self.check_right(&place);
            self.check_here(&gone, &place);
        }
    }

    fn store_new(&mut self, round: u64) {
        for n in 0..NEW {
            let number = round * NEW + n;
            let bytes = match self.dice.below(5) {
                0 => 2_000_000,
                1 => 0,
                _ => self.dice.below(60_000) as usize,
            };
            // A tarball of no bytes is none that the receiver stores.
            let body = noise(number, bytes.max(1));
            let (host, episode) = (format!("lab-{}", number % 2), format!("ep-{number}"));
            store(&self.world, &mut self.all, &host, &episode, &body);
            self.present.insert(format!("{host}/{episode}"), body);
        }
    }

    /// Kills most of the time, as often of either side.
    fn blow(&mut self) -> Blow {
        match self.dice.below(10) {
            0..=2 => Blow::PullKilled,
            3..=5 => Blow::ReceiverKilled,
            6 => Blow::Cuts,
            7 => Blow::Flips,
            8 => Blow::IndexRebuilt,
            _ => Blow::Restored,
        }
    }

    fn strike(&mut self, blow: Blow, place: &str) {
        match blow {
            Blow::PullKilled => self.kill_the_pull(),
            Blow::ReceiverKilled => self.kill_the_receiver(place),
            Blow::Cuts => self.pull_by(Harm::Cuts),
            Blow::Flips => self.pull_by(Harm::Flips),
            Blow::IndexRebuilt => self.rebuild_the_index(place),
            Blow::Restored => self.restore_a_copy(place),
        }
    }

    fn begin(&mut self) -> Child {
        let mut command = self.target.command(&self.proxy.url, &[]);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        let pull = quiet.spawn().unwrap();
        thread::sleep(self.dice.wait(0, 60));
        pull
    }

    fn kill_the_pull(&mut self) {
        let mut pull = self.begin();
        let has_ended = pull.try_wait().unwrap().is_some();
        pull.kill().unwrap();
        pull.wait().unwrap();
        self.told.pulls_killed += u32::from(!has_ended);
    }

    fn kill_the_receiver(&mut self, place: &str) {
        let gone = self.gone();
        let mut pull = self.begin();
        self.world.kill();
        restart(&mut self.world, &self.proxy);
        assert_eq!(wait(&mut pull, place), good_end(&gone), "{place}");
        self.told.receivers_killed += 1;
    }

    /// What such a pull ends with is the line's affair.
    fn pull_by(&mut self, harm: Harm) {
        *self.proxy.harm.lock().unwrap() = harm;
        self.target.pull(&self.proxy.url, &[]);
        *self.proxy.harm.lock().unwrap() = Harm::Nothing;
        self.told.harmed += 1;
    }

    fn rebuild_the_index(&mut self, place: &str) {
        let gone = self.gone();
        let mut pull = self.begin();
        self.world.kill();
        fs::remove_file(self.world.data_dir().join("index.jsonl")).unwrap();
        let config = self.world.config_path();
        self.world.run(&["backfill", "--config", &config]);
        restart(&mut self.world, &self.proxy);
        assert_eq!(wait(&mut pull, place), good_end(&gone), "{place}");
        self.told.rebuilt += 1;
    }

    /// Every other time a copy is made, and else the store is restored from it.
    fn restore_a_copy(&mut self, place: &str) {
        let mut pull = self.begin();
        self.world.kill();
        match self.copy.take() {
            Some((copy, present)) => {
                fs::remove_dir_all(self.world.data_dir()).unwrap();
                fs::rename(copy, self.world.data_dir()).unwrap();
                self.present = present;
                self.told.restored += 1;
            }
            None => {
                let copy = self.world.dir().join("copy");
                copy_tree(&self.world.data_dir(), &copy);
                self.copy = Some((copy, self.present.clone()));
            }
        }
        restart(&mut self.world, &self.proxy);
        let ended = wait(&mut pull, place);
        // Of a row that it had read, the file may have gone with the newer store.
        assert!(matches!(ended, Some(0 | 2)), "{ended:?}\n{place}");
    }

    /// No tarball with other bytes than were stored, and each receipt has its file, once.
    fn check_right(&self, place: &str) {
        for (slot, bytes) in &self.all {
            if let Ok(found) = fs::read(self.target.tarball(slot)) {
                assert!(found == *bytes, "{slot} has other bytes\n{place}");
            }
        }
        let mut slots: Vec<String> = self.whole_receipts();
        for slot in &slots {
            assert!(self.target.tarball(slot).is_file(), "{slot}\n{place}");
        }
        slots.sort();
        let count = slots.len();
        slots.dedup();
        assert_eq!(slots.len(), count, "a name has two receipts\n{place}");
    }

    /// A kill may leave half a line at the end.
    fn whole_receipts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.target.file("index.jsonl")).unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole.map(slot_of).collect()
    }

    /// The episodes that the folder has noted as missing.
    fn missing(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.target.file("pull-missing.jsonl")).unwrap_or_default();
        let episode = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["episode"].as_str().unwrap().to_owned()
        };
        text.lines().map(episode).collect()
    }

    /// Those of them that the receiver has not: a line that flips bits kept them from coming, and then they went
    /// with the newer store. Each later pull asks for them, and says that they are missing.
    fn gone(&self) -> BTreeSet<String> {
        let mut gone = self.missing();
        gone.retain(|slot| !self.present.contains_key(slot));
        gone
    }

    /// All that the receiver has is here, with its receipt, and nothing is half done, or missing but for what is
    /// `gone`.
    fn check_here(&self, gone: &BTreeSet<String>, place: &str) {
        let receipts = self.whole_receipts();
        for slot in self.present.keys() {
            assert!(self.target.tarball(slot).is_file(), "{slot}\n{place}");
            assert!(receipts.contains(slot), "{slot} has no receipt\n{place}");
        }
        assert_eq!(self.missing(), *gone, "{place}");
        let has_file = self.target.file("pull-missing.jsonl").exists();
        assert_eq!(has_file, !gone.is_empty(), "{place}");
    }
}

/// How a pull ends by a good line.
fn good_end(gone: &BTreeSet<String>) -> Option<i32> {
    Some(if gone.is_empty() { 0 } else { 2 })
}

fn wait(pull: &mut Child, place: &str) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(ended) = pull.try_wait().unwrap() {
            return ended.code();
        }
        assert!(Instant::now() < until, "the pull does not end\n{place}");
        thread::sleep(Duration::from_millis(5));
    }
}
