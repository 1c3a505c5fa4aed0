//! The long runs against hostile peers: hundreds of slow connections, pipelined requests in random
//! pieces, tarballs that decompress to a gigabyte, and the fuzz targets.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::dice::Dice;
use crate::world::World;
use crate::{pipelines, tarballs};

/// The address of the well-behaved host: slowhttptest connects from 127.0.0.1.
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// More than `max_connections`, which is 256.
const SLOW_CONNECTIONS: u32 = 400;
const SLOW_SECONDS: u64 = 25;

/// Sends heads, sends bodies and reads answers a few bytes at a time, while another host uploads one
/// episode after the other.
pub fn slow_peers() {
    for (mode, what) in [("-H", "heads"), ("-B", "bodies"), ("-X", "answers")] {
        let world = World::new();
        let Some(mut slow) = slowhttptest(&world, mode) else {
            println!("slow: skipped: slowhttptest is not installed (apt-get install slowhttptest)");
            return;
        };
        // 400 connections, 200 a second, are open after two seconds.
        thread::sleep(Duration::from_secs(3));
        let ticks = world.cpu_ticks();
        let began = Instant::now();
        let mut waits = Vec::new();
        while slow.try_wait().unwrap().is_none() && began.elapsed().as_secs() < SLOW_SECONDS {
            let asked = Instant::now();
            let episode = format!("honest-{}", waits.len());
            let put = world.good().episode(&episode).body(&vec![7; 100_000]);
            let mut client = Client::connect_from(world.address(), HONEST);
            client.send(&put.bytes()).unwrap();
            let answer = client
                .answer()
                .unwrap_or_else(|| panic!("no answer\n{world}"));
            assert_eq!(answer.status, 201, "slow {what}: {answer:?}\n{world}");
            waits.push(asked.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        let cpu = (world.cpu_ticks() - ticks) as f64 / 100.0 / began.elapsed().as_secs_f64();
        let _ = slow.kill();
        let _ = slow.wait();
        waits.sort();
        let ms = |index: usize| waits[index].as_secs_f64() * 1e3;
        println!(
            "slow {what}: {SLOW_CONNECTIONS} connections; {} uploads of another host, none refused: median {:.1} ms, worst {:.1} ms; {:.0} % of a core, {} KiB at the peak",
            waits.len(),
            ms(waits.len() / 2),
            ms(waits.len() - 1),
            cpu * 100.0,
            world.memory_kib("VmHWM:")
        );
        assert_eq!(world.rows().len(), waits.len(), "a slow upload was stored");
        world.wait_until("the slow uploads are gone", |world| {
            world.names("incoming").is_empty()
        });
    }
}

/// Starts slowhttptest; `None` if it is not installed. The heads of its slow bodies are good, so the
/// gate admits them.
fn slowhttptest(world: &World, mode: &str) -> Option<Child> {
    let url = match mode {
        "-B" => format!("http://{}/v1/episodes/lab-1/slow", world.address()),
        _ => format!("http://{}/v1/gate", world.address()),
    };
    let ours = format!(
        "x/y\r\nX-Cis490-Code-Commit: {}\r\nX-Cis490-Sha256: {}",
        world.repo.head(),
        "0".repeat(64)
    );
    let connections = SLOW_CONNECTIONS.to_string();
    let seconds = (SLOW_SECONDS + 5).to_string();
    let mut command = Command::new("slowhttptest");
    command.args([
        mode,
        "-c",
        &connections,
        "-r",
        "200",
        "-l",
        &seconds,
        "-u",
        &url,
    ]);
    command.args(match mode {
        "-B" => vec![
            "-i", "2", "-s", "100000", "-x", "8", "-t", "PUT", "-f", &ours,
        ],
        "-X" => vec![
            "-i", "2", "-w", "16", "-y", "32", "-n", "5", "-z", "8", "-k", "5",
        ],
        _ => vec!["-i", "2", "-x", "8"],
    });
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().ok()
}

/// Pipelined requests for 60 seconds, each world with a seed of its own.
pub fn rows_of_requests() {
    let began = Instant::now();
    let mut seen = pipelines::Seen::default();
    let mut seeds = Dice::new(490);
    let mut peak_kib = 0;
    while began.elapsed() < Duration::from_secs(60) {
        let world = World::new();
        let run = pipelines::run(&world, seeds.next(), 400);
        peak_kib = peak_kib.max(world.memory_kib("VmHWM:"));
        assert!(!world.log().contains("panic"), "{world}");
        seen.connections += run.connections;
        seen.requests += run.requests;
        seen.answers += run.answers;
    }
    println!(
        "rows: {} connections, {} requests, {} answers, each its own request's; {peak_kib} KiB at the peak",
        seen.connections, seen.requests, seen.answers
    );
}

/// Decompression bombs of 1.1 GiB each: more than the receiver decompresses of one tarball.
pub fn tarballs_of_a_gigabyte() {
    let took = tarballs::backfilled(1100);
    println!(
        "tarballs: {} hostile ones, the bombs of 1.1 GiB, in {:.1} s; {} KiB at the peak",
        took.tarballs,
        took.time.as_secs_f64(),
        took.peak_kib
    );
    assert!(took.peak_kib < 128 << 10, "more than 128 MiB");
}

/// Runs each fuzz target for a minute. The targets are a workspace of their own, which is built first.
pub fn fuzz_targets() {
    let run = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/run");
    let status = Command::new(run).args(["all", "60"]).status();
    assert!(status.is_ok_and(|status| status.success()), "see above");
}
