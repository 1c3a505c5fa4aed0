//! An upload over a line with a delay: how long it takes. TCP's window opens as the receiver reads, so one that reads
//! late is slow here, and nowhere else. It needs root, `ip` and /dev/net/tun.

use std::io;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::load::{Body, Connection, Payload};
use crate::report::{Goal, Series, spread, verdict};
use crate::servers::{Kind, Running};
use crate::uploads::servers;
use crate::wire::{End, Wire};

/// Lines: the round-trip time in milliseconds, and Mbit/s. The carrier of the packets keeps up with these rates.
const LINES: [(u64, f64); 3] = [(2, 300.0), (20, 300.0), (60, 100.0)];
const BODY_BYTES: usize = 10 << 20;

/// Measures an upload over each line.
pub fn run(plan: &Plan) {
    if !plan.wants("far") {
        return;
    }
    let payload = Payload::new(plan.scaled(BODY_BYTES));
    let body = Body::new(&payload, 0, plan.scaled(BODY_BYTES));
    let ground = Ground::new(plan);
    for (round_trip_ms, mbit_per_s) in LINES {
        let name = format!(
            "far: {} KiB over {mbit_per_s} Mbit/s, {round_trip_ms} ms round trip",
            body.bytes >> 10
        );
        match over(plan, round_trip_ms, mbit_per_s, &body, &payload, &ground) {
            Ok(figures) => print(&name, &figures),
            Err(why) => println!("\n{name}: left out: {why}"),
        }
    }
}

fn over(
    plan: &Plan,
    round_trip_ms: u64,
    mbit_per_s: f64,
    body: &Body,
    payload: &Payload,
    ground: &Ground,
) -> io::Result<Vec<(Kind, Series)>> {
    let delay = Duration::from_micros(round_trip_ms * 500);
    let wire = Wire::new(mbit_per_s * 1e6 / 8.0, delay)?;
    let kinds = servers(plan).into_iter();
    let mut figures: Vec<(Kind, Series)> =
        kinds.map(|kind| (kind, Series::new(kind.name()))).collect();
    for round in 0..=plan.rounds {
        for (kind, took_ms) in &mut figures {
            let ip = End::Server.ip();
            let server = wire.at(End::Server, || Running::start_at(*kind, ground.fresh(), ip));
            let head = kind.put_head(0, body);
            let (status, took) = wire.at(End::Client, || {
                let mut connection = Connection::open(server.address).expect("a connection");
                let began = Instant::now();
                (connection.put(&head, body, payload), began.elapsed())
            });
            assert!(
                matches!(status, Ok(200..=204)),
                "{}: {status:?}",
                kind.name()
            );
            server.stop();
            if round > 0 {
                took_ms.values.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(figures)
}

fn print(name: &str, figures: &[(Kind, Series)]) {
    println!("\n{name}, ms");
    for (_, took_ms) in figures {
        println!("  {:<16} {:>26}", took_ms.name, spread(&took_ms.values));
    }
    let of = |kind: Kind| figures.iter().find(|one| one.0 == kind);
    if let (Some(ours), Some(peer)) = (of(Kind::Ours), of(Kind::RestServer)) {
        let ratio = ours.1.median() / peer.1.median();
        verdict(
            "time, ours / rest-server",
            ratio,
            "",
            Goal::AtMost(1.1, 1.0),
        );
    }
}
