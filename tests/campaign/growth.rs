//! The receiver's memory grows with the number of stored episodes, by little, and with nothing else:
//! not with uploads that are sent again, refused uploads, GET requests, or connections that break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::client::{Client, Put};
use crate::world::World;

/// New episodes of one step.
const UPLOADS: usize = 20_000;
/// Requests of one step that store nothing.
const REQUESTS: usize = 10_000;
/// Fewer, for commits that are not in the window: each of these requests waits for a refresh of the
/// gate, which is at most once a second.
const OLD_COMMITS: usize = 40;
const SENDERS: usize = 4;
/// The 16 bytes of an episode in the index's map, and the map's spare capacity.
const EPISODE_BYTES_MAX: f64 = 28.0;
/// What the allocator may add in a step that stores nothing.
const NOISE_KIB: u64 = 128;

/// The bytes of the nth request.
type Request<'a> = dyn Fn(usize) -> Vec<u8> + Sync + 'a;

pub fn of_the_receiver() {
    let world = World::new();
    let step = |count: usize, what: &str, status: u16, request: &Request| -> u64 {
        let before_kib = world.memory_kib("RssAnon:");
        ask_all(&world, count, status, request);
        let after_kib = world.memory_kib("RssAnon:");
        let grown_kib = after_kib.saturating_sub(before_kib);
        let each = grown_kib as f64 * 1024.0 / count as f64;
        println!("growth: {count} {what}: {before_kib} to {after_kib} KiB, {each:.1} bytes each");
        grown_kib
    };
    let put = |n: usize| {
        world
            .good()
            .path(&format!("/v1/episodes/lab-{}/ep-{n}", n % 6))
    };
    for round in 0..3 {
        let grown_kib = step(UPLOADS, "new episodes", 201, &|n| {
            put(round * UPLOADS + n).bytes()
        });
        // The first round also warms up threads and the allocator.
        let each = grown_kib as f64 * 1024.0 / UPLOADS as f64;
        assert!(
            round == 0 || each < EPISODE_BYTES_MAX,
            "{each} bytes an episode"
        );
    }
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n").into_bytes();
    let old = world.too_old().to_owned();
    let kinds: [(usize, &str, u16, &Request); 8] = [
        (REQUESTS, "known episodes again", 200, &|n| put(n).bytes()),
        (OLD_COMMITS, "old commits", 412, &|n| {
            put(3 * UPLOADS + n).commit(&old).bytes()
        }),
        (REQUESTS, "other bytes", 409, &|n| {
            put(n).body(b"others").bytes()
        }),
        (REQUESTS, "wrong digests", 422, &|n| {
            put(3 * UPLOADS + n).sha256(&"0".repeat(64)).bytes()
        }),
        (REQUESTS, "refusals of ever new hosts", 400, &|n| {
            let path = format!("/v1/episodes/stranger-{n}/ep");
            Put::sample(&old).path(&path).no_commit().bytes()
        }),
        (REQUESTS, "receipts", 200, &|n| {
            get(&format!("/v1/episodes/lab-{}/ep-{n}", n % 6))
        }),
        (REQUESTS, "metrics", 200, &|_| get("/metrics")),
        (REQUESTS, "pages", 200, &|_| get("/")),
    ];
    for (count, what, status, request) in kinds {
        step(count, what, status, request);
        let grown_kib = step(count, what, status, request);
        assert!(grown_kib <= NOISE_KIB, "{what}: memory grows");
    }
    broken_connections(&world);
    let before_kib = world.memory_kib("RssAnon:");
    broken_connections(&world);
    let grown_kib = world.memory_kib("RssAnon:").saturating_sub(before_kib);
    println!("growth: {REQUESTS} uploads broken off: {grown_kib} KiB more the second time");
    assert!(grown_kib <= NOISE_KIB, "broken connections: memory grows");
    println!(
        "growth: {} KiB of memory at the peak, {} episodes stored",
        world.memory_kib("VmHWM:"),
        world.rows().len()
    );
}

/// Sends the requests, each on the connection of the one before unless its answer closed it.
fn ask_all(world: &World, count: usize, status: u16, request: &Request) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut client = None;
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if count <= n {
                        break;
                    }
                    let mut open: Client = client.take().unwrap_or_else(|| world.client());
                    open.send(&request(n)).unwrap();
                    let answer = open
                        .answer()
                        .unwrap_or_else(|| panic!("no answer\n{}", world.log()));
                    assert_eq!(answer.status, status, "{answer:?}");
                    let closes = answer
                        .header("Connection")
                        .is_some_and(|value| value == "close");
                    client = (!closes).then_some(open);
                }
            });
        }
    });
}

/// Uploads that end with a reset, each after another part of its bytes.
fn broken_connections(world: &World) {
    let put = world.good().episode("broken").body(&[7; 9000]).bytes();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let put = &put;
            scope.spawn(move || {
                for n in 0..REQUESTS / SENDERS {
                    let mut client = world.client();
                    let part = (n * 37 + sender) % put.len();
                    let _ = client.send(&put[..part]);
                    client.reset();
                }
            });
        }
    });
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
}
