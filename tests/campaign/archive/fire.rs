//! Uploads, downloads, copies and evictions at once, while the receiver and the store are killed at random.

use std::fs::File;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::bucket;
use super::promises::{self, Ended, Kept};
use super::stores::{RealStore, each_store};
use super::{episodes, start, wait_while_it_moves, world};
use crate::client::{Client, sha256};
use crate::dice::{self, Dice};
use crate::power::{self, Loss, kind};
use crate::world::{World, cis490};

const SENDERS: u64 = 3;
/// What is left of the disk for the episodes.
const ROOM_BYTES: u64 = 384 << 20;
const FLOOR_BYTES: u64 = 160 << 20;

/// For `CIS490_ARCHIVE_SECONDS`, or a minute, with each store.
pub fn under_fire() {
    let seconds = std::env::var("CIS490_ARCHIVE_SECONDS").map_or(60, |text| text.parse().unwrap());
    if bucket::has_rclone() {
        each_store(|store| one_store(store, Duration::from_secs(seconds)));
    }
}

/// What a run came to.
#[derive(Debug, Default)]
struct Told {
    receiver_kills: u32,
    store_kills: u32,
    acknowledged: usize,
    cut: u64,
    no_room: u64,
    /// From the local file, and by the address in the store.
    read_here: u64,
    read_there: u64,
    here: usize,
    evicted: usize,
}

#[derive(Default)]
struct Counts {
    number: AtomicU64,
    cut: AtomicU64,
    no_room: AtomicU64,
    read_here: AtomicU64,
    read_there: AtomicU64,
}

fn one_store(store: &dyn RealStore, time: Duration) {
    let seed = dice::seed();
    println!("archive under fire: {}, CIS490_SEED={seed}", store.name());
    let Some(disk) = power::disk("an archive under fire", kind("ext4", Loss::Shutdown)) else {
        return;
    };
    fill(&disk.root());
    let more = format!(
        "evict_below_bytes = {FLOOR_BYTES}\n[[reader]]\nid = \"r\"\naddress = \"127.0.0.1\"\n"
    );
    let mut world = world(store, Some(&disk.root().join("store")), &more);
    let (kept, counts) = (Mutex::new(Kept::new()), Counts::default());
    let mut dice = Dice::new(seed);
    let mut told = Told::default();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let is_store_dead = round(&world, store, &mut dice, &kept, &counts, &mut told);
        world.kill();
        told.receiver_kills += 1;
        start(&mut world);
        if is_store_dead {
            thread::sleep(dice.wait(0, 1500));
            store.start_again();
        }
    }
    let kept = kept.into_inner().unwrap();
    settle(&world);
    let found = promises::check(&world, store, &kept);
    scrubs(&world);
    told.acknowledged = kept.len();
    told.cut = counts.cut.into_inner();
    told.no_room = counts.no_room.into_inner();
    told.read_here = counts.read_here.into_inner();
    told.read_there = counts.read_there.into_inner();
    (told.here, told.evicted) = (found.here, found.evicted);
    assert!(
        told.acknowledged > 0 && told.evicted > 0 && told.read_there > 0,
        "{told:?}\n{world}"
    );
    println!("archive under fire: {}: {told:?}", store.name());
}

/// Takes what the episodes are not to have.
fn fill(root: &std::path::Path) {
    let free = rustix::fs::statvfs(root).unwrap();
    let bytes = free.f_bavail * free.f_frsize - ROOM_BYTES;
    let ballast = root.join("ballast");
    File::create(&ballast).unwrap();
    let filled = Command::new("fallocate")
        .args(["-l", &bytes.to_string()])
        .arg(&ballast)
        .status();
    assert!(filled.unwrap().success());
}

/// Until the receiver is killed; true if the store is then dead.
fn round(
    world: &World,
    store: &dyn RealStore,
    dice: &mut Dice,
    kept: &Mutex<Kept>,
    counts: &Counts,
    told: &mut Told,
) -> bool {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            let (over, mut dice) = (&over, Dice::new(dice.next()));
            scope.spawn(move || send(world, over, &mut dice, kept, counts));
        }
        let (is_over, mut of_reader) = (&over, Dice::new(dice.next()));
        scope.spawn(move || read(world, is_over, &mut of_reader, kept, counts));
        thread::sleep(dice.wait(200, 3000));
        let mut is_store_dead = false;
        if dice.one_in(2) {
            store.kill();
            told.store_kills += 1;
            is_store_dead = dice.one_in(2);
            thread::sleep(dice.wait(0, 1500));
            if !is_store_dead {
                store.start_again();
                thread::sleep(dice.wait(0, 2000));
            }
        }
        world.signal("KILL");
        over.store(true, Ordering::Relaxed);
        is_store_dead
    })
}

fn send(world: &World, over: &AtomicBool, dice: &mut Dice, kept: &Mutex<Kept>, counts: &Counts) {
    while !over.load(Ordering::Relaxed) {
        let begun = counts.number.load(Ordering::Relaxed);
        // Now and then one that was sent before, and may be going at this moment.
        let n = if begun > 0 && dice.one_in(4) {
            dice.below(begun)
        } else {
            counts.number.fetch_add(1, Ordering::Relaxed)
        };
        match promises::upload(world, n, kept) {
            Ended::Acknowledged => thread::sleep(dice.wait(0, 60)),
            Ended::NoRoom => {
                counts.no_room.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
            Ended::Cut => {
                counts.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Reads what was promised, from here or from where it is said to be.
fn read(world: &World, over: &AtomicBool, dice: &mut Dice, kept: &Mutex<Kept>, counts: &Counts) {
    while !over.load(Ordering::Relaxed) {
        thread::sleep(dice.wait(0, 40));
        let chosen = {
            let kept = kept.lock().unwrap();
            let nth = dice.below(kept.len().max(1) as u64) as usize;
            kept.iter()
                .nth(nth)
                .map(|(slot, digest)| (slot.clone(), digest.clone()))
        };
        let Some((slot, digest)) = chosen else {
            continue;
        };
        let path = format!("/v1/episodes/{slot}.tar.zst");
        let Some(answer) = download(world.address(), &path) else {
            continue;
        };
        match answer.status {
            200 => {
                counts
                    .read_here
                    .fetch_add(u64::from(answer.is(&digest)), Ordering::Relaxed);
            }
            307 => {
                let there = answer.location.as_deref().and_then(follow);
                // A store that is killed answers nothing, or half.
                let is_read = there.is_some_and(|there| there.status == 200 && there.is(&digest));
                counts
                    .read_there
                    .fetch_add(u64::from(is_read), Ordering::Relaxed);
            }
            other => panic!("{slot}: {other}\n{world}"),
        }
    }
}

struct Download {
    status: u16,
    location: Option<String>,
    length: usize,
    body: Vec<u8>,
}

impl Download {
    /// Whether the bytes are whole; whole ones have this digest.
    fn is(&self, digest: &str) -> bool {
        let is_whole = self.body.len() == self.length;
        assert!(
            !is_whole || sha256(&self.body) == digest,
            "other bytes were read"
        );
        is_whole
    }
}

/// `None` if the peer dies before its answer.
fn download(address: std::net::SocketAddr, path: &str) -> Option<Download> {
    let mut client = Client::try_connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.send(request.as_bytes()).ok()?;
    let bytes = client.rest();
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let field = |name: &str| {
        let mut lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    Some(Download {
        status: head[9..12].parse().unwrap(),
        location: field("Location"),
        length: field("Content-Length").map_or(0, |text| text.parse().unwrap()),
        body: bytes[end + 4..].to_vec(),
    })
}

fn follow(location: &str) -> Option<Download> {
    let (address, path) = location.strip_prefix("http://")?.split_once('/')?;
    download(address.parse().ok()?, &format!("/{path}"))
}

/// Until all is proven.
fn settle(world: &World) {
    wait_while_it_moves(
        world,
        "all is proven",
        |world| (episodes(world, "waiting"), episodes(world, "copied")),
        |world| episodes(world, "waiting") + episodes(world, "copied") == 0,
    );
}

/// What the program itself finds out by reading all.
fn scrubs(world: &World) {
    let config = world.config_path();
    for words in [&["scrub"][..], &["scrub", "--archive", "--deep"]] {
        let output = cis490()
            .args(words)
            .args(["--config", &config])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words:?}\n{text}\n{errors}\n{world}"
        );
    }
}
