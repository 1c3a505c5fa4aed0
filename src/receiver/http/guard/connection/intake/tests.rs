//! What comes to the crate of what a client has sent, read as the crate reads.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::*;
use crate::receiver::http::guard::descriptors::{self, Guarded};
use crate::sys::TcpCounters;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: pi\r\n\r\n";

/// A client, the crate's socket, and what guards it.
fn guarded() -> (TcpStream, TcpStream, Arc<Connection>, Guarded) {
    descriptors::start().expect("std reads sockets with our recv");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let connection = Arc::new(Connection::guard(socket.try_clone().unwrap()).unwrap());
    let guarded = Guarded::new(socket.as_raw_fd(), &connection).unwrap();
    (client, socket, connection, guarded)
}

/// All that may_minihttp would read now, and how it ends: 0, or why there is no more.
fn read_all(socket: &mut TcpStream) -> (Vec<u8>, Result<(), io::ErrorKind>) {
    let mut all = Vec::new();
    // Small, so that a head is handed over in pieces.
    let mut part = [0; 20];
    loop {
        match socket.read(&mut part) {
            Ok(0) => return (all, Ok(())),
            Ok(n) => all.extend_from_slice(&part[..n]),
            Err(error) => return (all, Err(error.kind())),
        }
    }
}

#[test]
fn one_head_at_a_time_and_the_end_behind_the_last() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    let put = b"PUT / HTTP/1.1\r\nHost: pi\r\nContent-Length: 5\r\n\r\n";
    let all = [GET, b"\r\n", put, b"hello", GET].concat();
    client.write_all(&all).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let nothing_more = Err(io::ErrorKind::WouldBlock);
    assert_eq!(read_all(&mut socket), (GET.to_vec(), nothing_more));
    assert_eq!(read_all(&mut socket), (Vec::new(), nothing_more));
    connection.end_request(0);
    let with_its_line = [b"\r\n", &put[..]].concat();
    assert_eq!(read_all(&mut socket), (with_its_line, nothing_more));
    let mut body = [0; 5];
    connection.socket().read_exact(&mut body).unwrap();
    assert_eq!(&body, b"hello");
    connection.end_request(0);
    assert_eq!(read_all(&mut socket), (GET.to_vec(), nothing_more));
    connection.end_request(0);
    assert_eq!(read_all(&mut socket), (Vec::new(), Ok(())));
    assert!(connection.unreadable().is_none());
}

#[test]
fn the_next_head_waits_until_the_answer_has_left() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    client.write_all(&GET.repeat(2)).unwrap();
    let nothing_more = Err(io::ErrorKind::WouldBlock);
    assert_eq!(read_all(&mut socket), (GET.to_vec(), nothing_more));
    connection.end_request(6);
    assert_eq!(read_all(&mut socket), (Vec::new(), nothing_more));
    socket.write_all(b"answer").unwrap();
    assert_eq!(read_all(&mut socket), (GET.to_vec(), nothing_more));
}

#[test]
fn half_a_head_stays_where_it_is_and_has_an_age() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    client.write_all(&GET[..10]).unwrap();
    let nothing = (Vec::new(), Err(io::ErrorKind::WouldBlock));
    assert_eq!(read_all(&mut socket), nothing);
    assert!(connection.head_age().is_some());
    client.write_all(&GET[10..]).unwrap();
    assert_eq!(read_all(&mut socket).0, GET);
    assert!(connection.head_age().is_none());
}

/// The look saw half a head; the rest and the end came before the question whether there is one.
#[test]
fn the_rest_may_come_with_the_end_after_the_look() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    client.write_all(GET).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    wait_for(&connection, |counters| counters.peer_has_ended);
    let judged = connection.part_is_here(&GET[..10]);
    assert_eq!(judged.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(connection.unreadable().is_none());
    assert_eq!(read_all(&mut socket).0, GET);
}

/// What came before a reset can be looked at for ever.
#[test]
fn a_reset_behind_half_a_head_is_seen() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    client.write_all(&GET[..10]).unwrap();
    let nothing = (Vec::new(), Err(io::ErrorKind::WouldBlock));
    assert_eq!(read_all(&mut socket), nothing);
    sys::reset_on_close(&client);
    drop(client);
    wait_for(&connection, |counters| counters.is_closed);
    let reset = (Vec::new(), Err(io::ErrorKind::ConnectionReset));
    assert_eq!(read_all(&mut socket), reset);
    assert!(connection.unreadable().is_none());
}

fn wait_for(connection: &Connection, done: impl Fn(&TcpCounters) -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !sys::tcp_counters(connection.socket()).is_some_and(|counters| done(&counters)) {
        assert!(Instant::now() < until, "it does not come");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_empty_line_in_two_pieces_is_no_head_under_way() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    let nothing = (Vec::new(), Err(io::ErrorKind::WouldBlock));
    client.write_all(b"\r").unwrap();
    assert_eq!(read_all(&mut socket), nothing);
    assert!(connection.head_age().is_some());
    client.write_all(b"\n").unwrap();
    assert_eq!(read_all(&mut socket), nothing);
    assert!(connection.head_age().is_none());
    client.write_all(GET).unwrap();
    assert_eq!(read_all(&mut socket).0, GET);
}

#[test]
fn what_is_no_head_is_an_end_with_a_reason() {
    let long = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 20_000]].concat();
    let fields = [&GET[..GET.len() - 2], &b"A: b\r\n".repeat(16), b"\r\n"].concat();
    for (bytes, status) in [
        (&b"\x16\x03\x01"[..], 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (&GET[..20], 400),
        (&long, 431),
        (&fields, 431),
    ] {
        let (mut client, mut socket, connection, _guarded) = guarded();
        client.write_all(bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&mut socket), (Vec::new(), Ok(())));
        let unreadable = connection.unreadable().expect("a reason");
        assert_eq!(unreadable.refusal.status(), status, "{bytes:?}");
    }
}

#[test]
fn a_number_that_is_free_again_is_nobodys() {
    let (mut client, mut socket, _connection, guarded) = guarded();
    drop(guarded);
    client.write_all(b"anything").unwrap();
    assert_eq!(read_all(&mut socket).0, b"anything");
}

/// The crate has a bare 200 for each request that it was not given an answer to.
#[test]
fn what_the_crate_writes_for_an_answered_request_is_taken_away() {
    let (mut client, mut socket, connection, _guarded) = guarded();
    client.write_all(GET).unwrap();
    assert_eq!(read_all(&mut socket).0, GET);
    assert!(connection.begin_request());
    connection.write_directly(b"ours").unwrap();
    connection.end_request_answered_elsewhere();
    assert_eq!(socket.write(b"HTTP/1.1 200 Ok\r\n\r\n").unwrap(), 19);
    // The next answer is the crate's own.
    client.write_all(GET).unwrap();
    assert_eq!(read_all(&mut socket).0, GET);
    assert!(connection.begin_request());
    connection.end_request(5);
    socket.write_all(b"crate").unwrap();
    let mut got = [0; 9];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ourscrate");
    assert_eq!(sys::unread_bytes(&client).unwrap(), 0);
}
