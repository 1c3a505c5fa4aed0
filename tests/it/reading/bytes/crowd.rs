//! A crowd of readers of all kinds at once: some read all, some read nothing, some a little at a time, some
//! go away. Nobody gets a wrong or a short byte, and all that they held is free again.

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::dice::{Dice, seed};

const READERS: u8 = 40;
const PLACES: u32 = 16;
const IN_PROGRESS: &str = "cis490_downloads_in_progress";

/// What a crowd came to.
#[derive(Debug, Default)]
pub struct Told {
    pub whole: u32,
    /// Without a place.
    pub refused: u32,
    pub went_away: u32,
    /// Read nothing or little, and were cut.
    pub cut: u32,
    pub threads_most: usize,
    pub memory_kib: u64,
}

#[test]
fn a_crowd_of_readers_gets_right_bytes_or_none_and_leaves_nothing() {
    let told = crowd(1, seed());
    assert!(told.whole > 0 && told.refused + told.cut > 0, "{told:?}");
}

/// So many crowds, one after the other.
pub fn crowd(rounds: u64, seed: u64) -> Told {
    let config = format!("max_downloads = {PLACES}\nidle_timeout_seconds = 1\n");
    let (world, body) = with_episode(&config, LARGE);
    let threads_before = threads(&world);
    let mut told = Told::default();
    for round in 0..rounds {
        let counts: [AtomicU32; 4] = Default::default();
        thread::scope(|scope| {
            for reader in 0..READERS {
                let (world, body, counts) = (&world, &body, &counts);
                let dice = Dice::of(seed, round * 1000 + u64::from(reader));
                scope.spawn(move || read(world, body, reader, dice, counts));
            }
            told.threads_most = told.threads_most.max(threads(&world));
        });
        world.wait_until("no place is taken", |world| figure(world, IN_PROGRESS) == 0);
        let count = |n: usize| counts[n].load(Ordering::Relaxed);
        told.whole += count(0);
        told.refused += count(1);
        told.went_away += count(2);
        told.cut += count(3);
    }
    // The places are there again, and what comes from them is right.
    assert!(ask(&world, "GET", PATH, "").body == body, "{world}");
    let most = threads_before + PLACES as usize;
    let now = threads(&world);
    assert!(
        now.max(told.threads_most) <= most,
        "{told:?}, {now} threads\n{world}"
    );
    told.memory_kib = world.memory_kib("VmHWM:");
    told
}

/// One reader, of a kind by chance.
fn read(world: &World, body: &[u8], reader: u8, mut dice: Dice, counts: &[AtomicU32; 4]) {
    let source = Ipv4Addr::new(127, 0, 1, 1 + reader / 2);
    let mut client = Client::connect_from(world.address(), source);
    client.send(request("GET", PATH, "").as_bytes()).unwrap();
    let mut start = vec![0; 4096];
    client.0.read_exact(&mut start[..12]).unwrap();
    if !start.starts_with(b"HTTP/1.1 200") {
        assert!(start.starts_with(b"HTTP/1.1 503"), "{start:?}");
        counts[1].fetch_add(1, Ordering::Relaxed);
        return;
    }
    let mut bytes = start[..12].to_vec();
    let kind = dice.below(4);
    match kind {
        0 => {}
        1 => {
            thread::sleep(dice.wait(0, 300));
            counts[2].fetch_add(1, Ordering::Relaxed);
            return client.reset();
        }
        2 => thread::sleep(Duration::from_millis(2500)),
        _ => {
            for _ in 0..6 {
                thread::sleep(dice.wait(0, 200));
                let count = client.0.read(&mut start).unwrap();
                bytes.extend_from_slice(&start[..count]);
            }
        }
    }
    bytes.extend(client.rest());
    let got = Got::parse(&bytes);
    assert_eq!(got.header("Content-Length"), Some("25165824"));
    assert!(body.starts_with(&got.body), "wrong bytes\n{world}");
    let is_whole = got.body.len() == body.len();
    assert!(is_whole || kind == 2, "{} bytes\n{world}", got.body.len());
    counts[if is_whole { 0 } else { 3 }].fetch_add(1, Ordering::Relaxed);
}

fn threads(world: &World) -> usize {
    let tasks = format!("/proc/{}/task", world.pid());
    fs::read_dir(tasks).unwrap().count()
}
