//! A small episode leaves its connection open for the next question, whatever that is.

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::world::is_emulated;

/// The largest that is sent so.
const SMALL: usize = 256 << 10;

/// The next answer of a connection that goes on: its head and as many bytes as that states.
pub fn next(client: &mut Client) -> Got {
    next_from(client, b"")
}

/// The same of an answer whose first bytes were read.
fn next_from(client: &mut Client, first: &[u8]) -> Got {
    let mut head = first.to_vec();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.0.read_exact(&mut byte).expect("a whole head");
        head.push(byte[0]);
    }
    let mut got = Got::parse(&head);
    let length = got.header("Content-Length").expect("a length");
    got.body = vec![0; length.parse().unwrap()];
    client.0.read_exact(&mut got.body).expect("a whole body");
    got
}

pub fn ask_on(client: &mut Client, fields: &str) -> Got {
    client
        .send(request("GET", PATH, fields).as_bytes())
        .unwrap();
    next(client)
}

/// A connection with little room in either kernel: it holds no more than a part of a small episode.
fn narrow(world: &World) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    // The kernel makes its own buffers in proportion to this.
    socket.set_mss(536).unwrap();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&here.into()).unwrap();
    socket.connect(&world.address().into()).unwrap();
    Client(socket.into())
}

#[test]
fn one_connection_serves_many_questions() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("", BYTES);
    let mut client = world.client();
    for from in 0..100 {
        let got = ask_on(&mut client, "");
        assert_eq!((got.status, &got.body), (200, &body));
        let got = ask_on(&mut client, &format!("Range: bytes={from}-\r\n"));
        assert_eq!((got.status, &got.body[..]), (206, &body[from..]));
        // The crate answers some questions, and this program others: neither overtakes the other.
        client
            .send(request("GET", "/v1/episodes/lab-1/ep-1", "").as_bytes())
            .unwrap();
        assert_eq!(client.answer().unwrap().json()["bytes"], BYTES);
        let got = ask_on(&mut client, "If-Match: \"x\"\r\n");
        assert_eq!((got.status, &*got.problem()), (412, "precondition-failed"));
    }
    let last = ask_on(&mut client, "Connection: close\r\n");
    assert_eq!(last.header("Connection"), Some("close"));
    assert_eq!(last.body, body);
    assert!(client.is_closed());
    world.wait_until("all are counted", |world| ended(world, "complete") == 201);
    let bytes = (0..100).map(|from| 2 * BYTES - from).sum::<usize>() + BYTES;
    assert_eq!(figure(&world, "cis490_download_bytes_total"), bytes as u64);
    let line = "event=download_ended host=lab-1 episode=ep-1 reader=test peer=127.0.0.1 outcome=complete from=0 of=1000 bytes=1000 ";
    assert!(world.log().contains(line), "{world}");
}

/// HEAD, an answer without bytes, and a file that is not small end the connection.
#[test]
fn what_is_not_small_ends_its_connection() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("", SMALL);
    let larger = noise(SMALL + 1);
    store(&world, "larger", &larger);
    let mut client = world.client();
    let got = ask_on(&mut client, "");
    assert_eq!(got.header("Connection"), None);
    assert!(got.body == body);
    let path = "/v1/episodes/lab-1/larger.tar.zst";
    client.send(request("GET", path, "").as_bytes()).unwrap();
    let got = Got::parse(&client.rest());
    assert_eq!(got.header("Connection"), Some("close"));
    assert!(got.body == larger);
    for (method, fields, status) in [
        ("HEAD", "", 200),
        ("GET", "If-None-Match: *\r\n", 304),
        ("GET", "Range: bytes=99999999-\r\n", 416),
    ] {
        let mut client = world.client();
        assert!(ask_on(&mut client, "").body == body);
        client
            .send(request(method, PATH, fields).as_bytes())
            .unwrap();
        assert_eq!(Got::parse(&client.rest()).status, status, "{method}");
    }
}

/// `nc -N` and its kind end their side with the request, or soon after it.
#[test]
fn a_peer_that_has_ended_its_side_gets_a_small_one_too() {
    let (world, body) = with_episode("", SMALL);
    for is_first in [true, false] {
        let mut client = world.client();
        if !is_first && !is_emulated() {
            assert!(ask_on(&mut client, "").body == body);
        }
        client.send(request("GET", PATH, "").as_bytes()).unwrap();
        client.0.shutdown(Shutdown::Write).unwrap();
        assert!(Got::parse(&client.rest()).body == body, "{world}");
    }
}

/// Where the kernel has no room for all of it, the rest is sent as there is some.
#[test]
fn a_narrow_connection_goes_on_too() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("max_downloads = 1\n", SMALL);
    let mut client = narrow(&world);
    for _ in 0..3 {
        let got = ask_on(&mut client, "");
        assert_eq!((got.status, got.header("Connection")), (200, None));
        assert!(got.body == body);
    }
    world.wait_until("all are counted", |world| ended(world, "complete") == 3);
}

#[test]
fn a_small_one_that_nobody_takes_is_cut() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("max_downloads = 1\nidle_timeout_seconds = 1\n", SMALL);
    let mut narrow = narrow(&world);
    narrow.send(request("GET", PATH, "").as_bytes()).unwrap();
    world.wait_until("the first is cut", |world| ended(world, "too-slow") == 1);
    // The receiver's kernel has room for all of the second, so its place is free at once.
    let stalled = stalling(&world, PATH);
    world.wait_until("its place is free", |world| {
        ask(world, "GET", PATH, "").body == body
    });
    world.wait_until("the second is cut", |world| ended(world, "too-slow") == 2);
    for mut client in [narrow, stalled] {
        assert!(client.rest().len() < SMALL);
    }
    let taken = figure(&world, "cis490_download_bytes_total");
    assert!(taken < 3 * SMALL as u64, "{taken}\n{world}");
}

#[test]
fn a_peer_that_goes_without_taking_it_is_logged_as_gone() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, _) = with_episode("", SMALL);
    stalling(&world, PATH).reset();
    world.wait_until("it is counted", |world| ended(world, "peer-gone") == 1);
    assert_eq!(ended(&world, "complete"), 0);
}

/// The answer is with the kernel when the stop comes: its reader gets all, and the log says so.
#[test]
fn a_stop_waits_for_what_is_not_taken_yet() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (mut world, body) = with_episode("", SMALL);
    let mut client = stalling(&world, PATH);
    world.signal("TERM");
    world.wait_until("it drains", |world| world.log().contains("event=draining"));
    let mut rest = vec![0; 100_000];
    client.0.read_exact(&mut rest).unwrap();
    let bytes = [b"H", &rest[..], &client.rest()].concat();
    assert!(Got::parse(&bytes).body == body);
    assert_eq!(world.wait_for_end(), Some(0), "{world}");
    assert!(world.log().contains("outcome=complete"), "{world}");
}

/// Slower than the idle time as a whole, and never silent for as long.
#[test]
fn a_small_one_that_is_taken_slowly_is_not_cut() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("idle_timeout_seconds = 1\n", SMALL);
    let mut client = stalling(&world, PATH);
    let mut got = b"H".to_vec();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let mut some = [0; 4096];
        client.0.read_exact(&mut some).expect("more of the answer");
        got.extend_from_slice(&some);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(got.len() < SMALL, "it was still under way");
    let head_bytes = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let mut rest = vec![0; head_bytes + SMALL - got.len()];
    client.0.read_exact(&mut rest).expect("the rest");
    got.extend_from_slice(&rest);
    assert!(Got::parse(&got).body == body);
    // Its connection goes on, and has the whole idle time for the next request.
    assert!(ask_on(&mut client, "").body == body);
    world.wait_until("both are counted", |world| ended(world, "complete") == 2);
}

/// Where all connections are in use, those that only wait make room for others, and not this one.
#[test]
fn an_answer_under_way_makes_room_for_nobody() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let (world, body) = with_episode("max_connections = 4\n", SMALL);
    let mut client = stalling(&world, PATH);
    let mut others = Vec::new();
    for _ in 0..8 {
        let mut other = world.client();
        other
            .send(b"GET /v1/gate HTTP/1.1\r\nHost: pi\r\n\r\n")
            .unwrap();
        assert!(other.answer().is_some());
        others.push(other);
    }
    let head_and_body = next_from(&mut client, b"H");
    assert!(head_and_body.body == body);
}
