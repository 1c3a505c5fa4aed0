//! The long runs that CI has no time for: `just campaign`. Each prints its figures. A broken promise
//! is a panic; a slow machine has larger figures, and fails nothing.
//!
//! `cargo test --test campaign [-- NAME]` runs all of them, or those with NAME in their names.

#[macro_use]
#[path = "../it/skip.rs"]
mod skip;

mod archive;
mod bad_network;
#[path = "../it/breaking_line.rs"]
mod breaking_line;
mod broken_line;
mod fleet;
mod gate_under_change;
mod growth;
mod half_an_hour;

#[path = "../it/change/mod.rs"]
#[expect(dead_code, reason = "the judge's own test runs elsewhere")]
mod change;
#[path = "../it/client.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod client;
#[path = "../it/dice.rs"]
mod dice;
#[path = "../it/forgejo/mod.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod forgejo;
#[path = "../it/git.rs"]
mod git;
#[path = "../it/here.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod here;
#[path = "../it/holds.rs"]
#[expect(dead_code, reason = "the black-box tests use it")]
mod holds;
mod hostile;
#[path = "../it/kills.rs"]
mod kills;
#[path = "../it/lab.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod lab;
#[path = "../it/network/mod.rs"]
mod network;
#[path = "../it/hostile/pipelines.rs"]
mod pipelines;
#[path = "../it/power/mod.rs"]
#[expect(unused_imports, reason = "the short runs use the rest")]
mod power;
mod power_cuts;
#[path = "../it/process.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod process;
#[path = "../it/program.rs"]
mod program;
mod pulls;
#[expect(dead_code, unused_imports, reason = "the black-box tests use the rest")]
mod reading;
mod real_forgejo;
#[path = "../it/repository.rs"]
#[expect(dead_code, reason = "the black-box tests use the rest")]
mod repository;
#[path = "../it/soak/mod.rs"]
mod soak;
mod syscall_faults;
#[path = "../it/syscalls/mod.rs"]
#[expect(unused_imports, reason = "the short runs use the rest")]
mod syscalls;
#[path = "../it/hostile/tarballs.rs"]
mod tarballs;
#[path = "../it/world.rs"]
#[expect(dead_code, unused_imports, reason = "the black-box tests use the rest")]
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use world::World;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "relay") {
        return bad_network::relay(&words[1..]);
    }
    let wanted = words.iter().find(|word| !word.starts_with('-'));
    let runs: [(&str, fn()); 31] = [
        ("kills", kills_of_the_receiver),
        ("power-of-the-receiver", power_cuts::of_the_receiver),
        ("power-of-the-shipper", power_cuts::of_the_shipper),
        ("power-of-the-pull", power_cuts::of_the_pull),
        ("power-of-the-archive", power_cuts::of_the_archive),
        ("archive-under-fire", archive::under_fire),
        ("archive-rot", archive::rotten_stores),
        ("archive-rights", archive::rights_and_buckets),
        ("archive-readme", archive::buckets_by_hand),
        ("archive-behind", archive::at_its_floor),
        ("archive-large", archive::one_large_episode),
        ("calls-of-the-receiver", syscall_faults::of_the_receiver),
        ("calls-of-the-shipper", syscall_faults::of_the_shipper),
        ("health", health_while_the_disk_is_slow),
        ("uploads", many_uploads_at_once),
        ("idle", an_idle_receiver),
        ("growth", growth::of_the_receiver),
        ("fleet", fleet::of_two_thousand),
        ("half-closed", a_peer_that_ends_and_does_not_read),
        ("change", gate_under_change::all_sources),
        ("forgejo", real_forgejo::cases),
        ("crowd", bad_network::crowd),
        ("line", bad_network::line),
        ("broken-line", broken_line::episodes_arrive),
        ("pull", pulls::killed_and_in_a_storm),
        ("downloads", pulls::readers_that_stall),
        ("soak", half_an_hour::soak),
        ("slow", hostile::slow_peers),
        ("rows", hostile::rows_of_requests),
        ("tarballs", hostile::tarballs_of_a_gigabyte),
        ("fuzz", hostile::fuzz_targets),
    ];
    for (name, run) in runs {
        if wanted.is_none_or(|wanted| name.contains(wanted)) {
            let began = Instant::now();
            run();
            println!("{name}: done in {:.1} s", began.elapsed().as_secs_f64());
        }
    }
}

/// Every 25 kills have a store of their own, since each check reads all that is stored.
fn kills_of_the_receiver() {
    let mut kills = 0;
    let mut acknowledged = 0;
    let mut unanswered = 0;
    for _ in 0..12 {
        let run = kills::receiver_killed_under_load(25, 4);
        kills += run.kills;
        acknowledged += run.acknowledged;
        unanswered += run.unanswered;
        println!(
            "kills: {kills} kill -9 under load, {acknowledged} uploads acknowledged and there, {unanswered} cut off"
        );
    }
}

/// A debug build makes each sync slower for this run; a release build syncs as fast as the disk does.
fn health_while_the_disk_is_slow() {
    let mut world = World::prepared("");
    world.env("CIS490_SYNC_DELAY_MS", 300);
    world.start();
    let over = AtomicBool::new(false);
    let mut waits = thread::scope(|scope| {
        for sender in 0..8 {
            let world = &world;
            let over = &over;
            scope.spawn(move || upload_until(world, over, sender, 4 << 20));
        }
        let asked = (0..2000).map(|_| {
            thread::sleep(Duration::from_millis(5));
            let began = Instant::now();
            assert_eq!(world.get("/v1/health").status, 200);
            began.elapsed()
        });
        let waits: Vec<_> = asked.collect();
        over.store(true, Ordering::Relaxed);
        waits
    });
    waits.sort();
    let at = |share: usize| waits[waits.len() * share / 1000].as_secs_f64() * 1e3;
    let stored = world.rows().len();
    println!(
        "health: 8 uploads of 4 MiB at a time, syncs 300 ms slower, {stored} stored: median {:.2} ms, p99 {:.2} ms, worst {:.2} ms",
        at(500),
        at(990),
        at(999)
    );
}

fn upload_until(world: &World, over: &AtomicBool, sender: u64, bytes: usize) {
    let body = vec![sender as u8; bytes];
    for n in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let put = world.good().episode(&format!("s{sender}-{n}")).body(&body);
        assert_eq!(world.put(&put).status, 201, "{world}");
    }
}

/// 64 uploads at the same time: each sends its last byte when all have begun.
fn many_uploads_at_once() {
    let world = World::new();
    let idle_kib = world.memory_kib("VmRSS:");
    let puts: Vec<_> = (0..64)
        .map(|n| {
            world
                .good()
                .episode(&format!("ep-{n}"))
                .body(&vec![n; 16 << 20])
                .bytes()
        })
        .collect();
    let began = Instant::now();
    let mut clients: Vec<Client> = thread::scope(|scope| {
        let send = |(n, bytes): (usize, &Vec<u8>)| {
            // One address may have half of `max_uploads`: each upload comes from another one.
            let source = std::net::Ipv4Addr::new(127, 0, 1, n as u8);
            let mut client = Client::connect_from(world.address(), source);
            client.send(&bytes[..bytes.len() - 1]).unwrap();
            client
        };
        let threads: Vec<_> = puts
            .iter()
            .enumerate()
            .map(|put| scope.spawn(move || send(put)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(world.names("incoming").len(), 64);
    for (client, put) in clients.iter_mut().zip(&puts) {
        client.send(&put[put.len() - 1..]).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 201);
    }
    let took_s = began.elapsed().as_secs_f64();
    let peak_kib = world.memory_kib("VmHWM:");
    println!(
        "uploads: 64 of 16 MiB at once in {took_s:.1} s; memory {idle_kib} KiB before, {peak_kib} KiB at the peak"
    );
    assert!(
        peak_kib < 64 << 10,
        "64 uploads at once use more than 64 MiB"
    );
}

fn an_idle_receiver() {
    let world = World::new();
    let before = world.cpu_ticks();
    thread::sleep(Duration::from_secs(20));
    let ticks = world.cpu_ticks() - before;
    let kib = world.memory_kib("VmRSS:");
    println!("idle: {ticks} ticks of 10 ms in 20 s (git is asked every second), {kib} KiB");
}

/// A regression: an answer that does not fit into the peer's receive buffer, and a peer that has shut
/// down its sending side. The thread that closes connections polled that end without a pause.
fn a_peer_that_ends_and_does_not_read() {
    let paste = "a line to paste\\n".repeat(1 << 20);
    let world = World::with(&format!(
        "[version_gate]\nlocal_repo_path = \"/nonexistent/cis490\"\nremediation = \"{paste}\"\n"
    ));
    let mut client = world.client();
    client.send(&world.good().no_commit().bytes()).unwrap();
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let before = world.cpu_ticks();
    thread::sleep(Duration::from_secs(4));
    let ticks = world.cpu_ticks() - before;
    println!("half-closed: {ticks} ticks of 10 ms in 4 s");
    assert!(ticks < 100, "the closer spins");
}
