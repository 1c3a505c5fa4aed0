//! Uploads: the same bodies to each server in turns, round after round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::{DiskKind, Ground};
use crate::load::{Body, Connection, Payload, put_all};
use crate::process;
use crate::report::{Goal, Series, median, percentile, short, spread, verdict};
use crate::servers::{Kind, Running};

struct Workload {
    name: &'static str,
    what: &'static str,
    disk: DiskKind,
    bodies: usize,
    /// Of each body.
    bytes: usize,
    connections: usize,
    /// Measured in uploads a second instead of MB/s.
    by_number: bool,
    /// The goals of ours / rest-server; of ours / nginx with a sync after the last answer, since nginx
    /// does not sync; and of ours / nginx without that sync.
    rest_server: Goal,
    synced: Goal,
    as_answered: Option<Goal>,
}

const WORKLOADS: [Workload; 10] = [
    Workload {
        name: "big",
        what: "1 x 1 GiB",
        disk: DiskKind::Own,
        bodies: 1,
        bytes: 1 << 30,
        connections: 1,
        by_number: false,
        rest_server: Goal::AtLeast(2.0, 3.0),
        synced: Goal::AtLeast(1.2, 1.2),
        as_answered: Some(Goal::AtLeast(0.8, 1.0)),
    },
    Workload {
        name: "eight",
        what: "8 x 128 MiB",
        disk: DiskKind::Own,
        bodies: 8,
        bytes: 128 << 20,
        connections: 8,
        by_number: false,
        rest_server: Goal::AtLeast(1.5, 1.9),
        synced: Goal::AtLeast(1.25, 1.25),
        as_answered: Some(Goal::AtLeast(0.8, 1.0)),
    },
    Workload {
        name: "small-1",
        what: "64 KiB, 1 connection",
        disk: DiskKind::Own,
        bodies: 400,
        bytes: 64 << 10,
        connections: 1,
        by_number: true,
        rest_server: Goal::AtLeast(1.2, 1.5),
        synced: Goal::AtLeast(0.3, 0.3),
        as_answered: None,
    },
    Workload {
        name: "small-8",
        what: "64 KiB, 8 connections",
        disk: DiskKind::Own,
        bodies: 1600,
        bytes: 64 << 10,
        connections: 8,
        by_number: true,
        rest_server: Goal::AtLeast(1.1, 1.5),
        synced: Goal::AtLeast(0.5, 0.5),
        as_answered: None,
    },
    Workload {
        name: "small-32",
        what: "64 KiB, 32 connections",
        disk: DiskKind::Own,
        bodies: 3200,
        bytes: 64 << 10,
        connections: 32,
        by_number: true,
        rest_server: Goal::AtLeast(1.4, 2.0),
        synced: Goal::AtLeast(0.6, 0.6),
        as_answered: None,
    },
    Workload {
        name: "sd-1",
        what: "64 KiB, 1 connection, on a disk as slow as an SD card",
        disk: DiskKind::SdCard,
        bodies: 60,
        bytes: 64 << 10,
        connections: 1,
        by_number: true,
        rest_server: Goal::AtLeast(1.4, 1.7),
        synced: Goal::AtLeast(0.3, 0.3),
        as_answered: None,
    },
    Workload {
        name: "sd-odd",
        what: "64 KiB and 137 bytes, as sizes are, 1 connection, on such a disk",
        disk: DiskKind::SdCard,
        bodies: 60,
        bytes: (64 << 10) + 137,
        connections: 1,
        by_number: true,
        rest_server: Goal::AtLeast(1.4, 1.7),
        synced: Goal::AtLeast(0.3, 0.3),
        as_answered: None,
    },
    Workload {
        name: "sd-8",
        what: "64 KiB, 8 connections, on a disk as slow as an SD card",
        disk: DiskKind::SdCard,
        bodies: 240,
        bytes: 64 << 10,
        connections: 8,
        by_number: true,
        rest_server: Goal::AtLeast(1.15, 2.0),
        synced: Goal::AtLeast(0.5, 0.5),
        as_answered: None,
    },
    Workload {
        name: "sd-32",
        what: "64 KiB, 32 connections, on a disk as slow as an SD card",
        disk: DiskKind::SdCard,
        bodies: 640,
        bytes: 64 << 10,
        connections: 32,
        by_number: true,
        rest_server: Goal::AtLeast(1.3, 3.0),
        synced: Goal::AtLeast(0.6, 0.6),
        as_answered: None,
    },
    Workload {
        name: "many",
        what: "64 x 16 MiB at once",
        disk: DiskKind::Own,
        bodies: 64,
        bytes: 16 << 20,
        connections: 64,
        by_number: false,
        rest_server: Goal::AtLeast(1.5, 1.5),
        synced: Goal::AtLeast(1.0, 1.0),
        as_answered: None,
    },
];

/// Memory that is warmed before a round, besides as much as its bodies, for the page cache.
const WARM_BYTES: usize = 64 << 20;

/// The figures of one contestant in one workload, of each round.
struct Stats {
    kind: Kind,
    as_answered: Series,
    synced: Series,
    cpu_s_per_gb: Vec<f64>,
    generator_s_per_gb: Vec<f64>,
    peak_mib: Vec<f64>,
}

/// The programs to measure, but the sink, which stores nothing.
pub fn servers(plan: &Plan) -> Vec<Kind> {
    let mut kinds = contestants(plan);
    kinds.retain(|kind| *kind != Kind::Sink);
    kinds
}

/// The programs to measure: installed, and wanted by the plan.
fn contestants(plan: &Plan) -> Vec<Kind> {
    let all = [Kind::Ours, Kind::RestServer, Kind::Nginx, Kind::Sink];
    let wanted = |kind: &Kind| plan.only.is_none_or(|only| only == *kind);
    let installed = all.into_iter().filter(|kind| kind.is_installed());
    installed.filter(wanted).collect()
}

pub fn run(plan: &Plan) {
    let wanted = WORKLOADS.iter().filter(|work| plan.wants(work.name));
    let wanted: Vec<&Workload> = wanted.collect();
    if wanted.is_empty() {
        return;
    }
    let payload = Payload::new(plan.scaled(128 << 20));
    for work in wanted {
        match Ground::on(work.disk, plan) {
            Ok(ground) => measure(plan, work, &payload, &ground),
            Err(why) => println!("\n{}: left out: {why}", work.name),
        }
    }
}

fn measure(plan: &Plan, work: &Workload, payload: &Payload, ground: &Ground) {
    let bytes = plan.scaled(work.bytes);
    let count = if work.by_number {
        plan.scaled(work.bodies).max(work.connections)
    } else {
        work.bodies
    };
    let bodies: Vec<Body> = (0..count).map(|n| Body::new(payload, n, bytes)).collect();
    let mut figures: Vec<Stats> = contestants(plan)
        .into_iter()
        .map(|kind| Stats {
            kind,
            as_answered: Series::new(kind.name()),
            synced: Series::new(format!("{}, synced", kind.name())),
            cpu_s_per_gb: Vec::new(),
            generator_s_per_gb: Vec::new(),
            peak_mib: Vec::new(),
        })
        .collect();
    let gb = (count * bytes) as f64 / 1e9;
    let amount = if work.by_number {
        count as f64
    } else {
        gb * 1e3
    };
    // A round of small uploads is short: more of them even out the machine's noise.
    let rounds = match work.disk {
        DiskKind::Own if work.by_number => 3 * plan.rounds,
        _ => plan.rounds,
    };
    for round in 0..=rounds {
        // Another contestant begins each round, so that none always runs after the same one.
        figures.rotate_left(1);
        for figures in &mut figures {
            process::warm_memory(count * bytes + WARM_BYTES);
            let server = Running::start(figures.kind, ground.fresh());
            let before = server.usage();
            let own_before = process::own_cpu_s();
            let took = put_all(&server, payload, &bodies, work.connections);
            let own_s = process::own_cpu_s() - own_before;
            let usage = server.usage();
            let synced = match figures.kind {
                Kind::Nginx => took + server.sync_all(),
                _ => took,
            };
            server.stop();
            // The first round warms up the disk and the clients, and does not count.
            if round > 0 {
                let rate = amount / took.as_secs_f64();
                figures.as_answered.values.push(rate);
                figures.synced.values.push(amount / synced.as_secs_f64());
                let cpu_s = usage.cpu_s - before.cpu_s;
                figures.cpu_s_per_gb.push(cpu_s / gb);
                figures.generator_s_per_gb.push(own_s / gb);
                figures.peak_mib.push(usage.peak_kib as f64 / 1024.0);
            }
        }
    }
    figures.sort_by_key(|figures| figures.kind);
    print(work, &figures);
}

fn print(work: &Workload, figures: &[Stats]) {
    let unit = if work.by_number { "PUT/s" } else { "MB/s" };
    println!("\n{}: {}", work.name, work.what);
    println!(
        "  {:<16} {:>26} {:>12} {:>14} {:>10}",
        "", unit, "CPU s/GB", "generator", "peak MiB"
    );
    for one in figures {
        let line = |name: &str, values: &[f64]| {
            println!(
                "  {name:<16} {:>26} {:>12} {:>14} {:>10}",
                spread(values),
                short(median(&one.cpu_s_per_gb)),
                short(median(&one.generator_s_per_gb)),
                short(median(&one.peak_mib))
            );
        };
        line(&one.as_answered.name, &one.as_answered.values);
        if one.kind == Kind::Nginx {
            line(&one.synced.name, &one.synced.values);
        }
    }
    let of = |kind: Kind| figures.iter().find(|one| one.kind == kind);
    let Some(ours) = of(Kind::Ours) else { return };
    let rate = ours.as_answered.median();
    if let Some(peer) = of(Kind::RestServer) {
        verdict(
            "ours / rest-server",
            rate / peer.as_answered.median(),
            "",
            work.rest_server,
        );
        if !work.by_number && work.name != "many" {
            let cpu = median(&ours.cpu_s_per_gb) / median(&peer.cpu_s_per_gb);
            verdict(
                "CPU s/GB, ours / rest-server",
                cpu,
                "",
                Goal::AtMost(0.6, 0.4),
            );
        }
    }
    if let Some(peer) = of(Kind::Nginx) {
        verdict(
            "ours / nginx, synced",
            rate / peer.synced.median(),
            "",
            work.synced,
        );
        if let Some(goal) = work.as_answered {
            verdict(
                "ours / nginx, as answered",
                rate / peer.as_answered.median(),
                "",
                goal,
            );
        }
    }
    if let Some(sink) = of(Kind::Sink) {
        println!(
            "  the generator can send {} times as fast as the fastest server received",
            short(sink.as_answered.median() / fastest(figures))
        );
    }
    if work.name == "many" {
        verdict(
            "our peak memory",
            median(&ours.peak_mib),
            "MiB",
            Goal::AtMost(32.0, 32.0),
        );
    }
}

fn fastest(figures: &[Stats]) -> f64 {
    let others = figures.iter().filter(|one| one.kind != Kind::Sink);
    others
        .map(|one| one.as_answered.median())
        .fold(0.0, f64::max)
}

/// Measures requests for health on fresh connections, while eight uploads are under way.
pub fn health(plan: &Plan) {
    if !plan.wants("health") {
        return;
    }
    let payload = Payload::new(plan.scaled(128 << 20));
    let ground = Ground::new(plan);
    let bytes = plan.scaled(128 << 20);
    let bodies: Vec<Body> = (0..16).map(|n| Body::new(&payload, n, bytes)).collect();
    let kinds = servers(plan);
    let mut worst: Vec<(Series, Series)> = kinds
        .iter()
        .map(|kind| (Series::new(kind.name()), Series::new(kind.name())))
        .collect();
    for round in 0..=plan.rounds {
        for (kind, series) in kinds.iter().zip(&mut worst) {
            let server = Running::start(*kind, ground.fresh());
            let over = AtomicBool::new(false);
            let waits_ms = thread::scope(|scope| {
                let asking = scope.spawn(|| ask_until(&server, &over));
                put_all(&server, &payload, &bodies, 8);
                over.store(true, Ordering::Relaxed);
                asking.join().expect("asking")
            });
            server.stop();
            if round > 0 {
                series.0.values.push(percentile(&waits_ms, 0.5));
                series.1.values.push(percentile(&waits_ms, 0.99));
            }
        }
    }
    println!(
        "\nhealth: a fresh connection's question while 8 uploads of 128 MiB are under way, ms"
    );
    for (median, p99) in &worst {
        println!(
            "  {:<16} median {:>24}   p99 {:>24}",
            median.name,
            spread(&median.values),
            spread(&p99.values)
        );
    }
    let p99 = |kind: Kind| {
        let found = worst.iter().find(|one| one.1.name == kind.name());
        found.map(|one| one.1.median())
    };
    let ours = p99(Kind::Ours).unwrap_or(f64::NAN);
    if let Some(peer) = p99(Kind::RestServer) {
        verdict(
            "p99, ours / rest-server",
            ours / peer,
            "",
            Goal::AtMost(0.25, 0.25),
        );
    }
    if let Some(peer) = p99(Kind::Nginx) {
        verdict("p99, ours / nginx", ours / peer, "", Goal::AtMost(1.0, 1.0));
    }
}

/// The time of each answer, in milliseconds, ascending.
pub fn ask_until(server: &Running, over: &AtomicBool) -> Vec<f64> {
    let mut waits_ms = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut connection = Connection::open(server.address).expect("a connection");
        connection
            .get(server.kind.health_path())
            .expect("an answer");
        waits_ms.push(began.elapsed().as_secs_f64() * 1e3);
        thread::sleep(Duration::from_millis(2));
    }
    waits_ms.sort_by(f64::total_cmp);
    waits_ms
}

/// Measures the time from exec to the first answer, and the memory of an idle server.
pub fn start_and_idle(plan: &Plan) {
    if !plan.wants("start") && !plan.wants("idle") {
        return;
    }
    let ground = Ground::new(plan);
    let kinds = servers(plan);
    println!("\nstart: from exec to the first answer; idle: two seconds after it");
    let mut idle_kib = Vec::new();
    for kind in kinds {
        let mut starts_ms = Vec::new();
        let mut usage = process::Usage::default();
        for round in 0..=plan.rounds.max(5) {
            let server = Running::start(kind, ground.fresh());
            starts_ms.push(server.started_in.as_secs_f64() * 1e3);
            if round == 0 {
                thread::sleep(Duration::from_secs(2));
                usage = server.usage();
            }
            server.stop();
        }
        println!(
            "  {:<16} start {} ms   idle {} KiB resident, {} KiB by share (PSS)",
            kind.name(),
            spread(&starts_ms[1..]),
            usage.rss_kib,
            usage.pss_kib
        );
        if kind == Kind::Ours {
            let started_ms = median(&starts_ms[1..]);
            verdict(
                "exec to first answer",
                started_ms,
                "ms",
                Goal::AtMost(10.0, 10.0),
            );
        }
        idle_kib.push((kind, usage.rss_kib as f64));
    }
    let of = |kind: Kind| idle_kib.iter().find(|one| one.0 == kind);
    if let (Some(ours), Some(peer)) = (of(Kind::Ours), of(Kind::RestServer)) {
        let ratio = ours.1 / peer.1;
        verdict(
            "idle memory, ours / rest-server",
            ratio,
            "",
            Goal::AtMost(0.4, 0.4),
        );
    }
}
