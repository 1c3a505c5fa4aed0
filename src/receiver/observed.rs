//! What a running receiver notices of its own run: its starts, jumps of the clock, and files that readers found
//! damaged.
//!
//! Memory is bounded. Plain threads read and write under a lock, for microseconds; coroutines never do.

mod clock_watch;
pub(crate) mod restarts;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use self::clock_watch::ClockWatch;
use super::data_dir::DataDir;
use super::findings::Facts;
use super::store::scrub;
use crate::clock;
use crate::sync::lock;
use crate::wire::{Slot, TARBALL_ENDING};

/// The most damaged files that are kept.
const DAMAGE_MAX: usize = 64;

pub(crate) struct Observed {
    data_dir: PathBuf,
    /// The folder as it was at the start: nothing is written into another one.
    home: io::Result<DataDir>,
    /// When this run began, in seconds since 1970.
    pub started_at_s: u64,
    /// Starts that followed an end which was no clean stop, this one among them.
    restarts_at_s: Vec<u64>,
    clock: Mutex<ClockWatch>,
    damage: Mutex<BTreeMap<String, scrub::Finding>>,
}

impl Observed {
    /// Counts this start in the folder, which this process has the lock of.
    pub(crate) fn begin(data_dir: &Path) -> Observed {
        let started_at_s = now_s();
        Observed {
            data_dir: data_dir.to_owned(),
            home: DataDir::open(data_dir),
            started_at_s,
            restarts_at_s: restarts::begin(data_dir, started_at_s),
            clock: Mutex::new(ClockWatch::new()),
            damage: Mutex::default(),
        }
    }

    /// Notes a clean stop.
    pub(crate) fn end(&self) {
        if self.home.as_ref().is_ok_and(|home| home.check().is_ok()) {
            restarts::end(&self.data_dir);
        }
    }

    /// Compares the clock with the time that has passed. To be called about once a second.
    pub(crate) fn look_at_the_clock(&self) {
        lock(&self.clock).look();
    }

    /// A reader asked for a file that is missing, or is not as its row says.
    pub(crate) fn damaged(&self, slot: &Slot, kind: scrub::Kind, why: &str) {
        let path = path_of(slot);
        let mut damage = lock(&self.damage);
        if damage.len() < DAMAGE_MAX || damage.contains_key(&path) {
            let why = why.to_owned();
            damage.insert(path.clone(), scrub::Finding { kind, path, why });
        }
    }

    /// A reader was given this file.
    pub(crate) fn intact(&self, slot: &Slot) {
        let mut damage = lock(&self.damage);
        if !damage.is_empty() {
            damage.remove(&path_of(slot));
        }
    }

    /// Puts all that was noticed into `facts`.
    pub(crate) fn add_to(&self, facts: &mut Facts) {
        facts.restarts_at_s.clone_from(&self.restarts_at_s);
        facts.clock.jump = lock(&self.clock).jump();
        facts.damage.extend(lock(&self.damage).values().cloned());
    }
}

fn now_s() -> u64 {
    clock::unix_seconds(SystemTime::now())
}

/// As a scrub names it.
fn path_of(slot: &Slot) -> String {
    format!("episodes/{slot}{TARBALL_ENDING}")
}
