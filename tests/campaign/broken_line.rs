//! Large episodes over a line that breaks every 60 MB: they arrive, and hardly anything goes twice.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::breaking_line::Line;
use crate::dice::noise;
use crate::lab::Lab;
use crate::world::World;

const MIB: u64 = 1 << 20;
const BREAKS_EVERY: u64 = 60_000_000;
/// An hour for the largest: a debug build packs slowly.
const PATIENCE: Duration = Duration::from_secs(3600);

/// `CIS490_LINE_MIB=8192` names other sizes of an episode, with commas between them.
pub fn episodes_arrive() {
    let asked = std::env::var("CIS490_LINE_MIB").unwrap_or("77,1024".to_owned());
    for size in asked.split(',') {
        arrives(size.parse().expect("a number of MiB"));
    }
}

fn arrives(mib: u64) {
    let mut world = World::prepared("max_episode_bytes = \"20GiB\"");
    world.start();
    let line = Line::to(world.address(), BREAKS_EVERY);
    let lab = Lab::with(&line.url, "scan_seconds = 1\nmin_free_bytes = 0");
    record(&lab, world.repo.head(), mib);
    let began = Instant::now();
    let shipper = lab.ship();
    while lab.path("episodes/ep-1").exists() {
        assert!(
            began.elapsed() < PATIENCE,
            "{mib} MiB did not arrive\n{lab}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let receipt = lab.json("shipped/ep-1.receipt.json");
    let bytes = receipt["bytes"].as_u64().expect("its length");
    let up = line.up_bytes.load(Ordering::SeqCst);
    let breaks = line.breaks.load(Ordering::SeqCst);
    let ratio = up as f64 / bytes as f64;
    println!(
        "broken-line: {mib} MiB with {breaks} breaks in {:.0} s: {up} bytes went up for {bytes}, {ratio:.4} of them",
        began.elapsed().as_secs_f64()
    );
    assert!(breaks >= bytes / BREAKS_EVERY, "{breaks}\n{lab}");
    assert!(ratio < 1.02 + 2.0 * MIB as f64 / bytes as f64, "{lab}");
    assert_eq!(shipper.stop(), 0);
}

/// A finished episode of noise.
fn record(lab: &Lab, commit: &str, mib: u64) {
    let dir = lab.path("episodes/ep-1");
    fs::create_dir_all(&dir).expect("a folder");
    let mut data = File::create(dir.join("data.bin")).expect("a file");
    for block in 0..mib {
        let bytes = noise(block, MIB as usize);
        data.write_all(&bytes).expect("room for the episode");
    }
    let meta = format!(r#"{{"code_version":{{"commit":"{commit}","dirty":false}}}}"#);
    fs::write(dir.join("meta.json"), meta).expect("a file");
}
