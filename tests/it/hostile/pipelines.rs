//! Requests in a row on one connection, cut into pieces at random, good ones and refused ones mixed:
//! each answer belongs to its request, in order, and what stands behind a refusal is nothing.
//!
//! The model: each request gets its answer, up to the first that closes the connection. What stands
//! behind that one makes no difference, nor does the client's end.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use crate::client::{Answer, Client, sha256};
use crate::dice::Dice;
use crate::world::World;

/// One request and what is due for it.
struct Due {
    bytes: Vec<u8>,
    status: u16,
    /// What its answer must say, so that it can be no other's.
    says: String,
    /// The connection ends with it.
    ends: bool,
    /// What it stores.
    stores: Option<(String, Vec<u8>)>,
}

/// What was seen, for the figures of the campaign.
#[derive(Default)]
pub struct Seen {
    pub connections: u32,
    pub requests: u64,
    pub answers: u64,
}

/// Runs `connections` of them; panics where something came out wrong.
pub fn run(world: &World, seed: u64, connections: u32) -> Seen {
    let mut seen = Seen::default();
    let mut dice = Dice::new(seed);
    // What may be stored, and whether it was acknowledged.
    let mut may_be_stored = BTreeMap::new();
    for number in 0..connections {
        let row = a_row(world, &mut dice, &format!("{seed:x}-{number}"));
        let mut ended = false;
        for due in &row {
            if let Some((episode, body)) = due.stores.as_ref().filter(|_| !ended) {
                may_be_stored.insert(episode.clone(), (body.clone(), false));
            }
            ended |= due.ends;
        }
        let answers = talk(world, &mut dice, &row);
        check(&row, &answers, seed, number, world);
        for (due, answer) in row.iter().zip(&answers) {
            if let Some((episode, _)) = due.stores.as_ref().filter(|_| answer.status == 201) {
                may_be_stored.get_mut(episode).expect("it was due").1 = true;
            }
        }
        seen.connections += 1;
        seen.requests += row.len() as u64;
        seen.answers += answers.len() as u64;
    }
    for row in world.rows() {
        let episode = row["episode"].as_str().unwrap();
        if !episode.starts_with(&format!("{seed:x}-")) {
            continue;
        }
        let (body, _) = may_be_stored
            .get(episode)
            .unwrap_or_else(|| panic!("seed {seed}: {episode} was stored and must not be"));
        assert_eq!(
            world.stored("lab-1", episode).as_ref(),
            Some(body),
            "{episode}"
        );
    }
    for (episode, (body, acknowledged)) in &may_be_stored {
        let stored = world.stored("lab-1", episode);
        assert!(
            !acknowledged || stored.as_ref() == Some(body),
            "seed {seed}: {episode}\n{world}"
        );
    }
    seen
}

/// Panics where an answer is another's, is missing, or is one too many.
fn check(row: &[Due], answers: &[Answer], seed: u64, number: u32, world: &World) {
    let at = format!("seed {seed}, connection {number}");
    for (place, (due, answer)) in row.iter().zip(answers).enumerate() {
        let request = String::from_utf8_lossy(&due.bytes[..due.bytes.len().min(200)]);
        assert!(
            answer.status == due.status && answer.body.contains(&due.says),
            "{at}, place {place}: {request}\ngot {answer:?}, due {} {:?}\n{world}",
            due.status,
            due.says
        );
        let closes = answer.header("Connection") == Some("close");
        assert!(
            !due.ends || closes,
            "{at}: it ends and does not say so: {answer:?}"
        );
        assert!(
            !closes || place + 1 == answers.len(),
            "{at}: an answer behind the last"
        );
    }
    let last = row.iter().position(|due| due.ends);
    let due = last.map_or(row.len(), |last| last + 1);
    assert_eq!(answers.len(), due, "{at}: answers for requests\n{world}");
}

/// A row of requests, in every other one none that ends the connection.
fn a_row(world: &World, dice: &mut Dice, name: &str) -> Vec<Due> {
    let may_end = dice.below(2) == 0;
    let mut row = Vec::new();
    for place in 0..1 + dice.below(8) {
        let due = one(world, dice, &format!("{name}-{place}"));
        if may_end || !due.ends {
            row.push(due);
        }
    }
    row
}

fn one(world: &World, dice: &mut Dice, name: &str) -> Due {
    let due = |bytes: Vec<u8>, status, says: String, ends| Due {
        bytes,
        status,
        says,
        ends,
        stores: None,
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n").into_bytes();
    let good = world.good().episode(name).body(&a_body(dice));
    match dice.below(16) {
        0..=4 => {
            let body = good.body.clone();
            let mut due = due(good.bytes(), 201, format!("\"episode\":\"{name}\""), false);
            due.stores = Some((name.to_owned(), body));
            due
        }
        5..=6 => due(
            get(&format!("/v1/episodes/lab-1/no-{name}")),
            404,
            format!("no-{name}"),
            false,
        ),
        7 => due(
            get(&format!("/v1/gate/odd-{name}")),
            400,
            format!("odd-{name}"),
            false,
        ),
        8 => due(
            get(&format!("/none/{name}")),
            404,
            "nothing is at this path".to_owned(),
            false,
        ),
        9..=10 => {
            let place = dice.below(3) as usize;
            let commit = &world.repo.commits[world.repo.commits.len() - 1 - place];
            let says = format!("\"position\":{}", place + 1);
            due(get(&format!("/v1/gate/{commit}")), 200, says, false)
        }
        11 => {
            let damaged = good
                .body(format!("x{name}").as_bytes())
                .sha256(&"0".repeat(64));
            due(
                damaged.bytes(),
                422,
                sha256(format!("x{name}").as_bytes()),
                true,
            )
        }
        12 => {
            // Its body is a good upload, which must never be taken for one.
            let hidden = world.good().episode(&format!("hidden-{name}")).bytes();
            let none = world.good().episode(name).no_commit().body(&hidden);
            due(none.bytes(), 400, "remediation".to_owned(), true)
        }
        13 => {
            let head = format!(
                "GET /v1/episodes/lab-1/no-{name} HTTP/1.1\r\nHost: pi\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            due(head.into_bytes(), 501, "Transfer codings".to_owned(), true)
        }
        14 => {
            let head = format!(
                "GET /v1/episodes/lab-1/no-{name} HTTP/1.1\r\nHost: pi\r\nContent-Length: 4\r\n\r\nGET "
            );
            due(head.into_bytes(), 404, format!("no-{name}"), true)
        }
        _ => due(
            format!("GET /v1/health HTTP/1.1\r\nHost: pi\r\n : {name}\r\n\r\n").into_bytes(),
            400,
            "this is not an HTTP/1.1 request".to_owned(),
            true,
        ),
    }
}

fn a_body(dice: &mut Dice) -> Vec<u8> {
    let bytes = match dice.below(4) {
        0 => dice.below(3),
        1 => dice.below(3000),
        2 => dice.below(70_000),
        _ => dice.below(300_000),
    };
    // Full of requests, for a receiver that takes a body for some.
    let line = b"GET /v1/episodes/lab-1/inner HTTP/1.1\r\nHost: pi\r\n\r\n";
    line.iter().copied().cycle().take(bytes as usize).collect()
}

/// Sends the row in pieces while the answers are read; all that came.
fn talk(world: &World, dice: &mut Dice, row: &[Due]) -> Vec<Answer> {
    let bytes: Vec<u8> = row.iter().flat_map(|due| due.bytes.clone()).collect();
    let mut pieces = Vec::new();
    let mut left = &bytes[..];
    let whole = dice.below(4) == 0;
    while !left.is_empty() {
        let most = [1, 40, 500, 40_000][dice.below(4) as usize];
        let cut = if whole {
            left.len()
        } else {
            left.len().min(1 + dice.below(most) as usize)
        };
        let (piece, rest) = left.split_at(cut);
        let pause_us = if dice.below(8) == 0 {
            dice.below(3000)
        } else {
            0
        };
        pieces.push((piece, Duration::from_micros(pause_us)));
        left = rest;
        if pieces.len() > 300 {
            pieces.push((left, Duration::ZERO));
            break;
        }
    }
    let half_closes = dice.below(2) == 0;
    let mut client = world.client();
    let mut sender = Client(client.0.try_clone().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            for (piece, pause) in pieces {
                if sender.send(piece).is_err() {
                    return; // it ended, and the answers say why
                }
                thread::sleep(pause);
            }
            if half_closes {
                let _ = sender.0.shutdown(Shutdown::Write);
            }
        });
        let one_more = row.len() + usize::from(half_closes);
        let answers = std::iter::from_fn(|| client.answer());
        answers.take(one_more).collect()
    })
}

#[test]
fn each_answer_of_a_row_is_its_own_requests() {
    if !crate::here::has_tcp_info("each_answer_of_a_row_is_its_own_requests") {
        return;
    }
    let world = World::new();
    let seen = run(&world, 0x9e37_79b9, 100);
    assert!(
        seen.answers * 2 > seen.requests,
        "most requests were not answered: it tests little"
    );
    let log = world.log();
    assert!(!log.contains("panic"), "{world}");
    assert!(
        log.lines().all(|line| line.contains(" event=")),
        "a line that is no event's\n{log}"
    );
}
