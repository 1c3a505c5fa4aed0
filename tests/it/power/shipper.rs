//! The power of a lab host's disk, cut while its shipper packs and sends to a receiver that stays.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Disk, Kind, Loss, disk, kind, seed};
use crate::client::PATIENCE;
use crate::dice::{Dice, noise};
use crate::world::{TempDir, World, cis490};

const GATE_OFF: &str = "[version_gate]\nenabled = false\n";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NOBODY: &str = "http://127.0.0.1:1";
const SIZES: [usize; 4] = [100, 20_000, 300_000, 3_000_000];

#[test]
fn the_shipper_whose_power_is_cut_loses_no_episode() {
    for kind in [kind("xfs", Loss::Shutdown), kind("ext4", Loss::Cache)] {
        if let Some(told) = shipper_without_power(kind, 3, seed()) {
            eprintln!("{kind}: {told:?}");
            assert!(told.shipped > 6, "{told:?}");
        }
    }
}

/// The recorder does not sync, and the power goes when the tarball lay whole in outbox/: it once was
/// taken for that of another episode, or for the orphan of one that had been shipped, and swept.
#[test]
fn what_was_packed_before_the_power_cut_arrives() {
    for kind in [
        kind("ext4", Loss::Shutdown),
        kind("xfs", Loss::Shutdown),
        kind("btrfs", Loss::Cache),
    ] {
        let Some(disk) = disk("a power cut after packing", kind) else {
            continue;
        };
        let lab = Lab::new(&disk);
        lab.send_to(NOBODY);
        record(&lab.root, 3, false);
        let mut shipper = lab.ship();
        lab.wait_until("it is packed", || lab.log().contains("event=packed"));
        disk.cut(&mut Dice::new(seed()));
        end(&mut shipper);
        disk.restore();
        lab.boot();
        let world = World::with(GATE_OFF);
        lab.send_to(&format!("http://{}", world.address()));
        let mut shipper = lab.ship();
        // The row is the last thing that the receiver writes of an upload.
        lab.wait_until("it is there", || {
            !world.rows().is_empty() || lab.log().contains("event=refused")
        });
        end(&mut shipper);
        check_stored(&world, 3, &format!("{kind}\n{lab}"));
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Told {
    pub cuts: u32,
    pub shipped: usize,
    /// Episodes that the receiver was asked about again, and had.
    pub again: usize,
}

/// Cuts the power of one shipper's disk `cuts` times; `None` if there is no such disk here.
pub fn shipper_without_power(kind: Kind, cuts: u32, seed: u64) -> Option<Told> {
    let disk = disk("power cuts of the shipper", kind)?;
    let world = World::with(GATE_OFF);
    let lab = Lab::new(&disk);
    lab.send_to(&format!("http://{}", world.address()));
    let mut dice = Dice::new(seed);
    let recorded = Mutex::new(BTreeSet::new());
    let mut told = Told::default();
    for cut in 0..u64::from(cuts) {
        let first = cut * 100;
        for n in first..first + 4 {
            assert!(record(&lab.root, n, true), "{lab}");
            recorded.lock().unwrap().insert(n);
        }
        let moment = Duration::from_micros(dice.below(600_000));
        let (over, is_deaf) = (AtomicBool::new(false), AtomicBool::new(false));
        let mut shipper = lab.ship();
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in first + 4..first + 100 {
                    let is_done = !over.load(Ordering::Relaxed) && record(&lab.root, n, true);
                    if !is_done || is_deaf.load(Ordering::SeqCst) {
                        break;
                    }
                    recorded.lock().unwrap().insert(n);
                    thread::sleep(Duration::from_millis(60));
                }
            });
            thread::sleep(moment);
            is_deaf.store(!disk.keeps_its_word(), Ordering::SeqCst);
            disk.cut(&mut dice);
            thread::sleep(Duration::from_millis(30));
            over.store(true, Ordering::Relaxed);
        });
        end(&mut shipper);
        disk.restore();
        lab.boot();
        check(&lab, &world, &recorded.lock().unwrap());
        told.cuts += 1;
    }
    let recorded = recorded.into_inner().unwrap();
    let mut shipper = lab.ship();
    // What the recorder did not finish stays.
    let waits = |n: &u64| lab.root.join(format!("episodes/ep-{n}")).exists();
    let is_shipped = || !recorded.iter().any(waits);
    lab.wait_until("all is shipped", is_shipped);
    lab.wait_until("the queue is empty", || {
        fs::read_dir(lab.root.join("outbox")).unwrap().count() == 0
    });
    end(&mut shipper);
    check(&lab, &world, &recorded);
    for &n in &recorded {
        check_stored(&world, n, &lab.to_string());
    }
    assert_eq!(
        world.rows().len(),
        world.names("episodes/lab-1").len(),
        "{world}"
    );
    told.shipped = recorded.len();
    told.again = world.log().matches("event=stored_already").count();
    Some(told)
}

/// A lab host whose root is on the disk, and all else beside it.
struct Lab {
    dir: TempDir,
    root: PathBuf,
    boots: AtomicU32,
}

impl Lab {
    fn new(disk: &Disk) -> Lab {
        let lab = Lab {
            dir: TempDir::new(),
            root: disk.root().join("root"),
            boots: AtomicU32::new(1),
        };
        lab.send_to(NOBODY);
        let made = lab.command("init").output().unwrap();
        assert!(made.status.success(), "{made:?}");
        lab
    }

    fn send_to(&self, url: &str) {
        let text = format!(
            "receiver_url = {url:?}\nhost_id = \"lab-1\"\nroot = {:?}\nscan_seconds = 1\n",
            self.root
        );
        fs::write(self.dir.path().join("shipper.toml"), text).unwrap();
    }

    /// Power that comes back finds a machine that boots. Here the kernel lives on, so the shipper hears
    /// of the boot from us, as its unit says it.
    fn boot(&self) {
        self.boots.fetch_add(1, Ordering::Relaxed);
    }

    fn command(&self, command: &str) -> Command {
        let mut program = cis490();
        program
            .env(
                "CIS490_BOOT_ID",
                format!("{:032x}", self.boots.load(Ordering::Relaxed)),
            )
            .args([command, "--config"])
            .arg(self.dir.path().join("shipper.toml"))
            .stdin(Stdio::null());
        program
    }

    fn ship(&self) -> Child {
        let log = File::create(self.dir.path().join("log")).unwrap();
        let mut ship = self.command("ship");
        ship.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn wait_until(&self, what: &str, done: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "waiting until {what}\n{self}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl std::fmt::Display for Lab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tree = Command::new("find")
            .arg(&self.root)
            .arg("-ls")
            .output()
            .unwrap();
        write!(
            f,
            "{}\n{}",
            String::from_utf8_lossy(&tree.stdout),
            self.log()
        )
    }
}

fn end(shipper: &mut Child) {
    let _ = shipper.kill();
    let _ = shipper.wait();
}

fn data_of(n: u64) -> Vec<u8> {
    noise(n, SIZES[n as usize % SIZES.len()])
}

fn meta_of(n: u64) -> String {
    format!(r#"{{"code_version":{{"commit":"{COMMIT}"}},"n":{n}}}"#)
}

/// As a recorder does: `meta.json` last, by rename. False if the disk is gone. With `synced`, all of
/// it is on the disk when this is true.
fn record(root: &Path, n: u64, synced: bool) -> bool {
    let write = |path: &Path, bytes: &[u8]| {
        fs::write(path, bytes)?;
        sync(path, synced)
    };
    let episodes = root.join("episodes");
    let dir = episodes.join(format!("ep-{n}"));
    let (unfinished, meta) = (dir.join(".meta.json"), dir.join("meta.json"));
    fs::create_dir(&dir)
        .and_then(|()| write(&dir.join("data.bin"), &data_of(n)))
        .and_then(|()| write(&unfinished, meta_of(n).as_bytes()))
        .and_then(|()| fs::rename(&unfinished, &meta))
        .and_then(|()| sync(&dir, synced))
        .and_then(|()| sync(&episodes, synced))
        .is_ok()
}

fn sync(path: &Path, synced: bool) -> std::io::Result<()> {
    match synced {
        true => File::open(path)?.sync_all(),
        false => Ok(()),
    }
}

/// No episode is lost: each is on the receiver, or waits whole. What is in shipped/ is on the
/// receiver, and nothing is in refused/.
fn check(lab: &Lab, world: &World, recorded: &BTreeSet<u64>) {
    let stored: BTreeSet<String> = world.names("episodes/lab-1").into_iter().collect();
    for &n in recorded {
        let waits = lab.root.join(format!("episodes/ep-{n}"));
        if stored.contains(&format!("ep-{n}.tar.zst")) {
            continue;
        }
        let found = (
            fs::read(waits.join("meta.json")),
            fs::read(waits.join("data.bin")),
        );
        let is_whole = found.0.is_ok_and(|meta| meta == meta_of(n).as_bytes())
            && found.1.is_ok_and(|data| data == data_of(n));
        assert!(is_whole, "ep-{n} is lost\n{lab}\n{world}");
    }
    for found in fs::read_dir(lab.root.join("shipped")).unwrap() {
        let name = found.unwrap().file_name().into_string().unwrap();
        if name.contains(".receipt.json") {
            continue;
        }
        assert!(!name.contains('~'), "{name} is there twice\n{lab}");
        let receipt = fs::read(lab.root.join(format!("shipped/{name}.receipt.json"))).unwrap();
        let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
        let row = world.rows().into_iter().find(|row| row["episode"] == *name);
        assert_eq!(
            row.expect("a row")["sha256"],
            receipt["sha256"],
            "{lab}\n{world}"
        );
    }
    assert_eq!(
        fs::read_dir(lab.root.join("refused")).unwrap().count(),
        0,
        "{lab}"
    );
    if let Ok(state) = fs::read(lab.root.join("state.json")) {
        let state: Result<serde_json::Value, _> = serde_json::from_slice(&state);
        assert!(state.is_ok(), "{state:?}\n{lab}");
    }
}

/// The receiver has the episode once, and its tarball holds what was recorded.
fn check_stored(world: &World, n: u64, what: &str) {
    let rows = world.rows();
    let name = format!("ep-{n}");
    let rows = rows.iter().filter(|row| row["episode"] == *name).count();
    assert_eq!(rows, 1, "{name}\n{what}\n{world}");
    let tarball = world
        .data_dir()
        .join(format!("episodes/lab-1/{name}.tar.zst"));
    for (entry, wanted) in [
        ("meta.json", meta_of(n).into_bytes()),
        ("data.bin", data_of(n)),
    ] {
        let found = Command::new("sh")
            .args(["-c", "zstd -dcq \"$0\" | tar -xOf - \"$1\""])
            .arg(&tarball)
            .arg(format!("{name}/{entry}"))
            .output()
            .unwrap();
        assert!(
            found.stdout == wanted,
            "{entry} of {name}: {}\n{what}",
            String::from_utf8_lossy(&found.stderr)
        );
    }
}
