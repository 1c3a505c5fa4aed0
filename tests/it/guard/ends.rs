//! The end of the receiver, of a second one, and of a peer in the middle of an upload.

use std::fs;
use std::thread;

use super::all_but_a_byte;
use crate::client::Client;
use crate::world::World;

#[test]
fn a_stopping_receiver_finishes_what_is_under_way() {
    let mut world = World::new();
    let put = world.good().body(&[7; 1000]);
    let (mut under_way, last_byte) = all_but_a_byte(&world, &put);
    world.signal("TERM");
    world.wait_until("it drains", |world| world.log().contains("event=draining"));
    let late = world.put(&put.clone().episode("late"));
    assert_eq!(
        (late.status, late.header("Retry-After")),
        (503, Some("30")),
        "{late:?}"
    );
    assert_eq!(world.get("/v1/health").status, 503);
    under_way.send(&last_byte).unwrap();
    assert_eq!(under_way.answer().unwrap().status, 201);
    assert_eq!(world.wait_for_end(), Some(0), "{world}");
    assert_eq!(world.rows().len(), 1);
}

#[test]
fn a_drain_is_bounded() {
    let mut world = World::with("drain_seconds = 1\n");
    let mut stuck = world.client();
    stuck.send(&world.good().head()).unwrap();
    world.wait_until("it is under way", |world| {
        world.names("incoming").len() == 1
    });
    assert_eq!(world.stop(), Some(0), "{world}");
    world.start();
    assert!(world.names("incoming").is_empty(), "{world}");
}

#[test]
fn a_second_instance_is_refused() {
    let world = World::new();
    let mut second = World::prepared("");
    second.configure("");
    let text = fs::read_to_string(second.config_path()).unwrap();
    let taken = format!("listen = \"{}\"", world.address());
    fs::write(
        second.config_path(),
        text.replace("listen = \"127.0.0.1:0\"", &taken),
    )
    .unwrap();
    assert!(!second.try_start());
    assert!(second.log().contains("cannot listen on"), "{second}");

    fs::write(
        second.config_path(),
        fs::read_to_string(world.config_path()).unwrap(),
    )
    .unwrap();
    assert!(!second.try_start());
    assert!(
        second.log().contains("cis490: error: ") && second.log().contains("cis490: hint: "),
        "{second}"
    );
    assert_eq!(world.get("/v1/health").status, 200);
}

#[test]
fn an_early_end_of_the_peer_harms_nobody() {
    let world = World::new();
    let put = world.good().body(&[7; 300_000]);
    let bytes = put.bytes();
    for cut in [
        1,
        20,
        put.head().len(),
        put.head().len() + 1,
        bytes.len() - 1,
    ] {
        let mut client = world.client();
        client.send(&bytes[..cut]).unwrap();
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
        let told = client.rest();
        assert!(
            told.is_empty() || told.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&told)
        );
    }
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (address, bytes) = (world.address(), bytes[..200_000].to_vec());
            thread::spawn(move || drop(Client::connect(address).send(&bytes)))
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    world.wait_until("all are swept", |world| world.names("incoming").is_empty());
    assert!(world.rows().is_empty(), "{world}");
    assert_eq!(world.put(&put).status, 201);
}
