//! Bodies of all sizes and paces, alone and many at once.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use crate::client::Client;

use super::{body, check_one_episode, prepared, running, sample};
use crate::order::Steps;
use crate::world::{has_steps, is_emulated};

#[test]
fn bodies_of_every_size_arrive_as_they_were_sent() {
    let world = running();
    const MIB: usize = 1 << 20;
    for bytes in [
        0,
        1,
        4095,
        4096,
        4097,
        64 << 10,
        (256 << 10) - 1,
        256 << 10,
        (256 << 10) + 1,
        4 * MIB - 1,
        4 * MIB,
        4 * MIB + 1,
        9 * MIB + 12_345,
    ] {
        let name = format!("ep-{bytes}");
        let put = sample().episode(&name).body(&body(bytes));
        assert_eq!(world.put(&put).status, 201, "{bytes}\n{world}");
        assert!(world.stored("lab-1", &name).unwrap() == put.body, "{bytes}");
    }
}

/// A peer that stalls makes us write what we hold and give the memory back: blocks then begin
/// anywhere, and must still end up in their places.
#[test]
fn a_body_in_fits_and_starts_arrives_as_it_was_sent() {
    let world = running();
    for (name, bytes, parts) in [
        ("large", 7_000_001, [100_000, 3_000_000, 48_577, 1 << 20]),
        ("small", 700_001, [1000, 300_000, 85_577, 1 << 18]),
    ] {
        let put = sample().episode(name).body(&body(bytes));
        let mut client = world.client();
        client.send(&put.head()).unwrap();
        let mut rest = &put.body[..];
        for part in [&[1], &parts[..], &[usize::MAX]].concat() {
            let (now, later) = rest.split_at(part.min(rest.len()));
            client.send(now).unwrap();
            thread::sleep(Duration::from_millis(60)); // the stall itself, longer than a buffer is kept
            rest = later;
        }
        assert_eq!(client.answer().unwrap().status, 201, "{name}\n{world}");
        assert!(world.stored("lab-1", name).unwrap() == put.body, "{name}");
    }
}

/// 64 at once, large, half of them stalled in the middle: memory stays where it was promised.
#[test]
fn sixty_four_uploads_at_once_stay_small() {
    let world = running();
    let put = sample().body(&body(5 << 20));
    let half = put.body.len() / 2;
    thread::scope(|scope| {
        for n in 0..64 {
            let (world, put) = (&world, put.clone().episode(&format!("ep-{n}")));
            scope.spawn(move || {
                // One address alone would get half of the places.
                let source = Ipv4Addr::new(127, 0, 1, n);
                let mut client = Client::connect_from(world.address(), source);
                client.send(&put.head()).unwrap();
                client.send(&put.body[..half]).unwrap();
                world.wait_until("all are under way", |world| {
                    world.names("incoming").len() + world.names("episodes/lab-1").len() >= 64
                });
                client.send(&put.body[half..]).unwrap();
                assert_eq!(client.answer().unwrap().status, 201, "{world}");
            });
        }
    });
    assert_eq!(world.rows().len(), 64);
    let peak_kib = world.memory_kib("VmHWM:");
    eprintln!("peak {peak_kib} KiB");
    // Under an emulator most of it is the emulator's own.
    let most_kib = if is_emulated() { 256 << 10 } else { 64 << 10 };
    assert!(peak_kib < most_kib, "{peak_kib} KiB");
}

#[test]
fn what_is_not_what_was_stated_leaves_nothing() {
    let world = running();
    let zeros = "0".repeat(64);
    for bytes in [10, 5 << 20] {
        let put = sample().body(&body(bytes)).sha256(&zeros);
        assert_eq!(world.put(&put).status, 422, "{world}");
        let mut client = world.client();
        client.send(&sample().body(&body(bytes)).head()).unwrap();
        client.send(&body(bytes / 2)).unwrap();
        drop(client);
    }
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    assert!(
        world.rows().is_empty() && world.names("episodes").is_empty(),
        "{world}"
    );
}

/// While one batch syncs, slowly, the others gather: all are stored in few batches.
#[test]
fn uploads_that_end_together_share_their_syncs() {
    if !has_steps("uploads that end together share their syncs") {
        return;
    }
    let mut world = prepared();
    let steps = Steps::of(&mut world);
    world.env("CIS490_SYNC_DELAY_MS", 100);
    world.start();
    let before = steps.names().len();
    thread::scope(|scope| {
        for n in 0..32 {
            let (world, put) = (&world, sample().episode(&format!("ep-{n}")));
            scope.spawn(move || assert_eq!(world.put(&put).status, 201, "{world}"));
        }
    });
    let steps = steps.names().split_off(before);
    let count = |name: &str| steps.iter().filter(|step| *step == name).count();
    // One more is of the numbers that the rows are given.
    assert_eq!((count("link"), count("fsync file")), (32, 32 + 1));
    assert!(
        count("fdatasync") <= 16,
        "{} batches\n{steps:?}",
        count("fdatasync")
    );
    let mut seqs: Vec<u64> = world
        .rows()
        .iter()
        .map(|row| row["seq"].as_u64().unwrap())
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=32).collect::<Vec<u64>>());
}

/// Several senders of one name: one file and row; the same bytes are all accepted, others refused.
#[test]
fn uploads_of_one_name_at_once_agree() {
    let mut world = prepared();
    world.env("CIS490_SYNC_DELAY_MS", 30);
    world.start();
    let statuses: Vec<(usize, u16)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|n| {
                let (world, put) = (&world, sample().body(&body(2000 + n % 2)));
                scope.spawn(move || (n % 2, world.put(&put).status))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let fresh: Vec<_> = statuses
        .iter()
        .filter(|(_, status)| *status == 201)
        .collect();
    assert_eq!(fresh.len(), 1, "{statuses:?}\n{world}");
    let winner = fresh[0].0;
    for (sender, status) in &statuses {
        let wanted: &[u16] = if *sender == winner {
            &[200, 201]
        } else {
            &[409]
        };
        assert!(wanted.contains(status), "{statuses:?}\n{world}");
    }
    check_one_episode(&world, &sample().body(&body(2000 + winner)), "one of them");
}
