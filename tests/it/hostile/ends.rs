//! Peers that end in the middle of a head, or right behind it.

use std::hint;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::here::has_tcp_info;
use crate::world::World;

const GET: &[u8] = b"GET /v1/health HTTP/1.1\r\nHost: pi\r\n\r\n";

/// The second half of a head and the end of its client may come between any two steps of the receiver's.
#[test]
fn a_head_in_two_pieces_with_the_end_behind_it_is_answered() {
    if !has_tcp_info("a head in two pieces with the end behind it") {
        return;
    }
    let world = World::new();
    for round in 0..1000 {
        let mut client = world.client();
        client.send(&GET[..10]).unwrap();
        // Not a sleep, which takes longer than the steps between which it falls.
        let until = Instant::now() + Duration::from_micros(round % 10 * 10);
        while Instant::now() < until {
            hint::spin_loop();
        }
        client.send(&GET[10..]).unwrap();
        client.0.shutdown(Shutdown::Write).unwrap();
        let answer = client
            .answer()
            .unwrap_or_else(|| panic!("no answer\n{world}"));
        assert_eq!(answer.status, 200, "round {round}: {}", answer.body);
        assert!(client.is_closed());
    }
}

/// A reset behind half a head held its place and two descriptors until the head's time was over.
#[test]
fn a_reset_behind_half_a_head_gives_its_place_back() {
    if !has_tcp_info("a reset behind half a head") {
        return;
    }
    let world = World::with("head_timeout_seconds = 600\nidle_timeout_seconds = 600\n");
    assert_eq!(world.get("/v1/health").status, 200);
    let before = world.open_files();
    let mut crowd: Vec<Client> = (0..50).map(|_| world.client()).collect();
    for client in &mut crowd {
        client.send(&GET[..10]).unwrap();
    }
    world.wait_until("all are open", |world| world.open_files() >= before + 100);
    crowd.into_iter().for_each(Client::reset);
    world.wait_until("all are closed", |world| world.open_files() <= before + 2);
    assert_eq!(world.get("/v1/health").status, 200);
}
