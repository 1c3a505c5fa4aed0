//! What of the receiver's memory grows with what is stored, and that nothing else does: many small
//! uploads, the same ones again, refusals, questions and connections that break.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::client::{Client, Put};
use crate::memory_kib;
use crate::world::World;

/// Uploads of one step.
const MANY: usize = 20_000;
/// Requests of one step that store nothing.
const SOME: usize = 10_000;
const SENDERS: usize = 4;
/// The map's 16 bytes, and what of it is not settled yet.
const EPISODE_BYTES_MAX: f64 = 28.0;
/// Of commits that are not in the window: each waits for the gate, which looks once a second.
const FEW: usize = 40;
/// For all requests of a step that store nothing.
const NOISE_KIB: u64 = 128;

/// The bytes of the nth request.
type Request<'a> = dyn Fn(usize) -> Vec<u8> + Sync + 'a;

pub fn of_the_receiver() {
    let world = World::new();
    let step = |count: usize, what: &str, status: u16, request: &Request| -> u64 {
        let before_kib = memory_kib(&world, "RssAnon:");
        ask_all(&world, count, status, request);
        let after_kib = memory_kib(&world, "RssAnon:");
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
        let grown_kib = step(MANY, "new episodes", 201, &|n| {
            put(round * MANY + n).bytes()
        });
        // The first ones also warm up threads and the allocator.
        let each = grown_kib as f64 * 1024.0 / MANY as f64;
        assert!(
            round == 0 || each < EPISODE_BYTES_MAX,
            "{each} bytes an episode"
        );
    }
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n").into_bytes();
    let old = world.too_old().to_owned();
    let kinds: [(usize, &str, u16, &Request); 8] = [
        (SOME, "known episodes again", 200, &|n| put(n).bytes()),
        (FEW, "old commits", 412, &|n| {
            put(3 * MANY + n).commit(&old).bytes()
        }),
        (SOME, "other bytes", 409, &|n| {
            put(n).body(b"others").bytes()
        }),
        (SOME, "wrong digests", 422, &|n| {
            put(3 * MANY + n).sha256(&"0".repeat(64)).bytes()
        }),
        (SOME, "refusals of ever new hosts", 400, &|n| {
            let path = format!("/v1/episodes/stranger-{n}/ep");
            Put::sample(&old).path(&path).no_commit().bytes()
        }),
        (SOME, "receipts", 200, &|n| {
            get(&format!("/v1/episodes/lab-{}/ep-{n}", n % 6))
        }),
        (SOME, "metrics", 200, &|_| get("/metrics")),
        (SOME, "pages", 200, &|_| get("/")),
    ];
    for (count, what, status, request) in kinds {
        step(count, what, status, request);
        let grown_kib = step(count, what, status, request);
        assert!(grown_kib <= NOISE_KIB, "{what}: memory grows");
    }
    broken_connections(&world);
    let before_kib = memory_kib(&world, "RssAnon:");
    broken_connections(&world);
    let grown_kib = memory_kib(&world, "RssAnon:").saturating_sub(before_kib);
    println!("growth: {SOME} uploads broken off: {grown_kib} KiB more the second time");
    assert!(grown_kib <= NOISE_KIB, "broken connections: memory grows");
    println!(
        "growth: {} KiB of memory at the peak, {} episodes stored",
        memory_kib(&world, "VmHWM:"),
        world.rows().len()
    );
}

/// Each on a connection of its own, unless the answer leaves it open.
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

fn broken_connections(world: &World) {
    let put = world.good().episode("broken").body(&[7; 9000]).bytes();
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let put = &put;
            scope.spawn(move || {
                for n in 0..SOME / SENDERS {
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
