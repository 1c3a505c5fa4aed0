//! A large upload over a line: the processor time that it costs the receiver. In the other workloads a body comes over
//! loopback in pieces of 64 KiB, as fast as it is taken. A network card hands over a few packets at a time, and each time
//! may wake the receiver. That is how it is sent here, still over loopback: what the kernel does for a packet is not
//! counted, since it does that for the sender, and nothing takes its time on the way.

use std::hint;
use std::time::{Duration, Instant};

use crate::Plan;
use crate::ground::Ground;
use crate::load::{Body, Connection, Payload};
use crate::report::{Goal, Series, spread, verdict};
use crate::servers::{Kind, Running};
use crate::uploads::servers;

/// What a packet of Ethernet carries of TCP's bytes.
const PACKET_BYTES: usize = 1448;
/// What a card of 1 Gbit/s hands over at a time, more or less; a slower one hands over less.
const PIECE_BYTES: usize = 8 * PACKET_BYTES;
/// Lines of 100 Mbit/s and 1 Gbit/s, in bytes of bodies.
const LINES: [(&str, f64, usize); 2] = [
    ("100 Mbit/s", 11.7e6, 32 << 20),
    ("1 Gbit/s", 117e6, 256 << 20),
];

/// Measures an upload over each line.
pub fn run(plan: &Plan) {
    if !plan.wants("line") {
        return;
    }
    let payload = Payload::new(plan.scaled(32 << 20));
    let ground = Ground::new(plan);
    for (name, bytes_per_s, bytes) in LINES {
        let body = Body::new(&payload, 0, plan.scaled(bytes));
        over(plan, name, bytes_per_s, &body, &payload, &ground);
    }
}

/// The figures of one contestant, of each round.
struct Stats {
    kind: Kind,
    cpu_s_per_gb: Series,
    mb_per_s: Series,
}

fn over(
    plan: &Plan,
    name: &str,
    bytes_per_s: f64,
    body: &Body,
    payload: &Payload,
    ground: &Ground,
) {
    let kinds = servers(plan).into_iter();
    let mut figures: Vec<Stats> = kinds
        .map(|kind| Stats {
            kind,
            cpu_s_per_gb: Series::new(kind.name()),
            mb_per_s: Series::new(kind.name()),
        })
        .collect();
    let gb = body.bytes as f64 / 1e9;
    for round in 0..=plan.rounds {
        for one in &mut figures {
            let server = Running::start(one.kind, ground.fresh());
            let mut connection = Connection::open(server.address).expect("a connection");
            let head = one.kind.put_head(0, body);
            let before_s = server.usage().cpu_s;
            let began = Instant::now();
            let mut next = began;
            let wait = |bytes: usize| {
                while Instant::now() < next {
                    hint::spin_loop();
                }
                // A server that has stalled the line gets no faster one afterwards.
                next =
                    next.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / bytes_per_s);
            };
            let status = connection.put_in_pieces(&head, body, payload, PIECE_BYTES, wait);
            let took = began.elapsed();
            assert!(
                matches!(status, Ok(200..=204)),
                "{}: {status:?}",
                server.kind.name()
            );
            let cpu_s = server.usage().cpu_s - before_s;
            server.stop();
            if round > 0 {
                one.cpu_s_per_gb.values.push(cpu_s / gb);
                one.mb_per_s.values.push(gb * 1e3 / took.as_secs_f64());
            }
        }
    }
    println!(
        "\nline: {} KiB at {name}, in pieces of 8 packets",
        body.bytes >> 10
    );
    println!("  {:<16} {:>26} {:>26}", "", "CPU s/GB", "MB/s");
    for one in &figures {
        println!(
            "  {:<16} {:>26} {:>26}",
            one.kind.name(),
            spread(&one.cpu_s_per_gb.values),
            spread(&one.mb_per_s.values)
        );
    }
    let of = |kind: Kind| figures.iter().find(|one| one.kind == kind);
    if let (Some(ours), Some(peer)) = (of(Kind::Ours), of(Kind::RestServer)) {
        let ratio = ours.cpu_s_per_gb.median() / peer.cpu_s_per_gb.median();
        verdict(
            "CPU s/GB, ours / rest-server",
            ratio,
            "",
            Goal::AtMost(0.4, 0.3),
        );
    }
}
