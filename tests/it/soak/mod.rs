//! Mixed load for a while: real shippers, direct uploads good and bad, readers, pushes, and in the
//! beginning restarts. Memory, descriptors and threads of receiver and shippers stay flat, and in
//! the end every episode is accounted for. Seconds of it here, half an hour in the campaign.

mod load;
mod pulse;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::{PATIENCE, sha256};
use crate::dice::{self, Dice};
use crate::lab::{Lab, Shipper};
use crate::world::{World, own_address};
use load::{Direct, Recorder};
use pulse::Series;

/// Commits that get in. Episodes are made by the newest half of them, so that few fall out while
/// they wait.
const WINDOW: usize = 10;
/// Larger than this is 413.
pub const EPISODE_BYTES_MAX: usize = 6 << 20;

/// How much, and for how long.
pub struct Plan {
    pub time: Duration,
    pub shippers: usize,
    pub direct: usize,
    /// In the first sixth of the time.
    pub restarts: u32,
    /// How often all load rests, so that what is measured then can be compared.
    pub rests: u32,
}

/// More direct uploads than these are refused before the load may end: a slow machine takes longer.
const REFUSALS: usize = 10;

#[test]
fn a_while_of_mixed_load_leaves_nothing_behind() {
    let told = run(&Plan {
        time: Duration::from_secs(9),
        shippers: 3,
        direct: 3,
        restarts: 2,
        rests: 3,
    });
    println!("{told}");
    // Seconds warm nothing up: the first large episode, the first uploads side by side.
    told.assert_flat(16 << 10, 16);
    assert!(told.stored > 10 && told.refusals > REFUSALS, "{told}");
}

/// What the load looks at.
pub struct Stage {
    pub address: SocketAddr,
    /// Newest first; the last ones are too old.
    pub commits: RwLock<Vec<String>>,
    /// While it is set, nobody begins anything.
    pub rest: AtomicBool,
    pub over: AtomicBool,
    pub resting: AtomicUsize,
    /// How many direct uploads were refused.
    refused: AtomicUsize,
}

impl Stage {
    /// Waits a while, and through every rest. False when all is over.
    pub fn go_on(&self, wait: Duration) -> bool {
        thread::sleep(wait);
        if self.rest.load(Ordering::SeqCst) {
            self.resting.fetch_add(1, Ordering::SeqCst);
            while self.rest.load(Ordering::SeqCst) && !self.over.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            self.resting.fetch_sub(1, Ordering::SeqCst);
        }
        !self.over.load(Ordering::SeqCst)
    }

    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    pub fn good_commit(&self, dice: &mut Dice) -> String {
        let commits = self.commits.read().unwrap();
        commits[dice.below(WINDOW as u64 / 2) as usize].clone()
    }

    pub fn old_commit(&self) -> String {
        self.commits.read().unwrap().last().unwrap().clone()
    }

    fn is_in_window(&self, commit: &str) -> bool {
        let commits = self.commits.read().unwrap();
        commits[..WINDOW].iter().any(|known| known == commit)
    }
}

/// What a soak came to.
pub struct Told {
    time: Duration,
    made: usize,
    shipped: usize,
    held: usize,
    refused: usize,
    direct: usize,
    refusals: usize,
    unanswered: usize,
    stored: usize,
    bytes: u64,
    pushes: u32,
    restarts: u32,
    receiver_cpu_s: f64,
    receiver_peak_kib: u64,
    receiver: Series,
    shippers: Vec<Series>,
}

impl Told {
    /// Between the first and the last rest after the restarts.
    pub fn assert_flat(&self, kib_more: u64, threads_more: u64) {
        // The map of names: 16 bytes an episode, and more for the newest.
        let map_kib = self.stored as u64 * 24 / 1024;
        self.receiver
            .assert_flat("receiver", kib_more + map_kib, threads_more);
        for series in &self.shippers {
            series.assert_flat("shipper", kib_more, 0);
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "soak: {:.0} s, {} pushes, {} restarts; {} episodes made: {} shipped, {} held by their commit, {} refused; \
             {} direct uploads stored, {} refusals, {} cut off; {} rows and files, {:.1} MiB, each whole",
            self.time.as_secs_f64(),
            self.pushes,
            self.restarts,
            self.made,
            self.shipped,
            self.held,
            self.refused,
            self.direct,
            self.refusals,
            self.unanswered,
            self.stored,
            self.bytes as f64 / f64::from(1 << 20),
        )?;
        writeln!(
            f,
            "receiver at rest: {}; {} KiB at its peak, {:.1} s of CPU since its last start",
            self.receiver, self.receiver_peak_kib, self.receiver_cpu_s
        )?;
        for series in &self.shippers {
            writeln!(f, "shipper at rest: {series}")?;
        }
        Ok(())
    }
}

pub fn run(plan: &Plan) -> Told {
    let seed = dice::seed();
    eprintln!("soak: CIS490_SEED={seed}");
    // Shippers find the receiver again where it was.
    let address = own_address();
    let config = format!(
        "listen = \"{address}\"\nmax_episode_bytes = {EPISODE_BYTES_MAX}\n[version_gate]\nwindow = {WINDOW}\nrefresh_seconds = 1\nlocal_repo_path = \"REPOSITORY\"\n"
    );
    let mut world = World::prepared(&config);
    while world.repo.commits.len() < WINDOW + 3 {
        world.repo.commit();
    }
    world.start();
    let stage = Stage {
        address,
        commits: RwLock::new(newest_first(&world)),
        rest: AtomicBool::new(false),
        over: AtomicBool::new(false),
        resting: AtomicUsize::new(0),
        refused: AtomicUsize::new(0),
    };
    let url = format!("http://{address}");
    let labs: Vec<Lab> = (0..plan.shippers)
        .map(|n| {
            Lab::of_host(
                &format!("lab-{n}"),
                &url,
                "scan_seconds = 1\nkeep_shipped_days = 0",
            )
        })
        .collect();
    let shippers: Vec<Shipper<'_>> = labs.iter().map(Lab::ship).collect();

    let mut driver = Driver {
        plan,
        stage: &stage,
        labs: &labs,
        dice: Dice::of(seed, 0),
        pushes: 0,
        restarts: 0,
        receiver: Series::default(),
        shippers: vec![Series::default(); labs.len()],
    };
    let (recorders, directs) = thread::scope(|scope| {
        let _over = Over(&stage.over);
        let recorders: Vec<_> = (0..labs.len())
            .map(|n| {
                let (stage, lab, dice) = (&stage, &labs[n], Dice::of(seed, 10 + n as u64));
                scope.spawn(move || load::record(stage, lab, dice))
            })
            .collect();
        let directs: Vec<_> = (0..plan.direct)
            .map(|n| {
                let (stage, dice) = (&stage, Dice::of(seed, 100 + n as u64));
                scope.spawn(move || load::upload(stage, n, dice))
            })
            .collect();
        let reader = scope.spawn(|| load::read(&stage, Dice::of(seed, 1000)));
        driver.drive(&mut world, &shippers);
        stage.over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        let recorders: Vec<Recorder> = recorders.into_iter().map(|t| t.join().unwrap()).collect();
        let directs: Vec<Direct> = directs.into_iter().map(|t| t.join().unwrap()).collect();
        (recorders, directs)
    });
    let told = driver.account_for(&world, &recorders, &directs);
    drop(shippers);
    told
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn newest_first(world: &World) -> Vec<String> {
    let commits = &world.repo.commits;
    commits.iter().rev().take(WINDOW + 3).cloned().collect()
}

struct Driver<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    labs: &'a [Lab],
    dice: Dice,
    pushes: u32,
    restarts: u32,
    receiver: Series,
    shippers: Vec<Series>,
}

impl Driver<'_> {
    /// Pushes, restarts and rests, until the time is over and enough was refused; the last rest does not end.
    fn drive(&mut self, world: &mut World, shippers: &[Shipper<'_>]) {
        let plan = self.plan;
        let (mut start, restless) = (Instant::now(), plan.time / 6);
        let mut next_push = start;
        let mut next_restart = start + restless / (plan.restarts + 1);
        let mut next_rest = start + restless;
        let stage = self.stage;
        let is_over = |start: Instant| {
            let refused = stage.refused.load(Ordering::SeqCst);
            let passed = start.elapsed();
            passed >= plan.time && (refused > REFUSALS || passed >= plan.time + PATIENCE)
        };
        while !is_over(start) {
            thread::sleep(Duration::from_millis(50));
            let now = Instant::now();
            if next_push <= now {
                self.push(world);
                next_push = now + self.dice.wait(3000, 9000);
            }
            if self.restarts < plan.restarts && next_restart <= now {
                self.restart(world);
                next_restart = now + restless / (plan.restarts + 1);
            } else if next_rest <= now {
                let began = Instant::now();
                self.rest(world, shippers);
                self.stage.rest.store(false, Ordering::SeqCst);
                start += began.elapsed(); // the plan's time is the load's
                next_rest = Instant::now() + (plan.time - restless) / plan.rests;
            }
        }
        self.rest(world, shippers);
    }

    fn push(&mut self, world: &mut World) {
        world.repo.commit();
        *self.stage.commits.write().unwrap() = newest_first(world);
        self.pushes += 1;
    }

    fn restart(&mut self, world: &mut World) {
        match self.restarts % 2 {
            0 => world.kill(),
            _ => assert_eq!(world.stop(), Some(0), "{world}"),
        }
        world.start();
        self.restarts += 1;
    }

    /// All load ends, what is queued is shipped, and everybody is looked at.
    fn rest(&mut self, world: &World, shippers: &[Shipper<'_>]) {
        let stage = self.stage;
        stage.rest.store(true, Ordering::SeqCst);
        let load = self.plan.shippers + self.plan.direct + 1;
        let until = Instant::now() + 2 * PATIENCE;
        let mut woken = false;
        for look in 0.. {
            if stage.resting.load(Ordering::SeqCst) == load && self.is_drained() {
                break;
            }
            assert!(
                Instant::now() < until,
                "the load does not rest: {}",
                self.waiting()
            );
            if look % 50 == 49 {
                // A shipper that met a restart waits its time: a person would not.
                shippers.iter().for_each(|shipper| shipper.signal("HUP"));
                woken = true;
            }
            thread::sleep(Duration::from_millis(50));
        }
        if woken {
            // They also ask about all that is held, each of which is a refresh of the gate.
            thread::sleep(Duration::from_secs(10));
        }
        let pids = std::iter::once(world.pid()).chain(shippers.iter().map(Shipper::pid));
        let mut series = vec![&mut self.receiver];
        series.extend(&mut self.shippers);
        pulse::look(&pids.collect::<Vec<_>>(), &mut series);
    }

    /// Nothing waits but what the gate holds.
    fn is_drained(&self) -> bool {
        self.labs.iter().all(|lab| {
            let mut waiting = lab.names("episodes").into_iter();
            waiting.all(|id| !self.stage.is_in_window(&load::commit_of(lab, &id)))
        })
    }

    fn waiting(&self) -> String {
        let show = |lab: &Lab| format!("{:?}\n{lab}", lab.names("episodes"));
        self.labs.iter().map(show).collect()
    }

    /// Each episode that was made is shipped, held or refused; each row has its file and was
    /// acknowledged; nothing else is there.
    fn account_for(self, world: &World, recorders: &[Recorder], directs: &[Direct]) -> Told {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let (mut rows, mut bytes) = (BTreeMap::new(), 0);
        for row in world.rows() {
            let (host, episode) = (text(&row["host"]), text(&row["episode"]));
            let stored = world
                .stored(&host, &episode)
                .unwrap_or_else(|| panic!("{row} has no file"));
            assert_eq!(sha256(&stored), text(&row["sha256"]), "{row}");
            bytes += stored.len() as u64;
            let again = rows.insert(format!("{host}/{episode}"), text(&row["sha256"]));
            assert_eq!(again, None, "{row} twice");
        }
        assert!(
            world.names("incoming").is_empty() && world.names("quarantine").is_empty(),
            "{world}"
        );

        let mut left = rows.clone();
        let (mut shipped, mut held, mut refused) = (0, 0, 0);
        for (lab, recorder) in self.labs.iter().zip(recorders) {
            let (waiting, aside) = (lab.names("episodes"), lab.names("refused"));
            assert!(
                lab.names("outbox")
                    .iter()
                    .all(|name| !name.ends_with(".partial")),
                "{lab}"
            );
            for (id, host) in recorder.made.iter().map(|id| (id, &recorder.host)) {
                let receipt = lab.path(&format!("shipped/{id}.receipt.json"));
                if receipt.exists() {
                    let receipt = lab.json(&format!("shipped/{id}.receipt.json"));
                    let row = left.remove(&format!("{host}/{id}"));
                    assert_eq!(row, Some(text(&receipt["sha256"])), "{receipt}");
                    shipped += 1;
                } else if aside.contains(id) {
                    refused += 1;
                } else {
                    assert!(waiting.contains(id), "{id} of {host} is lost\n{lab}");
                    held += 1;
                }
            }
            assert_eq!(
                waiting.len() + aside.len(),
                {
                    let receipts = lab
                        .names("shipped")
                        .iter()
                        .filter(|n| n.ends_with(".receipt.json"))
                        .count();
                    recorder.made.len() - receipts + aside.len() / 2
                },
                "{lab}"
            );
        }
        let mut unanswered = 0;
        for direct in directs {
            for (name, digest) in &direct.acknowledged {
                assert_eq!(
                    left.remove(name).as_ref(),
                    Some(digest),
                    "{name} was acknowledged"
                );
            }
            for name in &direct.unanswered {
                left.remove(name);
            }
            unanswered += direct.unanswered.len();
        }
        assert!(left.is_empty(), "nobody sent these: {left:?}");
        Told {
            time: self.plan.time,
            made: recorders.iter().map(|recorder| recorder.made.len()).sum(),
            shipped,
            held,
            refused,
            direct: directs.iter().map(|direct| direct.acknowledged.len()).sum(),
            refusals: self.stage.refused.load(Ordering::SeqCst),
            unanswered,
            stored: rows.len(),
            bytes,
            pushes: self.pushes,
            restarts: self.restarts,
            receiver_cpu_s: world.cpu_ticks() as f64 / 100.0,
            receiver_peak_kib: world.memory_kib("VmHWM:"),
            receiver: self.receiver,
            shippers: self.shippers,
        }
    }
}
