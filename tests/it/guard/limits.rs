//! Limits of time, memory and number, for peers that are slow, silent, endless or many.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use super::all_but_a_byte;
use crate::client::Client;
use crate::here::has_tcp_info;
use crate::world::{World, is_emulated};

#[test]
fn idle_and_dripping_connections_are_ended() {
    let world = World::with("idle_timeout_seconds = 1\nhead_timeout_seconds = 1\n");
    let mut idle = world.client();
    assert!(idle.is_closed());
    let mut used = world.client();
    used.send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    assert_eq!(used.answer().unwrap().status, 200);
    assert!(used.is_closed());
    let mut silent = world.client();
    silent.send(&world.good().head()).unwrap();
    assert_eq!(silent.answer().unwrap().status, 408);
    assert!(silent.is_closed());
    let mut expecting = world.client();
    expecting
        .send(&world.good().extra("Expect: 100-continue\r\n").head())
        .unwrap();
    assert_eq!(expecting.answer().unwrap().status, 100);
    assert_eq!(expecting.answer().unwrap().status, 408);
    assert!(expecting.is_closed());
    if has_tcp_info("a dripping head is ended") {
        assert!(
            drips(
                &mut world.client(),
                b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nX-Drip: "
            ),
            "{world}"
        );
    }
    world.wait_until("no upload is left", |world| {
        world.names("incoming").is_empty()
    });
    assert_eq!(world.get("/v1/health").status, 200);
}

/// Sends a byte every 50 ms, never silent for long; whether the peer ended that.
fn drips(client: &mut Client, begin: &[u8]) -> bool {
    client.send(begin).unwrap();
    client
        .0
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    (0..400).any(|_| {
        let sent = client.0.write_all(b"x").is_err();
        sent || matches!(client.0.read(&mut [0; 64]), Ok(0))
    })
}

#[test]
fn a_stalled_body_is_ended_and_leaves_nothing() {
    let world = World::with("idle_timeout_seconds = 1\n");
    let put = world.good().body(&[7; 1000]);
    let bytes = put.bytes();
    let mut client = world.client();
    client.send(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!(client.answer().unwrap().status, 408);
    assert!(client.is_closed());
    let mut gone = world.client();
    gone.send(&bytes[..bytes.len() - 1]).unwrap();
    drop(gone);
    world.wait_until("both are swept", |world| world.names("incoming").is_empty());
    assert!(world.rows().is_empty(), "{world}");
}

/// Once, 30 of these brought 317 MB between two looks of the watchdog.
#[test]
fn heads_without_end_are_refused_and_take_no_memory() {
    let world = World::new();
    let part = [b'x'; 64 << 10];
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| {
                let mut client = world.client();
                let begin = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\nX-Long: ";
                client.send(begin).unwrap();
                for _ in 0..64 {
                    let _ = client.send(&part);
                }
                let answer = client.answer().unwrap();
                assert_eq!(answer.status, 431, "{answer:?}");
            });
        }
    });
    // Under an emulator most of it is the emulator's own.
    let most_kib = if is_emulated() { 256 << 10 } else { 64 << 10 };
    let peak = world.memory_kib("VmHWM:");
    assert!(peak < most_kib, "{peak} KiB");
    assert_eq!(world.get("/v1/health").status, 200);
}

#[test]
fn a_peer_that_asks_and_never_reads_is_ended() {
    let world = World::new();
    let mut client = world.client();
    let requests = "GET /v1/gate HTTP/1.1\r\nHost: pi\r\n\r\n".repeat(1000);
    client
        .0
        .set_write_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let ended = (0..10_000).any(|_| client.send(requests.as_bytes()).is_err());
    assert!(ended, "ten million requests were taken and no answer read");
    // Under an emulator most of it is the emulator's own.
    let most_kib = if is_emulated() { 256 << 10 } else { 64 << 10 };
    let peak = world.memory_kib("VmHWM:");
    assert!(peak < most_kib, "{peak} KiB");
}

#[test]
fn uploads_are_capped() {
    let world = World::with("max_uploads = 1\n");
    let put = world.good().body(&[7; 1000]);
    let (mut first, last_byte) = all_but_a_byte(&world, &put);

    let answer = world.put(&put.clone().episode("second"));
    assert_eq!(
        (answer.status, answer.header("Retry-After")),
        (503, Some("10")),
        "{answer:?}"
    );
    first.send(&last_byte).unwrap();
    assert_eq!(first.answer().unwrap().status, 201);
    world.wait_until("there is room again", |world| {
        world
            .try_put(&put.clone().episode("second"))
            .is_some_and(|a| a.status == 201)
    });
}

/// One that waits would make room; one that is being answered does not.
#[test]
fn connections_are_capped() {
    let world = World::with("max_connections = 1\n");
    let put = world.good().body(&[7; 1000]);
    let (mut first, last_byte) = all_but_a_byte(&world, &put);
    let mut beyond = world.client();
    beyond
        .send(b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n")
        .unwrap();
    let answer = beyond.answer().unwrap();
    assert_eq!(
        answer.json()["type"],
        "urn:cis490:problem:too-many-connections"
    );
    assert!(beyond.is_closed());

    first.send(&last_byte).unwrap();
    assert_eq!(first.answer().unwrap().status, 201);
    assert_eq!(world.get("/v1/health").status, 200);
}
