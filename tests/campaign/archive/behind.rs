//! A disk at its floor with ten thousand episodes that wait for their store: nothing is evicted and uploads
//! are refused until the store is there; then room is made, and nothing was lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::promises::{self, Kept};
use super::stores::{RealStore, each_store};
use super::{COMMIT, bucket, episodes, prepared, start, wait_while_it_moves};
use crate::client::{Client, Put, sha256};
use crate::dice::noise;
use crate::power::{self, Loss, kind};
use crate::world::World;

const EPISODES: u64 = 10_000;
const SENDERS: usize = 4;
/// Above the floor at which uploads are refused.
const EVICT_ABOVE_BYTES: u64 = 16 << 20;

pub fn at_its_floor() {
    if bucket::has_rclone() {
        each_store(one_store);
    }
}

fn one_store(store: &dyn RealStore) {
    let Some(disk) = power::disk("a disk at its floor", kind("ext4", Loss::Shutdown)) else {
        return;
    };
    let mut world = prepared(store, Some(&disk.root().join("store")), "");
    store.kill();
    start(&mut world);
    let kept = Mutex::new(Kept::new());
    upload_all(&world, &kept);
    world.stop();
    let free_bytes = free(&world);
    world.replace_in_config(
        "min_free_bytes = 0\n",
        &format!("min_free_bytes = {}\n", free_bytes + (1 << 20)),
    );
    world.replace_in_config(
        "[archive]\n",
        &format!(
            "[archive]\nevict_below_bytes = {}\n",
            free_bytes + EVICT_ABOVE_BYTES
        ),
    );
    start(&mut world);
    world.wait_until("the store is away", |world| {
        world.log().contains("event=archive_failing")
    });
    let late = put(EPISODES);
    assert_eq!(world.put(&late).status, 507, "{world}");
    assert_eq!(world.get(&format!("/v1/episodes/{}", slot(0))).status, 200);
    assert_eq!(episodes(&world, "waiting"), EPISODES);

    store.start_again();
    let began = Instant::now();
    wait_while_it_moves(
        &world,
        "an upload is accepted again",
        |world| episodes(world, "waiting"),
        |world| {
            thread::sleep(Duration::from_millis(200));
            world.put(&late).status == 201
        },
    );
    let accepted_s = began.elapsed().as_secs_f64();
    kept.lock()
        .unwrap()
        .insert(slot(EPISODES), sha256(&late.body));
    wait_while_it_moves(
        &world,
        "all are proven",
        |world| (episodes(world, "waiting"), episodes(world, "copied")),
        |world| episodes(world, "waiting") + episodes(world, "copied") == 0,
    );
    let all_s = began.elapsed().as_secs_f64();
    let kib = world.memory_kib("VmHWM:");
    let found = promises::check(&world, store, &kept.into_inner().unwrap());
    assert!(found.evicted > 0, "{world}");
    println!(
        "archive behind: {}: {EPISODES} waited at the floor; an upload was accepted {accepted_s:.1} s after the store was there, all proven after {all_s:.1} s ({:.0} a second), {} evicted, {kib} KiB at the peak",
        store.name(),
        EPISODES as f64 / all_s,
        found.evicted
    );
}

fn free(world: &World) -> u64 {
    let free = rustix::fs::statvfs(world.data_dir()).unwrap();
    free.f_bavail * free.f_frsize
}

fn slot(n: u64) -> String {
    format!("lab-{}/ep-{n}", n % 50)
}

/// Of 200 bytes to 16 KB.
fn put(n: u64) -> Put {
    let body = noise(n, 200 + (n as usize * 7919) % 16_000);
    Put::sample(COMMIT)
        .path(&format!("/v1/episodes/{}", slot(n)))
        .body(&body)
}

fn upload_all(world: &World, kept: &Mutex<Kept>) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut client = None;
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if EPISODES <= n {
                        return;
                    }
                    let put = put(n);
                    let mut open: Client = client.take().unwrap_or_else(|| world.client());
                    open.send(&put.bytes()).unwrap();
                    let answer = open
                        .answer()
                        .unwrap_or_else(|| panic!("no answer\n{world}"));
                    assert_eq!(answer.status, 201, "{answer:?}");
                    let closes = answer.header("Connection") == Some("close");
                    client = (!closes).then_some(open);
                    kept.lock().unwrap().insert(slot(n), sha256(&put.body));
                }
            });
        }
    });
}
