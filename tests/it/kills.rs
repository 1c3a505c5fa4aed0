//! kill -9 in the middle of anything. What was acknowledged is there, once, and its row too; what
//! was not may be sent again. A short walk here, hundreds of rounds in the campaign.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::client::{Client, Put, sha256};
use crate::world::{World, is_emulated};

/// Bodies of many sizes, so that a kill meets every stage: one block, many, and large ones that a
/// second thread writes.
const SIZES: [usize; 5] = [0, 900, 70_000, 700_000, 9_000_000];

#[test]
fn the_receiver_killed_under_load_loses_nothing_acknowledged() {
    let told = receiver_killed_under_load(12, 4);
    assert!(
        told.kills == 12 && told.acknowledged > 0 && told.unanswered > 0,
        "{told:?}"
    );
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Told {
    pub kills: u32,
    pub acknowledged: usize,
    pub unanswered: usize,
}

/// Kills and restarts one receiver `kills` times while `senders` upload, and checks after each.
pub fn receiver_killed_under_load(kills: u32, senders: usize) -> Told {
    let mut world = World::new();
    let acknowledged: Mutex<BTreeMap<String, String>> = Mutex::default();
    let (mut unanswered, number) = (0, AtomicU64::new(0));
    for round in 0..kills {
        let over = AtomicBool::new(false);
        let upload_until_over = || {
            let mut lost = 0;
            while !over.load(Ordering::Relaxed) {
                let n = number.fetch_add(1, Ordering::Relaxed);
                match upload(&world, n) {
                    Some((name, digest)) => {
                        acknowledged.lock().unwrap().insert(name, digest);
                    }
                    None => lost += 1,
                }
            }
            lost
        };
        unanswered += thread::scope(|scope| {
            let threads: Vec<_> = (0..senders)
                .map(|_| scope.spawn(upload_until_over))
                .collect();
            // Any moment will do, and each round takes another: spread over 0 to 150 ms, or over as
            // much of what an emulator does.
            let spread_us = if is_emulated() { 3_000_000 } else { 150_000 };
            thread::sleep(Duration::from_micros(
                u64::from(round) * 7919 * (spread_us / 150_000) % spread_us,
            ));
            world.signal("KILL");
            over.store(true, Ordering::Relaxed);
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum::<usize>()
        });
        world.kill();
        world.start();
        check(&world, &acknowledged.lock().unwrap());
    }
    Told {
        kills,
        acknowledged: acknowledged.into_inner().unwrap().len(),
        unanswered,
    }
}

/// One upload; name and digest if it was acknowledged.
fn upload(world: &World, n: u64) -> Option<(String, String)> {
    let size = SIZES[n as usize % SIZES.len()];
    let body: Vec<u8> = (0..size).map(|i| (i as u64 * 31 + n) as u8).collect();
    let name = format!("ep-{n}");
    let put = Put::sample(world.repo.head()).episode(&name).body(&body);
    let mut client = Client::try_connect(world.address())?;
    client.send(&put.bytes()).ok()?;
    let status = client.answer()?.status;
    assert_eq!(status, 201, "{name}\n{world}");
    Some((name, sha256(&body)))
}

/// Every acknowledged episode is there, whole, with one row; nothing half is anywhere.
pub fn check(world: &World, acknowledged: &BTreeMap<String, String>) {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    for row in world.rows() {
        rows.entry(text(&row["episode"]))
            .or_default()
            .push(text(&row["sha256"]));
    }
    for (name, digest) in acknowledged {
        assert_eq!(
            rows.get(name),
            Some(&vec![digest.clone()]),
            "the row of {name}\n{world}"
        );
    }
    for (name, digests) in &rows {
        let stored = world.stored("lab-1", name).map(|bytes| sha256(&bytes));
        assert_eq!(
            stored.as_ref(),
            digests.first(),
            "the file of {name}\n{world}"
        );
        assert_eq!(digests.len(), 1, "one row each: {name}\n{world}");
    }
    assert!(world.names("incoming").is_empty(), "{world}");
    assert_eq!(world.names("episodes/lab-1").len(), rows.len(), "{world}");
}
