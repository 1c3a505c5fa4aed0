//! One episode above the bound of a single PUT, in a store on the disk: it goes up in parts, is read back whole,
//! is evicted, and a reader has the same bytes from the store. `CIS490_ARCHIVE_LARGE_MIB` makes it another size.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::garage::Garage;
use super::juicefs::JuiceFs;
use super::stores::{RealStore, is_wanted};
use super::{ALWAYS, COMMIT, episodes, metric, world};
use crate::client::Put;
use crate::world::World;

const MIB: u64 = 6 << 10;
/// Our own copy, and what else is on the disk. The parts compress well in the store, and differ.
const FREE_BYTES_MIN: u64 = 8 << 30;
/// A debug build of Garage moves 6 MiB a second on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

pub fn one_large_episode() {
    let mib = std::env::var("CIS490_ARCHIVE_LARGE_MIB").map_or(MIB, |text| text.parse().unwrap());
    let free = rustix::fs::statvfs(std::env::temp_dir()).unwrap();
    if free.f_bavail * free.f_frsize < FREE_BYTES_MIN {
        skip!("the archive's large episode needs 8 GiB in the temporary folder");
        return;
    }
    // Ceph's objects are in memory here.
    if is_wanted("juicefs")
        && let Some(juicefs) = JuiceFs::start_that_compresses()
    {
        one_store(&juicefs, mib);
    }
    if is_wanted("garage")
        && let Some(garage) = Garage::start()
    {
        one_store(&garage, mib);
    }
}

fn one_store(store: &dyn RealStore, mib: u64) {
    let more = format!("{ALWAYS}[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n");
    let world = world(store, None, &more);
    let digest = digest(mib);

    let began = Instant::now();
    upload(&world, mib, &digest);
    let stored_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    while episodes(&world, "evicted") == 0 {
        assert!(began.elapsed() < PATIENCE, "it is not evicted\n{world}");
        thread::sleep(Duration::from_millis(500));
    }
    let proven_s = began.elapsed().as_secs_f64();
    let asked = |op: &str| {
        let name = format!("cis490_archive_requests_total{{op=\"{op}\",outcome=\"ok\"}}");
        metric(&world, &name)
    };
    assert_eq!(asked("get"), 1, "{world}");
    assert_eq!(metric(&world, "cis490_archive_mismatches_total"), 0);
    let parts = asked("part");
    let kib = world.memory_kib("VmHWM:");
    assert!(world.stored("lab-1", "large").is_none(), "{world}");

    let url = format!("http://{}/v1/episodes/lab-1/large.tar.zst", world.address());
    assert_eq!(read(&url), digest, "{world}");
    println!(
        "archive large: {}: {mib} MiB stored in {stored_s:.0} s, in the bucket in {parts} parts, read back and evicted after {proven_s:.0} s more, read there by the 307; {kib} KiB at the peak",
        store.name()
    );
}

/// Each differs from the others.
fn mebibyte(n: u64) -> Vec<u8> {
    let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    word.repeat((1 << 20) / word.len())
}

fn digest(mib: u64) -> String {
    let mut hasher = Sha256::new();
    (0..mib).for_each(|n| hasher.update(mebibyte(n)));
    let digest = hasher.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn upload(world: &World, mib: u64, digest: &str) {
    let put = Put::sample(COMMIT).episode("large").sha256(digest);
    let put = put.length(&(mib << 20).to_string());
    let mut client = world.client();
    client.send(&put.head()).unwrap();
    for n in 0..mib {
        client.send(&mebibyte(n)).unwrap();
    }
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
}

/// The digest of what a reader gets who follows the receiver to the store.
fn read(url: &str) -> String {
    let output = Command::new("bash")
        .args(["-o", "pipefail", "-c", "curl -sfL \"$0\" | sha256sum", url])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}
