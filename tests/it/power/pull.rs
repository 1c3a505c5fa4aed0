//! The power of the disk that a pull fills, cut while it writes, from a receiver that stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{Kind, Loss, disk, kind, seed};
use crate::client::Put;
use crate::dice::{Dice, noise};
use crate::world::{World, cis490};

const CONFIG: &str =
    "[[reader]]\nid = \"test\"\naddress = \"127.0.0.0/8\"\n\n[version_gate]\nenabled = false\n";
/// Enough for some batches, of which each is synced as a whole, and large ones in between.
const EPISODES: u64 = 600;
const LARGE_EVERY: u64 = 160;

/// About as long as a pull takes.
const LONGEST_US: u64 = 800_000;

/// By `host/episode`.
type Files = BTreeMap<String, Vec<u8>>;

#[test]
fn a_pull_whose_power_is_cut_is_never_wrong_and_goes_on() {
    for kind in [kind("ext4", Loss::Cache), kind("xfs", Loss::Cache)] {
        if let Some(told) = pull_without_power(kind, 2, seed()) {
            eprintln!("{kind}: {told:?}");
            assert!(told.whole > 0, "{told:?}");
        }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Told {
    pub cuts: u32,
    /// Pulls that had ended before the power went.
    pub too_late: u32,
    /// Receipts that were here after the cuts, each of a file with the right bytes.
    pub kept: usize,
    /// Sets that a pull has made whole after a cut.
    pub whole: u32,
}

/// Cuts the power of the disk that pulls fill `cuts` times; `None` if there is no such disk here.
pub fn pull_without_power(kind: Kind, cuts: u32, seed: u64) -> Option<Told> {
    let disk = disk("power cuts of a pull", kind)?;
    let world = World::with(CONFIG);
    let files = store(&world);
    let mut dice = Dice::new(seed);
    let mut told = Told::default();
    let mut to = disk.root().join("0");
    for cut in 1..=cuts {
        let place = format!("{kind}, seed {seed}, cut {cut}");
        let mut pull = command(&world, &to)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(dice.below(LONGEST_US)));
        told.too_late += u32::from(pull.try_wait().unwrap().is_some());
        disk.cut(&mut dice);
        thread::sleep(Duration::from_millis(10));
        let _ = pull.kill();
        pull.wait().unwrap();
        disk.restore();
        told.cuts += 1;
        told.kept += check_right(&to, &files, &place).len();
        // Some sets lose their power again before they are whole.
        if cut < cuts && dice.one_in(3) {
            continue;
        }
        let ran = command(&world, &to).output().unwrap();
        assert!(ran.status.success(), "{place}\n{ran:?}");
        let receipts = check_right(&to, &files, &place);
        assert!(receipts.iter().eq(files.keys()), "{place}\n{receipts:?}");
        told.whole += 1;
        fs::remove_dir_all(&to).unwrap();
        to = disk.root().join(format!("{cut}"));
    }
    Some(told)
}

fn store(world: &World) -> Files {
    let mut files = Files::new();
    for n in 0..EPISODES {
        let bytes = if n % LARGE_EVERY == 0 {
            3_000_000
        } else {
            20 * (n as usize + 1)
        };
        let (host, episode) = (format!("lab-{}", n % 2), format!("ep-{n}"));
        let body = noise(n, bytes);
        let put = Put::sample(&"c".repeat(40))
            .path(&format!("/v1/episodes/{host}/{episode}"))
            .body(&body);
        assert_eq!(world.put(&put).status, 201, "{world}");
        files.insert(format!("{host}/{episode}"), body);
    }
    files
}

fn command(world: &World, to: &Path) -> Command {
    let mut command = cis490();
    let url = format!("http://{}", world.address());
    command.args(["pull", "--url", &url, "--to"]).arg(to);
    command
}

/// Each receipt is of a file with the right bytes; and so is each file under a tarball's name. The names
/// that have receipts.
fn check_right(to: &Path, files: &Files, place: &str) -> BTreeSet<String> {
    let tarball = |slot: &str| -> PathBuf { to.join(format!("{slot}.tar.zst")) };
    let index = fs::read_to_string(to.join("index.jsonl")).unwrap_or_default();
    let mut receipts = BTreeSet::new();
    // The last line may be torn: it has no end then, or is none.
    for line in index.split_inclusive('\n') {
        let row: Result<serde_json::Value, _> = serde_json::from_str(line);
        let Some(row) = row.ok().filter(|_| line.ends_with('\n')) else {
            break;
        };
        let name = |field: &str| row[field].as_str().unwrap().to_owned();
        let slot = format!("{}/{}", name("host"), name("episode"));
        let found = fs::read(tarball(&slot));
        let is_right = found.as_ref().is_ok_and(|found| *found == files[&slot]);
        assert!(is_right, "{slot} has a receipt, and not its bytes\n{place}");
        assert!(receipts.insert(slot), "two receipts\n{place}");
    }
    for (slot, bytes) in files {
        if let Ok(found) = fs::read(tarball(slot)) {
            assert!(found == *bytes, "{slot} has other bytes\n{place}");
        }
    }
    receipts
}
